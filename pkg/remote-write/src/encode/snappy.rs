//! Snappy's block format, compressed while it is written.
//!
//! The format is the length of all, and then blocks, each for 64 KiB that are
//! compressed on their own. So no more than that is held uncompressed.

use bytes::Bytes;
use snap::raw::{Encoder, max_compress_len};

use super::v1::{put_varint, varint_length};

/// Bytes that are compressed on their own. Source: Snappy's format description,
/// and what `snap` does with more.
const BLOCK: usize = 1 << 16;

/// Compresses one message after the other, with the same memory.
pub(crate) struct Compressor {
    /// What was written and is not compressed yet.
    raw: Vec<u8>,
    /// The blocks of the message, without the length before them.
    blocks: Vec<u8>,
    /// Bytes of the message that are in `blocks`.
    compressed: usize,
    /// Room for one block.
    room: Vec<u8>,
    encoder: Encoder,
}

impl Default for Compressor {
    fn default() -> Self {
        Self {
            raw: Vec::new(),
            blocks: Vec::new(),
            compressed: 0,
            room: Vec::new(),
            encoder: Encoder::new(),
        }
    }
}

impl Compressor {
    /// Bytes that were written since the last message.
    pub(crate) fn len(&self) -> usize {
        self.compressed + self.raw.len()
    }

    /// Appends what `write` appends, which must leave what is there.
    ///
    /// # Errors
    ///
    /// None that we know: a block always has room.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), snap::Error> {
        write(&mut self.raw);
        if self.raw.len() < BLOCK {
            return Ok(());
        }
        let whole = self.raw.len() / BLOCK * BLOCK;
        self.compress(whole)
    }

    /// Ends the message, in memory of just its size.
    ///
    /// # Errors
    ///
    /// None that we know: a block always has room.
    pub(crate) fn finish(&mut self) -> Result<Bytes, snap::Error> {
        self.compress(self.raw.len())?;
        let mut message =
            Vec::with_capacity(varint_length(self.compressed as u64) + self.blocks.len());
        put_varint(&mut message, self.compressed as u64);
        message.extend_from_slice(&self.blocks);
        self.clear();
        Ok(message.into())
    }

    /// Forgets what was written since the last message.
    pub(crate) fn clear(&mut self) {
        self.raw.clear();
        self.blocks.clear();
        self.compressed = 0;
    }

    fn compress(&mut self, length: usize) -> Result<(), snap::Error> {
        self.room.resize(max_compress_len(BLOCK), 0);
        for block in self.raw.get(..length).unwrap_or_default().chunks(BLOCK) {
            let end = self.encoder.compress(block, &mut self.room)?;
            let start = varint_length(block.len() as u64);
            self.blocks
                .extend_from_slice(self.room.get(start..end).unwrap_or_default());
        }
        self.raw.drain(..length);
        self.compressed += length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_snap_however_they_are_written() {
        let text = |length: usize| -> Vec<u8> {
            let words = (0..).flat_map(|word: u64| (word * word % 1_009).to_string().into_bytes());
            words.take(length).collect()
        };
        let mut compressor = Compressor::default();
        for length in [0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7] {
            let text = text(length);
            let want = Encoder::new().compress_vec(&text).unwrap();
            for piece in [1, 777, BLOCK, 3 * BLOCK] {
                for piece in text.chunks(piece) {
                    compressor
                        .write(|raw| raw.extend_from_slice(piece))
                        .unwrap();
                }
                assert_eq!(compressor.len(), length);
                assert!(compressor.raw.len() < BLOCK);
                assert_eq!(compressor.finish().unwrap(), want, "{length} by {piece}");
            }
        }
    }
}
