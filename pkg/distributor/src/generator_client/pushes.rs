//! Pushes to one generator: alone, or together with others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::HeaderMap;
use hyper::rt::Executor as _;
use hyper_util::rt::TokioExecutor;
use model::TenantId;
use prost::Message as _;
use proto::cluster;
use server::nodes::PushMetadata;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::message::Message;
use super::together::{self, Entered, Waiting};
use super::{Answer, GeneratorClient, InFlight, Sent, answer};

/// How long a push waits for what is under way to be answered.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// How long a generator that does not take pushes together is asked no more. It may be
/// another version after a restart.
const TAKES_ONE: Duration = Duration::from_secs(60);

/// A push that has gone alone; gone when it is dropped.
struct Alone<'a> {
    client: &'a Arc<GeneratorClient>,
    tenant: &'a TenantId,
    _in_flight: InFlight,
}

impl GeneratorClient {
    /// Sends a push, and waits for the answer, as long as its metadata says. `sent` tells
    /// whether the generator may have got it when this is dropped.
    pub(crate) async fn push(
        self: &Arc<Self>,
        metadata: PushMetadata,
        request: Bytes,
        sent: &Arc<Sent>,
    ) -> Answer {
        if request.len() > self.max_message_bytes {
            return Answer::Refused {
                problem: "the spans of one generator are above max_send_msg_size".to_owned(),
            };
        }
        let Some(in_flight) = self.admit(request.len() as u64) else {
            return Answer::Busy {
                reason: "too much is under way to it".to_owned(),
            };
        };
        let tenant = metadata.tenant.clone();
        let answer = match self.together.enter(&tenant, request.len()) {
            Entered::Alone => {
                let _alone = Alone {
                    client: self,
                    tenant: &tenant,
                    _in_flight: in_flight,
                };
                self.push_one(&metadata, request, sent).await
            }
            Entered::Waits => {
                let waits = self.push_with_others(metadata, request, sent, in_flight);
                waits.await
            }
        };
        self.counts(&answer);
        answer
    }

    async fn push_one(&self, metadata: &PushMetadata, request: Bytes, sent: &Sent) -> Answer {
        let Some(headers) = headers(metadata) else {
            return unwritable();
        };
        let message = Message::new([request].into_iter());
        let answered = self.call(&self.uri, headers, message, metadata.expires_in, sent);
        answered
            .await
            .map_or_else(|failed| failed, answer::of_message)
    }

    async fn push_with_others(
        self: &Arc<Self>,
        metadata: PushMetadata,
        request: Bytes,
        sent: &Arc<Sent>,
        in_flight: InFlight,
    ) -> Answer {
        let (tenant, within) = (metadata.tenant.clone(), metadata.expires_in);
        let (answer, mut answered) = oneshot::channel();
        let sends = self.together.wait(Waiting {
            metadata,
            request,
            since: Instant::now(),
            sent: Arc::clone(sent),
            answer,
            _in_flight: in_flight,
        });
        if sends {
            self.send_what_waits(&tenant);
        }
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let soon = if sent.has_begun() {
                left
            } else {
                left.min(MAX_WAIT)
            };
            match timeout(soon, &mut answered).await {
                Ok(Ok(answer)) => return answer,
                // Nobody sends any more.
                Ok(Err(_)) => return self.unanswered(sent),
                Err(_) if Instant::now() >= end => return self.unanswered(sent),
                Err(_) if !sent.has_begun() && self.together.is_late(&tenant) => {
                    self.send_what_waits(&tenant);
                }
                Err(_) => {}
            }
        }
    }

    /// Sends what waits, call by call, until nothing does. Nobody waits for that: each push
    /// hears of its own.
    fn send_what_waits(self: &Arc<Self>, tenant: &TenantId) {
        let (client, tenant) = (Arc::clone(self), tenant.clone());
        TokioExecutor::new().execute(async move {
            loop {
                // First, since what waits is not sent yet.
                let connected = client.connected().await.map(drop);
                let mut pushes = client.together.take(&tenant);
                let answers = match connected {
                    _ if pushes.is_empty() => break,
                    Ok(()) => client.push_all(&mut pushes).await,
                    Err(failed) => vec![failed; pushes.len()],
                };
                for (push, answer) in pushes.into_iter().zip(answers) {
                    // Whoever has gone does not want to know.
                    let _ = push.answer.send(answer);
                }
            }
        });
    }

    /// An answer for each.
    async fn push_all(&self, pushes: &mut [Waiting]) -> Vec<Answer> {
        let Some(metadata) = together::metadata(pushes) else {
            return Vec::new();
        };
        if pushes.len() > 1 && !self.takes_one() {
            let answers = self.push_together(&metadata, pushes).await;
            if let Some(answers) = answers {
                return answers;
            }
        }
        let each = pushes
            .iter()
            .map(|push| self.push_one(&metadata, push.request.clone(), &push.sent));
        join_all(each).await
    }

    /// An answer for each; `None` if the generator does not take these together.
    async fn push_together(
        &self,
        metadata: &PushMetadata,
        pushes: &[Waiting],
    ) -> Option<Vec<Answer>> {
        let Some(headers) = headers(metadata) else {
            return Some(vec![unwritable(); pushes.len()]);
        };
        // Before all else: the tags and lengths of what follows.
        let lengths = pushes.iter().map(|push| push.request.len() as u32);
        let head = cluster::Pushes {
            lengths: lengths.collect(),
            messages: Bytes::new(),
        };
        let mut head = head.encode_to_vec();
        let bytes: usize = pushes.iter().map(|push| push.request.len()).sum();
        prost::encoding::encode_key(2, prost::encoding::WireType::LengthDelimited, &mut head);
        prost::encoding::encode_varint(bytes as u64, &mut head);
        let messages = pushes.iter().map(|push| push.request.clone());
        let message = Message::new([Bytes::from(head)].into_iter().chain(messages));
        let sent = Sent::default();
        let answered = self
            .call(
                &self.uri_of_all,
                headers,
                message,
                metadata.expires_in,
                &sent,
            )
            .await;
        let failed = match answered {
            Ok(answers) => return Some(answer::of_all(answers, pushes.len())),
            // It may take each.
            Err(Answer::Refused { .. }) => return None,
            // Where clients prove who they are, an earlier version lets nobody call what it
            // does not know.
            Err(Answer::Unknown { .. } | Answer::NotApplied { .. }) => {
                let now = self.began.elapsed().as_secs().max(1);
                self.takes_one_since.store(now, Ordering::Relaxed);
                return None;
            }
            Err(failed) => failed,
        };
        Some(vec![failed; pushes.len()])
    }

    /// Whether the generator is of a version that does not take pushes together.
    fn takes_one(&self) -> bool {
        let since = self.takes_one_since.load(Ordering::Relaxed);
        since > 0 && self.began.elapsed() < Duration::from_secs(since) + TAKES_ONE
    }

    fn admit(&self, bytes: u64) -> Option<InFlight> {
        let of_all = Arc::clone(&self.in_flight_bytes);
        let before = of_all.fetch_add(bytes, Ordering::Relaxed);
        let in_flight = InFlight { of_all, bytes };
        // One is always let through, whatever its length.
        (before == 0 || before + bytes <= self.max_in_flight_bytes).then_some(in_flight)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        // At the end of the process nobody sends any more.
        if self.client.together.leave(self.tenant) && Handle::try_current().is_ok() {
            self.client.send_what_waits(self.tenant);
        }
    }
}

fn headers(metadata: &PushMetadata) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(16);
    metadata.write(&mut headers).ok()?;
    Some(headers)
}

fn unwritable() -> Answer {
    Answer::NotSent {
        reason: "the id of this node does not fit a header".to_owned(),
    }
}
