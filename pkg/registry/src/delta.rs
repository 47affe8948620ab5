//! What a registry has counted, to be added to another.
//!
//! The boundary at which one registry may own the series that others count:
//! deltas in, cumulative values out.

use model::{Exemplar, LabelSet};

use crate::exemplars::NONE;
use crate::native_histogram::NativeDelta;
use crate::state::{Registry, TableId};
use crate::table::{Resolved, SlotState};

/// What one label set of a table has counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// The canonical label set.
    pub labels: Vec<u8>,
    /// The row of the schema.
    pub cells: Vec<f64>,
    /// The buckets of native histograms.
    pub natives: Vec<NativeDelta>,
    /// Exemplars, with the cell of their bucket and the push that brought them.
    pub exemplars: Vec<(u16, Exemplar, u64)>,
}

/// What the label sets of one table have counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeltaBatch {
    /// One entry for each label set.
    pub entries: Vec<Delta>,
}

impl Registry {
    /// Takes all that a table has counted and leaves it at zero.
    pub fn take_deltas(&self, table: &TableId, now_ms: i64) -> DeltaBatch {
        self.merge_lanes(now_ms);
        let mut batch = DeltaBatch::default();
        let mut state = self.state.lock();
        let Some(table) = state.tables.get_mut(table.index) else {
            return batch;
        };
        for number in 0..table.len() {
            let Some(slot) = table.slot(number).copied() else {
                continue;
            };
            if slot.state != SlotState::Active {
                continue;
            }
            let natives = table.take_natives(number).into_iter();
            let natives = natives.map(|taken| taken.delta).collect();
            batch.entries.push(Delta {
                natives,
                labels: table.label_set(&slot).as_bytes().to_vec(),
                cells: table.row(number).to_vec(),
                exemplars: table
                    .exemplars
                    .list(slot.exemplars)
                    .map(|entry| (entry.cell, entry.exemplar, entry.sequence))
                    .collect(),
            });
            table.row_mut(number).fill(0.0);
            if let Some(slot) = table.slot_mut(number) {
                slot.state = SlotState::Admitted;
                slot.exemplars = NONE;
            }
        }
        table.exemplars.clear();
        batch
    }

    /// Adds what another registry's table of the same schema has counted.
    pub fn add_deltas(&self, table: &TableId, batch: &DeltaBatch, now_ms: i64) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(table) = state.tables.get_mut(table.index) else {
            return;
        };
        for delta in &batch.entries {
            let labels = LabelSet::from_canonical(&delta.labels);
            let number = match table.resolve(labels, &mut state.admission, now_ms) {
                Resolved::Slot(number) | Resolved::Overflow(number) => number,
            };
            let limiter = &mut state.admission.limiter;
            let number = table.merge_row(number, &delta.cells, limiter, now_ms);
            for native in &delta.natives {
                table.merge_native_delta(number, &delta.cells, native, now_ms);
            }
            let Some(mut list) = table.slot(number).map(|slot| slot.exemplars) else {
                continue;
            };
            for (cell, exemplar, sequence) in &delta.exemplars {
                table.exemplars.set(&mut list, *cell, *exemplar, *sequence);
            }
            if let Some(slot) = table.slot_mut(number) {
                slot.exemplars = list;
            }
        }
    }
}
