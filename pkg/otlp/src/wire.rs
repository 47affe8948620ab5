//! Protobuf fields, read in place.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// Bytes that are not protobuf, or not of the message they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field goes on past the end of its message.
    #[error("a field goes on past the end of its message")]
    Truncated,
    /// A varint has more than ten bytes, or does not fit 64 bits.
    #[error("a varint is longer than 64 bits")]
    VarintTooLong,
    /// A field has number 0, one above 2^29 - 1, or a wire type that does not exist.
    #[error("a field has an invalid tag")]
    InvalidTag,
    /// A known field has a wire type that its message does not give it.
    #[error("field {field} has the wrong wire type")]
    WrongType {
        /// The field's number.
        field: u32,
    },
    /// A group is not closed, or closed by another's end.
    #[error("a group is not closed properly")]
    UnbalancedGroup,
    /// Groups or values are nested deeper than the limit.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// How deep groups and values may be nested, as in prost.
pub const MAX_DEPTH: u32 = 100;

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldValue<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
    /// Wire type 3: skipped whole, since OTLP has no groups.
    Group,
}

impl<'a> FieldValue<'a> {
    /// The bytes of a string, a message, or bytes.
    ///
    /// # Errors
    ///
    /// [`WireError::WrongType`].
    #[inline]
    pub fn bytes(self, field: u32) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::WrongType { field }),
        }
    }

    /// The value of an integer, an enum or a bool.
    ///
    /// # Errors
    ///
    /// [`WireError::WrongType`].
    #[inline]
    pub fn varint(self, field: u32) -> Result<u64, WireError> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(WireError::WrongType { field }),
        }
    }

    /// The value of a fixed64 or the bits of a double.
    ///
    /// # Errors
    ///
    /// [`WireError::WrongType`].
    #[inline]
    pub fn fixed64(self, field: u32) -> Result<u64, WireError> {
        match self {
            Self::Fixed64(value) => Ok(value),
            _ => Err(WireError::WrongType { field }),
        }
    }

    /// The value of a fixed32.
    ///
    /// # Errors
    ///
    /// [`WireError::WrongType`].
    #[inline]
    pub fn fixed32(self, field: u32) -> Result<u32, WireError> {
        match self {
            Self::Fixed32(value) => Ok(value),
            _ => Err(WireError::WrongType { field }),
        }
    }
}

/// Reads the fields of one message, in the order of the wire.
///
/// After an error the rest is not read: the iterator has ended.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads the fields of `message`.
    #[inline]
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field's number and value; `None` at the end of the message.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the bytes are not a field.
    #[inline(always)]
    pub fn read(&mut self) -> Result<Option<(u32, FieldValue<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let result = self.read_field(0);
        if result.is_err() {
            self.rest = &[];
        }
        result.map(Some)
    }

    /// The next field's bytes if its tag is this one byte and they are fewer than
    /// 128: how repeated messages go on, as a rule. If not, nothing is read.
    #[inline(always)]
    pub fn read_short(&mut self, tag: u8) -> Option<&'a [u8]> {
        let [next, length @ ..0x80, rest @ ..] = self.rest else {
            return None;
        };
        let (bytes, rest) = rest.split_at_checked(usize::from(*length))?;
        if *next != tag {
            return None;
        }
        self.rest = rest;
        Some(bytes)
    }

    #[inline(always)]
    fn read_field(&mut self, depth: u32) -> Result<(u32, FieldValue<'a>), WireError> {
        let (number, wire_type) = self.tag()?;
        let value = match wire_type {
            0 => FieldValue::Varint(self.varint()?),
            1 => FieldValue::Fixed64(self.fixed64()?),
            2 => FieldValue::Bytes(self.length_delimited()?),
            3 => {
                self.skip_group(number, depth)?;
                FieldValue::Group
            }
            5 => FieldValue::Fixed32(self.fixed32()?),
            _ => return Err(WireError::InvalidTag),
        };
        Ok((number, value))
    }

    #[inline(always)]
    fn tag(&mut self) -> Result<(u32, u64), WireError> {
        let key = self.varint()?;
        let number = u32::try_from(key)
            .map_err(|_| WireError::InvalidTag)?
            .wrapping_shr(3);
        if number == 0 {
            return Err(WireError::InvalidTag);
        }
        Ok((number, key & 7))
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, WireError> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high, rest @ ..] if *high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte has room for one bit only.
            if index == 9 && *byte > 1 {
                return Err(WireError::VarintTooLong);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(WireError::Truncated)
    }

    #[inline(always)]
    fn fixed64(&mut self) -> Result<u64, WireError> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk::<8>()
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline(always)]
    fn fixed32(&mut self) -> Result<u32, WireError> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk::<4>()
            .ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    #[inline(always)]
    fn length_delimited(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.varint()?;
        if length > self.rest.len() as u64 {
            return Err(WireError::Truncated);
        }
        let (bytes, rest) = self.rest.split_at(length as usize);
        self.rest = rest;
        Ok(bytes)
    }

    #[cold]
    fn skip_group(&mut self, number: u32, depth: u32) -> Result<(), WireError> {
        if depth >= MAX_DEPTH {
            return Err(WireError::TooDeep);
        }
        loop {
            if self.rest.is_empty() {
                return Err(WireError::UnbalancedGroup);
            }
            let before = self.rest;
            let (inner, wire_type) = self.tag()?;
            if wire_type == 4 {
                return if inner == number {
                    Ok(())
                } else {
                    Err(WireError::UnbalancedGroup)
                };
            }
            self.rest = before;
            self.read_field(depth + 1)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u32, FieldValue<'_>)>, WireError> {
        let mut fields = Fields::new(bytes);
        let mut read = Vec::new();
        while let Some(field) = fields.read()? {
            read.push(field);
        }
        Ok(read)
    }

    #[test]
    fn each_wire_type_is_read() {
        let bytes = [
            0x08, 0x96, 0x01, // 1: varint 150, as in the encoding guide
            0x11, 1, 0, 0, 0, 0, 0, 0, 0, // 2: fixed64
            0x1a, 2, b'h', b'i', // 3: bytes
            0x25, 7, 0, 0, 0, // 4: fixed32
            0x2b, 0x08, 0x01, 0x2c, // 5: a group with one field
        ];
        assert_eq!(
            all(&bytes),
            Ok(vec![
                (1, FieldValue::Varint(150)),
                (2, FieldValue::Fixed64(1)),
                (3, FieldValue::Bytes(b"hi")),
                (4, FieldValue::Fixed32(7)),
                (5, FieldValue::Group),
            ])
        );
    }

    #[test]
    fn broken_bytes_have_a_reason() {
        for (bytes, want) in [
            (&[0x08][..], WireError::Truncated),
            (&[0x08, 0x80], WireError::Truncated),
            (&[0x0a, 5, 1], WireError::Truncated),
            (&[0x09, 1, 2, 3], WireError::Truncated),
            (&[0x0d, 1], WireError::Truncated),
            (&[0x00], WireError::InvalidTag),
            (&[0x0e], WireError::InvalidTag),
            (&[0x0c], WireError::InvalidTag),
            (&[0x0b], WireError::UnbalancedGroup),
            (&[0x0b, 0x14], WireError::UnbalancedGroup),
            (
                &[0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
                WireError::VarintTooLong,
            ),
            (
                &[0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1],
                WireError::Truncated,
            ),
        ] {
            assert_eq!(all(bytes), Err(want), "{bytes:?}");
        }
        assert_eq!(all(&[0x0b; 1000]), Err(WireError::TooDeep));
    }

    #[test]
    fn largest_varint_is_read() {
        let bytes = [0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert_eq!(all(&bytes), Ok(vec![(1, FieldValue::Varint(u64::MAX))]));
    }
}
