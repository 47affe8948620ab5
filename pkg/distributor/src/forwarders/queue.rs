//! Requests that wait for one endpoint, in a line for each tenant.
//!
//! Lines take turns. A line whose first request was not taken waits until it is tried
//! again, and the others do not wait with it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use lifecycle::Shutdown;
use model::TenantId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    /// Requests of one tenant.
    pub(super) requests: usize,
    /// Bytes of one tenant.
    pub(super) bytes: usize,
    /// Bytes of all tenants.
    pub(super) total_bytes: usize,
}

/// Why a request may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotQueued {
    Full,
    Stopped,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) request: Bytes,
    /// When it came.
    pub(super) since: Instant,
    /// How often it was not taken.
    pub(super) failures: u32,
}

#[derive(Debug)]
pub(super) struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
    changed: Notify,
}

/// A tenant with a line is ready, delayed, or with the one who has taken its first
/// request; and only one of these.
#[derive(Debug, Default)]
struct State {
    lines: HashMap<TenantId, Line>,
    ready: VecDeque<TenantId>,
    delayed: BTreeMap<(Instant, u64), TenantId>,
    /// For keys of what is delayed.
    delays: u64,
    bytes: usize,
    is_stopped: bool,
}

#[derive(Debug, Default)]
struct Line {
    requests: VecDeque<Waiting>,
    /// Those with the one who has taken the first request included.
    bytes: usize,
}

/// What a worker does next.
enum Step {
    Send(TenantId, Waiting),
    Wait(Option<Instant>),
    End,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Puts a request at the end of its tenant's line.
    ///
    /// # Errors
    ///
    /// Why it may not wait.
    pub(super) fn push(&self, tenant: &TenantId, request: Bytes) -> Result<(), NotQueued> {
        let length = request.len();
        let mut state = self.state.lock();
        if state.is_stopped {
            return Err(NotQueued::Stopped);
        }
        let (waiting, bytes) = match state.lines.get(tenant) {
            Some(line) => (line.requests.len(), line.bytes),
            None => (0, 0),
        };
        let is_full = waiting >= self.limits.requests
            || bytes.saturating_add(length) > self.limits.bytes
            || state.bytes.saturating_add(length) > self.limits.total_bytes;
        if is_full {
            return Err(NotQueued::Full);
        }
        let is_new = !state.lines.contains_key(tenant);
        state.bytes += length;
        let line = state.lines.entry(tenant.clone()).or_default();
        line.bytes += length;
        line.requests.push_back(Waiting {
            request,
            since: Instant::now(),
            failures: 0,
        });
        if is_new {
            state.ready.push_back(tenant.clone());
            self.changed.notify_one();
        }
        Ok(())
    }

    /// The next request to send, once there is one; `None` when all are sent after
    /// shutdown. [`Queue::done`] or [`Queue::retry`] has to follow. Cancel-safe.
    pub(super) async fn next(&self, shutdown: &Shutdown) -> Option<(TenantId, Waiting)> {
        loop {
            let changed = self.changed.notified();
            let until = match self.state.lock().step(shutdown.is_triggered()) {
                Step::Send(tenant, waiting) => return Some((tenant, waiting)),
                Step::Wait(until) => until,
                Step::End => {
                    // The next worker is to see it, too.
                    self.changed.notify_one();
                    return None;
                }
            };
            let due = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let stopping = async {
                match shutdown.is_triggered() {
                    // Somebody else still sends; what becomes of it changes the queue.
                    true => std::future::pending().await,
                    false => shutdown.requested().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = due => {}
                () = stopping => {}
            }
        }
    }

    /// A request is sent, or given up.
    pub(super) fn done(&self, tenant: &TenantId, length: usize) {
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(length);
        if let Some(line) = state.lines.get_mut(tenant) {
            line.bytes = line.bytes.saturating_sub(length);
            if line.requests.is_empty() {
                state.lines.remove(tenant);
            } else {
                state.ready.push_back(tenant.clone());
            }
        }
        self.changed.notify_one();
    }

    /// A request is to be sent again after a while, before the others of its tenant.
    pub(super) fn retry(&self, tenant: TenantId, mut waiting: Waiting, after: Duration) {
        waiting.failures = waiting.failures.saturating_add(1);
        let mut state = self.state.lock();
        if let Some(line) = state.lines.get_mut(&tenant) {
            line.requests.push_front(waiting);
        }
        state.delays += 1;
        let key = (Instant::now() + after, state.delays);
        state.delayed.insert(key, tenant);
        self.changed.notify_one();
    }
}

impl State {
    fn step(&mut self, is_stopping: bool) -> Step {
        let now = Instant::now();
        while let Some(first) = self.delayed.first_entry()
            && (is_stopping || first.key().0 <= now)
        {
            let tenant = first.remove();
            self.ready.push_back(tenant);
        }
        while let Some(tenant) = self.ready.pop_front() {
            let line = self.lines.get_mut(&tenant);
            if let Some(waiting) = line.and_then(|line| line.requests.pop_front()) {
                return Step::Send(tenant, waiting);
            }
        }
        if is_stopping && self.lines.is_empty() {
            self.is_stopped = true;
            return Step::End;
        }
        Step::Wait(self.delayed.first_key_value().map(|((due, _), _)| *due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(QueueLimits {
            requests: 2,
            bytes: 10,
            total_bytes: 14,
        })
    }

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    fn bytes(length: usize) -> Bytes {
        vec![0; length].into()
    }

    async fn take(queue: &Queue, shutdown: &Shutdown) -> (TenantId, Waiting) {
        queue.next(shutdown).await.unwrap()
    }

    #[tokio::test]
    async fn each_limit_holds_until_something_is_done() {
        let (queue, shutdown) = (queue(), Shutdown::new());
        assert_eq!(queue.push(&tenant("a"), bytes(11)), Err(NotQueued::Full));
        assert_eq!(queue.push(&tenant("a"), bytes(1)), Ok(()));
        assert_eq!(queue.push(&tenant("a"), bytes(1)), Ok(()));
        assert_eq!(queue.push(&tenant("a"), bytes(1)), Err(NotQueued::Full));
        assert_eq!(queue.push(&tenant("b"), bytes(10)), Ok(()));
        assert_eq!(queue.push(&tenant("c"), bytes(3)), Err(NotQueued::Full));
        let (first, waiting) = take(&queue, &shutdown).await;
        assert_eq!((first.as_str(), queue.state.lock().bytes), ("a", 12));
        queue.done(&first, waiting.request.len());
        assert_eq!(queue.push(&tenant("c"), bytes(3)), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_waits_holds_up_no_other() {
        let (queue, shutdown) = (queue(), Shutdown::new());
        for (id, length) in [("a", 1), ("a", 2), ("b", 3)] {
            queue.push(&tenant(id), bytes(length)).unwrap();
        }
        let start = Instant::now();
        let mut order = Vec::new();
        for _ in 0..4 {
            let (id, waiting) = take(&queue, &shutdown).await;
            order.push((
                id.to_string(),
                waiting.request.len(),
                start.elapsed().as_secs(),
            ));
            match (waiting.request.len(), waiting.failures) {
                (1, 0) => queue.retry(id, waiting, Duration::from_secs(5)),
                (length, _) => queue.done(&id, length),
            }
        }
        let want = [("a", 1, 0), ("b", 3, 0), ("a", 1, 5), ("a", 2, 5)];
        assert_eq!(
            order,
            want.map(|(id, length, at)| (id.to_owned(), length, at))
        );
    }

    #[tokio::test]
    async fn what_waits_at_a_stop_is_handed_out_and_nothing_comes_after() {
        let (queue, shutdown) = (queue(), Shutdown::new());
        queue.push(&tenant("a"), bytes(1)).unwrap();
        let (id, waiting) = take(&queue, &shutdown).await;
        queue.retry(id, waiting, Duration::from_secs(1_000));
        shutdown.trigger();
        let (id, _) = take(&queue, &shutdown).await;
        queue.done(&id, 1);
        assert!(queue.next(&shutdown).await.is_none());
        assert_eq!(queue.push(&tenant("a"), bytes(1)), Err(NotQueued::Stopped));
    }
}
