//! What a receiver's answer means for the request.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use crate::metrics::DropReason;
use crate::protocol::Protocol;
use crate::retry::{Verdict, retry_after};
use crate::written::Written;

/// Characters of an answer that are logged.
const LOGGED_ANSWER_CHARACTERS: usize = 256;

/// What a receiver has said.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, or its beginning: it is only for the log.
    pub body: &'a [u8],
}

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The receiver has the samples; in 2.0, as many as it says.
    Delivered(Option<Written>),
    /// It may be tried again, at the earliest after what the receiver asks for.
    Failed {
        /// What happened, for the log.
        problem: String,
        /// What the receiver asked for; 5 minutes at most.
        retry_after: Option<Duration>,
        /// Whether that is about the receiver or about the tenant.
        cause: FailureCause,
    },
    /// No use in trying again.
    Refused {
        /// What happened, for the log.
        problem: String,
        /// For the counter.
        reason: DropReason,
        /// What the receiver has nevertheless, if it says so.
        written: Option<Written>,
    },
    /// The receiver does not take 2.0.
    Unsupported {
        /// What happened, for the log.
        problem: String,
        /// For the counter, if 1.0 is no choice.
        reason: DropReason,
    },
}

/// Why an attempt failed that may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// The receiver has not answered.
    Silent,
    /// It says that it cannot, for now.
    Unable,
    /// It says that it gets too much, maybe of this tenant alone.
    TooMany,
}

impl Attempt {
    /// Reads an answer to a request in a version of the protocol, at a time in
    /// nanoseconds since the Unix epoch. Whatever a receiver says, the problem is one
    /// line of a bounded length.
    pub fn answered(answer: &Answer<'_>, protocol: Protocol, now_unix_nanos: u64) -> Self {
        let status = answer.status;
        let asked = answer
            .headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, now_unix_nanos));
        let written = match protocol {
            Protocol::V1 => None,
            Protocol::V2 => Written::of(answer.headers),
        };
        let problem = || format!("{status}: {}", printable(answer.body));
        match Verdict::of(status) {
            Verdict::Delivered if protocol == Protocol::V2 && written.is_none() => {
                Self::Unsupported {
                    problem: format!("{status}, but nothing on what was written"),
                    reason: DropReason::NotWritten,
                }
            }
            Verdict::Delivered => Self::Delivered(written),
            Verdict::Retry => Self::Failed {
                problem: problem(),
                retry_after: asked,
                cause: match status {
                    StatusCode::TOO_MANY_REQUESTS => FailureCause::TooMany,
                    _ => FailureCause::Unable,
                },
            },
            Verdict::Drop(reason @ DropReason::UnsupportedMediaType)
                if protocol == Protocol::V2 =>
            {
                Self::Unsupported {
                    problem: problem(),
                    reason,
                }
            }
            Verdict::Drop(reason) => Self::Refused {
                problem: problem(),
                reason,
                written,
            },
        }
    }
}

/// The beginning of an answer, on one line.
fn printable(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer)
        .trim()
        .chars()
        .take(LOGGED_ANSWER_CHARACTERS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_logged_on_one_short_line() {
        let answer = format!("  bad\nlabel \u{1b}[31m{}", "x".repeat(1000));
        let shown = printable(answer.as_bytes());
        assert!(shown.starts_with("bad label  [31mxxx"), "{shown}");
        assert_eq!(shown.chars().count(), LOGGED_ANSWER_CHARACTERS);
    }
}
