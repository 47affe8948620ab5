use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use proto::jaeger;
use proto::otlp::common::any_value::Value as Any;
use proto::otlp::trace::span::SpanKind as Kind;
use proto::otlp::trace::status::StatusCode as Code;

use super::super::ThriftEncoding;
use super::super::testing::{all, decode, map, only, text, texts};
use super::*;

mod thrift_writer;

use self::thrift_writer::{Batch, Tag};

const TRACE: [u8; 16] = *b"0123456789abcdef";
const START: u64 = 1_700_000_000_000_000;

fn tag(key: &str, value: &str) -> jaeger::KeyValue {
    jaeger::KeyValue {
        key: key.into(),
        v_str: value.into(),
        ..Default::default()
    }
}

fn span(tags: Vec<jaeger::KeyValue>) -> jaeger::Span {
    jaeger::Span {
        trace_id: TRACE.into(),
        span_id: vec![1; 8],
        operation_name: "GET /".into(),
        start_time: Some(jaeger::Timestamp {
            seconds: 1_700_000_000,
            nanos: 5,
        }),
        duration: Some(jaeger::Duration {
            seconds: 1,
            nanos: 500_000_000,
        }),
        tags,
        ..Default::default()
    }
}

fn request(spans: Vec<jaeger::Span>, process: Option<jaeger::Process>) -> Vec<u8> {
    jaeger::PostSpansRequest {
        batch: Some(jaeger::Batch { spans, process }),
    }
    .encode_to_vec()
}

fn convert(span: jaeger::Span) -> proto::otlp::trace::Span {
    only(&post_spans(&request(vec![span], None)).unwrap()).1
}

#[test]
fn fields_of_a_span_become_those_of_otlp() {
    let mut sent = span(vec![
        jaeger::KeyValue {
            key: "b".into(),
            v_type: 1,
            v_bool: true,
            ..Default::default()
        },
        jaeger::KeyValue {
            key: "i".into(),
            v_type: 2,
            v_int64: -7,
            ..Default::default()
        },
        jaeger::KeyValue {
            key: "d".into(),
            v_type: 3,
            v_float64: 0.5,
            ..Default::default()
        },
        jaeger::KeyValue {
            key: "x".into(),
            v_type: 4,
            v_binary: vec![255],
            ..Default::default()
        },
        tag("t", "old"),
        tag("t", "text"),
        tag("span.kind", "server"),
        tag("w3c.tracestate", "a=b"),
        tag("otel.scope.name", "lib"),
        tag("otel.scope.version", "1"),
    ]);
    sent.logs = vec![jaeger::Log {
        timestamp: Some(jaeger::Timestamp {
            seconds: 1,
            nanos: 2,
        }),
        fields: vec![tag("event", "retry"), tag("message", "again")],
    }];
    let written = post_spans(&request(vec![sent], None)).unwrap();
    let scope = decode(&written)[0].scope_spans[0].scope.clone().unwrap();
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("lib", "1"));
    let (_, span) = only(&written);
    assert_eq!((span.trace_id, span.span_id), (TRACE.to_vec(), vec![1; 8]));
    assert_eq!(span.parent_span_id, [0_u8; 0]);
    assert_eq!(
        (span.name.as_str(), span.trace_state.as_str()),
        ("GET /", "a=b")
    );
    assert_eq!(span.kind, Kind::Server as i32);
    assert_eq!(span.start_time_unix_nano, 1_700_000_000_000_000_005);
    assert_eq!(span.end_time_unix_nano, 1_700_000_001_500_000_005);
    let mut want = texts(&[("t", "text")]);
    want.insert("b".into(), Any::BoolValue(true));
    want.insert("i".into(), Any::IntValue(-7));
    want.insert("d".into(), Any::DoubleValue(0.5));
    want.insert("x".into(), Any::BytesValue(vec![255]));
    assert_eq!(map(&span.attributes), want);
    assert_eq!(span.events.len(), 1);
    let event = &span.events[0];
    assert_eq!(
        (event.time_unix_nano, event.name.as_str()),
        (1_000_000_002, "retry")
    );
    assert_eq!(map(&event.attributes), texts(&[("message", "again")]));
}

#[test]
fn process_becomes_the_resource_and_a_spans_own_comes_first() {
    let process = |name: &str, tags| jaeger::Process {
        service_name: name.into(),
        tags,
    };
    let shop = process(
        "shop",
        vec![
            tag("hostname", "h"),
            tag("jaeger.version", "Go-1"),
            tag("k", "v"),
        ],
    );
    let mut own = span(vec![]);
    own.process = Some(process(
        "cart",
        vec![tag("host.name", "a"), tag("hostname", "b")],
    ));
    let none = process("OTLPResourceNoServiceName", vec![]);
    let written = post_spans(&request(vec![span(vec![]), own, span(vec![])], Some(shop))).unwrap();
    let resources: Vec<_> = all(&written)
        .into_iter()
        .map(|(resource, _)| resource)
        .collect();
    let of_batch = texts(&[
        ("service.name", "shop"),
        ("host.name", "h"),
        ("opencensus.exporterversion", "Jaeger-Go-1"),
        ("k", "v"),
    ]);
    let of_span = texts(&[
        ("service.name", "cart"),
        ("host.name", "a"),
        ("hostname", "b"),
    ]);
    assert_eq!(resources, [of_batch.clone(), of_batch, of_span]);
    let written = post_spans(&request(vec![span(vec![])], Some(none))).unwrap();
    assert_eq!(only(&written).0, texts(&[]));
}

#[test]
fn kinds_are_those_of_the_tag() {
    for (name, want) in [
        ("client", Kind::Client),
        ("server", Kind::Server),
        ("producer", Kind::Producer),
        ("consumer", Kind::Consumer),
        ("internal", Kind::Internal),
        ("other", Kind::Unspecified),
    ] {
        let span = convert(span(vec![tag("span.kind", name)]));
        assert_eq!(
            (span.kind, span.attributes),
            (want as i32, vec![]),
            "{name}"
        );
    }
}

#[test]
fn status_is_of_error_then_of_otel_then_of_http() {
    let error = |value| jaeger::KeyValue {
        key: "error".into(),
        v_type: 1,
        v_bool: value,
        ..Default::default()
    };
    let http = |value: i64| jaeger::KeyValue {
        key: "http.status_code".into(),
        v_type: 2,
        v_int64: value,
        ..Default::default()
    };
    for (name, tags, want, message, left) in [
        ("nothing", vec![], Code::Unset, "", 0),
        ("error", vec![error(true)], Code::Error, "", 0),
        ("no error", vec![error(false)], Code::Unset, "", 1),
        (
            "error as text",
            vec![tag("error", "true")],
            Code::Unset,
            "",
            1,
        ),
        (
            "error with description",
            vec![error(true), tag("otel.status_description", "boom")],
            Code::Error,
            "boom",
            0,
        ),
        (
            "error over ok",
            vec![error(true), tag("otel.status_code", "OK")],
            Code::Error,
            "",
            0,
        ),
        ("ok", vec![tag("otel.status_code", "ok")], Code::Ok, "", 0),
        (
            "declared error",
            vec![
                tag("otel.status_code", "ERROR"),
                tag("otel.status_description", "d"),
            ],
            Code::Error,
            "d",
            0,
        ),
        ("500", vec![http(500)], Code::Error, "", 1),
        (
            "500 as text",
            vec![
                tag("http.status_code", "500"),
                tag("http.status_message", "m"),
            ],
            Code::Error,
            "m",
            2,
        ),
        ("404", vec![http(404)], Code::Error, "", 1),
        (
            "404 of a server",
            vec![http(404), tag("span.kind", "server")],
            Code::Unset,
            "",
            1,
        ),
        ("302", vec![http(302)], Code::Unset, "", 1),
        (
            "500 but ok",
            vec![http(500), tag("otel.status_code", "OK")],
            Code::Ok,
            "",
            1,
        ),
    ] {
        let span = convert(span(tags));
        let status = span.status.unwrap();
        let found = (status.code, status.message.as_str(), span.attributes.len());
        assert_eq!(found, (want as i32, message, left), "{name}");
    }
}

#[test]
fn parent_is_the_first_child_of_reference_within_the_trace() {
    let reference = |trace: [u8; 16], span: u8, follows: bool| jaeger::SpanRef {
        trace_id: trace.into(),
        span_id: vec![span; 8],
        ref_type: i32::from(follows),
    };
    let other = [9; 16];
    for (name, references, parent, links) in [
        ("none", vec![], vec![], 0),
        ("child of", vec![reference(TRACE, 2, false)], vec![2; 8], 0),
        (
            "child of before follows from",
            vec![reference(TRACE, 3, true), reference(TRACE, 2, false)],
            vec![2; 8],
            1,
        ),
        (
            "follows from",
            vec![reference(TRACE, 3, true)],
            vec![3; 8],
            1,
        ),
        ("another trace", vec![reference(other, 2, false)], vec![], 1),
    ] {
        let mut sent = span(vec![]);
        sent.references = references;
        let span = convert(sent);
        assert_eq!(
            (span.parent_span_id, span.links.len()),
            (parent, links),
            "{name}"
        );
    }
    let mut sent = span(vec![]);
    sent.references = vec![reference(TRACE, 2, false), reference(other, 4, true)];
    let link = &convert(sent).links[0];
    assert_eq!(
        (link.trace_id.as_slice(), link.span_id.as_slice()),
        (&other[..], &[4; 8][..])
    );
    let want = texts(&[("opentracing.ref_type", "follows_from")]);
    assert_eq!(map(&link.attributes), want);
}

#[test]
fn short_trace_ids_are_filled_and_other_lengths_are_left_to_validation() {
    let mut short = span(vec![]);
    short.trace_id = vec![5; 8];
    let want = [[0; 8], [5; 8]].concat();
    assert_eq!(convert(short).trace_id, want);
    let mut wrong = span(vec![]);
    (wrong.trace_id, wrong.span_id) = (vec![5; 7], vec![5; 9]);
    let wrong = convert(wrong);
    assert_eq!((wrong.trace_id.len(), wrong.span_id.len()), (0, 0));
}

#[test]
fn broken_span_is_refused_without_its_neighbours() {
    let good = span(vec![]).encode_to_vec();
    // A tag whose bytes end early.
    let broken = [good.as_slice(), b"\x42\x02\x0a\x05"].concat();
    let field = |bytes: &[u8]| {
        let mut field = vec![0x0a];
        prost::encode_length_delimiter(bytes.len(), &mut field).unwrap();
        field.extend(bytes);
        field
    };
    let request = field(&[&good, &broken, &good].map(|span| field(span)).concat());
    let written = post_spans(&request).unwrap();
    let checked = otlp::validate::check(&written).unwrap();
    assert_eq!((checked.spans, checked.rejected.malformed), (3, 1));
    assert!(post_spans(b"\x0a\x05\x0a").is_err());
}

/// What comes out stays within a multiple of what came in.
#[test]
fn process_is_written_once_however_spans_differ() {
    let long = "x".repeat(10_000);
    let process = jaeger::Process {
        service_name: long.clone(),
        tags: vec![],
    };
    let of_library = |number: usize| {
        let mut sent = span(vec![tag("otel.scope.name", ["a", "b"][number % 2])]);
        if number.is_multiple_of(3) {
            sent.process = Some(jaeger::Process::default());
        }
        sent
    };
    let spans: Vec<_> = (0..300).map(of_library).collect();
    let request = request(spans, Some(process));
    let written = post_spans(&request).unwrap();
    assert_eq!(all(&written).len(), 300);
    assert!(written.len() < 3 * request.len(), "{}", written.len());
    let groups = decode(&written);
    let longs = groups.iter().filter(|group| {
        let resource = map(&group.resource.clone().unwrap().attributes);
        resource.get("service.name") == Some(&text(&long))
    });
    assert_eq!(longs.count(), 1);
}

#[test]
fn spans_keep_so_many_attributes_and_say_how_many_they_had() {
    let tags = (0..1_100)
        .map(|number| tag(&number.to_string(), ""))
        .collect();
    let span = convert(span(tags));
    let kept = (span.attributes.len(), span.dropped_attributes_count);
    assert_eq!(kept, (1_024, 76));
}

#[test]
fn thrift_of_both_encodings_and_ways_is_read_alike() {
    let sent = Batch::example();
    let over_http = batch(&sent.body(ThriftEncoding::Binary)).unwrap();
    let (resource, span) = only(&over_http);
    assert_eq!(resource, texts(&[("service.name", "shop"), ("k", "v")]));
    assert_eq!(
        span.trace_id,
        [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    );
    assert_eq!(span.span_id, [0, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(span.parent_span_id, [255; 8]);
    assert_eq!(
        (span.name.as_str(), span.kind),
        ("GET /", Kind::Client as i32)
    );
    assert_eq!(span.start_time_unix_nano, START * 1_000);
    assert_eq!(span.end_time_unix_nano, (START + 1_500_000) * 1_000);
    let mut want = texts(&[("t", "text")]);
    want.insert("i".into(), Any::IntValue(-7));
    want.insert("d".into(), Any::DoubleValue(0.5));
    want.insert("b".into(), Any::BoolValue(true));
    want.insert("x".into(), Any::BytesValue(vec![255]));
    assert_eq!(map(&span.attributes), want);
    assert_eq!(
        (span.events[0].name.as_str(), span.events[0].time_unix_nano),
        ("e", 9_000)
    );
    assert_eq!(span.links[0].span_id, [0, 0, 0, 0, 0, 0, 0, 6]);
    for encoding in [ThriftEncoding::Binary, ThriftEncoding::Compact] {
        let call = sent.call(encoding, b"emitBatch");
        assert_eq!(
            datagram(encoding, &call).unwrap(),
            over_http,
            "{encoding:?}"
        );
        let other = sent.call(encoding, b"emitZipkinBatch");
        assert!(datagram(encoding, &other).is_err(), "{encoding:?}");
    }
}

#[test]
fn thrift_that_ends_early_is_refused() {
    for encoding in [ThriftEncoding::Binary, ThriftEncoding::Compact] {
        let call = Batch::example().call(encoding, b"emitBatch");
        // The last byte ends the arguments, behind the batch.
        for end in 0..call.len() - 1 {
            assert!(
                datagram(encoding, &call[..end]).is_err(),
                "{encoding:?} {end}"
            );
        }
    }
}

#[test]
fn times_below_zero_are_zero() {
    let mut sent = Batch::example();
    (sent.start, sent.duration) = (-5, -5);
    let (_, span) = only(&batch(&sent.body(ThriftEncoding::Binary)).unwrap());
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (0, 0));
    (sent.start, sent.duration) = (i64::MAX, i64::MAX);
    let (_, span) = only(&batch(&sent.body(ThriftEncoding::Binary)).unwrap());
    assert_eq!(span.end_time_unix_nano, u64::MAX);
}

fn sent() -> impl Strategy<Value = Batch> {
    let tag = prop_oneof![
        ".{0,5}".prop_map(Tag::Text),
        any::<bool>().prop_map(Tag::Bool),
        any::<i64>().prop_map(Tag::Int),
        any::<i32>().prop_map(|number| Tag::Double(f64::from(number) / 4.0)),
        vec(any::<u8>(), 0..5).prop_map(Tag::Bytes),
    ];
    let tags = vec(("[a-z]{1,9}", tag), 0..20);
    let ids = (any::<i64>(), 1..i64::MAX, 1..i64::MAX, any::<i64>());
    let times = (0_i64..1 << 52, 0_i64..1 << 40);
    ("\\PC{0,9}", ids, ".{0,9}", times, tags).prop_map(|(service, ids, operation, times, tags)| {
        Batch {
            service,
            trace_id: (ids.0, ids.1),
            span_id: ids.2,
            parent: ids.3,
            operation,
            start: times.0,
            duration: times.1,
            tags,
            ..Batch::example()
        }
    })
}

proptest! {
    /// Forall spans: what Thrift in both encodings and protobuf say is one and the
    /// same OTLP.
    #[test]
    fn all_encodings_of_a_span_become_the_same(sent in sent()) {
        let thrift = batch(&sent.body(ThriftEncoding::Binary)).unwrap();
        let call = sent.call(ThriftEncoding::Compact, b"emitBatch");
        let compact = datagram(ThriftEncoding::Compact, &call);
        prop_assert_eq!(&compact.unwrap(), &thrift);
        let protobuf = post_spans(&sent.protobuf()).unwrap();
        let (of_thrift, of_protobuf) = (only(&thrift), only(&protobuf));
        prop_assert_eq!(of_thrift, of_protobuf);
        let (resource, span) = only(&thrift);
        if !sent.service.is_empty() {
            prop_assert_eq!(resource.get("service.name"), Some(&text(&sent.service)));
        }
        prop_assert_eq!(span.name, sent.operation);
        for (key, value) in map(&span.attributes) {
            let (_, last) = sent.tags.iter().rfind(|(known, _)| *known == key).unwrap();
            prop_assert_eq!(value, last.as_any());
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        for written in [
            post_spans(&bytes),
            batch(&bytes),
            datagram(ThriftEncoding::Binary, &bytes),
            datagram(ThriftEncoding::Compact, &bytes),
        ].into_iter().flatten() {
            otlp::validate::check(&written).unwrap();
        }
    }
}
