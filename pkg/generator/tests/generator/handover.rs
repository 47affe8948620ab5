//! A generator that goes for good: what receivers have not got is delivered by others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use http::{HeaderMap, HeaderValue};
use lifecycle::{Shutdown, TaskGroup};
use model::{Clock, Point, Push, PushSpans as _, TenantId};
use overrides::{Overrides, Processor, Processors, TenantConfig};
use parking_lot::Mutex;
use prost::Message as _;
use proto::otlp::trace::Span;
use proto::remote_write::WriteRequest;
use remote_write::config::EndpointConfig;
use remote_write::{Fsync, RemoteWrite, RemoteWriteConfig, RemoteWriteMetrics, SpoolConfig};
use server::{Listener, NodeAuthentication, NodeAuthenticationConfig, ServeOptions};
use settings::Secret;
use spanmill_generator::{
    Dependencies, Generator, GeneratorMetrics, HandedSamples, HandoverTarget,
};
use tonic::transport::Endpoint;

use crate::harness::{MILLISECOND, NOW, SECOND, request};

const TOKEN: &str = "the-token-of-this-cluster";
const PATIENCE: Duration = Duration::from_secs(60);

/// A tenant's series with what came of it, in the order in which it did.
type Got = BTreeMap<(String, String), Vec<(i64, u64)>>;

/// A receiver that may be down.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<(bool, Got)>>);

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut receiver = receiver.0.lock();
    let (is_up, got) = &mut *receiver;
    if !*is_up {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let tenant = headers["x-scope-orgid"].to_str().unwrap();
    let raw = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    for series in WriteRequest::decode(raw.as_slice()).unwrap().timeseries {
        let labels = series.labels.iter();
        let labels: Vec<_> = labels.map(|l| format!("{}={}", l.name, l.value)).collect();
        let values = got
            .entry((tenant.to_owned(), labels.join(" ")))
            .or_default();
        let samples = series.samples.iter();
        values.extend(samples.map(|sample| (sample.timestamp, sample.value.to_bits())));
    }
    StatusCode::NO_CONTENT
}

/// Serves until the test ends; says where.
fn serve(router: Router) -> String {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), "test").unwrap();
    let address = listener.local_addr();
    let (tasks, shutdown) = (TaskGroup::new(), Shutdown::new());
    listener.serve(router, ServeOptions::default(), shutdown, &tasks);
    format!("http://{address}")
}

fn authentication(token: &str) -> NodeAuthentication {
    NodeAuthentication::new(&NodeAuthenticationConfig {
        token: Secret::new(token),
        ..NodeAuthenticationConfig::default()
    })
}

/// A generator with a spool.
struct Node {
    generator: Generator,
    remote_write: RemoteWrite,
    clock: Clock,
    url: String,
    _directory: tempfile::TempDir,
}

impl Node {
    fn new(id: &str, receiver: &str, token: &str, max_bytes: u64) -> Self {
        let endpoint = serde_json::json!({
            "url": receiver,
            "name": "sink",
            "queue_config": {"min_backoff": "1ms", "max_backoff": "2ms"},
        });
        let endpoint: EndpointConfig = serde_json::from_value(endpoint).unwrap();
        let mut config = TenantConfig {
            processors: Processors::from_iter([Processor::SpanMetrics]),
            remote_write: [endpoint].into(),
            ..TenantConfig::default()
        };
        config.registry.instance_label_name = "node".to_owned();
        let directory = tempfile::tempdir().unwrap();
        let mut registry = telemetry::new_metrics_registry();
        let clock = Clock::manual(NOW);
        let remote_write = RemoteWrite::start(
            RemoteWriteConfig {
                endpoints: Vec::new(),
                add_org_id_header: true,
                spool: SpoolConfig {
                    directory: directory.path().to_owned(),
                    max_bytes_per_tenant: max_bytes,
                    max_bytes,
                    max_age: Duration::ZERO,
                    fsync: Fsync::Segment,
                },
            },
            RemoteWriteMetrics::register(&mut registry),
            clock.clone(),
            &TaskGroup::new(),
        );
        let remote_write = remote_write.unwrap();
        let generator = Generator::new(Dependencies {
            overrides: Overrides::fixed(config),
            remote_write: Some(remote_write.clone()),
            metrics: GeneratorMetrics::register(&mut registry),
            clock: clock.clone(),
            max_lanes: 1,
            deduplicate_pushes: false,
            instance_label: id.into(),
            state_dir: None,
            retire_after: Duration::ZERO,
        });
        let url = serve(generator.handover_routes(authentication(token), 4 << 20));
        Self {
            generator,
            remote_write,
            clock,
            url,
            _directory: directory,
        }
    }

    async fn push(&self, tenant: &str, service: &str, spans: usize) {
        let span = Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: "GET /".to_owned(),
            kind: 2,
            start_time_unix_nano: NOW - 100 * MILLISECOND,
            end_time_unix_nano: NOW,
            ..Span::default()
        };
        let request = request(&[("service.name", service)], vec![span; spans]);
        let push = Push {
            tenant: TenantId::parse(tenant).unwrap(),
            request: request.encode_to_vec().into(),
            skip_metrics: false,
        };
        self.generator.push(push).await.unwrap();
    }

    /// Another node as this one would reach it.
    fn target(&self, token: &'static str) -> HandoverTarget {
        target(&self.url, token)
    }

    /// Waits until the receiver has everything.
    async fn deliver(&self) {
        while self.remote_write.flush(PATIENCE).await > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn target(url: &str, token: &'static str) -> HandoverTarget {
    let channel = Endpoint::from_shared(url.to_owned())
        .unwrap()
        .connect_lazy();
    let mut headers = HeaderMap::new();
    let token = HeaderValue::from_static(token);
    headers.insert(server::nodes::NODE_TOKEN_HEADER, token);
    HandoverTarget::new(url, channel, headers)
}

const MUCH: u64 = 1 << 30;

/// A generator with three tenants, whose receiver is down and which is stopped for good.
async fn stopped_source(receiver: &str) -> Node {
    let source = Node::new("g-1", receiver, TOKEN, MUCH);
    for (tenant, spans) in [("acme", 3), ("globex", 2), ("initech", 1)] {
        for service in ["a", "b"] {
            source.push(tenant, service, spans).await;
        }
    }
    source.clock.set(NOW + 15 * SECOND);
    // Of each tenant and service: calls, 15 buckets, sum and count, and size.
    assert_eq!(source.generator.stop_for_good(), 3 * SERIES);
    let left = source.remote_write.flush(PATIENCE).await;
    assert!(left > 0);
    source
}

/// Series of a tenant with spans of two services.
const SERIES: u64 = 2 * 19;

fn assert_all_arrived(receiver: &Receiver) {
    let receiver = receiver.0.lock();
    let got = &receiver.1;
    assert_eq!(got.len() as u64, 3 * SERIES, "{got:?}");
    for (series, samples) in got {
        assert!(series.1.contains("node=g-1"), "{series:?}");
        let times: Vec<_> = samples.iter().map(|(time, _)| *time).collect();
        assert!(times.is_sorted_by(|a, b| a < b), "{series:?} {samples:?}");
        let last = samples.last().map(|(_, value)| *value);
        assert_eq!(last, Some(Point::STALE), "{series:?}");
    }
    for (tenant, calls) in [("acme", 3.0_f64), ("globex", 2.0), ("initech", 1.0)] {
        let of_calls = got.iter().filter(|((of, labels), _)| {
            of == tenant && labels.contains("__name__=traces_spanmetrics_calls_total")
        });
        for (series, samples) in of_calls {
            let value = samples[samples.len() - 2].1;
            assert_eq!(f64::from_bits(value), calls, "{series:?}");
        }
    }
}

#[tokio::test]
async fn every_series_ends_and_others_deliver_what_the_receiver_has_not_got() {
    let receiver = Receiver::default();
    let url = serve(Router::new().fallback(receive).with_state(receiver.clone()));
    let source = stopped_source(&url).await;
    let left: u64 = source
        .remote_write
        .undelivered_tenants()
        .iter()
        .map(|tenant| source.remote_write.unsent_samples(tenant))
        .sum();
    let (first, second) = (
        Node::new("g-2", &url, TOKEN, MUCH),
        Node::new("g-3", &url, TOKEN, MUCH),
    );
    // One that is gone, and one of another cluster.
    let stranger = Node::new("h-1", &url, "the-token-of-another-cluster", MUCH);
    let gone = Listener::bind("127.0.0.1:0".parse().unwrap(), "test").unwrap();
    let gone = format!("http://{}", gone.local_addr());
    let targets = [
        target(&gone, TOKEN),
        stranger.target(TOKEN),
        first.target(TOKEN),
        second.target(TOKEN),
    ];
    let outcome = source.generator.hand_over_samples(&targets, PATIENCE).await;
    let want = HandedSamples {
        tenants: 3,
        samples: left,
        left_tenants: 0,
        left_samples: 0,
    };
    assert_eq!(outcome, want);
    assert_eq!(source.remote_write.clear(), 0);
    assert!(stranger.remote_write.undelivered_tenants().is_empty());
    receiver.0.lock().0 = true;
    first.deliver().await;
    second.deliver().await;
    assert_all_arrived(&receiver);
    let again = source.generator.hand_over_samples(&targets, PATIENCE).await;
    assert_eq!(again, HandedSamples::default());
}

/// The first has no room, and stops.
#[tokio::test]
async fn generator_that_refuses_is_passed_over_and_has_nothing() {
    let receiver = Receiver::default();
    let url = serve(Router::new().fallback(receive).with_state(receiver.clone()));
    let source = stopped_source(&url).await;
    let (full, stopped) = (
        Node::new("g-2", &url, TOKEN, 1 << 10),
        Node::new("g-3", &url, TOKEN, MUCH),
    );
    stopped.generator.stop();
    let refusing = [full.target(TOKEN), stopped.target(TOKEN)];
    let outcome = source
        .generator
        .hand_over_samples(&refusing, PATIENCE)
        .await;
    assert_eq!((outcome.samples, outcome.left_tenants), (0, 3));
    assert_eq!(source.remote_write.clear(), 3);
    for node in [&full, &stopped] {
        assert!(node.remote_write.undelivered_tenants().is_empty());
    }
    let good = Node::new("g-4", &url, TOKEN, MUCH);
    let targets = [
        full.target(TOKEN),
        stopped.target(TOKEN),
        good.target(TOKEN),
    ];
    let outcome = source.generator.hand_over_samples(&targets, PATIENCE).await;
    assert_eq!((outcome.tenants, outcome.left_samples), (3, 0));
    receiver.0.lock().0 = true;
    good.deliver().await;
    assert_all_arrived(&receiver);
}

/// Without patience nothing is given away, and all of it stays.
#[tokio::test]
async fn what_there_is_no_time_for_stays_on_disk() {
    let receiver = Receiver::default();
    let url = serve(Router::new().fallback(receive).with_state(receiver.clone()));
    let source = stopped_source(&url).await;
    let before = source.remote_write.undelivered_tenants().len();
    let outcome = source
        .generator
        .hand_over_samples(&[], Duration::ZERO)
        .await;
    assert_eq!(outcome.left_tenants as usize, before);
    assert!(outcome.left_samples > 0);
}
