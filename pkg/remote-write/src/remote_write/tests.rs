use std::collections::VecDeque;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use model::{Exemplar, LabelSetBuf, Point, SampleSink as _, Series};
use parking_lot::Mutex;
use prost::Message as _;
use proto::remote_write as pb;
use serde_json::json;

use super::*;
use std::collections::BTreeMap;

use http::HeaderMap;
use settings::Secret;

use crate::config::EndpointConfig;
use crate::destination::names;
use crate::encode::transcode::to_v1;
use crate::protocol::FALLBACK;
use crate::spool::{Fsync, SpoolConfig};

mod bounds;
mod destinations;
mod down;
mod handover;
mod inspect;
mod refusals;
mod restarts;
mod shards;

/// A receiver that answers as it is told, then by its rule, then 204, and keeps what
/// it got.
#[derive(Clone, Default)]
struct Receiver {
    requests: Arc<Mutex<Vec<(HeaderMap, pb::WriteRequest)>>>,
    answers: Arc<Mutex<VecDeque<Response>>>,
    rule: Arc<Mutex<Option<Rule>>>,
}

/// How a request is answered; `None` for 204.
type Rule = Box<dyn Fn(&pb::WriteRequest) -> Option<Response> + Send>;

impl Receiver {
    async fn start(answers: impl IntoIterator<Item = Response>) -> (Self, String) {
        let receiver = Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            ..Self::default()
        };
        let router = Router::new()
            .fallback(Self::handle)
            .with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
        TaskGroup::new().spawn("test-receiver", async move {
            axum::serve(listener, router).await.unwrap();
        });
        (receiver, url)
    }

    async fn handle(State(receiver): State<Self>, headers: HeaderMap, body: Bytes) -> Response {
        let body = match headers["x-prometheus-remote-write-version"]
            .to_str()
            .unwrap()
        {
            "2.0.0" => to_v1(&body).unwrap(),
            _ => body,
        };
        let raw = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let request = pb::WriteRequest::decode(raw.as_slice()).unwrap();
        let by_rule = || {
            receiver
                .rule
                .lock()
                .as_ref()
                .and_then(|rule| rule(&request))
        };
        let answer = receiver.answers.lock().pop_front().or_else(by_rule);
        receiver.requests.lock().push((headers, request));
        answer.unwrap_or_else(|| answer_with(204, &[], ""))
    }

    /// A receiver that answers by a rule.
    async fn ruled(
        rule: impl Fn(&pb::WriteRequest) -> Option<Response> + Send + 'static,
    ) -> (Self, String) {
        let (receiver, url) = Self::start([]).await;
        receiver.set_rule(rule);
        (receiver, url)
    }

    fn set_rule(&self, rule: impl Fn(&pb::WriteRequest) -> Option<Response> + Send + 'static) {
        *self.rule.lock() = Some(Box::new(rule));
    }

    /// The first value of each request.
    fn values(&self) -> Vec<f64> {
        self.series()
            .iter()
            .map(|request| request[0].1[0])
            .collect()
    }

    /// Per request, the protocol's version and the value of its first sample.
    fn versions(&self) -> Vec<(String, f64)> {
        let requests = self.requests.lock();
        let version = |headers: &HeaderMap| {
            let names = ["x-prometheus-remote-write-version", "content-type"];
            names.map(|name| headers[name].to_str().unwrap()).join(" ")
        };
        requests
            .iter()
            .map(|(headers, request)| (version(headers), request.timeseries[0].samples[0].value))
            .collect()
    }

    /// Per request, each series as its labels and values.
    fn series(&self) -> Vec<Vec<(String, Vec<f64>)>> {
        self.requests
            .lock()
            .iter()
            .map(|(_, request)| {
                let shown = request.timeseries.iter().map(|series| {
                    let labels: Vec<_> = series
                        .labels
                        .iter()
                        .map(|label| format!("{}={}", label.name, label.value))
                        .collect();
                    let values = series.samples.iter().map(|sample| sample.value).collect();
                    (labels.join(" "), values)
                });
                shown.collect()
            })
            .collect()
    }
}

fn answer_with(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::from(body.to_owned())).unwrap()
}

/// An answer of a receiver that speaks 2.0.
fn written(status: u16, samples: &str) -> Response {
    let header = ("X-Prometheus-Remote-Write-Samples-Written", samples);
    answer_with(status, &[header], "")
}

const V1: &str = "0.1.0 application/x-protobuf";
const V2: &str = "2.0.0 application/x-protobuf;proto=io.prometheus.write.v2.Request";

struct Fixture {
    remote_write: RemoteWrite,
    destinations: TenantDestinations,
    registry: telemetry::MetricsRegistry,
    tasks: TaskGroup,
    directory: tempfile::TempDir,
}

fn start(endpoints: Vec<serde_json::Value>, add_org_id_header: bool) -> Fixture {
    start_at(Clock::system(), endpoints, add_org_id_header)
}

fn start_at(clock: Clock, endpoints: Vec<serde_json::Value>, add_org_id_header: bool) -> Fixture {
    start_in(
        tempfile::tempdir().unwrap(),
        clock,
        endpoints,
        add_org_id_header,
    )
}

fn spool(directory: &tempfile::TempDir) -> SpoolConfig {
    SpoolConfig {
        directory: directory.path().to_owned(),
        max_bytes_per_tenant: 1 << 30,
        max_bytes: 1 << 30,
        max_age: Duration::ZERO,
        fsync: Fsync::Segment,
    }
}

fn start_in(
    directory: tempfile::TempDir,
    clock: Clock,
    endpoints: Vec<serde_json::Value>,
    add_org_id_header: bool,
) -> Fixture {
    let endpoints: Vec<EndpointConfig> = endpoints
        .into_iter()
        .map(|endpoint| serde_json::from_value(endpoint).unwrap())
        .collect();
    let config = RemoteWriteConfig {
        endpoints: endpoints.clone(),
        add_org_id_header,
        spool: spool(&directory),
    };
    let mut registry = telemetry::new_metrics_registry();
    let metrics = RemoteWriteMetrics::register(&mut registry);
    let tasks = TaskGroup::new();
    let remote_write = RemoteWrite::start(config, metrics, clock, &tasks).unwrap();
    Fixture {
        remote_write,
        destinations: TenantDestinations {
            endpoints: endpoints.into(),
            headers: BTreeMap::new(),
        },
        registry,
        tasks,
        directory,
    }
}

impl Fixture {
    /// Everything arrives or is dropped, far within this.
    async fn flush(&self) {
        assert_eq!(self.remote_write.flush(Duration::from_secs(60)).await, 0);
    }

    /// Ends as a process that is stopped; another may begin in its directory.
    async fn stop(self) -> tempfile::TempDir {
        self.remote_write.stop();
        assert!(self.tasks.join(Duration::from_secs(60)).await.is_empty());
        self.directory
    }

    /// A counter of the tenant `acme`; 0 if there is none.
    fn count(&self, name: &str) -> u64 {
        let by = "tenant=\"acme\",endpoint=\"sink\"";
        let key = match name.split_once(' ') {
            Some((name, reason)) => format!("{name}{{{by},reason=\"{reason}\"}}"),
            None => format!("{name}{{{by}}}"),
        };
        self.metric(&key).map_or(0, |value| value.parse().unwrap())
    }

    fn writer(&self, tenant: &str) -> TenantWriter {
        self.remote_write.writer(&id(tenant), &self.destinations)
    }

    fn metric(&self, name_and_labels: &str) -> Option<String> {
        telemetry::encode_metrics(&self.registry)
            .lines()
            .filter_map(|line| line.strip_prefix("spanmill_remote_write_"))
            .filter_map(|line| line.rsplit_once(' '))
            .find(|(key, _)| *key == name_and_labels)
            .map(|(_, value)| value.to_owned())
    }
}

fn id(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// An endpoint that gets each collection of [`write_one`] in a request of its own.
fn endpoint_of_ones(url: &str) -> serde_json::Value {
    let mut settings = endpoint(url);
    settings["queue_config"]["max_samples_per_send"] = json!(1);
    settings
}

fn endpoint(url: &str) -> serde_json::Value {
    json!({"url": url, "name": "sink", "queue_config": {"min_backoff": "1ms", "max_backoff": "2ms"}})
}

/// Appends `calls{service="web"}` with one value, and commits.
fn write_one(writer: &TenantWriter, value: f64) {
    let mut append = writer.append(&[], "traceID");
    let mut labels = LabelSetBuf::new();
    labels.push("service", "web");
    append.label_set(labels.finish());
    let calls = Series {
        name: "calls",
        le: None,
    };
    append.series(calls, &[point(value)], None);
    append.commit();
}

fn point(value: f64) -> Point {
    Point {
        timestamp_ms: 1_700_000_000_000 + value as i64,
        value,
    }
}

#[tokio::test]
async fn collection_arrives_whole_and_in_order() {
    let (receiver, url) = Receiver::start([]).await;
    let mut settings = endpoint(&url);
    settings["queue_config"]["max_samples_per_send"] = json!(2);
    let fixture = start(vec![settings], false);
    let writer = fixture.writer("acme");

    let external = [
        ("cluster".to_owned(), "x1".to_owned()),
        ("service".to_owned(), "hidden".to_owned()),
        ("empty".to_owned(), String::new()),
    ];
    // A collection runs on a thread of its own, outside the runtime.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut append = writer.append(&external, "trace_id");
            let mut labels = LabelSetBuf::new();
            labels.push("service", "web");
            append.label_set(labels.finish());
            let bucket = Series {
                name: "latency_bucket",
                le: Some("0.5"),
            };
            let exemplar = Exemplar {
                trace_id: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255],
                value: 0.25,
                timestamp_ms: 7,
            };
            append.series(bucket, &[point(0.0), point(3.0)], Some(exemplar));
            let calls = Series {
                name: "calls",
                le: None,
            };
            append.series(calls, &[], None);
            append.series(calls, &[point(4.0)], None);
            append.commit();
        });
    });
    fixture.flush().await;

    assert_eq!(
        receiver.series(),
        [
            vec![(
                "__name__=latency_bucket cluster=x1 le=0.5 service=web".to_owned(),
                vec![0.0, 3.0]
            )],
            vec![(
                "__name__=calls cluster=x1 service=web".to_owned(),
                vec![4.0]
            )]
        ]
    );
    let exemplars = receiver.requests.lock()[0].1.timeseries[0]
        .exemplars
        .clone();
    let label = &exemplars[0].labels[0];
    assert_eq!(
        (label.name.as_str(), label.value.as_str()),
        ("trace_id", "000102030405060708090a0b0c0d0eff")
    );
    assert_eq!((exemplars[0].value, exemplars[0].timestamp), (0.25, 7));
    let by = "{tenant=\"acme\",endpoint=\"sink\"}";
    for (name, want) in [
        ("samples_sent_total", "3"),
        ("exemplars_sent_total", "1"),
        ("samples_pending", "0"),
        ("spool_age_seconds", "0.0"),
        ("lag_seconds", "0.0"),
        ("highest_sent_timestamp_seconds", "1700000000.004"),
    ] {
        assert_eq!(
            fixture.metric(&format!("{name}{by}")).as_deref(),
            Some(want),
            "{name}"
        );
    }
}

#[tokio::test]
async fn append_that_is_not_committed_sends_nothing() {
    let (receiver, url) = Receiver::start([]).await;
    let fixture = start(vec![endpoint(&url)], false);
    let writer = fixture.writer("acme");
    let mut append = writer.append(&[], "traceID");
    let calls = Series {
        name: "calls",
        le: None,
    };
    append.label_set(model::LabelSet::EMPTY);
    append.series(calls, &[point(1.0)], None);
    drop(append);
    write_one(&writer, 2.0);
    fixture.flush().await;
    assert_eq!(receiver.series().len(), 1);
}

#[tokio::test]
async fn failures_that_may_pass_are_tried_again_in_order() {
    let answers = [500, 503, 429].map(|status| answer_with(status, &[("Retry-After", "0")], "no"));
    let (receiver, url) = Receiver::start(answers).await;
    let fixture = start(vec![endpoint_of_ones(&url)], false);
    let writer = fixture.writer("acme");
    write_one(&writer, 1.0);
    write_one(&writer, 2.0);
    fixture.flush().await;
    let values: Vec<_> = receiver.series().iter().map(|r| r[0].1[0]).collect();
    assert_eq!(values, [1.0, 1.0, 1.0, 1.0, 2.0]);
    let by = "{tenant=\"acme\",endpoint=\"sink\"}";
    assert_eq!(
        fixture
            .metric(&format!("samples_sent_total{by}"))
            .as_deref(),
        Some("2")
    );
    assert_eq!(
        fixture
            .metric(&format!("samples_retried_total{by}"))
            .as_deref(),
        Some("3")
    );
}

#[tokio::test]
async fn refused_samples_are_dropped_by_reason_and_the_next_go() {
    let moved = answer_with(307, &[("Location", "/elsewhere")], "");
    let (receiver, url) = Receiver::start([answer_with(400, &[], "out of order"), moved]).await;
    let fixture = start(vec![endpoint_of_ones(&url)], false);
    let writer = fixture.writer("acme");
    for value in [1.0, 2.0, 3.0] {
        write_one(&writer, value);
    }
    fixture.flush().await;
    let values: Vec<_> = receiver.series().iter().map(|r| r[0].1[0]).collect();
    assert_eq!(
        values,
        [1.0, 2.0, 3.0],
        "each once, and no redirect followed"
    );
    for (reason, want) in [("bad_request", "1"), ("redirected", "1")] {
        let key = format!(
            "samples_dropped_total{{tenant=\"acme\",endpoint=\"sink\",reason=\"{reason}\"}}"
        );
        assert_eq!(fixture.metric(&key).as_deref(), Some(want), "{reason}");
    }
}

#[tokio::test]
async fn tenant_and_headers_go_with_requests() {
    let (receiver, url) = Receiver::start([]).await;
    let mut settings = endpoint(&url);
    settings["headers"] = json!({"X-Extra": "endpoint", "X-Kept": "yes"});
    let fixture = start(vec![settings], true);
    let own = BTreeMap::from([
        ("x-extra".to_owned(), Secret::new("tenant")),
        ("Content-Type".to_owned(), Secret::new("text/plain")),
    ]);
    let mut destinations = fixture.destinations.clone();
    destinations.headers = own;
    let acme = fixture.remote_write.writer(&id("acme"), &destinations);
    write_one(&acme, 1.0);
    fixture.flush().await;
    destinations.headers = BTreeMap::from([("X-Scope-OrgID".to_owned(), Secret::new("other"))]);
    acme.set_destinations(&destinations);
    write_one(&acme, 2.0);
    fixture.flush().await;
    let requests = receiver.requests.lock();
    let shown: Vec<_> = requests
        .iter()
        .map(|(headers, _)| {
            ["x-scope-orgid", "x-extra", "x-kept", "content-type"]
                .map(|name| headers[name].to_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(
        shown,
        [
            ["acme", "tenant", "yes", "application/x-protobuf"],
            ["other", "endpoint", "yes", "application/x-protobuf"],
        ]
    );
}

#[tokio::test]
async fn single_tenant_is_not_named_to_the_receiver() {
    let (receiver, url) = Receiver::start([]).await;
    let fixture = start(vec![endpoint(&url)], false);
    let writer = fixture.writer("single-tenant");
    write_one(&writer, 1.0);
    fixture.flush().await;
    assert!(!receiver.requests.lock()[0].0.contains_key("x-scope-orgid"));
}

#[tokio::test]
async fn endpoints_apply_their_own_rules() {
    let (plain, plain_url) = Receiver::start([]).await;
    let (edited, edited_url) = Receiver::start([]).await;
    let mut settings = endpoint(&edited_url);
    settings["write_relabel_configs"] = json!([
        {"source_labels": ["__name__"], "regex": "latency.*", "action": "drop"},
        {"regex": "cluster", "action": "labeldrop"},
        {"source_labels": ["le"], "target_label": "bound"},
    ]);
    let fixture = start(vec![endpoint(&plain_url), settings], false);
    let writer = fixture.writer("acme");
    let mut append = writer.append(&[("cluster".to_owned(), "x1".to_owned())], "traceID");
    let mut labels = LabelSetBuf::new();
    labels.push("service", "web");
    append.label_set(labels.finish());
    for (name, le) in [
        ("latency_bucket", Some("1")),
        ("size_bucket", Some("2")),
        ("calls", None),
    ] {
        append.series(Series { name, le }, &[point(1.0)], None);
    }
    append.commit();
    fixture.flush().await;
    let labels = |receiver: &Receiver| -> Vec<String> {
        let requests = receiver.series().into_iter().flatten();
        requests.map(|(labels, _)| labels).collect()
    };
    assert_eq!(
        labels(&plain),
        [
            "__name__=latency_bucket cluster=x1 le=1 service=web",
            "__name__=size_bucket cluster=x1 le=2 service=web",
            "__name__=calls cluster=x1 service=web",
        ]
    );
    assert_eq!(
        labels(&edited),
        [
            "__name__=size_bucket bound=2 le=2 service=web",
            "__name__=calls service=web",
        ]
    );
}

#[tokio::test]
async fn tenant_that_cannot_be_sent_does_not_hold_up_another() {
    let (receiver, url) = Receiver::start([answer_with(503, &[("Retry-After", "3600")], "")]).await;
    let fixture = start(vec![endpoint_of_ones(&url)], true);
    let stuck = fixture.writer("stuck");
    let fine = fixture.writer("fine");
    write_one(&stuck, 1.0);
    while receiver.requests.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for value in [2.0, 3.0] {
        write_one(&fine, value);
    }
    while fixture.remote_write.flush(Duration::ZERO).await > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(receiver.values(), [1.0, 2.0, 3.0]);
}

#[tokio::test]
async fn endless_answer_is_cut_off() {
    let endless = futures_util::stream::repeat_with(|| {
        Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b'x'; 1024]))
    });
    let answer = Response::builder()
        .status(500)
        .body(Body::from_stream(endless))
        .unwrap();
    let (receiver, url) = Receiver::start([answer]).await;
    let fixture = start(vec![endpoint(&url)], false);
    let writer = fixture.writer("acme");
    write_one(&writer, 1.0);
    fixture.flush().await;
    assert_eq!(receiver.series().len(), 2);
}

fn endpoint_speaking(url: &str, message: &str) -> serde_json::Value {
    let mut settings = endpoint(url);
    settings["protobuf_message"] = json!(message);
    settings
}

fn version(version: &str, value: f64) -> (String, f64) {
    (version.to_owned(), value)
}

/// 415 is what the specification asks for; 204 without a count is what receivers
/// say that know 1.0 only and store nothing of what they do not know.
#[tokio::test]
async fn auto_sends_the_same_again_in_1_0_and_tries_2_0_after_an_hour() {
    for answer in [|| answer_with(415, &[], "no"), || answer_with(204, &[], "")] {
        let answers = [answer(), written(204, "1"), written(204, "1"), answer()];
        let (receiver, url) = Receiver::start(answers).await;
        let clock = Clock::manual(1);
        let settings = endpoint_speaking(&url, "auto");
        let fixture = start_at(clock.clone(), vec![settings], false);
        let writer = fixture.writer("acme");
        write_one(&writer, 1.0);
        fixture.flush().await;
        write_one(&writer, 2.0);
        fixture.flush().await;
        clock.set(1 + u64::try_from(FALLBACK.as_nanos()).unwrap());
        write_one(&writer, 3.0);
        fixture.flush().await;
        assert_eq!(
            receiver.versions(),
            [
                version(V2, 1.0),
                version(V1, 1.0),
                version(V1, 2.0),
                version(V2, 3.0),
                version(V1, 3.0),
            ]
        );
        let by = "{tenant=\"acme\",endpoint=\"sink\"}";
        let sent = fixture.metric(&format!("samples_sent_total{by}"));
        assert_eq!(sent.as_deref(), Some("3"));
        let fallbacks = fixture.metric("fallbacks_total{endpoint=\"sink\"}");
        assert_eq!(fallbacks.as_deref(), Some("2"));
    }
}

#[tokio::test]
async fn what_waited_in_2_0_arrives_in_1_0_after_the_first_was_not_taken() {
    let answers = [
        answer_with(503, &[("Retry-After", "0")], ""),
        answer_with(415, &[], ""),
    ];
    let (receiver, url) = Receiver::start(answers).await;
    let mut settings = endpoint_of_ones(&url);
    settings["protobuf_message"] = json!("auto");
    let fixture = start(vec![settings], false);
    let writer = fixture.writer("acme");
    for value in [1.0, 2.0, 3.0] {
        write_one(&writer, value);
    }
    fixture.flush().await;
    assert_eq!(
        receiver.versions(),
        [
            version(V2, 1.0),
            version(V2, 1.0),
            version(V1, 1.0),
            version(V1, 2.0),
            version(V1, 3.0),
        ]
    );
    let fallbacks = fixture.metric("fallbacks_total{endpoint=\"sink\"}");
    assert_eq!(fallbacks.as_deref(), Some("1"));
}

#[tokio::test]
async fn auto_stays_with_2_0_where_it_is_spoken() {
    let (receiver, url) = Receiver::start([written(200, "1"), written(204, "1")]).await;
    let fixture = start(vec![endpoint_speaking(&url, "auto")], false);
    let writer = fixture.writer("acme");
    for value in [1.0, 2.0] {
        write_one(&writer, value);
        fixture.flush().await;
    }
    assert_eq!(receiver.versions(), [version(V2, 1.0), version(V2, 2.0)]);
}

#[tokio::test]
async fn each_endpoint_gets_what_it_speaks_of_one_collection() {
    let (first, first_url) = Receiver::start([]).await;
    let (second, second_url) = Receiver::start([written(204, "1")]).await;
    let settings = vec![
        endpoint(&first_url),
        endpoint_speaking(&second_url, "io.prometheus.write.v2.Request"),
    ];
    let fixture = start(settings, false);
    let writer = fixture.writer("acme");
    write_one(&writer, 1.0);
    fixture.flush().await;
    assert_eq!(first.versions(), [version(V1, 1.0)]);
    assert_eq!(second.versions(), [version(V2, 1.0)]);
    assert_eq!(first.series(), second.series());
}

/// What a receiver of 2.0 says it has written is what counts as sent.
#[tokio::test]
async fn partial_writes_are_counted_by_what_the_receiver_says() {
    let answers = [
        written(204, "2"),
        written(400, "1"),
        written(500, "1"),
        written(204, "9"),
        answer_with(204, &[], ""),
        answer_with(415, &[], ""),
    ];
    let (receiver, url) = Receiver::start(answers).await;
    let mut settings = endpoint_speaking(&url, "io.prometheus.write.v2.Request");
    settings["queue_config"]["max_samples_per_send"] = json!(3);
    let fixture = start(vec![settings], false);
    let writer = fixture.writer("acme");
    for _ in 0..5 {
        let mut append = writer.append(&[], "traceID");
        append.label_set(model::LabelSet::EMPTY);
        for name in ["a", "b", "c"] {
            append.series(Series { name, le: None }, &[point(1.0)], None);
        }
        append.commit();
    }
    fixture.flush().await;
    assert_eq!(receiver.versions().len(), 6, "only the 500 is sent again");
    let by = "tenant=\"acme\",endpoint=\"sink\"";
    for (name, want) in [
        (format!("samples_sent_total{{{by}}}"), "6"),
        (format!("samples_retried_total{{{by}}}"), "3"),
        (
            format!("samples_dropped_total{{{by},reason=\"not_written\"}}"),
            "4",
        ),
        (
            format!("samples_dropped_total{{{by},reason=\"bad_request\"}}"),
            "2",
        ),
        (
            format!("samples_dropped_total{{{by},reason=\"unsupported_media_type\"}}"),
            "3",
        ),
    ] {
        assert_eq!(fixture.metric(&name).as_deref(), Some(want), "{name}");
    }
}

#[tokio::test]
async fn rules_apply_in_2_0_too() {
    let (receiver, url) = Receiver::start([written(204, "1")]).await;
    let mut settings = endpoint_speaking(&url, "io.prometheus.write.v2.Request");
    settings["write_relabel_configs"] = json!([
        {"source_labels": ["__name__"], "regex": "latency.*", "action": "drop"},
        {"source_labels": ["le"], "target_label": "bound"},
    ]);
    let fixture = start(vec![settings], false);
    let writer = fixture.writer("acme");
    let mut append = writer.append(&[("cluster".to_owned(), "x1".to_owned())], "traceID");
    let mut labels = LabelSetBuf::new();
    labels.push("service", "web");
    append.label_set(labels.finish());
    for name in ["latency_bucket", "size_bucket"] {
        let le = Some("1");
        append.series(Series { name, le }, &[point(1.0)], None);
    }
    append.commit();
    fixture.flush().await;
    let series = receiver.series().into_iter().flatten();
    let labels: Vec<_> = series.map(|(labels, _)| labels).collect();
    assert_eq!(
        labels,
        ["__name__=size_bucket bound=1 cluster=x1 le=1 service=web"]
    );
}

#[tokio::test]
async fn senders_end_when_they_are_stopped_and_when_nobody_is_left() {
    let (_, url) = Receiver::start([]).await;
    let stopped = start(vec![endpoint(&url)], false);
    stopped.remote_write.stop();
    assert!(stopped.tasks.join(Duration::from_secs(60)).await.is_empty());

    let left = start(vec![endpoint(&url)], false);
    let writer = left.writer("acme");
    drop(left.remote_write);
    assert_eq!(left.tasks.running(), 1);
    drop(writer);
    assert!(left.tasks.join(Duration::from_secs(60)).await.is_empty());
}

#[tokio::test]
async fn unusable_endpoint_is_named_with_its_reason() {
    let config = RemoteWriteConfig {
        endpoints: vec![
            serde_json::from_value(json!({"url": "http://h"})).unwrap(),
            serde_json::from_value(json!({"url": "ftp://h"})).unwrap(),
        ],
        add_org_id_header: false,
        spool: spool(&tempfile::tempdir().unwrap()),
    };
    let metrics = RemoteWriteMetrics::register(&mut telemetry::new_metrics_registry());
    let tasks = TaskGroup::new();
    let error = RemoteWrite::start(config, metrics, Clock::system(), &tasks).unwrap_err();
    assert_eq!(
        telemetry::error_chain(&error).to_string(),
        "remote_write[1] cannot be used: url: has the scheme \"ftp\"; http and https are accepted"
    );
    assert_eq!(
        tasks.running(),
        0,
        "nothing is started when one is unusable"
    );
}

#[test]
fn endpoints_are_named_by_host_and_port_without_secrets() {
    let configs: Vec<EndpointConfig> = [
        "http://u:p@h/x?k=1",
        "https://h/",
        "http://h:80/",
        "http://h:9090/",
    ]
    .map(|url| serde_json::from_value(json!({ "url": url })).unwrap())
    .into();
    assert_eq!(names(&configs), ["h:80", "h:443", "h:80-2", "h:9090"]);
}
