//! Traces of the OpenTelemetry Python SDK arrive to the last span, whichever
//! exporter sends them.

use anyhow::ensure;
use spanmill_integration::authority::Authority;
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::{Spanmill, http, python};

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
    every_span_counts(spanmill, "grpc", &endpoint, &[]).await
}

#[tokio::test]
async fn grpc_exporter_with_gzip() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let endpoint = spanmill.otlp_grpc();
    every_span_counts(spanmill, "grpc-gzip", &endpoint, &[]).await
}

#[tokio::test]
async fn http_exporter() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let endpoint = spanmill.otlp_http();
    every_span_counts(spanmill, "http", &endpoint, &[]).await
}

#[tokio::test]
async fn http_exporter_with_gzip() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let endpoint = spanmill.otlp_http();
    every_span_counts(spanmill, "http-gzip", &endpoint, &[]).await
}

#[tokio::test]
async fn grpc_exporter_over_tls() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let spanmill = with_tls(&authority, "").await?;
    let endpoint = over_tls(&spanmill.otlp_grpc());
    let ca = authority.certificate();
    every_span_counts(spanmill, "grpc-gzip", &endpoint, &[&ca]).await
}

#[tokio::test]
async fn http_exporter_over_tls() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let spanmill = with_tls(&authority, "").await?;
    let endpoint = over_tls(&spanmill.otlp_http());
    let ca = authority.certificate();
    every_span_counts(spanmill, "http-gzip", &endpoint, &[&ca]).await
}

#[tokio::test]
async fn grpc_exporter_that_shows_its_certificate() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let ca = authority.certificate();
    let spanmill = with_tls(&authority, &ca).await?;
    let endpoint = over_tls(&spanmill.otlp_grpc());
    let client = authority.issue("client")?;
    let files = [ca.as_str(), &client.certificate, &client.key];
    every_span_counts(spanmill, "grpc-gzip", &endpoint, &files).await
}

#[tokio::test]
async fn http_exporter_that_shows_its_certificate_and_strangers_that_do_not() -> anyhow::Result<()>
{
    let authority = Authority::new()?;
    let ca = authority.certificate();
    let spanmill = with_tls(&authority, &ca).await?;
    let endpoint = over_tls(&spanmill.otlp_http());
    let root = reqwest::Certificate::from_pem(&std::fs::read(&ca)?)?;
    // It installs the TLS provider.
    let _ = http::client();
    let stranger = reqwest::Client::builder().tls_certs_only([root]).build()?;
    let post = stranger
        .post(&endpoint)
        .header("content-type", "application/json");
    ensure!(
        post.body("{}").send().await.is_err(),
        "a stranger is served"
    );
    let client = authority.issue("client")?;
    let files = [ca.as_str(), &client.certificate, &client.key];
    every_span_counts(spanmill, "http", &endpoint, &files).await
}

/// A spanmill whose receivers speak TLS; with `client_ca` for those alone that it
/// has signed for.
async fn with_tls(authority: &Authority, client_ca: &str) -> anyhow::Result<Spanmill> {
    let server = authority.issue("server")?;
    let tls = format!(
        "{{cert_file: {}, key_file: {}, client_ca_file: '{client_ca}'}}",
        server.certificate, server.key
    );
    let receivers = format!("{{grpc: {{tls: {tls}}}, http: {{tls: {tls}}}}}");
    let config = format!("distributor: {{receivers: {{otlp: {{protocols: {receivers}}}}}}}");
    Spanmill::builder().config(&config).start().await
}

fn over_tls(endpoint: &str) -> String {
    endpoint.replace("http://", "https://")
}

/// `files` are those of TLS: the authority, and the client's certificate and key.
async fn every_span_counts(
    spanmill: Spanmill,
    protocol: &str,
    endpoint: &str,
    files: &[&str],
) -> anyhow::Result<()> {
    let orders = ORDERS.to_string();
    let arguments = [&[protocol, endpoint, &orders], files].concat();
    python::run("send_spans.py", &arguments).await?;

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
