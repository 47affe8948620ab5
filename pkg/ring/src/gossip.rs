//! Gossip: the only part that knows chitchat.
//!
//! chitchat carries what each node says of itself to all others. Who is alive, who
//! counts where two have the same id, and whom to ask at the start is decided here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat,
};
use model::Clock;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

pub use self::census::MemberStatus;
pub use self::datagrams::Datagrams;
use self::frame::Seals;
use self::heartbeats::{Heartbeats, LifeId};
use self::keys::{FORGET, Told};
use self::sealed::SealedTransport;
use self::seeds::Resolved;
pub use self::seeds::own_address;
use crate::config::GossipSettings;
use crate::ring::Shared;
use crate::time;

pub(crate) mod census;
mod datagrams;
pub mod frame;
pub(crate) mod heartbeats;
pub(crate) mod keys;
mod sealed;
pub(crate) mod seeds;

/// A node that was silent for so many rounds is dead: 1.6 s at 200 ms. The last that was
/// heard of it goes round for some rounds more, so that it takes 2 to 3 s in all.
pub(crate) const PATIENCE_ROUNDS: u32 = 8;
/// How often what was heard is looked at, at least: a change of state is to be seen
/// before the next round passes it on.
const LOOK: Duration = Duration::from_millis(100);
/// How long a node without others waits before it asks its seeds again.
const ASK_ALONE: Duration = Duration::from_secs(1);
/// How long one with others waits: two halves of a cluster that were cut off and have
/// forgotten each other find back.
const ASK: Duration = Duration::from_secs(10);
/// How long a node is alone before that is worth a line in the log.
const LONELY: Duration = Duration::from_secs(5);
/// How often it is, then.
const LONELY_AGAIN: Duration = Duration::from_secs(60);
/// How long a dead node is remembered.
const REMEMBER_DEAD: Duration = Duration::from_secs(10 * 60);
/// How long chitchat remembers that a key was deleted; longer than a dead node.
const REMEMBER_DELETED: Duration = Duration::from_secs(15 * 60);
/// How long a node that leaves goes on gossiping, in rounds: each passes it on to three.
const LEAVING_ROUNDS: u32 = 3;
/// How long to wait before chitchat is started again after it ended.
const RESTART: Duration = Duration::from_secs(1);

/// What gossips.
#[derive(Debug)]
pub(crate) struct Gossip {
    pub(crate) socket: Arc<dyn Datagrams>,
    pub(crate) settings: GossipSettings,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    /// Where seeds are, as [`look_up`] finds out.
    pub(crate) seeds: watch::Receiver<Resolved>,
}

/// Why chitchat ended.
enum Ended {
    Left,
    Broken(anyhow::Error),
}

impl Gossip {
    /// Gossips until this node leaves.
    pub(crate) async fn run(mut self) {
        let mut incarnation = self.shared.identity.incarnation;
        loop {
            match self.life(incarnation).await {
                Ended::Left => break,
                Ended::Broken(error) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "gossip broke off; starting it again"
                    );
                }
            }
            let now = self.clock.unix_millis().unsigned_abs();
            incarnation = now.max(incarnation.saturating_add(1));
            tokio::select! {
                () = sleep(RESTART) => {}
                () = self.shared.leaving.requested() => break,
            }
        }
        self.shared.ended.send_replace(true);
    }

    /// Gossips until this node leaves or something breaks.
    async fn life(&mut self, incarnation: u64) -> Ended {
        let own = LifeId {
            node: self.shared.identity.id.clone(),
            incarnation,
            gossip_address: self.shared.gossip_address,
        };
        let transport = SealedTransport {
            socket: self.socket.clone(),
            seals: Seals::new(&self.settings.cluster_label, &self.settings.keys),
            session: rand::random(),
            clock: self.clock.clone(),
            metrics: self.shared.metrics.clone(),
        };
        let told = self.shared.told(incarnation, time::now());
        let keys = told.to_keys().into_iter();
        let keys = keys.map(|(key, value)| (key.to_owned(), value)).collect();
        let config = self.chitchat_config(&own);
        match spawn_chitchat(config, keys, &transport).await {
            Ok(handle) => self.follow(handle, &own).await,
            Err(error) => Ended::Broken(error),
        }
    }

    /// Says what is to be said and looks at what was heard.
    async fn follow(&mut self, handle: ChitchatHandle, own: &LifeId) -> Ended {
        let mut heartbeats = Heartbeats::new(self.settings.interval * PATIENCE_ROUNDS);
        let mut looks = interval(LOOK.min(self.settings.interval / 2));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asks = interval(ASK_ALONE);
        let mut last_asked = None;
        let mut broken = pin!(handle.termination_watcher());
        let leaving = self.shared.leaving.clone();
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = self.shared.changed.notified() => {}
                _ = asks.tick() => self.ask(&handle, own, &mut last_asked),
                Ok(()) = self.seeds.changed() => {
                    last_asked = None;
                    self.ask(&handle, own, &mut last_asked);
                }
                ended = &mut broken => {
                    let error = ended.err();
                    return Ended::Broken(error.unwrap_or_else(|| anyhow::anyhow!("it ended")));
                }
                () = leaving.requested() => break,
            }
            handle
                .with_chitchat(|chitchat| self.look(chitchat, own, &mut heartbeats))
                .await;
        }
        handle
            .with_chitchat(|chitchat| {
                let mut told = self.shared.told(own.incarnation, time::now());
                told.has_left = true;
                say(chitchat, &told);
            })
            .await;
        if self.shared.has_others() {
            sleep(self.settings.interval * LEAVING_ROUNDS).await;
        }
        if let Err(error) = handle.shutdown().await {
            tracing::warn!(error = format!("{error:#}"), "gossip did not end cleanly");
        }
        Ended::Left
    }

    fn look(&self, chitchat: &mut Chitchat, own: &LifeId, heartbeats: &mut Heartbeats) {
        let now = time::now();
        say(chitchat, &self.shared.told(own.incarnation, now));
        self.say_forgotten(chitchat, now);
        let mut lives = Vec::new();
        let mut rises = Vec::new();
        let mut forgotten: BTreeMap<String, u64> = BTreeMap::new();
        for (id, state) in chitchat.node_states() {
            let id = LifeId {
                node: id.node_id.clone(),
                incarnation: id.generation_id,
                gossip_address: id.gossip_advertise_addr,
            };
            for (key, value) in state.iter_prefix(FORGET) {
                let until = value.value.parse().unwrap_or(0);
                let node = key.strip_prefix(FORGET).unwrap_or(key);
                let known = forgotten.entry(node.to_owned()).or_default();
                *known = until.max(*known);
            }
            if id != *own {
                rises.push((id.clone(), u64::from(state.heartbeat())));
            }
            if let Some(told) = Told::read(&id, |key| state.get(key)) {
                lives.push((id, told));
            }
        }
        heartbeats.round(rises, now);
        let census = census::take(lives, own, heartbeats, &forgotten, now);
        self.shared.counted(census, heartbeats.last_heard(), now);
    }

    /// Publishes whom this node was asked to forget, as long as that matters.
    fn say_forgotten(&self, chitchat: &mut Chitchat, now: Instant) {
        let own = chitchat.self_node_state();
        for (node, until) in self.shared.forgotten(REMEMBER_DEAD, now) {
            let key = format!("{FORGET}{node}");
            match until {
                Some(until) => set(own, &key, &until.to_string()),
                None => own.delete(&key),
            }
        }
    }

    /// Asks the seeds, if it is time to.
    fn ask(&self, handle: &ChitchatHandle, own: &LifeId, last: &mut Option<Instant>) {
        let now = time::now();
        let is_recent = |last: Instant| now.saturating_duration_since(last) < ASK;
        if self.shared.has_others() && last.is_some_and(is_recent) {
            return;
        }
        *last = Some(now);
        for seed in &self.seeds.borrow().addresses {
            if *seed != own.gossip_address {
                // It fails when chitchat has ended, which is noticed elsewhere.
                let _ = handle.gossip(*seed);
            }
        }
    }

    fn chitchat_config(&self, own: &LifeId) -> ChitchatConfig {
        let interval = self.settings.interval;
        ChitchatConfig {
            chitchat_id: ChitchatId::new(own.node.clone(), own.incarnation, own.gossip_address),
            cluster_id: self.settings.cluster_label.clone(),
            gossip_interval: interval,
            listen_addr: own.gossip_address,
            // Seeds are asked by us: chitchat looks names up once a minute.
            seed_nodes: Vec::new(),
            // Of its detector only the choice of whom to gossip with is used.
            failure_detector_config: FailureDetectorConfig {
                max_interval: interval * PATIENCE_ROUNDS,
                initial_interval: interval,
                dead_node_grace_period: REMEMBER_DEAD,
                ..FailureDetectorConfig::default()
            },
            marked_for_deletion_grace_period: REMEMBER_DELETED,
            catchup_callback: None,
            extra_liveness_predicate: None,
        }
    }
}

fn say(chitchat: &mut Chitchat, told: &Told) {
    let own = chitchat.self_node_state();
    for (key, value) in told.to_keys() {
        set(own, key, &value);
    }
}

/// Sets a key, if that changes it: each change is gossip.
fn set(own: &mut chitchat::NodeState, key: &str, value: &str) {
    if own.get(key) != Some(value) {
        own.set(key, value);
    }
}

/// Looks the names of seeds up again and again, and says so when none of them answers.
pub(crate) async fn look_up(
    settings: GossipSettings,
    shared: Arc<Shared>,
    found: watch::Sender<Resolved>,
) {
    let start = time::now();
    let mut logged: Option<Instant> = None;
    loop {
        let resolved = seeds::resolve(&settings.join).await;
        let is_alone = !shared.has_others();
        let is_due = logged.is_none_or(|logged| time::since(logged) >= LONELY_AGAIN);
        if is_alone && is_due && time::since(start) >= LONELY {
            logged = Some(time::now());
            warn_alone(&resolved, &shared);
        } else if !is_alone && logged.take().is_some() {
            tracing::info!("other nodes have been found");
        }
        found.send_if_modified(|known| {
            let is_new = *known != resolved;
            *known = resolved;
            is_new
        });
        tokio::select! {
            () = sleep(if is_alone { ASK_ALONE } else { ASK }) => {}
            () = shared.leaving.requested() => return,
        }
    }
}

fn warn_alone(resolved: &Resolved, shared: &Shared) {
    let asked: Vec<_> = resolved
        .addresses
        .iter()
        .map(SocketAddr::to_string)
        .collect();
    tracing::warn!(
        asked = asked.join(", "),
        unresolved = resolved.failures.join(", "),
        own = %shared.gossip_address,
        "no other node answers: is one of memberlist.join_members running, does UDP get through \
         both ways, and do memberlist.cluster_label and secret_keys agree? see \
         spanmill_ring_gossip_refused_total for datagrams that came and were not taken"
    );
}
