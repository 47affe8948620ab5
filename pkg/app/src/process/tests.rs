use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use server::{Listener, ServeOptions};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::build::build;
use crate::config::Loaded;

/// A process whose ports are chosen by the system.
async fn start(data: &TempDir, more: &str) -> Process {
    let text = format!(
        "
distributor:
  receivers:
    otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}, http: {{endpoint: '127.0.0.1:0'}}}}}}
server: {{http_listen_port: 0, grpc_listen_port: 0, admin_listen_port: 0}}
storage: {{path: {}}}
overrides: {{defaults: {{metrics_generator: {{processors: [span-metrics]}}}}}}
{more}",
        data.path().join("data").display()
    );
    build(Loaded::from_text("test.yaml", text).unwrap())
        .await
        .unwrap()
}

impl Process {
    fn address(&self, face: Face) -> SocketAddr {
        let found = self.addresses.iter().find(|address| address.face == face);
        found.unwrap().address
    }
}

/// Status code and body of one HTTP request.
async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let status = answer[9..12].parse().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, body.to_owned())
}

/// One span that ends now, as OTLP/JSON.
fn span() -> String {
    let now = model::Clock::system().unix_nanos();
    format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name",
        "value":{{"stringValue":"shop"}}}}]}},"scopeSpans":[{{"spans":[{{
        "traceId":"00000000000000000000000000000001","spanId":"0000000000000002","name":"GET /",
        "kind":2,"startTimeUnixNano":"{}","endTimeUnixNano":"{now}"}}]}}]}}]}}"#,
        now - 5_000_000
    )
}

#[tokio::test]
async fn spans_become_series_and_the_process_ends_in_order() {
    let data = tempfile::tempdir().unwrap();
    let process = start(&data, "").await;
    let (otlp, api) = (process.address(Face::OtlpHttp), process.address(Face::Api));
    assert_eq!(ask(api, "GET", "/ready", "").await, (200, "ready\n".into()));
    assert_eq!(
        ask(otlp, "POST", "/v1/traces", &span()).await,
        (200, "{}".into())
    );
    let (_, series) = ask(api, "GET", "/metrics/generated", "").await;
    let calls = "traces_spanmetrics_calls_total{service=\"shop\",span_kind=\"SPAN_KIND_SERVER\",\
                 span_name=\"GET /\",status_code=\"STATUS_CODE_UNSET\"} 1";
    assert!(series.contains(calls), "{series}");
    let (_, own) = ask(api, "GET", "/metrics", "").await;
    assert!(own.contains("spanmill_build_info"), "{own}");
    assert!(own.contains("spanmill_generator_"), "{own}");
    assert!(own.contains("spanmill_distributor_"), "{own}");

    process.stop().await;
    assert!(TcpStream::connect(otlp).await.is_err());
    assert!(TcpStream::connect(api).await.is_err());
    // The directory is free for the next process.
    start(&data, "").await.stop().await;
}

#[tokio::test]
async fn admin_serves_status_pages_and_no_tenant_data() {
    let data = tempfile::tempdir().unwrap();
    let process = start(&data, "").await;
    let admin = process.address(Face::Admin);
    for (path, want) in [
        ("/ready", 200),
        ("/status", 200),
        ("/status/config", 200),
        ("/metrics", 200),
        ("/metrics/generated", 404),
        ("/metrics/generated/targets", 404),
        ("/v1/traces", 404),
    ] {
        assert_eq!(ask(admin, "GET", path, "").await.0, want, "{path}");
    }
    process.stop().await;
}

#[tokio::test]
async fn prefix_stands_before_generated_series_and_not_before_status_pages() {
    let data = tempfile::tempdir().unwrap();
    let process = start(&data, "http_api_prefix: /obs/tempo").await;
    let (otlp, api) = (process.address(Face::OtlpHttp), process.address(Face::Api));
    assert_eq!(ask(otlp, "POST", "/v1/traces", &span()).await.0, 200);
    let shown: Vec<_> = process.addresses.iter().map(|a| a.shown.as_str()).collect();
    let wanted = format!("http://{api}/obs/tempo/metrics/generated");
    assert!(shown.contains(&wanted.as_str()), "{shown:?}");
    for (path, want) in [
        ("/obs/tempo/metrics/generated", 200),
        ("/obs/tempo/metrics/generated/targets", 200),
        ("/metrics/generated", 404),
        ("/metrics/generated/targets", 404),
        ("/ready", 200),
        ("/metrics", 200),
        ("/status/config", 200),
    ] {
        assert_eq!(ask(api, "GET", path, "").await.0, want, "{path}");
    }
    let (_, targets) = ask(api, "GET", "/obs/tempo/metrics/generated/targets", "").await;
    let path = r#""__metrics_path__":"/obs/tempo/metrics/generated""#;
    assert!(targets.contains(path), "{targets}");
    process.stop().await;
}

#[tokio::test]
async fn settings_in_force_are_shown_without_secrets() {
    let data = tempfile::tempdir().unwrap();
    let process = start(
        &data,
        "metrics_generator:
  storage:
    remote_write:
    - {url: 'http://127.0.0.1:1/api/v1/write', basic_auth: {username: me, password: canary}}",
    )
    .await;
    let (_, config) = ask(process.address(Face::Admin), "GET", "/status/config", "").await;
    assert!(config.contains("http_listen_port: 0"), "{config}");
    assert!(!config.contains("canary"), "{config}");
    process.stop().await;
}

#[tokio::test]
async fn faces_with_one_address_share_it() {
    let data = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let port = {
        let any = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        any.local_addr().unwrap().port()
    };
    let text = format!(
        "
distributor:
  receivers:
    otlp:
      protocols: {{grpc: {{endpoint: '127.0.0.1:{port}'}}, http: {{endpoint: '127.0.0.1:{port}'}}}}
server: {{http_listen_port: {port}, grpc_listen_port: {port}, admin_listen_port: {port}}}
storage: {{path: {}}}",
        data.path().display()
    );
    let process = build(Loaded::from_text("test.yaml", text).unwrap())
        .await
        .unwrap();
    let address = process.address(Face::OtlpGrpc);
    assert!(
        process
            .addresses
            .iter()
            .all(|other| other.address == address)
    );
    assert_eq!(ask(address, "GET", "/ready", "").await.0, 200);
    assert_eq!(ask(address, "POST", "/v1/traces", &span()).await.0, 200);
    assert_eq!(ask(address, "GET", "/metrics/generated", "").await.0, 200);
    assert_eq!(ask(address, "GET", "/nothing", "").await.0, 404);
    process.stop().await;
}

#[tokio::test]
async fn second_process_is_refused_the_directory() {
    let data = tempfile::tempdir().unwrap();
    let process = start(&data, "").await;
    let text = format!("storage: {{path: {}}}", data.path().join("data").display());
    let loaded = Loaded::from_text("test.yaml", text).unwrap();
    let error = build(loaded).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(
        error
            .report()
            .contains("in use by another spanmill process")
    );
    process.stop().await;
}

#[tokio::test]
async fn grpc_health_is_not_serving_from_the_beginning_of_the_stop() {
    let data = tempfile::tempdir().unwrap();
    let process = start(&data, "").await;
    let mut watches = Vec::new();
    for (face, service) in [
        (
            Face::OtlpGrpc,
            "opentelemetry.proto.collector.trace.v1.TraceService",
        ),
        (Face::Internal, "tempopb.MetricsGenerator"),
    ] {
        let uri = format!("http://{}", process.address(face));
        let channel = Channel::from_shared(uri).unwrap().connect().await;
        let mut health = HealthClient::new(channel.unwrap());
        let service = service.to_owned();
        let request = HealthCheckRequest { service };
        let mut watch = health.watch(request).await.unwrap().into_inner();
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving, "{face:?}");
        watches.push(watch);
    }
    process.stop().await;
    for mut watch in watches {
        let last = watch.message().await.unwrap().unwrap();
        assert_eq!(last.status(), ServingStatus::NotServing);
        // It ended by itself: what is cut off ends with an error.
        assert_eq!(watch.message().await.unwrap(), None);
    }
}

#[tokio::test]
async fn spans_are_taken_while_a_stop_is_only_announced() {
    let data = tempfile::tempdir().unwrap();
    let process = start(&data, "shutdown_delay: 1h").await;
    let (otlp, api) = (process.address(Face::OtlpHttp), process.address(Face::Api));
    let during = async {
        while ask(api, "GET", "/ready", "").await != (503, "stopping\n".into()) {}
        ask(otlp, "POST", "/v1/traces", &span()).await.0
    };
    tokio::select! {
        () = process.stop() => panic!("it did not wait"),
        status = during => assert_eq!(status, 200),
    }
}

/// D10: what was acknowledged is collected and sent before the end.
#[tokio::test]
async fn stop_sends_what_no_collection_has_sent_yet() {
    let (received, sink) = (Arc::new(AtomicUsize::new(0)), Part::default());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), "sink").unwrap();
    let url = format!("http://{}/api/v1/write", listener.local_addr());
    let count = received.clone();
    let write = move |body: Bytes| async move {
        count.fetch_add(body.len(), Ordering::SeqCst);
        StatusCode::NO_CONTENT
    };
    listener.serve(
        Router::new().route("/api/v1/write", post(write)),
        ServeOptions::default(),
        sink.shutdown.clone(),
        &sink.tasks,
    );
    let data = tempfile::tempdir().unwrap();
    let process = start(
        &data,
        &format!("metrics_generator: {{registry: {{collection_interval: 1h}}, storage: {{remote_write: [{{url: '{url}'}}]}}}}"),
    )
    .await;
    let otlp = process.address(Face::OtlpHttp);
    assert_eq!(ask(otlp, "POST", "/v1/traces", &span()).await.0, 200);
    assert_eq!(received.load(Ordering::SeqCst), 0);
    process.stop().await;
    assert_ne!(received.load(Ordering::SeqCst), 0);
}

/// An outage of the receiver does not hold the end up for ever.
#[tokio::test]
async fn stop_keeps_its_deadline_when_the_receiver_is_gone() {
    let data = tempfile::tempdir().unwrap();
    let process = start(
        &data,
        "
shutdown_deadline: 1200ms
metrics_generator: {storage: {remote_write: [{url: 'http://127.0.0.1:1/write'}]}}",
    )
    .await;
    let otlp = process.address(Face::OtlpHttp);
    assert_eq!(ask(otlp, "POST", "/v1/traces", &span()).await.0, 200);
    let background = process.background.tasks.clone();
    process.stop().await;
    assert_eq!(background.running(), 0);
}

#[tokio::test]
async fn stop_waits_for_a_silent_receiver_no_longer_than_the_flush_deadline() {
    let sink = Part::default();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), "sink").unwrap();
    let url = format!("http://{}/write", listener.local_addr());
    listener.serve(
        Router::new().route("/write", post(std::future::pending::<StatusCode>)),
        ServeOptions::default(),
        sink.shutdown.clone(),
        &sink.tasks,
    );
    let data = tempfile::tempdir().unwrap();
    let storage =
        format!("{{remote_write_flush_deadline: 10ms, remote_write: [{{url: '{url}'}}]}}");
    let process = start(
        &data,
        &format!("shutdown_deadline: 1h\nmetrics_generator: {{storage: {storage}}}"),
    )
    .await;
    let otlp = process.address(Face::OtlpHttp);
    assert_eq!(ask(otlp, "POST", "/v1/traces", &span()).await.0, 200);
    timeout(Duration::from_secs(60), process.stop())
        .await
        .unwrap();
}

#[tokio::test]
async fn others_are_asked_whom_to_delete_only_where_nodes_show_who_they_are() {
    let memberlist =
        "memberlist: {bind_addr: [127.0.0.1], bind_port: 0, join_members: [127.0.0.1:9]}";
    for (authentication, asks) in [
        ("", false),
        ("node_authentication: {token: token-of-the-cluster}", true),
    ] {
        let data = tempfile::tempdir().unwrap();
        let process = start(&data, &format!("{memberlist}\n{authentication}")).await;
        let running = process.background.tasks.join(Duration::ZERO).await;
        let found = running.contains(&"deletion-catch-up");
        assert_eq!(found, asks, "{running:?}");
        process.stop().await;
    }
}
