//! This node in the ring: what it says, and what it knows of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use lifecycle::{Shutdown, TaskGroup};
use model::Clock;
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::config::GossipSettings;
use crate::gossip::census::{Census, Duplicate};
use crate::gossip::keys::Told;
use crate::gossip::seeds::{self, Resolved, own_address};
use crate::gossip::{self, Datagrams, Gossip, MemberStatus};
use crate::lifecycler::Lifecycler;
use crate::member::{Member, MemberState, Role};
use crate::metrics::RingMetrics;
use crate::protocols::Protocols;
use crate::time;
use crate::view::RingView;

/// How loaded generators ought to be: what is left takes the traces of one that fails,
/// and the time until more are there.
const DESIRED_LOAD: f64 = 0.7;

/// How long a start waits for names of seeds; they are looked up again afterwards.
const FIRST_LOOK_UP: Duration = Duration::from_secs(2);

/// Who this node is in the ring.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name, one in the cluster.
    pub id: Arc<str>,
    /// Which life of it this is; see [`Node`](crate::Node).
    pub incarnation: u64,
    /// What it does.
    pub role: Role,
    /// Where it stands; empty if it does not say.
    pub zone: Arc<str>,
    /// Where others reach its internal gRPC.
    pub address: SocketAddr,
    /// What its tokens are derived from.
    pub token_seed: u64,
    /// Its version.
    pub version: Arc<str>,
    /// What [`RingConfig::cluster_seed_fingerprint`](crate::config::RingConfig) gives.
    pub cluster_seed: String,
}

/// This node in the ring; clones share it.
#[derive(Clone, Debug)]
pub struct Ring(Arc<Shared>);

/// What the handle and gossip share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) identity: Identity,
    /// Where others reach this node's gossip.
    pub(crate) gossip_address: SocketAddr,
    pub(crate) metrics: RingMetrics,
    /// Given when this node has something else to say.
    pub(crate) changed: Notify,
    /// Given when this node leaves.
    pub(crate) leaving: Shutdown,
    pub(crate) ended: watch::Sender<bool>,
    view: RingView,
    members: ArcSwap<Vec<MemberStatus>>,
    own: Mutex<Own>,
}

#[derive(Debug)]
struct Own {
    lifecycler: Lifecycler,
    load: f64,
    /// Whom this node was asked to forget: up to which incarnation, and when.
    forgotten: BTreeMap<String, (u64, Instant)>,
    duplicate: Option<Duplicate>,
    last_heard: Option<Instant>,
    /// Members with another cluster seed that were logged.
    strangers: BTreeSet<Arc<str>>,
    /// Those that speak nothing that we do, and about whom that was logged.
    foreigners: BTreeSet<Arc<str>>,
}

/// Gossip that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartRingError {
    /// Its port cannot be listened at.
    #[error("cannot receive gossip at {address}/UDP; memberlist.bind_addr and bind_port say where")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// A member that is not forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgetError {
    /// There is none with this id.
    #[error("there is no member with this id")]
    Unknown,
    /// It is alive, and would be there again at once.
    #[error("the member is alive; stop it, and it leaves by itself")]
    Alive,
}

impl Ring {
    /// Joins the cluster, as a node that takes no spans until
    /// [`set_state`](Self::set_state) says so. That nobody answers is no error.
    ///
    /// When `shutdown` is given, the node leaves as by [`leave`](Self::leave).
    ///
    /// # Errors
    ///
    /// [`StartRingError`], if the port cannot be had.
    pub async fn start(
        settings: GossipSettings,
        identity: Identity,
        clock: Clock,
        metrics: RingMetrics,
        tasks: &TaskGroup,
        shutdown: Shutdown,
    ) -> Result<Self, StartRingError> {
        let address = settings.bind;
        let failed = |source| StartRingError::Bind { address, source };
        let socket = UdpSocket::bind(address).await.map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        let socket = Arc::new(socket);
        Ok(Self::over(
            socket, bound, settings, identity, clock, metrics, tasks, shutdown,
        )
        .await)
    }

    /// The same over a socket that a simulation has made, bound to an address.
    #[allow(
        clippy::too_many_arguments,
        reason = "those of a start, and the socket"
    )]
    pub async fn over(
        socket: Arc<dyn Datagrams>,
        bound: SocketAddr,
        settings: GossipSettings,
        identity: Identity,
        clock: Clock,
        metrics: RingMetrics,
        tasks: &TaskGroup,
        shutdown: Shutdown,
    ) -> Self {
        let found = timeout(FIRST_LOOK_UP, seeds::resolve(&settings.join)).await;
        let found = found.unwrap_or_default();
        let gossip_address = advertised(&settings, bound, &found);
        if settings.keys.is_empty() && !gossip_address.ip().is_loopback() {
            tracing::warn!(
                address = %gossip_address,
                "gossip is not sealed: whoever reaches this port over UDP can join the cluster and be \
                 sent spans; set memberlist.secret_keys"
            );
        }
        let now = time::now();
        let shared = Arc::new(Shared {
            gossip_address,
            metrics,
            changed: Notify::new(),
            leaving: Shutdown::new(),
            ended: watch::Sender::new(false),
            view: RingView::default(),
            members: ArcSwap::default(),
            own: Mutex::new(Own {
                lifecycler: Lifecycler::new(identity.role, now),
                load: 0.0,
                forgotten: BTreeMap::new(),
                duplicate: None,
                last_heard: None,
                strangers: BTreeSet::new(),
                foreigners: BTreeSet::new(),
            }),
            identity,
        });
        tracing::info!(
            id = %shared.identity.id,
            gossip = %gossip_address,
            grpc = %shared.identity.address,
            "joining the cluster"
        );
        let mut first = shared.told(shared.identity.incarnation, now).member;
        first.is_alive = true;
        shared.view.update(vec![first]);
        let (seeds, found) = {
            let sender = watch::Sender::new(found);
            let receiver = sender.subscribe();
            (sender, receiver)
        };
        let gossip = Gossip {
            socket,
            settings: settings.clone(),
            shared: shared.clone(),
            clock,
            seeds: found,
        };
        tasks.spawn("gossip", Box::pin(gossip.run()));
        let leaving = shared.leaving.clone();
        tasks.spawn("gossip-shutdown", async move {
            tokio::select! {
                () = shutdown.requested() => leaving.trigger(),
                () = leaving.requested() => {}
            }
        });
        if !settings.join.is_empty() {
            let look_up = gossip::look_up(settings, shared.clone(), seeds);
            tasks.spawn("gossip-seeds", look_up);
        }
        Self(shared)
    }

    /// The ring as this node sees it, updated with each change.
    pub fn view(&self) -> RingView {
        self.0.view.clone()
    }

    /// Where others reach this node's gossip.
    pub fn gossip_address(&self) -> SocketAddr {
        self.0.gossip_address
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Says what this node takes. A generator that becomes active takes more and more
    /// within three seconds.
    pub fn set_state(&self, state: MemberState) {
        let now = time::now();
        self.0.own.lock().lifecycler.set_state(state, now);
        self.0.changed.notify_one();
    }

    /// Says how many of its tokens this node may take traffic for, all at first.
    pub fn set_tokens(&self, tokens: u16) {
        self.0.own.lock().lifecycler.set_most(tokens);
        self.0.changed.notify_one();
    }

    /// Says how much of what it can do this node does; 1 is all. A node says the
    /// larger of two parts: of its CPUs, and of its memory.
    pub fn set_load(&self, load: f64) {
        // Every change is gossip, so hundredths are enough.
        let load = if load.is_finite() { load.max(0.0) } else { 0.0 };
        self.0.own.lock().load = (load * 100.0).round() / 100.0;
    }

    /// What this node says that it takes, and of how many tokens.
    pub fn state(&self) -> (MemberState, u16) {
        self.0.own.lock().lifecycler.at(time::now())
    }

    /// Whether another node has the id of this one.
    pub fn has_duplicate(&self) -> bool {
        self.0.own.lock().duplicate.is_some()
    }

    /// All members, by id, this node among them.
    pub fn members(&self) -> Arc<Vec<MemberStatus>> {
        self.0.members.load_full()
    }

    /// Distributors that take spans from clients now, this node among them if it is one;
    /// never less than 1. A limit of the whole cluster is divided by it.
    pub fn live_distributors(&self) -> usize {
        let is_one = |member: &Member| {
            member.is_alive && member.role.distributes() && member.state == MemberState::Active
        };
        let members = self.members();
        let count = members
            .iter()
            .filter(|status| is_one(&status.member))
            .count();
        count.max(1)
    }

    /// How many generators would be loaded to 70 % by what the active ones do now; 1 at
    /// least.
    pub fn desired_generators(&self) -> u64 {
        desired_generators(&self.members())
    }

    /// How long ago this node last heard of any other; none if it never did.
    ///
    /// What waited for it while it was frozen does not count: after a thaw this is how
    /// long it was frozen, until gossip comes in again. Until then it cannot know whether
    /// others have taken its place.
    pub fn last_heard(&self) -> Option<Duration> {
        self.0.own.lock().last_heard.map(time::since)
    }

    /// Makes all nodes forget a member that is dead, before they do so by themselves
    /// after ten minutes. If it comes back, it is a member again.
    ///
    /// # Errors
    ///
    /// [`ForgetError`], where there is no such member or it is alive.
    pub fn forget(&self, id: &str) -> Result<(), ForgetError> {
        let members = self.members();
        let found = members.iter().find(|status| &*status.member.id == id);
        let member = &found.ok_or(ForgetError::Unknown)?.member;
        if member.is_alive {
            return Err(ForgetError::Alive);
        }
        let entry = (member.incarnation, time::now());
        self.0.own.lock().forgotten.insert(id.to_owned(), entry);
        self.0.changed.notify_one();
        tracing::info!(id, "asked to forget a member");
        Ok(())
    }

    /// Leaves the cluster for good: the others drop this node at once. Returns when they
    /// have been told, which takes three rounds of gossip. Cancel-safe.
    pub async fn leave(&self) {
        self.0.leaving.trigger();
        let mut ended = self.0.ended.subscribe();
        // It fails only when there is nobody left who could end.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Shared {
    /// What this node says of itself.
    pub(crate) fn told(&self, incarnation: u64, now: Instant) -> Told {
        let own = self.own.lock();
        let (state, tokens) = own.lifecycler.at(now);
        let identity = &self.identity;
        Told {
            member: Member {
                id: identity.id.clone(),
                incarnation,
                role: identity.role,
                state,
                zone: identity.zone.clone(),
                address: identity.address,
                token_seed: identity.token_seed,
                tokens,
                version: identity.version.clone(),
                is_alive: false,
            },
            load: own.load,
            cluster_seed: identity.cluster_seed.clone(),
            protocols: Some(Protocols::OURS),
            has_left: false,
        }
    }

    /// Takes what was found out about the others.
    pub(crate) fn counted(&self, census: Census, last_heard: Option<Instant>, now: Instant) {
        let Census { members, duplicate } = census;
        self.note_duplicate(duplicate, now);
        self.note_strangers(&members);
        self.own.lock().last_heard = last_heard;
        let (state, tokens) = self.own.lock().lifecycler.at(now);
        self.metrics.own(state, tokens, duplicate.is_some());
        self.metrics.members(&members, desired_generators(&members));
        self.metrics.protocol(common_protocol(&members));
        let list: Vec<_> = members.iter().map(|status| status.member.clone()).collect();
        self.members.store(Arc::new(members));
        if self.view.placement().members() != list {
            self.metrics.changed();
            self.view.update(list);
        }
    }

    /// Whom this node was asked to forget, with the last incarnation; none for that where
    /// it is longer ago than `for_long`, and it is not mentioned again.
    pub(crate) fn forgotten(&self, for_long: Duration, now: Instant) -> Vec<(String, Option<u64>)> {
        let mut own = self.own.lock();
        let is_recent = |since: Instant| now.saturating_duration_since(since) < for_long;
        let all = own.forgotten.iter();
        let said = all
            .map(|(id, (until, since))| (id.clone(), is_recent(*since).then_some(*until)))
            .collect();
        own.forgotten.retain(|_, (_, since)| is_recent(*since));
        said
    }

    /// Whether any other node is alive.
    pub(crate) fn has_others(&self) -> bool {
        let members = self.members.load();
        members
            .iter()
            .any(|status| !status.is_self && status.member.is_alive)
    }

    fn note_duplicate(&self, duplicate: Option<Duplicate>, now: Instant) {
        let mut own = self.own.lock();
        let is_new = own.duplicate != duplicate;
        own.duplicate = duplicate;
        let stands_back = duplicate.is_some_and(|duplicate| duplicate.is_earlier);
        own.lifecycler.set_duplicate(stands_back, now);
        drop(own);
        match duplicate {
            Some(duplicate) if is_new => tracing::error!(
                id = %self.identity.id,
                other = %duplicate.gossip_address,
                stands_back,
                "another node has the same metrics_generator.ring.instance_id: the later one of \
                 the two takes no spans"
            ),
            None if is_new => tracing::info!("no other node has this instance_id any more"),
            Some(_) | None => {}
        }
    }

    /// Nodes that hash traces in another way send them to others than we do.
    fn note_strangers(&self, members: &[MemberStatus]) {
        let is_stranger =
            |status: &&MemberStatus| status.member.is_alive && !status.has_our_cluster_seed;
        for status in members.iter().filter(is_stranger) {
            let id = &status.member.id;
            if self.own.lock().strangers.insert(id.clone()) {
                tracing::error!(
                    %id,
                    "a member has another metrics_generator.ring.cluster_seed: spans of a trace \
                     go to different generators"
                );
            }
        }
        let speaks_ours = |said: Protocols| said.common(Protocols::OURS).is_some();
        for status in members.iter().filter(|status| status.member.is_alive) {
            let member = &status.member;
            if !status.protocols.is_some_and(speaks_ours)
                && self.own.lock().foreigners.insert(member.id.clone())
            {
                tracing::error!(
                    id = %member.id,
                    version = %member.version,
                    speaks = status.protocols.map(|said| said.to_string()),
                    ours = %Protocols::OURS,
                    "a member speaks no version of the protocol that this node does: it gets \
                     nothing from here"
                );
            }
        }
    }
}

/// The latest protocol that every live member speaks.
fn common_protocol(members: &[MemberStatus]) -> Option<u16> {
    let alive = members.iter().filter(|status| status.member.is_alive);
    let said: Option<Vec<_>> = alive.map(|status| status.protocols).collect();
    Protocols::latest_of_all(said?)
}

fn desired_generators(members: &[MemberStatus]) -> u64 {
    let is_active = |status: &&MemberStatus| status.member.owns_tokens();
    let load: f64 = members
        .iter()
        .filter(is_active)
        .map(|status| status.load)
        .sum();
    // Loads are hundredths, and a hundredth of a generator more is no generator more.
    ((load / DESIRED_LOAD - 0.01).ceil() as u64).max(1)
}

/// Where others reach this node's gossip.
fn advertised(settings: &GossipSettings, bound: SocketAddr, seeds: &Resolved) -> SocketAddr {
    let port = match settings.advertise_port {
        0 => bound.port(),
        port => port,
    };
    let from_route = || match bound.ip() {
        ip if ip.is_unspecified() => own_address(seeds.addresses.first().copied()),
        ip => ip,
    };
    let ip: IpAddr = settings.advertise_address.unwrap_or_else(from_route);
    (ip, port).into()
}

#[cfg(test)]
mod tests;
