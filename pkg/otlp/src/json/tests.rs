use proptest::prelude::*;
use prost::Message as _;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::common::any_value::Value as Any;
use proto::otlp::common::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use proto::otlp::resource::Resource;
use proto::otlp::trace::span::{Event, Link};
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, Status};
use serde_json::{Map, Value as Json, json};

use super::*;

fn decoded(json: &str) -> ExportTraceServiceRequest {
    let bytes = to_protobuf(json.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{json}"));
    ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap()
}

fn one_span(span: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#)
}

fn span(json: &str) -> Span {
    decoded(&one_span(json)).resource_spans[0].scope_spans[0].spans[0].clone()
}

fn error(json: &str) -> JsonError {
    to_protobuf(json.as_bytes()).unwrap_err()
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..Default::default()
    }
}

/// Source: opentelemetry-proto, `examples/trace.json`.
#[test]
fn published_example_is_read() {
    let request = decoded(
        r#"{
          "resourceSpans": [{
            "resource": {"attributes": [
              {"key": "service.name", "value": {"stringValue": "my.service"}}
            ]},
            "scopeSpans": [{
              "scope": {
                "name": "my.library",
                "version": "1.0.0",
                "attributes": [
                  {"key": "my.scope.attribute", "value": {"stringValue": "some scope attribute"}}
                ]
              },
              "spans": [{
                "traceId": "5B8EFFF798038103D269B633813FC60C",
                "spanId": "EEE19B7EC3C1B174",
                "parentSpanId": "EEE19B7EC3C1B173",
                "name": "I'm a server span",
                "startTimeUnixNano": "1544712660000000000",
                "endTimeUnixNano": "1544712661000000000",
                "kind": 2,
                "attributes": [
                  {"key": "my.span.attr", "value": {"stringValue": "some value"}}
                ]
              }]
            }]
          }]
        }"#,
    );
    let want = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![attribute(
                    "service.name",
                    Any::StringValue("my.service".into()),
                )],
                ..Default::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "my.library".into(),
                    version: "1.0.0".into(),
                    attributes: vec![attribute(
                        "my.scope.attribute",
                        Any::StringValue("some scope attribute".into()),
                    )],
                    ..Default::default()
                }),
                spans: vec![Span {
                    trace_id: vec![
                        0x5b, 0x8e, 0xff, 0xf7, 0x98, 0x03, 0x81, 0x03, 0xd2, 0x69, 0xb6, 0x33,
                        0x81, 0x3f, 0xc6, 0x0c,
                    ],
                    span_id: vec![0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x74],
                    parent_span_id: vec![0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x73],
                    name: "I'm a server span".into(),
                    kind: 2,
                    start_time_unix_nano: 1_544_712_660_000_000_000,
                    end_time_unix_nano: 1_544_712_661_000_000_000,
                    attributes: vec![attribute(
                        "my.span.attr",
                        Any::StringValue("some value".into()),
                    )],
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    assert_eq!(request, want);
}

#[test]
fn integers_are_read_from_text_and_from_numbers() {
    for json in [
        r#"{"startTimeUnixNano":"1700000000000000001","flags":"3","kind":3}"#,
        r#"{"startTimeUnixNano":1700000000000000001,"flags":3,"kind":3.0}"#,
    ] {
        let span = span(json);
        assert_eq!(span.start_time_unix_nano, 1_700_000_000_000_000_001);
        assert_eq!((span.flags, span.kind), (3, 3));
    }
}

#[test]
fn each_type_of_attribute_is_read() {
    for (json, want) in [
        (r#"{"stringValue":""}"#, Any::StringValue(String::new())),
        (r#"{"boolValue":false}"#, Any::BoolValue(false)),
        (
            r#"{"intValue":"-9223372036854775808"}"#,
            Any::IntValue(i64::MIN),
        ),
        (r#"{"intValue":0}"#, Any::IntValue(0)),
        (r#"{"intValue":1e3}"#, Any::IntValue(1000)),
        (r#"{"doubleValue":0}"#, Any::DoubleValue(0.0)),
        (r#"{"doubleValue":-2}"#, Any::DoubleValue(-2.0)),
        (r#"{"doubleValue":"1.5"}"#, Any::DoubleValue(1.5)),
        (
            r#"{"doubleValue":"Infinity"}"#,
            Any::DoubleValue(f64::INFINITY),
        ),
        (
            r#"{"doubleValue":"-Infinity"}"#,
            Any::DoubleValue(f64::NEG_INFINITY),
        ),
        (
            r#"{"bytesValue":"+/8="}"#,
            Any::BytesValue(vec![0xfb, 0xff]),
        ),
        (r#"{"bytesValue":"-_8"}"#, Any::BytesValue(vec![0xfb, 0xff])),
        (
            r#"{"arrayValue":{"values":[{"intValue":"1"},null,{}]}}"#,
            Any::ArrayValue(ArrayValue {
                values: vec![
                    AnyValue {
                        value: Some(Any::IntValue(1)),
                    },
                    AnyValue { value: None },
                ],
            }),
        ),
        (
            r#"{"kvlistValue":{"values":[{"key":"k","value":{"boolValue":true}}]}}"#,
            Any::KvlistValue(KeyValueList {
                values: vec![attribute("k", Any::BoolValue(true))],
            }),
        ),
    ] {
        let span = span(&format!(
            r#"{{"attributes":[{{"key":"a","value":{json}}}]}}"#
        ));
        assert_eq!(span.attributes, [attribute("a", want)], "{json}");
    }
    let nan = span(r#"{"attributes":[{"key":"a","value":{"doubleValue":"NaN"}}]}"#);
    let value = nan.attributes[0].value.clone().unwrap().value;
    assert!(matches!(value, Some(Any::DoubleValue(number)) if number.is_nan()));
}

#[test]
fn null_is_absent_and_unknown_keys_are_ignored() {
    let span = span(
        r#"{"name":null,"status":null,"attributes":null,"events":[null],"kind":null,
            "trace_id":"5B8EFFF798038103D269B633813FC60C","unknown":[{"deep":[1,2]}],
            "traceId":null,"links":[]}"#,
    );
    assert_eq!(span, Span::default());
}

#[test]
fn empty_requests_are_requests() {
    for json in [
        "{}",
        " { } ",
        r#"{"resourceSpans":[]}"#,
        r#"{"resourceSpans":null}"#,
    ] {
        assert_eq!(
            decoded(json),
            ExportTraceServiceRequest::default(),
            "{json}"
        );
    }
    assert_eq!(
        decoded(r#"{"resourceSpans":[{}]}"#).resource_spans,
        [ResourceSpans::default()]
    );
}

#[test]
fn ids_that_are_not_hexadecimal_get_a_wrong_length() {
    for (json, want) in [
        ("", &b""[..]),
        ("00", &[0]),
        (
            "5b8EFFF798038103D269B633813fC60",
            b"5b8EFFF798038103D269B633813fC60",
        ),
        ("sixteen letters!", b"sixteen letters!?"),
        ("W47/95gDgQPSabYzgT/GDA==", b"W47/95gDgQPSabYzgT/GDA=="),
    ] {
        assert_eq!(
            span(&format!(r#"{{"traceId":"{json}"}}"#)).trace_id,
            want,
            "{json}"
        );
    }
    let long = "g".repeat(1_000_000);
    assert_eq!(
        span(&format!(r#"{{"spanId":"{long}"}}"#)).span_id,
        vec![b'g'; 64]
    );
}

#[test]
fn errors_say_where_and_what_is_accepted() {
    for (json, path, problem) in [
        (
            one_span(r#"{},{"kind":"SPAN_KIND_SERVER"}"#),
            "resourceSpans[0].scopeSpans[0].spans[1].kind",
            "invalid type: string \"SPAN_KIND_SERVER\", expected an integer of 32 bits \
             (OTLP/JSON does not take names of enum values)",
        ),
        (
            one_span(r#"{"attributes":[{"key":"a","value":{"intValue":"9223372036854775808"}}]}"#),
            "resourceSpans[0].scopeSpans[0].spans[0].attributes[0].value.intValue",
            "invalid value: string \"9223372036854775808\", expected an integer of 64 bits, as a \
             number or a string of decimal digits",
        ),
        (
            r#"{"resourceSpans":{}}"#.into(),
            "resourceSpans",
            "invalid type: map, expected a list",
        ),
        (
            r#"{"resourceSpans":[[]]}"#.into(),
            "resourceSpans[0]",
            "invalid type: sequence, expected an object",
        ),
        (
            r#"{"resourceSpans":[{"schemaUrl":7}]}"#.into(),
            "resourceSpans[0].schemaUrl",
            "invalid value: integer `7`, expected a string",
        ),
        (
            "[]".into(),
            "request",
            "invalid type: sequence, expected an object with \"resourceSpans\"",
        ),
        ("{} x".into(), "request", "trailing characters"),
    ] {
        let error = error(&json);
        let (found, _) = error.problem.split_once(" at line ").unwrap();
        assert_eq!((error.path.as_str(), found), (path, problem));
    }
    assert_eq!(
        error("{\n  \"resourceSpans\": 5\n}").to_string(),
        "resourceSpans: invalid value: integer `5`, expected a list at line 2 column 20"
    );
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    for span in [
        r#"{"name":5}"#,
        r#"{"name":true}"#,
        r#"{"name":{}}"#,
        r#"{"traceId":5}"#,
        r#"{"kind":2147483648}"#,
        r#"{"kind":1.5}"#,
        r#"{"kind":"2"}"#,
        r#"{"startTimeUnixNano":-1}"#,
        r#"{"startTimeUnixNano":18446744073709551616}"#,
        r#"{"startTimeUnixNano":"1 "}"#,
        r#"{"flags":4294967296}"#,
        r#"{"droppedEventsCount":"-1"}"#,
        r#"{"status":"ok"}"#,
        r#"{"events":5}"#,
        r#"{"events":true}"#,
        r#"{"events":"none"}"#,
        r#"{"attributes":[{"value":{"boolValue":"true"}}]}"#,
        r#"{"attributes":[{"value":{"boolValue":1}}]}"#,
        r#"{"attributes":[{"value":{"doubleValue":"inf"}}]}"#,
        r#"{"attributes":[{"value":{"bytesValue":"a*"}}]}"#,
    ] {
        error(&one_span(span));
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth| {
        one_span(&format!(
            r#"{{"attributes":[{{"value":{}{}}}]}}"#,
            r#"{"arrayValue":{"values":["#.repeat(depth),
            "]}}".repeat(depth)
        ))
    };
    decoded(&nested(30));
    assert!(
        error(&nested(100_000))
            .problem
            .starts_with("recursion limit exceeded")
    );
    // Under an unknown key nothing is kept, and nothing recurses.
    decoded(&format!(
        r#"{{"x":{}{}}}"#,
        "[".repeat(1_000_000),
        "]".repeat(1_000_000)
    ));
}

#[test]
fn messages_stay_short() {
    let error = error(&one_span(&format!(
        r#"{{"kind":"{}"}}"#,
        "ä\\n".repeat(100_000)
    )));
    assert!(error.problem.len() < 400, "{}", error.problem.len());
    assert!(
        error.problem.ends_with("column 400053"),
        "{}",
        error.problem
    );
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z.]{1,8}", "\\PC{0,200}"]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        text().prop_map(|text| Some(Any::StringValue(text))),
        any::<bool>().prop_map(|value| Some(Any::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(Any::IntValue(value))),
        prop::num::f64::ANY
            .prop_filter("NaN is not equal to itself", |value| !value.is_nan())
            .prop_map(|value| Some(Any::DoubleValue(value))),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Some(Any::BytesValue(bytes))),
    ];
    leaf.prop_map(|value| AnyValue { value })
        .prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|values| AnyValue {
                    value: Some(Any::ArrayValue(ArrayValue { values }))
                }),
                prop::collection::vec((text(), inner), 0..4).prop_map(|entries| AnyValue {
                    value: Some(Any::KvlistValue(KeyValueList {
                        values: entries.into_iter().map(|(k, v)| key_value(k, v)).collect(),
                    }))
                }),
            ]
        })
}

fn key_value(key: String, value: AnyValue) -> KeyValue {
    KeyValue {
        key,
        value: Some(value),
        ..Default::default()
    }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    prop::collection::vec(
        (text(), any_value()).prop_map(|(k, v)| key_value(k, v)),
        0..4,
    )
}

fn bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=longest)
}

prop_compose! {
    fn any_event()(
        time_unix_nano in any::<u64>(),
        name in text(),
        attributes in attributes(),
        dropped_attributes_count in any::<u32>(),
    ) -> Event {
        Event { time_unix_nano, name, attributes, dropped_attributes_count }
    }
}

prop_compose! {
    fn any_link()(
        trace_id in bytes(16),
        span_id in bytes(8),
        trace_state in text(),
        attributes in attributes(),
        (dropped_attributes_count, flags) in any::<(u32, u32)>(),
    ) -> Link {
        Link { trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags }
    }
}

prop_compose! {
    fn any_span()(
        (trace_id, span_id, parent_span_id) in (bytes(17), bytes(9), bytes(8)),
        (trace_state, name, message) in (text(), text(), text()),
        (flags, kind, code) in any::<(u32, i32, i32)>(),
        (start_time_unix_nano, end_time_unix_nano) in any::<(u64, u64)>(),
        attributes in attributes(),
        events in prop::collection::vec(any_event(), 0..3),
        links in prop::collection::vec(any_link(), 0..3),
        dropped in any::<(u32, u32, u32)>(),
        status in any::<bool>(),
    ) -> Span {
        Span {
            trace_id, span_id, trace_state, parent_span_id, flags, name, kind,
            start_time_unix_nano, end_time_unix_nano, attributes, events, links,
            dropped_attributes_count: dropped.0,
            dropped_events_count: dropped.1,
            dropped_links_count: dropped.2,
            status: status.then_some(Status { message, code }),
        }
    }
}

prop_compose! {
    fn any_request()(
        resource in prop::option::of((attributes(), any::<u32>())),
        scope in prop::option::of((text(), text(), attributes(), any::<u32>())),
        (resource_url, scope_url) in (text(), text()),
        spans in prop::collection::vec(any_span(), 0..3),
        repeat in 0_usize..3,
    ) -> ExportTraceServiceRequest {
        let scope_spans = ScopeSpans {
            scope: scope.map(|(name, version, attributes, dropped_attributes_count)| {
                InstrumentationScope { name, version, attributes, dropped_attributes_count }
            }),
            spans,
            schema_url: scope_url,
        };
        let resource_spans = ResourceSpans {
            resource: resource.map(|(attributes, dropped_attributes_count)| {
                Resource { attributes, dropped_attributes_count, ..Default::default() }
            }),
            scope_spans: vec![scope_spans; repeat],
            schema_url: resource_url,
        };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans; repeat] }
    }
}

fn hex(bytes: &[u8], upper: bool) -> String {
    bytes
        .iter()
        .map(|byte| {
            if upper {
                format!("{byte:02X}")
            } else {
                format!("{byte:02x}")
            }
        })
        .collect()
}

/// The plainest writer of OTLP/JSON: every field present, as SDKs do.
struct Writer {
    /// 64-bit integers as text; otherwise as numbers. And ids in upper case.
    text: bool,
}

impl Writer {
    fn number(&self, number: impl Into<Json> + ToString) -> Json {
        if self.text {
            number.to_string().into()
        } else {
            number.into()
        }
    }

    fn attributes(&self, attributes: &[KeyValue]) -> Json {
        let attribute = |attribute: &KeyValue| {
            let value = attribute.value.as_ref().unwrap();
            json!({"key": attribute.key, "value": self.any_value(value)})
        };
        attributes.iter().map(attribute).collect()
    }

    fn any_value(&self, value: &AnyValue) -> Json {
        let (key, value) = match &value.value {
            None => return Json::Object(Map::new()),
            Some(Any::StringValue(text)) => ("stringValue", json!(text)),
            Some(Any::BoolValue(value)) => ("boolValue", json!(value)),
            Some(Any::IntValue(value)) => ("intValue", self.number(*value)),
            Some(Any::DoubleValue(value)) if value.is_finite() => ("doubleValue", json!(value)),
            Some(Any::DoubleValue(value)) if *value > 0.0 => ("doubleValue", json!("Infinity")),
            Some(Any::DoubleValue(_)) => ("doubleValue", json!("-Infinity")),
            Some(Any::ArrayValue(array)) => {
                let values: Json = array
                    .values
                    .iter()
                    .map(|value| self.any_value(value))
                    .collect();
                ("arrayValue", json!({ "values": values }))
            }
            Some(Any::KvlistValue(list)) => (
                "kvlistValue",
                json!({"values": self.attributes(&list.values)}),
            ),
            Some(Any::BytesValue(bytes)) => (
                "bytesValue",
                json!(base64::engine::general_purpose::STANDARD.encode(bytes)),
            ),
            Some(Any::StringValueStrindex(_)) => unreachable!(),
        };
        json!({ key: value })
    }

    fn span(&self, span: &Span) -> Json {
        let event = |event: &Event| {
            json!({
                "timeUnixNano": self.number(event.time_unix_nano),
                "name": event.name,
                "attributes": self.attributes(&event.attributes),
                "droppedAttributesCount": event.dropped_attributes_count,
            })
        };
        let link = |link: &Link| {
            json!({
                "traceId": hex(&link.trace_id, self.text),
                "spanId": hex(&link.span_id, self.text),
                "traceState": link.trace_state,
                "attributes": self.attributes(&link.attributes),
                "droppedAttributesCount": link.dropped_attributes_count,
                "flags": link.flags,
            })
        };
        let status = |status: &Status| json!({"message": status.message, "code": status.code});
        json!({
            "traceId": hex(&span.trace_id, self.text),
            "spanId": hex(&span.span_id, self.text),
            "traceState": span.trace_state,
            "parentSpanId": hex(&span.parent_span_id, self.text),
            "flags": span.flags,
            "name": span.name,
            "kind": span.kind,
            "startTimeUnixNano": self.number(span.start_time_unix_nano),
            "endTimeUnixNano": self.number(span.end_time_unix_nano),
            "attributes": self.attributes(&span.attributes),
            "droppedAttributesCount": span.dropped_attributes_count,
            "events": span.events.iter().map(event).collect::<Json>(),
            "droppedEventsCount": span.dropped_events_count,
            "links": span.links.iter().map(link).collect::<Json>(),
            "droppedLinksCount": span.dropped_links_count,
            "status": span.status.as_ref().map(status),
        })
    }

    fn request(&self, request: &ExportTraceServiceRequest) -> Json {
        let scope_spans = |scope_spans: &ScopeSpans| {
            json!({
                "scope": scope_spans.scope.as_ref().map(|scope| json!({
                    "name": scope.name,
                    "version": scope.version,
                    "attributes": self.attributes(&scope.attributes),
                    "droppedAttributesCount": scope.dropped_attributes_count,
                })),
                "spans": scope_spans.spans.iter().map(|span| self.span(span)).collect::<Json>(),
                "schemaUrl": scope_spans.schema_url,
            })
        };
        let resource_spans = |resource_spans: &ResourceSpans| {
            json!({
                "resource": resource_spans.resource.as_ref().map(|resource| json!({
                    "attributes": self.attributes(&resource.attributes),
                    "droppedAttributesCount": resource.dropped_attributes_count,
                })),
                "scopeSpans": resource_spans.scope_spans.iter().map(scope_spans).collect::<Json>(),
                "schemaUrl": resource_spans.schema_url,
            })
        };
        let all: Json = request.resource_spans.iter().map(resource_spans).collect();
        json!({ "resourceSpans": all })
    }
}

proptest! {
    /// forall requests, both spellings of integers and ids: writing JSON and
    /// reading it gives the request, with the lengths that prost writes.
    #[test]
    fn json_gives_what_prost_gives(request in any_request(), text in any::<bool>()) {
        let json = Writer { text }.request(&request).to_string();
        let bytes = to_protobuf(json.as_bytes()).unwrap();
        let read = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(bytes.len(), read.encoded_len());
        prop_assert_eq!(read, request);
    }

    /// forall bytes near JSON: an answer, whatever it is.
    #[test]
    fn any_text_has_an_answer(text in "[\\[\\]{}\",:a-z0-9\\\\]{0,60}|\\PC{0,40}") {
        let _ = to_protobuf(text.as_bytes());
    }
}
