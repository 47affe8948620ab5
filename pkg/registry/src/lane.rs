//! Deltas of one tenant since the last merge, held by one push at a time.

use model::Exemplar;

use crate::bucket_pages::{BucketPages, NO_PAGES};
use crate::exemplars::{Exemplars, NONE, SAMPLED};
use crate::key_table::{KeyTable, MISSING};
use crate::room::apart;
use crate::schema::{MetricKind, Schema};
use crate::update::Update;

/// A lane with this many rows merges: 1.2 MB of span metrics with exemplars.
///
/// A row that merges early costs some 200 instructions; one that waits costs its
/// memory in every lane.
pub(crate) const MERGE_ROWS: usize = KEPT_ROWS / 8 * 7;
/// Rows for which a lane keeps memory; the last batch before a merge fits in.
const KEPT_ROWS: usize = 4096;
/// Rows for which a lane has memory at first.
const FIRST_ROWS: usize = 64;

/// A lane's part for one table.
#[derive(Debug, Default)]
pub(crate) struct LaneTable {
    pub(crate) keys: KeyTable,
    /// Rows of the schema's width, one after the other.
    pub(crate) rows: Vec<f64>,
    /// For each row, its slot and its exemplars.
    pub(crate) heads: Vec<RowHead>,
    pub(crate) exemplars: Exemplars,
    /// Buckets of native histograms, in the schema that they begin with.
    pub(crate) buckets: BucketPages,
    /// For each row up to the last that has any, its buckets.
    bucket_heads: Vec<u32>,
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
        let entry = self.keys.entry_mut(position)?;
        let slot = entry.slot;
        let head = self.heads.get(entry.row as usize);
        if head.is_some_and(|head| head.slot == slot) {
            return Some(entry.row);
        }
        entry.row = self.heads.len() as u32;
        Some(self.open_row(slot, width))
    }

    /// Opens a row for a slot.
    #[inline]
    pub(crate) fn open_row(&mut self, slot: u32, width: usize) -> u32 {
        let row = self.heads.len() as u32;
        if self.heads.len() == self.heads.capacity() {
            self.grow(width);
        }
        self.heads.push(RowHead {
            slot,
            exemplars: NONE,
        });
        self.rows.resize(self.rows.len() + width, 0.0);
        row
    }

    /// Makes room in few large steps: memory that is not written yet is not
    /// resident, but every size that a vector has outgrown stays so for a while.
    #[cold]
    fn grow(&mut self, width: usize) {
        let rows = self.heads.len();
        let wanted = if rows < KEPT_ROWS { rows * 8 } else { rows * 2 };
        let wanted = wanted.max(FIRST_ROWS);
        self.heads.reserve_exact(wanted - rows);
        let cells = apart::<f64>(wanted * width);
        self.rows
            .reserve_exact(cells.saturating_sub(self.rows.len()));
    }

    /// Remembers where a key leads, and opens its row.
    pub(crate) fn insert(&mut self, update: &Update, slot: u32, max_keys: usize) -> u32 {
        if self.keys.len() >= max_keys {
            // Only a cache: rows know their slots.
            self.keys.clear();
        }
        let position = self.keys.find(update.key);
        if position == MISSING {
            self.keys.insert(update.key, slot)
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
                kind => {
                    let mut cell = column.cells.start;
                    let mut native_cells = cells;
                    if let Some(bounds) = kind.bounds() {
                        // Branch-free: the number of bounds below the value.
                        let bucket: usize =
                            bounds.iter().map(|bound| usize::from(value > *bound)).sum();
                        cell += bucket;
                        let (plain, native) = native_cells
                            .split_at_mut_checked(bounds.len() + 2)
                            .unwrap_or_default();
                        native_cells = native;
                        if let [buckets @ .., sum] = plain {
                            *sum += value * update.weight;
                            if let Some(count) = buckets.get_mut(bucket) {
                                *count += update.weight;
                            }
                        }
                    }
                    if let Some(native) = &column.native
                        && let [sum, zero_count, fractional] = native_cells
                    {
                        *sum += value * update.weight;
                        *fractional += f64::from(u8::from(update.weight.fract() != 0.0));
                        match native.buckets.key(value) {
                            Some(key) => {
                                let row = row as usize;
                                if self.bucket_heads.len() <= row {
                                    self.bucket_heads.resize(row + 1, NO_PAGES);
                                }
                                if let Some(head) = self.bucket_heads.get_mut(row) {
                                    self.buckets.add(head, native.place, key, update.weight);
                                }
                            }
                            None => *zero_count += update.weight,
                        }
                    }
                    if update.trace_id != [0; 16] {
                        let exemplar = Exemplar {
                            trace_id: update.trace_id,
                            value,
                            timestamp_ms: update.timestamp_ms,
                        };
                        let sampled = if update.is_sampled { SAMPLED } else { 0 };
                        let at = sequence << 32 | u64::from(update.order);
                        let at = at & !SAMPLED | sampled;
                        self.exemplars
                            .set(&mut head.exemplars, cell as u16, exemplar, at);
                    }
                }
            }
        }
    }

    /// The buckets of a row.
    pub(crate) fn bucket_head(&self, row: usize) -> u32 {
        self.bucket_heads.get(row).copied().unwrap_or(NO_PAGES)
    }

    /// Forgets the rows of a width and keeps the keys.
    pub(crate) fn close_rows(&mut self, width: usize) {
        self.rows.clear();
        self.rows.shrink_to(apart::<f64>(KEPT_ROWS * width));
        self.heads.clear();
        self.heads.shrink_to(KEPT_ROWS);
        self.exemplars.clear();
        self.buckets.clear();
        self.buckets.shrink_to(KEPT_ROWS);
        self.bucket_heads.clear();
        self.bucket_heads.shrink_to(KEPT_ROWS);
        self.overflow_row = None;
    }

    /// Gives all memory back.
    pub(crate) fn shrink(&mut self) {
        self.keys.clear();
        self.rows.shrink_to_fit();
        self.heads.shrink_to_fit();
        self.exemplars.shrink();
        self.buckets.shrink_to(0);
        self.bucket_heads.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rows_have_room_apart() {
        let mut table = LaneTable::default();
        let mut capacities = Vec::new();
        for slot in 0..513 {
            table.open_row(slot, 18);
            capacities.push((table.heads.capacity(), table.rows.capacity()));
        }
        capacities.dedup();
        assert_eq!(capacities, [(64, 1_152), (512, 65_537), (4_096, 73_728)]);
    }

    #[test]
    fn rows_that_close_keep_their_room_apart() {
        let mut table = LaneTable::default();
        for slot in 0..4_097 {
            table.open_row(slot, 4);
        }
        table.close_rows(4);
        assert_eq!(table.rows.capacity(), 65_537);
    }
}
