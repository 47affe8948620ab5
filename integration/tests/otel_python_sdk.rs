//! Traces of the OpenTelemetry Python SDK arrive to the last span, whichever
//! exporter sends them.

use anyhow::ensure;
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::{Spanmill, python};

const ORDERS: u32 = 1_000;

/// Span name, kind, status and how many of them the script sends.
const SERIES: [(&str, &str, &str, f64); 4] = [
    (
        "POST /orders",
        "SPAN_KIND_SERVER",
        "STATUS_CODE_UNSET",
        750.0,
    ),
    (
        "POST /orders",
        "SPAN_KIND_SERVER",
        "STATUS_CODE_ERROR",
        250.0,
    ),
    ("SELECT", "SPAN_KIND_CLIENT", "STATUS_CODE_UNSET", 1_000.0),
    ("price", "SPAN_KIND_INTERNAL", "STATUS_CODE_UNSET", 1_000.0),
];

#[tokio::test]
async fn grpc_exporter() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let endpoint = spanmill.otlp_grpc();
    every_span_counts(spanmill, "grpc", &endpoint).await
}

#[tokio::test]
async fn http_exporter() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let endpoint = spanmill.otlp_http();
    every_span_counts(spanmill, "http", &endpoint).await
}

#[tokio::test]
async fn http_exporter_with_gzip() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let endpoint = spanmill.otlp_http();
    every_span_counts(spanmill, "http-gzip", &endpoint).await
}

async fn every_span_counts(
    spanmill: Spanmill,
    protocol: &str,
    endpoint: &str,
) -> anyhow::Result<()> {
    python::run("send_spans.py", &[protocol, endpoint, &ORDERS.to_string()]).await?;

    let generated = spanmill.generated(SINGLE_TENANT).await?;
    let calls = "traces_spanmetrics_calls_total";
    for (span_name, kind, status, count) in SERIES {
        let labels = [
            ("service", "shop"),
            ("span_name", span_name),
            ("span_kind", kind),
            ("status_code", status),
        ];
        for name in [calls, "traces_spanmetrics_latency_count"] {
            let found = generated.sum(name, &labels);
            ensure!(found == count, "{name} {labels:?}: {found}, not {count}");
        }
    }
    let series = generated.select(calls, &[]).count();
    ensure!(series == SERIES.len(), "{series} series of {calls}");
    spanmill.finish(&[(SINGLE_TENANT, 3_000)]).await
}
