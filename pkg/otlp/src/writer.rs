//! Writes protobuf whose lengths are known only after the fact.

/// Fields of nested messages, with a note of where a length is missing.
///
/// The lengths are put in by one pass at the end, so that time is linear
/// however deep messages are nested, and every length is as short as can be.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    missing: Vec<MissingLength>,
    /// Bytes that the lengths of messages closed so far will take.
    lengths: usize,
}

#[derive(Debug)]
struct MissingLength {
    position: u32,
    length: u32,
}

/// A message that is being written.
#[derive(Debug)]
pub struct Open {
    index: usize,
    position: usize,
    lengths: usize,
}

/// A message that is too long for its length to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message is over 4 GiB")]
pub struct MessageTooLong;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

impl Writer {
    /// Starts a message.
    pub fn open(&mut self, field: u32) -> Open {
        self.tag(field, LENGTH_DELIMITED);
        self.missing.push(MissingLength {
            position: 0,
            length: 0,
        });
        Open {
            index: self.missing.len() - 1,
            position: self.bytes.len(),
            lengths: self.lengths,
        }
    }

    /// Ends the message that was opened last.
    ///
    /// # Errors
    ///
    /// [`MessageTooLong`].
    pub fn close(&mut self, open: Open) -> Result<(), MessageTooLong> {
        let length = self.bytes.len() - open.position + self.lengths - open.lengths;
        if let Some(missing) = self.missing.get_mut(open.index) {
            missing.position = u32::try_from(open.position).map_err(|_| MessageTooLong)?;
            missing.length = u32::try_from(length).map_err(|_| MessageTooLong)?;
        }
        self.lengths += varint_size(length as u64);
        Ok(())
    }

    /// Writes an integer or a bool; zero only if `explicit`.
    pub fn varint(&mut self, field: u32, value: u64, explicit: bool) {
        if value != 0 || explicit {
            self.tag(field, VARINT);
            put_varint(&mut self.bytes, value);
        }
    }

    /// Writes a fixed64 or the bits of a double; zero only if `explicit`.
    pub fn fixed64(&mut self, field: u32, value: u64, explicit: bool) {
        if value != 0 || explicit {
            self.tag(field, FIXED64);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Writes a fixed32; zero only if `explicit`.
    pub fn fixed32(&mut self, field: u32, value: u32, explicit: bool) {
        if value != 0 || explicit {
            self.tag(field, FIXED32);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Writes a string or bytes; empty ones only if `explicit`.
    pub fn bytes(&mut self, field: u32, value: &[u8], explicit: bool) {
        if !value.is_empty() || explicit {
            self.tag(field, LENGTH_DELIMITED);
            put_varint(&mut self.bytes, value.len() as u64);
            self.bytes.extend_from_slice(value);
        }
    }

    /// The whole, with its lengths.
    pub fn finish(self) -> Vec<u8> {
        let mut whole = Vec::with_capacity(self.bytes.len() + self.lengths);
        let mut written = 0;
        // In the order of opening, which is that of the bytes.
        for missing in &self.missing {
            let position = missing.position as usize;
            whole.extend_from_slice(self.bytes.get(written..position).unwrap_or_default());
            put_varint(&mut whole, u64::from(missing.length));
            written = position;
        }
        whole.extend_from_slice(self.bytes.get(written..).unwrap_or_default());
        whole
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        put_varint(&mut self.bytes, u64::from(field << 3 | wire_type));
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn varint_size(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}
