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

use super::edge::{Connection, Edge, EdgeLabels, EdgeSide, Observed};
use super::half_edge::{HalfEdge, Role, SharedLabels};
use super::pending::Pending;
use super::shard::{Bounds, Offered, Shard};

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
    /// Edges that have expired, by the time at which they began to wait.
    expired: Vec<(u64, Edge, HalfEdge)>,
    pub(crate) filtered: u64,
    pub(crate) invalid_utf8: u64,
    pub(crate) replaced: u64,
    pub(crate) dropped: u64,
    pub(crate) unpaired: u64,
}

/// The edges of a tenant that wait for their other half.
#[derive(Debug, Default)]
pub(crate) struct EdgeStore {
    shards: OnceLock<Box<[Mutex<Shard>]>>,
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
        shards
            .map(|shard| size_of::<Mutex<Shard>>() + shard.lock().size())
            .sum()
    }

    /// Takes the halves of a push in, and gives the edges that they complete.
    /// `describe` writes the labels of a half where they are met first.
    pub(crate) fn offer(
        &self,
        halves: &[HalfEdge],
        rules: &Rules,
        now_ms: i64,
        mut describe: impl FnMut(&HalfEdge, &mut LabelSetBuf) -> Result<(), InvalidLabels>,
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
        let mut buffer = LabelSetBuf::new();
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
            while let Some((half, following)) = next.and_then(|at| order.get(halves, at)) {
                next = following;
                let bounds = Bounds {
                    room: room + before.items - shard.len() as i64,
                    now_ms,
                    bridge: rules.bridge,
                    database_waits: rules.observed.database_server,
                };
                edges.offer(&mut shard, *half, rules, bounds, &mut describe, &mut buffer);
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
        edges.complete_expired(rules);
        edges
    }

    /// Forgets all that waits.
    pub(crate) fn clear(&self) {
        for shard in self.shards.get().into_iter().flatten() {
            let mut shard = shard.lock();
            let before = Counts::of(&shard);
            *shard = Shard::default();
            self.count(before, &shard);
        }
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
    next: Vec<u32>,
}

const END: u32 = u32::MAX;

impl Order {
    fn of(halves: &[HalfEdge]) -> Self {
        let mut order = Self {
            first: [END; SHARDS],
            next: vec![END; halves.len()],
        };
        let hasher = KeyHasher::new();
        // From the last, so that each becomes the first of its shard in turn.
        for (at, half) in halves.iter().enumerate().rev() {
            let [low, ..] = hasher.key(&half.key.trace_id).to_bytes();
            let first = order.first.get_mut(usize::from(low) % SHARDS);
            if let (Some(first), Some(next)) = (first, order.next.get_mut(at)) {
                *next = std::mem::replace(first, at as u32);
            }
        }
        order
    }

    fn first(&self, shard: usize) -> Option<u32> {
        self.first.get(shard).copied().filter(|at| *at != END)
    }

    fn get<'h>(&self, halves: &'h [HalfEdge], at: u32) -> Option<(&'h HalfEdge, Option<u32>)> {
        let half = halves.get(at as usize)?;
        let next = self.next.get(at as usize).copied();
        Some((half, next.filter(|next| *next != END)))
    }
}

impl Edges {
    fn offer(
        &mut self,
        shard: &mut Shard,
        half: HalfEdge,
        rules: &Rules,
        bounds: Bounds,
        describe: &mut impl FnMut(&HalfEdge, &mut LabelSetBuf) -> Result<(), InvalidLabels>,
        buffer: &mut LabelSetBuf,
    ) {
        let span = u64::from(!half.is_extra);
        if half.role == Role::Internal {
            let moved = shard.offer_internal(half, bounds);
            if let Some(moved) = moved {
                self.settle(moved, 1, None, rules);
            }
            return;
        }
        let mut labels = None;
        if !half.is_filtered {
            match shard.labels(&half, buffer, |buffer| describe(&half, buffer)) {
                Ok(known) => labels = Some(known),
                Err(InvalidLabels) => {
                    self.invalid_utf8 += span;
                    return;
                }
            }
        }
        let side = labels.clone().map(|labels| EdgeSide { half, labels });
        let offered = shard.offer(half, labels, bounds);
        self.settle(offered, span, side, rules);
    }

    fn settle(&mut self, offered: Offered, span: u64, side: Option<EdgeSide>, rules: &Rules) {
        match offered {
            Offered::Complete(edge, last) => self.complete(edge, &last, rules),
            Offered::Waits => {}
            Offered::Replaced(lost) => self.replaced += lost,
            Offered::Filtered(counterpart) => self.filtered += span + counterpart,
            Offered::Full => {
                self.dropped += span;
                if let Some(side) = side {
                    self.lose(side, 1, rules);
                }
            }
        }
    }

    fn complete(&mut self, edge: Edge, last: &HalfEdge, rules: &Rules) {
        let (update, labels) = edge.update(last, rules.settings_key, rules.observed);
        self.updates.push(update);
        self.labels.push(labels);
    }

    /// Ends what has waited in a shard for too long.
    fn expire(&mut self, shard: &mut Shard, rules: &Rules, now_ms: i64) {
        while let Some(pending) = shard.next_expired(now_ms - rules.wait_ms) {
            let spans = pending.spans();
            let Some(side) = side(&pending) else {
                continue;
            };
            let connection = match side.half.role {
                Role::Client if pending.is_database() => Connection::Database,
                Role::Client if !side.labels.get(super::PEER).is_empty() => {
                    Connection::VirtualServer
                }
                Role::Client | Role::Server | Role::Internal => {
                    self.unpaired += spans;
                    self.lose(side, 0, rules);
                    continue;
                }
            };
            let (edge, last) = Edge::single(connection, side);
            self.expired.push((pending.since(), edge, last));
        }
    }

    /// Counts the edges that have expired, in the order of their arrival.
    fn complete_expired(&mut self, rules: &Rules) {
        let mut expired = std::mem::take(&mut self.expired);
        expired.sort_by_key(|(since, ..)| *since);
        for (place, (_, edge, mut last)) in expired.into_iter().enumerate() {
            last.source = place as u32;
            self.complete(edge, &last, rules);
        }
    }

    /// Counts a span without counterpart: its metric is the one at `place`.
    fn lose(&mut self, side: EdgeSide, place: usize, rules: &Rules) {
        if !rules.count_lost || side.half.is_extra {
            return;
        }
        let connection = if side.half.is_messaging {
            Connection::Messaging
        } else {
            Connection::Direct
        };
        let (edge, last) = Edge::single(connection, side);
        let (mut update, labels) = edge.update(&last, rules.settings_key, rules.observed);
        update.values = [f64::NAN; MAX_METRICS];
        if let Some(value) = update.values.get_mut(place) {
            *value = 1.0;
        }
        self.lost.push(update);
        self.lost_labels.push(labels);
    }
}

fn side(pending: &Pending) -> Option<EdgeSide> {
    let labels: SharedLabels = pending.labels.clone()?;
    Some(EdgeSide {
        half: pending.half(),
        labels,
    })
}
