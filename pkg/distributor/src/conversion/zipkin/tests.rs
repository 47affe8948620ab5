use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use proto::otlp::common::any_value::Value as Any;
use proto::otlp::trace::span::SpanKind as Kind;
use proto::otlp::trace::status::StatusCode as Code;
use proto::zipkin;
use serde_json::{Value as Json, json};

use super::super::testing::{all, decode, hex, map, only, text, texts};
use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const START: u64 = 1_700_000_000_000_000;

fn v2(span: Json) -> (super::super::testing::Map, proto::otlp::trace::Span) {
    let body = json!([span]).to_string();
    only(&v2_json(body.as_bytes(), Options::default()).unwrap())
}

fn v1(span: Json) -> (super::super::testing::Map, proto::otlp::trace::Span) {
    let body = json!([span]).to_string();
    only(&v1_json(body.as_bytes(), Options::default()).unwrap())
}

fn tagged(tags: Json) -> proto::otlp::trace::Span {
    v2(json!({"traceId": TRACE, "id": "1", "timestamp": START, "tags": tags})).1
}

#[test]
fn fields_of_a_span_become_those_of_otlp() {
    let (resource, span) = v2(json!({
        "traceId": TRACE,
        "id": "b7ad6b7169203331",
        "parentId": "00f067aa0ba902b7",
        "kind": "CLIENT",
        "name": "get /\u{e9}\n",
        "timestamp": START,
        "duration": 1500,
        "localEndpoint": {"serviceName": "shop", "ipv4": "10.0.0.1", "port": 80},
        "remoteEndpoint": {
            "serviceName": "cart", "ipv4": "10.0.0.2", "ipv6": "2001:db8::1", "port": 8080
        },
        "annotations": [
            {"timestamp": START + 1, "value": "retry"},
            {"timestamp": START + 2, "value": "e|{\"n\": 1, \"d\": 0.5, \"b\": true, \"t\": \"|\"}|3"},
            {"timestamp": START + 3, "value": "a|b|c"},
        ],
        "tags": {
            "http.method": "GET",
            "w3c.tracestate": "a=b",
            "host.name": "h",
            "process.pid": 7,
            "empty": null,
        },
        "debug": true,
        "shared": true,
        "unknown": [{}],
    }));
    assert_eq!(
        resource,
        texts(&[
            ("service.name", "shop"),
            ("host.name", "h"),
            ("process.pid", "7")
        ])
    );
    assert_eq!(span.trace_id, hex(TRACE));
    assert_eq!(span.span_id, hex("b7ad6b7169203331"));
    assert_eq!(span.parent_span_id, hex("00f067aa0ba902b7"));
    assert_eq!(
        (span.name.as_str(), span.trace_state.as_str()),
        ("get /\u{e9}\n", "a=b")
    );
    assert_eq!(span.kind, Kind::Client as i32);
    assert_eq!(span.start_time_unix_nano, START * 1_000);
    assert_eq!(span.end_time_unix_nano, START * 1_000 + 1_500_000);
    let mut want = texts(&[
        ("http.method", "GET"),
        ("empty", ""),
        ("net.host.ip", "10.0.0.1"),
        ("peer.service", "cart"),
        ("net.peer.ip", "2001:db8::1"),
    ]);
    want.insert("net.host.port".into(), Any::IntValue(80));
    want.insert("net.peer.port".into(), Any::IntValue(8080));
    assert_eq!(map(&span.attributes), want);
    let names: Vec<_> = span
        .events
        .iter()
        .map(|event| event.name.as_str())
        .collect();
    assert_eq!(names, ["retry", "e", "a|b|c"]);
    assert_eq!(span.events[0].time_unix_nano, (START + 1) * 1_000);
    let mut want = texts(&[("t", "|")]);
    want.insert("n".into(), Any::IntValue(1));
    want.insert("d".into(), Any::DoubleValue(0.5));
    want.insert("b".into(), Any::BoolValue(true));
    assert_eq!(map(&span.events[1].attributes), want);
    assert_eq!(span.events[1].dropped_attributes_count, 3);
}

#[test]
fn kinds_are_those_of_zipkin_or_of_the_tag() {
    for (kind, tag, want, left) in [
        ("CLIENT", "internal", Kind::Client, 1),
        ("SERVER", "x", Kind::Server, 1),
        ("PRODUCER", "x", Kind::Producer, 1),
        ("CONSUMER", "x", Kind::Consumer, 1),
        ("", "internal", Kind::Internal, 0),
        ("", "x", Kind::Unspecified, 0),
        ("OTHER", "x", Kind::Unspecified, 0),
    ] {
        let (_, span) = v2(json!({
            "traceId": TRACE, "id": "1", "timestamp": START, "kind": kind,
            "tags": {"span.kind": tag},
        }));
        assert_eq!(
            (span.kind, span.attributes.len()),
            (want as i32, left),
            "{kind} {tag}"
        );
    }
}

#[test]
fn status_is_of_error_or_else_of_otel() {
    for (name, tags, want, message, left) in [
        ("nothing", json!({}), Code::Unset, "", 0),
        ("true", json!({"error": "true"}), Code::Error, "", 0),
        ("false", json!({"error": "false"}), Code::Unset, "", 1),
        ("message", json!({"error": "boom"}), Code::Error, "boom", 1),
        ("empty", json!({"error": ""}), Code::Error, "", 1),
        ("ok", json!({"otel.status_code": "OK"}), Code::Ok, "", 0),
        (
            "by its long name",
            json!({"otel.status_code": "STATUS_CODE_ERROR", "otel.status_description": "d"}),
            Code::Error,
            "d",
            0,
        ),
        (
            "both",
            json!({"otel.status_code": "ERROR", "error": "boom"}),
            Code::Error,
            "boom",
            1,
        ),
        (
            "http",
            json!({"http.status_code": "500"}),
            Code::Unset,
            "",
            1,
        ),
    ] {
        let span = tagged(tags);
        let status = span.status.unwrap();
        let found = (status.code, status.message.as_str(), span.attributes.len());
        assert_eq!(found, (want as i32, message, left), "{name}");
    }
}

#[test]
fn ids_are_filled_and_those_that_cannot_be_right_are_left_to_validation() {
    let zeros = |count: usize| "0".repeat(count);
    for (id, trace, span) in [
        ("1", zeros(31) + "1", zeros(15) + "1"),
        (
            "B7ad6b7169203331",
            zeros(16) + "b7ad6b7169203331",
            "b7ad6b7169203331".into(),
        ),
        (TRACE, TRACE.into(), String::new()),
        ("", String::new(), String::new()),
        ("x", String::new(), String::new()),
        ("+1", String::new(), String::new()),
    ] {
        let (_, found) = v2(json!({"traceId": id, "id": id}));
        assert_eq!(found.trace_id, hex(&trace), "{id}");
        assert_eq!(found.span_id, hex(&span), "{id}");
    }
    let (_, own_parent) = v2(json!({"traceId": TRACE, "id": "7", "parentId": "7"}));
    assert_eq!(own_parent.parent_span_id, [0_u8; 0]);
}

#[test]
fn span_without_a_start_says_so() {
    let (_, span) = v2(json!({"traceId": TRACE, "id": "1", "duration": 2.5, "timestamp": -1}));
    assert_eq!(
        (span.start_time_unix_nano, span.end_time_unix_nano),
        (0, 2_000)
    );
    let absent = "otel.zipkin.absentField.startTime".to_owned();
    assert_eq!(
        map(&span.attributes),
        [(absent, Any::BoolValue(true))].into()
    );
}

#[test]
fn spans_are_grouped_by_service_and_library() {
    let span = |service: &str, library: &str| {
        json!({
            "traceId": TRACE, "id": "1", "timestamp": START,
            "localEndpoint": {"serviceName": service},
            "tags": {"otel.library.name": library, "otel.library.version": "1"},
        })
    };
    let body = json!([
        span("a", "x"),
        span("a", "x"),
        span("a", ""),
        span("", ""),
        null
    ]);
    let written = v2_json(body.to_string().as_bytes(), Options::default()).unwrap();
    let groups: Vec<_> = decode(&written)
        .into_iter()
        .flat_map(|group| {
            let resource = map(&group.resource.unwrap().attributes);
            group.scope_spans.into_iter().map(move |scope| {
                let library = scope.scope.unwrap_or_default();
                (
                    resource.clone(),
                    library.name,
                    library.version,
                    scope.spans.len(),
                )
            })
        })
        .collect();
    let a = texts(&[("service.name", "a")]);
    assert_eq!(
        groups,
        [
            (a.clone(), "x".into(), "1".into(), 2),
            (a, String::new(), String::new(), 1),
            (texts(&[]), String::new(), String::new(), 1),
        ]
    );
}

#[test]
fn each_span_has_the_resource_of_its_own_tags() {
    let span = |host: &str| {
        json!({
            "traceId": TRACE, "id": "1", "localEndpoint": {"serviceName": "a"},
            "tags": {"host.name": host},
        })
    };
    let body = json!([span("x"), span("y")]).to_string();
    let written = v2_json(body.as_bytes(), Options::default()).unwrap();
    let resources: Vec<_> = all(&written)
        .into_iter()
        .map(|(resource, _)| resource)
        .collect();
    let of = |host: &str| texts(&[("service.name", "a"), ("host.name", host)]);
    assert_eq!(resources, [of("x"), of("y")]);
}

#[test]
fn service_is_that_of_a_tag_or_under_the_name_that_one_gives() {
    let service = |tags: Json| {
        v2(json!({
            "traceId": TRACE, "id": "1", "localEndpoint": {"serviceName": "a"}, "tags": tags,
        }))
        .0
    };
    let named = service(json!({"service.name": "b"}));
    assert_eq!(named, texts(&[("service.name", "b")]));
    let source = service(json!({"otlp.service.name.source": "faas.name"}));
    assert_eq!(source, texts(&[("faas.name", "a")]));
}

#[test]
fn broken_span_is_refused_without_its_neighbours() {
    let good = json!({"traceId": TRACE, "id": "1"});
    let body = json!([good, {"traceId": [1]}, 5, good, {"id": {}}]).to_string();
    for convert in [v1_json, v2_json] {
        let written = convert(body.as_bytes(), Options::default()).unwrap();
        let checked = otlp::validate::check(&written).unwrap();
        assert_eq!((checked.spans, checked.rejected.malformed), (5, 3));
    }
    let span = zipkin::Span {
        trace_id: hex(TRACE),
        id: vec![1; 8],
        ..Default::default()
    };
    let mut body = zipkin::ListOfSpans { spans: vec![span] }.encode_to_vec();
    body.extend(b"\x0a\x02\x0a\x05");
    let written = list_of_spans(&body, Options::default()).unwrap();
    let checked = otlp::validate::check(&written).unwrap();
    assert_eq!((checked.spans, checked.rejected.malformed), (2, 1));
}

#[test]
fn what_is_no_list_is_refused() {
    for body in ["", "{}", "[", "[] x", "[{]"] {
        for convert in [v1_json, v2_json] {
            assert!(
                convert(body.as_bytes(), Options::default()).is_err(),
                "{body}"
            );
        }
    }
    assert_eq!(v2_json(b" [] ", Options::default()).unwrap(), b"");
    assert!(list_of_spans(b"\x0a\x05", Options::default()).is_err());
}

#[test]
fn strings_become_numbers_only_where_that_is_asked_for() {
    let tags = json!({"i": "-12", "d": "1.50", "b": "true", "t": "1.", "long": "9".repeat(30)});
    let body = json!([{"traceId": TRACE, "id": "1", "timestamp": START, "tags": tags}]).to_string();
    let options = Options {
        parse_string_tags: true,
    };
    let (_, span) = only(&v2_json(body.as_bytes(), options).unwrap());
    let mut want = texts(&[("t", "1."), ("long", &"9".repeat(30))]);
    want.insert("i".into(), Any::IntValue(-12));
    want.insert("d".into(), Any::DoubleValue(1.5));
    want.insert("b".into(), Any::BoolValue(true));
    assert_eq!(map(&span.attributes), want);
    let (_, span) = only(&v2_json(body.as_bytes(), Options::default()).unwrap());
    assert_eq!(map(&span.attributes)["i"], text("-12"));
}

fn endpoint(service: &str) -> Json {
    json!({"serviceName": service, "ipv4": "10.0.0.1", "port": 80})
}

#[test]
fn annotations_of_version_1_give_kind_time_and_service() {
    for (first, last, want) in [
        ("cs", "cr", Kind::Client),
        ("sr", "ss", Kind::Server),
        ("ms", "ms", Kind::Producer),
        ("mr", "mr", Kind::Consumer),
    ] {
        let (resource, span) = v1(json!({
            "traceId": TRACE, "id": "1", "parentId": "0000000000000000", "name": "get",
            "annotations": [
                {"timestamp": START + 9, "value": last, "endpoint": endpoint("shop")},
                {"timestamp": START, "value": first, "endpoint": endpoint("other")},
                {"timestamp": START + 4, "value": "retry"},
                {"timestamp": START + 99, "value": ""},
            ],
        }));
        assert_eq!(span.kind, want as i32, "{first}");
        let times = (span.start_time_unix_nano, span.end_time_unix_nano);
        assert_eq!(times, (START * 1_000, (START + 9) * 1_000), "{first}");
        assert_eq!(
            (span.events.len(), span.events[0].name.as_str()),
            (1, "retry")
        );
        assert_eq!(span.parent_span_id, [0_u8; 0]);
        let want = texts(&[
            ("service.name", "shop"),
            ("ipv4", "10.0.0.1"),
            ("port", "80"),
        ]);
        assert_eq!(resource, want, "{first}");
    }
}

#[test]
fn binary_annotations_of_version_1_give_attributes_and_who_is_at_the_other_end() {
    let (resource, span) = v1(json!({
        "traceId": TRACE, "id": "1", "timestamp": START, "duration": 5,
        "binaryAnnotations": [
            {"key": "http.path", "value": "/x", "endpoint": endpoint("cart")},
            {"key": "lc", "value": "worker"},
            {"key": "sa", "value": true, "endpoint": endpoint("db")},
        ],
    }));
    assert_eq!(resource, texts(&[("service.name", "cart")]));
    let mut want = texts(&[
        ("http.path", "/x"),
        ("component", "worker"),
        ("peer.service", "db"),
        ("net.peer.ip", "10.0.0.1"),
    ]);
    want.insert("net.peer.port".into(), Any::IntValue(80));
    assert_eq!(map(&span.attributes), want);
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 5_000);
    for (annotations, want) in [
        (json!([{"key": "lc", "value": "worker"}]), "worker"),
        (json!([]), "unknown-service"),
    ] {
        let span = json!({"traceId": TRACE, "id": "1", "binaryAnnotations": annotations});
        assert_eq!(v1(span).0, texts(&[("service.name", want)]));
    }
    let events = json!([{"timestamp": START, "value": "retry", "endpoint": endpoint("late")}]);
    let (resource, _) = v1(json!({"traceId": TRACE, "id": "1", "annotations": events}));
    assert_eq!(resource, texts(&[("service.name", "late")]));
}

#[test]
fn status_of_version_1_is_the_first_that_is_known() {
    let pair = |key: &str, value: &str| json!({"key": key, "value": value});
    for (name, tags, want, message) in [
        ("none", vec![], Code::Unset, ""),
        ("error", vec![pair("error", "x")], Code::Error, ""),
        (
            "error with message",
            vec![pair("error", ""), pair("otel.status_description", "m")],
            Code::Error,
            "m",
        ),
        (
            "declared ok",
            vec![pair("error", ""), pair("otel.status_code", "1")],
            Code::Ok,
            "",
        ),
        (
            "declared error",
            vec![pair("otel.status_code", "ERROR")],
            Code::Error,
            "",
        ),
        (
            "census",
            vec![
                pair("otel.status_code", "1"),
                pair("census.status_code", "7"),
                pair("census.status_description", "c"),
            ],
            Code::Error,
            "c",
        ),
        (
            "census ok",
            vec![pair("census.status_code", "0")],
            Code::Ok,
            "",
        ),
        (
            "http",
            vec![
                pair("http.status_code", "404"),
                pair("http.status_message", "m"),
            ],
            Code::Error,
            "m",
        ),
        (
            "http ok",
            vec![pair("http.status_code", "302")],
            Code::Unset,
            "",
        ),
    ] {
        let (_, span) = v1(json!({"traceId": TRACE, "id": "1", "binaryAnnotations": tags}));
        let status = span.status.unwrap();
        assert_eq!(
            (status.code, status.message.as_str()),
            (want as i32, message),
            "{name}"
        );
    }
}

#[test]
fn spans_that_are_refused_take_no_room() {
    let body = format!("[{}{{}}]", "{},".repeat(1_000));
    let written = v2_json(body.as_bytes(), Options::default()).unwrap();
    assert!(written.len() <= body.len(), "{}", written.len());
    let checked = otlp::validate::check(&written).unwrap();
    assert_eq!(checked.rejected.invalid_trace_id, 1_001);
}

#[test]
fn lists_are_kept_to_a_length() {
    let annotation = json!({"timestamp": START, "value": "a"});
    let (_, span) = v2(json!({
        "traceId": TRACE, "id": "1", "annotations": vec![annotation; 2_000],
    }));
    assert_eq!((span.events.len(), span.dropped_events_count), (1_024, 976));
    let annotation = json!({"timestamp": START, "value": "a"});
    let tag = json!({"key": "a", "value": "b"});
    let (_, span) = v1(json!({
        "traceId": TRACE, "id": "1",
        "annotations": vec![annotation; 2_000], "binaryAnnotations": vec![tag; 2_000],
    }));
    assert_eq!((span.events.len(), span.dropped_events_count), (1_024, 976));
    assert_eq!(span.dropped_attributes_count, 976);
}

fn sent() -> impl Strategy<Value = zipkin::Span> {
    let ids = (
        any::<[u8; 16]>(),
        any::<[u8; 8]>(),
        option::of(any::<[u8; 8]>()),
    );
    let times = (0_u64..1 << 52, 0_u64..1 << 40);
    let endpoint = || {
        let ip = option::of(any::<[u8; 4]>());
        (".{0,5}", ip, 0..65_536).prop_map(|(service_name, ip, port)| zipkin::Endpoint {
            service_name,
            ipv4: ip.map(Vec::from).unwrap_or_default(),
            port,
            ..Default::default()
        })
    };
    let key = prop_oneof!["[a-z]{1,4}", "host\\.name", "error", "otel\\.status_code"];
    let tags = btree_map(key, prop_oneof![".{0,5}", "true", "OK", "ERROR"], 0..6);
    let annotations = vec((0_u64..1 << 52, ".{0,5}"), 0..3);
    let kind = 0..5;
    (
        ids,
        kind,
        ".{0,9}",
        times,
        (endpoint(), endpoint()),
        annotations,
        tags,
    )
        .prop_map(
            |(ids, kind, name, times, endpoints, annotations, tags)| zipkin::Span {
                trace_id: ids.0.into(),
                id: ids.1.into(),
                parent_id: ids.2.map(Vec::from).unwrap_or_default(),
                kind,
                name,
                timestamp: times.0,
                duration: times.1,
                local_endpoint: Some(endpoints.0),
                remote_endpoint: Some(endpoints.1),
                annotations: annotations
                    .into_iter()
                    .map(|(timestamp, value)| zipkin::Annotation { timestamp, value })
                    .collect(),
                tags: tags.into_iter().collect(),
                ..Default::default()
            },
        )
}

fn as_json(span: &zipkin::Span) -> Json {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let endpoint = |endpoint: &Option<zipkin::Endpoint>| {
        let endpoint = endpoint.as_ref().unwrap();
        let ip = <[u8; 4]>::try_from(endpoint.ipv4.as_slice());
        json!({
            "serviceName": endpoint.service_name,
            "ipv4": ip.ok().map(|ip| IpAddr::from(ip).to_string()),
            "port": endpoint.port,
        })
    };
    let annotation = |annotation: &zipkin::Annotation| json!({"timestamp": annotation.timestamp, "value": annotation.value});
    let annotations: Vec<_> = span.annotations.iter().map(annotation).collect();
    let kinds = ["", "CLIENT", "SERVER", "PRODUCER", "CONSUMER"];
    json!({
        "traceId": hex(&span.trace_id),
        "id": hex(&span.id),
        "parentId": hex(&span.parent_id),
        "kind": kinds[span.kind as usize],
        "name": span.name,
        "timestamp": span.timestamp,
        "duration": span.duration,
        "localEndpoint": endpoint(&span.local_endpoint),
        "remoteEndpoint": endpoint(&span.remote_endpoint),
        "annotations": annotations,
        "tags": span.tags,
    })
}

proptest! {
    /// Forall spans: JSON and protobuf are one and the same OTLP, which has what was
    /// sent.
    #[test]
    fn both_encodings_of_a_span_become_the_same(sent in sent()) {
        let body = json!([as_json(&sent)]).to_string();
        let (resource, span) = only(&v2_json(body.as_bytes(), Options::default()).unwrap());
        let body = zipkin::ListOfSpans { spans: vec![sent.clone()] }.encode_to_vec();
        let of_protobuf = only(&list_of_spans(&body, Options::default()).unwrap());
        let sorted = |mut span: proto::otlp::trace::Span| {
            span.attributes.sort_by(|one, other| one.key.cmp(&other.key));
            span
        };
        prop_assert_eq!(&of_protobuf.0, &resource);
        prop_assert_eq!(sorted(of_protobuf.1), sorted(span.clone()));
        prop_assert_eq!(&span.trace_id, &sent.trace_id);
        prop_assert_eq!(&span.name, &sent.name);
        prop_assert_eq!(span.start_time_unix_nano, sent.timestamp * 1_000);
        let took = span.end_time_unix_nano - span.start_time_unix_nano;
        prop_assert_eq!(took, sent.duration * 1_000);
        let service = sent.local_endpoint.unwrap().service_name;
        let want = (!service.is_empty()).then(|| text(&service));
        prop_assert_eq!(resource.get("service.name"), want.as_ref());
        let attributes = map(&span.attributes);
        for (key, value) in &sent.tags {
            if key.len() <= 4 {
                prop_assert_eq!(attributes.get(key), Some(&text(value)));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        for convert in [v1_json, v2_json, list_of_spans] {
            if let Ok(written) = convert(&bytes, Options::default()) {
                otlp::validate::check(&written).unwrap();
            }
        }
    }
}

#[test]
fn several_spans_of_a_list_come_out_in_order() {
    let span = |name: &str| json!({"traceId": TRACE, "id": "1", "name": name});
    let body = json!([span("a"), span("b"), span("c")]).to_string();
    let written = v2_json(body.as_bytes(), Options::default()).unwrap();
    let names: Vec<_> = all(&written)
        .into_iter()
        .map(|(_, span)| span.name)
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
}
