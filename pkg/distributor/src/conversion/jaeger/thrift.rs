//! Jaeger's Thrift, over HTTP and over UDP.

use super::super::ConversionError;
use super::super::attributes::{Attributes, Value};
use super::super::output::{Event, Output};
use super::super::thrift::{Encoding, Reader, ThriftError, Type};
use super::{JaegerSpan, Reference, event, nanoseconds, resource};

/// Converts a `Batch` in the binary encoding, as HTTP has it.
///
/// # Errors
///
/// [`ConversionError`] if anything in it is not Thrift: a value says where it ends
/// by itself only, so spans behind a broken one cannot be found.
pub fn batch(body: &[u8]) -> Result<Vec<u8>, ConversionError> {
    convert(Reader::new(Encoding::Binary, body))
}

/// Converts a call of `emitBatch`, as UDP has it.
///
/// # Errors
///
/// As [`batch`], and if it calls anything else.
pub fn datagram(encoding: Encoding, datagram: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let mut reader = Reader::new(encoding, datagram);
    if reader.message()? != b"emitBatch" {
        return Err(ThriftError::UnknownMethod.into());
    }
    let mut last = 0;
    while let Some(field) = reader.field(&mut last)? {
        if (field.id, field.kind) == (1, Type::Struct) {
            return convert(reader);
        }
        reader.skip(&field)?;
    }
    Ok(Vec::new())
}

fn convert(mut batch: Reader<'_>) -> Result<Vec<u8>, ConversionError> {
    let (mut process_at, mut spans_at) = (None, None);
    let mut last = 0;
    while let Some(field) = batch.field(&mut last)? {
        match (field.id, field.kind) {
            (1, Type::Struct) => process_at = Some(batch),
            (2, Type::List) => spans_at = Some(batch),
            _ => {}
        }
        batch.skip(&field)?;
    }
    let resource = match process_at {
        Some(mut reader) => process(&mut reader)?,
        None => Attributes::default(),
    };
    let mut output = Output::default();
    output.resource(&resource)?;
    if let Some(mut reader) = spans_at {
        each(&mut reader, |reader| {
            let span = span(reader)?;
            span.write(&mut output)?;
            Ok::<_, ConversionError>(())
        })?;
    }
    Ok(output.finish()?)
}

/// Reads each struct of a list; what is none is skipped.
fn each<'a, E: From<ThriftError>>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let (kind, length) = reader.list()?;
    for _ in 0..length {
        match kind {
            Type::Struct => read(reader)?,
            _ => reader.skip_value(kind, 0)?,
        }
    }
    Ok(())
}

fn process<'a>(reader: &mut Reader<'a>) -> Result<Attributes<'a>, ThriftError> {
    let mut service_name: &[u8] = &[];
    let mut own = Attributes::default();
    let mut last = 0;
    while let Some(field) = reader.field(&mut last)? {
        match (field.id, field.kind) {
            (1, Type::Binary) => service_name = reader.bytes()?,
            (2, Type::List) => tags(reader, &mut own)?,
            _ => reader.skip(&field)?,
        }
    }
    Ok(resource(service_name, own))
}

fn span<'a>(reader: &mut Reader<'a>) -> Result<JaegerSpan<'a>, ThriftError> {
    let mut span = JaegerSpan::default();
    let (mut low, mut high) = (0, 0);
    let mut last = 0;
    while let Some(field) = reader.field(&mut last)? {
        match (field.id, field.kind) {
            (1, Type::I64) => low = reader.i64()?,
            (2, Type::I64) => high = reader.i64()?,
            (3, Type::I64) => span.span_id = Some(reader.i64()?.to_be_bytes()),
            (4, Type::I64) => span.parent_span_id = reader.i64()?.to_be_bytes(),
            (5, Type::Binary) => span.operation = reader.bytes()?.into(),
            (6, Type::List) => each(reader, |reader| {
                span.references.push(reference(reader)?);
                Ok::<_, ThriftError>(())
            })?,
            (8, Type::I64) => span.start = microseconds(reader.i64()?),
            (9, Type::I64) => span.duration = microseconds(reader.i64()?),
            (10, Type::List) => tags(reader, &mut span.tags)?,
            (11, Type::List) => each(reader, |reader| {
                span.logs.push(log(reader)?);
                Ok::<_, ThriftError>(())
            })?,
            _ => reader.skip(&field)?,
        }
    }
    span.trace_id = Some(trace_id(high, low));
    Ok(span)
}

fn trace_id(high: i64, low: i64) -> [u8; 16] {
    (u128::from(high as u64) << 64 | u128::from(low as u64)).to_be_bytes()
}

fn microseconds(count: i64) -> u64 {
    let (seconds, rest) = (count.div_euclid(1_000_000), count.rem_euclid(1_000_000));
    nanoseconds(seconds, rest * 1_000)
}

fn reference(reader: &mut Reader<'_>) -> Result<Reference, ThriftError> {
    let mut reference = Reference::default();
    let (mut low, mut high) = (0, 0);
    let mut last = 0;
    while let Some(field) = reader.field(&mut last)? {
        match (field.id, field.kind) {
            (1, Type::I32) => reference.follows_from = reader.i32()? == 1,
            (2, Type::I64) => low = reader.i64()?,
            (3, Type::I64) => high = reader.i64()?,
            (4, Type::I64) => reference.span_id = Some(reader.i64()?.to_be_bytes()),
            _ => reader.skip(&field)?,
        }
    }
    reference.trace_id = Some(trace_id(high, low));
    Ok(reference)
}

fn log<'a>(reader: &mut Reader<'a>) -> Result<Event<'a>, ThriftError> {
    let mut at = 0;
    let mut fields = Attributes::default();
    let mut last = 0;
    while let Some(field) = reader.field(&mut last)? {
        match (field.id, field.kind) {
            (1, Type::I64) => at = microseconds(reader.i64()?),
            (2, Type::List) => tags(reader, &mut fields)?,
            _ => reader.skip(&field)?,
        }
    }
    Ok(event(at, fields))
}

fn tags<'a>(reader: &mut Reader<'a>, tags: &mut Attributes<'a>) -> Result<(), ThriftError> {
    each(reader, |reader| {
        let (key, value) = tag(reader)?;
        tags.push(key, value);
        Ok(())
    })
}

fn tag<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], Value<'a>), ThriftError> {
    let mut key: &[u8] = &[];
    let mut kind = 0;
    let (mut text, mut double, mut truth, mut int, mut binary) = (&[][..], 0.0, false, 0, &[][..]);
    let mut last = 0;
    while let Some(field) = reader.field(&mut last)? {
        match (field.id, field.kind) {
            (1, Type::Binary) => key = reader.bytes()?,
            (2, Type::I32) => kind = reader.i32()?,
            (3, Type::Binary) => text = reader.bytes()?,
            (4, Type::Double) => double = reader.double()?,
            (5, Type::Bool) => truth = reader.bool(&field)?,
            (6, Type::I64) => int = reader.i64()?,
            (7, Type::Binary) => binary = reader.bytes()?,
            _ => reader.skip(&field)?,
        }
    }
    let value = match kind {
        0 => Value::text(text),
        1 => Value::Double(double),
        2 => Value::Bool(truth),
        3 => Value::Int(int),
        4 => Value::Bytes(binary),
        _ => Value::text(format!("<Unknown Jaeger TagType \"{kind}\">").into_bytes()),
    };
    Ok((key, value))
}
