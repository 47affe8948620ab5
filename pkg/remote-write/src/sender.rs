//! The one task that sends: gives queues their turns, and failed ones another later.
//!
//! A queue with nothing to send costs no task, no timer and no open file.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::gated::Gated;
use crate::queue::{Phase, Queue, Turn};
use crate::turn::{Turns, take_turn};

/// Queues that have their turn at the same time.
const MAX_TURNS: usize = 256;

/// Of these, queues whose last attempt failed: receivers that hang must not keep the
/// others from their turn.
const MAX_PROBES: usize = 64;

/// How often somebody looks for what has become too old.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Queues that are ready, and whoever gives them their turns.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    queues: Mutex<VecDeque<Arc<Queue>>>,
    arrived: Notify,
}

/// A queue that waits to be tried again; ordered by time alone.
#[derive(Debug)]
struct Waiting {
    due: Instant,
    queue: Arc<Queue>,
    /// Which turn it waits after.
    turn: u64,
}

impl Ready {
    /// Puts a queue with something to send among the ready, unless it is.
    pub(crate) fn wake(&self, queue: &Arc<Queue>) {
        if queue.wake() {
            self.push(Arc::clone(queue));
        }
    }

    fn push(&self, queue: Arc<Queue>) {
        self.queues.lock().push_back(queue);
        self.arrived.notify_one();
    }

    /// Ends the sender, once nothing is woken any more.
    pub(crate) fn stop(&self) {
        self.arrived.notify_one();
    }
}

/// Gives queues their turns until it is stopped. `sweep` is called now and then.
pub(crate) async fn run(turns: Arc<Turns>, ready: Arc<Ready>, sweep: impl Fn()) {
    let mut running = FuturesUnordered::new();
    let mut probes = 0;
    let mut held: VecDeque<Arc<Queue>> = VecDeque::new();
    let mut gated = Gated::default();
    let mut waiting: BinaryHeap<Reverse<Waiting>> = BinaryHeap::new();
    let mut next_sweep = Instant::now() + SWEEP_INTERVAL;
    while !turns.is_stopped.load(Ordering::Relaxed) {
        while let Some(Reverse(first)) = waiting.peek()
            && first.due <= Instant::now()
            && let Some(Reverse(due)) = waiting.pop()
        {
            if due.queue.end_wait(due.turn) {
                held.push_back(due.queue);
            }
        }
        for queue in gated.release(Instant::now()) {
            // Those that have not failed do not wait for what others try.
            match queue.is_probe() {
                true => held.push_back(queue),
                false => ready.queues.lock().push_front(queue),
            }
        }
        while running.len() < MAX_TURNS {
            let probe = (probes < MAX_PROBES).then(|| held.pop_front()).flatten();
            let Some(queue) = probe.or_else(|| ready.queues.lock().pop_front()) else {
                break;
            };
            let is_probe = queue.is_probe();
            if is_probe && probes >= MAX_PROBES {
                held.push_back(queue);
                continue;
            }
            let Some(queue) = gated.admit(queue, Instant::now()) else {
                continue;
            };
            if !queue.begin_turn() {
                continue;
            }
            probes += usize::from(is_probe);
            let turns = Arc::clone(&turns);
            running.push(Box::pin(async move {
                let turn = take_turn(&turns, &queue).await;
                (queue, is_probe, turn)
            }));
        }
        let due = waiting.peek().map(|Reverse(first)| first.due);
        let due = [due, gated.due(), Some(next_sweep)];
        let due = due.into_iter().flatten().min().unwrap_or(next_sweep);
        tokio::select! {
            Some((queue, was_probe, turn)) = running.next() => {
                probes -= usize::from(was_probe);
                match (queue.end_turn(turn), turn) {
                    ((Phase::Ready, _), _) => ready.push(queue),
                    ((Phase::Waiting, turn), Turn::Failed { again }) => {
                        waiting.push(Reverse(Waiting { due: again, queue, turn }));
                    }
                    _ => {}
                }
            }
            () = ready.arrived.notified() => {}
            () = sleep_until(due) => {
                if next_sweep <= Instant::now() {
                    next_sweep = Instant::now() + SWEEP_INTERVAL;
                    sweep();
                }
            }
        }
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}
