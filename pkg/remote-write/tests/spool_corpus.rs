//! What fuzzing begins with is replayed as an ordinary test, and some of what it
//! tries.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use proptest::prelude::*;

#[path = "../fuzz/reading.rs"]
mod reading;

#[test]
fn stored_corpus_holds() {
    let directory = reading::Directory::new();
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/segment"));
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        directory.check(&std::fs::read(&path).unwrap());
        inputs += 1;
    }
    assert!(inputs > 100, "only {inputs} inputs");
}

/// The payload of a record of definitions: a label set, a series, and the shape of it
/// twice.
const DEFINITIONS: [u8; 18] = [
    0, 1, 0, 0, // label set 0: no start, no labels
    0, 1, 1, b'm', 0, 0, 1, 0, 0, // series 0: m, no le, a counter without help and unit
    0, 1, 2, 0, 0, // shape 0
];

/// Bytes as they come, and such as mean something where records and rows are.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![0_u8, 1, 2, 3, 7, 11, 15, 19, 0x7f, 0xf5, 0xff]);
    prop::collection::vec(prop_oneof![any::<u8>(), token], 0..220)
}

/// The three times of a record, which may be as far away as can be.
fn times() -> impl Strategy<Value = Vec<u8>> {
    let time = prop_oneof![any::<i64>(), Just(i64::MAX), Just(i64::MIN)];
    time.prop_map(|time| time.to_le_bytes().repeat(3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// forall bytes: as a segment, after the head of one, as payloads of intact
    /// records, and as rows of a label set that is defined, they are read to an end.
    #[test]
    fn segment_of_any_bytes_is_read_to_its_end(bytes in bytes(), times in times()) {
        let directory = reading::Directory::new();
        for before in [&b""[..], b"H", b"R"] {
            directory.check(&[before, &bytes].concat());
        }
        let rows = [&times[..], &[0, 0, 0], &bytes].concat();
        let definitions = [&[b'R', 0, DEFINITIONS.len() as u8][..], &DEFINITIONS].concat();
        directory.check(&[&definitions[..], &[9, rows.len() as u8], &rows].concat());
    }
}
