//! This node in a cluster: how it joins, what it says of itself, how it leaves.

mod asking;
mod cpu_share;
mod edges;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use distributor::{DistributorMetrics, GeneratorClientMetrics, GeneratorClients, Limits};
use generator::{HandoverTarget, InstanceLabel};
use lifecycle::Shutdown;
use model::{Clock, ClusterSeed};
use ring::{Identity, Member, MemberState, Node, Ring, RingMetrics, Role};
use settings::Problems;
use tokio::time::{MissedTickBehavior, interval, sleep};

pub(crate) use self::asking::Asked;
use self::cpu_share::CpuShare;
pub(crate) use self::edges::EdgeMoves;
use crate::config::{AppConfig, Target};
use crate::error::StartError;
use crate::memory::Marks;
use crate::process::Part;
use crate::version;

/// The label that tells the series of one generator from those of another (D24).
const INSTANCE_LABEL: &str = "spanmill_instance";

/// How often it says how loaded it is, and counts distributors.
const UPKEEP: Duration = Duration::from_secs(1);

/// How long it is told that this node leaves before it takes no more: three rounds of
/// gossip, after which nearly all distributors know. The others are refused, and go on to
/// the next owner at once.
const ANNOUNCED: Duration = Duration::from_millis(600);

/// This node in a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) ring: Ring,
    /// What tokens are hashed with.
    pub(crate) seed: ClusterSeed,
    /// When this life of the node began.
    pub(crate) began: Instant,
    /// The way to generators.
    pub(crate) clients: GeneratorClients,
}

/// Whether a process is a node of a cluster: what runs alone needs no settings, and opens
/// no port for gossip.
pub(crate) fn is_wanted(config: &AppConfig) -> bool {
    config.target != Target::All || !config.memberlist.join_members.is_empty()
}

impl Cluster {
    /// Joins, taking nothing yet. `internal` is where the internal gRPC listens.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the node's file or the port of gossip cannot be used.
    pub(crate) async fn join(
        config: &AppConfig,
        internal: Option<SocketAddr>,
        clock: Clock,
        metrics: RingMetrics,
        of_clients: GeneratorClientMetrics,
        background: &Part,
    ) -> Result<Self, StartError> {
        let settings = config.memberlist.settings();
        let settings = settings.map_err(|found| {
            let mut problems = Problems::new();
            problems.add_further(found);
            StartError::Config(problems)
        })?;
        let own = &config.metrics_generator.ring;
        let now_ms = u64::try_from(clock.unix_millis()).unwrap_or_default();
        let named = config.metrics_generator.named_instance();
        let host = host_name();
        let node = match config.target.generates() {
            true => Node::open(&config.storage.path, named, &host, rand::random(), now_ms)?,
            false => Node::without_file(named.unwrap_or(&host), now_ms),
        };
        // A wrong one is refused with the rest of the configuration.
        let internal = internal.unwrap_or((Ipv4Addr::UNSPECIFIED, 0).into());
        let ip = own.address().ok().flatten().unwrap_or(internal.ip());
        let port = match own.instance_port {
            0 => internal.port(),
            port => port,
        };
        let label = &config.memberlist.cluster_label;
        let identity = Identity {
            id: node.instance_id.as_str().into(),
            incarnation: node.incarnation,
            role: role(config.target),
            zone: own.instance_availability_zone.as_str().into(),
            address: (ip, port).into(),
            token_seed: node.token_seed,
            version: version::VERSION.into(),
            cluster_seed: own.cluster_seed_fingerprint(label),
        };
        let ring = Ring::start(
            settings,
            identity,
            clock,
            metrics,
            &background.tasks,
            // It leaves when it has nothing left to do, not when it begins to stop.
            Shutdown::new(),
        )
        .await?;
        let clients = GeneratorClients::start(
            &config.metrics_generator_client,
            &config.node_authentication,
            ring.view(),
            of_clients,
            &background.tasks,
            &background.shutdown,
        )
        .map_err(StartError::GeneratorClient)?;
        Ok(Self {
            clients,
            ring,
            seed: own.cluster_seed(label),
            began: Instant::now(),
        })
    }

    /// The label of this generator's series.
    pub(crate) fn instance_label(&self) -> InstanceLabel {
        InstanceLabel {
            default_name: INSTANCE_LABEL.into(),
            value: Arc::clone(&self.ring.identity().id),
        }
    }

    /// Whether others have spoken to this node since a moment, or there are none.
    pub(crate) fn is_back(&self, since: Instant) -> bool {
        let own = &self.ring.identity().id;
        let is_alone = || {
            self.ring
                .members()
                .iter()
                .all(|other| other.member.id == *own)
        };
        let heard = self.ring.last_heard();
        heard.map_or_else(is_alone, |ago| ago < since.elapsed())
    }

    /// The other generators that take spans.
    pub(crate) fn other_generators(&self) -> Vec<HandoverTarget> {
        let placement = self.ring.view().placement();
        let own = &self.ring.identity().id;
        let others = placement.members().iter();
        let others = others.filter(|member| member.id != *own && member.owns_tokens());
        let target = |member: &Member| {
            let channel = self.clients.channel(member);
            HandoverTarget::new(&member.id, channel, self.clients.proof())
        };
        others.map(target).collect()
    }

    /// Takes spans from now on: all at once as a distributor, in steps as a generator.
    pub(crate) fn take_spans(&self) {
        self.ring.set_state(MemberState::Active);
    }

    /// Says that this node leaves, and waits until the others know.
    pub(crate) async fn announce_leaving(&self) {
        self.ring.set_state(MemberState::Leaving);
        sleep(ANNOUNCED).await;
    }

    /// Tells the cluster how loaded this node is, by its CPUs or its memory, whichever is
    /// scarcer, and `limits` how many distributors there are, until shutdown.
    pub(crate) fn keep_up(&self, limits: Limits, memory: Marks, background: &Part) {
        let (ring, shutdown) = (self.ring.clone(), background.shutdown.clone());
        background.tasks.spawn("cluster-upkeep", async move {
            let mut cpu = CpuShare::new(Instant::now());
            let mut ticks = interval(UPKEEP);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = shutdown.requested() => return,
                }
                let cpu = cpu.since_last(Instant::now());
                ring.set_load(cpu.max(memory.part_in_use()));
                limits.set_live_distributors(ring.live_distributors() as u64);
            }
        });
    }

    /// Forgets what a distributor has counted of tenants that have been idle for so long,
    /// or up to twice as long, until shutdown; never if that is 0.
    pub(crate) fn forget_idle(
        &self,
        distributor: DistributorMetrics,
        idle: Duration,
        background: &Part,
    ) {
        if idle.is_zero() {
            return;
        }
        let shutdown = background.shutdown.clone();
        background.tasks.spawn("idle-tenants", async move {
            loop {
                tokio::select! {
                    () = sleep(idle) => distributor.forget_unused(),
                    () = shutdown.requested() => return,
                }
            }
        });
    }
}

fn role(target: Target) -> Role {
    match target {
        Target::All => Role::All,
        Target::Distributor => Role::Distributor,
        Target::Generator => Role::Generator,
    }
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname");
    host.map_or_else(|_| "localhost".to_owned(), |host| host.trim().to_owned())
}
