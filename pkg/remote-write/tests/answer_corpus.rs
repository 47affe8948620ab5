//! What fuzzing of answers begins with is replayed as an ordinary test, and some of what
//! it tries.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use spanmill_remote_write::answer::{Attempt, FailureCause};
use spanmill_remote_write::{DropReason, Written};

#[path = "../fuzz/answers.rs"]
mod answers;

#[test]
fn stored_corpus_holds() {
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/answer"));
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        answers::check(&std::fs::read(&path).unwrap());
        inputs += 1;
    }
    assert!(inputs >= 12, "only {inputs} inputs");
}

#[test]
fn answers_of_receivers_mean_what_they_say() {
    let read = |text: &str| answers::check(text.as_bytes()).unwrap();
    let [one, two] = read("204\r\n\r\n");
    assert_eq!(one, Attempt::Delivered(None));
    let unsupported = |problem: &str, reason| Attempt::Unsupported {
        problem: problem.to_owned(),
        reason,
    };
    let problem = "204 No Content, but nothing on what was written";
    assert_eq!(two, unsupported(problem, DropReason::NotWritten));

    let name = "X-Prometheus-Remote-Write-Samples-Written";
    let [_, two] = read(&format!("200\r\n{name}: 17\r\n\r\n"));
    let counts = |samples| Written {
        samples,
        exemplars: 0,
    };
    assert_eq!(two, Attempt::Delivered(Some(counts(17))));

    let [one, _] = read("503\nRetry-After: 99999999999999999999\n\na\nb\x1bc\n");
    let busy = Attempt::Failed {
        problem: "503 Service Unavailable: a b c".to_owned(),
        retry_after: Some(Duration::from_secs(300)),
        cause: FailureCause::Unable,
    };
    assert_eq!(one, busy);

    let [one, two] = read(&format!("400\n{name}: 2\n\nout of bounds\n"));
    let refused = |written| Attempt::Refused {
        problem: "400 Bad Request: out of bounds".to_owned(),
        reason: DropReason::BadRequest,
        written,
    };
    assert_eq!([one, two], [refused(None), refused(Some(counts(2)))]);

    let [_, two] = read("415\n\nno\n");
    let problem = "415 Unsupported Media Type: no";
    assert_eq!(two, unsupported(problem, DropReason::UnsupportedMediaType));
}

proptest! {
    /// forall statuses, values of a header and bodies: an answer is read.
    #[test]
    fn any_answer_is_read(
        status in 100_u16..1000,
        asked in "[ -~]{0,40}",
        body in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let head = format!(
            "{status}\nRetry-After:{asked}\nX-Prometheus-Remote-Write-Samples-Written:{asked}\n\n"
        );
        prop_assert!(answers::check(&[head.as_bytes(), &body].concat()).is_some());
    }
}
