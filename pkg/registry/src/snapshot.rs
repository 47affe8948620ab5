//! A registry as bytes, so that the counters of a process outlive it.
//!
//! Written and read slot by slot, so neither takes the registry's memory once
//! more. What a lane does not know yet, what limits refused, and hashes, which
//! are secrets of a process, are not in it. Source: differences, D34.

mod schemas;
mod slots;

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use model::TenantId;

use self::schemas::{put_schema, read_schema};
use self::slots::{Times, put_slot, read_slot};
use crate::limiter::Limits;
use crate::records::{
    BlockReader, BlockWriter, Cursor, RestoreError, put_bytes, put_signed, put_varint,
};
use crate::state::{Registry, State};
use crate::table::{SlotState, Table};

/// Slots that are read before pushes or scrapes that wait get their turn.
const STEP_SLOTS: u32 = 64;

/// The schema of the slots that follow.
const TABLE: u8 = 1;
/// One label set.
const SLOT: u8 = 2;
/// Nothing follows; the number of slots, to see that none is missing.
const END: u8 = 3;

/// Whose registry was saved, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The tenant.
    pub tenant: TenantId,
    /// When it was saved, in milliseconds since the Unix epoch.
    pub saved_ms: i64,
    /// The time of the last sample of the tenant, in milliseconds since the Unix
    /// epoch.
    pub last_sample_ms: i64,
    /// Names which labels its series could have, for who restores it.
    pub labelling: u64,
}

/// What was saved, or restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotStats {
    /// Label sets.
    pub entities: u64,
    /// Series, counted as limits count them.
    pub series: u64,
    /// Bytes written; 0 of what was restored.
    pub bytes: u64,
}

/// A snapshot of which the header has been read.
#[derive(Debug)]
pub struct Snapshot<R> {
    reader: BlockReader<R>,
    header: SnapshotHeader,
    /// The records of a block, the header's gone.
    records: Vec<u8>,
}

impl<R: BufRead> Snapshot<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`RestoreError`].
    pub fn open(input: R) -> Result<Self, RestoreError> {
        let mut reader = BlockReader::new(input)?;
        let mut records = Vec::new();
        reader.next_block(&mut records)?;
        let mut cursor = Cursor::new(&records);
        let tenant = TenantId::parse(cursor.text()?)
            .map_err(|_| RestoreError::damaged("its tenant's id is invalid"))?;
        let header = SnapshotHeader {
            tenant,
            saved_ms: cursor.signed()?,
            last_sample_ms: cursor.signed()?,
            labelling: cursor.varint()?,
        };
        Ok(Self {
            reader,
            header,
            records,
        })
    }

    /// Whose registry it is, and since when.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }
}

impl Registry {
    /// Writes all series with their values, and the exemplars that somebody is
    /// still to have.
    ///
    /// A push that is applied meanwhile may be in it or not.
    ///
    /// # Errors
    ///
    /// That of `out`; then what was written is no snapshot.
    pub fn save(&self, header: &SnapshotHeader, out: impl Write) -> io::Result<SnapshotStats> {
        self.merge_lanes(header.saved_ms);
        let mut writer = BlockWriter::new(out)?;
        put_bytes(&mut writer.records, header.tenant.as_str().as_bytes());
        put_signed(&mut writer.records, header.saved_ms);
        put_signed(&mut writer.records, header.last_sample_ms);
        put_varint(&mut writer.records, header.labelling);
        writer.write()?;
        let times = Times {
            saved_ms: header.saved_ms,
            pause_ms: 0,
        };
        let mut stats = SnapshotStats::default();
        let tables = self.state.lock().tables.len();
        for index in 0..tables {
            let mut is_begun = false;
            let slots = self.state.lock().tables.get(index).map_or(0, Table::len);
            for first in (0..slots).step_by(STEP_SLOTS as usize) {
                let state = self.state.lock();
                if let Some(table) = state.tables.get(index) {
                    let step = first..slots.min(first + STEP_SLOTS);
                    put_slots(
                        &mut writer.records,
                        table,
                        step,
                        times,
                        &mut is_begun,
                        &mut stats,
                    );
                }
                drop(state);
                writer.write_if_full()?;
            }
        }
        writer.records.push(END);
        put_varint(&mut writer.records, stats.entities);
        stats.bytes = writer.finish()?;
        Ok(stats)
    }

    /// A registry with the series of a snapshot, whatever the limits are now.
    ///
    /// Its tables are retired ones, for [`resume_table`](Self::resume_table) to
    /// take up; what is not, ends at the first collection. `pause_ms` of the time
    /// since it was saved do not count as idle.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; then nothing of it is used.
    pub fn restore(
        limits: Limits,
        max_lanes: usize,
        snapshot: Snapshot<impl BufRead>,
        pause_ms: i64,
    ) -> Result<(Self, SnapshotStats), RestoreError> {
        let Snapshot {
            mut reader,
            header,
            mut records,
        } = snapshot;
        let times = Times {
            saved_ms: header.saved_ms,
            pause_ms,
        };
        let registry = Self::new(limits, max_lanes);
        let mut stats = SnapshotStats::default();
        let mut is_whole = false;
        while reader.next_block(&mut records)? {
            if is_whole {
                return Err(RestoreError::damaged("something follows its end"));
            }
            let mut state = registry.state.lock();
            is_whole = state.read_records(&records, times, &mut stats)?;
        }
        if !is_whole {
            return Err(RestoreError::damaged("it is cut off"));
        }
        Ok((registry, stats))
    }
}

/// Appends those of some slots that have values.
fn put_slots(
    records: &mut Vec<u8>,
    table: &Table,
    slots: std::ops::Range<u32>,
    times: Times,
    is_begun: &mut bool,
    stats: &mut SnapshotStats,
) {
    // What a table with a successor had has gone over to it.
    if table.successor.is_some() {
        return;
    }
    for number in slots {
        let Some(slot) = table.slot(number) else {
            continue;
        };
        if slot.state != SlotState::Active {
            continue;
        }
        if !*is_begun {
            records.push(TABLE);
            put_schema(records, &table.schema);
            *is_begun = true;
        }
        records.push(SLOT);
        put_slot(records, table, number, slot, times);
        stats.entities += 1;
        stats.series += table.schema.series();
    }
}

impl State {
    /// Takes the records of a block in. Whether the last one has been read.
    fn read_records(
        &mut self,
        records: &[u8],
        times: Times,
        stats: &mut SnapshotStats,
    ) -> Result<bool, RestoreError> {
        let mut cursor = Cursor::new(records);
        while !cursor.is_empty() {
            match cursor.byte()? {
                TABLE => {
                    let mut table = Table::new(Arc::new(read_schema(&mut cursor)?));
                    table.retired = true;
                    self.tables.push(table);
                }
                SLOT => {
                    let table = self.tables.last_mut();
                    let table = table.ok_or(RestoreError::damaged("a slot has no table"))?;
                    read_slot(&mut cursor, table, &mut self.admission, times)?;
                    stats.entities += 1;
                    stats.series += table.schema.series();
                }
                END if cursor.varint()? == stats.entities && cursor.is_empty() => return Ok(true),
                _ => return Err(RestoreError::damaged("a record is unknown")),
            }
        }
        Ok(false)
    }
}
