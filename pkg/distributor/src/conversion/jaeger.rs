//! Jaeger to OTLP.
//!
//! Sources: jaeger-idl, `proto/api_v2/model.proto` and `thrift/jaeger.thrift`;
//! OpenTelemetry specification, "OpenTelemetry to Jaeger Transformation".

use otlp::writer::MessageTooLong;

use super::attributes::{Attributes, Text, Value};
use super::output::{Event, Limited, Link, Output, Scope, Span, SpanKind, StatusCode};

mod protobuf;
mod thrift;

pub use protobuf::post_spans;
pub use thrift::{batch, datagram};

/// The service name of exporters whose resource had none.
const NO_SERVICE: &[u8] = b"OTLPResourceNoServiceName";

/// A span as both encodings have it.
#[derive(Debug, Default)]
struct JaegerSpan<'a> {
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
    /// Thrift's own field; zero if there is none.
    parent_span_id: [u8; 8],
    operation: Text<'a>,
    references: Limited<Reference>,
    /// Unix nanoseconds.
    start: u64,
    /// Nanoseconds.
    duration: u64,
    tags: Attributes<'a>,
    logs: Limited<Event<'a>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reference {
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
    follows_from: bool,
}

/// What a process says about itself, as attributes of a resource.
fn resource<'a>(service_name: &'a [u8], mut tags: Attributes<'a>) -> Attributes<'a> {
    if service_name == NO_SERVICE {
        return Attributes::default();
    }
    tags.settle();
    if !service_name.is_empty() && tags.get(b"service.name").is_none() {
        tags.push(b"service.name".as_slice(), Value::text(service_name));
    }
    if tags.get(b"host.name").is_none()
        && let Some(name) = tags.take(b"hostname")
    {
        tags.push(b"host.name".as_slice(), name);
    }
    if tags.get(b"opencensus.exporterversion").is_none()
        && let Some(version) = tags.take_text(b"jaeger.version")
    {
        let version = [b"Jaeger-", &*version].concat();
        tags.push(
            b"opencensus.exporterversion".as_slice(),
            Value::text(version),
        );
    }
    tags
}

/// A log's fields; the one named `event` is the name of the event.
fn event<'a>(time: u64, mut fields: Attributes<'a>) -> Event<'a> {
    fields.settle();
    Event {
        time,
        name: fields.take_text(b"event").unwrap_or_default(),
        attributes: fields,
    }
}

impl<'a> JaegerSpan<'a> {
    fn write(mut self, output: &mut Output<'a>) -> Result<(), MessageTooLong> {
        self.tags.settle();
        let parent = self.parent();
        let mut scope = Scope::default();
        if let Some(name) = self.take_either(b"otel.scope.name", b"otel.library.name") {
            scope.name = name;
            let version = self.take_either(b"otel.scope.version", b"otel.library.version");
            scope.version = version.unwrap_or_default();
        }
        let kind = self.tags.take_text(b"span.kind").unwrap_or_default();
        let kind = span_kind(&kind);
        let (status_code, status_message) = status(&mut self.tags, kind);
        let mut links = Limited::default();
        for reference in &self.references.kept {
            if reference.follows_from || reference.span_id != Some(parent) {
                links.push(Link {
                    trace_id: reference.trace_id,
                    span_id: reference.span_id,
                    ref_type: match reference.follows_from {
                        true => "follows_from",
                        false => "child_of",
                    },
                });
            }
        }
        let span = Span {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: (parent != [0; 8]).then_some(parent),
            trace_state: self.tags.take_text(b"w3c.tracestate").unwrap_or_default(),
            name: self.operation,
            kind,
            start: self.start,
            end: self.start.saturating_add(self.duration),
            attributes: self.tags,
            events: self.logs,
            links,
            status_code,
            status_message,
        };
        output.span(&scope, &span)
    }

    /// The parent: what says so, else the first span of the trace that it is the
    /// child of, else the first that it follows from; zero for none.
    fn parent(&self) -> [u8; 8] {
        if self.parent_span_id != [0; 8] {
            return self.parent_span_id;
        }
        let in_trace = |reference: &&Reference| reference.trace_id == self.trace_id;
        let mut references = self.references.kept.iter().filter(in_trace);
        let parent = references
            .clone()
            .find(|reference| !reference.follows_from)
            .or_else(|| references.next());
        parent
            .and_then(|reference| reference.span_id)
            .unwrap_or_default()
    }

    fn take_either(&mut self, key: &[u8], older: &[u8]) -> Option<Text<'a>> {
        let found = self.tags.take_text(key);
        found.or_else(|| self.tags.take_text(older))
    }
}

fn span_kind(tag: &[u8]) -> SpanKind {
    match tag {
        b"client" => SpanKind::Client,
        b"server" => SpanKind::Server,
        b"producer" => SpanKind::Producer,
        b"consumer" => SpanKind::Consumer,
        b"internal" => SpanKind::Internal,
        _ => SpanKind::Unspecified,
    }
}

/// The status: of `error` if it is true, else of `otel.status_code`, else of the
/// status of HTTP.
fn status<'a>(tags: &mut Attributes<'a>, kind: SpanKind) -> (StatusCode, Text<'a>) {
    let http_message = |tags: &Attributes<'a>| {
        let message = tags.get(b"http.status_message").cloned();
        message.map(Value::into_text).unwrap_or_default()
    };
    let declared = tags.take_text(b"otel.status_code");
    if tags.get(b"error") == Some(&Value::Bool(true)) {
        tags.take(b"error");
        let message = tags.take_text(b"otel.status_description");
        let message = message.unwrap_or_else(|| http_message(tags));
        return (StatusCode::Error, message);
    }
    if let Some(declared) = declared {
        let code = match declared.to_ascii_uppercase().as_slice() {
            b"OK" => StatusCode::Ok,
            b"ERROR" => StatusCode::Error,
            _ => StatusCode::Unset,
        };
        let message = tags.take_text(b"otel.status_description");
        return (code, message.unwrap_or_default());
    }
    match tags.get(b"http.status_code").and_then(Value::as_int) {
        Some(400..500) if kind == SpanKind::Server => Default::default(),
        None | Some(100..400) => Default::default(),
        Some(_) => (StatusCode::Error, http_message(tags)),
    }
}

/// Nanoseconds of a time or duration; what is below zero is zero.
fn nanoseconds(seconds: i64, nanos: i64) -> u64 {
    let whole = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    u64::try_from(whole.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
