//! Deltas of one tenant since the last merge, held by one push at a time.

use model::Exemplar;

use crate::exemplars::{Exemplars, NONE};
use crate::key_table::{KeyTable, MISSING};
use crate::schema::{MetricKind, Schema};
use crate::update::Update;

/// A lane's part for one table.
#[derive(Debug, Default)]
pub(crate) struct LaneTable {
    pub(crate) keys: KeyTable,
    /// Moved by every merge, which makes the rows in `keys` invalid at once.
    pub(crate) epoch: u32,
    /// Rows of the schema's width, one after the other.
    pub(crate) rows: Vec<f64>,
    /// For each row, its slot and its exemplars.
    pub(crate) heads: Vec<RowHead>,
    pub(crate) exemplars: Exemplars,
    /// The row of the overflow slot, if one is open.
    pub(crate) overflow_row: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RowHead {
    pub(crate) slot: u32,
    pub(crate) exemplars: u32,
}

/// Deltas of one tenant since the last merge.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) tables: Vec<LaneTable>,
    /// When the first of its rows was opened; 0 if it has none.
    pub(crate) opened_ms: i64,
    /// The removals that its keys already reflect.
    pub(crate) seen_removals: u64,
    /// The redirections that its keys already reflect.
    pub(crate) seen_redirections: u64,
    /// Positions of a batch's keys; kept for its memory.
    pub(crate) positions: Vec<u32>,
    pub(crate) used_since_collection: bool,
}

impl Lane {
    pub(crate) fn table(&mut self, index: usize) -> Option<&mut LaneTable> {
        if self.tables.len() <= index {
            self.tables.resize_with(index + 1, LaneTable::default);
        }
        self.tables.get_mut(index)
    }

    /// Rows of the table that has the most.
    pub(crate) fn rows(&self) -> usize {
        let rows = self.tables.iter().map(|table| table.heads.len());
        rows.max().unwrap_or(0)
    }
}

impl LaneTable {
    /// Looks all keys of a batch up.
    pub(crate) fn find_all(&self, updates: &[Update], positions: &mut Vec<u32>) {
        positions.clear();
        positions.extend(updates.iter().map(|update| self.keys.find(update.key)));
    }

    /// The row of a key's position, opened if the lane has none yet.
    #[inline]
    pub(crate) fn row_at(&mut self, position: u32, width: usize) -> Option<u32> {
        let epoch = self.epoch;
        let next = self.heads.len() as u32;
        let entry = self.keys.entry_mut(position)?;
        if entry.epoch == epoch {
            return Some(entry.row);
        }
        entry.epoch = epoch;
        entry.row = next;
        let slot = entry.slot;
        self.open_row(slot, width);
        Some(next)
    }

    /// Opens a row for a slot.
    #[inline]
    pub(crate) fn open_row(&mut self, slot: u32, width: usize) -> u32 {
        let row = self.heads.len() as u32;
        self.heads.push(RowHead {
            slot,
            exemplars: NONE,
        });
        self.rows.resize(self.rows.len() + width, 0.0);
        row
    }

    /// Remembers where a key leads, and opens its row.
    pub(crate) fn insert(&mut self, update: &Update, slot: u32, max_keys: usize) -> u32 {
        if self.keys.len() >= max_keys {
            // Only a cache: rows know their slots.
            self.keys.clear();
        }
        let position = self.keys.find(update.key);
        if position == MISSING {
            // An epoch in which no row of this lane is valid any more.
            let closed = self.epoch.wrapping_sub(1);
            self.keys.insert(update.key, slot, closed)
        } else {
            position
        }
    }

    /// Adds an update to a row.
    #[inline]
    pub(crate) fn add(&mut self, row: u32, schema: &Schema, update: &Update, sequence: u64) {
        let width = schema.width();
        let start = row as usize * width;
        let (Some(cells), Some(head)) = (
            self.rows.get_mut(start..start + width),
            self.heads.get_mut(row as usize),
        ) else {
            return;
        };
        for (column, value) in schema.columns().iter().zip(update.values) {
            if value.is_nan() {
                continue;
            }
            let Some(cells) = cells.get_mut(column.cells.clone()) else {
                continue;
            };
            match &column.metric.kind {
                MetricKind::Counter => {
                    if let [cell] = cells {
                        *cell += value;
                    }
                }
                MetricKind::Gauge => {
                    if let [cell] = cells {
                        *cell = value;
                    }
                }
                MetricKind::ClassicHistogram { bounds } => {
                    // Branch-free: the number of bounds below the value.
                    let bucket: usize =
                        bounds.iter().map(|bound| usize::from(value > *bound)).sum();
                    if let [buckets @ .., sum] = cells {
                        *sum += value * update.weight;
                        if let Some(count) = buckets.get_mut(bucket) {
                            *count += update.weight;
                        }
                    }
                    if update.trace_id != [0; 16] {
                        let exemplar = Exemplar {
                            trace_id: update.trace_id,
                            value,
                            timestamp_ms: update.timestamp_ms,
                        };
                        let cell = (column.cells.start + bucket) as u16;
                        let at = sequence << 32 | u64::from(update.order);
                        self.exemplars.set(&mut head.exemplars, cell, exemplar, at);
                    }
                }
            }
        }
    }

    /// Forgets the rows and keeps the keys.
    pub(crate) fn close_rows(&mut self) {
        self.rows.clear();
        self.heads.clear();
        self.exemplars.clear();
        self.overflow_row = None;
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Gives all memory back.
    pub(crate) fn shrink(&mut self) {
        self.keys.clear();
        self.rows.shrink_to_fit();
        self.heads.shrink_to_fit();
        self.exemplars.shrink();
    }
}
