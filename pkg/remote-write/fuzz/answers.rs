//! Whether a receiver may answer anything.
//!
//! Shared by the fuzz target and the replay of its corpus.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use spanmill_remote_write::Protocol;
use spanmill_remote_write::answer::{Answer, Attempt, FailureCause};

/// The longest that a receiver may silence a tenant for, in all its answers.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The longest problem: a status with its name, and 256 characters of UTF-8.
const MOST_BYTES: usize = 64 + 4 * 256;

/// 2026-01-01.
const NOW: u64 = 1_767_225_600_000_000_000;

/// Reads `bytes` as an answer: the status on a line, headers on lines of their own, an
/// empty line, the body. It must end without a panic, and what is made of it must be
/// within bounds. Gives what it is in 1.0 and in 2.0, if it is an answer.
pub(crate) fn check(bytes: &[u8]) -> Option<[Attempt; 2]> {
    let mut rest = bytes;
    let status = StatusCode::from_bytes(line(&mut rest)).ok()?;
    let mut headers = HeaderMap::new();
    while !rest.is_empty() {
        let text = line(&mut rest);
        let Some(colon) = text.iter().position(|byte| *byte == b':') else {
            break;
        };
        let (name, value) = text.split_at(colon);
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let answer = Answer {
        status,
        headers: &headers,
        body: rest,
    };
    let read = [Protocol::V1, Protocol::V2].map(|protocol| {
        for now in [0, NOW, u64::MAX] {
            hold(status, protocol, &Attempt::answered(&answer, protocol, now));
        }
        Attempt::answered(&answer, protocol, NOW)
    });
    Some(read)
}

fn hold(status: StatusCode, protocol: Protocol, attempt: &Attempt) {
    let problem = match attempt {
        Attempt::Delivered(written) => {
            assert!(status.is_success(), "{status}");
            // In 2.0 there is no success without saying of what.
            assert_eq!(written.is_some(), protocol == Protocol::V2);
            return;
        }
        Attempt::Failed {
            problem,
            retry_after,
            cause,
        } => {
            assert_ne!(*cause, FailureCause::Silent, "{problem}");
            assert!(*retry_after <= Some(LONGEST), "{retry_after:?}");
            problem
        }
        Attempt::Refused { problem, .. } => {
            assert!(!status.is_success() && !status.is_server_error());
            problem
        }
        Attempt::Unsupported { problem, .. } => {
            assert_eq!(protocol, Protocol::V2, "{problem}");
            problem
        }
    };
    assert!(problem.len() <= MOST_BYTES, "{} bytes", problem.len());
    assert!(!problem.contains(char::is_control), "{problem:?}");
}

/// Takes a line, without its end.
fn line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|byte| *byte == b'\n');
    let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = after.get(1..).unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}
