//! Halves that wait, written: from a planned stop to the next start (D34), and from one
//! generator to another.

use std::io::{self, BufRead, Write};

use model::LabelSet;
use registry::KeyHasher;
use registry::records::{
    BlockReader, BlockWriter, Cursor, RestoreError, put_bytes, put_number, put_signed, put_varint,
};

use super::edge_store::{EdgeStore, Edges, Rules};
use super::half_edge::{EdgeKey, HalfEdge, Role};
use super::pending::Pending;

/// What the first record says: these are halves of edges.
const KIND: &[u8] = b"edges";
/// Halves that are taken back at once, if they arrived together.
const BATCH: usize = 4_096;

const HALF: u8 = 1;
/// Nothing follows; the number of halves.
const END: u8 = 2;

const MESSAGING: u8 = 1;
const DATABASE: u8 = 2;
const FAILED: u8 = 4;
const FILTERED: u8 = 8;
const NAMELESS: u8 = 16;
const SAMPLED: u8 = 32;
/// A span of the ledger waits with it.
const IN_LEDGER: u8 = 64;

impl EdgeStore {
    /// Writes all that waits, in the order of arrival, and gives how much it is.
    ///
    /// # Errors
    ///
    /// That of `out`.
    pub(crate) fn save(&self, saved_ms: i64, out: impl Write) -> io::Result<u64> {
        let mut writer = HalfWriter::new(saved_ms, out)?;
        for place in self.places() {
            self.with(place, |pending| writer.put(pending));
            writer.write_if_full()?;
        }
        writer.finish()
    }

    /// Lets what was saved wait on, and gives how much it is. The time in between
    /// does not count as waiting. `settle` takes what becomes of it under other
    /// settings.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; then nothing waits.
    pub(crate) fn restore(
        &self,
        input: impl BufRead,
        rules: &Rules,
        now_ms: i64,
        mut settle: impl FnMut(&Edges),
    ) -> Result<u64, RestoreError> {
        let restored = read(input, now_ms, |batch| {
            // The ledger of the process that received the spans has them.
            batch.leave_ledger();
            settle(&batch.offer(self, rules));
        });
        if restored.is_err() {
            self.clear();
        }
        restored
    }
}

/// Reads what was written, in batches, and gives how much it is.
pub(super) fn read(
    input: impl BufRead,
    now_ms: i64,
    mut take: impl FnMut(&mut Batch),
) -> Result<u64, RestoreError> {
    let mut reader = BlockReader::new(input)?;
    let mut records = Vec::new();
    reader.next_block(&mut records)?;
    let mut cursor = Cursor::new(&records);
    if cursor.bytes()? != KIND {
        return Err(RestoreError::damaged("it has no halves of edges"));
    }
    let end_ms = cursor.signed()?.max(now_ms);
    let mut halves = 0;
    let mut batch = Batch::default();
    while reader.next_block(&mut records)? {
        let mut cursor = Cursor::new(&records);
        while !cursor.is_empty() {
            match cursor.byte()? {
                HALF => {
                    let (half, text, waited_ms) = read_half(&mut cursor)?;
                    let since_ms = end_ms.saturating_sub(waited_ms).min(now_ms);
                    if batch.since_ms != since_ms || batch.halves.len() == BATCH {
                        take(&mut batch);
                        batch.clear();
                    }
                    batch.push(half, text, since_ms);
                    halves += 1;
                }
                END if cursor.varint()? == halves && cursor.is_empty() => {
                    take(&mut batch);
                    return Ok(halves);
                }
                _ => return Err(RestoreError::damaged("a record is unknown")),
            }
        }
    }
    Err(RestoreError::damaged("it is cut off"))
}

/// Writes halves one after the other.
#[derive(Debug)]
pub(super) struct HalfWriter<W> {
    records: BlockWriter<W>,
    saved_ms: i64,
    halves: u64,
}

impl<W: Write> HalfWriter<W> {
    /// Begins, with the time from which on nothing waits until it is read.
    pub(super) fn new(saved_ms: i64, out: W) -> io::Result<Self> {
        let mut records = BlockWriter::new(out)?;
        put_bytes(&mut records.records, KIND);
        put_signed(&mut records.records, saved_ms);
        records.write()?;
        Ok(Self {
            records,
            saved_ms,
            halves: 0,
        })
    }

    /// Appends a half; [`write_if_full`](Self::write_if_full) writes it.
    pub(super) fn put(&mut self, pending: &Pending) {
        self.records.records.push(HALF);
        put_pending(&mut self.records.records, pending, self.saved_ms);
        self.halves += 1;
    }

    /// Writes what has been appended if it is much.
    pub(super) fn write_if_full(&mut self) -> io::Result<()> {
        self.records.write_if_full()
    }

    /// Ends, and gives how many they are.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.records.records.push(END);
        put_varint(&mut self.records.records, self.halves);
        self.records.finish()?;
        Ok(self.halves)
    }
}

/// Halves that arrived together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    since_ms: i64,
    halves: Vec<HalfEdge>,
    /// Their labels, one after the other.
    texts: Vec<Vec<u8>>,
}

impl Batch {
    fn push(&mut self, half: HalfEdge, text: &[u8], since_ms: i64) {
        let source = self.halves.len() as u32;
        self.since_ms = since_ms;
        self.halves.push(HalfEdge { source, ..half });
        self.texts.push(text.to_vec());
    }

    fn clear(&mut self) {
        self.halves.clear();
        self.texts.clear();
    }

    fn leave_ledger(&mut self) {
        for half in &mut self.halves {
            half.is_extra = true;
        }
    }

    /// Spans of the ledger that wait with them.
    pub(super) fn spans(&self) -> u64 {
        self.halves.iter().map(HalfEdge::spans).sum()
    }

    /// Lets them wait, and gives what becomes of them.
    pub(super) fn offer(&self, store: &EdgeStore, rules: &Rules) -> Edges {
        store.offer(&self.halves, rules, self.since_ms, |half, labels| {
            let text = self.texts.get(half.source as usize);
            let text = text.map(Vec::as_slice).unwrap_or_default();
            for (name, value) in LabelSet::from_canonical(text) {
                labels.push(name, value);
            }
            Ok(())
        })
    }
}

fn put_pending(out: &mut Vec<u8>, pending: &Pending, saved_ms: i64) {
    let half = pending.half();
    put_signed(out, saved_ms.wrapping_sub(pending.since_ms()));
    out.extend_from_slice(&half.key.trace_id);
    out.extend_from_slice(&half.key.span_id);
    out.push(match half.role {
        Role::Client => 0,
        Role::Server => 1,
        Role::Internal => 2,
    });
    if half.role == Role::Internal {
        out.extend_from_slice(&pending.parent_span_id());
        return;
    }
    let flags = [
        (half.is_messaging, MESSAGING),
        (half.is_database, DATABASE),
        (half.is_failed, FAILED),
        (half.is_filtered, FILTERED),
        (half.is_nameless_database, NAMELESS),
        (half.is_sampled, SAMPLED),
        (pending.spans() > 0, IN_LEDGER),
    ];
    out.push(flags.iter().fold(0, |flags, (is_set, flag)| {
        flags | if *is_set { *flag } else { 0 }
    }));
    put_varint(out, half.duration_ns);
    put_varint(out, half.boundary_ns);
    put_number(out, half.weight);
    let labels = pending.labels.as_ref();
    put_bytes(out, labels.map_or(&[][..], |labels| labels.text()));
}

/// Reads a half, its labels, and how long it had waited in milliseconds.
fn read_half<'a>(cursor: &mut Cursor<'a>) -> Result<(HalfEdge, &'a [u8], i64), RestoreError> {
    let waited_ms = cursor.signed()?;
    let key = EdgeKey {
        trace_id: cursor.array()?,
        span_id: cursor.array()?,
    };
    let role = match cursor.byte()? {
        0 => Role::Client,
        1 => Role::Server,
        2 => Role::Internal,
        _ => return Err(RestoreError::damaged("a half has no role")),
    };
    let mut half = HalfEdge {
        key,
        role,
        parent_span_id: [0; 8],
        is_messaging: false,
        is_database: false,
        is_nameless_database: false,
        is_root: false,
        is_extra: true,
        is_failed: false,
        is_sampled: false,
        is_filtered: false,
        labels: Default::default(),
        duration_ns: 0,
        boundary_ns: 0,
        weight: 1.0,
        source: 0,
    };
    if role == Role::Internal {
        half.parent_span_id = cursor.array()?;
        return Ok((half, &[], waited_ms));
    }
    let flags = cursor.byte()?;
    let has = |flag| flags & flag != 0;
    half.is_messaging = has(MESSAGING);
    half.is_database = has(DATABASE);
    half.is_failed = has(FAILED);
    half.is_filtered = has(FILTERED);
    half.is_nameless_database = has(NAMELESS);
    half.is_sampled = has(SAMPLED);
    half.is_extra = !has(IN_LEDGER);
    half.duration_ns = cursor.varint()?;
    half.boundary_ns = cursor.varint()?;
    half.weight = cursor.number()?;
    let text = cursor.bytes()?;
    // Another key than raw values would give: it leads to the same series.
    half.labels = KeyHasher::new().key(text);
    Ok((half, text, waited_ms))
}
