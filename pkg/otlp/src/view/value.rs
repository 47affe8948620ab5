//! Attributes and their values.

use std::fmt::Write as _;

use super::Messages;
use crate::wire::{Fields, MAX_DEPTH, WireError};

/// Text that is not UTF-8, where a label would need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("text is not valid UTF-8")]
pub struct InvalidUtf8;

/// `KeyValue`: an attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KeyValue<'a> {
    /// Field 1.
    pub key: &'a [u8],
    /// Field 2; [`AnyValue::Empty`] if there is none.
    pub value: AnyValue<'a>,
}

impl<'a> KeyValue<'a> {
    /// Reads an attribute.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the message is not a `KeyValue`.
    #[inline]
    pub fn parse(message: &'a [u8]) -> Result<Self, WireError> {
        let mut attribute = Self::default();
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.read()? {
            match number {
                1 => attribute.key = value.bytes(number)?,
                2 => attribute.value.merge(value.bytes(number)?)?,
                _ => {}
            }
        }
        Ok(attribute)
    }

    /// The key and the encoded value, for readers that want few of many.
    ///
    /// Only the usual encoding, key first, is read so: for any other the
    /// answer is `None`, and [`KeyValue::parse`] does it.
    #[inline]
    pub fn split(message: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let [0x0a, key_length, rest @ ..] = message else {
            return None;
        };
        if *key_length >= 0x80 {
            return None;
        }
        let (key, rest) = rest.split_at_checked(usize::from(*key_length))?;
        Some((key, rest))
    }
}

/// `AnyValue`: the value of an attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum AnyValue<'a> {
    /// No value is set.
    #[default]
    Empty,
    /// Field 1, which should be UTF-8.
    String(&'a [u8]),
    /// Field 2.
    Bool(bool),
    /// Field 3.
    Int(i64),
    /// Field 4.
    Double(f64),
    /// Field 5, an encoded `ArrayValue`.
    Array(&'a [u8]),
    /// Field 6, an encoded `KeyValueList`.
    KeyValueList(&'a [u8]),
    /// Field 7.
    Bytes(&'a [u8]),
}

impl<'a> AnyValue<'a> {
    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`WireError`] if the message is not an `AnyValue`.
    pub fn parse(message: &'a [u8]) -> Result<Self, WireError> {
        let mut value = Self::Empty;
        value.merge(message)?;
        Ok(value)
    }

    #[inline]
    pub(super) fn merge(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut fields = Fields::new(message);
        while let Some((number, value)) = fields.read()? {
            *self = match number {
                1 => Self::String(value.bytes(number)?),
                2 => Self::Bool(value.varint(number)? != 0),
                3 => Self::Int(value.varint(number)? as i64),
                4 => Self::Double(f64::from_bits(value.fixed64(number)?)),
                5 => Self::Array(value.bytes(number)?),
                6 => Self::KeyValueList(value.bytes(number)?),
                7 => Self::Bytes(value.bytes(number)?),
                _ => continue,
            };
        }
        Ok(())
    }

    /// Appends the value as it is written in a label.
    ///
    /// Numbers are in decimal without an exponent, lists are `[` items `]` and
    /// maps `{` key `:` value `}` without separators, bytes and what is nested
    /// deeper than [`MAX_DEPTH`] are nothing. Source: recorded cases of Tempo
    /// 2.10.8, attribute types.
    ///
    /// # Errors
    ///
    /// [`InvalidUtf8`]; then a part may have been appended.
    pub fn write_text(self, text: &mut String) -> Result<(), InvalidUtf8> {
        self.write_nested(text, 0)
    }

    fn write_nested(self, text: &mut String, depth: u32) -> Result<(), InvalidUtf8> {
        if depth >= MAX_DEPTH {
            return Ok(());
        }
        match self {
            Self::Empty | Self::Bytes(_) => {}
            Self::String(bytes) => push_utf8(text, bytes)?,
            Self::Bool(value) => text.push_str(if value { "true" } else { "false" }),
            Self::Int(value) => push_display(text, value),
            Self::Double(value) if value.is_infinite() => {
                text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
            }
            Self::Double(value) => push_display(text, value),
            Self::Array(message) => {
                text.push('[');
                for item in Messages::new(message, 1).map_while(Result::ok) {
                    if let Ok(item) = AnyValue::parse(item) {
                        item.write_nested(text, depth + 1)?;
                    }
                }
                text.push(']');
            }
            Self::KeyValueList(message) => {
                text.push('{');
                for item in Messages::new(message, 1).map_while(Result::ok) {
                    if let Ok(item) = KeyValue::parse(item) {
                        push_utf8(text, item.key)?;
                        text.push(':');
                        item.value.write_nested(text, depth + 1)?;
                    }
                }
                text.push('}');
            }
        }
        Ok(())
    }
}

fn push_utf8(text: &mut String, bytes: &[u8]) -> Result<(), InvalidUtf8> {
    text.push_str(std::str::from_utf8(bytes).map_err(|_| InvalidUtf8)?);
    Ok(())
}

fn push_display(text: &mut String, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: AnyValue<'_>) -> Result<String, InvalidUtf8> {
        let mut text = String::new();
        value.write_text(&mut text).map(|()| text)
    }

    #[test]
    fn values_are_written_as_tempo_writes_them() {
        let nested = [0x0a, 7, 0x2a, 5, 0x0a, 3, 0x0a, 1, b'x'];
        let map = [0x0a, 8, 0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v'];
        for (value, want) in [
            (AnyValue::Empty, ""),
            (AnyValue::String(b"str"), "str"),
            (AnyValue::Bool(true), "true"),
            (AnyValue::Int(9_007_199_254_740_993), "9007199254740993"),
            (AnyValue::Int(-7), "-7"),
            (AnyValue::Double(1.0), "1"),
            (AnyValue::Double(1.5), "1.5"),
            (AnyValue::Double(1e21), "1000000000000000000000"),
            (AnyValue::Double(1e-7), "0.0000001"),
            (AnyValue::Double(f64::INFINITY), "+Inf"),
            (AnyValue::Double(f64::NEG_INFINITY), "-Inf"),
            (AnyValue::Double(f64::NAN), "NaN"),
            (AnyValue::Bytes(b"raw"), ""),
            (AnyValue::Array(&nested), "[[x]]"),
            (AnyValue::KeyValueList(&map), "{k:v}"),
        ] {
            assert_eq!(text(value).as_deref(), Ok(want));
        }
        assert_eq!(text(AnyValue::String(b"\xff")), Err(InvalidUtf8));
    }

    #[test]
    fn values_nested_thousands_deep_are_cut() {
        let mut message = vec![0x0a, 1, b'x'];
        for _ in 0..3_000 {
            let mut outer = vec![0x0a];
            push_length(&mut outer, message.len());
            outer.extend_from_slice(&message);
            message = vec![0x2a];
            push_length(&mut message, outer.len());
            message.extend_from_slice(&outer);
        }
        let value = AnyValue::parse(&message).unwrap();
        assert_eq!(text(value).unwrap().len(), 2 * MAX_DEPTH as usize);
    }

    fn push_length(out: &mut Vec<u8>, mut length: usize) {
        while length >= 0x80 {
            out.push(length as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
    }
}
