//! A part of the edge store: the edges of some traces.

use hashbrown::HashTable;

use super::edge::Connection;
use super::edge_store::Place;
use super::half_edge::{EdgeKey, HalfEdge, Role, SharedLabels, TraceHash};
use super::pending::{Pending, Queue};

/// Internal spans between a server and its client, at most.
const LONGEST_BRIDGE: usize = 64;

/// What became of a half, with the labels it came with where they are needed.
#[derive(Debug)]
pub(super) enum Offered {
    /// It met its other half.
    Meets(Pending, SharedLabels),
    /// It is an edge by itself.
    Alone(Connection, SharedLabels),
    /// It waits.
    Waits,
    /// It waits in the place of another span, which is lost.
    Replaced(u64),
    /// A filter policy refused it, or its counterpart: so many spans besides it.
    Filtered(u64),
    /// There is no room for it.
    Full(SharedLabels),
}

/// How many may wait, how long, and what time it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Further ones that may wait.
    pub(super) room: i64,
    pub(super) now_ms: i64,
    pub(super) bridge: bool,
    pub(super) database_waits: bool,
}

/// The edges of some traces.
#[derive(Debug, Default)]
pub(super) struct Shard {
    /// Halves and marks of filtered spans, by their key.
    halves: HashTable<u32>,
    /// Internal spans, by their own id.
    internal: HashTable<u32>,
    queue: Queue,
    /// Spans of the ledger that wait.
    waiting_spans: u64,
}

impl Shard {
    /// Items that wait: halves, internal spans, marks of filtered spans.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Spans of the ledger that wait.
    pub(super) fn waiting_spans(&self) -> u64 {
        self.waiting_spans
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        let indexes = self.halves.allocation_size() + self.internal.allocation_size();
        self.queue.size() + indexes
    }

    /// When each item arrived, and where it is.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = (u64, u32)> {
        self.queue.iter().map(|(at, pending)| (pending.since(), at))
    }

    /// What waits at a place, if it is what was there.
    pub(super) fn at(&self, place: Place) -> Option<&Pending> {
        let mut arrivals = self.queue.get(place.at).into_iter();
        arrivals.find(|pending| pending.since() == place.since)
    }

    /// Takes one half in; `trace` is the hash of its trace.
    pub(super) fn offer(
        &mut self,
        half: &HalfEdge,
        labels: Option<SharedLabels>,
        trace: TraceHash,
        bounds: Bounds,
    ) -> Offered {
        let mut key = half.key;
        if bounds.bridge && half.role == Role::Server {
            key = self.across_bridges(key, trace);
        }
        let hash = trace.with(key.span_id);
        let known = if half.is_root {
            None
        } else {
            self.find(key, hash)
        };
        let stored = known.and_then(|at| self.queue.get(at));
        let meets = stored.is_some_and(|stored| stored.role != half.role);
        let stored_is_filtered = stored.is_some_and(Pending::is_filtered);
        let Some(labels) = labels.filter(|_| !half.is_filtered) else {
            let counterpart = known.filter(|_| meets && !stored_is_filtered);
            if let Some(counterpart) = counterpart.and_then(|at| self.take(at, hash)) {
                return Offered::Filtered(counterpart.spans());
            }
            if !half.is_root && known.is_none() {
                self.wait(
                    Pending::new(half, key, None, bounds.now_ms),
                    hash,
                    bounds.room,
                );
            }
            return Offered::Filtered(0);
        };
        if meets && stored_is_filtered {
            return Offered::Filtered(0);
        }
        if meets && let Some(stored) = known.and_then(|at| self.take(at, hash)) {
            return Offered::Meets(stored, labels);
        }
        if half.is_root {
            return Offered::Alone(Connection::VirtualClient, labels);
        }
        if half.is_database && !bounds.database_waits {
            return Offered::Alone(Connection::Database, labels);
        }
        let lost = known.and_then(|at| self.take(at, hash));
        // It takes the place of what it replaces, even if there are too many.
        let room = if lost.is_some() { 1 } else { bounds.room };
        let pending = Pending::new(half, key, Some(labels), bounds.now_ms);
        match (self.wait(pending, hash, room), lost) {
            (
                Some(Pending {
                    labels: Some(labels),
                    ..
                }),
                _,
            ) => Offered::Full(labels),
            (_, Some(lost)) => Offered::Replaced(lost.spans()),
            (_, None) => Offered::Waits,
        }
    }

    /// Notes an internal span, and moves a server that waits for it on to its
    /// parent. That server may then meet its client.
    pub(super) fn offer_internal(
        &mut self,
        half: &HalfEdge,
        trace: TraceHash,
        bounds: Bounds,
    ) -> Option<(HalfEdge, Offered)> {
        let hash = trace.with(half.key.span_id);
        let queue = &self.queue;
        let is_same = |at: &u32| queue.get(*at).is_some_and(|known| known.key == half.key);
        if bounds.room <= 0 || self.internal.find(hash, is_same).is_some() {
            return None;
        }
        let pending = Pending::new(half, half.key, None, bounds.now_ms);
        let at = self.queue.push(pending);
        let queue = &self.queue;
        self.internal
            .insert_unique(hash, at, |at| queue.get(*at).map_or(0, Pending::hash));
        let waiting = self.find(half.key, hash)?;
        let server = self.queue.get(waiting)?;
        if server.role != Role::Server || self.across_bridges(half.key, trace) == half.key {
            return None;
        }
        let server = self.take(waiting, hash)?;
        let half = server.half();
        let offered = self.offer(&half, server.labels, trace, bounds);
        Some((half, offered))
    }

    /// Where a server's client is: past the internal spans between the two.
    fn across_bridges(&self, from: EdgeKey, trace: TraceHash) -> EdgeKey {
        let mut key = from;
        for _ in 0..LONGEST_BRIDGE {
            let is_same = |at: &u32| self.queue.get(*at).is_some_and(|known| known.key == key);
            let internal = self.internal.find(trace.with(key.span_id), is_same);
            let Some(internal) = internal.and_then(|at| self.queue.get(*at)) else {
                break;
            };
            let parent = internal.parent_span_id();
            if parent == [0; 8] {
                break;
            }
            key.span_id = parent;
        }
        key
    }

    /// Gives the next half that has waited for too long.
    pub(super) fn next_expired(&mut self, expired_ms: i64) -> Option<Pending> {
        let first = self.queue.first()?;
        if self.queue.get(first)?.since_ms() > expired_ms {
            return None;
        }
        self.remove(first)
    }

    /// Takes out what waits at a place.
    pub(super) fn remove(&mut self, at: u32) -> Option<Pending> {
        let hash = self.queue.get(at)?.hash();
        self.take(at, hash)
    }

    /// Gives the memory of what is no longer there back.
    pub(super) fn shrink(&mut self) {
        self.queue.shrink();
        let queue = &self.queue;
        let hasher = |at: &u32| queue.get(*at).map_or(0, Pending::hash);
        for index in [&mut self.halves, &mut self.internal] {
            if index.capacity() > 4 * index.len() {
                index.shrink_to(2 * index.len(), hasher);
            }
        }
    }

    fn find(&self, key: EdgeKey, hash: u64) -> Option<u32> {
        let is_same = |at: &u32| self.queue.get(*at).is_some_and(|known| known.key == key);
        self.halves.find(hash, is_same).copied()
    }

    /// Lets a half wait; gives it back if there is no room for it.
    fn wait(&mut self, pending: Pending, hash: u64, room: i64) -> Option<Pending> {
        if room <= 0 {
            return Some(pending);
        }
        self.waiting_spans += pending.spans();
        let at = self.queue.push(pending);
        let queue = &self.queue;
        self.halves
            .insert_unique(hash, at, |at| queue.get(*at).map_or(0, Pending::hash));
        None
    }

    /// Takes out what waits at a place, under its hash.
    fn take(&mut self, at: u32, hash: u64) -> Option<Pending> {
        let index = match self.queue.get(at)?.role {
            Role::Internal => &mut self.internal,
            Role::Client | Role::Server => &mut self.halves,
        };
        if let Ok(entry) = index.find_entry(hash, |known| *known == at) {
            entry.remove();
        }
        let pending = self.queue.remove(at)?;
        self.waiting_spans -= pending.spans();
        Some(pending)
    }
}
