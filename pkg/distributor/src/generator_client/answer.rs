//! What a generator made of a push, and how sure that is.
#![warn(clippy::wildcard_enum_match_arm)]

use std::error::Error;

use bytes::{Buf as _, Bytes};
use h2::Reason;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use model::PushOutcome;
use prost::Message as _;
use proto::cluster;
use server::nodes::NotApplied;
use tonic::{Code, Status};

/// Length of what precedes a message: a flag, and its length in four bytes.
const PREFIX: usize = 5;

/// How much of a generator's words is passed on.
const MAX_REASON_BYTES: usize = 256;

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was applied, now or before.
    Applied(PushOutcome),
    /// It was not applied, and no generator will.
    Refused {
        /// What is wrong with it.
        problem: String,
    },
    /// The generator says that it has not applied it.
    NotApplied {
        /// Why not.
        reason: String,
    },
    /// The generator does not know the call, and has not applied it.
    Unknown {
        /// What it says.
        reason: String,
    },
    /// The generator has never got it.
    NotSent {
        /// Why not.
        reason: String,
    },
    /// Nobody knows whether it was applied.
    InDoubt {
        /// What happened.
        reason: String,
    },
    /// The generator has enough to do, and it was not applied, or not even sent.
    Busy {
        /// What there is too much of.
        reason: String,
    },
}

impl Answer {
    /// What a generator says that is asked without a connection.
    pub(crate) fn of(answered: Result<PushOutcome, Status>) -> Self {
        match answered {
            Ok(outcome) => Self::Applied(outcome),
            Err(status) => of_status(&status, NotApplied::of(status.metadata().as_ref())),
        }
    }
}

/// Reads an answer: its message, or what else it says.
pub(super) async fn read(response: Response<Incoming>, max_bytes: usize) -> Result<Bytes, Answer> {
    let (parts, body) = response.into_parts();
    // Without a body everything is in the headers.
    if let Some(status) = Status::from_header_map(&parts.headers) {
        return Err(of_status(&status, NotApplied::of(&parts.headers)));
    }
    if parts.status == StatusCode::NOT_FOUND {
        return Err(Answer::Unknown {
            reason: "it does not take pushes of distributors".to_owned(),
        });
    }
    if parts.status != StatusCode::OK {
        return Err(Answer::InDoubt {
            reason: format!("HTTP status {}", parts.status),
        });
    }
    let collected = Limited::new(body, max_bytes).collect().await;
    let collected = collected.map_err(|error| match error.downcast_ref::<hyper::Error>() {
        Some(error) => of_failure(error),
        None => in_doubt(&*error),
    })?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    match Status::from_header_map(&trailers) {
        Some(status) if status.code() == Code::Ok => {
            let mut body = collected.to_bytes();
            if body.len() < PREFIX {
                return Err(Answer::InDoubt {
                    reason: "an answer without a message".to_owned(),
                });
            }
            body.advance(PREFIX);
            Ok(body)
        }
        Some(status) => Err(of_status(&status, NotApplied::of(&trailers))),
        None => Err(Answer::InDoubt {
            reason: "an answer without a status".to_owned(),
        }),
    }
}

/// What the message of an answer to a push says.
pub(super) fn of_message(message: Bytes) -> Answer {
    match cluster::PushOutcome::decode(message) {
        Ok(outcome) => applied(outcome),
        Err(error) => in_doubt(&error),
    }
}

/// What the message of an answer to so many pushes says of each.
pub(super) fn of_all(message: Bytes, pushes: usize) -> Vec<Answer> {
    let problem = match cluster::PushAnswers::decode(message) {
        Ok(said) if said.answers.len() == pushes => {
            return said.answers.into_iter().map(of_one).collect();
        }
        Ok(_) => Answer::InDoubt {
            reason: "not as many answers as pushes".to_owned(),
        },
        Err(error) => in_doubt(&error),
    };
    vec![problem; pushes]
}

fn of_one(answer: cluster::PushAnswer) -> Answer {
    let code = Code::from(i32::try_from(answer.code).unwrap_or(i32::MAX));
    if code == Code::Ok {
        return applied(answer.outcome.unwrap_or_default());
    }
    let status = Status::new(code, answer.message);
    of_status(&status, answer.not_applied.parse().ok())
}

fn applied(outcome: cluster::PushOutcome) -> Answer {
    Answer::Applied(PushOutcome {
        spans: outcome.spans,
        rejected_spans: outcome.rejected_spans,
        message: outcome.message,
    })
}

/// What a status that is not OK says.
///
/// A generator judges who sends it before it looks at the spans, and what they say before
/// it applies any. All else but what it marks may have come from anywhere on the way, at
/// any time.
fn of_status(status: &Status, not_applied: Option<NotApplied>) -> Answer {
    let reason = shortened(&format!("{:?}: {}", status.code(), status.message()));
    match not_applied {
        // The others would soon be, too, if they took what this one does not.
        Some(NotApplied::Overloaded | NotApplied::TenantLeaves) => return Answer::Busy { reason },
        Some(
            NotApplied::Leaving
            | NotApplied::NotOwner
            | NotApplied::Expired
            | NotApplied::Frozen
            | NotApplied::Stopping,
        ) => return Answer::NotApplied { reason },
        None => {}
    }
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => {
            Answer::Refused { problem: reason }
        }
        Code::Unauthenticated | Code::PermissionDenied => Answer::NotApplied { reason },
        Code::Unimplemented => Answer::Unknown { reason },
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Answer::InDoubt { reason },
    }
}

/// What a failure of the connection says.
///
/// Certain are only a stream that was refused, and one above the last that a generator which
/// ends the connection in order has looked at. Source: RFC 9113, sections 6.8 and 8.7.
pub(super) fn of_failure(error: &hyper::Error) -> Answer {
    let reason = || shortened(&telemetry::error_chain(error).to_string());
    let of_http2 = error.source().and_then(|source| source.downcast_ref());
    let is_untouched = of_http2.is_some_and(|error: &h2::Error| {
        let is_refused = error.reason() == Some(Reason::REFUSED_STREAM);
        let ends_in_order = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
        error.is_remote() && (is_refused || ends_in_order)
    });
    if is_untouched || error.is_canceled() {
        Answer::NotSent { reason: reason() }
    } else {
        Answer::InDoubt { reason: reason() }
    }
}

fn in_doubt(error: &(dyn Error + 'static)) -> Answer {
    Answer::InDoubt {
        reason: shortened(&telemetry::error_chain(error).to_string()),
    }
}

fn shortened(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_REASON_BYTES);
    text.get(..end).unwrap_or_default().to_owned()
}
