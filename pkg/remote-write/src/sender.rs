//! One task for each endpoint: takes requests from the buffer, keeps a bounded
//! number of them under way, and sends them again when they fail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use prometheus_client::metrics::histogram::Histogram;
use telemetry::LogThrottle;
use tokio::time::{Instant, sleep_until};

use crate::buffer::{Buffer, End, Work};
use crate::client::{Attempt, Client};
use crate::config::QueueConfig;
use crate::retry::Backoff;

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
    durations: Histogram,
    failure_log: LogThrottle,
    refusal_log: LogThrottle,
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
        durations: Histogram,
    ) -> Self {
        Self {
            endpoint,
            name,
            buffer,
            client,
            queue,
            durations,
            failure_log: LogThrottle::new(FAILURE_LOG_INTERVAL),
            refusal_log: LogThrottle::new(FAILURE_LOG_INTERVAL),
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

    async fn attempt(&self, job: Job) -> (Job, Attempt) {
        let start = Instant::now();
        let attempt = self
            .client
            .send(&job.work.headers, job.work.batch.body.clone())
            .await;
        self.durations.observe(start.elapsed().as_secs_f64());
        (job, attempt)
    }

    /// Gives a job that has ended back to the buffer, or returns it to be
    /// sent again.
    fn conclude(&self, mut job: Job, attempt: Attempt) -> Option<Delayed> {
        match attempt {
            Attempt::Delivered => {
                if job.failures > 0 {
                    tracing::info!(
                        endpoint = self.name,
                        tenant = %job.work.tenant,
                        failures = job.failures,
                        "remote write works again"
                    );
                }
                self.buffer.finish(self.endpoint, &job.work, End::Sent);
                None
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
            Attempt::Refused { problem, reason } => {
                if let Some(suppressed) = self.refusal_log.admit() {
                    tracing::error!(
                        endpoint = self.name,
                        tenant = %job.work.tenant,
                        samples = job.work.batch.samples,
                        problem,
                        suppressed,
                        "receiver refused samples for good, they are dropped"
                    );
                }
                let end = End::Dropped(reason);
                self.buffer.finish(self.endpoint, &job.work, end);
                None
            }
        }
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
