//! Traces of Zipkin's clients arrive to the last span, in every encoding.

use spanmill_integration::orders::{Kinds, every_span_counts};
use spanmill_integration::ports::Port;
use spanmill_integration::{Spanmill, python};

const ORDERS: u32 = 200;

async fn sent_by(script: &str, encoding: &str, path: &str) -> anyhow::Result<()> {
    sent(script, encoding, path, Kinds::OfTwoSides).await
}

async fn sent(script: &str, encoding: &str, path: &str, kinds: Kinds) -> anyhow::Result<()> {
    let port = Port::reserve()?;
    let address = port.address();
    let config = format!("distributor: {{receivers: {{zipkin: {{endpoint: '{address}'}}}}}}");
    let spanmill = Spanmill::builder().config(&config).start().await?;
    let url = format!("http://{address}{path}");
    python::run_older(script, &[encoding, &url, &ORDERS.to_string()]).await?;
    every_span_counts(spanmill, ORDERS, kinds).await
}

#[tokio::test]
async fn py_zipkin_in_json_of_version_1() -> anyhow::Result<()> {
    sent_by("send_zipkin.py", "V1_JSON", "/api/v1/spans").await
}

#[tokio::test]
async fn py_zipkin_in_json_of_version_2() -> anyhow::Result<()> {
    sent_by("send_zipkin.py", "V2_JSON", "/api/v2/spans").await
}

#[tokio::test]
async fn py_zipkin_in_protobuf() -> anyhow::Result<()> {
    sent_by("send_zipkin.py", "V2_PROTO3", "/api/v2/spans").await
}

/// This exporter writes no annotations that say on which side a span is.
#[tokio::test]
async fn exporter_of_opentelemetry_in_json_of_version_1() -> anyhow::Result<()> {
    let script = "send_spans_older.py";
    sent(script, "zipkin-json-v1", "/api/v1/spans", Kinds::None).await
}

#[tokio::test]
async fn exporter_of_opentelemetry_in_json_of_version_2() -> anyhow::Result<()> {
    sent_by("send_spans_older.py", "zipkin-json", "/api/v2/spans").await
}

#[tokio::test]
async fn exporter_of_opentelemetry_in_protobuf() -> anyhow::Result<()> {
    sent_by("send_spans_older.py", "zipkin-proto", "/api/v2/spans").await
}
