//! Records: what a segment is made of, each with its length and a checksum.
//!
//! A record says how many samples of the tenant were spooled before it. So a
//! reader that cannot read one knows from the next how many samples are missing.

use super::wire::Fields;

/// Begins every record, so that the next can be found after damage.
pub(crate) const MARK: [u8; 4] = [0xf5, b'S', b'p', b'R'];

/// Bytes of a record before its payload.
pub(crate) const HEADER_BYTES: usize = 33;

/// The longest payload that is believed. A row is never cut, so one of very many
/// long series makes a long record.
pub(crate) const MAX_PAYLOAD_BYTES: u32 = 64 << 20;

/// Bytes of the mark, the length and the checksum.
const UNCHECKED_BYTES: usize = 12;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Label sets, series and shapes that later records refer to.
    Definitions,
    /// Samples.
    Samples,
    /// Samples that were taken over, and that some destinations have already.
    TakenOver,
}

impl Kind {
    /// Whether there are samples in it.
    pub(crate) fn is_samples(self) -> bool {
        self != Self::Definitions
    }
}

/// What is known of a record before its payload is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Bytes of the payload.
    pub(crate) length: u32,
    /// Samples that were spooled before it.
    pub(crate) position: u64,
    /// Samples in it.
    pub(crate) samples: u32,
    /// The time of its latest sample, in milliseconds since the Unix epoch.
    pub(crate) newest_ms: i64,
    checksum: u32,
}

impl Header {
    /// The position after it.
    pub(crate) fn end(&self) -> u64 {
        self.position.saturating_add(self.samples.into())
    }

    /// Bytes of the whole record.
    pub(crate) fn record_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.length)
    }

    /// Reads a header; `None` if it cannot be one.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes.strip_prefix(&MARK)?);
        let length = fields.u32()?;
        let checksum = fields.u32()?;
        let kind = match fields.byte()? {
            1 => Kind::Definitions,
            2 => Kind::Samples,
            3 => Kind::TakenOver,
            _ => return None,
        };
        let header = Self {
            kind,
            length,
            position: fields.u64()?,
            samples: fields.u32()?,
            newest_ms: fields.i64()?,
            checksum,
        };
        (length <= MAX_PAYLOAD_BYTES).then_some(header)
    }

    /// Whether a whole record is as it was written.
    pub(crate) fn is_intact(&self, record: &[u8]) -> bool {
        checksum(record) == Some(self.checksum)
    }
}

/// Fills in the header of a record: `record` is [`HEADER_BYTES`] of any content
/// and the payload.
pub(crate) fn seal(record: &mut [u8], kind: Kind, position: u64, samples: u32, newest_ms: i64) {
    let length = record.len().saturating_sub(HEADER_BYTES) as u32;
    let kind = match kind {
        Kind::Definitions => 1,
        Kind::Samples => 2,
        Kind::TakenOver => 3,
    };
    put(record, 0, &MARK);
    put(record, 4, &length.to_le_bytes());
    put(record, 12, &[kind]);
    put(record, 13, &position.to_le_bytes());
    put(record, 21, &samples.to_le_bytes());
    put(record, 25, &newest_ms.to_le_bytes());
    let checksum = checksum(record).unwrap_or_default();
    put(record, 8, &checksum.to_le_bytes());
}

fn put(record: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = record.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// The checksum of all but the mark and the checksum itself.
fn checksum(record: &[u8]) -> Option<u32> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(record.get(4..8)?);
    hasher.update(record.get(UNCHECKED_BYTES..)?);
    Some(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut record = vec![0; HEADER_BYTES];
        record.extend_from_slice(payload);
        seal(&mut record, Kind::Samples, 7, 3, -1);
        record
    }

    #[test]
    fn record_comes_back_and_no_flipped_bit_is_missed() {
        let sealed = record(b"payload");
        let header = Header::read(&sealed).unwrap();
        assert_eq!((header.kind, header.length), (Kind::Samples, 7));
        assert_eq!(
            (header.position, header.end(), header.newest_ms),
            (7, 10, -1)
        );
        assert!(header.is_intact(&sealed));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let missed = Header::read(&flipped).is_some_and(|header| header.is_intact(&flipped));
            assert!(!missed, "bit {bit}");
        }
    }
}
