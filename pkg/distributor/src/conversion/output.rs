//! Writes OTLP requests.
//!
//! Source: opentelemetry-proto, `trace/v1/trace.proto`.

use otlp::writer::{MessageTooLong, Open, Writer};

use super::MAX_ITEMS;
use super::attributes::{Attributes, Text, Value};

/// `Status.code`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StatusCode {
    #[default]
    Unset = 0,
    Ok = 1,
    Error = 2,
}

/// `Span.kind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SpanKind {
    #[default]
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

/// The instrumentation library of spans; empty if it is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scope<'a> {
    pub(super) name: Text<'a>,
    pub(super) version: Text<'a>,
}

/// A span. Ids that cannot be right are `None`. Times are Unix nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Span<'a> {
    pub(super) trace_id: Option<[u8; 16]>,
    pub(super) span_id: Option<[u8; 8]>,
    pub(super) parent_span_id: Option<[u8; 8]>,
    pub(super) trace_state: Text<'a>,
    pub(super) name: Text<'a>,
    pub(super) kind: SpanKind,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Attributes<'a>,
    pub(super) events: Limited<Event<'a>>,
    pub(super) links: Limited<Link>,
    pub(super) status_code: StatusCode,
    pub(super) status_message: Text<'a>,
}

#[derive(Debug, Default)]
pub(super) struct Event<'a> {
    pub(super) time: u64,
    pub(super) name: Text<'a>,
    pub(super) attributes: Attributes<'a>,
}

/// A reference to another span, by the one attribute that OpenTracing has of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) trace_id: Option<[u8; 16]>,
    pub(super) span_id: Option<[u8; 8]>,
    pub(super) ref_type: &'static str,
}

/// The first [`MAX_ITEMS`] of a list, and how many came after them.
#[derive(Debug)]
pub(super) struct Limited<T> {
    pub(super) kept: Vec<T>,
    pub(super) dropped: u64,
}

impl<T> Default for Limited<T> {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            dropped: 0,
        }
    }
}

impl<T> Limited<T> {
    /// None yet, of a list that had so many too many where it was read.
    pub(super) fn beyond(dropped: u64) -> Self {
        Self {
            kept: Vec::new(),
            dropped,
        }
    }

    pub(super) fn push(&mut self, item: T) {
        if self.kept.len() < MAX_ITEMS {
            self.kept.push(item);
        } else {
            self.dropped += 1;
        }
    }
}

/// A request that is being written.
#[derive(Debug, Default)]
pub(super) struct Output<'a> {
    writer: Writer,
    resource_spans: Option<Open>,
    scope_spans: Option<(Scope<'a>, Open)>,
}

const RESOURCE_SPANS: u32 = 1;
const RESOURCE: u32 = 1;
const RESOURCE_ATTRIBUTES: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SCOPE: u32 = 1;
const SPANS: u32 = 2;

impl<'a> Output<'a> {
    /// Starts the spans of a resource. Whoever calls it for each span must take the
    /// resource from that span, or the length of the request is no longer bounded by
    /// what came in.
    pub(super) fn resource(&mut self, resource: &Attributes<'_>) -> Result<(), MessageTooLong> {
        self.end_resource()?;
        let writer = &mut self.writer;
        self.resource_spans = Some(writer.open(RESOURCE_SPANS));
        let open = writer.open(RESOURCE);
        write_attributes(writer, RESOURCE_ATTRIBUTES, resource)?;
        writer.close(open)
    }

    /// Adds a span of the resource that was started last. Those of equal scope that
    /// come one after another share it.
    pub(super) fn span(
        &mut self,
        scope: &Scope<'a>,
        span: &Span<'_>,
    ) -> Result<(), MessageTooLong> {
        let goes_on = |(known, _): &(Scope<'a>, Open)| known == scope;
        if !self.scope_spans.as_ref().is_some_and(goes_on) {
            self.scope(scope)?;
        }
        write_span(&mut self.writer, span)
    }

    /// Adds a span that validation refuses as malformed.
    pub(super) fn malformed_span(&mut self) -> Result<(), MessageTooLong> {
        if self.resource_spans.is_none() {
            self.resource(&Attributes::default())?;
        }
        if self.scope_spans.is_none() {
            self.scope(&Scope::default())?;
        }
        // No field has the number 0.
        self.writer.bytes(SPANS, &[0], true);
        Ok(())
    }

    /// The whole request.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, MessageTooLong> {
        self.end_resource()?;
        Ok(self.writer.finish())
    }

    fn scope(&mut self, scope: &Scope<'a>) -> Result<(), MessageTooLong> {
        self.end_scope()?;
        let writer = &mut self.writer;
        self.scope_spans = Some((scope.clone(), writer.open(SCOPE_SPANS)));
        if *scope != Scope::default() {
            let open = writer.open(SCOPE);
            writer.bytes(1, &scope.name, false);
            writer.bytes(2, &scope.version, false);
            writer.close(open)?;
        }
        Ok(())
    }

    fn end_scope(&mut self) -> Result<(), MessageTooLong> {
        let open = self.scope_spans.take();
        open.map_or(Ok(()), |(_, open)| self.writer.close(open))
    }

    fn end_resource(&mut self) -> Result<(), MessageTooLong> {
        self.end_scope()?;
        let open = self.resource_spans.take();
        open.map_or(Ok(()), |open| self.writer.close(open))
    }
}

fn write_span(writer: &mut Writer, span: &Span<'_>) -> Result<(), MessageTooLong> {
    // Of a span that validation will refuse, no more than it takes to be refused for
    // the right reason: else a flood of empty spans would grow in here.
    let Some(trace_id) = span.trace_id.filter(|id| *id != [0; 16]) else {
        writer.bytes(SPANS, &[], true);
        return Ok(());
    };
    if span.span_id.is_none_or(|id| id == [0; 8]) {
        let open = writer.open(SPANS);
        writer.bytes(1, &trace_id, false);
        return writer.close(open);
    }
    let open = writer.open(SPANS);
    writer.bytes(1, id(&span.trace_id), false);
    writer.bytes(2, id(&span.span_id), false);
    writer.bytes(3, &span.trace_state, false);
    writer.bytes(4, id(&span.parent_span_id), false);
    writer.bytes(5, &span.name, false);
    writer.varint(6, span.kind as u64, false);
    writer.fixed64(7, span.start, false);
    writer.fixed64(8, span.end, false);
    write_attributes(writer, 9, &span.attributes)?;
    writer.varint(10, span.attributes.dropped, false);
    for event in &span.events.kept {
        let open = writer.open(11);
        writer.fixed64(1, event.time, false);
        writer.bytes(2, &event.name, false);
        write_attributes(writer, 3, &event.attributes)?;
        writer.varint(4, event.attributes.dropped, false);
        writer.close(open)?;
    }
    writer.varint(12, span.events.dropped, false);
    for link in &span.links.kept {
        let open = writer.open(13);
        writer.bytes(1, id(&link.trace_id), false);
        writer.bytes(2, id(&link.span_id), false);
        let ref_type = Value::text(link.ref_type.as_bytes());
        write_attribute(writer, 4, b"opentracing.ref_type", &ref_type)?;
        writer.close(open)?;
    }
    writer.varint(14, span.links.dropped, false);
    // Written also where it is unset, as the Collector does: the size of a span
    // is a metric.
    let status = writer.open(15);
    writer.bytes(2, &span.status_message, false);
    writer.varint(3, span.status_code as u64, false);
    writer.close(status)?;
    writer.close(open)
}

fn id<const LENGTH: usize>(id: &Option<[u8; LENGTH]>) -> &[u8] {
    id.as_ref().map_or(&[], |id| id.as_slice())
}

fn write_attributes(
    writer: &mut Writer,
    field: u32,
    attributes: &Attributes<'_>,
) -> Result<(), MessageTooLong> {
    attributes
        .iter()
        .try_for_each(|(key, value)| write_attribute(writer, field, key, value))
}

fn write_attribute(
    writer: &mut Writer,
    field: u32,
    key: &[u8],
    value: &Value<'_>,
) -> Result<(), MessageTooLong> {
    let attribute = writer.open(field);
    writer.bytes(1, key, false);
    let any = writer.open(2);
    match value {
        Value::Text(text) => writer.bytes(1, text, true),
        Value::Bool(value) => writer.varint(2, u64::from(*value), true),
        Value::Int(value) => writer.varint(3, *value as u64, true),
        Value::Double(value) => writer.fixed64(4, value.to_bits(), true),
        Value::Bytes(bytes) => writer.bytes(7, bytes, true),
    }
    writer.close(any)?;
    writer.close(attribute)
}
