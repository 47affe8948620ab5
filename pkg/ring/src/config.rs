//! Settings of the cluster, as Tempo names them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::ClusterSeed;
use ring_crypto::digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use settings::{Problem, Secret};

use crate::gossip::seeds::Seed;

/// The port at which Tempo gossips, too.
const PORT: u16 = 7946;
/// As often as this a node of 64 spends 0.4 % of a core on gossip.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(200);
/// Below this, rounds of gossip would meet each other.
const MIN_GOSSIP_INTERVAL: Duration = Duration::from_millis(50);
/// Above this a dead node would be noticed after more than 40 s.
const MAX_GOSSIP_INTERVAL: Duration = Duration::from_secs(5);
/// The bytes of a key.
const KEY_BYTES: usize = 32;
/// The most keys: the one in use, and the one before or after it.
const MAX_KEYS: usize = 2;

/// The `memberlist` block: how nodes find each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MemberlistConfig {
    /// The address that gossip is received at, over UDP; one at most. Default: all
    /// addresses of the machine.
    pub bind_addr: Vec<String>,

    /// The port that gossip is received at, over UDP. Default: 7946.
    pub bind_port: u16,

    /// The address at which others reach this node's gossip. Default: `bind_addr`, or if
    /// that is all addresses, the one that the way to the first of `join_members` has.
    pub advertise_addr: String,

    /// The port at which others reach this node's gossip; 0 means `bind_port`. Default: 0.
    pub advertise_port: u16,

    /// Nodes to ask for the others: addresses or names, each with a port or without, if
    /// that is `bind_port`. Names are looked up again every 10 seconds, and all addresses
    /// that one has are asked, so the name of a headless service is enough. Default: none,
    /// which with `target: all` means that this process is alone.
    pub join_members: Vec<String>,

    /// What tells this cluster from others: nodes with another one are not heard.
    /// Default: empty.
    pub cluster_label: String,

    /// Keys that gossip is sealed with, each 32 bytes in base64 (`openssl rand -base64
    /// 32`). The first one seals; each opens. To change the key without a pause, go over
    /// all nodes with `[old, new]`, then with `[new, old]`, then with `[new]`. Without a
    /// key, whoever reaches the port can join. Default: none.
    pub secret_keys: Vec<Secret>,

    /// How often a node gossips, from 50ms to 5s; a node is taken for dead after eight
    /// times as long. The same on all nodes. Default: 200ms.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub gossip_interval: Duration,
}

/// The `metrics_generator.ring` block: what this node is in the ring.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RingConfig {
    /// The name of this node, one in the cluster and the same after a restart. Default:
    /// the one that it had before, kept in `node.json` in the storage directory; at first
    /// the name of the host.
    pub instance_id: String,

    /// The address at which distributors reach this node. Default: the one at which its
    /// gossip is reached.
    pub instance_addr: String,

    /// The port at which distributors reach this node; 0 means that of the internal gRPC
    /// listener. Default: 0.
    pub instance_port: u16,

    /// The zone in which this node stands. Default: empty.
    #[serde(alias = "instance_zone")]
    pub instance_availability_zone: String,

    /// What traces are hashed with to find their generator, any text, the same on all
    /// nodes. Who does not know it cannot make traces that all fall to one generator.
    /// Default: `memberlist.cluster_label`, which is no secret.
    pub cluster_seed: Secret,

    /// Where the ring is kept.
    pub kvstore: KvStoreConfig,

    /// Without effect: nodes gossip every `memberlist.gossip_interval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_period: Option<Value>,
    /// Without effect: a node is dead after eight times `memberlist.gossip_interval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_timeout: Option<Value>,
    /// Without effect: see `instance_addr`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_interface_names: Option<Value>,
    /// Without effect: addresses are of the family that they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_inet6: Option<Value>,
}

/// The `metrics_generator.ring.kvstore` block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KvStoreConfig {
    /// Always gossip. `inmemory`, which is for one process, is accepted with the same
    /// meaning. Default: memberlist.
    pub store: KvStore,

    /// Without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<Value>,
}

/// Where the ring is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KvStore {
    /// In gossip.
    #[default]
    Memberlist,
    /// The same: a process without others gossips with nobody.
    Inmemory,
}

/// How this node gossips, checked.
#[derive(Clone, Debug)]
pub struct GossipSettings {
    /// Where gossip is received, over UDP.
    pub bind: SocketAddr,
    /// The address at which others reach it, if it is said.
    pub advertise_address: Option<IpAddr>,
    /// The port at which others reach it; 0 means that of `bind`.
    pub advertise_port: u16,
    /// Whom to ask for the others.
    pub(crate) join: Vec<Seed>,
    /// What tells this cluster from others.
    pub cluster_label: String,
    /// The first one seals; each opens.
    pub(crate) keys: Vec<[u8; KEY_BYTES]>,
    /// How often this node gossips.
    pub interval: Duration,
}

impl Default for MemberlistConfig {
    fn default() -> Self {
        Self {
            bind_addr: Vec::new(),
            bind_port: PORT,
            advertise_addr: String::new(),
            advertise_port: 0,
            join_members: Vec::new(),
            cluster_label: String::new(),
            secret_keys: Vec::new(),
            gossip_interval: GOSSIP_INTERVAL,
        }
    }
}

impl MemberlistConfig {
    /// Checks what the types cannot, and reports every problem at once, with paths from
    /// the top of the file.
    pub fn validate(&self) -> Vec<Problem> {
        self.settings().err().unwrap_or_default()
    }

    /// What it says, checked.
    ///
    /// # Errors
    ///
    /// Every problem at once, with paths from the top of the file.
    pub fn settings(&self) -> Result<GossipSettings, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, message: String| {
            problems.push(Problem::new(format!("memberlist.{key}"), message));
        };
        let mut bind: IpAddr = Ipv4Addr::UNSPECIFIED.into();
        match &self.bind_addr[..] {
            [] => {}
            [address] => match address.parse() {
                Ok(address) => bind = address,
                Err(_) => problem("bind_addr", not_an_address(address)),
            },
            _ => problem("bind_addr", "names more than one address".to_owned()),
        }
        let advertise_address = parse_address(&self.advertise_addr).unwrap_or_else(|message| {
            problem("advertise_addr", message);
            None
        });
        let mut join = Vec::new();
        for (index, text) in self.join_members.iter().enumerate() {
            match Seed::parse(text, self.bind_port) {
                Some(seed) => join.push(seed),
                None => problem(
                    &format!("join_members[{index}]"),
                    format!(
                        "{text:?} is not accepted; expected a name or an address, with a port or without"
                    ),
                ),
            }
        }
        let mut keys = Vec::new();
        for (index, secret) in self.secret_keys.iter().enumerate() {
            match STANDARD
                .decode(secret.expose())
                .map(<[u8; KEY_BYTES]>::try_from)
            {
                Ok(Ok(key)) => keys.push(key),
                _ => problem(
                    &format!("secret_keys[{index}]"),
                    format!(
                        "is not {KEY_BYTES} bytes in base64; make one with \"openssl rand -base64 {KEY_BYTES}\""
                    ),
                ),
            }
        }
        if self.secret_keys.len() > MAX_KEYS {
            let message = format!("has more than {MAX_KEYS} keys");
            problem("secret_keys", message);
        }
        if !(MIN_GOSSIP_INTERVAL..=MAX_GOSSIP_INTERVAL).contains(&self.gossip_interval) {
            problem("gossip_interval", "is not from 50ms to 5s".to_owned());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(GossipSettings {
            bind: (bind, self.bind_port).into(),
            advertise_address,
            advertise_port: self.advertise_port,
            join,
            cluster_label: self.cluster_label.clone(),
            keys,
            interval: self.gossip_interval,
        })
    }
}

impl RingConfig {
    /// Checks what the types cannot, and reports every problem at once, with paths from
    /// the top of the file.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Err(message) = self.address() {
            let path = "metrics_generator.ring.instance_addr";
            problems.push(Problem::new(path, message));
        }
        problems
    }

    /// Paths of the settings that are given and have no effect, for a warning.
    pub fn without_effect(&self) -> Vec<String> {
        let given = [
            ("heartbeat_period", &self.heartbeat_period),
            ("heartbeat_timeout", &self.heartbeat_timeout),
            ("instance_interface_names", &self.instance_interface_names),
            ("enable_inet6", &self.enable_inet6),
            ("kvstore.prefix", &self.kvstore.prefix),
        ];
        let given = given.into_iter().filter(|(_, value)| value.is_some());
        given
            .map(|(key, _)| format!("metrics_generator.ring.{key}"))
            .collect()
    }

    /// The address at which distributors reach this node, if it is said.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn address(&self) -> Result<Option<IpAddr>, String> {
        parse_address(&self.instance_addr)
    }

    /// What traces are hashed with in the cluster of this label.
    pub fn cluster_seed(&self, cluster_label: &str) -> ClusterSeed {
        ClusterSeed::from_text(self.seed_text(cluster_label))
    }

    /// What tells cluster seeds apart without giving them away: 8 hexadecimal digits. It
    /// is short, so that many guesses of a weak secret fit.
    pub fn cluster_seed_fingerprint(&self, cluster_label: &str) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"spanmill cluster seed");
        context.update(self.seed_text(cluster_label).as_bytes());
        let bytes = context.finish();
        let first = bytes.as_ref().iter().take(4);
        first.map(|byte| format!("{byte:02x}")).collect()
    }

    fn seed_text<'a>(&'a self, cluster_label: &'a str) -> &'a str {
        match self.cluster_seed.is_empty() {
            true => cluster_label,
            false => self.cluster_seed.expose(),
        }
    }
}

fn parse_address(text: &str) -> Result<Option<IpAddr>, String> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| not_an_address(text)),
    }
}

fn not_an_address(text: &str) -> String {
    format!("{text:?} is not accepted; expected an IP address without a port")
}

#[cfg(test)]
mod tests;
