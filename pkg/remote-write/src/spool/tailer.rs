//! Reads a tenant's samples back, from a position on, for one destination.

use std::io;
use std::sync::Arc;

use super::definitions::Definitions;
use super::record::Kind;
use super::samples::SamplesReader;
use super::segment::{Record, SegmentReader};
use super::tenant::{Segment, TenantSpool};

/// Where a reader was in a file, so that it finds the place again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    segment: u64,
    at: u64,
}

/// Reads the records of a tenant one after the other.
#[derive(Debug)]
pub(crate) struct Tailer {
    spool: Arc<TenantSpool>,
    position: u64,
    place: Option<Place>,
    open: Option<Open>,
    /// Whether a place that the disk fails to read is passed over.
    passes_over: bool,
}

#[derive(Debug)]
struct Open {
    segment: u64,
    reader: SegmentReader,
    definitions: Definitions,
    record: Option<Record>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A record of samples.
    Record(NextRecord),
    /// Nothing yet. Samples before that position which have not come are not there.
    End(u64),
}

/// A record of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NextRecord {
    /// The position of its first sample.
    pub(crate) position: u64,
    /// The position after its last.
    pub(crate) end: u64,
    /// Samples right before it that are not there any more, or cannot be read.
    pub(crate) missing: u64,
    /// The time of its latest sample, in milliseconds since the Unix epoch.
    pub(crate) newest_ms: i64,
}

impl Tailer {
    /// A reader from a position on; `place` is where that is. What the disk fails to
    /// read is an error, or else is passed over.
    pub(crate) fn new(
        spool: Arc<TenantSpool>,
        position: u64,
        place: Option<Place>,
        passes_over: bool,
    ) -> Self {
        Self {
            spool,
            position,
            place,
            open: None,
            passes_over,
        }
    }

    /// The position of what is read next.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Goes on at another position.
    pub(crate) fn seek(&mut self, position: u64) {
        self.position = position;
        self.place = None;
        self.open = None;
    }

    /// Where the record is that [`Tailer::next`] has gone to.
    pub(crate) fn record_place(&self) -> Option<Place> {
        let open = self.open.as_ref()?;
        Some(Place {
            segment: open.segment,
            at: open.record?.at,
        })
    }

    /// Where it is in a file.
    pub(crate) fn place(&self) -> Option<Place> {
        let open = self.open.as_ref()?;
        Some(Place {
            segment: open.segment,
            at: open.reader.at(),
        })
    }

    /// Goes to the next record of samples.
    ///
    /// # Errors
    ///
    /// What the system says; the call can be made again.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        loop {
            if self.open.is_none() {
                let segment = match self.spool.segment_at(self.position) {
                    Ok(segment) => segment,
                    Err(end) => return Ok(Next::End(end)),
                };
                self.open = self.open_segment(&segment)?;
            }
            let Some(open) = &mut self.open else {
                // It was removed just now.
                continue;
            };
            let Some((bytes, end)) = self.spool.readable(open.segment) else {
                self.open = None;
                continue;
            };
            let next = match open.reader.next(bytes) {
                Err(_) if self.passes_over => {
                    open.reader.pass_over(bytes);
                    continue;
                }
                next => next?,
            };
            let Some(record) = next else {
                if let Some(end) = end {
                    return Ok(Next::End(end));
                }
                // What of it could not be read is found missing at the next record.
                self.open = match self.spool.segment_after(open.segment) {
                    Some(next) => self.open_segment(&next)?,
                    None => None,
                };
                continue;
            };
            open.record = Some(record);
            let header = record.header;
            if header.kind == Kind::Definitions {
                open.definitions.add(open.reader.payload(record));
            } else if header.end() > self.position {
                let next = NextRecord {
                    position: header.position,
                    end: header.end(),
                    missing: header.position.saturating_sub(self.position),
                    newest_ms: header.newest_ms,
                };
                self.position = header.end();
                return Ok(Next::Record(next));
            }
        }
    }

    /// The rows of the record that [`Tailer::next`] has gone to.
    pub(crate) fn rows(&self) -> Option<(SamplesReader<'_>, &Definitions)> {
        let open = self.open.as_ref()?;
        let record = open.record?;
        let payload = open.reader.payload(record);
        let reader = SamplesReader::new(record.header.kind, payload)?;
        Some((reader, &open.definitions))
    }

    /// Opens a segment; `None` if it is not there any more.
    fn open_segment(&mut self, segment: &Segment) -> io::Result<Option<Open>> {
        let path = self.spool.path(segment.number);
        let mut reader = match SegmentReader::open(&path) {
            Ok(reader) => reader,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Somebody else has taken the file away.
                self.spool.lose(segment.number);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut definitions = Definitions::default();
        let place = self.place.take();
        let place = place.filter(|place| place.segment == segment.number);
        if let (Some(place), Some(known)) = (place, &segment.definitions) {
            for at in known.iter().filter(|at| **at < place.at) {
                reader.seek(*at);
                if let Some(record) = reader.next(segment.bytes)?
                    && record.header.kind == Kind::Definitions
                {
                    definitions.add(reader.payload(record));
                }
            }
            reader.seek(place.at);
        }
        Ok(Some(Open {
            segment: segment.number,
            reader,
            definitions,
            record: None,
        }))
    }
}
