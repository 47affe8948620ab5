//! Jaeger's protobuf, as its gRPC has it.

use otlp::WireError;
use otlp::wire::{FieldValue, Fields};
use otlp::writer::MessageTooLong;

use super::super::ConversionError;
use super::super::attributes::{Attributes, Value};
use super::super::output::{Event, Output};
use super::{JaegerSpan, Reference, event, nanoseconds, resource};

/// Converts a `PostSpansRequest`.
///
/// # Errors
///
/// [`ConversionError`] if its frame or a process is not protobuf; a span that is
/// not becomes one that validation refuses.
pub fn post_spans(request: &[u8]) -> Result<Vec<u8>, ConversionError> {
    let mut output = Output::default();
    let mut fields = Fields::new(request);
    while let Some((number, value)) = fields.read()? {
        if number == 1 {
            batch(value.bytes(number)?, &mut output)?;
        }
    }
    Ok(output.finish()?)
}

/// A batch has its process after its spans. A span may have a process of its own,
/// which comes before that.
fn batch<'a>(batch: &'a [u8], output: &mut Output<'a>) -> Result<(), ConversionError> {
    let mut of_batch = Attributes::default();
    let mut fields = Fields::new(batch);
    while let Some((number, value)) = fields.read()? {
        if number == 2 {
            of_batch = process(value.bytes(number)?)?;
        }
    }
    output.resource(&of_batch)?;
    let mut some_have_their_own = false;
    each_span(batch, |span| match span {
        Ok((span, None)) => span.write(output),
        Ok((_, Some(_))) => {
            some_have_their_own = true;
            Ok(())
        }
        Err(_) => output.malformed_span(),
    })?;
    if !some_have_their_own {
        return Ok(());
    }
    // Behind the others, whose process would else be written again after each.
    each_span(batch, |span| match span {
        Ok((span, Some(own))) => {
            output.resource(&own)?;
            span.write(output)
        }
        Ok((_, None)) | Err(_) => Ok(()),
    })
}

fn each_span<'a>(
    batch: &'a [u8],
    mut take: impl FnMut(Result<WithProcess<'a>, WireError>) -> Result<(), MessageTooLong>,
) -> Result<(), ConversionError> {
    let mut fields = Fields::new(batch);
    while let Some((number, value)) = fields.read()? {
        if number == 1 {
            take(span(value.bytes(number)?))?;
        }
    }
    Ok(())
}

fn process(process: &[u8]) -> Result<Attributes<'_>, WireError> {
    let mut service_name: &[u8] = &[];
    let mut tags = Attributes::default();
    let mut fields = Fields::new(process);
    while let Some((number, value)) = fields.read()? {
        match number {
            1 => service_name = value.bytes(number)?,
            2 => tag(value.bytes(number)?, &mut tags)?,
            _ => {}
        }
    }
    Ok(resource(service_name, tags))
}

type WithProcess<'a> = (JaegerSpan<'a>, Option<Attributes<'a>>);

fn span(bytes: &[u8]) -> Result<WithProcess<'_>, WireError> {
    let mut span = JaegerSpan::default();
    let mut own = None;
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.read()? {
        match number {
            1 => span.trace_id = trace_id(value.bytes(number)?),
            2 => span.span_id = value.bytes(number)?.try_into().ok(),
            3 => span.operation = value.bytes(number)?.into(),
            4 => span.references.push(reference(value.bytes(number)?)?),
            6 => span.start = time(value.bytes(number)?)?,
            7 => span.duration = time(value.bytes(number)?)?,
            8 => tag(value.bytes(number)?, &mut span.tags)?,
            9 => span.logs.push(log(value.bytes(number)?)?),
            10 => own = Some(process(value.bytes(number)?)?),
            _ => {}
        }
    }
    Ok((span, own))
}

/// An id of 8 bytes is the lower half of one.
fn trace_id(bytes: &[u8]) -> Option<[u8; 16]> {
    let half = <[u8; 8]>::try_from(bytes).map(u64::from_be_bytes);
    let whole = half.map(|half| u128::from(half).to_be_bytes());
    whole.or_else(|_| bytes.try_into()).ok()
}

fn reference(bytes: &[u8]) -> Result<Reference, WireError> {
    let mut reference = Reference::default();
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.read()? {
        match number {
            1 => reference.trace_id = trace_id(value.bytes(number)?),
            2 => reference.span_id = value.bytes(number)?.try_into().ok(),
            3 => reference.follows_from = value.varint(number)? == 1,
            _ => {}
        }
    }
    Ok(reference)
}

/// A `Timestamp` or `Duration`, which have the same fields.
fn time(bytes: &[u8]) -> Result<u64, WireError> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.read()? {
        match number {
            1 => seconds = value.varint(number)? as i64,
            2 => nanos = value.varint(number)? as i64,
            _ => {}
        }
    }
    Ok(nanoseconds(seconds, nanos))
}

fn log(bytes: &[u8]) -> Result<Event<'_>, WireError> {
    let mut at = 0;
    let mut attributes = Attributes::default();
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.read()? {
        match number {
            1 => at = time(value.bytes(number)?)?,
            2 => tag(value.bytes(number)?, &mut attributes)?,
            _ => {}
        }
    }
    Ok(event(at, attributes))
}

fn tag<'a>(bytes: &'a [u8], tags: &mut Attributes<'a>) -> Result<(), WireError> {
    let mut key: &[u8] = &[];
    let mut kind = 0;
    let (mut text, mut truth, mut int, mut double, mut binary) = (&[][..], false, 0, 0.0, &[][..]);
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.read()? {
        match number {
            1 => key = value.bytes(number)?,
            2 => kind = value.varint(number)?,
            3 => text = value.bytes(number)?,
            4 => truth = value.varint(number)? != 0,
            5 => int = value.varint(number)? as i64,
            6 => double = f64::from_bits(FieldValue::fixed64(value, number)?),
            7 => binary = value.bytes(number)?,
            _ => {}
        }
    }
    let value = match kind {
        0 => Value::text(text),
        1 => Value::Bool(truth),
        2 => Value::Int(int),
        3 => Value::Double(double),
        4 => Value::Bytes(binary),
        _ => Value::text(format!("<Unknown Jaeger TagType \"{kind}\">").into_bytes()),
    };
    tags.push(key, value);
    Ok(())
}
