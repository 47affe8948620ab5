//! The labels that sides of edges give, each set once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashTable;
use model::LabelSetBuf;
use parking_lot::RwLock;
use registry::InvalidLabels;

use super::half_edge::{HalfEdge, Role, SharedLabels, SideLabels};

/// Label sets that no edge uses are kept for the next ones, until there are so many.
const SPARE: usize = 16_384;

/// The label sets of a tenant's sides, by their keys.
#[derive(Debug, Default)]
pub(super) struct Sides(RwLock<HashTable<Known>>);

#[derive(Debug)]
struct Known {
    labels: SharedLabels,
    /// Whether a half has come with them since the last look for unused ones.
    is_used: AtomicBool,
}

impl Sides {
    /// The labels of halves, `describe`d where one is the first with them. A half
    /// has none if they cannot be labels, or if it needs none.
    pub(super) fn of(
        &self,
        halves: &[HalfEdge],
        items: i64,
        mut describe: impl FnMut(&HalfEdge, &mut LabelSetBuf) -> Result<(), InvalidLabels>,
    ) -> Vec<Option<SharedLabels>> {
        let known = self.0.read();
        let mut missing = false;
        let mut all: Vec<_> = halves
            .iter()
            .map(|half| {
                let labels = needs_labels(half).then(|| find(&known, half));
                missing |= matches!(labels, Some(None));
                labels.flatten()
            })
            .collect();
        drop(known);
        if !missing {
            return all;
        }
        let mut known = self.0.write();
        let room = SPARE + 2 * usize::try_from(items).unwrap_or(0);
        let mut buffer = LabelSetBuf::new();
        for (half, labels) in halves.iter().zip(&mut all) {
            if labels.is_some() || !needs_labels(half) {
                continue;
            }
            *labels = find(&known, half);
            buffer.clear();
            if labels.is_none() && describe(half, &mut buffer).is_ok() {
                if known.len() >= room {
                    known.retain(Known::is_shared);
                }
                let new = Arc::new(SideLabels::new(half.labels, buffer.finish()));
                *labels = Some(Arc::clone(&new));
                let new = Known {
                    labels: new,
                    is_used: AtomicBool::new(true),
                };
                known.insert_unique(new.hash(), new, Known::hash);
            }
        }
        all
    }

    /// Forgets what no half that waits has, and none came with since the last time.
    pub(super) fn forget_unused(&self) {
        let mut known = self.0.write();
        known.retain(|known| std::mem::take(known.is_used.get_mut()) || known.is_shared());
        if known.capacity() > 4 * known.len() {
            let len = known.len();
            known.shrink_to(2 * len, Known::hash);
        }
    }

    /// Forgets all; who has labels keeps them.
    pub(super) fn clear(&self) {
        *self.0.write() = HashTable::new();
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        let known = self.0.read();
        let labels: usize = known.iter().map(|known| known.labels.size()).sum();
        known.allocation_size() + labels
    }
}

fn needs_labels(half: &HalfEdge) -> bool {
    half.role != Role::Internal && !half.is_filtered
}

fn find(known: &HashTable<Known>, half: &HalfEdge) -> Option<SharedLabels> {
    let found = known.find(half.labels.low_bits(), |known| {
        known.labels.key == half.labels
    })?;
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
