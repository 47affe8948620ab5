//! Raw values as the bytes that lane keys are hashed from.

use std::fmt::Debug;

use otlp::AnyValue;
use registry::{KeyHasher, LaneKey};

/// What every lane key of a processor begins with: the settings by which raw
/// values become labels. When they change, so do the keys, and what lanes know
/// of the old ones no longer counts.
pub(crate) fn key_of_settings(settings: &impl Debug) -> LaneKey {
    KeyHasher::new().key(format!("{settings:?}").as_bytes())
}

/// Writes a value so that different values never look alike.
pub(crate) fn write_raw(value: Option<AnyValue<'_>>, out: &mut Vec<u8>) {
    let fixed = |tag: u8, bits: u64, out: &mut Vec<u8>| {
        out.push(tag);
        out.extend_from_slice(&bits.to_le_bytes());
    };
    let variable = |tag: u8, bytes: &[u8], out: &mut Vec<u8>| {
        out.push(tag);
        write_bytes(bytes, out);
    };
    match value {
        None => out.push(0),
        Some(AnyValue::Empty) => out.push(1),
        Some(AnyValue::String(bytes)) => variable(2, bytes, out),
        Some(AnyValue::Bool(value)) => fixed(3, u64::from(value), out),
        Some(AnyValue::Int(value)) => fixed(4, value as u64, out),
        Some(AnyValue::Double(value)) => fixed(5, value.to_bits(), out),
        Some(AnyValue::Array(bytes)) => variable(6, bytes, out),
        Some(AnyValue::KeyValueList(bytes)) => variable(7, bytes, out),
        Some(AnyValue::Bytes(bytes)) => variable(8, bytes, out),
    }
}

/// Writes bytes so that what follows them is never taken for theirs.
#[inline]
pub(crate) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}
