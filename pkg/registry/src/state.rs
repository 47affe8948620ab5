//! A tenant's registry: its lanes, and its tables behind one lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::LabelSetBuf;
use parking_lot::Mutex;

use crate::admission::Admission;
use crate::key_table::MISSING;
use crate::label_limiter::LabelStats;
use crate::lane::{Lane, LaneTable, MERGE_ROWS};
use crate::lanes::Lanes;
use crate::limiter::{Counts, Limits};
use crate::schema::Schema;
use crate::table::{Resolved, Table};
use crate::update::{Applied, InvalidLabels, Update};

/// A lane whose first row is this old merges, in milliseconds.
const MERGE_AFTER_MS: i64 = 1_000;
/// Keys that a lane may remember beyond twice the table's slots. The keys are a
/// cache, and many raw values may lead to one label set.
const SPARE_KEYS: usize = 8 * 1024;

/// A table of a registry, with the schema by which its rows are laid out.
#[derive(Clone, Debug)]
pub struct TableId {
    pub(crate) index: usize,
    pub(crate) schema: Arc<Schema>,
}

impl TableId {
    /// The schema of the table.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }
}

/// A tenant's live series.
#[derive(Debug)]
pub struct Registry {
    pub(crate) lanes: Lanes,
    pub(crate) state: Mutex<State>,
    sequence: AtomicU64,
}

/// What merging, collections and scrapes work on, one at a time.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) tables: Vec<Table>,
    pub(crate) admission: Admission,
    /// Moved whenever slots end, so that lanes forget them.
    pub(crate) removals: u64,
    /// Moved whenever raw values may lead elsewhere, so that lanes forget all.
    pub(crate) redirections: u64,
    /// When refused label sets were last aged.
    pub(crate) rotated_ms: i64,
    pub(crate) updates_overflowed: u64,
    labels: LabelSetBuf,
}

/// Numbers about a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistryStats {
    /// What counts against the limits.
    pub active: Counts,
    /// What has ever been added.
    pub added: Counts,
    /// What there would be without limits, within 3.3 % of what they refuse.
    pub demand: Counts,
    /// Updates that went to an overflow series.
    pub updates_overflowed: u64,
}

impl Registry {
    /// A registry without tables.
    ///
    /// Up to `max_lanes` pushes are applied at the same time; the number of
    /// threads that push is right.
    pub fn new(limits: Limits, max_lanes: usize) -> Self {
        let registry = Self {
            lanes: Lanes::new(max_lanes),
            state: Mutex::default(),
            sequence: AtomicU64::new(1),
        };
        registry.set_limits(limits);
        registry
    }

    /// Adds a table for label sets with these metrics.
    pub fn add_table(&self, schema: Schema) -> TableId {
        let schema = Arc::new(schema);
        let mut state = self.state.lock();
        state.tables.push(Table::new(Arc::clone(&schema)));
        TableId {
            index: state.tables.len() - 1,
            schema,
        }
    }

    /// Adds a table that goes on with the series of a retired one with metrics of
    /// the same names, where no collection has ended them yet: a series must not
    /// end and begin in one collection.
    pub fn resume_table(&self, schema: Schema, now_ms: i64) -> TableId {
        let mut state = self.state.lock();
        let mut tables = state.tables.iter_mut().enumerate().rev();
        let retired =
            tables.find(|(_, table)| table.is_ending() && table.schema.shares_a_name(&schema));
        let Some((index, table)) = retired else {
            drop(state);
            return self.add_table(schema);
        };
        if table.schema.has_series_of(&schema) {
            // In place: the series may be a million.
            let schema = Arc::new(schema);
            table.resume(Arc::clone(&schema));
            return TableId { index, schema };
        }
        let retired = TableId {
            index,
            schema: Arc::clone(&table.schema),
        };
        drop(state);
        self.replace_table(&retired, schema, now_ms)
    }

    /// Ends the series of a table at the next collection.
    pub fn retire_table(&self, table: &TableId) {
        if let Some(table) = self.state.lock().tables.get_mut(table.index) {
            table.retired = true;
        }
    }

    /// Sets limits for label sets that are new from now on.
    pub fn set_limits(&self, limits: Limits) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.admission.limiter.limits == limits {
            return;
        }
        state.admission.limiter.limits = limits;
        state.redirections += 1;
        let starts = state
            .admission
            .labels
            .set_max(limits.max_cardinality_per_label);
        for table in &mut state.tables {
            table.refused.clear();
            if starts {
                for labels in table.limited_label_sets() {
                    state.admission.labels.add(labels);
                }
            }
        }
    }

    /// What the limit of label values does, by label; nothing without a limit.
    pub fn label_stats(&self) -> Vec<LabelStats> {
        self.state.lock().admission.labels.stats()
    }

    /// What counts against the limits.
    pub fn active(&self) -> Counts {
        self.state.lock().admission.limiter.active()
    }

    /// Whether it has no series: none that counts, and none whose end a sink does not
    /// know. What lanes have not merged yet does not count.
    pub fn is_empty(&self) -> bool {
        self.state.lock().tables.iter().all(Table::is_empty)
    }

    /// Numbers for metrics and status pages.
    pub fn stats(&self) -> RegistryStats {
        let state = self.state.lock();
        let active = state.admission.limiter.active();
        let mut demand = active;
        for table in &state.tables {
            let refused = table.refused.estimate();
            demand.series += refused * table.schema.series();
            demand.entities += refused;
        }
        RegistryStats {
            active,
            added: state.admission.limiter.added(),
            demand,
            updates_overflowed: state.updates_overflowed,
        }
    }

    /// Applies updates of one push to a table.
    ///
    /// One lane is held for the whole batch. Where a lane meets a key for the
    /// first time, `labels` is asked for the label set of the update with that
    /// index, and the tables' lock is held once for all of those.
    pub fn apply(
        &self,
        table: &TableId,
        updates: &[Update],
        now_ms: i64,
        labels: impl FnMut(usize, &mut LabelSetBuf) -> Result<(), InvalidLabels>,
    ) -> Applied {
        let mut applied = Applied::default();
        let Some(mut lane) = self.lanes.acquire() else {
            return applied;
        };
        let lane = &mut *lane;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        if lane.rows() == 0 {
            lane.opened_ms = now_ms;
        }
        lane.used_since_collection = true;
        let mut positions = std::mem::take(&mut lane.positions);
        if let Some(rows) = lane.table(table.index) {
            let schema = &*table.schema;
            rows.find_all(updates, &mut positions);
            let mut known = 0;
            for (update, position) in updates.iter().zip(&positions) {
                if *position != MISSING
                    && let Some(row) = rows.row_at(*position, schema.width())
                {
                    rows.add(row, schema, update, sequence);
                    applied.counted += u64::from(update.spans);
                    known += 1;
                }
            }
            if known < updates.len() {
                let missing = updates
                    .iter()
                    .enumerate()
                    .zip(&positions)
                    .filter(|(_, position)| **position == MISSING)
                    .map(|(update, _)| update);
                let mut resolve = Resolve {
                    table,
                    rows,
                    sequence,
                    now_ms,
                    applied: &mut applied,
                };
                resolve.run(&mut self.state.lock(), missing, labels);
            }
        }
        lane.positions = positions;
        if lane.rows() >= MERGE_ROWS || now_ms - lane.opened_ms >= MERGE_AFTER_MS {
            self.state.lock().merge_lane(lane, now_ms);
        }
        applied
    }

    /// Merges all lanes.
    pub(crate) fn merge_lanes(&self, now_ms: i64) {
        for lane in self.lanes.existing() {
            let mut lane: parking_lot::MutexGuard<'_, Lane> = lane.lock();
            self.state.lock().merge_lane(&mut lane, now_ms);
        }
    }
}

/// Finds the slots of those updates of a batch whose keys the lane did not know.
struct Resolve<'a> {
    table: &'a TableId,
    rows: &'a mut LaneTable,
    sequence: u64,
    now_ms: i64,
    applied: &'a mut Applied,
}

impl Resolve<'_> {
    fn run<'u>(
        &mut self,
        state: &mut State,
        missing: impl Iterator<Item = (usize, &'u Update)>,
        mut labels: impl FnMut(usize, &mut LabelSetBuf) -> Result<(), InvalidLabels>,
    ) {
        let mut buffer = std::mem::take(&mut state.labels);
        for (index, update) in missing {
            // An update before this one may have brought the same key.
            let mut position = self.rows.keys.find(update.key);
            if position == MISSING {
                buffer.clear();
                if labels(index, &mut buffer).is_err() {
                    self.applied.invalid += u64::from(update.spans);
                    continue;
                }
                match self.resolve(state, &mut buffer) {
                    Some(Resolved::Slot(slot)) => {
                        let slots = state.tables.get(self.table.index).map_or(0, Table::len);
                        let max_keys = slots as usize * 2 + SPARE_KEYS;
                        position = self.rows.insert(update, slot, max_keys);
                    }
                    Some(Resolved::Overflow(slot)) => {
                        self.add_to_overflow(update, slot);
                        state.updates_overflowed += 1;
                        continue;
                    }
                    None => continue,
                }
            }
            let width = self.table.schema.width();
            if let Some(row) = self.rows.row_at(position, width) {
                self.add(row, update);
            }
        }
        state.labels = buffer;
    }

    fn resolve(&self, state: &mut State, labels: &mut LabelSetBuf) -> Option<Resolved> {
        let table = state.tables.get_mut(self.table.index)?;
        Some(table.resolve(labels.finish(), &mut state.admission, self.now_ms))
    }

    fn add_to_overflow(&mut self, update: &Update, slot: u32) {
        let width = self.table.schema.width();
        let row = match self.rows.overflow_row {
            Some(row) => row,
            None => self.rows.open_row(slot, width),
        };
        self.rows.overflow_row = Some(row);
        self.applied.overflowed += u64::from(update.spans);
        self.add(row, update);
    }

    fn add(&mut self, row: u32, update: &Update) {
        self.rows
            .add(row, &self.table.schema, update, self.sequence);
        self.applied.counted += u64::from(update.spans);
    }
}
