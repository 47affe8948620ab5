//! How far a destination is, on disk.
//!
//! A file has room for two states and the older one is written over, so that one
//! is whole whenever the process ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::wire::Fields;

const MAGIC: [u8; 8] = *b"spancurs";
const VERSION: u32 = 1;
const EXTENSION: &str = "cursor";

/// Bytes of one state, which has room for [`MAX_SHARDS`].
const SLOT_BYTES: usize = 2048;

/// The most shards that a destination can have.
pub(crate) const MAX_SHARDS: usize = 200;

/// How far a destination is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Counts the states; the highest holds.
    pub(crate) sequence: u64,
    /// Up to where samples have been read.
    pub(crate) frontier: u64,
    /// How many of these are neither delivered nor dropped.
    pub(crate) owed: u64,
    /// The time of the latest sample that was delivered, in milliseconds since the
    /// Unix epoch.
    pub(crate) newest_ms: i64,
    /// For each shard, up to where its samples are delivered or dropped.
    pub(crate) shards: Vec<u64>,
}

/// What a cursor's file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is no file.
    Nothing,
    /// A state.
    Cursor(Cursor),
    /// Only states that another version wrote.
    Other { version: u32 },
    /// No state that can be read.
    Damaged,
}

/// The file of a destination's cursor.
pub(crate) fn path(directory: &Path, key: u64) -> PathBuf {
    directory.join(format!("{key:016x}.{EXTENSION}"))
}

/// The key of a cursor from the name of its file.
pub(crate) fn key_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?.strip_suffix('.')?;
    (digits.len() == 16)
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

impl Cursor {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Found {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(_) => return Found::Damaged,
        };
        let states = bytes.chunks(SLOT_BYTES).filter_map(Self::of);
        let latest = states.max_by_key(|state| state.sequence);
        if let Some(latest) = latest {
            return Found::Cursor(latest);
        }
        let mut versions = bytes.chunks(SLOT_BYTES).filter_map(version_of);
        let other = versions.find(|version| *version != VERSION);
        other.map_or(Found::Damaged, |version| Found::Other { version })
    }

    /// Writes over the older state.
    ///
    /// # Errors
    ///
    /// What the system says; the newer state is still there.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let file = match OpenOptions::new().write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
            opened => opened?,
        };
        let slot = (self.sequence % 2) * SLOT_BYTES as u64;
        file.write_all_at(&self.to_bytes(), slot)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        for number in [self.sequence, self.frontier, self.owed] {
            rest.extend_from_slice(&number.to_le_bytes());
        }
        rest.extend_from_slice(&self.newest_ms.to_le_bytes());
        let shards = self.shards.len().min(MAX_SHARDS);
        rest.extend_from_slice(&(shards as u32).to_le_bytes());
        for position in self.shards.iter().take(shards) {
            rest.extend_from_slice(&position.to_le_bytes());
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
        bytes.extend_from_slice(&rest);
        bytes
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes.strip_prefix(&MAGIC)?);
        if fields.u32()? != VERSION {
            return None;
        }
        let checksum = fields.u32()?;
        let rest = fields.rest();
        let mut cursor = Self {
            sequence: fields.u64()?,
            frontier: fields.u64()?,
            owed: fields.u64()?,
            newest_ms: fields.i64()?,
            shards: Vec::new(),
        };
        let shards = fields.u32()? as usize;
        if shards > MAX_SHARDS {
            return None;
        }
        for _ in 0..shards {
            cursor.shards.push(fields.u64()?);
        }
        let length = rest.len() - fields.rest().len();
        (crc32fast::hash(rest.get(..length)?) == checksum).then_some(cursor)
    }
}

/// The version of a state.
fn version_of(bytes: &[u8]) -> Option<u32> {
    Fields::new(bytes.strip_prefix(&MAGIC)?).u32()
}

fn create(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    File::create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(sequence: u64) -> Cursor {
        Cursor {
            sequence,
            frontier: 10 * sequence,
            owed: 3,
            newest_ms: -5,
            shards: vec![sequence; MAX_SHARDS],
        }
    }

    #[test]
    fn the_latest_whole_state_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = path(directory.path(), 0xab);
        assert_eq!(Cursor::read(&path), Found::Nothing);
        for sequence in 1..5 {
            cursor(sequence).write(&path).unwrap();
            assert_eq!(Cursor::read(&path), Found::Cursor(cursor(sequence)));
        }
        // The latest is in the first place. What a torn write leaves of it does not count.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Cursor::read(&path), Found::Cursor(cursor(3)));
        std::fs::write(&path, b"").unwrap();
        assert_eq!(Cursor::read(&path), Found::Damaged);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(key_of(name), Some(0xab));
    }
}
