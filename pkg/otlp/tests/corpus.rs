//! What fuzzing found worth keeping is replayed as an ordinary test.

#[path = "../fuzz/agreement.rs"]
mod agreement;

#[test]
fn stored_corpus_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/view");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        agreement::check(&std::fs::read(&path).unwrap());
        inputs += 1;
    }
    assert!(inputs > 100, "only {inputs} inputs in {corpus}");
}
