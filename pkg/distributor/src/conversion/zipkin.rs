//! Zipkin to OTLP.
//!
//! Sources: zipkin-api, `zipkin-api.yaml`, `zipkin2-api.yaml` and `zipkin.proto`;
//! OpenTelemetry specification, "OpenTelemetry to Zipkin Transformation".

use std::net::IpAddr;

use otlp::writer::MessageTooLong;

use self::event_attributes::AttributesJson;
use super::ConversionError;
use super::attributes::{Attributes, Text, Value};
use super::output::{Event, Limited, Output, Scope, Span, SpanKind, StatusCode};

mod event_attributes;
mod json;
mod protobuf;
mod resource;
mod v1;
mod v2;

pub use protobuf::list_of_spans;

/// How tags are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether those that look like numbers or booleans become such.
    pub parse_string_tags: bool,
}

/// Converts a list of spans in the JSON of version 1.
///
/// # Errors
///
/// [`ConversionError::Json`] if it is no list; an element that is no span becomes
/// one that validation refuses.
pub fn v1_json(body: &[u8], options: Options) -> Result<Vec<u8>, ConversionError> {
    json::convert(body, |text| v1::span(text, options))
}

/// Converts a list of spans in the JSON of version 2.
///
/// # Errors
///
/// As [`v1_json`].
pub fn v2_json(body: &[u8], options: Options) -> Result<Vec<u8>, ConversionError> {
    json::convert(body, |text| Ok(v2::span(text)?.convert(options)))
}

/// A span with what it is grouped by.
struct Converted<'a> {
    resource: Attributes<'a>,
    scope: Scope<'a>,
    span: Span<'a>,
}

/// Spans that are written, with the resource of the last.
#[derive(Default)]
struct Spans<'a> {
    output: Output<'a>,
    resource: Option<Attributes<'a>>,
}

impl<'a> Spans<'a> {
    /// Adds a span; one that cannot be read becomes one that is refused.
    fn add<E>(&mut self, span: Result<Converted<'a>, E>) -> Result<(), MessageTooLong> {
        let Ok(Converted {
            resource,
            scope,
            span,
        }) = span
        else {
            return self.output.malformed_span();
        };
        if self.resource.as_ref() != Some(&resource) {
            self.output.resource(&resource)?;
            self.resource = Some(resource);
        }
        self.output.span(&scope, &span)
    }
}

/// A span of version 2 as both encodings have it. Times are microseconds.
#[derive(Debug, Default)]
struct ZipkinSpan<'a> {
    trace_id: Option<[u8; 16]>,
    id: Option<[u8; 8]>,
    parent_id: Option<[u8; 8]>,
    kind: SpanKind,
    name: Text<'a>,
    timestamp: u64,
    duration: u64,
    local: Endpoint<'a>,
    remote: Endpoint<'a>,
    annotations: Limited<(u64, Text<'a>)>,
    tags: Attributes<'a>,
}

#[derive(Debug, Default)]
struct Endpoint<'a> {
    service_name: Text<'a>,
    ip: Option<IpAddr>,
    port: u16,
}

impl<'a> ZipkinSpan<'a> {
    fn convert(self, options: Options) -> Converted<'a> {
        let mut tags = self.tags;
        tags.settle();
        let mut kind = self.kind;
        if kind == SpanKind::Unspecified
            && tags.take_text(b"span.kind").as_deref() == Some(b"internal")
        {
            kind = SpanKind::Internal;
        }
        let (status_code, status_message) = status(&mut tags);
        let trace_state = tags.take_text(b"w3c.tracestate").unwrap_or_default();
        let scope = resource::scope(&mut tags);
        let resource = resource::resource(self.local.service_name, &mut tags);
        if options.parse_string_tags {
            tags.iter_mut().for_each(|(_, value)| parse(value));
        }
        if let Some(ip) = self.local.ip {
            tags.put("net.host.ip", Value::text(ip.to_string().into_bytes()));
        }
        if self.local.port > 0 {
            tags.put("net.host.port", Value::Int(self.local.port.into()));
        }
        put_remote(&mut tags, self.remote);
        if self.timestamp == 0 {
            tags.put("otel.zipkin.absentField.startTime", Value::Bool(true));
        }
        let start = self.timestamp.saturating_mul(1_000);
        let mut events = Limited::beyond(self.annotations.dropped);
        for (timestamp, value) in self.annotations.kept {
            events.push(event(timestamp, value));
        }
        let span = Span {
            trace_id: self.trace_id,
            span_id: self.id,
            parent_span_id: self.parent_id.filter(|parent| Some(*parent) != self.id),
            trace_state,
            name: self.name,
            kind,
            start,
            end: start.saturating_add(self.duration.saturating_mul(1_000)),
            attributes: tags,
            events,
            links: Limited::default(),
            status_code,
            status_message,
        };
        Converted {
            resource,
            scope,
            span,
        }
    }
}

/// Says who is at the other end.
fn put_remote<'a>(tags: &mut Attributes<'a>, remote: Endpoint<'a>) {
    if !remote.service_name.is_empty() {
        tags.put("peer.service", Value::Text(remote.service_name));
    }
    if let Some(ip) = remote.ip {
        tags.put("net.peer.ip", Value::text(ip.to_string().into_bytes()));
    }
    if remote.port > 0 {
        tags.put("net.peer.port", Value::Int(remote.port.into()));
    }
}

/// The status: of `error` if it is there and not `false`, else of
/// `otel.status_code`. What `error` says beyond `true` is its message, and stays an
/// attribute.
fn status<'a>(tags: &mut Attributes<'a>) -> (StatusCode, Text<'a>) {
    let mut code = StatusCode::Unset;
    let mut message = Text::default();
    if let Some(declared) = tags.take_text(b"otel.status_code") {
        code = status_code(&declared);
        message = tags
            .take_text(b"otel.status_description")
            .unwrap_or_default();
    }
    let error = tags.get(b"error").cloned().map(Value::into_text);
    match error.as_deref() {
        None | Some(b"false") => {}
        Some(b"true") => {
            tags.take(b"error");
            code = StatusCode::Error;
        }
        Some(_) => {
            code = StatusCode::Error;
            if message.is_empty() {
                message = error.unwrap_or_default();
            }
        }
    }
    (code, message)
}

/// The code by its name, with OTLP's prefix or without.
fn status_code(name: &[u8]) -> StatusCode {
    let name = name.to_ascii_uppercase();
    match name.strip_prefix(b"STATUS_CODE_").unwrap_or(&name) {
        b"OK" => StatusCode::Ok,
        b"ERROR" => StatusCode::Error,
        _ => StatusCode::Unset,
    }
}

/// An annotation: a name, or as OpenTelemetry's exporters write an event, a name,
/// attributes in JSON and how many were dropped, with `|` between them.
fn event<'a>(timestamp: u64, value: Text<'a>) -> Event<'a> {
    let time = timestamp.saturating_mul(1_000);
    if let Some((name, attributes)) = event_of_otel(&value) {
        let name = Text::from(name.to_vec());
        return Event {
            time,
            name,
            attributes,
        };
    }
    Event {
        time,
        name: value,
        attributes: Attributes::default(),
    }
}

fn event_of_otel(value: &[u8]) -> Option<(&[u8], Attributes<'static>)> {
    let text = std::str::from_utf8(value).ok()?;
    let (name, rest) = text.split_once('|')?;
    let (json, dropped) = rest.rsplit_once('|')?;
    let AttributesJson(mut attributes) = serde_json::from_str(json).ok()?;
    attributes.dropped += dropped.parse::<u32>().map(u64::from).ok()?;
    Some((name.as_bytes(), attributes))
}

/// Makes a number or boolean of a text that is one.
fn parse(value: &mut Value<'_>) {
    let Value::Text(text) = value else { return };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let parsed = match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ if digits(unsigned) => text.parse().ok().map(Value::Int),
        _ => match unsigned.split_once('.') {
            Some((whole, part)) if digits(whole) && digits(part) => {
                text.parse().ok().map(Value::Double)
            }
            _ => None,
        },
    };
    if let Some(parsed) = parsed {
        *value = parsed;
    }
}

#[cfg(test)]
mod tests;
