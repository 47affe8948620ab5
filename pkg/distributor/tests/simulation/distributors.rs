//! Distributors: production's, over connections in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use model::{Push, PushError, PushOutcome, PushSpans};
use overrides::Overrides;
use parking_lot::Mutex;
use ring::{MemberState, Role};
use server::{Budget, Tenancy};
use spanmill_distributor::{
    ClusterPusher, ClusterPusherDependencies, Distributor, DistributorConfig, DistributorMetrics,
    GeneratorClientMetrics, GeneratorClients, Limits, MetricsGeneratorClientConfig, ReceiveError,
};
use telemetry::MetricsRegistry;
use tokio::time::{Instant, sleep};

use crate::counted;
use crate::generators::{config, metrics_of};
use crate::gossip::Gossip;
use crate::network::Network;
use crate::world::{Bug, TENANT, Watched, World, cluster_seed, tenant};

/// How long pushes may take that are under way when a distributor ends.
const DRAIN: Duration = Duration::from_secs(12);

/// A node that distributes, through all its lives.
#[derive(Clone)]
pub(crate) struct Node(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    number: usize,
    world: World,
    network: Network,
    gossip: Gossip,
    lives: AtomicU64,
    life: Mutex<Option<Life>>,
    /// By life.
    possibly_duplicated: Mutex<BTreeMap<counted::Life, u64>>,
}

#[derive(Clone)]
struct Life {
    incarnation: u64,
    distributor: Distributor<Pusher>,
    registry: Arc<MetricsRegistry>,
    /// Whether it takes nothing any more, and whether it is dead.
    end: Watched<End>,
    under_way: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    Closing,
    Dead,
}

/// What a client hears.
#[derive(Debug)]
pub(crate) enum Heard {
    Ok(PushOutcome),
    /// It is to come again after a while.
    Later(Duration, String),
    /// Nobody is there, or the connection ended.
    Nothing,
    /// Nobody will ever take it.
    Never(String),
}

impl Node {
    pub(crate) fn new(
        name: &str,
        last_byte: u8,
        world: &World,
        network: &Network,
        gossip: &Gossip,
    ) -> Self {
        let name: Arc<str> = name.into();
        let address = ([10, 0, 1, last_byte], 9095).into();
        network.name(address, &name);
        Self(Arc::new(Inner {
            number: gossip.add(&name, address, Role::Distributor),
            name,
            world: world.clone(),
            network: network.clone(),
            gossip: gossip.clone(),
            lives: AtomicU64::new(0),
            life: Mutex::new(None),
            possibly_duplicated: Mutex::default(),
        }))
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    pub(crate) fn is_up(&self) -> bool {
        let life = self.0.life.lock();
        life.as_ref().is_some_and(|life| life.end.is(End::No))
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
        gossip.join(*number, incarnation);
        gossip.set_state(*number, MemberState::Active);
        let mut registry = telemetry::new_metrics_registry();
        let metrics = DistributorMetrics::register(&mut registry);
        let overrides = Overrides::fixed(config());
        let clients = GeneratorClients::over(
            Arc::new(network.of(name)),
            &MetricsGeneratorClientConfig::default(),
            gossip.view(*number),
            GeneratorClientMetrics::register(&mut registry),
        );
        let dependencies = ClusterPusherDependencies {
            ring: gossip.view(*number),
            seed: cluster_seed(),
            overrides: overrides.clone(),
            clients,
            own: None,
            id: Arc::clone(name),
            incarnation,
            began: Instant::now(),
            deduplicate_pushes: true,
            metrics: metrics.clone(),
        };
        let pusher = Pusher {
            world: world.clone(),
            pusher: ClusterPusher::new(dependencies.clone()),
            dependencies,
            done: Arc::default(),
        };
        let tenancy = Tenancy {
            multitenancy_enabled: true,
        };
        let limits = Limits::new(
            overrides,
            Budget::unlimited(),
            &DistributorConfig::default(),
        );
        *self.0.life.lock() = Some(Life {
            incarnation,
            distributor: Distributor::new(tenancy, pusher, metrics, limits),
            registry: Arc::new(registry),
            end: Watched::new(End::No),
            under_way: Arc::default(),
        });
    }

    /// Pushes as a client does. Dropped, the client has gone away.
    pub(crate) async fn push(&self, request: Bytes) -> Heard {
        let life = self.0.life.lock().clone();
        let Some(life) = life.filter(|life| life.end.is(End::No)) else {
            return Heard::Nothing;
        };
        let _under_way = UnderWay::new(&life.under_way);
        let answer = tokio::select! {
            biased;
            () = life.end.until(End::Dead) => return Heard::Nothing,
            answer = life.distributor.push(tenant(), request, false) => answer,
        };
        match answer {
            Ok(outcome) => Heard::Ok(outcome),
            Err(ReceiveError::Push(
                PushError::Unavailable {
                    reason,
                    retry_after,
                }
                | PushError::Incomplete {
                    reason,
                    retry_after,
                    ..
                },
            )) => Heard::Later(retry_after, reason),
            Err(other) => Heard::Never(other.to_string()),
        }
    }

    /// Ends it: as SIGTERM does, or else as SIGKILL does.
    pub(crate) async fn stop(&self, is_planned: bool) {
        let Some(life) = self.0.life.lock().clone() else {
            return;
        };
        let how = if is_planned {
            "is told to stop"
        } else {
            "crashes"
        };
        self.0.world.say(format!("{} {how}", self.0.name));
        if is_planned {
            life.end.set(End::Closing);
            let begin = Instant::now();
            while life.under_way.load(Ordering::SeqCst) > 0 && begin.elapsed() < DRAIN {
                sleep(Duration::from_millis(10)).await;
            }
        }
        life.end.set(End::Dead);
        // Whoever pushes hears of it first.
        sleep(Duration::from_millis(1)).await;
        self.0.gossip.leave(self.0.number);
        if is_planned {
            sleep(Duration::from_millis(600)).await;
        }
        self.0.gossip.end(self.0.number);
        self.0.life.lock().take();
        self.count(&life);
    }

    /// Spans that may have been counted twice, by the account of each of its lives.
    pub(crate) fn possibly_duplicated(&self) -> BTreeMap<counted::Life, u64> {
        self.0.possibly_duplicated.lock().clone()
    }

    fn count(&self, life: &Life) {
        let sum = |name: &str| {
            let all = metrics_of(&life.registry, &format!("spanmill_distributor_{name}"));
            let of_tenant = all.iter().filter(|(labels, _)| labels.contains(TENANT));
            of_tenant.map(|(_, value)| value).sum::<u64>()
        };
        let (received, pushed) = (sum("spans_received_total"), sum("spans_pushed_total"));
        let refused = sum("spans_refused_total");
        if received != pushed + refused {
            self.0.world.wrong(format!(
                "{}: received {received}, pushed {pushed}, refused {refused}",
                self.0.name
            ));
        }
        let spans = sum("spans_possibly_duplicated_total");
        let life = (Arc::clone(&self.0.name), life.incarnation);
        self.0.possibly_duplicated.lock().insert(life, spans);
    }
}

/// Production's, or one with a bug.
#[derive(Clone)]
struct Pusher {
    world: World,
    pusher: ClusterPusher,
    dependencies: ClusterPusherDependencies,
    /// What was answered to those that came to their end, if all else is forgotten.
    done: Arc<Mutex<Vec<(Bytes, PushOutcome)>>>,
}

impl PushSpans for Pusher {
    async fn push(&self, push: Push) -> Result<PushOutcome, PushError> {
        if self.world.has(Bug::ForgetsDoubts) {
            let is_it = |(request, _): &&(Bytes, PushOutcome)| *request == push.request;
            if let Some((_, outcome)) = self.done.lock().iter().find(is_it) {
                return Ok(outcome.clone());
            }
            let request = push.request.clone();
            let pusher = ClusterPusher::new(self.dependencies.clone());
            let outcome = pusher.push(push).await?;
            self.done.lock().push((request, outcome.clone()));
            return Ok(outcome);
        }
        self.pusher.push(push).await
    }
}

struct UnderWay(Arc<AtomicU64>);

impl UnderWay {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
