//! The edges of a tenant that wait for their other half.
//!
//! Sharded by trace, so that pushes seldom meet; one lock for each shard that a
//! push touches. Ids are fixed arrays, labels are shared, so nothing is
//! allocated for a span. Source: architecture, point 6.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use model::LabelSetBuf;
use parking_lot::Mutex;
use registry::{InvalidLabels, KeyHasher, LaneKey, MAX_METRICS, Update};

use super::edge::{Connection, Edge, EdgeLabels, Observed};
use super::half_edge::{HalfEdge, Role, SharedLabels, TraceHash};
use super::pending::Pending;
use super::shard::{Bounds, Offered, Shard};
use super::sides::{HalfLabels, Sides};

/// Parts of a store: twice the threads of a large machine's generator.
const SHARDS: usize = 32;

/// What the settings say of edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rules {
    pub(super) wait_ms: i64,
    pub(super) max_items: i64,
    /// Whether a server may be separated from its client by internal spans.
    pub(super) bridge: bool,
    pub(super) observed: Observed,
    /// Whether spans that found no counterpart or no room have metrics.
    pub(super) count_lost: bool,
    pub(super) settings_key: LaneKey,
}

/// What became of halves: updates for the registry, and counts for the ledger.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    pub(crate) updates: Vec<Update>,
    pub(crate) labels: Vec<EdgeLabels>,
    /// Unpaired and dropped spans, if they have metrics.
    pub(crate) lost: Vec<Update>,
    pub(crate) lost_labels: Vec<EdgeLabels>,
    /// Halves that have expired and are edges nevertheless.
    expired: Vec<(Pending, Connection)>,
    pub(crate) filtered: u64,
    pub(crate) invalid_utf8: u64,
    pub(crate) replaced: u64,
    pub(crate) dropped: u64,
    pub(crate) unpaired: u64,
}

/// Where something waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// When it arrived, as [`Pending::since`] has it.
    pub(super) since: u64,
    shard: u32,
    pub(super) at: u32,
}

/// The edges of a tenant that wait for their other half.
#[derive(Debug, Default)]
pub(crate) struct EdgeStore {
    shards: OnceLock<Box<[Mutex<Shard>]>>,
    sides: Sides,
    items: AtomicI64,
    waiting_spans: AtomicU64,
    /// Whether halves have come since the last time that some expired.
    is_used: AtomicBool,
}

impl EdgeStore {
    /// Halves, internal spans and marks of filtered spans that are kept.
    pub(crate) fn items(&self) -> i64 {
        self.items.load(Ordering::Relaxed)
    }

    /// Spans of the ledger that wait for a counterpart.
    pub(crate) fn waiting_spans(&self) -> u64 {
        self.waiting_spans.load(Ordering::Relaxed)
    }

    /// Bytes of memory.
    pub(crate) fn size(&self) -> usize {
        let shards = self.shards.get().into_iter().flatten();
        let shards = shards.map(|shard| size_of::<Mutex<Shard>>() + shard.lock().size());
        self.sides.size() + shards.sum::<usize>()
    }

    /// Takes the halves of a push in, and gives the edges that they complete.
    /// `describe` writes the labels of a half where they are met first.
    pub(crate) fn offer(
        &self,
        halves: &[HalfEdge],
        rules: &Rules,
        now_ms: i64,
        describe: impl FnMut(&HalfEdge, &mut LabelSetBuf) -> Result<(), InvalidLabels>,
    ) -> Edges {
        let mut edges = Edges::default();
        if halves.is_empty() {
            return edges;
        }
        edges.updates.reserve(halves.len());
        edges.labels.reserve(halves.len());
        self.is_used.store(true, Ordering::Relaxed);
        let shards = self.shards();
        let order = Order::of(halves);
        let mut labels = self.sides.of(halves, self.items(), describe);
        for (number, shard) in shards.iter().enumerate() {
            let mut next = order.first(number);
            if next.is_none() {
                continue;
            }
            let mut shard = shard.lock();
            let before = Counts::of(&shard);
            let room = rules.max_items - self.items();
            if room < halves.len() as i64 {
                edges.expire(&mut shard, rules, now_ms);
            }
            while let Some(half) = next.and_then(|at| order.get(halves, at)) {
                next = half.next;
                let bounds = Bounds {
                    room: room + before.items - shard.len() as i64,
                    now_ms,
                    bridge: rules.bridge,
                    database_waits: rules.observed.database_server,
                };
                let labels = labels.get_mut(half.at).map(std::mem::take);
                edges.offer(&mut shard, half, labels.unwrap_or_default(), rules, bounds);
            }
            self.count(before, &shard);
        }
        edges.complete_expired(rules);
        edges
    }

    /// Ends what has waited for too long, as edges to virtual nodes or unpaired.
    pub(crate) fn expire(&self, rules: &Rules, now_ms: i64) -> Edges {
        let mut edges = Edges::default();
        let is_used = self.is_used.swap(false, Ordering::Relaxed);
        if self.items() == 0 && !is_used {
            return edges;
        }
        for shard in self.shards() {
            let mut shard = shard.lock();
            let before = Counts::of(&shard);
            edges.expire(&mut shard, rules, now_ms);
            shard.shrink();
            self.count(before, &shard);
        }
        self.sides.forget_unused();
        edges.complete_expired(rules);
        edges
    }

    /// Where all that waits is, in the order of arrival.
    pub(super) fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for (number, shard) in self.shards.get().into_iter().flatten().enumerate() {
            let shard = shard.lock();
            places.extend(shard.arrivals().map(|(since, at)| Place {
                since,
                shard: number as u32,
                at,
            }));
        }
        places.sort_by_key(|place| place.since);
        places
    }

    /// Shows what waits at a place, if it still does.
    pub(super) fn with(&self, place: Place, show: impl FnOnce(&Pending)) {
        let mut shards = self.shards.get().into_iter().flatten();
        if let Some(shard) = shards.nth(place.shard as usize)
            && let Some(pending) = shard.lock().at(place)
        {
            show(pending);
        }
    }

    /// Takes out what waits at a place if it still does and is to go to somebody else;
    /// says to whom.
    pub(super) fn take(
        &self,
        place: Place,
        owner_of: impl FnOnce(&Pending) -> Option<u16>,
    ) -> Option<(u16, Pending)> {
        let mut shards = self.shards.get().into_iter().flatten();
        let mut shard = shards.nth(place.shard as usize)?.lock();
        let owner = owner_of(shard.at(place)?)?;
        let before = Counts::of(&shard);
        let pending = shard.remove(place.at)?;
        self.count(before, &shard);
        Some((owner, pending))
    }

    /// Forgets all that waits.
    pub(crate) fn clear(&self) {
        for shard in self.shards.get().into_iter().flatten() {
            let mut shard = shard.lock();
            let before = Counts::of(&shard);
            *shard = Shard::default();
            self.count(before, &shard);
        }
        self.sides.clear();
    }

    fn shards(&self) -> &[Mutex<Shard>] {
        self.shards
            .get_or_init(|| (0..SHARDS).map(|_| Mutex::default()).collect())
    }

    fn count(&self, before: Counts, shard: &Shard) {
        let after = Counts::of(shard);
        self.items
            .fetch_add(after.items - before.items, Ordering::Relaxed);
        self.waiting_spans
            .fetch_add(after.spans.wrapping_sub(before.spans), Ordering::Relaxed);
    }
}

/// What a shard held before a push.
#[derive(Clone, Copy)]
struct Counts {
    items: i64,
    spans: u64,
}

impl Counts {
    fn of(shard: &Shard) -> Self {
        Self {
            items: shard.len() as i64,
            spans: shard.waiting_spans(),
        }
    }
}

/// The halves of a push by shard, each shard's in the order of arrival.
struct Order {
    first: [u32; SHARDS],
    /// The hash of each half's trace, and the next half of its shard.
    halves: Vec<(TraceHash, u32)>,
}

/// A half in its place in the order.
#[derive(Clone, Copy)]
struct Ordered<'h> {
    at: usize,
    half: &'h HalfEdge,
    trace: TraceHash,
    next: Option<u32>,
}

const END: u32 = u32::MAX;

impl Order {
    fn of(halves: &[HalfEdge]) -> Self {
        let hasher = KeyHasher::new();
        let hash = |half: &HalfEdge| (TraceHash::of(half.key.trace_id, hasher), END);
        let mut order = Self {
            first: [END; SHARDS],
            halves: halves.iter().map(hash).collect(),
        };
        // From the last, so that each becomes the first of its shard in turn.
        for (at, (trace, next)) in order.halves.iter_mut().enumerate().rev() {
            if let Some(first) = order.first.get_mut(trace.shard(SHARDS)) {
                *next = std::mem::replace(first, at as u32);
            }
        }
        order
    }

    fn first(&self, shard: usize) -> Option<u32> {
        self.first.get(shard).copied().filter(|at| *at != END)
    }

    fn get<'h>(&self, halves: &'h [HalfEdge], at: u32) -> Option<Ordered<'h>> {
        let at = at as usize;
        let half = halves.get(at)?;
        let (trace, next) = *self.halves.get(at)?;
        let next = (next != END).then_some(next);
        Some(Ordered {
            at,
            half,
            trace,
            next,
        })
    }
}

impl Edges {
    #[inline]
    fn offer(
        &mut self,
        shard: &mut Shard,
        Ordered { half, trace, .. }: Ordered<'_>,
        labels: HalfLabels,
        rules: &Rules,
        bounds: Bounds,
    ) {
        let labels = match labels {
            HalfLabels::Unneeded if half.role == Role::Internal => {
                if let Some((moved, offered)) = shard.offer_internal(half, trace, bounds) {
                    self.settle(&moved, offered, rules, bounds.now_ms);
                }
                return;
            }
            HalfLabels::Unneeded => None,
            HalfLabels::Known(labels) => Some(labels),
            HalfLabels::Invalid => {
                self.invalid_utf8 += half.spans();
                return;
            }
            HalfLabels::NoRoom => {
                self.dropped += half.spans();
                return;
            }
        };
        let offered = shard.offer(half, labels, trace, bounds);
        self.settle(half, offered, rules, bounds.now_ms);
    }

    fn settle(&mut self, half: &HalfEdge, offered: Offered, rules: &Rules, now_ms: i64) {
        match offered {
            Offered::Meets(stored, labels) => {
                let other = stored.half();
                let came_last = stored.since_ms() > now_ms;
                match stored.labels {
                    // Only one that another generator took in meets what came after it.
                    Some(last) if came_last => {
                        let edge = Edge::paired(half, &other);
                        self.complete(edge, edge.labels(last, Some(labels)), rules);
                    }
                    stored_labels => {
                        let edge = Edge::paired(&other, half);
                        self.complete(edge, edge.labels(labels, stored_labels), rules);
                    }
                }
            }
            Offered::Alone(connection, labels) => {
                let edge = Edge::single(connection, half);
                self.complete(edge, edge.labels(labels, None), rules);
            }
            Offered::Waits => {}
            Offered::Replaced(lost) => self.replaced += lost,
            Offered::Filtered(counterpart) => self.filtered += half.spans() + counterpart,
            Offered::Full(labels) => {
                self.dropped += half.spans();
                self.lose(half, labels, 1, rules);
            }
        }
    }

    #[inline]
    fn complete(&mut self, edge: Edge<'_>, labels: EdgeLabels, rules: &Rules) {
        let update = edge.update(&labels, rules.settings_key, rules.observed);
        self.updates.push(update);
        self.labels.push(labels);
    }

    /// Ends what has waited in a shard for too long.
    fn expire(&mut self, shard: &mut Shard, rules: &Rules, now_ms: i64) {
        while let Some(pending) = shard.next_expired(now_ms - rules.wait_ms) {
            let Some(labels) = &pending.labels else {
                continue;
            };
            if pending.role == Role::Client && pending.is_database() {
                self.expired.push((pending, Connection::Database));
            } else if pending.role == Role::Client && !labels.get(super::PEER).is_empty() {
                self.expired.push((pending, Connection::VirtualServer));
            } else {
                self.unpaired += pending.spans();
                self.lose(&pending.half(), SharedLabels::clone(labels), 0, rules);
            }
        }
    }

    /// Counts the edges that have expired, in the order of their arrival.
    fn complete_expired(&mut self, rules: &Rules) {
        let mut expired = std::mem::take(&mut self.expired);
        expired.sort_by_key(|(pending, _)| pending.since());
        for (place, (pending, connection)) in expired.into_iter().enumerate() {
            let half = HalfEdge {
                source: place as u32,
                ..pending.half()
            };
            if let Some(labels) = pending.labels {
                let edge = Edge::single(connection, &half);
                self.complete(edge, edge.labels(labels, None), rules);
            }
        }
    }

    /// Counts a span without counterpart: its metric is the one at `place`.
    fn lose(&mut self, half: &HalfEdge, labels: SharedLabels, place: usize, rules: &Rules) {
        if !rules.count_lost || half.is_extra {
            return;
        }
        let connection = if half.is_messaging {
            Connection::Messaging
        } else {
            Connection::Direct
        };
        let edge = Edge::single(connection, half);
        let labels = edge.labels(labels, None);
        let mut update = edge.update(&labels, rules.settings_key, rules.observed);
        update.values = [f64::NAN; MAX_METRICS];
        if let Some(value) = update.values.get_mut(place) {
            *value = 1.0;
        }
        self.lost.push(update);
        self.lost_labels.push(labels);
    }
}
