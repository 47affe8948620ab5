//! Which traces become exemplars.

use axum::body::{Body, to_bytes};
use http::Request;
use model::{Push, TenantId};
use overrides::{Processor, Processors, TenantConfig};
use prost::Message;
use proto::otlp::trace::Span;
use tower::ServiceExt as _;

use crate::harness::{Harness, MILLISECOND, NOW, request};

const SAMPLED: u32 = 1;
const REMOTE_AND_NOT_SAMPLED: u32 = 0x300;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

fn harness(processor: Processor) -> Harness {
    Harness::new(TenantConfig {
        processors: Processors::from_iter([processor]),
        ..TenantConfig::default()
    })
}

impl Harness {
    /// Pushes spans of 100 ms: trace, kind and flags.
    fn push_flagged(&self, service: &str, spans: &[(u8, i32, u32)]) {
        let span = |(trace, kind, flags): &(u8, i32, u32)| Span {
            trace_id: vec![*trace; 16],
            span_id: vec![if *kind == CLIENT { 1 } else { 2 }; 8],
            parent_span_id: vec![1; if *kind == CLIENT { 0 } else { 8 }],
            name: "GET /".to_owned(),
            kind: *kind,
            start_time_unix_nano: NOW - 100 * MILLISECOND,
            end_time_unix_nano: NOW,
            flags: *flags,
            ..Span::default()
        };
        let request = request(
            &[("service.name", service)],
            spans.iter().map(span).collect(),
        );
        let pushed = self.push(Push {
            tenant: TenantId::single(),
            request: request.encode_to_vec().into(),
            skip_metrics: false,
        });
        pushed.unwrap();
    }

    /// The traces of the exemplars that a scrape brings, by their first byte.
    async fn traces(&self, metric: &str) -> Vec<u8> {
        let request = Request::get("/metrics/generated")
            .header("accept", "application/openmetrics-text; version=1.0.0")
            .body(Body::empty());
        let response = self.routes().oneshot(request.unwrap()).await.unwrap();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let lines = text.lines().filter(|line| line.starts_with(metric));
        let traces = lines.filter_map(|line| {
            let (_, trace) = line.split_once("# {traceID=\"")?;
            Some(u8::from_str_radix(&trace[..2], 16).unwrap())
        });
        traces.collect()
    }
}

#[tokio::test]
async fn sampled_trace_is_preferred_until_it_has_been_handed_out() {
    let harness = harness(Processor::SpanMetrics);
    let bucket = "traces_spanmetrics_latency_bucket";
    let spans = [
        (1, SERVER, 0),
        (2, SERVER, SAMPLED),
        (3, SERVER, REMOTE_AND_NOT_SAMPLED),
    ];
    harness.push_flagged("shop", &spans);
    harness.push_flagged("shop", &[(4, SERVER, 0)]);
    assert_eq!(harness.traces(bucket).await, [2]);
    harness.push_flagged("shop", &[(5, SERVER, 0), (6, SERVER, 0)]);
    assert_eq!(harness.traces(bucket).await, [6]);
}

#[tokio::test]
async fn edge_is_sampled_if_one_of_its_spans_is() {
    let harness = harness(Processor::ServiceGraphs);
    harness.push_flagged("front", &[(1, CLIENT, SAMPLED), (2, CLIENT, 0)]);
    harness.push_flagged("shop", &[(1, SERVER, 0), (2, SERVER, 0)]);
    let traces = harness.traces("traces_service_graph_request_").await;
    assert_eq!(traces, [1, 1], "of the client's side and the server's");
}
