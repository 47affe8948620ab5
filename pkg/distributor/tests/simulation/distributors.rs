//! Distributors: production's, over connections in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use model::{PushError, PushOutcome};
use overrides::Overrides;
use parking_lot::Mutex;
use ring::{MemberState, Role};
use server::{Budget, Tenancy};
use spanmill_distributor::{
    ClusterPusher, ClusterPusherDependencies, Distributor, DistributorConfig, DistributorMetrics,
    GeneratorClientMetrics, GeneratorClients, Limits, MetricsGeneratorClientConfig, ReceiveError,
};
use telemetry::MetricsRegistry;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::generators::{config, metrics_of};
use crate::gossip::Gossip;
use crate::network::Network;
use crate::world::{TENANT, World, cluster_seed, tenant};

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
    possibly_duplicated: AtomicU64,
}

#[derive(Clone)]
struct Life {
    distributor: Distributor<ClusterPusher>,
    registry: Arc<MetricsRegistry>,
    /// Whether it takes nothing any more, and whether it is dead.
    end: watch::Sender<End>,
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
            possibly_duplicated: AtomicU64::new(0),
        }))
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    pub(crate) fn is_up(&self) -> bool {
        let life = self.0.life.lock();
        life.as_ref()
            .is_some_and(|life| *life.end.borrow() == End::No)
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
        let pusher = ClusterPusher::new(ClusterPusherDependencies {
            ring: gossip.view(*number),
            seed: cluster_seed(),
            overrides: overrides.clone(),
            clients,
            id: Arc::clone(name),
            incarnation,
            began: Instant::now(),
            deduplicate_pushes: true,
            metrics: metrics.clone(),
        });
        let tenancy = Tenancy {
            multitenancy_enabled: true,
        };
        let limits = Limits::new(
            overrides,
            Budget::unlimited(),
            &DistributorConfig::default(),
        );
        *self.0.life.lock() = Some(Life {
            distributor: Distributor::new(tenancy, pusher, metrics, limits),
            registry: Arc::new(registry),
            end: watch::Sender::new(End::No),
            under_way: Arc::default(),
        });
    }

    /// Pushes as a client does. Dropped, the client has gone away.
    pub(crate) async fn push(&self, request: Bytes) -> Heard {
        let life = self.0.life.lock().clone();
        let Some(life) = life.filter(|life| *life.end.borrow() == End::No) else {
            return Heard::Nothing;
        };
        let _under_way = UnderWay::new(&life.under_way);
        let mut end = life.end.subscribe();
        let answer = tokio::select! {
            biased;
            _ = end.wait_for(|end| *end == End::Dead) => return Heard::Nothing,
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
            life.end.send_replace(End::Closing);
            let begin = Instant::now();
            while life.under_way.load(Ordering::SeqCst) > 0 && begin.elapsed() < DRAIN {
                sleep(Duration::from_millis(10)).await;
            }
        }
        life.end.send_replace(End::Dead);
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

    /// Spans that may have been counted twice, by its own account.
    pub(crate) fn possibly_duplicated(&self) -> u64 {
        self.0.possibly_duplicated.load(Ordering::SeqCst)
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
        self.0
            .possibly_duplicated
            .fetch_add(spans, Ordering::SeqCst);
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
