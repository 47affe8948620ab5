use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use axum::Router;
use http::{Request, Response};
use overrides::TenantConfig;
use prost::Message;
use proto::otlp::collector::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use server::{Listener, ServeOptions};
use telemetry::{MetricsRegistry, encode_metrics, new_metrics_registry};
use tonic::Status;
use tonic::body::Body;

use super::*;
use crate::testing::{request, span};

/// An OTLP endpoint that answers as it is told.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Sunk>>);

#[derive(Default)]
struct Sunk {
    /// Tenant and request of all that was taken.
    taken: Vec<(String, Bytes)>,
    /// What comes next, instead of taking it.
    faults: Vec<Fault>,
}

#[derive(Clone)]
enum Fault {
    Status(Status),
    /// Takes it and says that spans were refused.
    Partial(i64),
    /// Never answers.
    Silent,
}

impl Sink {
    fn fails(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.lock().faults = faults.into_iter().collect();
    }

    fn taken(&self) -> Vec<(String, Bytes)> {
        self.0.lock().taken.clone()
    }

    async fn answer(self, tenant: String, message: Bytes) -> Result<Bytes, Status> {
        let fault = {
            let mut sunk = self.0.lock();
            match sunk.faults.is_empty() {
                true => None,
                false => Some(sunk.faults.remove(0)),
            }
        };
        let mut response = ExportTraceServiceResponse::default();
        match fault {
            Some(Fault::Status(status)) => return Err(status),
            Some(Fault::Silent) => std::future::pending().await,
            Some(Fault::Partial(rejected_spans)) => {
                response.partial_success = Some(ExportTracePartialSuccess {
                    rejected_spans,
                    error_message: "too old".to_owned(),
                });
            }
            None => {}
        }
        self.0.lock().taken.push((tenant, message));
        Ok(response.encode_to_vec().into())
    }
}

impl tower::Service<Request<axum::body::Body>> for Sink {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future =
        Pin<Box<dyn Future<Output = Result<Self::Response, std::convert::Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<axum::body::Body>) -> Self::Future {
        let sink = self.clone();
        let tenant = request.headers()["x-scope-orgid"]
            .to_str()
            .unwrap()
            .to_owned();
        Box::pin(async move {
            let call = |message| sink.answer(tenant, message);
            Ok(server::grpc::unary(request.into_body(), call).await)
        })
    }
}

/// Forwarders, each with a sink.
struct Fixture {
    forwarders: Forwarders,
    sinks: Vec<Sink>,
    registry: MetricsRegistry,
    tasks: TaskGroup,
    shutdown: Shutdown,
}

impl Fixture {
    fn new(configs: Vec<ForwarderConfig>) -> Self {
        let (tasks, shutdown) = (TaskGroup::new(), Shutdown::new());
        let mut registry = new_metrics_registry();
        let metrics = ForwarderMetrics::register(&mut registry);
        let mut sinks = Vec::new();
        let mut config = TenantConfig::default();
        let mut configs = configs;
        for (index, forwarder) in configs.iter_mut().enumerate() {
            let sink = Sink::default();
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), "test").unwrap();
            forwarder.otlpgrpc.endpoints = vec![listener.local_addr().to_string()];
            forwarder.otlpgrpc.tls.insecure = true;
            forwarder.name = index.to_string();
            let router = Router::new().fallback_service(sink.clone());
            let (options, group) = (ServeOptions::default(), TaskGroup::new());
            listener.serve(router, options, Shutdown::new(), &group);
            sinks.push(sink);
            config.forwarders.push(forwarder.name.clone());
        }
        config.forwarders.push("unknown".to_owned());
        let overrides = Overrides::fixed(config);
        Self {
            forwarders: Forwarders::start(&configs, overrides, &metrics, &tasks, &shutdown)
                .unwrap(),
            sinks,
            registry,
            tasks,
            shutdown,
        }
    }

    async fn require(&self, request: &Bytes) -> Result<String, ForwardError> {
        self.forwarders.require(&tenant("acme"), request).await
    }

    /// Ends the workers; what waits has had its turn then.
    async fn stop(&self) {
        self.shutdown.trigger();
        assert_eq!(self.tasks.join(PATIENCE).await, [""; 0]);
    }

    /// Waits until a line is among the metrics.
    async fn has(&self, line: &str) {
        let line = format!("spanmill_forwarder_{line}\n");
        let waiting = async {
            while !encode_metrics(&self.registry).contains(&line) {
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(found.is_ok(), "no {line}{}", encode_metrics(&self.registry));
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn bytes(names: &[&str]) -> Bytes {
    request(names.iter().map(|name| span(name)).collect())
        .encode_to_vec()
        .into()
}

fn required() -> ForwarderConfig {
    ForwarderConfig {
        required: true,
        ..ForwarderConfig::default()
    }
}

fn unavailable() -> Fault {
    let delay = Duration::from_secs(7);
    Fault::Status(server::status::retry_info(
        Status::unavailable("full"),
        delay,
    ))
}

fn acme(request: &Bytes) -> (String, Bytes) {
    ("acme".to_owned(), request.clone())
}

#[tokio::test]
async fn a_retry_reaches_only_required_endpoints_that_have_not_taken_it() {
    let fixture = Fixture::new(vec![required(), required()]);
    fixture.sinks[1].fails([unavailable(), unavailable()]);
    let sent = bytes(&["a"]);
    for _ in 0..2 {
        assert_eq!(
            fixture.require(&sent).await,
            Err(ForwardError::Unavailable {
                forwarder: "1".to_owned(),
                reason: "Unavailable: full".to_owned(),
                retry_after: Duration::from_secs(7),
            })
        );
    }
    // Taken by both, and so a third time by none.
    for _ in 0..2 {
        assert_eq!(fixture.require(&sent).await, Ok(String::new()));
    }
    for sink in &fixture.sinks {
        assert_eq!(sink.taken(), [acme(&sent)]);
    }
    fixture
        .has("requests_total{forwarder=\"0\",result=\"repeated\"} 3")
        .await;
    fixture
        .has("requests_total{forwarder=\"1\",result=\"unavailable\"} 2")
        .await;
    fixture
        .has("requests_total{forwarder=\"1\",result=\"taken\"} 1")
        .await;
}

#[tokio::test]
async fn what_a_required_endpoint_refuses_the_client_is_told() {
    let fixture = Fixture::new(vec![required()]);
    let sent = bytes(&["a", "b", "c"]);
    fixture.sinks[0].fails([
        Fault::Status(Status::invalid_argument("bad id")),
        Fault::Partial(2),
    ]);
    let refused = fixture.require(&sent).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "forwarder 0 refuses this request: InvalidArgument: bad id"
    );
    assert_eq!(
        fixture.require(&sent).await.unwrap(),
        "forwarder 0 refused 2 spans: too old"
    );
    fixture.has("spans_lost_total{forwarder=\"0\"} 2").await;
}

#[tokio::test]
async fn a_required_endpoint_without_an_answer_is_unavailable() {
    let fixture = Fixture::new(vec![ForwarderConfig {
        timeout: Duration::from_millis(50),
        ..required()
    }]);
    fixture.sinks[0].fails([Fault::Silent]);
    let refused = fixture.require(&bytes(&["a"])).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "forwarder 0 does not take spans now: no answer in time"
    );
}

#[tokio::test]
async fn filters_hold_for_required_and_others() {
    let mut configs = vec![required(), ForwarderConfig::default()];
    for config in &mut configs {
        config.filter.traces.span = vec!["name == \"b\"".to_owned()];
    }
    let fixture = Fixture::new(configs);
    for request in [bytes(&["a", "b"]), bytes(&["b"])] {
        fixture.require(&request).await.unwrap();
        fixture.forwarders.offer(&tenant("acme"), &request);
    }
    fixture.stop().await;
    for (index, sink) in fixture.sinks.iter().enumerate() {
        assert_eq!(sink.taken(), [acme(&bytes(&["a"]))]);
        let of =
            |result: &str| format!("requests_total{{forwarder=\"{index}\",result=\"{result}\"}} 1");
        fixture.has(&of("filtered")).await;
        fixture.has(&of("taken")).await;
        fixture
            .has(&format!("spans_filtered_total{{forwarder=\"{index}\"}} 2"))
            .await;
    }
}

#[tokio::test]
async fn others_try_again_until_an_endpoint_takes_it() {
    let fixture = Fixture::new(vec![ForwarderConfig::default()]);
    let soon = server::status::retry_info(Status::unavailable("full"), Duration::from_millis(1));
    fixture.sinks[0].fails(vec![Fault::Status(soon); 3]);
    let (first, second) = (bytes(&["a"]), bytes(&["b"]));
    fixture.forwarders.offer(&tenant("acme"), &first);
    fixture.forwarders.offer(&tenant("acme"), &second);
    fixture
        .has("requests_total{forwarder=\"0\",result=\"taken\"} 2")
        .await;
    fixture
        .has("requests_total{forwarder=\"0\",result=\"unavailable\"} 3")
        .await;
    fixture.has("queued_bytes{forwarder=\"0\"} 0").await;
    assert_eq!(fixture.sinks[0].taken(), [acme(&first), acme(&second)]);
}

#[tokio::test]
async fn what_others_cannot_send_is_counted_by_reason() {
    let fixture = Fixture::new(vec![ForwarderConfig {
        queue_size: 1,
        max_elapsed_time: Duration::from_secs(5),
        ..ForwarderConfig::default()
    }]);
    let sink = &fixture.sinks[0];
    let offer = |names: &[&str]| fixture.forwarders.offer(&tenant("acme"), &bytes(names));
    let result = |result: &str| format!("requests_total{{forwarder=\"0\",result=\"{result}\"}} 1");

    sink.fails([Fault::Status(Status::invalid_argument("bad"))]);
    offer(&["a"]);
    fixture.has(&result("refused")).await;
    // It is to wait for longer than it may.
    sink.fails([unavailable()]);
    offer(&["a", "b"]);
    fixture.has(&result("expired")).await;
    // The first is on its way for as long as the test takes, the second fills the queue.
    sink.fails([Fault::Silent]);
    offer(&["a"]);
    while !sink.0.lock().faults.is_empty() {
        tokio::task::yield_now().await;
    }
    offer(&["b"]);
    offer(&["c", "d", "e"]);
    fixture.has(&result("queue_full")).await;
    fixture.has("spans_lost_total{forwarder=\"0\"} 6").await;
}
