//! Pushes that a distributor sends together.

use std::time::Instant;

use bytes::Bytes;
use prost::Message as _;
use proto::cluster;
use server::nodes::{NotApplied, PushMetadata};
use tonic::Status;

use super::{NodePushes, outcome_message};

impl NodePushes {
    /// Takes each of the pushes in a message, or refuses it, as if it had come alone.
    pub(super) fn push_all(
        &self,
        metadata: &PushMetadata,
        message: Bytes,
        now: Instant,
    ) -> Result<Bytes, Status> {
        let answers =
            requests(message)?
                .into_iter()
                .map(|request| match self.push(metadata, request, now) {
                    Ok(outcome) => cluster::PushAnswer {
                        outcome: Some(outcome_message(outcome)),
                        ..cluster::PushAnswer::default()
                    },
                    Err(status) => refused(&status),
                });
        let answers = cluster::PushAnswers {
            answers: answers.collect(),
        };
        Ok(Bytes::from(answers.encode_to_vec()))
    }
}

/// The requests in a message; parts of it, not copies.
fn requests(message: Bytes) -> Result<Vec<Bytes>, Status> {
    let unreadable = |problem: String| Status::unimplemented(format!("pushes: {problem}"));
    let pushes = cluster::Pushes::decode(message).map_err(|error| unreadable(error.to_string()))?;
    let mut left = pushes.messages;
    let mut requests = Vec::with_capacity(pushes.lengths.len());
    for length in pushes.lengths {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > left.len() {
            return Err(unreadable(
                "messages are shorter than lengths say".to_owned(),
            ));
        }
        requests.push(left.split_to(length));
    }
    match left.is_empty() {
        true => Ok(requests),
        false => Err(unreadable(
            "messages are longer than lengths say".to_owned(),
        )),
    }
}

fn refused(status: &Status) -> cluster::PushAnswer {
    let why = NotApplied::of(status.metadata().as_ref());
    cluster::PushAnswer {
        code: status.code() as u32,
        message: status.message().to_owned(),
        not_applied: why.map_or("", <&str>::from).to_owned(),
        outcome: None,
    }
}
