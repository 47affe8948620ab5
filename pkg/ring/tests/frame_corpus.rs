//! Datagrams that the fuzzer starts from and those that it once found trouble with.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../fuzz/opening.rs"]
mod opening;

#[test]
fn corpus_is_refused_and_what_comes_after_it_is_taken() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/frame");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        opening::check(&std::fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 3, "{inputs} inputs in {corpus}");
}
