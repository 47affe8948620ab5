//! What fuzzing begins with is replayed as an ordinary test: what it found worth
//! keeping, and the recorded requests of the conformance tests.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

#[path = "../fuzz/agreement.rs"]
mod agreement;

#[test]
fn stored_corpus_holds() {
    let corpus = replay(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fuzz/corpus/view"
    )));
    assert!(corpus > 100, "only {corpus} inputs");
}

#[test]
fn recorded_requests_hold() {
    let recorded = replay(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../integration/testdata/conformance/inputs"
    )));
    assert!(recorded > 10, "only {recorded} inputs");
}

/// Checks every file of a directory and of those in it; says how many there are.
fn replay(directory: &Path) -> usize {
    let mut inputs = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            inputs += replay(&path);
            continue;
        }
        eprintln!("{}", path.display());
        agreement::check(&std::fs::read(&path).unwrap());
        inputs += 1;
    }
    inputs
}
