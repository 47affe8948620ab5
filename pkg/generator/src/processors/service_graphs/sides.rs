//! The labels that sides of edges give, each set once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use model::LabelSetBuf;
use parking_lot::RwLock;
use registry::InvalidLabels;

use super::half_edge::{HalfEdge, Role, SharedLabels, SideLabels};

/// Label sets that no edge uses are kept for the next ones, until there are so many.
const SPARE: usize = 16_384;

/// What all label sets may take: long values that are all different would
/// otherwise take far more than the edges. Then spans have no room (D21).
const MAX_BYTES: usize = 128 << 20;

/// The label sets of a tenant's sides, by their keys.
#[derive(Debug, Default)]
pub(super) struct Sides {
    known: RwLock<HashTable<Known>>,
    /// Bytes of the label sets, beside the table.
    bytes: AtomicUsize,
}

#[derive(Debug)]
struct Known {
    labels: SharedLabels,
    /// Whether a half has come with them since the last look for unused ones.
    is_used: AtomicBool,
}

/// What a half has for labels.
#[derive(Clone, Debug, Default)]
pub(super) enum HalfLabels {
    /// It needs none: it bridges others, or is filtered.
    #[default]
    Unneeded,
    /// These.
    Known(SharedLabels),
    /// Its values cannot be labels.
    Invalid,
    /// There is no room for more label sets.
    NoRoom,
}

impl Sides {
    /// The labels of halves, `describe`d where one is the first with them.
    pub(super) fn of(
        &self,
        halves: &[HalfEdge],
        items: i64,
        describe: impl FnMut(&HalfEdge, &mut LabelSetBuf) -> Result<(), InvalidLabels>,
    ) -> Vec<HalfLabels> {
        let mut is_missing = false;
        let known = self.known.read();
        let find = |half: &HalfEdge| {
            if half.role == Role::Internal || half.is_filtered {
                return HalfLabels::Unneeded;
            }
            let labels = find(&known, half);
            is_missing |= labels.is_none();
            labels.map_or(HalfLabels::NoRoom, HalfLabels::Known)
        };
        let mut all: Vec<_> = halves.iter().map(find).collect();
        drop(known);
        if is_missing {
            self.add(halves, &mut all, items, describe);
        }
        all
    }

    /// Finds labels for the halves that have none yet.
    fn add(
        &self,
        halves: &[HalfEdge],
        all: &mut [HalfLabels],
        items: i64,
        mut describe: impl FnMut(&HalfEdge, &mut LabelSetBuf) -> Result<(), InvalidLabels>,
    ) {
        // Read from the spans before the lock, which other pushes need.
        let mut new: HashTable<Known> = HashTable::new();
        let mut buffer = LabelSetBuf::new();
        let missing = |(_, labels): &(_, &mut HalfLabels)| matches!(labels, HalfLabels::NoRoom);
        for (half, labels) in halves.iter().zip(all.iter_mut()).filter(missing) {
            let is_same = |new: &Known| new.labels.key == half.labels;
            let hash = half.labels.low_bits();
            let Entry::Vacant(place) = new.entry(hash, is_same, Known::hash) else {
                continue;
            };
            buffer.clear();
            if describe(half, &mut buffer).is_ok() {
                let labels = SideLabels::new(half.labels, buffer.finish());
                place.insert(Known {
                    labels: Arc::new(labels),
                    is_used: AtomicBool::new(true),
                });
            } else {
                *labels = HalfLabels::Invalid;
            }
        }
        let mut known = self.known.write();
        // Once a push: what the push has is in use, however much it is.
        let room = SPARE + 2 * usize::try_from(items).unwrap_or(0);
        let is_full = || self.bytes.load(Ordering::Relaxed) >= MAX_BYTES;
        if known.len() + new.len() > room || is_full() {
            self.retain(&mut known, Known::is_shared);
        }
        for new in new {
            let is_same = |known: &Known| known.labels.key == new.labels.key;
            if let Entry::Vacant(place) = known.entry(new.hash(), is_same, Known::hash)
                && !is_full()
            {
                self.bytes.fetch_add(new.labels.size(), Ordering::Relaxed);
                place.insert(new);
            }
        }
        for (half, labels) in halves.iter().zip(all.iter_mut()).filter(missing) {
            if let Some(found) = find(&known, half) {
                *labels = HalfLabels::Known(found);
            }
        }
    }

    /// Forgets what no half that waits has, and none came with since the last time.
    pub(super) fn forget_unused(&self) {
        let mut known = self.known.write();
        self.retain(&mut known, |known| {
            std::mem::take(known.is_used.get_mut()) || known.is_shared()
        });
        if known.capacity() > 4 * known.len() {
            let len = known.len();
            known.shrink_to(2 * len, Known::hash);
        }
    }

    fn retain(&self, known: &mut HashTable<Known>, mut is_wanted: impl FnMut(&mut Known) -> bool) {
        known.retain(|known| {
            let is_wanted = is_wanted(known);
            if !is_wanted {
                self.bytes.fetch_sub(known.labels.size(), Ordering::Relaxed);
            }
            is_wanted
        });
    }

    /// Forgets all; who has labels keeps them.
    pub(super) fn clear(&self) {
        let mut known = self.known.write();
        *known = HashTable::new();
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        self.known.read().allocation_size() + self.bytes.load(Ordering::Relaxed)
    }
}

fn find(known: &HashTable<Known>, half: &HalfEdge) -> Option<SharedLabels> {
    let is_same = |known: &Known| known.labels.key == half.labels;
    let found = known.find(half.labels.low_bits(), is_same)?;
    // Written once, so that pushes do not take the line from each other.
    if !found.is_used.load(Ordering::Relaxed) {
        found.is_used.store(true, Ordering::Relaxed);
    }
    Some(Arc::clone(&found.labels))
}

impl Known {
    fn hash(&self) -> u64 {
        self.labels.key.low_bits()
    }

    /// Whether a half that waits has them.
    fn is_shared(&mut self) -> bool {
        Arc::strong_count(&self.labels) > 1
    }
}
