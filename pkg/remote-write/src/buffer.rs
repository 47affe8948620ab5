//! Requests that wait to be sent, in memory and bounded.
//!
//! For each tenant and endpoint there is a queue, oldest first, of which one
//! request at most is under way, so that the samples of a series arrive in
//! order. A tenant with nothing to send costs a map entry and no task or
//! timer. The durable spool takes this place.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use model::TenantId;
use parking_lot::Mutex;
use telemetry::LogThrottle;
use tokio::sync::Notify;

use crate::encode::Batch;
use crate::metrics::{DropReason, TenantMetrics};
use crate::protocol::Protocol;
use crate::written::Written;

/// How often dropped samples are logged; every one is counted.
const DROP_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Bounds of the buffer, in bytes of compressed requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// What may wait for one tenant, over all endpoints.
    pub(crate) per_tenant: usize,
    /// What may wait in all.
    pub(crate) total: usize,
}

/// The queues of all tenants.
#[derive(Debug)]
pub(crate) struct Buffer {
    state: Mutex<State>,
    limits: Limits,
    /// Per endpoint: rung when a queue becomes ready, or on close.
    work: Vec<Notify>,
    emptied: Notify,
    drop_log: LogThrottle,
}

#[derive(Debug, Default)]
struct State {
    tenants: HashMap<TenantId, Tenant>,
    /// Tenants that hold memory, by how much.
    by_bytes: BTreeSet<(usize, TenantId)>,
    bytes: usize,
    samples: u64,
    /// Per endpoint: tenants whose next request can go, longest waiting first.
    ready: Vec<VecDeque<TenantId>>,
    closed: bool,
}

#[derive(Debug)]
struct Tenant {
    queues: Vec<Queue>,
    bytes: usize,
    /// Writers that exist; without any, the tenant goes when it is empty.
    writers: usize,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Batch>,
    bytes: usize,
    phase: Phase,
    headers: Arc<HeaderMap>,
    metrics: TenantMetrics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// In the endpoint's list of ready tenants.
    Ready,
    /// A request is under way, or waits to be sent again.
    Busy,
}

/// What a tenant needs at one endpoint.
#[derive(Debug)]
pub(crate) struct Registration {
    /// Headers of its requests.
    pub(crate) headers: Arc<HeaderMap>,
    /// Its counters.
    pub(crate) metrics: TenantMetrics,
}

/// A request taken out to be sent; it is to be given back with an end.
#[derive(Debug)]
pub(crate) struct Work {
    /// Whose samples.
    pub(crate) tenant: TenantId,
    /// The headers to send.
    pub(crate) headers: Arc<HeaderMap>,
    /// The request.
    pub(crate) batch: Batch,
    /// The same in 1.0, if it is in 2.0 and cannot be sent so.
    pub(crate) in_v1: Option<Bytes>,
}

impl Work {
    /// What is sent, and in which protocol.
    pub(crate) fn body(&self) -> (Protocol, &Bytes) {
        match &self.in_v1 {
            Some(body) => (Protocol::V1, body),
            None => (self.batch.protocol, &self.batch.body),
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The receiver has it.
    Sent,
    /// It will never be delivered.
    Dropped(DropReason),
    /// The receiver has so much of it; the rest will never be delivered.
    Partly(Written, DropReason),
}

impl Buffer {
    /// A buffer for so many endpoints.
    pub(crate) fn new(endpoints: usize, limits: Limits) -> Self {
        Self {
            state: Mutex::new(State {
                ready: vec![VecDeque::new(); endpoints],
                ..State::default()
            }),
            limits,
            work: (0..endpoints).map(|_| Notify::new()).collect(),
            emptied: Notify::new(),
            drop_log: LogThrottle::new(DROP_LOG_INTERVAL),
        }
    }

    /// Adds a writer of a tenant; `register` is called for each endpoint if the
    /// tenant is new.
    pub(crate) fn open(&self, tenant: &TenantId, register: impl Fn(usize) -> Registration) {
        let mut state = self.state.lock();
        let endpoints = state.ready.len();
        state
            .tenants
            .entry(tenant.clone())
            .or_insert_with(|| Tenant::new((0..endpoints).map(register)))
            .writers += 1;
    }

    /// Sets the headers of requests that are not yet under way.
    pub(crate) fn set_headers(&self, tenant: &TenantId, headers: Vec<Arc<HeaderMap>>) {
        if let Some(tenant) = self.state.lock().tenants.get_mut(tenant) {
            for (queue, headers) in tenant.queues.iter_mut().zip(headers) {
                queue.headers = headers;
            }
        }
    }

    /// Removes a writer of a tenant. With the last one the tenant goes, as soon
    /// as nothing of it waits.
    pub(crate) fn close(&self, tenant: &TenantId) {
        let mut state = self.state.lock();
        if let Some(entry) = state.tenants.get_mut(tenant) {
            entry.writers = entry.writers.saturating_sub(1);
        }
        state.remove_if_unused(tenant);
    }

    /// Appends requests of a tenant for one endpoint, in order. When that is
    /// more than may wait, the oldest are dropped and counted.
    pub(crate) fn push(&self, tenant: &TenantId, endpoint: usize, batches: &[Batch]) {
        let mut state = self.state.lock();
        if state.closed || batches.is_empty() {
            return;
        }
        let mut dropped = 0;
        for batch in batches {
            state.add(tenant, endpoint, batch.clone());
            dropped += state.shrink(tenant, self.limits);
        }
        state.make_ready(tenant, endpoint);
        drop(state);
        if let Some(work) = self.work.get(endpoint) {
            work.notify_one();
        }
        if dropped > 0 {
            self.emptied.notify_waiters();
        }
        if dropped > 0
            && let Some(suppressed) = self.drop_log.admit()
        {
            tracing::error!(
                %tenant,
                samples = dropped,
                suppressed,
                "remote-write buffer is full, the oldest samples are dropped"
            );
        }
    }

    /// Takes the next request for an endpoint.
    pub(crate) fn take(&self, endpoint: usize) -> Option<Work> {
        let mut state = self.state.lock();
        loop {
            let tenant = state.ready.get_mut(endpoint)?.pop_front()?;
            let Some(queue) = state.queue(&tenant, endpoint) else {
                continue;
            };
            // A tenant that went and came back may be listed twice.
            if queue.phase != Phase::Ready {
                continue;
            }
            // The limits may have emptied it since it was ready.
            let Some(batch) = queue.waiting.pop_front() else {
                queue.phase = Phase::Idle;
                continue;
            };
            queue.phase = Phase::Busy;
            return Some(Work {
                headers: queue.headers.clone(),
                tenant,
                batch,
                in_v1: None,
            });
        }
    }

    /// Counts an attempt that failed and will be made again.
    pub(crate) fn retried(&self, endpoint: usize, work: &Work) {
        if let Some(queue) = self.state.lock().queue(&work.tenant, endpoint) {
            queue.metrics.retried(&work.batch);
        }
    }

    /// Gives a request back that has ended, so that the tenant's next can go.
    pub(crate) fn finish(&self, endpoint: usize, work: &Work, end: End) {
        let mut state = self.state.lock();
        if let Some(queue) = state.queue(&work.tenant, endpoint) {
            let (batch, bytes) = (&work.batch, work.body().1.len());
            match end {
                End::Sent => queue.metrics.sent(batch, bytes),
                End::Dropped(reason) => queue.metrics.dropped(reason, batch),
                End::Partly(written, reason) => {
                    queue.metrics.sent_partly(batch, bytes, written, reason);
                }
            }
            queue.phase = Phase::Idle;
        }
        state.subtract(&work.tenant, endpoint, &work.batch);
        state.make_ready(&work.tenant, endpoint);
        state.remove_if_unused(&work.tenant);
        let empty = state.samples == 0;
        drop(state);
        if empty {
            self.emptied.notify_waiters();
        }
    }

    /// Samples that wait or are under way, summed over the endpoints.
    pub(crate) fn samples(&self) -> u64 {
        self.state.lock().samples
    }

    /// Waits until nothing waits and nothing is under way. Cancel-safe.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            let mut emptied = std::pin::pin!(emptied);
            emptied.as_mut().enable();
            let state = self.state.lock().status();
            if state.samples == 0 || state.closed {
                return;
            }
            emptied.await;
        }
    }

    /// Waits until there may be work for an endpoint. Cancel-safe.
    pub(crate) async fn work(&self, endpoint: usize) {
        if let Some(work) = self.work.get(endpoint) {
            work.notified().await;
        }
    }

    /// Ends all sending; what waits is not sent any more, nor is more taken.
    pub(crate) fn shut(&self) {
        self.state.lock().closed = true;
        for work in &self.work {
            work.notify_one();
        }
        self.emptied.notify_waiters();
    }

    /// Whether sending has been ended.
    pub(crate) fn is_shut(&self) -> bool {
        self.state.lock().closed
    }
}

/// What [`Buffer::empty`] looks at, so that no lock is held while it waits.
struct Status {
    samples: u64,
    closed: bool,
}

impl State {
    fn status(&self) -> Status {
        Status {
            samples: self.samples,
            closed: self.closed,
        }
    }

    fn queue(&mut self, tenant: &TenantId, endpoint: usize) -> Option<&mut Queue> {
        self.tenants.get_mut(tenant)?.queues.get_mut(endpoint)
    }

    fn add(&mut self, tenant: &TenantId, endpoint: usize, batch: Batch) {
        let bytes = batch.body.len();
        let samples = batch.samples;
        let Some(queue) = self.queue(tenant, endpoint) else {
            return;
        };
        queue.metrics.buffered(&batch);
        queue.bytes += bytes;
        queue.waiting.push_back(batch);
        self.samples += samples;
        self.bytes += bytes;
        self.resize(tenant, |held| held + bytes);
    }

    /// Accounts for a batch that has left its queue.
    fn subtract(&mut self, tenant: &TenantId, endpoint: usize, batch: &Batch) {
        let bytes = batch.body.len();
        let Some(queue) = self.queue(tenant, endpoint) else {
            return;
        };
        queue.metrics.unbuffered(batch);
        queue.bytes -= bytes;
        self.samples -= batch.samples;
        self.bytes -= bytes;
        self.resize(tenant, |held| held - bytes);
    }

    fn resize(&mut self, tenant: &TenantId, change: impl Fn(usize) -> usize) {
        if let Some(entry) = self.tenants.get_mut(tenant) {
            let before = entry.bytes;
            entry.bytes = change(before);
            let after = entry.bytes;
            self.by_bytes.remove(&(before, tenant.clone()));
            if after > 0 {
                self.by_bytes.insert((after, tenant.clone()));
            }
        }
    }

    /// Drops the oldest until the limits hold; returns how many samples.
    fn shrink(&mut self, tenant: &TenantId, limits: Limits) -> u64 {
        let mut dropped = 0;
        while self
            .tenants
            .get(tenant)
            .is_some_and(|entry| entry.bytes > limits.per_tenant)
        {
            match self.drop_oldest(tenant) {
                Some(samples) => dropped += samples,
                None => break,
            }
        }
        while self.bytes > limits.total {
            match self
                .largest()
                .and_then(|largest| self.drop_oldest(&largest))
            {
                Some(samples) => dropped += samples,
                None => break,
            }
        }
        dropped
    }

    /// The tenant that holds most, of those that have something to drop: what
    /// is under way is not dropped.
    fn largest(&self) -> Option<TenantId> {
        let waits = |tenant: &TenantId| {
            let entry = self.tenants.get(tenant);
            entry.is_some_and(|entry| entry.queues.iter().any(|q| !q.waiting.is_empty()))
        };
        let mut by_bytes = self.by_bytes.iter().rev();
        by_bytes.find_map(|(_, tenant)| waits(tenant).then(|| tenant.clone()))
    }

    /// Drops the oldest request of the tenant's longest queue.
    fn drop_oldest(&mut self, tenant: &TenantId) -> Option<u64> {
        let queues = &mut self.tenants.get_mut(tenant)?.queues;
        let (endpoint, queue) = queues
            .iter_mut()
            .enumerate()
            .filter(|(_, queue)| !queue.waiting.is_empty())
            .max_by_key(|(_, queue)| queue.bytes)?;
        let batch = queue.waiting.pop_front()?;
        queue.metrics.dropped(DropReason::BufferFull, &batch);
        self.subtract(tenant, endpoint, &batch);
        Some(batch.samples)
    }

    /// Puts an idle queue that has something to send among the ready.
    fn make_ready(&mut self, tenant: &TenantId, endpoint: usize) {
        if let Some(queue) = self.queue(tenant, endpoint)
            && queue.phase == Phase::Idle
            && !queue.waiting.is_empty()
        {
            queue.phase = Phase::Ready;
            if let Some(ready) = self.ready.get_mut(endpoint) {
                ready.push_back(tenant.clone());
            }
        }
    }

    fn remove_if_unused(&mut self, tenant: &TenantId) {
        if self
            .tenants
            .get(tenant)
            .is_some_and(|entry| entry.writers == 0 && entry.bytes == 0)
        {
            self.tenants.remove(tenant);
        }
    }
}

impl Tenant {
    fn new(registrations: impl Iterator<Item = Registration>) -> Self {
        Self {
            queues: registrations
                .map(|registration| Queue {
                    waiting: VecDeque::new(),
                    bytes: 0,
                    phase: Phase::Idle,
                    headers: registration.headers,
                    metrics: registration.metrics,
                })
                .collect(),
            bytes: 0,
            writers: 0,
        }
    }
}

#[cfg(test)]
mod tests;
