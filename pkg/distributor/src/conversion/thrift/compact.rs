//! What the compact encoding does in another way.

use super::{Field, Reader, ThriftError, Type};

const PROTOCOL: u8 = 0x82;
const VERSION: u8 = 1;
const TRUE: u8 = 1;
const FALSE: u8 = 2;

impl<'a> Reader<'a> {
    pub(super) fn compact_message(&mut self) -> Result<&'a [u8], ThriftError> {
        let [protocol, version] = self.array()?;
        if protocol != PROTOCOL || version & 0x1f != VERSION {
            return Err(ThriftError::UnknownVersion);
        }
        self.varint()?;
        self.bytes()
    }

    pub(super) fn compact_field(&mut self, last: &mut i16) -> Result<Option<Field>, ThriftError> {
        let header = self.byte()?;
        let number = header & 0x0f;
        if number == 0 {
            return Ok(None);
        }
        let id = match header >> 4 {
            0 => i16::try_from(self.zigzag()?).map_err(|_| ThriftError::VarintTooLong)?,
            delta => last.wrapping_add(i16::from(delta)),
        };
        *last = id;
        let value = match number {
            TRUE => Some(true),
            FALSE => Some(false),
            _ => None,
        };
        Ok(Some(Field {
            id,
            kind: compact_type(number)?,
            value,
        }))
    }

    pub(super) fn compact_list(&mut self) -> Result<(Type, u64), ThriftError> {
        let header = self.byte()?;
        let kind = compact_type(header & 0x0f)?;
        let length = match header >> 4 {
            0x0f => self.varint()?,
            short => u64::from(short),
        };
        self.elements(kind, length)
    }

    pub(super) fn compact_map(&mut self) -> Result<Option<(Type, Type, u64)>, ThriftError> {
        let length = self.varint()?;
        if length == 0 {
            return Ok(None);
        }
        let kinds = self.byte()?;
        let keys = compact_type(kinds >> 4)?;
        let values = compact_type(kinds & 0x0f)?;
        Ok(Some((keys, values, length)))
    }

    pub(super) fn zigzag(&mut self) -> Result<i64, ThriftError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(super) fn varint(&mut self) -> Result<u64, ThriftError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            // The tenth byte has room for one bit only.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ThriftError::VarintTooLong)
    }
}

fn compact_type(number: u8) -> Result<Type, ThriftError> {
    Ok(match number {
        TRUE | FALSE => Type::Bool,
        3 => Type::Byte,
        4 => Type::I16,
        5 => Type::I32,
        6 => Type::I64,
        7 => Type::Double,
        8 => Type::Binary,
        9 => Type::List,
        10 => Type::Set,
        11 => Type::Map,
        12 => Type::Struct,
        13 => Type::Uuid,
        _ => return Err(ThriftError::UnknownType { number }),
    })
}
