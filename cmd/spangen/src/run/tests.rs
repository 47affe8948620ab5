use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::Service;

use super::*;
use crate::arrival::{Late, Scatter};
use crate::client::{Grpc, Method};
use crate::report::Spans;
use crate::topology::{Topology, WEB_SHOP};
use crate::workload::{Sizes, Source};

/// A gRPC server that answers each call with the status its number has.
#[derive(Clone)]
struct Scripted {
    calls: Arc<AtomicU64>,
    tenants: Arc<Mutex<Vec<String>>>,
    status: fn(u64) -> &'static str,
}

impl tonic::server::NamedService for Scripted {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<http::Request<Body>> for Scripted {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let tenant = request.headers().get("x-scope-orgid");
        let tenant = tenant.map(|tenant| tenant.to_str().unwrap().to_owned());
        self.tenants.lock().extend(tenant);
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let mut trailers = HeaderMap::new();
        let status = (self.status)(call);
        trailers.insert(
            HeaderName::from_static("grpc-status"),
            HeaderValue::from_static(status),
        );
        let frame = if status == "0" {
            &b"\0\0\0\0\0"[..]
        } else {
            b""
        };
        let frames = [
            Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(frame))),
            Ok(http_body::Frame::trailers(trailers)),
        ];
        let body = http_body_util::StreamBody::new(tokio_stream::iter(frames));
        let response = http::Response::builder()
            .header("content-type", "application/grpc")
            .body(Body::new(body));
        std::future::ready(Ok(response.unwrap()))
    }
}

async fn serve(status: fn(u64) -> &'static str) -> (String, Scripted, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = Scripted {
        calls: Arc::default(),
        tenants: Arc::default(),
        status,
    };
    let server = tonic::transport::Server::builder().add_service(service.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        server
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .unwrap();
    });
    (url, service, tasks)
}

fn run(spans: u64, tenants: &[&'static str]) -> Run {
    hard_run(spans, tenants, Scatter::default(), 0.0, None)
}

fn hard_run(
    spans: u64,
    tenants: &[&'static str],
    scatter: Scatter,
    repeat: f64,
    truth: Option<Truth>,
) -> Run {
    let limits = Limits {
        rate: None,
        duration: None,
        spans: Some(spans),
        in_flight: 2,
        timeout: Duration::from_secs(30),
        retry_for: Duration::from_secs(30),
        seed: 1,
    };
    let sizes = Sizes {
        spans_per_request: 100,
        pool: 500,
    };
    let topology = Topology::parse(WEB_SHOP).unwrap();
    let arrival = Arrival::new(&scatter, 1, repeat, 1);
    let wait = truth.is_some().then_some(Duration::from_secs(10));
    let workload = Workload::new(Source::Topology(topology), sizes, 1, 0.0, scatter, wait);
    let tenants = tenants.iter().map(|name| HeaderValue::from_static(name));
    Run::new(limits, workload, arrival, truth, tenants.collect(), None)
}

#[tokio::test]
async fn exactly_the_spans_asked_for_are_accepted() {
    let (url, server, _tasks) = serve(|_| "0").await;
    let run = run(1_234, &["a", "b"]);
    let client = Client::Grpc(Grpc::new(&url, Method::Export, false).unwrap());
    run.drive(vec![client]).await;
    let report = run.abandon();
    let want = Spans {
        sent: 1_234,
        accepted: 1_234,
        refused: 0,
        unknown: 0,
    };
    assert_eq!(report.spans, want, "{report:?}");
    assert_eq!(report.requests, server.calls.load(Ordering::SeqCst));
    let tenants = server.tenants.lock().clone();
    let of_a = tenants.iter().filter(|tenant| *tenant == "a").count() as u64;
    assert_eq!(of_a, report.requests.div_ceil(2));
}

#[tokio::test]
async fn split_late_and_repeated_requests_are_all_sent_and_in_the_truth() {
    let (url, server, _tasks) = serve(|_| "0").await;
    let scatter = Scatter {
        split: 2,
        late: vec![Late {
            percent: 5.0,
            by: Duration::from_millis(20),
        }],
    };
    let run = hard_run(1_234, &[], scatter, 100.0, Some(Truth::default()));
    let client = Client::Grpc(Grpc::new(&url, Method::Export, false).unwrap());
    run.drive(vec![client]).await;
    let report = run.abandon();
    assert_eq!((report.spans.sent, report.spans.accepted), (2_468, 2_468));
    // 13 batches of two requests on time and a late one, but for the short last: all twice.
    assert_eq!(
        (report.requests, server.calls.load(Ordering::SeqCst)),
        (76, 76)
    );
    let json = run.take_truth().unwrap().json().unwrap();
    let truth: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(truth["spans"]["generated"], 1_234);
    assert_eq!(truth["spans"]["repeated"], 1_234);
}

#[tokio::test]
async fn retryable_codes_are_sent_again_and_others_counted_as_refused() {
    // 14 is UNAVAILABLE, 3 INVALID_ARGUMENT.
    let (url, server, _tasks) = serve(|call| if call < 3 { "14" } else { "0" }).await;
    let again = run(500, &[]);
    let client = Client::Grpc(Grpc::new(&url, Method::Export, true).unwrap());
    again.drive(vec![client]).await;
    let report = again.abandon();
    assert_eq!((report.spans.accepted, report.retries), (500, 3));
    assert_eq!(report.requests + 3, server.calls.load(Ordering::SeqCst));
    assert!(server.tenants.lock().is_empty());

    let (url, _server, _tasks) = serve(|_| "3").await;
    let refused = run(500, &[]);
    let client = Client::Grpc(Grpc::new(&url, Method::Export, false).unwrap());
    refused.drive(vec![client]).await;
    let report = refused.abandon();
    assert_eq!((report.spans.refused, report.retries), (500, 0));
}

#[tokio::test]
async fn a_server_that_is_gone_is_not_an_unknown_outcome() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut run = run(500, &[]);
    Arc::get_mut(&mut run.0).unwrap().limits.retry_for = Duration::ZERO;
    let client = Client::Grpc(Grpc::new(&url, Method::Export, false).unwrap());
    run.drive(vec![client]).await;
    let report = run.abandon();
    assert_eq!(
        (report.spans.refused, report.spans.unknown),
        (500, 0),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_an_unknown_outcome() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 4096];
            stream.readable().await.unwrap();
            let _ = stream.try_read(&mut some);
        }
    });
    let run = run(500, &[]);
    let client = Client::Http(crate::client::Http::new(&url, false).unwrap());
    run.drive(vec![client]).await;
    let report = run.abandon();
    assert_eq!(
        (report.spans.unknown, report.spans.refused),
        (500, 0),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_stopped_run_sends_nothing_more() {
    let (url, server, _tasks) = serve(|_| "0").await;
    let run = run(500, &[]);
    run.stop();
    let client = Client::Grpc(Grpc::new(&url, Method::Export, false).unwrap());
    run.drive(vec![client]).await;
    assert_eq!(server.calls.load(Ordering::SeqCst), 0);
    assert_eq!(run.abandon().spans.sent, 0);

    let run = hard_run(500, &[], Scatter::default(), 0.0, Some(Truth::default()));
    run.stop();
    assert!(run.take_truth().is_none());
}

#[test]
fn backoff_doubles_up_to_five_seconds() {
    for (attempt, full) in [(0, 100), (1, 200), (5, 3_200), (6, 5_000), (60, 5_000)] {
        let delay = backoff(attempt, 9).as_millis();
        assert!((full / 2..=full).contains(&delay), "{attempt}: {delay}");
    }
}

#[test]
fn latency_of_a_late_request_counts_from_when_it_was_due() {
    let due = Instant::now();
    let late = due + Duration::from_secs(1);
    assert_eq!(counted_from(Some(100.0), due, late), Some(due));
    assert_eq!(counted_from(Some(100.0), late, due), None);
    assert_eq!(counted_from(None, due, late), None);
}
