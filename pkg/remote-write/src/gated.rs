//! Queues that wait until their receiver takes something from somebody again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::destination::Destination;
use crate::queue::Queue;

/// How soon somebody notices that a queue that waits has another receiver now.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Queues that are ready, and whose receivers take nothing from anybody.
#[derive(Debug, Default)]
pub(crate) struct Gated {
    /// By where the destination is in memory.
    of: HashMap<usize, Waiting>,
    next_look: Option<Instant>,
}

/// Queues of one destination. Those that have not failed come first.
#[derive(Debug)]
struct Waiting {
    destination: Arc<Destination>,
    queues: VecDeque<Arc<Queue>>,
}

impl Gated {
    /// Gives the queue back if its receiver may be tried, or else keeps it.
    pub(crate) fn admit(&mut self, queue: Arc<Queue>, now: Instant) -> Option<Arc<Queue>> {
        let (destination, _) = queue.destination();
        if destination.gate.admit(now) {
            return Some(queue);
        }
        self.next_look.get_or_insert(now + LOOK_INTERVAL);
        let waiting = self
            .of
            .entry(Arc::as_ptr(&destination).addr())
            .or_insert_with(|| Waiting {
                destination,
                queues: VecDeque::new(),
            });
        match queue.failures() {
            0 => waiting.queues.push_front(queue),
            _ => waiting.queues.push_back(queue),
        }
        None
    }

    /// Takes out those that may be admitted now: because of the time, of answers, or
    /// since they have other receivers.
    pub(crate) fn release(&mut self, now: Instant) -> Vec<Arc<Queue>> {
        let mut released = Vec::new();
        let looks = self.next_look.is_some_and(|look| look <= now);
        self.of.retain(|_, waiting| {
            let Waiting {
                destination,
                queues,
            } = waiting;
            if looks {
                queues.retain(|queue| {
                    let stays = !queue.is_changed(destination);
                    if !stays {
                        released.push(Arc::clone(queue));
                    }
                    stays
                });
            }
            let room = destination.gate.room(now, queues.len());
            released.extend(queues.drain(..room));
            !queues.is_empty()
        });
        if self.of.is_empty() {
            self.next_look = None;
        } else if looks {
            self.next_look = Some(now + LOOK_INTERVAL);
        }
        released
    }

    /// When [`release`](Self::release) is to be called, whatever happens until then.
    pub(crate) fn due(&self) -> Option<Instant> {
        let gates = self.of.values();
        let nexts = gates.filter_map(|waiting| waiting.destination.gate.next());
        nexts.chain(self.next_look).min()
    }
}
