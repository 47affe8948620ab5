//! Zipkin's protobuf.

use std::net::IpAddr;

use otlp::WireError;
use otlp::wire::Fields;

use super::super::ConversionError;
use super::super::attributes::{Attributes, Value};
use super::super::output::SpanKind;
use super::{Endpoint, Options, Spans, ZipkinSpan};

/// Converts a `ListOfSpans`.
///
/// # Errors
///
/// [`ConversionError`] if its frame is not protobuf; a span that is not becomes one
/// that validation refuses.
pub fn list_of_spans(body: &[u8], options: Options) -> Result<Vec<u8>, ConversionError> {
    let mut spans = Spans::default();
    let mut fields = Fields::new(body);
    while let Some((number, value)) = fields.read()? {
        if number == 1 {
            let span = span(value.bytes(number)?);
            spans.add(span.map(|span| span.convert(options)))?;
        }
    }
    Ok(spans.output.finish()?)
}

fn span(bytes: &[u8]) -> Result<ZipkinSpan<'_>, WireError> {
    let mut span = ZipkinSpan::default();
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.read()? {
        match number {
            1 => span.trace_id = trace_id(value.bytes(number)?),
            2 => span.parent_id = value.bytes(number)?.try_into().ok(),
            3 => span.id = value.bytes(number)?.try_into().ok(),
            4 => span.kind = kind(value.varint(number)?),
            5 => span.name = value.bytes(number)?.into(),
            6 => span.timestamp = value.fixed64(number)?,
            7 => span.duration = value.varint(number)?,
            8 => span.local = endpoint(value.bytes(number)?)?,
            9 => span.remote = endpoint(value.bytes(number)?)?,
            10 => span.annotations.push(annotation(value.bytes(number)?)?),
            11 => tag(value.bytes(number)?, &mut span.tags)?,
            _ => {}
        }
    }
    Ok(span)
}

/// An id of 8 bytes is the lower half of one.
fn trace_id(bytes: &[u8]) -> Option<[u8; 16]> {
    let half = <[u8; 8]>::try_from(bytes).map(u64::from_be_bytes);
    let whole = half.map(|half| u128::from(half).to_be_bytes());
    whole.or_else(|_| bytes.try_into()).ok()
}

fn kind(number: u64) -> SpanKind {
    match number {
        1 => SpanKind::Client,
        2 => SpanKind::Server,
        3 => SpanKind::Producer,
        4 => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}

fn endpoint(bytes: &[u8]) -> Result<Endpoint<'_>, WireError> {
    let mut endpoint = Endpoint::default();
    let (mut ipv4, mut ipv6) = (None, None);
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.read()? {
        match number {
            1 => endpoint.service_name = value.bytes(number)?.into(),
            2 => {
                ipv4 = <[u8; 4]>::try_from(value.bytes(number)?)
                    .ok()
                    .map(IpAddr::from)
            }
            3 => {
                ipv6 = <[u8; 16]>::try_from(value.bytes(number)?)
                    .ok()
                    .map(IpAddr::from)
            }
            4 => endpoint.port = value.varint(number)?.try_into().unwrap_or_default(),
            _ => {}
        }
    }
    endpoint.ip = ipv6.or(ipv4);
    Ok(endpoint)
}

fn annotation(bytes: &[u8]) -> Result<(u64, super::Text<'_>), WireError> {
    let (mut timestamp, mut text) = (0, &[][..]);
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.read()? {
        match number {
            1 => timestamp = value.fixed64(number)?,
            2 => text = value.bytes(number)?,
            _ => {}
        }
    }
    Ok((timestamp, text.into()))
}

/// An entry of the map of tags.
fn tag<'a>(bytes: &'a [u8], tags: &mut Attributes<'a>) -> Result<(), WireError> {
    let (mut key, mut text) = (&[][..], &[][..]);
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.read()? {
        match number {
            1 => key = value.bytes(number)?,
            2 => text = value.bytes(number)?,
            _ => {}
        }
    }
    tags.push(key, Value::text(text));
    Ok(())
}
