//! Cuts long keys and values of attributes, and leaves all else as it came.
//!
//! Source: Tempo 2.10, `max_attribute_bytes`; protobuf, "Message Structure".

use crate::rewrite::push_length;
use crate::wire::{Fields, WireError};

/// A request with an attribute that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// The request.
    pub request: Vec<u8>,
    /// Attributes of which the key or the value was cut.
    pub attributes: u64,
}

/// A message that has attributes somewhere below it.
#[derive(Clone, Copy)]
enum Message {
    Request,
    ResourceSpans,
    Resource,
    ScopeSpans,
    Scope,
    Span,
    Event,
    Link,
    Attribute,
}

impl Message {
    /// What a field is. Source: `opentelemetry/proto/trace/v1/trace.proto`.
    fn field(self, number: u32) -> Option<Self> {
        match (self, number) {
            (Self::Request, 1) => Some(Self::ResourceSpans),
            (Self::ResourceSpans, 1) => Some(Self::Resource),
            (Self::ResourceSpans, 2) => Some(Self::ScopeSpans),
            (Self::ScopeSpans, 1) => Some(Self::Scope),
            (Self::ScopeSpans, 2) => Some(Self::Span),
            (Self::Span, 11) => Some(Self::Event),
            (Self::Span, 13) => Some(Self::Link),
            (Self::Resource, 1)
            | (Self::Scope, 3)
            | (Self::Span, 9)
            | (Self::Event, 3)
            | (Self::Link, 4) => Some(Self::Attribute),
            _ => None,
        }
    }

    /// Whether it may be broken without harm to what is around it: who reads a span
    /// refuses it alone.
    fn is_read_by_others(self) -> bool {
        !matches!(self, Self::Request | Self::ResourceSpans | Self::ScopeSpans)
    }
}

/// Cuts the keys and the text values of attributes that are longer than `max` bytes, on
/// resources, scopes, spans, events and links; `None` if there are none.
///
/// Text is cut at a character boundary. Values within lists and maps stay. A span whose
/// bytes are not protobuf stays as it is. A message that is not longer than `max` cannot
/// have such an attribute and is not looked into, so that usual spans cost a comparison.
///
/// # Errors
///
/// [`WireError`] if the request, a `ResourceSpans` or a `ScopeSpans` is not protobuf.
pub fn truncate(request: &[u8], max: usize) -> Result<Option<Truncated>, WireError> {
    if !is_over(Message::Request, request, max)? {
        return Ok(None);
    }
    let mut cut = Truncated {
        request: Vec::with_capacity(request.len()),
        attributes: 0,
    };
    cut.attributes = copy(Message::Request, request, max, &mut cut.request)?;
    Ok(Some(cut))
}

/// Whether there is something to cut.
fn is_over(message: Message, bytes: &[u8], max: usize) -> Result<bool, WireError> {
    if bytes.len() <= max {
        return Ok(false);
    }
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.read()? {
        let Some(inner) = message.field(number) else {
            continue;
        };
        let value = value.bytes(number)?;
        let found = match inner {
            Message::Attribute => is_attribute_over(value, max),
            _ => is_over(inner, value, max),
        };
        match found {
            Ok(false) => {}
            Ok(true) => return Ok(true),
            Err(_) if inner.is_read_by_others() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn is_attribute_over(attribute: &[u8], max: usize) -> Result<bool, WireError> {
    let mut fields = Fields::new(attribute);
    while let Some((number, value)) = fields.read()? {
        let is_long = match number {
            1 => value.bytes(number)?.len() > max,
            2 => is_text_over(value.bytes(number)?, max)?,
            _ => false,
        };
        if is_long {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_text_over(value: &[u8], max: usize) -> Result<bool, WireError> {
    let mut fields = Fields::new(value);
    while let Some((number, value)) = fields.read()? {
        if number == 1 && value.bytes(number)?.len() > max {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Copies a message and cuts what is too long; gives how many attributes that was.
fn copy(message: Message, bytes: &[u8], max: usize, out: &mut Vec<u8>) -> Result<u64, WireError> {
    let mut fields = Fields::new(bytes);
    let mut cut = 0;
    loop {
        let before = fields.rest();
        let Some((number, value)) = fields.read()? else {
            return Ok(cut);
        };
        let field = before
            .get(..before.len() - fields.rest().len())
            .unwrap_or_default();
        let Some(inner) = message.field(number) else {
            out.extend_from_slice(field);
            continue;
        };
        let value = value.bytes(number)?;
        let mut shorter = Vec::new();
        let copied = match inner {
            _ if value.len() <= max => Ok(0),
            Message::Attribute => copy_attribute(value, max, &mut shorter),
            _ => copy(inner, value, max, &mut shorter),
        };
        match copied {
            // As it came, or broken, which others find.
            Ok(0) => out.extend_from_slice(field),
            Err(_) if inner.is_read_by_others() => out.extend_from_slice(field),
            Ok(attributes) => {
                cut += attributes;
                push_length(number, &shorter, out);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Copies an attribute; gives 1 if something was cut.
fn copy_attribute(attribute: &[u8], max: usize, out: &mut Vec<u8>) -> Result<u64, WireError> {
    let mut fields = Fields::new(attribute);
    let mut is_cut = false;
    loop {
        let before = fields.rest();
        let Some((number, value)) = fields.read()? else {
            return Ok(u64::from(is_cut));
        };
        match number {
            1 => {
                let key = value.bytes(number)?;
                is_cut |= key.len() > max;
                push_length(number, shortened(key, max), out);
            }
            2 => {
                let mut shorter = Vec::new();
                is_cut |= copy_value(value.bytes(number)?, max, &mut shorter)?;
                push_length(number, &shorter, out);
            }
            _ => {
                let field = before.len() - fields.rest().len();
                out.extend_from_slice(before.get(..field).unwrap_or_default());
            }
        }
    }
}

/// Copies a value; says whether its text was cut.
fn copy_value(value: &[u8], max: usize, out: &mut Vec<u8>) -> Result<bool, WireError> {
    let mut fields = Fields::new(value);
    let mut is_cut = false;
    loop {
        let before = fields.rest();
        let Some((number, value)) = fields.read()? else {
            return Ok(is_cut);
        };
        if number == 1 {
            let text = value.bytes(number)?;
            is_cut |= text.len() > max;
            push_length(number, shortened(text, max), out);
        } else {
            let field = before.len() - fields.rest().len();
            out.extend_from_slice(before.get(..field).unwrap_or_default());
        }
    }
}

/// The text up to `max` bytes, without half a character at its end.
fn shortened(text: &[u8], max: usize) -> &[u8] {
    let Some((short, rest)) = text.split_at_checked(max) else {
        return text;
    };
    let is_inside = |byte: &u8| byte & 0xc0 == 0x80;
    if !rest.first().is_some_and(is_inside) {
        return short;
    }
    // A character has four bytes at most; what has more of them is not text.
    let inside = short
        .iter()
        .rev()
        .take(3)
        .take_while(|byte| is_inside(byte));
    let end = short.len() - inside.count();
    short.get(..end.saturating_sub(1)).unwrap_or(short)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::otlp::collector::ExportTraceServiceRequest;
    use proto::otlp::common::any_value::Value;
    use proto::otlp::common::{AnyValue, InstrumentationScope, KeyValue};
    use proto::otlp::resource::Resource;
    use proto::otlp::trace::span::{Event, Link};
    use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    fn attribute(key: &str, value: Value) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    }

    fn text(key: &str, value: &str) -> KeyValue {
        attribute(key, Value::StringValue(value.to_owned()))
    }

    /// A request with these attributes everywhere where there are any, and a span without.
    fn request(attributes: &[KeyValue]) -> ExportTraceServiceRequest {
        let attributes = attributes.to_vec();
        let span = Span {
            name: "a".repeat(100),
            trace_id: vec![1; 16],
            attributes: attributes.clone(),
            events: vec![Event {
                name: "b".repeat(100),
                attributes: attributes.clone(),
                ..Event::default()
            }],
            links: vec![Link {
                trace_state: "c".repeat(100),
                attributes: attributes.clone(),
                ..Link::default()
            }],
            ..Span::default()
        };
        let plain = Span {
            name: "plain".repeat(100),
            ..Span::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: attributes.clone(),
                    ..Resource::default()
                }),
                scope_spans: vec![ScopeSpans {
                    scope: Some(InstrumentationScope {
                        name: "d".repeat(100),
                        attributes,
                        ..InstrumentationScope::default()
                    }),
                    spans: vec![span, plain],
                    schema_url: "e".repeat(100),
                }],
                schema_url: "f".repeat(100),
            }],
        }
    }

    #[test]
    fn nothing_is_rewritten_where_nothing_is_too_long() {
        let exact = request(&[text(&"k".repeat(20), &"v".repeat(20))]).encode_to_vec();
        assert_eq!(truncate(&exact, 20), Ok(None));
        assert_eq!(truncate(&[], 20), Ok(None));
        let bytes = attribute("k", Value::BytesValue(vec![1; 50]));
        assert_eq!(truncate(&request(&[bytes]).encode_to_vec(), 20), Ok(None));
    }

    #[test]
    fn long_keys_and_values_are_cut_wherever_attributes_are() {
        let kept = [
            attribute("n", Value::IntValue(-5)),
            attribute("bytes", Value::BytesValue(vec![1; 50])),
            text("short", "stays"),
        ];
        let with = |first: KeyValue, second: KeyValue| {
            let mut all = kept.to_vec();
            all.extend([first, second]);
            request(&all)
        };
        let sent = with(text(&"k".repeat(21), "v"), text("key", &"v".repeat(5_000)));
        let want = with(text(&"k".repeat(20), "v"), text("key", &"v".repeat(20)));
        let cut = truncate(&sent.encode_to_vec(), 20).unwrap().unwrap();
        assert_eq!(cut.attributes, 5 * 2);
        let got = ExportTraceServiceRequest::decode(&cut.request[..]).unwrap();
        assert_eq!(got, want);
    }

    #[test]
    fn text_is_cut_between_characters() {
        for (text, max, want) in [
            ("abcdef", 4, "abcd"),
            ("abcä", 4, "abc"),
            ("abä!", 4, "abä"),
            ("a€€", 4, "a€"),
            ("a€€", 3, "a"),
            ("a\u{1f600}z", 4, "a"),
            ("a\u{1f600}z", 5, "a\u{1f600}"),
        ] {
            let got = shortened(text.as_bytes(), max);
            assert_eq!(std::str::from_utf8(got).unwrap(), want, "{text} {max}");
        }
        assert_eq!(shortened(&[0x80; 10], 8).len(), 4);
    }

    #[test]
    fn broken_span_stays_as_it_is_and_its_neighbour_is_cut() {
        let scope = |spans: &[&[u8]]| {
            let mut scope_spans = Vec::new();
            for span in spans {
                push_length(2, span, &mut scope_spans);
            }
            let mut resource_spans = Vec::new();
            push_length(2, &scope_spans, &mut resource_spans);
            let mut request = Vec::new();
            push_length(1, &resource_spans, &mut request);
            request
        };
        let of = |value: &str| {
            let span = Span {
                attributes: vec![text("k", value)],
                ..Span::default()
            };
            span.encode_to_vec()
        };
        // It ends within a field.
        let mut broken = of(&"v".repeat(50));
        broken.pop();
        let sent = scope(&[&broken, &of(&"v".repeat(30))]);
        let cut = truncate(&sent, 20).unwrap().unwrap();
        assert_eq!(cut.attributes, 1);
        assert_eq!(cut.request, scope(&[&broken, &of(&"v".repeat(20))]));
        let frame = [0x0a, 100, 1];
        assert_eq!(truncate(&frame, 1), Err(WireError::Truncated));
    }
}
