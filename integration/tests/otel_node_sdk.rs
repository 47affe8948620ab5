//! Traces of the OpenTelemetry SDK for Node arrive to the last span, whichever exporter
//! sends them.

use spanmill_integration::orders::{Kinds, every_span_counts};
use spanmill_integration::ports::Port;
use spanmill_integration::{Spanmill, python};

const ORDERS: u32 = 200;

async fn sent_by(spanmill: Spanmill, protocol: &str, endpoint: &str) -> anyhow::Result<()> {
    sent(spanmill, protocol, endpoint, ORDERS, Kinds::All).await
}

async fn sent(
    spanmill: Spanmill,
    protocol: &str,
    endpoint: &str,
    orders: u32,
    kinds: Kinds,
) -> anyhow::Result<()> {
    let arguments = [protocol, endpoint, &orders.to_string()];
    python::run_node("send_spans.mjs", &arguments).await?;
    every_span_counts(spanmill, orders, kinds).await
}

#[tokio::test]
async fn grpc_exporter() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let endpoint = spanmill.otlp_grpc();
    sent_by(spanmill, "grpc", &endpoint).await
}

#[tokio::test]
async fn grpc_exporter_with_gzip() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let endpoint = spanmill.otlp_grpc();
    sent_by(spanmill, "grpc-gzip", &endpoint).await
}

#[tokio::test]
async fn protobuf_exporter() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let endpoint = spanmill.otlp_http();
    sent_by(spanmill, "http-protobuf", &endpoint).await
}

#[tokio::test]
async fn protobuf_exporter_with_gzip() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let endpoint = spanmill.otlp_http();
    sent_by(spanmill, "http-protobuf-gzip", &endpoint).await
}

#[tokio::test]
async fn json_exporter() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let endpoint = spanmill.otlp_http();
    sent_by(spanmill, "http-json", &endpoint).await
}

#[tokio::test]
async fn json_exporter_with_gzip() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let endpoint = spanmill.otlp_http();
    sent_by(spanmill, "http-json-gzip", &endpoint).await
}

#[tokio::test]
async fn zipkin_exporter() -> anyhow::Result<()> {
    let port = Port::reserve()?;
    let address = port.address();
    let config = format!("distributor: {{receivers: {{zipkin: {{endpoint: '{address}'}}}}}}");
    let spanmill = Spanmill::builder().config(&config).start().await?;
    let url = format!("http://{address}/api/v2/spans");
    sent(spanmill, "zipkin", &url, ORDERS, Kinds::OfTwoSides).await
}

/// This exporter says nothing of spans that are internal, and loses what is left of a
/// second batch of 100 when it is shut down.
#[tokio::test]
async fn jaeger_exporter_over_http() -> anyhow::Result<()> {
    let (spanmill, port) = with_jaeger("thrift_http").await?;
    let url = format!("http://{}/api/traces", port.address());
    sent(spanmill, "jaeger-http", &url, 32, Kinds::OfTwoSides).await
}

/// In the binary encoding, as Jaeger's own client for Node.
#[tokio::test]
async fn jaeger_exporter_over_udp() -> anyhow::Result<()> {
    let (spanmill, port) = with_jaeger("thrift_binary").await?;
    let address = port.address().to_string();
    sent(spanmill, "jaeger-udp", &address, 32, Kinds::OfTwoSides).await
}

async fn with_jaeger(protocol: &str) -> anyhow::Result<(Spanmill, Port)> {
    let port = Port::reserve()?;
    let protocols = format!("{{{protocol}: {{endpoint: '{}'}}}}", port.address());
    let config = format!("distributor: {{receivers: {{jaeger: {{protocols: {protocols}}}}}}}");
    Ok((Spanmill::builder().config(&config).start().await?, port))
}
