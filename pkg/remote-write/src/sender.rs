//! One task for each endpoint: takes requests from the buffer, keeps a bounded
//! number of them under way, and sends them again when they fail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use telemetry::LogThrottle;
use tokio::time::{Instant, sleep_until};

use crate::buffer::{Buffer, End, Work};
use crate::client::{Attempt, Client};
use crate::config::QueueConfig;
use crate::encode::transcode::to_v1;
use crate::metrics::DropReason;
use crate::protocol::{Negotiation, Protocol};
use crate::retry::Backoff;
use crate::written::Written;

/// How often failures of an endpoint are logged; every one is counted.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The sender of one endpoint.
#[derive(Debug)]
pub(crate) struct Sender {
    endpoint: usize,
    name: String,
    buffer: Arc<Buffer>,
    client: Client,
    queue: QueueConfig,
    negotiation: Arc<Negotiation>,
    measures: Measures,
    failure_log: LogThrottle,
    refusal_log: LogThrottle,
    fallback_log: LogThrottle,
}

/// What a sender counts of its endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Measures {
    /// How long requests take.
    pub(crate) durations: Histogram,
    /// Requests that had to be sent in 1.0 after all.
    pub(crate) fallbacks: Counter,
}

/// A request with the delays of its attempts.
#[derive(Debug)]
struct Job {
    work: Work,
    backoff: Backoff,
    failures: u64,
}

/// A job that waits to be sent again; ordered by time alone.
#[derive(Debug)]
struct Delayed {
    due: Instant,
    job: Job,
}

impl Sender {
    /// A sender of the endpoint at a place in the buffer.
    pub(crate) fn new(
        endpoint: usize,
        name: String,
        buffer: Arc<Buffer>,
        client: Client,
        queue: QueueConfig,
        negotiation: Arc<Negotiation>,
        measures: Measures,
    ) -> Self {
        Self {
            endpoint,
            name,
            buffer,
            client,
            queue,
            negotiation,
            measures,
            failure_log: LogThrottle::new(FAILURE_LOG_INTERVAL),
            refusal_log: LogThrottle::new(FAILURE_LOG_INTERVAL),
            fallback_log: LogThrottle::new(FAILURE_LOG_INTERVAL),
        }
    }

    /// Sends until the buffer is shut.
    pub(crate) async fn run(self) {
        let mut under_way = FuturesUnordered::new();
        let mut delayed: BinaryHeap<Reverse<Delayed>> = BinaryHeap::new();
        while !self.buffer.is_shut() {
            while under_way.len() < self.queue.max_shards
                && let Some(job) = self.next(&mut delayed)
            {
                under_way.push(self.attempt(job));
            }
            let room = under_way.len() < self.queue.max_shards;
            let due = delayed.peek().map(|Reverse(first)| first.due);
            tokio::select! {
                Some((job, attempt)) = under_way.next() => {
                    if let Some(again) = self.conclude(job, attempt) {
                        delayed.push(Reverse(again));
                    }
                }
                () = self.buffer.work(self.endpoint) => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if room && due.is_some() => {}
            }
        }
    }

    /// The next job: one whose delay is over, or else a fresh one.
    fn next(&self, delayed: &mut BinaryHeap<Reverse<Delayed>>) -> Option<Job> {
        if delayed
            .peek()
            .is_some_and(|Reverse(first)| first.due <= Instant::now())
        {
            return delayed.pop().map(|Reverse(first)| first.job);
        }
        Some(Job {
            work: self.buffer.take(self.endpoint)?,
            backoff: Backoff::new(self.queue.min_backoff, self.queue.max_backoff),
            failures: 0,
        })
    }

    async fn attempt(&self, mut job: Job) -> (Job, Attempt) {
        if let Err(attempt) = self.speak(&mut job.work) {
            return (job, attempt);
        }
        let start = Instant::now();
        let (protocol, body) = job.work.body();
        let attempt = self
            .client
            .send(&job.work.headers, protocol, body.clone())
            .await;
        self.measures
            .durations
            .observe(start.elapsed().as_secs_f64());
        (job, attempt)
    }

    /// Turns a request in 2.0 into 1.0, if the endpoint has been found to take
    /// nothing else since it was encoded.
    fn speak(&self, work: &mut Work) -> Result<(), Attempt> {
        if work.body().0 == Protocol::V2 && self.negotiation.has_fallen_back() {
            let body = to_v1(&work.batch.body).map_err(|error| Attempt::Refused {
                problem: telemetry::error_chain(&error).to_string(),
                reason: DropReason::UnsupportedMediaType,
                written: None,
            })?;
            work.in_v1 = Some(body);
        }
        Ok(())
    }

    /// Gives a job that has ended back to the buffer, or returns it to be
    /// sent again.
    fn conclude(&self, mut job: Job, attempt: Attempt) -> Option<Delayed> {
        match attempt {
            Attempt::Delivered(written) => {
                if job.failures > 0 {
                    tracing::info!(
                        endpoint = self.name,
                        tenant = %job.work.tenant,
                        failures = job.failures,
                        "remote write works again"
                    );
                }
                self.delivered(&job.work, written);
                None
            }
            Attempt::Unsupported { problem, reason } => {
                if !self.negotiation.fall_back() {
                    let hint = "; protobuf_message: auto would send 1.0";
                    self.refused(&job.work, problem + hint, End::Dropped(reason));
                    return None;
                }
                self.measures.fallbacks.inc();
                if let Some(suppressed) = self.fallback_log.admit() {
                    tracing::info!(
                        endpoint = self.name,
                        problem,
                        suppressed,
                        "receiver does not take remote write 2.0, 1.0 is sent for an hour"
                    );
                }
                Some(Delayed {
                    due: Instant::now(),
                    job,
                })
            }
            Attempt::Failed {
                problem,
                retry_after,
            } => {
                job.failures += 1;
                self.buffer.retried(self.endpoint, &job.work);
                let delay = job.backoff.delay(rand::random(), retry_after);
                if let Some(suppressed) = self.failure_log.admit() {
                    tracing::warn!(
                        endpoint = self.name,
                        tenant = %job.work.tenant,
                        problem,
                        delay_seconds = delay.as_secs_f64(),
                        suppressed,
                        "remote write failed and will be tried again"
                    );
                }
                Some(Delayed {
                    due: Instant::now() + delay,
                    job,
                })
            }
            Attempt::Refused {
                problem,
                reason,
                written,
            } => {
                let end =
                    written.map_or(End::Dropped(reason), |written| End::Partly(written, reason));
                self.refused(&job.work, problem, end);
                None
            }
        }
    }

    /// Ends a request that was answered with a success.
    fn delivered(&self, work: &Work, written: Option<Written>) {
        let Some(written) = written else {
            self.buffer.finish(self.endpoint, work, End::Sent);
            return;
        };
        let end = End::Partly(written, DropReason::NotWritten);
        if written.samples < work.batch.samples {
            let problem = format!("says that it has written {}", written.samples);
            self.refused(work, problem, end);
        } else {
            self.buffer.finish(self.endpoint, work, end);
        }
    }

    /// Ends a request of which samples are lost.
    fn refused(&self, work: &Work, problem: String, end: End) {
        let kept = match end {
            End::Partly(written, _) => written.samples,
            End::Sent | End::Dropped(_) => 0,
        };
        if let Some(suppressed) = self.refusal_log.admit() {
            tracing::error!(
                endpoint = self.name,
                tenant = %work.tenant,
                samples = work.batch.samples.saturating_sub(kept),
                problem,
                suppressed,
                "receiver refused samples for good, they are dropped"
            );
        }
        self.buffer.finish(self.endpoint, work, end);
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}
