//! The cumulative series of one schema, flat.

use std::sync::Arc;

use hashbrown::HashTable;
use model::{LabelSet, LabelSetBuf};

use crate::admission::Admission;
use crate::demand::Refused;
use crate::exemplars::{Exemplars, NONE};
use crate::fingerprint::hash_labels;
use crate::going::Going;
use crate::label_arena::{LabelArena, LabelRef};
use crate::label_limiter::LabelLimiter;
use crate::limiter::Limiter;
use crate::native_histogram::NativeHistograms;
use crate::relabel::Superseding;
use crate::room::apart;
use crate::schema::{Metric, MetricKind, Schema};

/// Slots whose rows lie in one block of memory.
const BLOCK_SLOTS: usize = 64;

/// Slots for which a table has room at first.
const FIRST_SLOTS: usize = 4;

/// What a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// May be given to another label set.
    Free,
    /// Has a label set, and no value yet.
    Admitted,
    /// Has values.
    Active,
    /// Had its staleness marker; free as soon as no lane knows it.
    Ended,
}

/// One label set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    labels: LabelRef,
    pub(crate) state: SlotState,
    /// The metrics of which a value has been collected, one bit each; before
    /// the first of the others comes a zero.
    pub(crate) collected: u8,
    pub(crate) exemplars: u32,
    /// The last merge that added to it, in milliseconds since the Unix epoch.
    pub(crate) updated_ms: i64,
    /// Since when it counts, in milliseconds since the Unix epoch.
    pub(crate) started_ms: i64,
}

/// Where a label set leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// To a slot of its own.
    Slot(u32),
    /// To the overflow slot.
    Overflow(u32),
}

/// The cumulative series of one schema.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) schema: Arc<Schema>,
    /// Ends all its series at the next collection; no update comes any more.
    pub(crate) retired: bool,
    /// The table that goes on counting what this one had, if it is retired.
    pub(crate) successor: Option<usize>,
    /// How far it is gone since it was retired.
    pub(crate) going: Going,
    /// Whether its series count against the limit.
    pub(crate) is_counted: bool,
    /// Whether a merge has anything to set, and not only to add.
    has_gauges: bool,
    index: HashTable<u32>,
    slots: Vec<Slot>,
    rows: Vec<Vec<f64>>,
    labels: LabelArena,
    pub(crate) exemplars: Exemplars,
    pub(crate) natives: NativeHistograms,
    free: Vec<u32>,
    ended: Vec<u32>,
    overflow: Option<u32>,
    pub(crate) refused: Refused,
    /// Labels that have come in addition, and the label sets without them.
    pub(crate) superseding: Option<Superseding>,
}

impl Table {
    pub(crate) fn new(schema: Arc<Schema>) -> Self {
        let is_gauge = |metric: &Metric| metric.kind == MetricKind::Gauge;
        let has_gauges = schema.metrics().any(is_gauge);
        Self {
            natives: NativeHistograms::new(schema.natives().count()),
            schema,
            retired: false,
            successor: None,
            going: Going::Not,
            is_counted: true,
            has_gauges,
            index: HashTable::new(),
            slots: Vec::new(),
            rows: Vec::new(),
            labels: LabelArena::default(),
            exemplars: Exemplars::default(),
            free: Vec::new(),
            ended: Vec::new(),
            overflow: None,
            refused: Refused::default(),
            superseding: None,
        }
    }

    /// Slots that exist, free ones included: their numbers are below this.
    pub(crate) fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(crate) fn slot(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)
    }

    pub(crate) fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)
    }

    /// Whether a slot's series count against the limit.
    pub(crate) fn counts(&self, slot: u32) -> bool {
        let has_place = self
            .slot(slot)
            .is_some_and(|slot| matches!(slot.state, SlotState::Admitted | SlotState::Active));
        self.is_counted && has_place && self.overflow != Some(slot)
    }

    /// Whether it has been retired, and has series whose end is still to be written.
    pub(crate) fn is_ending(&self) -> bool {
        self.retired && self.successor.is_none() && !self.index.is_empty()
    }

    pub(crate) fn is_ended(&self, slot: u32) -> bool {
        self.slot(slot)
            .is_some_and(|slot| slot.state == SlotState::Ended)
    }

    pub(crate) fn label_set(&self, slot: &Slot) -> LabelSet<'_> {
        LabelSet::from_canonical(self.labels.get(slot.labels))
    }

    pub(crate) fn row(&self, slot: u32) -> &[f64] {
        let (block, cells) = self.place(slot);
        self.rows
            .get(block)
            .and_then(|block| block.get(cells))
            .unwrap_or_default()
    }

    pub(crate) fn row_mut(&mut self, slot: u32) -> &mut [f64] {
        let (block, cells) = self.place(slot);
        self.rows
            .get_mut(block)
            .and_then(|block| block.get_mut(cells))
            .unwrap_or_default()
    }

    fn place(&self, slot: u32) -> (usize, std::ops::Range<usize>) {
        let width = self.schema.width();
        let start = slot as usize % BLOCK_SLOTS * width;
        (slot as usize / BLOCK_SLOTS, start..start + width)
    }

    /// The slot of a label set, made if the limits allow it.
    pub(crate) fn resolve(
        &mut self,
        labels: LabelSet<'_>,
        admission: &mut Admission,
        now_ms: i64,
    ) -> Resolved {
        let hash = hash_labels(labels.as_bytes());
        if let Some(slot) = self.find(hash, labels) {
            return self.resolve_known(hash, slot, &mut admission.limiter, now_ms);
        }
        self.supersede(labels);
        if !self.schema.limits_labels() || admission.labels.is_off() {
            return self.resolve_new(hash, labels, admission, now_ms);
        }
        let mut buffer = std::mem::take(&mut admission.buffer);
        let resolved = match admission.labels.limit(labels, &mut buffer) {
            None => self.resolve_new(hash, labels, admission, now_ms),
            Some(limited) => {
                let hash = hash_labels(limited.as_bytes());
                match self.find(hash, limited) {
                    Some(slot) => self.resolve_known(hash, slot, &mut admission.limiter, now_ms),
                    None => self.resolve_new(hash, limited, admission, now_ms),
                }
            }
        };
        admission.buffer = buffer;
        resolved
    }

    fn resolve_known(
        &mut self,
        hash: u64,
        slot: u32,
        limiter: &mut Limiter,
        now_ms: i64,
    ) -> Resolved {
        if !self.is_ended(slot) || limiter.admit(self.schema.series()) {
            self.revive(slot, now_ms);
            return Resolved::Slot(slot);
        }
        self.refused.insert(hash);
        Resolved::Overflow(self.overflow(now_ms))
    }

    fn resolve_new(
        &mut self,
        hash: u64,
        labels: LabelSet<'_>,
        admission: &mut Admission,
        now_ms: i64,
    ) -> Resolved {
        if !admission.limiter.admit(self.schema.series()) {
            self.refused.insert(hash);
            return Resolved::Overflow(self.overflow(now_ms));
        }
        if self.schema.limits_labels() {
            admission.labels.add(labels);
        }
        Resolved::Slot(self.add(hash, labels, now_ms))
    }

    /// Gives a label set of a saved registry its slot again, whatever the limits
    /// are now; `None` if it has one already.
    pub(crate) fn readmit(
        &mut self,
        labels: LabelSet<'_>,
        is_overflow: bool,
        admission: &mut Admission,
    ) -> Option<u32> {
        let hash = hash_labels(labels.as_bytes());
        if self.find(hash, labels).is_some() || (is_overflow && self.overflow.is_some()) {
            return None;
        }
        if !is_overflow {
            admission.limiter.readmit(self.schema.series());
            if self.schema.limits_labels() {
                admission.labels.add(labels);
            }
        }
        let number = self.add(hash, labels, 0);
        if is_overflow {
            self.overflow = Some(number);
        }
        Some(number)
    }

    /// Whether a slot holds what the limit cut.
    pub(crate) fn is_overflow(&self, slot: u32) -> bool {
        self.overflow == Some(slot)
    }

    /// Goes on with the series that a retired table still has, under a schema
    /// with the same ones.
    pub(crate) fn resume(&mut self, schema: Arc<Schema>) {
        self.schema = schema;
        self.retired = false;
    }

    /// The slot that holds what the limit cut, outside of the limit.
    pub(crate) fn overflow(&mut self, now_ms: i64) -> u32 {
        if let Some(slot) = self.overflow {
            self.revive(slot, now_ms);
            return slot;
        }
        let mut labels = LabelSetBuf::new();
        labels.push("metric_overflow", "true");
        let labels = labels.finish();
        // A span cannot bring this label set: it has none without a service or
        // name but this, and then it is meant.
        let hash = hash_labels(labels.as_bytes());
        let slot = match self.find(hash, labels) {
            Some(slot) => slot,
            None => self.add(hash, labels, now_ms),
        };
        self.overflow = Some(slot);
        slot
    }

    pub(crate) fn find(&self, hash: u64, labels: LabelSet<'_>) -> Option<u32> {
        let same = |slot: &u32| {
            self.slot(*slot)
                .is_some_and(|slot| self.labels.get(slot.labels) == labels.as_bytes())
        };
        self.index.find(hash, same).copied()
    }

    fn add(&mut self, hash: u64, labels: LabelSet<'_>, now_ms: i64) -> u32 {
        let slot = Slot {
            labels: self.labels.add(labels.as_bytes()),
            state: SlotState::Admitted,
            collected: 0,
            exemplars: NONE,
            updated_ms: now_ms,
            started_ms: now_ms,
        };
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.slots.get_mut(number as usize) {
                    *place = slot;
                }
                self.row_mut(number).fill(0.0);
                number
            }
            None => {
                if self.slots.len() == self.slots.capacity() {
                    let wanted = (self.slots.len() * 2).max(FIRST_SLOTS);
                    let more = apart::<Slot>(wanted) - self.slots.len();
                    self.slots.reserve_exact(more);
                }
                self.slots.push(slot);
                let width = self.schema.width();
                let block = (self.slots.len() - 1) / BLOCK_SLOTS;
                if self.rows.len() <= block {
                    self.rows.push(Vec::new());
                }
                if let Some(row) = self.rows.get_mut(block) {
                    row.resize(row.len() + width, 0.0);
                }
                (self.slots.len() - 1) as u32
            }
        };
        let (slots, arena) = (&self.slots, &self.labels);
        self.index.insert_unique(hash, number, |number| {
            slots
                .get(*number as usize)
                .map_or(0, |slot| hash_labels(arena.get(slot.labels)))
        });
        number
    }

    /// Begins an ended slot anew; does nothing to others.
    fn revive(&mut self, number: u32, now_ms: i64) {
        if !self.is_ended(number) {
            return;
        }
        self.row_mut(number).fill(0.0);
        if let Some(slot) = self.slot_mut(number) {
            slot.state = SlotState::Admitted;
            slot.collected = 0;
            slot.updated_ms = now_ms;
            slot.started_ms = now_ms;
        }
    }

    /// Adds a lane's row to a slot, or to the overflow slot if the slot has
    /// ended and may not come back. Returns the slot.
    pub(crate) fn merge_row(
        &mut self,
        number: u32,
        cells: &[f64],
        limiter: &mut Limiter,
        now_ms: i64,
    ) -> u32 {
        let mut number = number;
        if self.is_ended(number) {
            if self.overflow == Some(number) || limiter.admit(self.schema.series()) {
                self.revive(number, now_ms);
            } else {
                number = self.overflow(now_ms);
            }
        }
        for (total, delta) in self.row_mut(number).iter_mut().zip(cells) {
            *total += delta;
        }
        if self.has_gauges {
            self.set_gauges(number, cells);
        }
        if let Some(slot) = self.slot_mut(number) {
            slot.state = SlotState::Active;
            slot.updated_ms = now_ms;
        }
        number
    }

    fn set_gauges(&mut self, number: u32, cells: &[f64]) {
        let schema = Arc::clone(&self.schema);
        for column in schema.columns() {
            if column.metric.kind == MetricKind::Gauge {
                let row = self.row_mut(number).get_mut(column.cells.clone());
                if let (Some([total]), Some([value])) = (row, cells.get(column.cells.clone())) {
                    *total = *value;
                }
            }
        }
    }

    /// Ends a slot: it no longer counts against the limit.
    pub(crate) fn end(&mut self, number: u32, limiter: &mut Limiter) {
        let counts = self.counts(number);
        let series = self.schema.series();
        let Some(slot) = self.slots.get_mut(number as usize) else {
            return;
        };
        slot.state = SlotState::Ended;
        self.exemplars.release_taken(&mut slot.exemplars, 0);
        self.natives.clear(number);
        self.ended.push(number);
        if counts {
            limiter.release(series);
        }
    }

    /// Frees the ended slots that nothing revived. No lane may know them.
    /// Returns whether that frees label values which were refused to others.
    pub(crate) fn free_ended(&mut self, label_limiter: &mut LabelLimiter) -> bool {
        let mut is_value_free = false;
        for number in std::mem::take(&mut self.ended) {
            let Some(slot) = self.slot(number).copied() else {
                continue;
            };
            if slot.state != SlotState::Ended {
                continue;
            }
            let hash = hash_labels(self.labels.get(slot.labels));
            if let Ok(entry) = self.index.find_entry(hash, |found| *found == number) {
                entry.remove();
            }
            if self.overflow == Some(number) {
                self.overflow = None;
            } else if self.schema.limits_labels() {
                is_value_free |= label_limiter.remove(self.label_set(&slot));
            }
            self.labels.remove(slot.labels);
            if let Some(slot) = self.slot_mut(number) {
                slot.state = SlotState::Free;
                slot.labels = LabelRef::default();
            }
            self.free.push(number);
        }
        if self.retired && self.index.is_empty() {
            self.shrink();
        } else if self.labels.wants_compaction() {
            self.compact_labels();
        }
        is_value_free
    }

    /// The label sets that count for the limits of label values.
    pub(crate) fn limited_label_sets(&self) -> impl Iterator<Item = LabelSet<'_>> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(number, slot)| {
                slot.state != SlotState::Free && self.overflow != Some(*number as u32)
            })
            .filter(|_| self.schema.limits_labels())
            .map(|(_, slot)| self.label_set(slot))
    }

    /// Whether it has no label set.
    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Gives the memory of a retired table without label sets back.
    pub(crate) fn shrink(&mut self) {
        *self = Self {
            retired: true,
            successor: self.successor,
            going: self.going,
            is_counted: self.is_counted,
            ..Self::new(Arc::clone(&self.schema))
        };
    }

    fn compact_labels(&mut self) {
        let old = std::mem::take(&mut self.labels);
        for slot in &mut self.slots {
            if slot.state != SlotState::Free {
                slot.labels = self.labels.add(old.get(slot.labels));
            }
        }
    }
}

#[cfg(test)]
mod tests;
