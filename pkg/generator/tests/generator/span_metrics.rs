//! Spans in, series out, through the scrape endpoint.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use futures_util::StreamExt as _;
use http::Request;
use model::{Push, PushError, PushOutcome, TenantId};
use overrides::{
    DimensionMapping, FilterPolicy, MatchType, PolicyAttribute, PolicyMatch, PolicyValue,
    Processor, Processors, SpanNameSanitization, TenantConfig,
};
use prost::Message;
use proto::otlp::common::KeyValue;
use proto::otlp::trace::{Span, Status};
use tower::ServiceExt;

use crate::harness::{Harness, MILLISECOND, NOW, attributes, request};

fn span_metrics() -> TenantConfig {
    TenantConfig {
        processors: Processors::from_iter([Processor::SpanMetrics]),
        ..TenantConfig::default()
    }
}

impl Harness {
    fn push_bytes(&self, request: Vec<u8>) -> Result<PushOutcome, PushError> {
        self.push(Push {
            tenant: TenantId::single(),
            request: request.into(),
            skip_metrics: false,
        })
    }

    fn push_spans(&self, resource: &[(&str, &str)], spans: Vec<Span>) -> PushOutcome {
        let request = request(resource, spans).encode_to_vec();
        self.push_bytes(request).unwrap()
    }

    /// Label sets of the calls counter, with their values.
    async fn calls(&self) -> BTreeMap<String, f64> {
        let name = "traces_spanmetrics_calls_total";
        let samples = self.scrape().await.into_iter();
        let calls = samples
            .filter_map(|(series, value)| Some((series.strip_prefix(name)?.to_owned(), value)));
        calls.collect()
    }

    fn has_own(&self, line: &str) -> bool {
        let (series, value) = line.rsplit_once(' ').unwrap();
        self.own().get(series) == Some(&value.parse().unwrap())
    }

    /// An estimate: one of a thousand times, two label sets look like one.
    fn sanitized_demand(&self) -> u64 {
        self.own()["registry_post_sanitization_demand_estimate{tenant=\"single-tenant\"}"]
    }
}

/// A server span of 100 ms that ended now.
fn span(name: &str, pairs: &[(&str, &str)]) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        name: name.to_owned(),
        kind: 2,
        start_time_unix_nano: NOW - 100 * MILLISECOND,
        end_time_unix_nano: NOW,
        attributes: attributes(pairs),
        ..Span::default()
    }
}

const SHOP: &[(&str, &str)] = &[("service.name", "shop")];

/// `{service="shop",span_kind="SPAN_KIND_SERVER",span_name=NAME,status_code=UNSET}`
/// with `more` labels, which must come before or after these.
fn labels(before: &str, name: &str, after: &str) -> String {
    format!(
        "{{{before}service=\"shop\",span_kind=\"SPAN_KIND_SERVER\",span_name=\"{name}\",status_code=\"STATUS_CODE_UNSET\"{after}}}"
    )
}

#[tokio::test]
async fn span_gives_calls_latency_and_size() {
    let harness = Harness::new(span_metrics());
    let get = span("GET /", &[]);
    let size = get.encoded_len() as f64;
    let outcome = harness.push_spans(SHOP, vec![get.clone(), get]);
    assert_eq!((outcome.spans, outcome.rejected_spans), (2, 0));
    let series = harness.scrape().await;
    assert_eq!(series.len(), 19);
    let of = |name: &str| series[&format!("traces_spanmetrics_{name}{}", labels("", "GET /", ""))];
    assert_eq!(of("calls_total"), 2.0);
    assert_eq!(of("size_total"), 2.0 * size);
    assert_eq!(of("latency_count"), 2.0);
    assert_eq!(of("latency_sum"), 0.2);
    let bucket = |le: &str| {
        let le = format!(",le=\"{le}\"");
        series[&format!(
            "traces_spanmetrics_latency_bucket{}",
            labels("", "GET /", &le)
        )]
    };
    assert_eq!(
        (bucket("0.064"), bucket("0.128"), bucket("+Inf")),
        (0.0, 2.0, 2.0)
    );
}

#[tokio::test]
async fn dimensions_come_from_the_resource_before_the_span() {
    let mut config = span_metrics();
    config.span_metrics.dimensions = ["both", "http.method", "service", "missing"]
        .map(str::to_owned)
        .to_vec();
    config.span_metrics.dimension_mappings = vec![DimensionMapping {
        name: "route".to_owned(),
        source_labels: ["http.method", "none", "both"].map(str::to_owned).to_vec(),
        join: "/".to_owned(),
    }];
    let harness = Harness::new(config);
    let resource = [("service.name", "shop"), ("both", "resource")];
    let pairs = [
        ("both", "span"),
        ("http.method", "GET"),
        ("service", "mine"),
    ];
    harness.push_spans(&resource, vec![span("a", &pairs)]);
    let want = "{__service=\"mine\",both=\"resource\",http_method=\"GET\",route=\"GET/resource\",service=\"shop\",span_kind=\"SPAN_KIND_SERVER\",span_name=\"a\",status_code=\"STATUS_CODE_UNSET\"}";
    assert_eq!(
        harness.calls().await,
        BTreeMap::from([(want.to_owned(), 1.0)])
    );
}

#[tokio::test]
async fn target_info_describes_each_resource_once() {
    let mut config = span_metrics();
    config.span_metrics.enable_target_info = true;
    config.span_metrics.target_info_excluded_dimensions = vec!["host.name".to_owned()];
    let harness = Harness::new(config);
    let resource = [
        ("service.name", "shop"),
        ("service.namespace", "eu"),
        ("service.instance.id", "i1"),
        ("host.name", "h"),
        ("region", "west"),
        ("1digit", "x"),
        ("service", "other"),
    ];
    harness.push_spans(&resource, vec![span("a", &[]), span("b", &[])]);
    harness.push_spans(SHOP, vec![span("c", &[])]); // Nothing besides the job.
    let series = harness.scrape().await;
    let infos: Vec<_> = series
        .keys()
        .filter(|id| id.contains("target_info"))
        .collect();
    assert_eq!(
        infos,
        ["traces_target_info{__service=\"other\",instance=\"i1\",job=\"eu/shop\",region=\"west\"}"]
    );
    let calls = harness.calls().await;
    assert!(calls.contains_key(&labels("instance=\"i1\",job=\"eu/shop\",", "a", "")));
    assert!(calls.contains_key(&labels("job=\"shop\",", "c", "")));
}

#[tokio::test]
async fn each_host_has_a_series_and_its_spans_are_counted() {
    let mut config = span_metrics();
    config.processors = Processors::from_iter([Processor::HostInfo]);
    let harness = Harness::new(config);
    let mut late = span("late", &[]);
    late.end_time_unix_nano = NOW - 31_000 * MILLISECOND;
    let node = [
        ("service.name", "shop"),
        ("k8s.node.name", "node-1"),
        ("host.id", "h-1"),
    ];
    harness.push_spans(&node, vec![span("a", &[]), late]);
    harness.push_spans(&node, vec![span("b", &[])]);
    harness.push_spans(&[("host.id", "h-2")], vec![]);
    harness.push_spans(SHOP, vec![span("c", &[])]);
    let mut bytes = request(&[("host.id", "h-3")], vec![span("d", &[])]).encode_to_vec();
    let at = bytes
        .windows(3)
        .position(|window| window == b"h-3")
        .unwrap();
    bytes[at] = 0xff;
    harness.push_bytes(bytes).unwrap();
    let host = |id: &str, source: &str| {
        format!("traces_host_info{{grafana_host_id=\"{id}\",host_source=\"{source}\"}}")
    };
    let want = BTreeMap::from([
        (host("node-1", "k8s.node.name"), 1.0),
        (host("h-2", "host.id"), 1.0),
    ]);
    assert_eq!(harness.scrape().await, want);
    for line in [
        "spans_received_total{tenant=\"single-tenant\"} 5",
        "spans_counted_total{tenant=\"single-tenant\",processor=\"host-info\"} 2",
        "spans_discarded_total{tenant=\"single-tenant\",processor=\"host-info\",reason=\"no_host\"} 1",
        "spans_discarded_total{tenant=\"single-tenant\",processor=\"host-info\",reason=\"invalid_utf8\"} 1",
        "spans_discarded_total{tenant=\"single-tenant\",processor=\"all\",reason=\"outside_metrics_ingestion_slack\"} 1",
    ] {
        assert!(harness.has_own(line), "{line}");
    }
}

#[tokio::test]
async fn filtered_and_late_spans_are_in_the_ledger() {
    let mut config = span_metrics();
    let side = |key: &str, value: &str, match_type| {
        Some(PolicyMatch {
            match_type,
            attributes: vec![PolicyAttribute {
                key: key.to_owned(),
                value: PolicyValue::Text(value.to_owned()),
            }],
        })
    };
    config.span_metrics.filter_policies = vec![FilterPolicy {
        include: side("kind", "SPAN_KIND_SERVER", MatchType::Strict),
        exclude: side("span.path", "^/health", MatchType::Regex),
    }];
    let harness = Harness::new(config);
    let mut client = span("client", &[]);
    client.kind = 3;
    let mut late = span("late", &[]);
    late.end_time_unix_nano = NOW - 31_000 * MILLISECOND;
    let spans = vec![
        span("kept", &[("path", "/x/health")]),
        span("health", &[("path", "/healthz")]),
        client,
        late,
    ];
    harness.push_spans(SHOP, spans);
    assert_eq!(harness.calls().await.len(), 1);
    for line in [
        "spans_received_total{tenant=\"single-tenant\"} 4",
        "spans_counted_total{tenant=\"single-tenant\",processor=\"span-metrics\"} 1",
        "spans_discarded_total{tenant=\"single-tenant\",processor=\"span-metrics\",reason=\"span_metrics_filtered\"} 2",
        "spans_discarded_total{tenant=\"single-tenant\",processor=\"all\",reason=\"outside_metrics_ingestion_slack\"} 1",
    ] {
        assert!(harness.has_own(line), "{line}");
    }
}

#[tokio::test]
async fn bad_spans_are_rejected_and_their_neighbours_counted() {
    let harness = Harness::new(span_metrics());
    let mut long_id = span("long id", &[]);
    long_id.trace_id = vec![1; 17];
    let mut bytes = request(SHOP, vec![span("good", &[]), long_id]).encode_to_vec();
    // A resource with one scope with one span of one broken byte.
    bytes.extend([0x0a, 5, 0x12, 3, 0x12, 1, 0xff]);
    let outcome = harness.push_bytes(bytes).unwrap();
    assert_eq!((outcome.spans, outcome.rejected_spans), (3, 2));
    assert_eq!(
        outcome.message,
        "1 spans are not valid protobuf; 1 spans have a trace id longer than 16 or a span id longer than 8 bytes"
    );
    assert_eq!(harness.calls().await.len(), 1);
}

/// Source: differences, D28.
#[tokio::test]
async fn message_without_resource_or_value_is_read_as_empty() {
    let harness = Harness::new(span_metrics());
    let mut bare = request(&[], vec![span("a", &[])]);
    bare.resource_spans[0].resource = None;
    bare.resource_spans[0].scope_spans[0].spans[0].attributes = vec![KeyValue {
        key: "k".to_owned(),
        ..KeyValue::default()
    }];
    harness.push_bytes(bare.encode_to_vec()).unwrap();
    assert_eq!(harness.calls().await.len(), 1);
}

#[tokio::test]
async fn broken_frame_applies_nothing() {
    let harness = Harness::new(span_metrics());
    let mut bytes = request(SHOP, vec![span("good", &[])]).encode_to_vec();
    bytes.extend([0x0a, 100]);
    let refused = harness.push_bytes(bytes);
    assert!(matches!(refused, Err(PushError::Malformed { .. })));
    assert!(harness.calls().await.is_empty());
}

#[tokio::test]
async fn label_that_is_not_utf8_costs_only_its_span() {
    let harness = Harness::new(span_metrics());
    let mut bytes = request(SHOP, vec![span("AAAA", &[]), span("good", &[])]).encode_to_vec();
    let at = bytes
        .windows(4)
        .position(|window| window == b"AAAA")
        .unwrap();
    bytes[at] = 0xff;
    harness.push_bytes(bytes).unwrap();
    assert_eq!(harness.calls().await.len(), 1);
    assert!(harness.has_own("spans_discarded_total{tenant=\"single-tenant\",processor=\"span-metrics\",reason=\"invalid_utf8\"} 1"));
}

#[tokio::test]
async fn long_labels_are_cut_between_characters_and_share_a_series() {
    let mut config = span_metrics();
    config.registry.max_label_value_length = 5;
    config.span_metrics.intrinsic_dimensions.span_kind = false;
    config.span_metrics.intrinsic_dimensions.status_code = false;
    let harness = Harness::new(config);
    let spans = vec![
        span("abcd\u{e9}1", &[]),
        span("abcd\u{e9}2", &[]),
        span("abcd", &[]),
    ];
    harness.push_spans(SHOP, spans);
    let want = "{service=\"shop\",span_name=\"abcd\"}".to_owned();
    assert_eq!(harness.calls().await, BTreeMap::from([(want, 3.0)]));
}

#[tokio::test]
async fn status_and_its_message_are_labels_when_asked_for() {
    let mut config = span_metrics();
    config.span_metrics.intrinsic_dimensions.status_message = true;
    config.span_metrics.intrinsic_dimensions.span_kind = false;
    let harness = Harness::new(config);
    let mut failed = span("a", &[]);
    failed.status = Some(Status {
        code: 2,
        message: "boom".to_owned(),
    });
    harness.push_spans(SHOP, vec![failed]);
    let want = "{service=\"shop\",span_name=\"a\",status_code=\"STATUS_CODE_ERROR\",status_message=\"boom\"}";
    assert_eq!(
        harness.calls().await,
        BTreeMap::from([(want.to_owned(), 1.0)])
    );
}

/// Spans whose names vary, and one whose name does not, after a collection.
async fn varying_names(names: SpanNameSanitization, max_active_series: u64) -> Harness {
    let mut config = span_metrics();
    config.registry.span_name_sanitization = names;
    config.registry.max_active_series = max_active_series;
    let harness = Harness::new(config);
    let mut spans: Vec<_> = (0..10)
        .map(|user| span(&format!("GET /users/{user}"), &[]))
        .collect();
    spans.push(span("GET /users/7", &[]));
    spans.push(span("GET /health", &[]));
    harness.push_spans(SHOP, spans);
    harness.generator.stop();
    harness
}

#[tokio::test]
async fn names_that_vary_share_a_series_when_sanitized() {
    let harness = varying_names(SpanNameSanitization::Enabled, 0).await;
    let want = BTreeMap::from([
        (labels("", "GET /users/<_>", ""), 11.0),
        (labels("", "GET /health", ""), 1.0),
    ]);
    assert_eq!(harness.calls().await, want);
    assert!(harness.has_own("registry_spans_sanitized_total{tenant=\"single-tenant\"} 10"));
    assert!((1..=2).contains(&harness.sanitized_demand()));
}

#[tokio::test]
async fn dry_run_keeps_names_and_tells_what_sanitizing_would_save() {
    let harness = varying_names(SpanNameSanitization::DryRun, 0).await;
    let calls = harness.calls().await;
    assert_eq!(calls.len(), 11);
    assert_eq!(calls[&labels("", "GET /users/7", "")], 2.0);
    assert!(harness.has_own("registry_spans_sanitized_total{tenant=\"single-tenant\"} 10"));
    assert!((1..=2).contains(&harness.sanitized_demand()));
}

#[tokio::test]
async fn dry_run_counts_what_the_limit_refuses_as_well() {
    // A label set is a counter, a histogram of 17 series, and a counter.
    let harness = varying_names(SpanNameSanitization::DryRun, 19).await;
    let calls = harness.calls().await;
    assert_eq!(calls.len(), 2);
    assert_eq!(calls["{metric_overflow=\"true\"}"], 11.0);
    assert!((1..=2).contains(&harness.sanitized_demand()));
}

#[tokio::test]
async fn names_stay_unless_asked_and_nothing_counts_them() {
    let harness = varying_names(SpanNameSanitization::Off, 0).await;
    assert_eq!(harness.calls().await.len(), 11);
    let own = harness.own();
    let counts = |series: &&String| series.contains("_saniti");
    assert_eq!(own.keys().find(counts), None);
}

#[tokio::test]
async fn client_that_wants_no_metrics_gets_none() {
    let harness = Harness::new(span_metrics());
    let push = Push {
        tenant: TenantId::single(),
        request: request(SHOP, vec![span("a", &[])]).encode_to_vec().into(),
        skip_metrics: true,
    };
    assert_eq!(harness.push(push).unwrap().spans, 1);
    assert!(harness.scrape().await.is_empty());
    assert!(harness.has_own("spans_discarded_total{tenant=\"single-tenant\",processor=\"all\",reason=\"metrics_generation_skipped\"} 1"));
}

#[tokio::test]
async fn stopped_generator_refuses_with_a_delay() {
    let harness = Harness::new(span_metrics());
    harness.push_spans(SHOP, vec![span("a", &[])]);
    harness.generator.stop();
    let refused = harness.push_bytes(request(SHOP, vec![]).encode_to_vec());
    assert!(matches!(refused, Err(PushError::Unavailable { .. })));
}

#[tokio::test]
async fn target_list_names_every_tenant() {
    let harness = Harness::new(span_metrics());
    harness.push_spans(SHOP, vec![span("a", &[])]);
    let routes = harness.routes();
    let request = Request::get("/metrics/generated/targets")
        .header("host", "spanmill:3200")
        .body(Body::empty());
    let response = routes.oneshot(request.unwrap()).await.unwrap();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
        serde_json::json!([{
            "targets": ["spanmill:3200"],
            "labels": {
                "__metrics_path__": "/metrics/generated",
                "__param_tenant": "single-tenant",
                "tenant": "single-tenant",
            },
        }])
    );
}

/// Megabytes, which are several pieces also when they are compressed.
#[tokio::test]
async fn scrape_is_compressed_for_who_takes_gzip() {
    let harness = Harness::new(span_metrics());
    let spans = (0..2_000).map(|number| span(&format!("operation {number}"), &[]));
    harness.push_spans(SHOP, spans.collect());
    let routes = harness.routes();
    let mut texts = Vec::new();
    for (accepted, encoding) in [("gzip", Some("gzip")), ("identity", None)] {
        let request = Request::get("/metrics/generated").header("accept-encoding", accepted);
        let request = request.body(Body::empty()).unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        let headers = response.headers();
        let found = headers
            .get("content-encoding")
            .map(|it| it.to_str().unwrap());
        assert_eq!(found, encoding);
        assert_eq!(headers["vary"], "accept, accept-encoding");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        texts.push(match encoding {
            Some(_) => std::io::read_to_string(flate2::read::GzDecoder::new(&*body)).unwrap(),
            None => String::from_utf8(body.to_vec()).unwrap(),
        });
    }
    assert!(texts[0].len() > 2_000_000, "{}", texts[0].len());
    assert_eq!(texts[0], texts[1]);
}

/// The writer waits behind a few pieces that the scraper has not taken, so that a
/// tenant's series are never in memory as text all at once.
#[tokio::test]
async fn scrape_of_100_000_series_is_never_one_text() {
    let harness = Harness::new(span_metrics());
    let spans = (0..6_000).map(|number| span(&format!("operation {number}"), &[]));
    harness.push_spans(SHOP, spans.collect());
    let request = Request::get("/metrics/generated").body(Body::empty());
    let response = harness.routes().oneshot(request.unwrap()).await.unwrap();
    assert!(!response.headers().contains_key("content-length"));
    let mut pieces = response.into_body().into_data_stream();
    let (mut series, mut longest) = (0, 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.unwrap();
        series += piece.iter().filter(|byte| **byte == b'\n').count();
        longest = longest.max(piece.len());
    }
    // Each has a counter, a size, and a histogram of 17.
    assert!(series > 100_000, "{series}");
    assert!(longest < 256 * 1024, "{longest}");
}

#[tokio::test]
async fn host_metric_of_any_name_is_written_as_the_scraper_takes_it() {
    let mut config = span_metrics();
    config.processors = Processors::from_iter([Processor::HostInfo]);
    config.host_info.metric_name = "host.info".to_owned();
    let harness = Harness::new(config);
    harness.push_spans(&[("host.id", "h")], vec![span("a", &[])]);
    for (accept, content_type, name) in [
        ("", "text/plain; version=0.0.4; charset=utf-8", "host_info{"),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            "{\"host.info\",",
        ),
    ] {
        let request = Request::get("/metrics/generated").header("accept", accept);
        let request = request.body(Body::empty()).unwrap();
        let response = harness.routes().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], content_type);
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.lines().any(|line| line.starts_with(name)), "{text}");
    }
}
