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
///
/// A message has two parts that grow side by side, of which the head comes
/// first in it.
pub(crate) struct Compressor {
    head: Part,
    body: Part,
    /// Room for one block.
    room: Vec<u8>,
    encoder: Encoder,
}

/// A part of a message.
#[derive(Default)]
struct Part {
    /// What was written and is not compressed yet.
    raw: Vec<u8>,
    /// The blocks of the part.
    blocks: Vec<u8>,
    /// Bytes of the part that are in `blocks`.
    compressed: usize,
}

impl Default for Compressor {
    fn default() -> Self {
        Self {
            head: Part::default(),
            body: Part::default(),
            room: Vec::new(),
            encoder: Encoder::new(),
        }
    }
}

impl Compressor {
    /// Bytes that were written since the last message.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Appends what `write` appends to the body, which must leave what is there.
    ///
    /// # Errors
    ///
    /// None that we know: a block always has room.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), snap::Error> {
        write(&mut self.body.raw);
        self.body.compress_full(&mut self.encoder, &mut self.room)
    }

    /// The same with the head, which is given first, and the body.
    ///
    /// # Errors
    ///
    /// As [`Compressor::write`].
    pub(crate) fn write_both(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<(), snap::Error> {
        write(&mut self.head.raw, &mut self.body.raw);
        for part in [&mut self.head, &mut self.body] {
            part.compress_full(&mut self.encoder, &mut self.room)?;
        }
        Ok(())
    }

    /// Ends the message, in memory of just its size.
    ///
    /// # Errors
    ///
    /// As [`Compressor::write`].
    pub(crate) fn finish(&mut self) -> Result<Bytes, snap::Error> {
        let length = self.len() as u64;
        let mut blocks = 0;
        for part in [&mut self.head, &mut self.body] {
            part.compress(part.raw.len(), &mut self.encoder, &mut self.room)?;
            blocks += part.blocks.len();
        }
        let mut message = Vec::with_capacity(varint_length(length) + blocks);
        put_varint(&mut message, length);
        message.extend_from_slice(&self.head.blocks);
        message.extend_from_slice(&self.body.blocks);
        self.clear();
        Ok(message.into())
    }

    /// Forgets what was written since the last message.
    pub(crate) fn clear(&mut self) {
        self.head.clear();
        self.body.clear();
    }
}

impl Part {
    fn len(&self) -> usize {
        self.compressed + self.raw.len()
    }

    fn clear(&mut self) {
        self.raw.clear();
        self.blocks.clear();
        self.compressed = 0;
    }

    /// Compresses the blocks that are whole.
    fn compress_full(
        &mut self,
        encoder: &mut Encoder,
        room: &mut Vec<u8>,
    ) -> Result<(), snap::Error> {
        if self.raw.len() < BLOCK {
            return Ok(());
        }
        let whole = self.raw.len() / BLOCK * BLOCK;
        self.compress(whole, encoder, room)
    }

    fn compress(
        &mut self,
        length: usize,
        encoder: &mut Encoder,
        room: &mut Vec<u8>,
    ) -> Result<(), snap::Error> {
        room.resize(max_compress_len(BLOCK), 0);
        for block in self.raw.get(..length).unwrap_or_default().chunks(BLOCK) {
            let end = encoder.compress(block, room)?;
            let start = varint_length(block.len() as u64);
            self.blocks
                .extend_from_slice(room.get(start..end).unwrap_or_default());
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
                assert!(compressor.body.raw.len() < BLOCK);
                assert_eq!(compressor.finish().unwrap(), want, "{length} by {piece}");
            }
        }
    }

    #[test]
    fn head_comes_before_the_body_however_they_are_written() {
        let mut compressor = Compressor::default();
        let (mut heads, mut bodies) = (Vec::new(), Vec::new());
        for number in 0..30_000_u32 {
            let (head, body) = (format!("head {number} "), format!("body {number} "));
            heads.extend_from_slice(head.as_bytes());
            bodies.extend_from_slice(body.as_bytes());
            compressor
                .write_both(|to_head, to_body| {
                    to_head.extend_from_slice(head.as_bytes());
                    to_body.extend_from_slice(body.as_bytes());
                })
                .unwrap();
            assert!(compressor.head.raw.len() < BLOCK && compressor.body.raw.len() < BLOCK);
        }
        assert_eq!(compressor.len(), heads.len() + bodies.len());
        let message = compressor.finish().unwrap();
        let read = snap::raw::Decoder::new().decompress_vec(&message).unwrap();
        assert_eq!(read, [heads, bodies].concat());
        assert_eq!(compressor.len(), 0);
    }
}
