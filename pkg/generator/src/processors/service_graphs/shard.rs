//! A part of the edge store: the edges of some traces.

use std::sync::Arc;

use hashbrown::HashTable;
use model::LabelSetBuf;
use registry::{InvalidLabels, KeyHasher};

use super::edge::{Connection, Edge, EdgeSide};
use super::half_edge::{EdgeKey, HalfEdge, Role, SharedLabels, SideLabels};
use super::pending::{Pending, Queue};

/// Internal spans between a server and its client, at most.
const LONGEST_BRIDGE: usize = 64;
/// Labels that no edge uses are kept until there are so many.
const SPARE_LABELS: usize = 256;

/// What became of a half.
#[allow(
    clippy::large_enum_variant,
    reason = "it is taken apart at once and never stored"
)]
#[derive(Debug)]
pub(super) enum Offered {
    /// It completed an edge; the half is the one that came last.
    Complete(Edge, HalfEdge),
    /// It waits.
    Waits,
    /// It waits in the place of another span, which is lost.
    Replaced(u64),
    /// A filter policy refused it, or its counterpart: so many spans besides it.
    Filtered(u64),
    /// There is no room for it.
    Full,
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
    labels: HashTable<SharedLabels>,
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
        let labels: usize = self.labels.iter().map(|labels| labels.size()).sum();
        let indexes = self.halves.allocation_size()
            + self.internal.allocation_size()
            + self.labels.allocation_size();
        self.queue.size() + indexes + labels
    }

    /// The labels of a half, `describe`d where it is the first with them.
    pub(super) fn labels(
        &mut self,
        half: &HalfEdge,
        buffer: &mut LabelSetBuf,
        describe: impl FnOnce(&mut LabelSetBuf) -> Result<(), InvalidLabels>,
    ) -> Result<SharedLabels, InvalidLabels> {
        let hash = low_bits(half.labels.to_bytes());
        if let Some(known) = self.labels.find(hash, |known| known.key == half.labels) {
            return Ok(Arc::clone(known));
        }
        buffer.clear();
        describe(buffer)?;
        let labels = Arc::new(SideLabels::new(half.labels, buffer.finish()));
        if self.labels.len() >= SPARE_LABELS + 2 * self.queue.len() {
            self.forget_unused_labels();
        }
        let hasher = |known: &SharedLabels| low_bits(known.key.to_bytes());
        self.labels.insert_unique(hash, Arc::clone(&labels), hasher);
        Ok(labels)
    }

    fn forget_unused_labels(&mut self) {
        self.labels.retain(|labels| Arc::strong_count(labels) > 1);
        self.labels
            .shrink_to_fit(|known| low_bits(known.key.to_bytes()));
    }

    /// Takes one half in.
    pub(super) fn offer(
        &mut self,
        half: HalfEdge,
        labels: Option<SharedLabels>,
        bounds: Bounds,
    ) -> Offered {
        let mut half = half;
        if bounds.bridge && half.role == Role::Server {
            half.key = self.across_bridges(half.key);
        }
        let known = self.find(half.key).filter(|_| !half.is_root);
        let stored = known.and_then(|at| self.queue.get(at));
        let meets = stored.is_some_and(|stored| stored.role != half.role);
        let stored_is_filtered = stored.is_some_and(Pending::is_filtered);
        let Some(labels) = labels.filter(|_| !half.is_filtered) else {
            return self.mark_filtered(
                half,
                known.filter(|_| meets && !stored_is_filtered),
                bounds,
            );
        };
        if meets && stored_is_filtered {
            return Offered::Filtered(0);
        }
        let side = EdgeSide { half, labels };
        if let (true, Some(at)) = (meets, known)
            && let Some(stored) = self.take(at)
            && let Some(labels) = &stored.labels
        {
            let stored = EdgeSide {
                half: stored.half(),
                labels: Arc::clone(labels),
            };
            let (edge, last) = Edge::paired(stored, side);
            return Offered::Complete(edge, last);
        }
        let alone = if half.is_root {
            Some(Connection::VirtualClient)
        } else if half.is_database && !bounds.database_waits {
            Some(Connection::Database)
        } else {
            None
        };
        if let Some(connection) = alone {
            let (edge, last) = Edge::single(connection, side);
            return Offered::Complete(edge, last);
        }
        let lost = known.and_then(|at| self.take(at));
        let room = bounds.room + i64::from(lost.is_some());
        let waits = self.wait(&half, Some(side.labels), room, bounds.now_ms);
        match lost {
            _ if !waits => Offered::Full,
            Some(lost) => Offered::Replaced(lost.spans()),
            None => Offered::Waits,
        }
    }

    /// Lets the counterpart of a filtered span go, or marks that it has to.
    fn mark_filtered(
        &mut self,
        half: HalfEdge,
        counterpart: Option<u32>,
        bounds: Bounds,
    ) -> Offered {
        if let Some(counterpart) = counterpart.and_then(|at| self.take(at)) {
            return Offered::Filtered(counterpart.spans());
        }
        if !half.is_root && self.find(half.key).is_none() {
            self.wait(&half, None, bounds.room, bounds.now_ms);
        }
        Offered::Filtered(0)
    }

    /// Notes an internal span, and moves a server that waits for it on to its
    /// parent. That server may then meet its client.
    pub(super) fn offer_internal(&mut self, half: HalfEdge, bounds: Bounds) -> Option<Offered> {
        let hash = hash(half.key);
        let queue = &self.queue;
        let is_same = |at: &u32| queue.get(*at).is_some_and(|known| known.key == half.key);
        if bounds.room <= 0 || self.internal.find(hash, is_same).is_some() {
            return None;
        }
        let at = self.queue.push(Pending::new(&half, None, bounds.now_ms));
        let queue = &self.queue;
        self.internal.insert_unique(hash, at, |at| {
            queue.get(*at).map_or(0, |known| self::hash(known.key))
        });
        let waiting = self.find(half.key)?;
        let server = self.queue.get(waiting)?;
        if server.role != Role::Server || self.across_bridges(half.key) == half.key {
            return None;
        }
        let server = self.take(waiting)?;
        Some(self.offer(server.half(), server.labels, bounds))
    }

    /// Where a server's client is: past the internal spans between the two.
    fn across_bridges(&self, from: EdgeKey) -> EdgeKey {
        let mut key = from;
        for _ in 0..LONGEST_BRIDGE {
            let is_same = |at: &u32| self.queue.get(*at).is_some_and(|known| known.key == key);
            let internal = self.internal.find(hash(key), is_same);
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
        self.take(first)
    }

    /// Gives the memory of what is no longer there back.
    pub(super) fn shrink(&mut self) {
        self.queue.shrink();
        if self.queue.len() == 0 || self.labels.len() > SPARE_LABELS {
            self.forget_unused_labels();
        }
        let queue = &self.queue;
        let hasher = |at: &u32| queue.get(*at).map_or(0, |known| hash(known.key));
        for index in [&mut self.halves, &mut self.internal] {
            if index.capacity() > 4 * index.len() {
                index.shrink_to(2 * index.len(), hasher);
            }
        }
    }

    fn find(&self, key: EdgeKey) -> Option<u32> {
        let is_same = |at: &u32| self.queue.get(*at).is_some_and(|known| known.key == key);
        self.halves.find(hash(key), is_same).copied()
    }

    /// Lets a half wait, if there is room for it.
    fn wait(
        &mut self,
        half: &HalfEdge,
        labels: Option<SharedLabels>,
        room: i64,
        now_ms: i64,
    ) -> bool {
        if room <= 0 {
            return false;
        }
        let pending = Pending::new(half, labels, now_ms);
        self.waiting_spans += pending.spans();
        let at = self.queue.push(pending);
        let queue = &self.queue;
        self.halves.insert_unique(hash(half.key), at, |at| {
            queue.get(*at).map_or(0, |known| hash(known.key))
        });
        true
    }

    /// Takes out what waits at a place.
    fn take(&mut self, at: u32) -> Option<Pending> {
        let pending = self.queue.get(at)?;
        let hash = hash(pending.key);
        let index = match pending.role {
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

fn hash(key: EdgeKey) -> u64 {
    low_bits(KeyHasher::new().key(&key.to_bytes()).to_bytes())
}

fn low_bits(key: [u8; 16]) -> u64 {
    let [low, _] = *key.as_chunks::<8>().0 else {
        return 0;
    };
    u64::from_ne_bytes(low)
}
