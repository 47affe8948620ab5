//! Replays the corpus of the fuzz target of conversions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "../fuzz/conversions.rs"]
mod conversions;

#[test]
fn whatever_failed_once_does_not_again_and_what_clients_sent_is_read() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/conversion");
    let mut spans: Vec<_> = conversions::ALL.map(|(name, _)| (name, 0)).into();
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let stem = path.file_name().unwrap().to_str().unwrap();
        for ((name, conversion), (_, count)) in conversions::ALL.into_iter().zip(&mut spans) {
            let found = conversions::check(&bytes, conversion);
            // Recorded from clients: named for what they speak.
            if stem.starts_with(name) {
                *count += found;
            }
        }
    }
    for (name, count) in spans {
        assert_eq!(count, 6, "{name}");
    }
}
