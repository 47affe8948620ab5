//! Segment files: their names, their head, and a walk over their records.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use model::TenantId;

use super::record::{HEADER_BYTES, Header, MARK};
use super::wire::{Fields, put_slice};

/// The format that is written, and the latest that is read.
const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"spanmill";
const EXTENSION: &str = "segment";

/// More than a head of this or a later version has.
const MAX_HEAD_BYTES: usize = 1024;

/// Bytes that are read at once, unless a record is longer.
const WINDOW_BYTES: u64 = 64 << 10;

/// The file of a segment.
pub(crate) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016x}.{EXTENSION}"))
}

/// The number of a segment from the name of its file.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    (digits.len() == 16)
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

/// What a segment begins with: the magic bytes, the length and the checksum of what
/// follows, and then the version. Later versions will keep to that.
pub(crate) fn head(tenant: &TenantId, first: u64) -> Vec<u8> {
    let mut rest = VERSION.to_le_bytes().to_vec();
    rest.extend_from_slice(&first.to_le_bytes());
    put_slice(&mut rest, tenant.as_str().as_bytes());
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&(rest.len() as u32).to_le_bytes());
    head.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
    head.extend_from_slice(&rest);
    head
}

/// What the beginning of a file says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// It is a segment that begins at this position.
    Segment { first: u64 },
    /// It was written by a later version.
    Later { version: u32 },
    /// It cannot be read; records may follow all the same.
    Damaged,
}

impl Head {
    /// Reads the head of a file.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn read(file: &File) -> io::Result<Self> {
        let mut bytes = [0; MAX_HEAD_BYTES];
        let mut length = 0;
        while let Some(room) = bytes.get_mut(length..)
            && !room.is_empty()
        {
            match file.read_at(room, length as u64)? {
                0 => break,
                read => length += read,
            }
        }
        let bytes = bytes.get(..length).unwrap_or_default();
        Ok(Self::of(bytes).unwrap_or(Self::Damaged))
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes.strip_prefix(&MAGIC)?);
        let length = fields.u32()? as usize;
        let checksum = fields.u32()?;
        let rest = fields.bytes(length)?;
        if crc32fast::hash(rest) != checksum {
            return None;
        }
        let mut fields = Fields::new(rest);
        match fields.u32()? {
            VERSION => Some(Self::Segment {
                first: fields.u64()?,
            }),
            version => Some(Self::Later { version }),
        }
    }
}

/// Walks over the records of a segment, from wherever it is told.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: File,
    window: Vec<u8>,
    /// Where in the file the window begins.
    window_at: u64,
    /// Where in the file the next record is looked for.
    at: u64,
}

/// A record that is whole, and where it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) header: Header,
    /// Where it begins in the file.
    pub(crate) at: u64,
}

impl SegmentReader {
    /// Opens a segment.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            window: Vec::new(),
            window_at: 0,
            at: 0,
        })
    }

    /// Where the next record is looked for.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Looks for the next record at another place.
    pub(crate) fn seek(&mut self, at: u64) {
        self.at = at;
    }

    /// Goes on after what cannot be read.
    pub(crate) fn pass_over(&mut self, end: u64) {
        self.at = (self.at + WINDOW_BYTES).min(end);
    }

    /// The next whole record before `end`, and whether bytes were passed over to
    /// find it; `None` if there is none. Its payload is there until the next call.
    ///
    /// # Errors
    ///
    /// What the system says; the call can be made again.
    pub(crate) fn next(&mut self, end: u64) -> io::Result<Option<Record>> {
        while let Some(at) = self.find_mark(end)? {
            let header = self
                .bytes(at, HEADER_BYTES as u64, end)?
                .and_then(Header::read);
            if let Some(header) = header
                && let Some(record) = self.bytes(at, header.record_bytes(), end)?
                && header.is_intact(record)
            {
                self.at = at + header.record_bytes();
                return Ok(Some(Record { header, at }));
            }
            self.at = at + 1;
        }
        self.at = end;
        Ok(None)
    }

    /// The payload of a record that was just returned.
    pub(crate) fn payload(&self, record: Record) -> &[u8] {
        let start = (record.at - self.window_at) as usize + HEADER_BYTES;
        let end = start + record.header.length as usize;
        self.window.get(start..end).unwrap_or_default()
    }

    /// Where the next mark is.
    fn find_mark(&mut self, end: u64) -> io::Result<Option<u64>> {
        let mut at = self.at;
        loop {
            let length = WINDOW_BYTES.min(end.saturating_sub(at));
            if length < HEADER_BYTES as u64 {
                return Ok(None);
            }
            let Some(bytes) = self.bytes(at, length, end)? else {
                return Ok(None);
            };
            if bytes.starts_with(&MARK) {
                return Ok(Some(at));
            }
            if let Some(found) = memchr::memmem::find(bytes, &MARK) {
                return Ok(Some(at + found as u64));
            }
            at += length - (MARK.len() as u64 - 1);
        }
    }

    /// Bytes of the file, if they lie before `end` and the file is so long.
    fn bytes(&mut self, at: u64, length: u64, end: u64) -> io::Result<Option<&[u8]>> {
        if at.saturating_add(length) > end {
            return Ok(None);
        }
        let window_end = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + length > window_end {
            self.load(at, length.max(WINDOW_BYTES.min(end - at)))?;
        }
        let start = (at - self.window_at) as usize;
        Ok(self.window.get(start..start + length as usize))
    }

    fn load(&mut self, at: u64, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.window.clear();
        self.window.resize(length, 0);
        self.window_at = at;
        let mut filled = 0;
        while let Some(room) = self.window.get_mut(filled..)
            && !room.is_empty()
        {
            match self.file.read_at(room, at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.window.clear();
                    return Err(error);
                }
            }
        }
        self.window.truncate(filled);
        Ok(())
    }
}
