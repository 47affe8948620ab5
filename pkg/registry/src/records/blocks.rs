//! Blocks of records, each with its length and its checksum.
//!
//! A file begins with [`MAGIC`] and the version, 4 bytes little endian. A block is
//! its length and the CRC-32 of its bytes, 4 bytes little endian each, and its bytes:
//! whole records.

use std::io::{self, BufRead, ErrorKind, Read, Write};

use super::RestoreError;

/// How a file begins.
const MAGIC: &[u8; 8] = b"spanmill";
/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
/// Bytes after which a block is written.
const BLOCK: usize = 64 * 1024;

/// Writes records in blocks.
#[derive(Debug)]
pub struct BlockWriter<W> {
    out: W,
    /// Records of the block to come. Whoever appends one calls
    /// [`write_if_full`](Self::write_if_full) from time to time.
    pub records: Vec<u8>,
    bytes: u64,
}

impl<W: Write> BlockWriter<W> {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// That of `out`.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        Ok(Self {
            out,
            records: Vec::new(),
            bytes: (MAGIC.len() + size_of_val(&VERSION)) as u64,
        })
    }

    /// Writes the records if they fill a block.
    ///
    /// # Errors
    ///
    /// That of `out`.
    pub fn write_if_full(&mut self) -> io::Result<()> {
        if self.records.len() < BLOCK {
            return Ok(());
        }
        self.write()
    }

    /// Writes the last block, and gives the bytes written.
    ///
    /// # Errors
    ///
    /// That of `out`.
    pub fn finish(mut self) -> io::Result<u64> {
        self.write()?;
        self.out.flush()?;
        Ok(self.bytes)
    }

    /// Writes the records as a block.
    ///
    /// # Errors
    ///
    /// That of `out`, or that the block exceeds 4 GiB.
    pub fn write(&mut self) -> io::Result<()> {
        let length = u32::try_from(self.records.len())
            .map_err(|_| io::Error::new(ErrorKind::FileTooLarge, "a block exceeds 4 GiB"))?;
        self.out.write_all(&length.to_le_bytes())?;
        let checksum = crc32fast::hash(&self.records);
        self.out.write_all(&checksum.to_le_bytes())?;
        self.out.write_all(&self.records)?;
        self.bytes += 8 + u64::from(length);
        self.records.clear();
        Ok(())
    }
}

/// Reads the records of blocks.
#[derive(Debug)]
pub struct BlockReader<R> {
    input: R,
}

impl<R: BufRead> BlockReader<R> {
    /// Reads the beginning of a file.
    ///
    /// # Errors
    ///
    /// [`RestoreError`].
    pub fn new(mut input: R) -> Result<Self, RestoreError> {
        let mut magic = [0; MAGIC.len()];
        read(&mut input, &mut magic)?;
        if magic != *MAGIC {
            return Err(RestoreError::Foreign);
        }
        let mut version = [0; 4];
        read(&mut input, &mut version)?;
        match u32::from_le_bytes(version) {
            VERSION => Ok(Self { input }),
            version => Err(RestoreError::Version { version }),
        }
    }

    /// Reads the records of the next block; false at the end of the file.
    ///
    /// # Errors
    ///
    /// [`RestoreError`].
    pub fn next_block(&mut self, records: &mut Vec<u8>) -> Result<bool, RestoreError> {
        records.clear();
        let left = self.input.fill_buf().map_err(RestoreError::Read)?;
        if left.is_empty() {
            return Ok(false);
        }
        let (mut length, mut checksum) = ([0; 4], [0; 4]);
        read(&mut self.input, &mut length)?;
        read(&mut self.input, &mut checksum)?;
        let length = u64::from(u32::from_le_bytes(length));
        // Grows with what is there, whatever a damaged length says.
        let mut block = self.input.by_ref().take(length);
        let read = block.read_to_end(records).map_err(RestoreError::Read)?;
        if read as u64 != length {
            return Err(RestoreError::damaged("a block is cut off"));
        }
        if crc32fast::hash(records) != u32::from_le_bytes(checksum) {
            return Err(RestoreError::damaged("a checksum does not match"));
        }
        Ok(true)
    }
}

fn read(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), RestoreError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => RestoreError::damaged("it is cut off"),
        _ => RestoreError::Read(error),
    })
}
