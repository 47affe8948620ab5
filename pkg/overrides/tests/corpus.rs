//! What fuzzing of overrides begins with is replayed as an ordinary test, and some of
//! what it tries.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use proptest::prelude::*;

#[path = "../fuzz/documents.rs"]
mod documents;

use documents::{Sources, Taken};

#[test]
fn stored_corpus_holds_and_what_is_named_for_it_is_taken() {
    let sources = Sources::new();
    let corpus = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fuzz/corpus/overrides"
    ));
    let mut taken = Vec::new();
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        let Taken {
            runtime_file,
            request,
        } = sources.check(&std::fs::read(&path).unwrap());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match (name.split_once('_').unwrap().0, runtime_file, request) {
            ("runtime", true, false) | ("request", _, true) => taken.push(name),
            _ => {}
        }
    }
    taken.sort_unstable();
    let want = [
        "request_all",
        "request_empty",
        "request_nulls",
        "runtime_anchors",
        "runtime_destination",
        "runtime_flat",
        "runtime_nested",
        "runtime_null",
    ];
    assert_eq!(taken, want);
}

/// Texts that are near to what is read.
fn text() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ", ",
        "\n",
        "\n  ",
        "- ",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<: ",
        "|\n",
        "null",
        "~",
        "1",
        "-0",
        "1e999",
        "15s",
        "true",
        "overrides",
        "\"*\"",
        "acme",
        "metrics_generator",
        "processors",
        "span-metrics",
        "processor",
        "span_metrics",
        "dimensions",
        "filter_policies",
        "histogram_buckets",
        "collection_interval",
    ]);
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// forall texts: as overrides they are read to an end.
    #[test]
    fn any_text_is_read_as_overrides(text in text(), bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let sources = Sources::new();
        sources.check(text.as_bytes());
        sources.check(&bytes);
    }
}
