//! A chunk of samples: what one node hands to another at once.
//!
//! `spanhand`, a version, a CRC-32 of all that follows: whose samples they are, where
//! they are from, and records as in a segment of the spool, whose positions are those
//! of the source.

use bytes::Bytes;
use model::{SampleSink as _, TenantId};

use crate::encode::v1::put_varint;
use crate::spool::record::{HEADER_BYTES, Header, Kind};
use crate::spool::row::Values;
use crate::spool::wire::{Fields, put_slice};
use crate::spool::{Definitions, SamplesReader, TakeOver};

const MAGIC: [u8; 8] = *b"spanhand";

/// The format that is written, and the only one that is read.
const VERSION: u32 = 1;

/// A chunk that cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// It is not what its source has sent.
    #[error("chunk is damaged: {problem}")]
    Damaged {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It was written by another version.
    #[error("chunk has version {version}, which is not known here")]
    Version {
        /// That of the chunk.
        version: u32,
    },
}

fn damaged(problem: &'static str) -> ChunkError {
    ChunkError::Damaged { problem }
}

/// Where samples are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tenant: TenantId,
    /// The node that had them.
    pub(crate) source: String,
    /// Which of the spools that it has had for the tenant.
    pub(crate) generation: u64,
    /// The position of the first sample there.
    pub(crate) first: u64,
    /// The position after the last.
    pub(crate) end: u64,
}

/// A chunk that is whole.
#[derive(Debug)]
pub(crate) struct Chunk<'a> {
    pub(crate) origin: Origin,
    records: &'a [u8],
}

/// Writes a chunk of records.
pub(crate) fn encode(origin: &Origin, records: &[u8]) -> Bytes {
    let mut rest = Vec::with_capacity(records.len() + 256);
    put_slice(&mut rest, origin.tenant.as_str().as_bytes());
    put_slice(&mut rest, origin.source.as_bytes());
    for number in [origin.generation, origin.first, origin.end] {
        rest.extend_from_slice(&number.to_le_bytes());
    }
    put_varint(&mut rest, records.len() as u64);
    rest.extend_from_slice(records);
    let mut chunk = Vec::with_capacity(rest.len() + 16);
    chunk.extend_from_slice(&MAGIC);
    chunk.extend_from_slice(&VERSION.to_le_bytes());
    chunk.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
    chunk.extend_from_slice(&rest);
    chunk.into()
}

impl<'a> Chunk<'a> {
    /// Reads a chunk to its end.
    ///
    /// # Errors
    ///
    /// [`ChunkError`].
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, ChunkError> {
        let rest = bytes.strip_prefix(&MAGIC);
        let mut fields = Fields::new(rest.ok_or(damaged("it does not begin as one"))?);
        let version = fields.u32().ok_or(damaged("it is too short"))?;
        if version != VERSION {
            return Err(ChunkError::Version { version });
        }
        let checksum = fields.u32().ok_or(damaged("it is too short"))?;
        if crc32fast::hash(fields.rest()) != checksum {
            return Err(damaged("its checksum is another"));
        }
        let chunk = Self::fields(&mut fields).ok_or(damaged("its head cannot be read"))?;
        // Whoever writes into the spool relies on it.
        chunk
            .walk(0, None)
            .ok_or(damaged("a record cannot be read"))?;
        Ok(chunk)
    }

    fn fields(fields: &mut Fields<'a>) -> Option<Self> {
        let origin = Origin {
            tenant: TenantId::parse(fields.text()?).ok()?,
            source: fields.text()?.to_owned(),
            generation: fields.u64()?,
            first: fields.u64()?,
            end: fields.u64()?,
        };
        let records = fields.slice()?;
        fields.is_empty().then_some(Self { origin, records })
    }

    /// Hands over the samples from a position on.
    pub(crate) fn replay(&self, from: u64, into: &mut TakeOver) {
        // It was walked through before.
        let _ = self.walk(from, Some(into));
    }

    /// Reads every row; those from a position on go into `sink`, if it is given.
    /// `None` if something cannot be read.
    fn walk(&self, from: u64, mut sink: Option<&mut TakeOver>) -> Option<()> {
        let mut definitions = Definitions::default();
        let mut values = Values::default();
        let (mut left, mut position) = (self.records, self.origin.first);
        while !left.is_empty() {
            let header = Header::read(left.get(..HEADER_BYTES)?)?;
            let length = usize::try_from(header.record_bytes()).ok()?;
            let (record, rest) = left.split_at_checked(length)?;
            left = rest;
            if !header.is_intact(record) {
                return None;
            }
            let payload = record.get(HEADER_BYTES..)?;
            if header.kind == Kind::Definitions {
                definitions.add(payload)?;
                continue;
            }
            if header.position < position || header.end() > self.origin.end {
                return None;
            }
            position = header.position;
            let mut rows = SamplesReader::new(header.kind, payload)?;
            if let Some(sink) = &mut sink {
                sink.begin_record(rows.head);
            }
            while position < header.end() {
                let row = rows.row(&definitions)?;
                let sink = sink.as_deref_mut().filter(|_| position >= from);
                let samples = match sink {
                    Some(sink) => {
                        sink.label_set(row.label_set.labels);
                        if let Some(started_ms) = row.label_set.started_ms {
                            sink.started(started_ms);
                        }
                        rows.samples(row, &definitions, &mut values, Some(sink))?
                    }
                    None => rows.samples(row, &definitions, &mut values, None::<&mut TakeOver>)?,
                };
                position += u64::from(samples);
            }
            if position != header.end() || !rows.is_at_end() {
                return None;
            }
        }
        Some(())
    }
}
