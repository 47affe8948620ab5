//! Traces of Jaeger's clients arrive to the last span, over every protocol.

use anyhow::ensure;
use spanmill_integration::orders::{Kinds, every_span_counts};
use spanmill_integration::ports::Port;
use spanmill_integration::{Spanmill, eventually, python};

/// So few that what goes by UDP fits the buffer of a socket that is not read.
const ORDERS: u32 = 100;

/// A spanmill that listens by `protocol`, and where.
async fn listening(protocol: &str) -> anyhow::Result<(Spanmill, Port)> {
    let port = Port::reserve()?;
    let protocols = format!("{{{protocol}: {{endpoint: '{}'}}}}", port.address());
    let config = format!("distributor: {{receivers: {{jaeger: {{protocols: {protocols}}}}}}}");
    Ok((Spanmill::builder().config(&config).start().await?, port))
}

async fn sent_by_jaeger_client(protocol: &str, sent: &str) -> anyhow::Result<()> {
    let (spanmill, port) = listening(protocol).await?;
    let arguments = [sent, &port.address().to_string(), &ORDERS.to_string()];
    python::run_older("send_jaeger.py", &arguments).await?;
    every_span_counts(spanmill, ORDERS, Kinds::All).await
}

async fn sent_by_opentelemetry(protocol: &str, sent: &str, path: &str) -> anyhow::Result<()> {
    let (spanmill, port) = listening(protocol).await?;
    let endpoint = match path {
        "" => port.address().to_string(),
        path => format!("http://{}{path}", port.address()),
    };
    let arguments = [sent, &endpoint, &ORDERS.to_string()];
    python::run_older("send_spans_older.py", &arguments).await?;
    every_span_counts(spanmill, ORDERS, Kinds::All).await
}

#[tokio::test]
async fn jaeger_client_over_udp_in_the_compact_encoding() -> anyhow::Result<()> {
    sent_by_jaeger_client("thrift_compact", "compact").await
}

#[tokio::test]
async fn jaeger_client_over_udp_in_the_binary_encoding() -> anyhow::Result<()> {
    sent_by_jaeger_client("thrift_binary", "binary").await
}

#[tokio::test]
async fn jaeger_client_over_http() -> anyhow::Result<()> {
    sent_by_jaeger_client("thrift_http", "http").await
}

#[tokio::test]
async fn exporter_of_opentelemetry_over_grpc() -> anyhow::Result<()> {
    sent_by_opentelemetry("grpc", "jaeger-grpc", "").await
}

#[tokio::test]
async fn exporter_of_opentelemetry_over_http() -> anyhow::Result<()> {
    let path = "/api/traces?format=jaeger.thrift";
    sent_by_opentelemetry("thrift_http", "jaeger-http", path).await
}

#[tokio::test]
async fn exporter_of_opentelemetry_over_udp() -> anyhow::Result<()> {
    sent_by_opentelemetry("thrift_compact", "jaeger-udp", "").await
}

#[tokio::test]
async fn datagrams_without_meaning_are_counted_and_harm_nothing() -> anyhow::Result<()> {
    let (spanmill, port) = listening("thrift_compact").await?;
    let client = std::net::UdpSocket::bind("127.0.0.1:0")?;
    for length in [0, 1, 9, 1_000] {
        client.send_to(&vec![0x82; length], port.address())?;
    }
    eventually("the datagrams to be counted", || async {
        let labels = [
            ("receiver", "jaeger_thrift_compact"),
            ("result", "malformed"),
        ];
        let pushes = spanmill.metrics().await?;
        let counted = pushes.sum("spanmill_distributor_pushes_total", &labels);
        ensure!(counted == 4.0, "{counted}");
        Ok(())
    })
    .await?;
    let arguments = ["compact", &port.address().to_string(), &ORDERS.to_string()];
    python::run_older("send_jaeger.py", &arguments).await?;
    every_span_counts(spanmill, ORDERS, Kinds::All).await
}
