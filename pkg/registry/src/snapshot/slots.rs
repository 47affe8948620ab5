//! Slots of a saved registry: labels, values, exemplars.

use model::{Exemplar, LabelSet};

use crate::admission::Admission;
use crate::exemplars::SAMPLED;
use crate::native_histogram::HistogramState;
use crate::records::{Cursor, RestoreError, put_bytes, put_number, put_signed, put_varint};
use crate::schema::NativeColumn;
use crate::table::{Slot, SlotState, Table};

const OVERFLOW: u8 = 1;

const COLLECTED: u8 = 1;
const RESTART: u8 = 2;

/// Buckets of native histograms have smaller numbers than this: the last of the
/// finest schema, infinity's, has 2^18 + 1.
const MAX_KEY: i64 = 1 << 19;

/// How the times of a slot are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When the registry was saved; times are written as their distance to it.
    pub(super) saved_ms: i64,
    /// How much of the time since then does not count as idle.
    pub(super) pause_ms: i64,
}

impl Times {
    fn put(self, out: &mut Vec<u8>, time_ms: i64) {
        put_signed(out, time_ms.wrapping_sub(self.saved_ms));
    }

    fn read(self, cursor: &mut Cursor<'_>) -> Result<i64, RestoreError> {
        Ok(cursor.signed()?.wrapping_add(self.saved_ms))
    }
}

/// Appends a slot.
pub(super) fn put_slot(out: &mut Vec<u8>, table: &Table, number: u32, slot: &Slot, times: Times) {
    out.push(if table.is_overflow(number) {
        OVERFLOW
    } else {
        0
    });
    out.push(slot.collected);
    times.put(out, slot.started_ms);
    times.put(out, slot.updated_ms);
    put_bytes(out, table.label_set(slot).as_bytes());
    for cell in table.row(number) {
        put_number(out, *cell);
    }
    for native in table.schema.natives() {
        let (state, buckets) = table.natives.saved(number, native.place);
        out.push(
            if state.is_collected { COLLECTED } else { 0 }
                | if state.is_restart { RESTART } else { 0 },
        );
        out.push(state.halvings);
        put_signed(out, state.restarted_ms);
        put_varint(out, buckets.clone().count() as u64);
        let mut before = 0;
        for (key, weight) in buckets {
            put_signed(out, i64::from(key) - before);
            put_number(out, weight);
            before = i64::from(key);
        }
    }
    let exemplars = table.exemplars.list(slot.exemplars);
    put_varint(out, exemplars.count() as u64);
    for entry in table.exemplars.list(slot.exemplars) {
        put_varint(out, u64::from(entry.cell));
        out.push(entry.taken);
        out.push(u8::from(entry.sequence & SAMPLED != 0));
        out.extend_from_slice(&entry.exemplar.trace_id);
        put_number(out, entry.exemplar.value);
        times.put(out, entry.exemplar.timestamp_ms);
    }
}

/// Reads a slot into its table.
pub(super) fn read_slot(
    cursor: &mut Cursor<'_>,
    table: &mut Table,
    admission: &mut Admission,
    times: Times,
) -> Result<(), RestoreError> {
    let is_overflow = cursor.byte()? & OVERFLOW != 0;
    let collected = cursor.byte()?;
    let started_ms = times.read(cursor)?;
    let updated_ms = times.read(cursor)?;
    let labels = LabelSet::from_canonical(cursor.bytes()?);
    let number = table
        .readmit(labels, is_overflow, admission)
        .ok_or(RestoreError::damaged("a label set is there twice"))?;
    for cell in table.row_mut(number) {
        *cell = cursor.number()?;
    }
    let schema = std::sync::Arc::clone(&table.schema);
    for native in schema.natives() {
        let (state, buckets) = read_native(cursor, native)?;
        table.natives.restore(number, native.place, state, &buckets);
    }
    let mut exemplars = crate::exemplars::NONE;
    for _ in 0..cursor.varint()? {
        let cell = cursor.small()?;
        let taken = cursor.byte()?;
        // What comes is later than all of these, and may be of a sampled trace.
        let sequence = if cursor.byte()? != 0 { SAMPLED } else { 0 };
        let exemplar = Exemplar {
            trace_id: cursor.array()?,
            value: cursor.number()?,
            timestamp_ms: times.read(cursor)?,
        };
        let list = &mut exemplars;
        table
            .exemplars
            .restore(list, (cell, exemplar), sequence, taken);
    }
    if let Some(slot) = table.slot_mut(number) {
        slot.state = SlotState::Active;
        slot.collected = collected;
        slot.exemplars = exemplars;
        slot.started_ms = started_ms;
        slot.updated_ms = updated_ms.saturating_add(times.pause_ms);
    }
    Ok(())
}

fn read_native(
    cursor: &mut Cursor<'_>,
    native: &NativeColumn,
) -> Result<(HistogramState, Vec<(i32, f64)>), RestoreError> {
    let flags = cursor.byte()?;
    let state = HistogramState {
        is_collected: flags & COLLECTED != 0,
        is_restart: flags & RESTART != 0,
        halvings: cursor.byte()?,
        restarted_ms: cursor.signed()?,
    };
    if state.halvings > native.buckets.max_halvings() {
        return Err(RestoreError::damaged("a native histogram is too coarse"));
    }
    let mut buckets = Vec::new();
    let mut key = 0_i64;
    for _ in 0..cursor.varint()? {
        key = key.saturating_add(cursor.signed()?);
        if !(-MAX_KEY..MAX_KEY).contains(&key) {
            return Err(RestoreError::damaged("there is no such native bucket"));
        }
        buckets.push((key as i32, cursor.number()?));
    }
    Ok((state, buckets))
}
