//! Generators that listen, and a distributor in front of them. The ring is changed by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use generator::{
    Dependencies, Generator, GeneratorMetrics, NodePushDependencies, NodePushMetrics, NodePushes,
};
use lifecycle::{Shutdown, TaskGroup};
use model::{Clock, ClusterSeed, PushOutcome, TenantId, TraceTokens};
use overrides::{Overrides, Processor, Processors, TenantConfig};
use parking_lot::Mutex;
use prost::Message as _;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};
use ring::{Member, MemberState, RingView, Role};
use server::nodes::NODE_PUSH_ALL;
use server::{
    Budget, Listener, NodeAuthentication, NodeAuthenticationConfig, ServeOptions, Tenancy,
};
use spanmill_distributor::{
    ClusterPusher, ClusterPusherDependencies, Distributor, DistributorConfig, DistributorMetrics,
    GeneratorClientMetrics, GeneratorClients, Limits, MetricsGeneratorClientConfig, OwnGenerator,
    ReceiveError,
};
use telemetry::MetricsRegistry;
use tokio::sync::Notify;
use tonic::Status;

const NOW: u64 = 1_700_000_000_000_000_000;
const TENANT: &str = "acme";

pub(crate) fn tenant() -> TenantId {
    TenantId::parse(TENANT).unwrap()
}

pub(crate) fn seed() -> ClusterSeed {
    ClusterSeed::from_text("cluster")
}

/// Span metrics for everyone.
fn config() -> TenantConfig {
    TenantConfig {
        processors: Processors::from_iter([Processor::SpanMetrics]),
        ..TenantConfig::default()
    }
}

/// A generator that listens.
pub(crate) struct Node {
    pub(crate) id: Arc<str>,
    pub(crate) address: SocketAddr,
    pub(crate) generator: Generator,
    /// The ring as this node sees it.
    pub(crate) ring: RingView,
    pub(crate) faults: Arc<Faults>,
    pushes: NodePushes,
    /// The memory for pushes.
    pub(crate) budget: Budget,
    options: ServeOptions,
    listening: Shutdown,
    shutdown: Shutdown,
    registry: MetricsRegistry,
}

/// What goes wrong with a node, on the way in and out.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// A push is applied, and its answer never comes.
    answers_get_lost: AtomicBool,
    /// A push is not even read.
    stands_still: AtomicBool,
    /// It is of a version that takes no pushes together.
    takes_one: Mutex<TakesOne>,
    /// Calls that came.
    pub(crate) calls: AtomicU64,
    goes_on: Notify,
    pub(crate) happened: Notify,
}

/// Why it takes no pushes together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum TakesOne {
    #[default]
    No,
    Unknown,
    NobodyMay,
    TooLong,
}

impl Faults {
    pub(crate) fn lose_answers(&self, lose: bool) {
        self.answers_get_lost.store(lose, Ordering::SeqCst);
    }

    pub(crate) fn take_one(&self, why: TakesOne) {
        *self.takes_one.lock() = why;
    }

    pub(crate) fn stand_still(&self) {
        self.stands_still.store(true, Ordering::SeqCst);
    }

    pub(crate) fn go_on(&self) {
        self.stands_still.store(false, Ordering::SeqCst);
        self.goes_on.notify_waiters();
    }
}

async fn faulty(State(faults): State<Arc<Faults>>, request: Request, next: Next) -> Response {
    faults.calls.fetch_add(1, Ordering::SeqCst);
    if request.uri().path() == NODE_PUSH_ALL {
        match *faults.takes_one.lock() {
            TakesOne::No => {}
            TakesOne::Unknown => return StatusCode::NOT_FOUND.into_response(),
            TakesOne::NobodyMay => return Status::unauthenticated("no token").into_http(),
            TakesOne::TooLong => return Status::resource_exhausted("too long").into_http(),
        }
    }
    if faults.stands_still.load(Ordering::SeqCst) {
        let goes_on = faults.goes_on.notified();
        faults.happened.notify_one();
        goes_on.await;
    }
    let response = next.run(request).await;
    if faults.answers_get_lost.load(Ordering::SeqCst) {
        faults.happened.notify_one();
        std::future::pending::<()>().await;
    }
    response
}

impl Node {
    pub(crate) fn start(
        number: u16,
        options: ServeOptions,
        token: &NodeAuthenticationConfig,
        deduplicate_pushes: bool,
    ) -> Self {
        let mut registry = telemetry::new_metrics_registry();
        let id: Arc<str> = format!("g-{number}").into();
        let generator = Generator::new(Dependencies {
            overrides: Overrides::fixed(config()),
            remote_write: None,
            metrics: GeneratorMetrics::register(&mut registry),
            clock: Clock::manual(NOW),
            max_lanes: 2,
            deduplicate_pushes,
            instance_label: Arc::clone(&id).into(),
            state_dir: None,
            retire_after: Duration::ZERO,
        });
        let (ring, shutdown) = (RingView::default(), Shutdown::new());
        let budget = Budget::unlimited();
        let dependencies = NodePushDependencies {
            generator: generator.clone(),
            ring: ring.clone(),
            id: Arc::clone(&id),
            seed: seed(),
            authentication: NodeAuthentication::new(token),
            is_back: Arc::new(|_| true),
            budget: budget.clone(),
            metrics: NodePushMetrics::register(&mut registry),
        };
        let mut node = Self {
            pushes: NodePushes::start(dependencies, &TaskGroup::new(), &shutdown),
            budget,
            id,
            address: "127.0.0.1:0".parse().unwrap(),
            generator,
            ring,
            faults: Arc::default(),
            options,
            listening: Shutdown::new(),
            shutdown,
            registry,
        };
        node.listen();
        node
    }

    /// Listens, and again at the same address.
    pub(crate) fn listen(&mut self) {
        let listener = Listener::bind(self.address, "test").unwrap();
        self.address = listener.local_addr();
        self.listening = Shutdown::new();
        let faults = Arc::clone(&self.faults);
        let routes = self.pushes.routes(4 << 20);
        let routes = routes.layer(from_fn_with_state(faults, faulty));
        let (options, tasks) = (self.options.clone(), TaskGroup::new());
        listener.serve(routes, options, self.listening.clone(), &tasks);
    }

    /// Cuts off its connections, and listens no more; what it has counted stays.
    pub(crate) async fn cut_off(&self) {
        self.listening.trigger();
        while tokio::net::TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn member(&self) -> Member {
        Member {
            id: Arc::clone(&self.id),
            incarnation: 1,
            role: Role::Generator,
            state: MemberState::Active,
            zone: "".into(),
            address: self.address,
            token_seed: u64::from_le_bytes(self.id.repeat(3).as_bytes()[..8].try_into().unwrap()),
            tokens: 512,
            version: "".into(),
            is_alive: true,
        }
    }

    fn own(&self, series: &str) -> u64 {
        metric(&self.registry, &format!("spanmill_generator_{series}"))
    }

    /// Spans that were counted, and duplicates.
    pub(crate) fn counted(&self) -> (u64, u64) {
        let of = format!("tenant=\"{TENANT}\",processor=");
        (
            self.own(&format!("spans_counted_total{{{of}\"span-metrics\"}}")),
            self.own(&format!(
                "spans_discarded_total{{{of}\"all\",reason=\"duplicate\"}}"
            )),
        )
    }

    pub(crate) fn refused(&self, reason: &str) -> u64 {
        self.own(&format!("node_pushes_refused_total{{reason=\"{reason}\"}}"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.listening.trigger();
        self.shutdown.trigger();
    }
}

/// A distributor in front of nodes.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    /// The ring as the distributor sees it.
    pub(crate) ring: RingView,
    pub(crate) distributor: Distributor<ClusterPusher>,
    registry: MetricsRegistry,
}

/// How a cluster is made.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) client: MetricsGeneratorClientConfig,
    pub(crate) serve: ServeOptions,
    /// What generators ask for.
    pub(crate) asked: NodeAuthenticationConfig,
    /// What the distributor shows.
    pub(crate) shown: NodeAuthenticationConfig,
    pub(crate) ring_size: u64,
    /// What comes again is another push.
    pub(crate) counts_copies: bool,
    /// The distributor is the first node, in one process with its generator.
    pub(crate) is_first_node: bool,
}

impl Cluster {
    pub(crate) fn new(nodes: u16) -> Self {
        Self::with(nodes, Options::default())
    }

    pub(crate) fn with(nodes: u16, options: Options) -> Self {
        let serve = ServeOptions {
            drain_timeout: Duration::ZERO,
            ..options.serve
        };
        let deduplicate_pushes = !options.counts_copies;
        let start = |number| Node::start(number, serve.clone(), &options.asked, deduplicate_pushes);
        let nodes: Vec<_> = (1..=nodes).map(start).collect();
        let ring = RingView::default();
        let mut registry = telemetry::new_metrics_registry();
        let metrics = DistributorMetrics::register(&mut registry);
        let clients = GeneratorClients::start(
            &options.client,
            &options.shown,
            ring.clone(),
            GeneratorClientMetrics::register(&mut registry),
            &TaskGroup::new(),
            &Shutdown::new(),
        );
        let tenants = Overrides::fixed(TenantConfig {
            ring_size: options.ring_size,
            ..config()
        });
        let first = nodes.first().filter(|_| options.is_first_node);
        let own = first.map(|node| {
            let pushes = node.pushes.clone();
            OwnGenerator::new(move |metadata, request| pushes.take(metadata, request))
        });
        let pusher = ClusterPusher::new(ClusterPusherDependencies {
            ring: ring.clone(),
            seed: seed(),
            overrides: tenants.clone(),
            clients: clients.unwrap(),
            own,
            id: first.map_or("d-1".into(), |node| Arc::clone(&node.id)),
            incarnation: 1,
            began: tokio::time::Instant::now(),
            deduplicate_pushes,
            metrics: metrics.clone(),
        });
        let tenancy = Tenancy {
            multitenancy_enabled: true,
        };
        let limits = Limits::new(tenants, Budget::unlimited(), &DistributorConfig::default());
        let cluster = Self {
            nodes,
            ring,
            distributor: Distributor::new(tenancy, pusher, metrics, limits),
            registry,
        };
        cluster.everyone_sees(cluster.members());
        cluster
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        self.nodes.iter().map(Node::member).collect()
    }

    pub(crate) fn everyone_sees(&self, members: Vec<Member>) {
        for node in &self.nodes {
            node.ring.update(members.clone());
        }
        self.ring.update(members);
    }

    pub(crate) async fn push(&self, request: &Bytes) -> Result<PushOutcome, ReceiveError> {
        let push = self.distributor.push(tenant(), request.clone(), false);
        push.await
    }

    /// Spans of a request by the node that owns them, as the ring is now.
    pub(crate) fn owned(&self, traces: std::ops::Range<u64>, ring_size: usize) -> Vec<u64> {
        let tokens = TraceTokens::new(seed(), &tenant());
        let shard = self.ring.shard(&tenant(), ring_size);
        let mut owned = BTreeMap::<Arc<str>, u64>::new();
        for trace in traces {
            let owner = shard.owner(tokens.of(&trace_id(trace))).unwrap();
            let id = shard.placement().member(owner).unwrap().id.clone();
            *owned.entry(id).or_default() += SPANS_OF_A_TRACE;
        }
        let nodes = self.nodes.iter();
        let of = |node: &Node| owned.get(&node.id).copied().unwrap_or_default();
        nodes.map(of).collect()
    }

    /// Spans that each node has counted.
    pub(crate) fn counted(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.counted().0).collect()
    }

    pub(crate) fn duplicates(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.counted().1).collect()
    }

    pub(crate) fn metric(&self, series: &str) -> u64 {
        metric(&self.registry, &format!("spanmill_distributor_{series}"))
    }

    /// Spans received, pushed and refused of the tenant; the first is the sum of the others.
    pub(crate) fn ledger(&self) -> (u64, u64, u64) {
        let of_tenant = |name| self.metric(&format!("spans_{name}_total{{tenant=\"{TENANT}\"}}"));
        let refused = ["unavailable", "unanswered", "malformed"].map(|reason| self.refused(reason));
        let ledger = (
            of_tenant("received"),
            of_tenant("pushed"),
            refused.iter().sum(),
        );
        assert_eq!(ledger.0, ledger.1 + ledger.2);
        ledger
    }

    pub(crate) fn refused(&self, reason: &str) -> u64 {
        self.metric(&format!(
            "spans_refused_total{{tenant=\"{TENANT}\",reason=\"{reason}\"}}"
        ))
    }

    pub(crate) fn of_tenant(&self, name: &str) -> u64 {
        self.metric(&format!("{name}_total{{tenant=\"{TENANT}\"}}"))
    }
}

fn metric(registry: &MetricsRegistry, series: &str) -> u64 {
    let text = telemetry::encode_metrics(registry);
    let prefix = format!("{series} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
    value.map_or(0, |value| value.parse().unwrap())
}

pub(crate) const SPANS_OF_A_TRACE: u64 = 3;

pub(crate) fn trace_id(trace: u64) -> Vec<u8> {
    [(trace + 1).to_be_bytes(), (trace + 7).to_le_bytes()].concat()
}

/// A request with the spans of these traces, those of one trace apart from each other.
pub(crate) fn request(traces: std::ops::Range<u64>) -> Bytes {
    let of_trace = |trace: u64, span: u64| Span {
        trace_id: trace_id(trace),
        span_id: (trace * SPANS_OF_A_TRACE + span + 1).to_be_bytes().to_vec(),
        name: "pay".to_owned(),
        start_time_unix_nano: NOW - 1_000_000,
        end_time_unix_nano: NOW,
        ..Span::default()
    };
    let resource_spans = (0..SPANS_OF_A_TRACE).map(|span| ResourceSpans {
        scope_spans: vec![ScopeSpans {
            spans: traces.clone().map(|trace| of_trace(trace, span)).collect(),
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    });
    let request = ExportTraceServiceRequest {
        resource_spans: resource_spans.collect(),
    };
    request.encode_to_vec().into()
}

/// Waits until something holds.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "waited in vain");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
