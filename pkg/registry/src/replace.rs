//! A table whose metrics change: what stays the same goes on counting.
//!
//! The label sets move to the new table with the values of those metrics that
//! it has too; the series that it does not have end. Source: differences, D2.

use std::mem::discriminant;
use std::sync::Arc;

use crate::schema::{Column, MetricKind, Schema};
use crate::state::{Registry, State, TableId};
use crate::table::{Resolved, SlotState, Table};

impl Registry {
    /// Replaces a table by one with other metrics, for the spans that follow.
    ///
    /// A push that is being applied may still add to the old table: that goes
    /// over at the next collection.
    pub fn replace_table(&self, table: &TableId, schema: Schema, now_ms: i64) -> TableId {
        self.merge_lanes(now_ms);
        let schema = Arc::new(schema);
        let mut state = self.state.lock();
        state.tables.push(Table::new(Arc::clone(&schema)));
        let next = TableId {
            index: state.tables.len() - 1,
            schema,
        };
        let slots = state.tables.get_mut(table.index).map_or(0, |old| {
            old.retired = true;
            old.successor = Some(next.index);
            old.len()
        });
        // All go before any comes, so that nobody loses a place to the limit.
        state.uncount(table.index);
        for slot in 0..slots {
            state.carry_over(table.index, slot, now_ms);
        }
        next
    }
}

impl State {
    /// Takes the series of a table out of the limit's count.
    fn uncount(&mut self, index: usize) {
        let Some(table) = self.tables.get_mut(index) else {
            return;
        };
        for slot in 0..table.len() {
            if table.counts(slot) {
                self.admission.limiter.move_out(table.schema.series());
            }
        }
        table.is_counted = false;
    }

    /// Moves what a slot of a replaced table has counted to the new table.
    pub(crate) fn carry_over(&mut self, index: usize, number: u32, now_ms: i64) {
        let Some((table, rest)) = self
            .tables
            .get_mut(index..)
            .and_then(<[Table]>::split_first_mut)
        else {
            return;
        };
        let (Some(slot), Some(successor)) = (table.slot(number).copied(), table.successor) else {
            return;
        };
        let Some(next) = rest.get_mut(successor.saturating_sub(index + 1)) else {
            return;
        };
        if slot.state != SlotState::Active {
            return;
        }
        let taken = table.take_natives(number);
        let mut moved = Vec::new();
        let mut cells = vec![0.0; next.schema.width()];
        let mut collected = 0;
        let mut goes_on = false;
        for (bit, column) in Schema::bits().zip(next.schema.columns()) {
            let old = Schema::bits().zip(table.schema.columns());
            let Some((old_bit, old)) = { old }.find(|(_, old)| old.goes_on_as(column)) else {
                continue;
            };
            goes_on = true;
            let row = table.row(number);
            if let (Some(to), Some(from)) = (
                cells.get_mut(column.plain_cells()),
                row.get(old.plain_cells()),
            ) {
                copy_cells(&old.metric.kind, from, &column.metric.kind, to);
            }
            if slot.collected & old_bit != 0 && old.plain_goes_on_as(column) {
                collected |= bit;
            }
            if let (Some(old), Some(native)) = (&old.native, &column.native)
                && let Some(taken) = taken.iter().find(|taken| taken.delta.place == old.place)
            {
                if let (Some(to), Some(from)) = (
                    cells.get_mut(native.cells.clone()),
                    row.get(old.cells.clone()),
                ) {
                    to.copy_from_slice(from);
                }
                let mut taken = taken.clone();
                taken.delta.place = native.place;
                moved.push(taken);
            }
        }
        table.row_mut(number).fill(0.0);
        // A gauge under another name has no value before it is set.
        if !goes_on {
            return;
        }
        let labels = table.label_set(&slot);
        let resolved = next.resolve(labels, &mut self.admission, now_ms);
        let (Resolved::Slot(to) | Resolved::Overflow(to)) = resolved;
        next.merge_row(to, &cells, &mut self.admission.limiter, now_ms);
        for taken in &moved {
            next.merge_native_delta(to, &cells, &taken.delta, now_ms);
        }
        if resolved == Resolved::Slot(to)
            && let Some(place) = next.slot_mut(to)
            && place.started_ms >= slot.started_ms
        {
            place.started_ms = slot.started_ms;
            place.updated_ms = place.updated_ms.max(slot.updated_ms);
            place.collected |= collected;
            for taken in &moved {
                next.natives.go_on_as(to, taken);
            }
        }
    }
}

impl Column {
    /// Whether the metric is the same for who reads it, if its series are.
    pub(crate) fn goes_on_as(&self, next: &Self) -> bool {
        self.native_goes_on_as(next) || self.plain_goes_on_as(next)
    }

    /// Whether its series go on, a native histogram aside.
    pub(crate) fn plain_goes_on_as(&self, next: &Self) -> bool {
        let (kind, next_kind) = (&self.metric.kind, &next.metric.kind);
        let is_plain = !self.plain_cells().is_empty();
        let both_classic = kind.bounds().is_some() && next_kind.bounds().is_some();
        self.metric.name == next.metric.name
            && is_plain
            && (both_classic || discriminant(kind) == discriminant(next_kind))
    }

    /// Whether its native histogram goes on.
    pub(crate) fn native_goes_on_as(&self, next: &Self) -> bool {
        self.metric.name == next.metric.name && self.native.is_some() && next.native.is_some()
    }
}

/// Copies a row's part for a metric. Of a histogram whose bounds have changed,
/// sum, count and every bucket that stays go on from where they were; a bucket
/// that is new begins with what is known to lie in it.
fn copy_cells(from_kind: &MetricKind, from: &[f64], to_kind: &MetricKind, to: &mut [f64]) {
    let (Some(old), Some(new)) = (from_kind.bounds(), to_kind.bounds()) else {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
        return;
    };
    let ([from @ .., from_sum], [to @ .., to_sum]) = (from, to) else {
        return;
    };
    *to_sum = *from_sum;
    for (index, count) in from.iter().enumerate() {
        let place = old.get(index).map_or(new.len(), |upper| {
            new.iter().take_while(|bound| *bound < upper).count()
        });
        if let Some(to) = to.get_mut(place) {
            *to += count;
        }
    }
}
