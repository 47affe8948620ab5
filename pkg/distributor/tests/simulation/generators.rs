//! Generators: production's, over connections in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use bytes::Bytes;
use generator::{
    Dependencies, Generator, GeneratorMetrics, InstanceLabel, NodePushDependencies,
    NodePushMetrics, NodePushes,
};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lifecycle::TaskGroup;
use overrides::{Overrides, Processor, Processors, TenantConfig};
use parking_lot::Mutex;
use prost::Message as _;
use proto::cluster;
use proto::otlp::collector::ExportTraceServiceRequest;
use ring::{MemberState, Role};
use server::nodes::{NODE_PUSH_ALL, NOT_APPLIED_HEADER, NotApplied};
use server::{Budget, NodeAuthentication, NodeAuthenticationConfig, Tenancy};
use telemetry::MetricsRegistry;
use tokio::io::DuplexStream;
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;

use crate::counted;
use crate::gossip::Gossip;
use crate::network::Network;
use crate::world::{Bug, TENANT, Tasks, Watched, World, cluster_seed, tenant};

/// How long a node that leaves waits until the others know; as `spanmill` does.
const ANNOUNCED: Duration = Duration::from_millis(600);
/// The label that tells the series of generators apart; as in `spanmill`.
const INSTANCE_LABEL: &str = "spanmill_instance";
/// How long pushes may take that are under way when a generator ends.
const DRAIN: Duration = Duration::from_secs(5);
/// How long a node says that it has left.
const LEAVING: Duration = Duration::from_millis(600);
/// How often it looks whether it stood still.
const TICK: Duration = Duration::from_millis(100);
/// How often its series are collected.
pub(crate) const COLLECTION: Duration = Duration::from_secs(5);

/// What precedes a message of gRPC, in bytes.
const FRAME: usize = 5;
/// What is said of a push that was applied.
const APPLIED: &str = "applied";

/// Spans by trace.
pub(crate) type Counts = BTreeMap<u64, u64>;

/// What everyone may send, whenever it comes.
pub(crate) fn config() -> TenantConfig {
    TenantConfig {
        processors: Processors::from_iter([Processor::SpanMetricsCount]),
        ingestion_time_range_slack: Duration::from_secs(3_600),
        ..TenantConfig::default()
    }
}

/// A node that generates, through all its lives.
#[derive(Clone)]
pub(crate) struct Node(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    address: SocketAddr,
    /// In gossip.
    number: usize,
    world: World,
    network: Network,
    gossip: Gossip,
    state_dir: PathBuf,
    /// Whether something is being done to it.
    is_busy: AtomicBool,
    lives: AtomicU64,
    life: Mutex<Option<Life>>,
    /// What became of those that have ended.
    ended: Mutex<BTreeMap<counted::Life, Ended>>,
    /// What a planned stop has saved for the next life.
    saved: Mutex<Counts>,
    faults: Faults,
}

struct Life {
    incarnation: u64,
    generator: Generator,
    pushes: NodePushes,
    registry: MetricsRegistry,
    /// All that it does; its connections apart.
    tasks: Tasks,
    connections: Tasks,
    closing: Watched<bool>,
    /// What it began with.
    base: Counts,
    /// What it had when it was collected last.
    collected: Arc<Mutex<Counts>>,
}

/// What became of a life.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// What was collected of what it counted itself.
    pub(crate) collected: Counts,
    /// The same, and what was not.
    pub(crate) counted: Counts,
    /// Spans that it recognised.
    pub(crate) duplicates: u64,
    /// Pushes that it refused, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
}

/// What goes wrong with a node, on the way in and out.
#[derive(Default)]
struct Faults {
    /// Milliseconds that a push waits before it is applied, and its answer after.
    before_millis: AtomicU64,
    after_millis: AtomicU64,
    /// How many answers get lost, together with their connection.
    answers_to_lose: AtomicU64,
}

impl Node {
    pub(crate) fn new(
        name: &str,
        last_byte: u8,
        world: &World,
        network: &Network,
        gossip: &Gossip,
        state_dir: PathBuf,
    ) -> Self {
        let name: Arc<str> = name.into();
        let address: SocketAddr = ([10, 0, 0, last_byte], 9095).into();
        network.name(address, &name);
        Self(Arc::new(Inner {
            number: gossip.add(&name, address, Role::Generator),
            name,
            address,
            world: world.clone(),
            network: network.clone(),
            gossip: gossip.clone(),
            state_dir,
            is_busy: AtomicBool::new(false),
            lives: AtomicU64::new(0),
            life: Mutex::new(None),
            ended: Mutex::default(),
            saved: Mutex::default(),
            faults: Faults::default(),
        }))
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    pub(crate) fn is_up(&self) -> bool {
        self.0.life.lock().is_some()
    }

    /// Takes it for something to be done to it; none if something is.
    pub(crate) fn occupy(&self) -> Option<Occupied> {
        let was_busy = self.0.is_busy.swap(true, Ordering::SeqCst);
        (!was_busy).then(|| Occupied(self.clone()))
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.0.is_busy.load(Ordering::SeqCst)
    }

    /// Begins its next life.
    pub(crate) fn start(&self) {
        let Inner {
            name,
            number,
            world,
            network,
            gossip,
            ..
        } = &*self.0;
        let incarnation = self.0.lives.fetch_add(1, Ordering::SeqCst) + 1;
        world.say(format!("{name} begins life {incarnation}"));
        let mut registry = telemetry::new_metrics_registry();
        let generator = Generator::new(Dependencies {
            overrides: Overrides::fixed(config()),
            remote_write: None,
            metrics: GeneratorMetrics::register(&mut registry),
            clock: world.clock().clone(),
            max_lanes: 1,
            deduplicate_pushes: !world.has(Bug::RecognisesNothing),
            instance_label: InstanceLabel {
                default_name: INSTANCE_LABEL.into(),
                value: Arc::clone(name),
            },
            state_dir: Some(self.0.state_dir.clone()),
            retire_after: Duration::ZERO,
        });
        if !world.has(Bug::BeginsAnew) {
            generator.restore().remove();
        }
        let base = self.scrape(&generator);
        let saved = std::mem::take(&mut *self.0.saved.lock());
        if base != saved {
            world.wrong(format!("{name} does not go on with what it saved"));
        }
        gossip.join(*number, incarnation);
        gossip.set_state(*number, MemberState::Active);
        let (heard, me) = (gossip.clone(), *number);
        let dependencies = NodePushDependencies {
            generator: generator.clone(),
            ring: gossip.view(*number),
            id: Arc::clone(name),
            seed: cluster_seed(),
            authentication: NodeAuthentication::new(&NodeAuthenticationConfig::default()),
            is_back: Arc::new(move |since| heard.last_heard(me).is_some_and(|at| at > since)),
            metrics: NodePushMetrics::register(&mut registry),
            budget: Budget::unlimited(),
        };
        let pushes = NodePushes::new(dependencies, Instant::now().into_std());
        let life = Life {
            incarnation,
            generator,
            pushes,
            registry,
            tasks: Tasks::default(),
            connections: Tasks::default(),
            closing: Watched::new(false),
            collected: Arc::new(Mutex::new(base.clone())),
            base,
        };
        self.watch(&life);
        self.listen(&life);
        *self.0.life.lock() = Some(life);
        network.freeze(name, false);
    }

    /// What a process does without being asked.
    fn watch(&self, life: &Life) {
        let (node, pushes) = (self.clone(), life.pushes.clone());
        life.tasks.spawn(async move {
            loop {
                sleep(TICK).await;
                node.0.network.runs(&node.0.name).await;
                pushes.runs_at(Instant::now().into_std());
            }
        });
        let (node, generator) = (self.clone(), life.generator.clone());
        let collected = Arc::clone(&life.collected);
        life.tasks.spawn(async move {
            loop {
                sleep(COLLECTION).await;
                node.0.network.runs(&node.0.name).await;
                *collected.lock() = node.scrape(&generator);
            }
        });
    }

    fn listen(&self, life: &Life) {
        let routes = life.pushes.routes(4 << 20);
        let routes = routes.layer(from_fn_with_state(self.clone(), faulty));
        let (connections, streams) = (life.connections.clone(), life.tasks.clone());
        let closing = life.closing.clone();
        let accept = move |stream: DuplexStream| {
            let mut builder = http2::Builder::new(streams.clone());
            builder.timer(TokioTimer::new());
            let service = TowerToHyperService::new(routes.clone());
            let closing = closing.clone();
            connections.spawn(async move {
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                let mut connection = std::pin::pin!(connection);
                tokio::select! {
                    biased;
                    _ = connection.as_mut() => return,
                    () = closing.until(true) => {}
                }
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            });
        };
        self.0.network.listen(self.0.address, Arc::new(accept));
    }

    /// Ends it as SIGTERM does; whether it is to come back.
    pub(crate) async fn stop(&self, comes_back: bool) {
        let Inner {
            name,
            number,
            world,
            network,
            gossip,
            ..
        } = &*self.0;
        if !self.is_up() {
            return;
        }
        world.say(format!("{name} is told to stop"));
        gossip.set_state(*number, MemberState::Leaving);
        sleep(ANNOUNCED).await;
        network.listen_no_more(self.0.address);
        let connections = {
            let life = self.0.life.lock();
            let Some(life) = &*life else {
                return;
            };
            life.closing.set(true);
            life.connections.clone()
        };
        connections.drain(DRAIN).await;
        gossip.leave(*number);
        sleep(LEAVING).await;
        gossip.end(*number);
        let Some(life) = self.0.life.lock().take() else {
            return;
        };
        life.generator.stop();
        let counted = self.scrape(&life.generator);
        *life.collected.lock() = counted.clone();
        if comes_back {
            life.generator.save();
            *self.0.saved.lock() = counted;
        }
        self.ended(life);
        world.say(format!("{name} has stopped"));
    }

    /// Collects it for the last time, at the end of all.
    pub(crate) fn finish(&self) {
        let Some(life) = self.0.life.lock().take() else {
            return;
        };
        // The network holds on to the node otherwise, and the node to the network.
        self.0.network.listen_no_more(self.0.address);
        life.generator.stop();
        *life.collected.lock() = self.scrape(&life.generator);
        self.ended(life);
    }

    /// Ends it as SIGKILL does.
    pub(crate) fn crash(&self) {
        let Some(life) = self.0.life.lock().take() else {
            return;
        };
        self.0.world.say(format!("{} dies", self.0.name));
        self.0.network.listen_no_more(self.0.address);
        life.connections.kill();
        life.tasks.kill();
        self.0.gossip.end(self.0.number);
        self.ended(life);
    }

    pub(crate) fn set_state(&self, to: MemberState) {
        let state: &str = to.into();
        self.0.world.say(format!("{} is {state}", self.0.name));
        self.0.gossip.set_state(self.0.number, to);
    }

    /// Makes pushes wait before they are applied, and answers after.
    pub(crate) fn slow(&self, before: Duration, after: Duration) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap();
        let Faults {
            before_millis,
            after_millis,
            ..
        } = &self.0.faults;
        before_millis.store(millis(before), Ordering::SeqCst);
        after_millis.store(millis(after), Ordering::SeqCst);
    }

    pub(crate) fn lose_answers(&self, answers: u64) {
        let lost = &self.0.faults.answers_to_lose;
        lost.store(answers, Ordering::SeqCst);
    }

    /// What became of its lives.
    pub(crate) fn take_ended(&self) -> BTreeMap<counted::Life, Ended> {
        std::mem::take(&mut *self.0.ended.lock())
    }

    fn ended(&self, life: Life) {
        life.connections.kill();
        life.tasks.kill();
        let counted = self.scrape(&life.generator);
        let own = |counts: &Counts| -> Counts {
            let of = |(trace, spans): (&u64, &u64)| {
                let before = life.base.get(trace).copied().unwrap_or_default();
                (*trace, spans - before)
            };
            let counts = counts.iter().map(of);
            counts.filter(|(_, spans)| *spans > 0).collect()
        };
        let ended = Ended {
            collected: own(&life.collected.lock()),
            counted: own(&counted),
            duplicates: self.check_ledger(&life, own(&counted).values().sum()),
            refused: metrics_of(
                &life.registry,
                "spanmill_generator_node_pushes_refused_total",
            ),
        };
        let life = (Arc::clone(&self.0.name), life.incarnation);
        self.0.ended.lock().insert(life, ended);
    }

    /// Checks that each span that was received is counted or has a reason; gives those that
    /// were recognised.
    fn check_ledger(&self, life: &Life, in_series: u64) -> u64 {
        let sum = |name: &str, part: &str| {
            let all = metrics_of(&life.registry, &format!("spanmill_generator_{name}"));
            let fits = all.iter().filter(|(labels, _)| labels.contains(part));
            fits.map(|(_, value)| value).sum::<u64>()
        };
        let received = sum("spans_received_total", TENANT);
        let counted = sum("spans_counted_total", TENANT);
        let discarded = sum("spans_discarded_total", TENANT);
        if received != counted + discarded || counted != in_series {
            self.0.world.wrong(format!(
                "{}: received {received}, counted {counted}, discarded {discarded}, in series {in_series}",
                self.0.name
            ));
        }
        sum("spans_discarded_total", "\"duplicate\"")
    }

    /// Spans by trace, as a scraper sees them.
    fn scrape(&self, generator: &Generator) -> Counts {
        let tasks = TaskGroup::new();
        let tenancy = Tenancy {
            multitenancy_enabled: true,
        };
        let routes = generator.scrape_routes(tenancy, &tasks, self.0.address, "");
        let request = Request::get(format!("/metrics/generated?tenant={}", tenant()))
            .header("X-Scope-OrgID", TENANT)
            .body(Body::empty());
        // Its walk has a thread of its own, for which the time of this one has to stand still.
        let text = std::thread::scope(|scope| {
            let scraping = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                runtime.unwrap().block_on(async {
                    let response = routes.oneshot(request.unwrap()).await.unwrap();
                    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
                    String::from_utf8(body.to_vec()).unwrap()
                })
            });
            scraping.join().unwrap()
        });
        let samples = text.lines().filter_map(|line| {
            let labels = line.strip_prefix("traces_spanmetrics_calls_total{")?;
            let (labels, value) = labels.split_once("} ")?;
            let own = format!("{INSTANCE_LABEL}=\"{}\"", self.0.name);
            if !labels.contains(&own) {
                self.0.world.wrong(format!(
                    "{} writes a series that is not its own: {labels}",
                    self.0.name
                ));
            }
            let (_, trace) = labels.split_once("span_name=\"t")?;
            let (trace, _) = trace.split_once('"')?;
            let value = value.split(' ').next()?;
            Some((trace.parse().unwrap(), value.parse::<f64>().unwrap() as u64))
        });
        samples.collect()
    }
}

/// A node to which something is done, until it is dropped.
pub(crate) struct Occupied(Node);

impl Drop for Occupied {
    fn drop(&mut self) {
        self.0.0.is_busy.store(false, Ordering::SeqCst);
    }
}

/// Values of a metric by their labels.
pub(crate) fn metrics_of(registry: &MetricsRegistry, name: &str) -> BTreeMap<String, u64> {
    let text = telemetry::encode_metrics(registry);
    let samples = text.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(name)?.split_once("} ")?;
        Some((labels.strip_prefix('{')?.to_owned(), value.parse().ok()?))
    });
    samples.collect()
}

/// What goes wrong with a push on its way in and out.
async fn faulty(State(node): State<Node>, request: Request, next: Next) -> Response {
    let Inner {
        name,
        world,
        network,
        faults,
        gossip,
        number,
        ..
    } = &*node.0;
    let wait = async |millis: &AtomicU64| {
        let millis = millis.load(Ordering::SeqCst);
        if millis > 0 {
            sleep(Duration::from_millis(millis)).await;
            network.runs(name).await;
        }
    };
    if world.has(Bug::AnswersFirst) {
        return answer_first(node.clone(), request, next).await;
    }
    wait(&faults.before_millis).await;
    let mut response = apply(&node, request, next).await;
    wait(&faults.after_millis).await;
    let lost = &faults.answers_to_lose;
    let one_less = |answers: u64| answers.checked_sub(1);
    let is_lost = lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
    if is_lost.is_ok() {
        world.say(format!("{name} does not get an answer through"));
        network.reset_all(name);
    }
    if world.has(Bug::DeniesWhatItApplied) && gossip.is_leaving(*number) {
        let why = NotApplied::Leaving.grpc_status();
        response = why.into_http();
        debug_assert!(response.headers().contains_key(NOT_APPLIED_HEADER));
    }
    response
}

/// Has a push applied, and notes what became of it.
async fn apply(node: &Node, request: Request, next: Next) -> Response {
    let Inner { name, world, .. } = &*node.0;
    let life = node.0.life.lock().as_ref().map(|life| life.incarnation);
    let (parts, body) = request.into_parts();
    let headers = parts.headers.clone();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        // Whoever sent it has gone.
        return Response::new(Body::empty());
    };
    let is_all = parts.uri.path() == NODE_PUSH_ALL;
    let shares = shares(is_all, body.slice(FRAME.min(body.len())..));
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (response, answers) = match is_all && said(&response) == APPLIED {
        true => said_of_each(response).await,
        false => {
            let answer = said(&response);
            (response, vec![answer; shares.len()])
        }
    };
    for (share, said) in shares.into_iter().zip(answers) {
        if said != APPLIED && !said.starts_with("code") {
            world.book().refused(name, &headers);
        }
        if let Some(incarnation) = life
            && said == APPLIED
        {
            let life = (Arc::clone(name), incarnation);
            world.book().applied(life, &headers, share);
        }
        world.say(format!("{name} answers a push: {said}"));
    }
    response
}

/// What is in a message: one push, or several.
fn shares(is_all: bool, message: Bytes) -> Vec<Bytes> {
    if !is_all {
        return vec![message];
    }
    let cluster::Pushes {
        lengths,
        mut messages,
    } = cluster::Pushes::decode(message).unwrap();
    let share = |length: &u32| messages.split_to(usize::try_from(*length).unwrap());
    lengths.iter().map(share).collect()
}

/// What an answer to several pushes says of each.
async fn said_of_each(response: Response) -> (Response, Vec<String>) {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let framed = body.to_bytes();
    let said = cluster::PushAnswers::decode(framed.slice(FRAME..)).unwrap();
    let answers = said.answers.into_iter().map(|answer| {
        if answer.code == 0 {
            APPLIED.to_owned()
        } else if answer.not_applied.is_empty() {
            format!("code {}", answer.code)
        } else {
            answer.not_applied
        }
    });
    let answers = answers.collect();
    (
        Response::from_parts(parts, body_of(framed, trailers)),
        answers,
    )
}

fn body_of(framed: Bytes, trailers: HeaderMap) -> Body {
    let frames = [
        Ok::<_, Infallible>(Frame::data(framed)),
        Ok(Frame::trailers(trailers)),
    ];
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

/// What an answer says; one that is applied says so behind its message.
fn said(response: &Response) -> String {
    let header = |name| {
        let value = response.headers().get(name)?;
        value.to_str().ok()
    };
    let not_applied = header(NOT_APPLIED_HEADER);
    let code = header("grpc-status").map(|code| format!("code {code}"));
    let code = code.unwrap_or(APPLIED.to_owned());
    not_applied.map_or(code, str::to_owned)
}

/// Answers a push at once, and applies it later.
async fn answer_first(node: Node, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let is_all = parts.uri.path() == NODE_PUSH_ALL;
    let outcomes = shares(is_all, body.slice(FRAME..))
        .into_iter()
        .map(|share| {
            let request = ExportTraceServiceRequest::decode(share);
            cluster::PushOutcome {
                spans: request.map_or(0, |request| crate::clients::spans_of(&request)),
                ..Default::default()
            }
        });
    let message = match is_all {
        true => cluster::PushAnswers {
            answers: outcomes
                .map(|outcome| cluster::PushAnswer {
                    outcome: Some(outcome),
                    ..Default::default()
                })
                .collect(),
        }
        .encode_to_vec(),
        false => outcomes.last().unwrap_or_default().encode_to_vec(),
    };
    let request = Request::from_parts(parts, Body::from(body));
    let tasks = node.0.life.lock().as_ref().map(|life| life.tasks.clone());
    if let Some(tasks) = tasks {
        tasks.spawn(async move {
            sleep(Duration::from_secs(1)).await;
            let _ = apply(&node, request, next).await;
        });
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    Response::builder()
        .header("content-type", "application/grpc")
        .body(body_of(framed.into(), trailers))
        .unwrap()
}
