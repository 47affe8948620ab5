use std::path::Path;

use super::input::to_protobuf;
use super::*;

/// A call, both of whose sides are there, and a span that is too short of an id.
const REQUEST: &str = r#"{"resourceSpans": [
  {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
   "scopeSpans": [{"spans": [
     {"traceId": "0000000000000000000000000000000a", "spanId": "0000000000000001", "name": "pay",
      "kind": 3, "startTimeUnixNano": "1000000000", "endTimeUnixNano": "2000000000"},
     {"traceId": "0a", "spanId": "0000000000000002", "name": "short"}]}]},
  {"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "bank"}}]},
   "scopeSpans": [{"spans": [
     {"traceId": "0000000000000000000000000000000a", "spanId": "0000000000000003",
      "parentSpanId": "0000000000000001", "name": "take", "kind": 2,
      "attributes": [{"key": "http.method", "value": {"stringValue": "POST"}}],
      "startTimeUnixNano": "1000000000", "endTimeUnixNano": "2000000000"}]}]}]}"#;

const CONFIG: &str = "
overrides:
  defaults:
    metrics_generator:
      processors: [span-metrics-count, service-graphs]
      processor:
        span_metrics:
          dimensions: [http.method]
          filter_policies: [{exclude: {match_type: strict, attributes: [{key: name, value: pay}]}}]
      remote_write:
        - url: http://127.0.0.1:9090/write
          name: main
          write_relabel_configs: [{action: drop, source_labels: [__name__], regex: .*_client_.*}]
";

fn args(directory: &Path, spans: &str) -> Args {
    let write = |name: &str, text: &str| {
        let file = directory.join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    Args {
        file: write("spans.json", spans),
        tenant: TenantId::parse("acme").unwrap(),
        config_file: Some(write("config.yaml", CONFIG)),
        own_settings: None,
        expand_env: false,
        now: None,
        json: false,
    }
}

#[test]
fn each_span_is_followed_through_the_rules_to_its_series() {
    let directory = tempfile::tempdir().unwrap();
    let args = args(directory.path(), REQUEST);
    let example = include_str!("example.txt");
    assert_eq!(run(&args).unwrap(), example);
    let page = include_str!("../../../../docs/trace-span.md");
    assert!(
        page.contains(example),
        "docs/trace-span.md has another example"
    );
}

#[test]
fn spans_arrive_when_the_clock_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let late = Args {
        now: Some(unix_nanos("1970-01-01T00:01:00Z").unwrap()),
        json: true,
        ..args(directory.path(), REQUEST)
    };
    let json: serde_json::Value = serde_json::from_str(&run(&late).unwrap()).unwrap();
    let reasons = json["spans"].as_array().unwrap().iter();
    let reasons: Vec<_> = reasons.map(|span| &span["refused"]["reason"]).collect();
    let slack = "outside_metrics_ingestion_slack";
    assert_eq!(reasons, [slack, "invalid_trace_id", slack]);
}

#[test]
fn what_the_tenant_has_set_itself_holds() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.json");
    let own = r#"{"metrics_generator": {"processor": {"span_metrics": {"dimensions": []}}}}"#;
    std::fs::write(&file, own).unwrap();
    let mut args = args(directory.path(), REQUEST);
    assert!(run(&args).unwrap().contains("http_method="));
    args.own_settings = Some(file.clone());
    assert!(!run(&args).unwrap().contains("http_method="));
    std::fs::write(&file, r#"{"metrics_generator": {"max_active_series": 1}}"#).unwrap();
    let refused = run(&args).unwrap_err().to_string();
    assert!(
        refused.contains("metrics_generator.max_active_series"),
        "{refused}"
    );
}

#[test]
fn a_single_span_may_have_its_resource_beside_it() {
    let span = r#"{"traceId": "0000000000000000000000000000000a", "spanId": "0000000000000001",
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}}]}}"#;
    let single = to_protobuf(span.into()).unwrap();
    let request = format!(
        r#"{{"resourceSpans": [{{"resource": {{"attributes": [{{"key": "service.name",
        "value": {{"stringValue": "s"}}}}]}}, "scopeSpans": [{{"spans": [{span}]}}]}}]}}"#
    );
    let request = otlp::json::to_protobuf(request.as_bytes()).unwrap();
    assert_eq!(single, request);
    // Protobuf stays as it is, also where it begins like text.
    assert_eq!(to_protobuf(request.clone()).unwrap(), request);
    let other = to_protobuf(b"{\"a\": 1}".to_vec()).unwrap_err();
    assert!(other.to_string().contains("neither"), "{other}");
}
