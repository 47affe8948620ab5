//! The borrowed view reads what prost reads.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../fuzz/agreement.rs"]
#[allow(unreachable_pub, reason = "the fuzz target uses it from outside")]
mod agreement;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::common::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use proto::otlp::resource::Resource;
use proto::otlp::trace::span::{Event, Link};
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, Status};

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        ".{0,6}".prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        any::<f64>().prop_map(Value::DoubleValue),
        vec(any::<u8>(), 0..6).prop_map(Value::BytesValue),
    ];
    let any = |leaf: BoxedStrategy<Value>| {
        option::weighted(0.9, leaf).prop_map(|value| AnyValue { value })
    };
    let nested = leaf.boxed().prop_recursive(3, 12, 3, move |inner| {
        let values = vec(any(inner.clone()), 0..3);
        let pairs = vec(("[a-z]{0,3}", any(inner)), 0..3);
        prop_oneof![
            values.prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            pairs.prop_map(|pairs| Value::KvlistValue(KeyValueList {
                values: pairs
                    .into_iter()
                    .map(|(key, value)| KeyValue {
                        key,
                        value: Some(value),
                        ..KeyValue::default()
                    })
                    .collect(),
            })),
        ]
    });
    any(nested.boxed())
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let attribute = ("[a-z.]{0,20}", option::of(value())).prop_map(|(key, value)| KeyValue {
        key,
        value,
        ..KeyValue::default()
    });
    vec(attribute, 0..4)
}

fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), length), vec(any::<u8>(), 0..20)]
}

fn span() -> impl Strategy<Value = Span> {
    let event = (any::<u64>(), ".{0,5}", attributes()).prop_map(|(time, name, attributes)| Event {
        time_unix_nano: time,
        name,
        attributes,
        ..Event::default()
    });
    let link = (id(16), id(8), attributes()).prop_map(|(trace_id, span_id, attributes)| Link {
        trace_id,
        span_id,
        attributes,
        ..Link::default()
    });
    let status = (".{0,5}", 0..4).prop_map(|(message, code)| Status { message, code });
    (
        (id(16), id(8), id(8), ".{0,9}", "[a-z=;:]{0,9}"),
        (any::<i32>(), any::<u64>(), any::<u64>(), any::<u32>()),
        (attributes(), vec(event, 0..2), vec(link, 0..2)),
        option::of(status),
    )
        .prop_map(
            |(
                (trace_id, span_id, parent_span_id, name, trace_state),
                (kind, start_time_unix_nano, end_time_unix_nano, flags),
                (attributes, events, links),
                status,
            )| Span {
                trace_id,
                span_id,
                parent_span_id,
                name,
                trace_state,
                kind,
                start_time_unix_nano,
                end_time_unix_nano,
                attributes,
                events,
                links,
                status,
                flags,
                ..Span::default()
            },
        )
}

fn request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope_spans =
        (vec(span(), 0..3), option::of(".{0,5}")).prop_map(|(spans, scope)| ScopeSpans {
            spans,
            scope: scope.map(|name| InstrumentationScope {
                name,
                ..InstrumentationScope::default()
            }),
            ..ScopeSpans::default()
        });
    let resource_spans =
        (vec(scope_spans, 0..3), option::of(attributes())).prop_map(|(scope_spans, attributes)| {
            ResourceSpans {
                scope_spans,
                resource: attributes.map(|attributes| Resource {
                    attributes,
                    ..Resource::default()
                }),
                ..ResourceSpans::default()
            }
        });
    vec(resource_spans, 0..3)
        .prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

proptest! {
    /// forall requests: the view reads what prost reads.
    #[test]
    fn view_agrees_with_prost(request in request()) {
        agreement::check(&request.encode_to_vec());
    }

    /// forall requests with a byte changed: reading ends, and agrees with
    /// prost if prost still takes it.
    #[test]
    fn damaged_requests_do_no_harm(
        request in request(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = request.encode_to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        agreement::check(&bytes);
    }
}
