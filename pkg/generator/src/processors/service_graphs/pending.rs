//! Halves that wait, in the order of their arrival.
//!
//! They lie in blocks that never move, and in a list: as all of a tenant wait
//! equally long, the first is always the next to expire, and a live one costs
//! nothing.

use registry::KeyHasher;

use super::half_edge::{EdgeKey, HalfEdge, Role, SharedLabels, TraceHash};

/// Ends a list.
const NONE: u32 = u32::MAX;
const BLOCK: usize = 64;

const PLACE_BITS: u32 = 20;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;

const MESSAGING: u8 = 1;
const DATABASE: u8 = 2;
const EXTRA: u8 = 4;
const FAILED: u8 = 8;
const FILTERED: u8 = 16;
const NAMELESS: u8 = 32;
const SAMPLED: u8 = 64;

/// Half an edge that waits for its other half, a span that bridges halves, or
/// the mark of a filtered span.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) key: EdgeKey,
    pub(super) labels: Option<SharedLabels>,
    duration_ns: u64,
    boundary_ns: u64,
    weight: f64,
    /// When it arrived: milliseconds since the Unix epoch, and the place in its
    /// push, so that it says the order of arrival across shards.
    since: u64,
    next: u32,
    previous: u32,
    pub(super) role: Role,
    flags: u8,
}

impl Pending {
    /// A half that waits under a key, its own unless it has been bridged.
    pub(super) fn new(
        half: &HalfEdge,
        key: EdgeKey,
        labels: Option<SharedLabels>,
        now_ms: i64,
    ) -> Self {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        Self {
            key,
            labels,
            duration_ns: half.duration_ns,
            boundary_ns: match half.role {
                Role::Internal => u64::from_le_bytes(half.parent_span_id),
                Role::Client | Role::Server => half.boundary_ns,
            },
            weight: half.weight,
            since: (now_ms as u64) << PLACE_BITS | u64::from(half.source) & PLACE_MASK,
            next: NONE,
            previous: NONE,
            role: half.role,
            flags: flag(half.is_messaging, MESSAGING)
                | flag(half.is_database, DATABASE)
                | flag(half.is_extra, EXTRA)
                | flag(half.is_failed, FAILED)
                | flag(half.is_filtered, FILTERED)
                | flag(half.is_nameless_database, NAMELESS)
                | flag(half.is_sampled, SAMPLED),
        }
    }

    pub(super) fn since(&self) -> u64 {
        self.since
    }

    pub(super) fn since_ms(&self) -> i64 {
        (self.since >> PLACE_BITS) as i64
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// By which it is found.
    pub(super) fn hash(&self) -> u64 {
        TraceHash::of(self.key.trace_id, KeyHasher::new()).with(self.key.span_id)
    }

    /// Whether it is the mark of a filtered span.
    pub(super) fn is_filtered(&self) -> bool {
        self.has(FILTERED)
    }

    pub(super) fn is_database(&self) -> bool {
        self.has(DATABASE)
    }

    /// Spans of the ledger that wait with it.
    pub(super) fn spans(&self) -> u64 {
        u64::from(self.role != Role::Internal && self.flags & (EXTRA | FILTERED) == 0)
    }

    /// The parent of an internal span.
    pub(super) fn parent_span_id(&self) -> [u8; 8] {
        self.boundary_ns.to_le_bytes()
    }

    /// The half as it was.
    pub(super) fn half(&self) -> HalfEdge {
        HalfEdge {
            key: self.key,
            role: self.role,
            parent_span_id: [0; 8],
            is_messaging: self.has(MESSAGING),
            is_database: self.has(DATABASE),
            is_nameless_database: self.has(NAMELESS),
            is_root: false,
            // A filtered span was in the ledger when it came.
            is_extra: self.has(EXTRA) || self.is_filtered(),
            is_failed: self.has(FAILED),
            is_sampled: self.has(SAMPLED),
            is_filtered: self.has(FILTERED),
            labels: self
                .labels
                .as_ref()
                .map(|labels| labels.key)
                .unwrap_or_default(),
            duration_ns: self.duration_ns,
            boundary_ns: self.boundary_ns,
            weight: self.weight,
            source: 0,
        }
    }
}

/// All that waits in one shard.
#[derive(Debug, Default)]
pub(super) struct Queue {
    blocks: Vec<Vec<Pending>>,
    /// Places in use or free; they fill the blocks in order.
    places: usize,
    len: usize,
    first_free: Option<u32>,
    first: Option<u32>,
    last: Option<u32>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        let places: usize = self.blocks.iter().map(Vec::capacity).sum();
        places * size_of::<Pending>()
    }

    pub(super) fn get(&self, at: u32) -> Option<&Pending> {
        let at = at as usize;
        self.blocks.get(at / BLOCK)?.get(at % BLOCK)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Pending> {
        let at = at as usize;
        self.blocks.get_mut(at / BLOCK)?.get_mut(at % BLOCK)
    }

    /// All with their places, in the order of arrival.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Pending)> {
        let mut next = self.first;
        std::iter::from_fn(move || {
            let at = next?;
            let pending = self.get(at)?;
            next = (pending.next != NONE).then_some(pending.next);
            Some((at, pending))
        })
    }

    /// The one that has waited longest.
    pub(super) fn first(&self) -> Option<u32> {
        self.first
    }

    /// Puts one at the end.
    pub(super) fn push(&mut self, mut pending: Pending) -> u32 {
        pending.previous = self.last.unwrap_or(NONE);
        let at = self.place(pending);
        match self.last.and_then(|last| self.get_mut(last)) {
            Some(last) => last.next = at,
            None => self.first = Some(at),
        }
        self.last = Some(at);
        self.len += 1;
        at
    }

    fn place(&mut self, pending: Pending) -> u32 {
        if let Some(at) = self.first_free
            && let Some(place) = self.get_mut(at)
        {
            let next = place.next;
            *place = pending;
            self.first_free = (next != NONE).then_some(next);
            return at;
        }
        let block = self.places / BLOCK;
        if self.blocks.len() <= block {
            self.blocks.push(Vec::new());
        }
        if let Some(block) = self.blocks.get_mut(block) {
            block.push(pending);
        }
        self.places += 1;
        (self.places - 1) as u32
    }

    /// Takes one out, wherever it is.
    pub(super) fn remove(&mut self, at: u32) -> Option<Pending> {
        let free = self.first_free.unwrap_or(NONE);
        let place = self.get_mut(at)?;
        let pending = Pending {
            labels: place.labels.take(),
            ..*place
        };
        place.next = free;
        self.first_free = Some(at);
        let link = |at: u32| (at != NONE).then_some(at);
        match self.get_mut(pending.previous) {
            Some(previous) => previous.next = pending.next,
            None => self.first = link(pending.next),
        }
        match self.get_mut(pending.next) {
            Some(next) => next.previous = pending.previous,
            None => self.last = link(pending.previous),
        }
        self.len -= 1;
        if self.len == 0 {
            // A block is kept for the next ones, which may come soon.
            self.blocks.truncate(1);
            self.blocks.iter_mut().for_each(Vec::clear);
            self.places = 0;
            self.first_free = None;
        }
        Some(pending)
    }

    /// Gives the memory back if nothing waits.
    pub(super) fn shrink(&mut self) {
        if self.len == 0 {
            *self = Self::default();
        }
    }
}
