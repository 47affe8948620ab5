//! Whether the borrowed view and prost read the same from the same bytes.
//!
//! Shared by the fuzz target, the replay of its corpus, and the property tests.

use prost::Message;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::common::{self, any_value::Value};
use proto::otlp::trace;
use spanmill_otlp::split::split;
use spanmill_otlp::view::{Event, Link};
use spanmill_otlp::{AnyValue, KeyValue, Request, ScopeSpans, Span, WireError};

/// Reads `bytes` with the view, which must end without a panic; and if prost
/// takes them for a request, the view must read what prost reads.
pub(crate) fn check(bytes: &[u8]) {
    let viewed = view(bytes);
    let _ = spanmill_otlp::validate::check(bytes);
    check_split(bytes, &viewed);
    if let Ok(request) = ExportTraceServiceRequest::decode(bytes) {
        let written_anew = request.encode_to_vec();
        let read = Ok(owned(request));
        assert_eq!(view(&written_anew), read);
        // Whatever prost writes anew is shorter if something was written twice: a
        // value that occurs twice in one attribute is merged by prost and replaced
        // by the view, since no encoder needs it.
        if written_anew.len() == bytes.len() {
            assert_eq!(viewed, read);
        }
    }
}

/// Splits `bytes`; the shares must together have the spans that were viewed.
fn check_split(bytes: &[u8], viewed: &Result<Read, WireError>) {
    let request = bytes::Bytes::copy_from_slice(bytes);
    let split = split(&request, |trace_id| {
        Some(u16::from(
            trace_id.iter().fold(0, |sum, byte| sum ^ byte) % 3,
        ))
    });
    let Ok(mut viewed) = viewed.clone() else {
        return;
    };
    let shares = split.map(|split| {
        let shares = split.shares.iter();
        shares
            .map(|share| (share.spans, view(&share.request)))
            .collect::<Vec<_>>()
    });
    let mut all = Vec::new();
    for (spans, read) in shares.unwrap_or_default() {
        let read = read.unwrap_or_default();
        assert_eq!(read.len() as u64, spans);
        all.extend(read);
    }
    all.sort_unstable();
    viewed.sort_unstable();
    assert_eq!(all, viewed);
}

/// What both readers are compared by: plain text for each span.
type Read = Vec<String>;

fn view(bytes: &[u8]) -> Result<Read, WireError> {
    let mut read = Vec::new();
    for resource_spans in Request::new(bytes).resource_spans() {
        let resource_spans = resource_spans?;
        let resource = attributes(resource_spans.attributes())?;
        for scope_spans in resource_spans.scope_spans() {
            let scope_spans: ScopeSpans<'_> = scope_spans?;
            let scope = scope_spans.scope()?;
            for message in scope_spans.spans() {
                let span = Span::parse(message?)?;
                let mut text = format!(
                    "{resource} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {} {} {} {:?} {} ",
                    scope.name,
                    scope.version,
                    span.trace_id,
                    span.span_id,
                    span.parent_span_id,
                    span.trace_state,
                    span.name,
                    span.kind,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.status_code,
                    span.status_message,
                    span.flags,
                );
                text += &attributes(span.attributes())?;
                for event in span.events() {
                    let event: Event<'_> = event?;
                    text += &format!(" event {} {:?} ", event.time_unix_nano, event.name);
                    text += &attributes(event.attributes())?;
                }
                for link in span.links() {
                    let link: Link<'_> = link?;
                    text += &format!(
                        " link {:?} {:?} {:?} ",
                        link.trace_id, link.span_id, link.trace_state
                    );
                    text += &attributes(link.attributes())?;
                }
                read.push(text);
            }
        }
    }
    Ok(read)
}

fn attributes<'a>(
    attributes: impl Iterator<Item = Result<KeyValue<'a>, WireError>>,
) -> Result<String, WireError> {
    let mut text = String::new();
    for attribute in attributes {
        let attribute = attribute?;
        text += &format!("{:?}={};", attribute.key, kind(attribute.value));
        let _ = attribute.value.write_text(&mut text);
        text.push(';');
    }
    Ok(text)
}

fn kind(value: AnyValue<'_>) -> &'static str {
    match value {
        AnyValue::Empty => "empty",
        AnyValue::String(_) => "string",
        AnyValue::Bool(_) => "bool",
        AnyValue::Int(_) => "int",
        AnyValue::Double(_) => "double",
        AnyValue::Array(_) => "array",
        AnyValue::KeyValueList(_) => "map",
        AnyValue::Bytes(_) => "bytes",
    }
}

fn owned(request: ExportTraceServiceRequest) -> Read {
    let mut read = Vec::new();
    for resource_spans in request.resource_spans {
        let resource = resource_spans.resource.unwrap_or_default();
        let resource = owned_attributes(&resource.attributes);
        for scope_spans in resource_spans.scope_spans {
            let scope = scope_spans.scope.unwrap_or_default();
            let spans = scope_spans.spans.iter();
            read.extend(spans.map(|span| owned_span(&resource, &scope, span)));
        }
    }
    read
}

fn owned_span(resource: &str, scope: &common::InstrumentationScope, span: &trace::Span) -> String {
    let status = span.status.clone().unwrap_or_default();
    let mut text = format!(
        "{resource} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {} {} {} {:?} {} ",
        scope.name.as_bytes(),
        scope.version.as_bytes(),
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.trace_state.as_bytes(),
        span.name.as_bytes(),
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        status.code,
        status.message.as_bytes(),
        span.flags,
    );
    text += &owned_attributes(&span.attributes);
    for event in &span.events {
        text += &format!(
            " event {} {:?} ",
            event.time_unix_nano,
            event.name.as_bytes()
        );
        text += &owned_attributes(&event.attributes);
    }
    for link in &span.links {
        text += &format!(
            " link {:?} {:?} {:?} ",
            link.trace_id,
            link.span_id,
            link.trace_state.as_bytes()
        );
        text += &owned_attributes(&link.attributes);
    }
    text
}

fn owned_attributes(attributes: &[common::KeyValue]) -> String {
    let mut text = String::new();
    for attribute in attributes {
        let value = attribute.value.as_ref().and_then(|any| any.value.as_ref());
        let kind = match value {
            Some(Value::StringValue(_)) => "string",
            Some(Value::BoolValue(_)) => "bool",
            Some(Value::IntValue(_)) => "int",
            Some(Value::DoubleValue(_)) => "double",
            Some(Value::ArrayValue(_)) => "array",
            Some(Value::KvlistValue(_)) => "map",
            Some(Value::BytesValue(_)) => "bytes",
            _ => "empty",
        };
        text += &format!("{:?}={kind};", attribute.key.as_bytes());
        write_value(&mut text, value);
        text.push(';');
    }
    text
}

fn write_value(text: &mut String, value: Option<&Value>) {
    match value {
        Some(Value::StringValue(value)) => text.push_str(value),
        Some(Value::BoolValue(value)) => *text += &value.to_string(),
        Some(Value::IntValue(value)) => *text += &value.to_string(),
        Some(Value::DoubleValue(value)) if value.is_infinite() => {
            text.push_str(if *value > 0.0 { "+Inf" } else { "-Inf" });
        }
        Some(Value::DoubleValue(value)) => *text += &value.to_string(),
        Some(Value::ArrayValue(array)) => {
            text.push('[');
            for item in &array.values {
                write_value(text, item.value.as_ref());
            }
            text.push(']');
        }
        Some(Value::KvlistValue(map)) => {
            text.push('{');
            for item in &map.values {
                text.push_str(&item.key);
                text.push(':');
                write_value(text, item.value.as_ref().and_then(|any| any.value.as_ref()));
            }
            text.push('}');
        }
        _ => {}
    }
}
