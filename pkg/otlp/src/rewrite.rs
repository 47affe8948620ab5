//! Copies of messages with some of the messages in them changed or left out.

use crate::wire::{Fields, WireError};

/// Whether a message within another stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It stays, as it was written.
    Yes,
    /// It is left out.
    No,
}

/// Copies the fields of a message; those of number `inner` are rewritten.
///
/// # Errors
///
/// [`WireError`] if the message is not protobuf, or that of `rewrite`.
pub fn copy_fields(
    message: &[u8],
    inner: u32,
    out: &mut Vec<u8>,
    mut rewrite: impl FnMut(&[u8], &mut Vec<u8>) -> Result<Keep, WireError>,
) -> Result<Keep, WireError> {
    let mut fields = Fields::new(message);
    let mut scratch = Vec::new();
    loop {
        let before = fields.rest();
        let Some((number, value)) = fields.read()? else {
            return Ok(Keep::Yes);
        };
        if number != inner {
            let length = before.len() - fields.rest().len();
            out.extend_from_slice(before.get(..length).unwrap_or_default());
            continue;
        }
        scratch.clear();
        if matches!(rewrite(value.bytes(number)?, &mut scratch)?, Keep::Yes) {
            push_length(inner, &scratch, out);
        }
    }
}

/// Writes a field of so many bytes, with its tag and length.
pub(crate) fn push_length(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    push_varint(u64::from(number) << 3 | 2, out);
    push_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
