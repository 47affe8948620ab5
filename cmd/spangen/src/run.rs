//! A run: workers that send, until time, spans or patience end.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use model::Clock;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::arrival::{Arrival, Outgoing};
use crate::client::{Answer, Client, Payload};
use crate::pace::Pace;
use crate::report::{Report, Tally};
use crate::template::{Stamp, mix};
use crate::truth::Truth;
use crate::workload::Workload;

/// What does not change during a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Spans a second; `None` is as fast as possible.
    pub(crate) rate: Option<f64>,
    /// When to stop by itself.
    pub(crate) duration: Option<Duration>,
    /// After how many spans to stop.
    pub(crate) spans: Option<u64>,
    /// Requests in flight for each client.
    pub(crate) in_flight: usize,
    /// How long to wait for an answer.
    pub(crate) timeout: Duration,
    /// How long to try again.
    pub(crate) retry_for: Duration,
    /// Decides all ids.
    pub(crate) seed: u64,
}

/// A run in progress. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Run(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    clock: Clock,
    started: Instant,
    tenants: Vec<HeaderValue>,
    plan: Mutex<Plan>,
    tally: Mutex<Tally>,
    latency_log: Option<Mutex<BufWriter<File>>>,
    stop: watch::Sender<bool>,
}

/// What is sent next.
#[derive(Debug)]
struct Plan {
    workload: Workload,
    arrival: Arrival,
    truth: Option<Truth>,
    pace: Pace,
    batches: u64,
    remaining: Option<u64>,
}

/// A request that has its turn.
struct Job {
    payload: Payload,
    due: Duration,
    repeat: bool,
}

impl Run {
    /// A run that begins now.
    pub(crate) fn new(
        limits: Limits,
        workload: Workload,
        arrival: Arrival,
        truth: Option<Truth>,
        tenants: Vec<HeaderValue>,
        latency_log: Option<File>,
    ) -> Self {
        Self(Arc::new(Shared {
            limits,
            clock: Clock::system(),
            started: Instant::now(),
            tenants,
            plan: Mutex::new(Plan {
                workload,
                arrival,
                truth,
                pace: Pace::new(limits.rate),
                batches: 0,
                remaining: limits.spans,
            }),
            tally: Mutex::default(),
            latency_log: latency_log.map(|file| Mutex::new(BufWriter::new(file))),
            stop: watch::Sender::new(false),
        }))
    }

    /// Ends the run early: nothing new is sent and nothing sent again.
    pub(crate) fn stop(&self) {
        self.0.stop.send_replace(true);
    }

    /// How it goes.
    pub(crate) fn report(&self) -> Report {
        self.0.tally.lock().report(self.0.started.elapsed())
    }

    /// Sends over all clients until the end, then waits for answers.
    ///
    /// Not cancel-safe; [`Run::abandon`] settles the counts after a drop.
    pub(crate) async fn drive(&self, clients: Vec<Client>) {
        let mut workers = JoinSet::new();
        for client in clients {
            for _ in 0..self.0.limits.in_flight.max(1) {
                workers.spawn(self.clone().work(client.clone()));
            }
        }
        while workers.join_next().await.is_some() {}
    }

    /// Counts what is still in flight as unknown, writes the logs out, and gives
    /// the final report.
    pub(crate) fn abandon(&self) -> Report {
        if let Some(log) = &self.0.latency_log {
            let _ = log.lock().flush();
        }
        let mut tally = self.0.tally.lock();
        tally.abandoned();
        tally.report(self.0.started.elapsed())
    }

    /// The truth about what was generated; `None` if it is not wanted, or if not all
    /// of it was sent.
    pub(crate) fn take_truth(&self) -> Option<Truth> {
        let stopped = *self.0.stop.borrow();
        self.0.plan.lock().truth.take().filter(|_| !stopped)
    }

    async fn work(self, client: Client) {
        let mut stop = self.0.stop.subscribe();
        while let Some(mut job) = self.next_job() {
            let due = self.0.started + job.due;
            let since = counted_from(self.0.limits.rate, due, Instant::now());
            if due > Instant::now() {
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    _ = stop.wait_for(|stop| *stop) => return,
                }
            }
            if *stop.borrow() {
                return;
            }
            if job.payload.stamp.now == 0 {
                job.payload.stamp.now = self.0.clock.unix_nanos();
            }
            self.deliver(&client, &job.payload, since).await;
            if job.repeat && !*stop.borrow() {
                self.deliver(&client, &job.payload, None).await;
            }
        }
    }

    /// The next request, or `None` at the end.
    fn next_job(&self) -> Option<Job> {
        let shared = &self.0;
        let elapsed = shared.started.elapsed();
        if *shared.stop.borrow() {
            return None;
        }
        let mut plan = shared.plan.lock();
        let outgoing = plan.next(&shared.limits, elapsed, &shared.clock)?;
        let due = plan.pace.reserve(elapsed, outgoing.template.spans());
        let turn = outgoing.batch % shared.tenants.len().max(1) as u64;
        Some(Job {
            payload: Payload {
                template: outgoing.template,
                stamp: outgoing.stamp,
                tenant: shared.tenants.get(turn as usize).cloned(),
            },
            due: due.max(outgoing.not_before),
            repeat: outgoing.repeat,
        })
    }

    /// Sends a request, again if the server wants that, and counts the outcome.
    async fn deliver(&self, client: &Client, payload: &Payload, mut since: Option<Instant>) {
        let shared = &self.0;
        let spans = payload.template.spans();
        shared
            .tally
            .lock()
            .started(spans, payload.template.length());
        let first = Instant::now();
        let mut attempt = 0;
        let outcome = loop {
            let start = since.take().unwrap_or_else(Instant::now);
            let answer = match timeout(shared.limits.timeout, client.send(payload)).await {
                Ok(answer) => answer,
                Err(_) => Answer::Unknown {
                    reason: format!("no answer within {:?}", shared.limits.timeout),
                },
            };
            self.log(&answer, start.elapsed());
            let Answer::Retry { after, .. } = &answer else {
                break answer;
            };
            let delay = after.unwrap_or_else(|| backoff(attempt, payload.stamp.seed));
            let over = first.elapsed() + delay > shared.limits.retry_for;
            if over || self.stopped_within(delay).await {
                break answer;
            }
            attempt += 1;
            shared.tally.lock().retried();
        };
        shared.tally.lock().finished(spans, &outcome);
    }

    fn log(&self, answer: &Answer, latency: Duration) {
        if matches!(answer, Answer::Unknown { .. }) {
            return;
        }
        self.0.tally.lock().answered(latency);
        if let Some(log) = &self.0.latency_log {
            let end = u128::from(self.0.clock.unix_nanos() / 1_000);
            let micros = latency.as_micros();
            let _ = writeln!(log.lock(), "{} {micros}", end.saturating_sub(micros));
        }
    }

    async fn stopped_within(&self, delay: Duration) -> bool {
        let mut stop = self.0.stop.subscribe();
        tokio::select! {
            () = sleep(delay) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        }
    }
}

impl Plan {
    /// The next request: a late one that is due, one on time, or after these a late one
    /// that is not due yet.
    fn next(&mut self, limits: &Limits, elapsed: Duration, clock: &Clock) -> Option<Outgoing> {
        if let Some(late) = self.arrival.due(elapsed) {
            return Some(late);
        }
        if self.arrival.is_empty() {
            while !self.arrival.is_full() && self.add_batch(limits, elapsed, clock) {}
            self.arrival.shuffle();
        }
        self.arrival.next()
    }

    /// Makes the requests of the next batch; `false` at the end.
    fn add_batch(&mut self, limits: &Limits, elapsed: Duration, clock: &Clock) -> bool {
        let due = self.pace.next(elapsed);
        if limits.duration.is_some_and(|end| elapsed.max(due) >= end) || self.remaining == Some(0) {
            return false;
        }
        let Some(mut batch) = self.workload.batch(self.batches) else {
            return false;
        };
        if let Some(remaining) = self.remaining {
            if batch.spans() > remaining {
                batch = self.workload.exactly(remaining);
            }
            self.remaining = Some(remaining - batch.spans());
        }
        let stamp = Stamp {
            seed: mix(limits.seed ^ self.batches << 20),
            // A request on its own gets its time when it is sent.
            now: if batch.parts.len() > 1 {
                clock.unix_nanos()
            } else {
                0
            },
            churn: self.workload.churn(due.max(elapsed)),
        };
        let repeated = self.arrival.add(self.batches, &batch.parts, stamp, elapsed);
        if let Some(truth) = &mut self.truth {
            truth.add(&batch.graph, &stamp, repeated);
        }
        self.batches += 1;
        true
    }
}

/// When the latency of a request began, if that was before it could be sent.
///
/// With a rate, a request that comes late because earlier ones wait for their
/// answers has waited too: otherwise a server that stands still for a while
/// would be blamed for a few requests only.
fn counted_from(rate: Option<f64>, due: Instant, now: Instant) -> Option<Instant> {
    (rate.is_some() && due < now).then_some(due)
}

/// 100 ms, doubled with each attempt up to 5 s, of which a random half is cut.
fn backoff(attempt: u32, random: u64) -> Duration {
    const FIRST: u64 = 100;
    const LONGEST: u64 = 5_000;
    let full = (FIRST << attempt.min(10)).min(LONGEST);
    let cut = mix(random ^ u64::from(attempt)) % (full / 2);
    Duration::from_millis(full - cut)
}

#[cfg(test)]
mod tests;
