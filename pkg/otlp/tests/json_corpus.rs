//! What fuzzing of OTLP/JSON begins with is replayed as an ordinary test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

#[path = "../fuzz/json.rs"]
mod json;

#[test]
fn stored_corpus_holds_and_what_can_be_read_has_its_spans() {
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/json"));
    let mut spans = BTreeMap::new();
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if let Some(found) = json::check(&std::fs::read(&path).unwrap()) {
            spans.insert(name, found);
        }
    }
    let of = |name: &str| spans.get(name).copied();
    assert_eq!(of("example"), Some(1));
    assert_eq!(of("nulls"), Some(1));
    assert_eq!(of("empty"), Some(0));
    assert_eq!(of("deep"), None, "nested too deeply");
}
