//! Thrift in its binary and compact encodings, read in place.
//!
//! The `thrift` crate allocates by the lengths that a message declares; here a
//! length is believed only if the bytes are there. Source: Apache Thrift,
//! `doc/specs/thrift-binary-protocol.md` and `thrift-compact-protocol.md`.

mod compact;

/// How deep values may be nested; Jaeger's are 4 deep.
const MAX_DEPTH: u32 = 32;

/// An encoding of Thrift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `TBinaryProtocol`.
    Binary,
    /// `TCompactProtocol`.
    Compact,
}

/// Bytes that are not Thrift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThriftError {
    /// A value goes on past the end.
    #[error("a value goes on past the end")]
    Truncated,
    /// There is no type of that number.
    #[error("there is no type {number}")]
    UnknownType {
        /// The number.
        number: u8,
    },
    /// A varint has more than ten bytes, or does not fit its type.
    #[error("a varint is too long")]
    VarintTooLong,
    /// A length is below zero.
    #[error("a length is below zero")]
    NegativeLength,
    /// Values are nested deeper than any of Jaeger.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// It does not begin as a message of a known version.
    #[error("not a message of a known version")]
    UnknownVersion,
    /// It calls another method than `emitBatch`.
    #[error("it does not call emitBatch")]
    UnknownMethod,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Byte,
    Double,
    I16,
    I32,
    I64,
    Binary,
    Struct,
    Map,
    Set,
    List,
    Uuid,
}

/// The header of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) id: i16,
    pub(super) kind: Type,
    /// The value of a bool that the header holds, as in the compact encoding.
    value: Option<bool>,
}

/// What is left of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    encoding: Encoding,
}

impl<'a> Reader<'a> {
    pub(super) fn new(encoding: Encoding, bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            encoding,
        }
    }

    /// Reads what is in front of the arguments of a call, and gives its method.
    pub(super) fn message(&mut self) -> Result<&'a [u8], ThriftError> {
        match self.encoding {
            Encoding::Compact => self.compact_message(),
            Encoding::Binary => {
                let first = u32::from_be_bytes(self.array()?);
                // Without a version the name comes first: its length is below zero
                // for no one.
                let strict = first & 0x8000_0000 != 0;
                if strict && first >> 16 != 0x8001 {
                    return Err(ThriftError::UnknownVersion);
                }
                let name = if strict {
                    self.bytes()?
                } else {
                    let name = self.take(first as usize)?;
                    self.take(1)?;
                    name
                };
                self.i32()?;
                Ok(name)
            }
        }
    }

    /// The next field of a struct; `None` at its end. `last` is the id of the one
    /// before it, at first 0.
    pub(super) fn field(&mut self, last: &mut i16) -> Result<Option<Field>, ThriftError> {
        if self.encoding == Encoding::Compact {
            return self.compact_field(last);
        }
        let kind = self.byte()?;
        if kind == 0 {
            return Ok(None);
        }
        Ok(Some(Field {
            kind: binary_type(kind)?,
            id: i16::from_be_bytes(self.array()?),
            value: None,
        }))
    }

    pub(super) fn bool(&mut self, field: &Field) -> Result<bool, ThriftError> {
        match field.value {
            Some(value) => Ok(value),
            None => Ok(self.byte()? == 1),
        }
    }

    pub(super) fn i32(&mut self) -> Result<i32, ThriftError> {
        match self.encoding {
            Encoding::Binary => Ok(i32::from_be_bytes(self.array()?)),
            Encoding::Compact => {
                let value = self.zigzag()?;
                i32::try_from(value).map_err(|_| ThriftError::VarintTooLong)
            }
        }
    }

    pub(super) fn i64(&mut self) -> Result<i64, ThriftError> {
        match self.encoding {
            Encoding::Binary => Ok(i64::from_be_bytes(self.array()?)),
            Encoding::Compact => self.zigzag(),
        }
    }

    pub(super) fn double(&mut self) -> Result<f64, ThriftError> {
        let bytes = self.array()?;
        Ok(match self.encoding {
            Encoding::Binary => f64::from_be_bytes(bytes),
            Encoding::Compact => f64::from_le_bytes(bytes),
        })
    }

    /// A string or bytes.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], ThriftError> {
        let length = match self.encoding {
            Encoding::Binary => self.length()?,
            Encoding::Compact => self.varint()?,
        };
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The type and number of the elements of a list or set. A list of bools has no
    /// use here and is only skipped.
    pub(super) fn list(&mut self) -> Result<(Type, u64), ThriftError> {
        if self.encoding == Encoding::Compact {
            return self.compact_list();
        }
        let kind = binary_type(self.byte()?)?;
        let length = self.length()?;
        self.elements(kind, length)
    }

    /// Skips a value.
    pub(super) fn skip(&mut self, field: &Field) -> Result<(), ThriftError> {
        if field.value.is_some() {
            return Ok(());
        }
        self.skip_value(field.kind, 0)
    }

    /// Skips a value that is an element.
    pub(super) fn skip_value(&mut self, kind: Type, depth: u32) -> Result<(), ThriftError> {
        if depth > MAX_DEPTH {
            return Err(ThriftError::TooDeep);
        }
        match kind {
            Type::Bool | Type::Byte => self.take(1).map(drop),
            Type::Double => self.take(8).map(drop),
            Type::Uuid => self.take(16).map(drop),
            Type::I16 if self.encoding == Encoding::Binary => self.take(2).map(drop),
            Type::I16 | Type::I32 => self.i32().map(drop),
            Type::I64 => self.i64().map(drop),
            Type::Binary => self.bytes().map(drop),
            Type::Struct => {
                let mut last = 0;
                while let Some(field) = self.field(&mut last)? {
                    if field.value.is_none() {
                        self.skip_value(field.kind, depth + 1)?;
                    }
                }
                Ok(())
            }
            Type::Set | Type::List => {
                let (kind, length) = self.list()?;
                (0..length).try_for_each(|_| self.skip_value(kind, depth + 1))
            }
            Type::Map => {
                let Some((keys, values, length)) = self.map()? else {
                    return Ok(());
                };
                (0..length).try_for_each(|_| {
                    self.skip_value(keys, depth + 1)?;
                    self.skip_value(values, depth + 1)
                })
            }
        }
    }

    /// The types of a map and its length; `None` if it is empty.
    fn map(&mut self) -> Result<Option<(Type, Type, u64)>, ThriftError> {
        if self.encoding == Encoding::Compact {
            return self.compact_map();
        }
        let (keys, values) = (self.byte()?, self.byte()?);
        let length = self.length()?;
        if length == 0 {
            return Ok(None);
        }
        Ok(Some((binary_type(keys)?, binary_type(values)?, length)))
    }

    /// Holds a number of elements against what is left: each takes a byte at least.
    fn elements(&self, kind: Type, length: u64) -> Result<(Type, u64), ThriftError> {
        if length > self.rest.len() as u64 {
            return Err(ThriftError::Truncated);
        }
        Ok((kind, length))
    }

    /// A length of the binary encoding.
    fn length(&mut self) -> Result<u64, ThriftError> {
        let length = i32::from_be_bytes(self.array()?);
        u64::try_from(length).map_err(|_| ThriftError::NegativeLength)
    }

    fn byte(&mut self) -> Result<u8, ThriftError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], ThriftError> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(ThriftError::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ThriftError> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(ThriftError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }
}

fn binary_type(number: u8) -> Result<Type, ThriftError> {
    Ok(match number {
        2 => Type::Bool,
        3 => Type::Byte,
        4 => Type::Double,
        6 => Type::I16,
        8 => Type::I32,
        10 => Type::I64,
        11 => Type::Binary,
        12 => Type::Struct,
        13 => Type::Map,
        14 => Type::Set,
        15 => Type::List,
        16 => Type::Uuid,
        _ => return Err(ThriftError::UnknownType { number }),
    })
}

#[cfg(test)]
mod tests;
