use super::*;

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_700_000_000 * SECOND;

fn outcome(spans: u64) -> PushOutcome {
    PushOutcome {
        spans,
        ..PushOutcome::default()
    }
}

/// Whether the push was new; then it is applied at once.
fn push(recognised: &Recognised, request: &[u8], now: u64) -> bool {
    match recognised.recognise(request, now) {
        Recognition::New(pending) => {
            pending.applied(&outcome(1), now);
            true
        }
        Recognition::Applied(_) => false,
        Recognition::BeingApplied => panic!("nothing is being applied"),
    }
}

#[test]
fn what_was_applied_is_recognised_for_two_minutes_with_its_answer() {
    let recognised = Recognised::new(Room::default());
    let answer = PushOutcome {
        spans: 7,
        rejected_spans: 2,
        message: "2 spans are not valid protobuf".to_owned(),
    };
    let Recognition::New(pending) = recognised.recognise(b"bytes", NOW) else {
        panic!("not new");
    };
    pending.applied(&answer, NOW);
    for later in [0, 1, 120] {
        let recognition = recognised.recognise(b"bytes", NOW + later * SECOND);
        let Recognition::Applied(again) = recognition else {
            panic!("after {later} s: {recognition:?}");
        };
        assert_eq!(again, answer);
    }
    assert!(push(&recognised, b"byteS", NOW));
    assert!(push(&recognised, b"bytes", NOW + 121 * SECOND));
    // Recognised from then on, not from the first time.
    assert!(!push(&recognised, b"bytes", NOW + 241 * SECOND));
    assert!(push(&recognised, b"bytes", NOW + 242 * SECOND));
    // Answers are forgotten with their pushes.
    assert!(recognised.seen.lock().applied.rejected.is_empty());
}

#[test]
fn copy_of_what_is_being_applied_is_neither_new_nor_answered() {
    let recognised = Recognised::new(Room::default());
    let first = recognised.recognise(b"bytes", NOW);
    assert!(matches!(first, Recognition::New(_)));
    let second = recognised.recognise(b"bytes", NOW);
    assert!(matches!(second, Recognition::BeingApplied));
    // The first fails.
    drop(first);
    assert!(push(&recognised, b"bytes", NOW));
    assert!(!push(&recognised, b"bytes", NOW));
}

#[test]
fn empty_pushes_and_those_without_spans_are_always_new() {
    let recognised = Recognised::new(Room::default());
    assert!(push(&recognised, b"", NOW));
    let first = recognised.recognise(b"", NOW);
    assert!(matches!(first, Recognition::New(_)));
    assert!(push(&recognised, b"", NOW));
    let Recognition::New(pending) = recognised.recognise(b"a resource", NOW) else {
        panic!("not new");
    };
    pending.applied(&outcome(0), NOW);
    assert!(push(&recognised, b"a resource", NOW));
}

#[test]
fn what_is_out_of_date_is_forgotten_and_gives_its_memory_back() {
    let room = Room::default();
    let recognised = Recognised::new(room.clone());
    for number in 0..5_000_u32 {
        assert!(push(&recognised, &number.to_le_bytes(), NOW));
    }
    for part in &recognised.seen.lock().index {
        assert!((400..900).contains(&part.len()), "{}", part.len());
    }
    recognised.forget(NOW + 120 * SECOND);
    assert_eq!(room.0.load(Ordering::Relaxed), 5_000);
    recognised.forget(NOW + 121 * SECOND);
    assert_eq!(room.0.load(Ordering::Relaxed), 0);
    let seen = recognised.seen.lock();
    let capacity: usize = seen.index.iter().map(HashTable::capacity).sum();
    assert_eq!((seen.applied.len(), capacity), (0, 0));
}

#[test]
fn each_new_push_makes_up_for_two_that_are_out_of_date() {
    let room = Room::default();
    let recognised = Recognised::new(room.clone());
    for number in 0..10_u32 {
        assert!(push(&recognised, &number.to_le_bytes(), NOW));
    }
    for (number, remembered) in (100_u32..).zip([9, 8, 7, 6, 5, 6, 7]) {
        assert!(push(&recognised, &number.to_le_bytes(), NOW + 121 * SECOND));
        assert_eq!(room.0.load(Ordering::Relaxed), remembered);
    }
}

#[test]
fn full_room_costs_a_tenant_its_oldest_but_never_its_last_thousand() {
    let room = Room::default();
    let recognised = Recognised::new(room.clone());
    for number in 0..1_030_u32 {
        if number == 10 {
            room.0.fetch_add(MOST, Ordering::Relaxed);
        }
        assert!(push(&recognised, &number.to_le_bytes(), NOW));
    }
    assert_eq!(recognised.seen.lock().applied.len(), ALWAYS);
    for number in 6..1_030_u32 {
        assert!(!push(&recognised, &number.to_le_bytes(), NOW), "{number}");
    }
    assert!(push(&recognised, &5_u32.to_le_bytes(), NOW));
    drop(recognised);
    assert_eq!(room.0.load(Ordering::Relaxed), MOST);
}

#[test]
fn numbers_wrap_around() {
    let recognised = Recognised::new(Room::default());
    recognised.seen.lock().applied.first = u32::MAX - 2;
    for number in 0..8_u32 {
        let now = NOW + u64::from(number) * 60 * SECOND;
        assert!(push(&recognised, &number.to_le_bytes(), now));
        assert!(!push(&recognised, &number.to_le_bytes(), now));
        let before = number.saturating_sub(2);
        assert!(!push(&recognised, &before.to_le_bytes(), now));
    }
    assert_eq!(recognised.seen.lock().applied.first, 2);
}

#[test]
fn blocks_of_the_queue_begin_and_end_without_a_gap() {
    let mut queue = Queue::default();
    let key = |number: u32| PushKey([number, 0, 0]);
    let count = 3 * queue::BLOCK as u32;
    for number in 0..count {
        assert_eq!(queue.push(key(number), number / 10, &outcome(1)), number);
        assert_eq!(queue.len(), number as usize + 1);
    }
    for number in 0..count {
        assert_eq!(queue.get(number).unwrap().key, key(number));
        assert_eq!(queue.at(number), Some(number / 10));
        assert_eq!(queue.at(count - 1), Some((count - 1) / 10));
        assert_eq!(queue.get(count - 1).unwrap().key, key(count - 1));
        queue.pop();
        assert_eq!(queue.len(), (count - number - 1) as usize);
    }
    assert_eq!((queue.at(count), queue.get(count).is_none()), (None, true));
    assert_eq!(queue.push(key(7), 0, &outcome(1)), count);
    assert_eq!(queue.get(count).unwrap().key, key(7));
}

#[test]
fn push_at_a_clock_that_was_set_back_is_recognised_as_long_as_the_one_before() {
    let recognised = Recognised::new(Room::default());
    assert!(push(&recognised, b"before", NOW));
    assert!(push(&recognised, b"after", NOW - 60 * SECOND));
    assert!(!push(&recognised, b"after", NOW + 120 * SECOND));
    assert!(push(&recognised, b"after", NOW + 121 * SECOND));
}
