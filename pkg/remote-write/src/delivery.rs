//! One request of a queue, sent until the receiver has it or refuses it for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, sleep};

use crate::bisection::halves;
use crate::client::{Attempt, FailureCause};
use crate::destination::Destination;
use crate::encode::Batch;
use crate::encode::transcode::to_v1;
use crate::gate::Change;
use crate::metrics::DropReason;
use crate::protocol::Protocol;
use crate::queue::Queue;
use crate::retry::Backoff;
use crate::written::Written;

/// Series that a receiver may refuse one by one before the rest of their request
/// goes with them, if it has taken nothing of it: then it is not about the series.
const REFUSED_ALONE: u32 = 64;

/// How long a receiver may fail while a request is divided. A turn must end.
const DIVIDING: Duration = Duration::from_secs(60);

/// Texts in refusals of samples that are older than what a receiver takes:
/// Prometheus, Mimir and Cortex, Thanos, VictoriaMetrics.
const TOO_OLD: [&str; 4] = [
    "out of bounds",
    "too old",
    "too-old",
    "outside of retention",
];

/// A request that may be sent again later.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What happened, for the log.
    pub(crate) problem: String,
    /// What the receiver asks for.
    pub(crate) retry_after: Option<Duration>,
}

/// Sends requests of one queue.
#[derive(Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) queue: &'a Queue,
    pub(crate) destination: &'a Arc<Destination>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) is_stopped: &'a AtomicBool,
}

/// How an attempt ended, if not in a failure.
enum Outcome {
    /// The receiver has something of it, and the rest is counted.
    Ended,
    /// The receiver has refused all of it.
    Refused { problem: String, reason: DropReason },
}

impl Delivery<'_> {
    /// Sends a request, and counts each of its samples as sent or dropped.
    /// Returns whether the receiver has taken some.
    ///
    /// # Errors
    ///
    /// The request may be sent again; nothing of it is counted.
    pub(crate) async fn deliver(&self, batch: &Batch) -> Result<bool, Failure> {
        match self.attempt(batch).await? {
            Outcome::Ended => Ok(true),
            Outcome::Refused { problem, reason }
                if self.destination.config.divide_refused_requests && is_divisible(reason) =>
            {
                self.divide(batch, problem, reason).await
            }
            Outcome::Refused { problem, reason } => {
                self.refused(batch.samples, problem, reason);
                Ok(false)
            }
        }
    }

    /// Sends a refused request in ever smaller parts.
    async fn divide(
        &self,
        batch: &Batch,
        problem: String,
        reason: DropReason,
    ) -> Result<bool, Failure> {
        let mut parts = vec![(batch.clone(), problem, reason)];
        let (mut taken, mut refused_alone) = (false, 0);
        while let Some((part, problem, reason)) = parts.pop() {
            let gives_up = !taken && refused_alone >= REFUSED_ALONE;
            let halves = match gives_up {
                true => None,
                false => halves(&part).unwrap_or_else(|error| {
                    tracing::error!(error = %telemetry::error_chain(&error), "cannot divide a request");
                    None
                }),
            };
            let Some([first, second]) = halves else {
                refused_alone += 1;
                let reason = if is_too_old(&problem) {
                    DropReason::TooOld
                } else {
                    reason
                };
                self.refused(part.samples, problem, reason);
                continue;
            };
            for half in [first, second] {
                match self.attempt_until_answered(&half).await {
                    Some(Outcome::Ended) => taken = true,
                    Some(Outcome::Refused { problem, reason }) => {
                        parts.push((half, problem, reason));
                    }
                    // All of it is sent again.
                    None => {
                        return Err(Failure {
                            problem: "no answer for a part of it".to_owned(),
                            retry_after: None,
                        });
                    }
                }
            }
        }
        Ok(taken)
    }

    /// Attempts a part of a refused request until there is an answer to it: the
    /// whole would be refused again. `None` if there is none for too long, or nobody
    /// waits for it any more.
    async fn attempt_until_answered(&self, part: &Batch) -> Option<Outcome> {
        let queue = &self.destination.config.queue_config;
        let mut backoff = Backoff::new(queue.min_backoff, queue.max_backoff);
        let start = Instant::now();
        while start.elapsed() < DIVIDING {
            match self.attempt(part).await {
                Ok(outcome) => return Some(outcome),
                Err(failure) => {
                    self.failed(&failure, part.samples);
                    sleep(backoff.delay(rand::random(), failure.retry_after)).await;
                }
            }
            if self.is_stopped.load(Ordering::Relaxed) || self.queue.is_changed(self.destination) {
                break;
            }
        }
        None
    }

    async fn attempt(&self, batch: &Batch) -> Result<Outcome, Failure> {
        let negotiation = &self.destination.negotiation;
        loop {
            let in_v1;
            let spoken = match batch.protocol {
                Protocol::V2 if negotiation.has_fallen_back() => match to_v1(&batch.body) {
                    Ok(body) => {
                        in_v1 = Batch {
                            body,
                            protocol: Protocol::V1,
                            ..batch.clone()
                        };
                        &in_v1
                    }
                    Err(error) => {
                        return Ok(Outcome::Refused {
                            problem: telemetry::error_chain(&error).to_string(),
                            reason: DropReason::UnsupportedMediaType,
                        });
                    }
                },
                _ => batch,
            };
            let start = Instant::now();
            let body = spoken.body.clone();
            let attempt = self
                .destination
                .client
                .send(self.headers, spoken.protocol, body)
                .await;
            let seconds = start.elapsed().as_secs_f64();
            self.destination.durations.observe(seconds);
            self.note(&attempt, start);
            match attempt {
                Attempt::Delivered(written) => {
                    self.delivered(spoken, written);
                    return Ok(Outcome::Ended);
                }
                Attempt::Failed {
                    problem,
                    retry_after,
                    ..
                } => {
                    return Err(Failure {
                        problem,
                        retry_after,
                    });
                }
                Attempt::Unsupported { problem, reason } => {
                    if !negotiation.fall_back() {
                        let hint = "; protobuf_message: auto would send 1.0";
                        let problem = problem + hint;
                        return Ok(Outcome::Refused { problem, reason });
                    }
                    self.fell_back(&problem);
                }
                Attempt::Refused {
                    problem,
                    reason,
                    written: Some(written),
                } if written.samples > 0 => {
                    self.written(spoken, written, problem, reason);
                    return Ok(Outcome::Ended);
                }
                Attempt::Refused {
                    problem, reason, ..
                } => return Ok(Outcome::Refused { problem, reason }),
            }
        }
    }

    /// Notes what an attempt that began at a time says of the receiver.
    fn note(&self, attempt: &Attempt, began: Instant) {
        let gate = &self.destination.gate;
        let change = match attempt {
            Attempt::Failed { cause, .. } => {
                self.destination
                    .note_silence(*cause == FailureCause::Silent);
                match cause {
                    // It takes those of others, maybe; this queue waits by itself.
                    FailureCause::TooMany => gate.answered(),
                    FailureCause::Silent | FailureCause::Unable => {
                        let who = std::ptr::from_ref(self.queue).addr();
                        gate.failed(who, began, Instant::now(), rand::random())
                    }
                }
            }
            Attempt::Delivered(_) => {
                self.destination.note_silence(false);
                gate.answered()
            }
            Attempt::Refused { .. } | Attempt::Unsupported { .. } => gate.answered(),
        };
        let endpoint = &self.destination.name;
        match change {
            Change::None => {}
            Change::Closed => tracing::warn!(
                endpoint,
                "receiver takes nothing from anybody, one request at a time tries it"
            ),
            Change::Opened => tracing::info!(endpoint, "receiver takes requests again"),
        }
    }

    fn fell_back(&self, problem: &str) {
        self.destination.fallbacks.inc();
        if let Some(suppressed) = self.destination.fallback_log.admit() {
            tracing::info!(
                endpoint = self.destination.name,
                problem,
                suppressed,
                "receiver does not take remote write 2.0, 1.0 is sent for an hour"
            );
        }
    }

    /// Counts a request that was answered with a success.
    fn delivered(&self, batch: &Batch, written: Option<Written>) {
        match written {
            Some(written) => {
                let problem = format!("says that it has written {}", written.samples);
                self.written(batch, written, problem, DropReason::NotWritten);
            }
            None => self.sent(batch, batch.samples, batch.exemplars),
        }
    }

    /// Counts a request of which the receiver says how much it has.
    fn written(&self, batch: &Batch, written: Written, problem: String, reason: DropReason) {
        let samples = written.samples.min(batch.samples);
        if samples > 0 {
            self.sent(batch, samples, written.exemplars.min(batch.exemplars));
        }
        if samples < batch.samples {
            self.refused(batch.samples - samples, problem, reason);
        }
    }

    fn sent(&self, batch: &Batch, samples: u64, exemplars: u64) {
        let newest_ms = batch.highest_timestamp_ms;
        let metrics = &self.queue.metrics;
        metrics.sent(samples, exemplars, batch.body.len(), newest_ms);
    }

    /// Counts samples that are lost because the receiver does not take them.
    fn refused(&self, samples: u64, problem: String, reason: DropReason) {
        if let Some(suppressed) = self.destination.refusal_log.admit() {
            tracing::error!(
                endpoint = self.destination.name,
                tenant = %self.queue.tenant_id(),
                samples,
                problem,
                suppressed,
                "receiver refused samples for good, they are dropped"
            );
        }
        self.queue.metrics.dropped(reason, samples);
    }

    /// Counts a failure that may pass.
    pub(crate) fn failed(&self, failure: &Failure, samples: u64) {
        self.queue.metrics.retried(samples);
        if let Some(suppressed) = self.destination.failure_log.admit() {
            tracing::warn!(
                endpoint = self.destination.name,
                tenant = %self.queue.tenant_id(),
                problem = failure.problem,
                suppressed,
                "remote write failed and will be tried again"
            );
        }
    }
}

/// Whether smaller requests may be taken.
fn is_divisible(reason: DropReason) -> bool {
    matches!(reason, DropReason::BadRequest | DropReason::TooLarge)
}

fn is_too_old(problem: &str) -> bool {
    TOO_OLD.iter().any(|text| problem.contains(text))
}
