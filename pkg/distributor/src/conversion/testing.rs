//! What was written, as OTLP's own messages.

use std::collections::BTreeMap;

use prost::Message;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::common::any_value::Value as Any;
use proto::otlp::common::{AnyValue, KeyValue};
use proto::otlp::trace::{ResourceSpans, Span};

/// Attributes by key; each key once.
pub(super) type Map = BTreeMap<String, Any>;

pub(super) fn decode(request: &[u8]) -> Vec<ResourceSpans> {
    let request = ExportTraceServiceRequest::decode(request).unwrap();
    request.resource_spans
}

/// The only span, and the attributes of its resource.
pub(super) fn only(request: &[u8]) -> (Map, Span) {
    let mut spans = all(request);
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

/// Each span with the attributes of its resource.
pub(super) fn all(request: &[u8]) -> Vec<(Map, Span)> {
    let mut spans = Vec::new();
    for group in decode(request) {
        let resource = map(&group.resource.unwrap().attributes);
        for scope in group.scope_spans {
            spans.extend(scope.spans.into_iter().map(|span| (resource.clone(), span)));
        }
    }
    spans
}

pub(super) fn map(attributes: &[KeyValue]) -> Map {
    let pair = |attribute: &KeyValue| {
        let AnyValue { value } = attribute.value.clone().unwrap();
        (attribute.key.clone(), value.unwrap())
    };
    let map: Map = attributes.iter().map(pair).collect();
    assert_eq!(map.len(), attributes.len());
    map
}

pub(super) fn texts(pairs: &[(&str, &str)]) -> Map {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), text(value));
    pairs.iter().map(pair).collect()
}

pub(super) fn text(text: &str) -> Any {
    Any::StringValue(text.to_owned())
}

/// `hex("0a")` is one byte.
pub(super) fn hex(digits: &str) -> Vec<u8> {
    let digits = digits.as_bytes();
    let pairs = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}
