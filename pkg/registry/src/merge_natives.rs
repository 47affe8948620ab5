//! Native histograms of a table: what is added to them, and what moves on.

use std::sync::Arc;

use crate::lane::LaneTable;
use crate::native_histogram::{Addition, NativeDelta, Taken};
use crate::schema::NativeColumn;
use crate::table::Table;

impl Table {
    /// Adds the buckets of a lane's row, whose cells have been added already.
    pub(crate) fn merge_natives(
        &mut self,
        number: u32,
        new_cells: &[f64],
        rows: &LaneTable,
        row: usize,
        now_ms: i64,
    ) {
        if self.natives.is_empty() {
            return;
        }
        let schema = Arc::clone(&self.schema);
        for native in schema.natives() {
            let buckets = rows.buckets.occupied(rows.bucket_head(row), native.place);
            let schema = native.buckets.schema();
            self.add_native(number, native, new_cells, schema, buckets, now_ms);
        }
    }

    /// Adds what a histogram of another table or registry has counted, after its
    /// cells have been added.
    pub(crate) fn merge_native_delta(
        &mut self,
        number: u32,
        new_cells: &[f64],
        delta: &NativeDelta,
        now_ms: i64,
    ) {
        let schema = Arc::clone(&self.schema);
        if let Some(native) = schema.natives().find(|native| native.place == delta.place) {
            let buckets = delta.buckets.iter().copied();
            self.add_native(number, native, new_cells, delta.schema, buckets, now_ms);
        }
    }

    fn add_native(
        &mut self,
        number: u32,
        native: &NativeColumn,
        new_cells: &[f64],
        schema: i8,
        buckets: impl Iterator<Item = (i32, f64)> + Clone,
        now_ms: i64,
    ) {
        let new_cells = new_cells.get(native.cells.clone()).unwrap_or_default();
        if new_cells.iter().all(|cell| *cell == 0.0) {
            return;
        }
        let addition = Addition {
            settings: native.buckets,
            schema,
            buckets,
            started_ms: self.slot(number).map_or(now_ms, |slot| slot.started_ms),
            now_ms,
        };
        if self.natives.add(number, native.place, addition)
            && let Some(cells) = self.row_mut(number).get_mut(native.cells.clone())
        {
            cells.copy_from_slice(new_cells);
        }
    }

    /// Takes the native histograms of a slot out, which is left without any.
    pub(crate) fn take_natives(&mut self, number: u32) -> Vec<Taken> {
        let natives = &mut self.natives;
        let columns = self.schema.natives();
        columns
            .filter_map(|native| natives.take(number, native.place, native.buckets))
            .collect()
    }
}
