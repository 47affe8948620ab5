//! What fuzzing of surveys begins with is replayed as an ordinary test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

#[path = "../fuzz/surveys.rs"]
mod surveys;

#[test]
fn stored_corpus_holds_and_surveys_in_it_are_read() {
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/survey"));
    let mut read = Vec::new();
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        if surveys::check(&std::fs::read(&path).unwrap()) {
            read.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    read.sort_unstable();
    assert_eq!(read, ["none", "one", "two_families"]);
}
