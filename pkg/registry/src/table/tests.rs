use super::*;

#[test]
fn slots_of_a_long_table_have_room_apart() {
    let mut table = Table::new(Arc::new(Schema::new([])));
    let mut admission = Admission::default();
    let mut labels = LabelSetBuf::new();
    let mut capacities = Vec::new();
    for number in 0..1_025 {
        labels.clear();
        labels.push("number", &number.to_string());
        table.resolve(labels.finish(), &mut admission, 0);
        capacities.push(table.slots.capacity());
    }
    capacities.dedup();
    assert_eq!(capacities, [4, 8, 16, 32, 64, 128, 256, 512, 1_024, 13_108]);
}
