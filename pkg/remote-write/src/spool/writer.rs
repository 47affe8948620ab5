//! The end of a tenant's spool where samples are appended.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::TenantId;

use super::dictionary::Dictionary;
use super::record::{Kind, seal};
use super::samples::FilledRecord;
use super::segment;

/// Bytes of records that are kept when the disk does not take them, for one
/// tenant. With more the oldest samples are dropped.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// The same of all tenants together.
const MAX_KEPT_BYTES_IN_ALL: usize = 64 << 20;

/// Appends records to the segments of one tenant.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    directory: PathBuf,
    segment: Option<OpenSegment>,
    pub(crate) dictionary: Dictionary,
    /// Records that could not be written yet, oldest first, all for the current
    /// segment.
    kept: VecDeque<KeptRecord>,
    kept_bytes: usize,
    /// Whether samples were dropped since the disk took everything.
    drops: bool,
    /// What all tenants keep.
    kept_in_all: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct OpenSegment {
    number: u64,
    /// Open while a collection is appended, so that idle tenants hold no files.
    file: Option<File>,
    /// Bytes that are whole.
    bytes: u64,
    /// The time of the first samples in it.
    oldest_ms: Option<i64>,
}

/// A record that is not sealed yet: room for its header, and the payload.
#[derive(Debug)]
pub(super) struct KeptRecord {
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
    pub(super) samples: u32,
    pub(super) newest_ms: i64,
}

/// A record that has become part of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub(crate) segment: u64,
    pub(crate) kind: Kind,
    /// Where it begins in the file.
    pub(crate) at: u64,
    /// The bytes of the segment with it.
    pub(crate) segment_bytes: u64,
    pub(crate) samples: u32,
    pub(crate) newest_ms: i64,
}

impl SegmentWriter {
    /// A writer without a segment.
    pub(crate) fn new(directory: PathBuf, kept_in_all: Arc<AtomicUsize>) -> Self {
        Self {
            directory,
            segment: None,
            dictionary: Dictionary::default(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            drops: false,
            kept_in_all,
        }
    }

    /// Bytes of the current segment; `None` without one.
    pub(crate) fn segment_bytes(&self) -> Option<u64> {
        self.segment.as_ref().map(|segment| segment.bytes)
    }

    /// The time of the first samples of the current segment, in milliseconds since
    /// the Unix epoch; `None` without any.
    pub(crate) fn segment_oldest_ms(&self) -> Option<i64> {
        self.segment.as_ref()?.oldest_ms
    }

    /// Samples that wait for the disk to take them.
    pub(crate) fn kept_samples(&self) -> u64 {
        self.kept
            .iter()
            .map(|record| u64::from(record.samples))
            .sum()
    }

    /// Whether records wait for the disk to take them.
    pub(crate) fn is_behind(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Whether the disk does not take samples, and the room of what is there is worth
    /// more than what is kept.
    pub(crate) fn is_in_the_way(&self) -> bool {
        let is_large = |segment: &OpenSegment| segment.bytes > MAX_KEPT_BYTES as u64;
        self.drops || self.is_behind() && self.segment.as_ref().is_none_or(is_large)
    }

    /// Ends the current segment, if there is one; returns its file, which may have
    /// to be made durable. Nothing may be behind.
    pub(crate) fn finish_segment(&mut self) -> Option<io::Result<File>> {
        let segment = self.segment.take()?;
        self.forget_definitions();
        let path = segment::path(&self.directory, segment.number);
        Some(match segment.file {
            Some(file) => Ok(file),
            None => OpenOptions::new().write(true).open(path),
        })
    }

    /// Leaves a segment that was begun just now and has nothing in it.
    pub(super) fn abandon_segment(&mut self) {
        self.segment = None;
    }

    fn forget_definitions(&mut self) {
        let external = std::mem::take(&mut self.dictionary).into_external();
        self.dictionary.set_external(&external);
    }

    /// Begins a segment, at a position in the tenant's samples. Returns its bytes.
    ///
    /// # Errors
    ///
    /// What the system says; then there is none.
    pub(crate) fn begin_segment(
        &mut self,
        tenant: &TenantId,
        number: u64,
        position: u64,
    ) -> io::Result<u64> {
        std::fs::create_dir_all(&self.directory)?;
        let path = segment::path(&self.directory, number);
        // Never one that is there: it may hold samples that nobody could read just now.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        let head = segment::head(tenant, position);
        if let Err(error) = file.write_all_at(&head, 0) {
            // There is nothing in it, and nobody is to wonder about it.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        self.segment = Some(OpenSegment {
            number,
            file: Some(file),
            bytes: head.len() as u64,
            oldest_ms: None,
        });
        Ok(head.len() as u64)
    }

    /// Appends what is new in the dictionary, twice, so that damage to one place
    /// cannot make the samples unreadable that refer to it; and then samples.
    /// Keeps both where the disk does not take them. `done` is told of each record
    /// as it is written.
    ///
    /// Returns how many samples were dropped because too much is kept, and why.
    pub(crate) fn append(
        &mut self,
        filled: FilledRecord,
        position: &mut u64,
        done: &mut impl FnMut(Written),
    ) -> Result<Vec<u8>, Refused> {
        let mut first_error = None;
        if let Some(definitions) = self.dictionary.take_new() {
            for bytes in [definitions.clone(), definitions] {
                self.keep(KeptRecord {
                    kind: Kind::Definitions,
                    bytes,
                    samples: 0,
                    newest_ms: filled.newest_ms,
                });
            }
        }
        let mut record = KeptRecord {
            kind: filled.kind,
            bytes: filled.bytes,
            samples: filled.samples,
            newest_ms: filled.newest_ms,
        };
        match self.catch_up(position, done) {
            Ok(()) => match self.write(&mut record, position) {
                Ok(written) => {
                    done(written);
                    return Ok(record.bytes);
                }
                Err(error) => first_error = Some(error),
            },
            Err(error) => first_error = first_error.or(Some(error)),
        }
        self.keep(record);
        let error = first_error.unwrap_or_else(|| io::ErrorKind::Other.into());
        // Somebody has taken the segment away: it will not come back.
        let is_gone = self.segment.is_some() && error.kind() == io::ErrorKind::NotFound;
        let dropped = match is_gone {
            true => self.give_up(),
            false => self.drop_oldest(),
        };
        Err(Refused { dropped, error })
    }

    /// Gives up the current segment and what is kept for it; returns how many samples
    /// are dropped.
    pub(crate) fn give_up(&mut self) -> u64 {
        let dropped = self.kept_samples();
        self.kept.clear();
        self.kept_in_all
            .fetch_sub(self.kept_bytes, Ordering::Relaxed);
        self.kept_bytes = 0;
        self.segment = None;
        // What was defined is gone with it, also if there was no segment yet.
        self.forget_definitions();
        dropped
    }

    /// Writes what is kept.
    ///
    /// # Errors
    ///
    /// What the system says; the rest is still kept.
    pub(crate) fn catch_up(
        &mut self,
        position: &mut u64,
        done: &mut impl FnMut(Written),
    ) -> io::Result<()> {
        while let Some(mut record) = self.kept.pop_front() {
            match self.write(&mut record, position) {
                Ok(written) => {
                    self.kept_bytes -= record.bytes.len();
                    self.kept_in_all
                        .fetch_sub(record.bytes.len(), Ordering::Relaxed);
                    done(written);
                }
                Err(error) => {
                    self.kept.push_front(record);
                    return Err(error);
                }
            }
        }
        self.drops = false;
        Ok(())
    }

    /// Lets go of the file until the next append.
    pub(crate) fn close_file(&mut self) -> Option<File> {
        self.segment.as_mut()?.file.take()
    }

    fn keep(&mut self, record: KeptRecord) {
        self.kept_bytes += record.bytes.len();
        self.kept_in_all
            .fetch_add(record.bytes.len(), Ordering::Relaxed);
        self.kept.push_back(record);
    }

    /// Drops the oldest samples that are kept while they are too many. Definitions
    /// stay: samples that come later may refer to them.
    fn drop_oldest(&mut self) -> u64 {
        let mut dropped = 0;
        while self.keeps_too_much() {
            let is_samples = |record: &KeptRecord| record.kind.is_samples();
            let Some(place) = self.kept.iter().position(is_samples) else {
                // Nothing but definitions, which the next segment has anew.
                self.drops = true;
                return dropped + self.give_up();
            };
            if let Some(record) = self.kept.remove(place) {
                self.kept_bytes -= record.bytes.len();
                self.kept_in_all
                    .fetch_sub(record.bytes.len(), Ordering::Relaxed);
                dropped += u64::from(record.samples);
                self.drops = true;
            }
        }
        dropped
    }

    fn keeps_too_much(&self) -> bool {
        self.kept_bytes > MAX_KEPT_BYTES
            || self.kept_bytes > 0
                && self.kept_in_all.load(Ordering::Relaxed) > MAX_KEPT_BYTES_IN_ALL
    }

    /// Writes records, all of them or none, and forces them to the disk if `syncs`.
    /// Nothing may be behind.
    ///
    /// # Errors
    ///
    /// What the system says; then the segment is as it was.
    pub(super) fn write_together(
        &mut self,
        mut records: Vec<KeptRecord>,
        mut position: u64,
        syncs: bool,
    ) -> io::Result<Vec<Written>> {
        let Some(segment) = &mut self.segment else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let file = opened(&mut segment.file, &self.directory, segment.number)?;
        let (mut bytes, mut written) = (Vec::new(), Vec::new());
        for record in &mut records {
            seal(
                &mut record.bytes,
                record.kind,
                position,
                record.samples,
                record.newest_ms,
            );
            let at = segment.bytes + bytes.len() as u64;
            bytes.extend_from_slice(&record.bytes);
            position += u64::from(record.samples);
            written.push(Written {
                segment: segment.number,
                kind: record.kind,
                at,
                segment_bytes: segment.bytes + bytes.len() as u64,
                samples: record.samples,
                newest_ms: record.newest_ms,
            });
        }
        let done = file.write_all_at(&bytes, segment.bytes);
        let done = match syncs {
            true => done.and_then(|()| file.sync_data()),
            false => done,
        };
        if let Err(error) = done {
            // What stays is written over, or is found by the next start and sent twice.
            let _ = file.set_len(segment.bytes);
            return Err(error);
        }
        segment.bytes += bytes.len() as u64;
        if let Some(first) = records.first() {
            segment.oldest_ms.get_or_insert(first.newest_ms);
        }
        Ok(written)
    }

    fn write(&mut self, record: &mut KeptRecord, position: &mut u64) -> io::Result<Written> {
        let Some(segment) = &mut self.segment else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let file = opened(&mut segment.file, &self.directory, segment.number)?;
        seal(
            &mut record.bytes,
            record.kind,
            *position,
            record.samples,
            record.newest_ms,
        );
        if let Err(error) = file.write_all_at(&record.bytes, segment.bytes) {
            // On a full disk others may need the room. If it stays it is written over.
            let _ = file.set_len(segment.bytes);
            return Err(error);
        }
        let at = segment.bytes;
        segment.bytes += record.bytes.len() as u64;
        segment.oldest_ms.get_or_insert(record.newest_ms);
        *position += u64::from(record.samples);
        Ok(Written {
            segment: segment.number,
            kind: record.kind,
            at,
            segment_bytes: segment.bytes,
            samples: record.samples,
            newest_ms: record.newest_ms,
        })
    }
}

/// The file of a segment, opened if it is not.
fn opened<'a>(
    file: &'a mut Option<File>,
    directory: &Path,
    number: u64,
) -> io::Result<&'a mut File> {
    match file {
        Some(file) => Ok(file),
        place => {
            let path = segment::path(directory, number);
            Ok(place.insert(OpenOptions::new().write(true).open(path)?))
        }
    }
}

/// A record that the disk did not take.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Samples that were dropped, of this record or of earlier ones.
    pub(crate) dropped: u64,
    pub(crate) error: io::Error,
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        self.kept_in_all
            .fetch_sub(self.kept_bytes, Ordering::Relaxed);
    }
}
