//! Nodes of a cluster on this machine, each with a loopback address of its own.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use spanmill_integration::Exposition;
use spanmill_integration::http::{client, text_of};
use spanmill_integration::process::Process;
use tempfile::TempDir;

use crate::machine::{Usage, usage};

/// Where each node listens.
const API: u16 = 3200;
const OTLP: u16 = 4317;
const GOSSIP: u16 = 7946;

/// What all nodes of a cluster have in common.
#[derive(Clone, Debug)]
pub(crate) struct Nodes<'a> {
    /// The binary.
    pub(crate) binary: &'a Path,
    /// Time between two collections.
    pub(crate) collection_interval: Duration,
    /// Where generators write their series.
    pub(crate) remote_write: &'a str,
}

/// A running node, killed when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    process: Process,
    name: String,
    address: Ipv4Addr,
    _directory: TempDir,
}

impl Nodes<'_> {
    /// Starts a node, and does not wait for it: `target` is its role, `number` tells its
    /// address from those of the others. The first is where the others look for a cluster.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub(crate) fn start(&self, target: &str, number: u8) -> anyhow::Result<Node> {
        let binary = self.binary.canonicalize();
        let binary = binary.with_context(|| format!("{}", self.binary.display()))?;
        let directory = TempDir::new()?;
        let (name, address) = (format!("{target}-{number}"), address(number));
        let config = serde_json::to_string_pretty(&self.config(target, &name, address))?;
        std::fs::write(directory.path().join("spanmill.yaml"), config)?;
        let arguments = ["--config.file=spanmill.yaml".to_owned()];
        let process = Process::start("spanmill", &binary, &arguments, directory.path())?;
        Ok(Node {
            process,
            name,
            address,
            _directory: directory,
        })
    }

    fn config(&self, target: &str, name: &str, address: Ipv4Addr) -> Value {
        /// Bytes a second, never reached.
        const NO_LIMIT: u64 = 100_000_000_000;
        let interval = format!("{}ms", self.collection_interval.as_millis());
        json!({
            "target": target,
            "server": {
                "http_listen_address": address,
                "http_listen_port": API,
                "grpc_listen_address": address,
                "grpc_listen_port": 9095,
                "admin_listen_address": address,
            },
            "distributor": { "receivers": { "otlp": { "protocols": {
                "grpc": { "endpoint": format!("{address}:{OTLP}") },
            } } } },
            "memberlist": {
                "bind_addr": [address],
                "bind_port": GOSSIP,
                "join_members": [format!("{}:{GOSSIP}", self::address(1))],
                "cluster_label": "bench",
                // Gossip is sealed, as it is to be in operation.
                "secret_keys": ["c3Bhbm1pbGwgYmVuY2htYXJrIG9mIGEgY2x1c3RlcjE="],
            },
            "storage": { "path": "data" },
            "metrics_generator": {
                "ring": {
                    "instance_id": name,
                    "instance_addr": address,
                    "cluster_seed": "bench",
                },
                "storage": { "remote_write": [{ "url": self.remote_write }] },
            },
            "overrides": { "defaults": {
                "ingestion": { "rate_limit_bytes": NO_LIMIT, "burst_size_bytes": NO_LIMIT },
                "metrics_generator": {
                    "processors": ["span-metrics"],
                    "collection_interval": interval,
                },
            } },
        })
    }
}

impl Node {
    /// Its name in the ring.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where OTLP/gRPC goes.
    pub(crate) fn otlp(&self) -> String {
        format!("http://{}:{OTLP}", self.address)
    }

    /// What it has used.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        usage(self.process.id()?).with_context(|| self.process.log())
    }

    /// Ends it in order.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.process.stop().await?;
        Ok(())
    }

    /// Kills it. Gives when that was.
    pub(crate) async fn kill(mut self) -> anyhow::Result<Instant> {
        let begin = Instant::now();
        self.process.signal("KILL").await?;
        self.process.wait().await?;
        Ok(begin)
    }

    /// The sum of one of its own metrics.
    pub(crate) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let page = format!("http://{}:{API}/metrics", self.address);
        let metrics = Exposition::parse(&text_of(client().get(page)).await?)?;
        Ok(metrics.sum(name, &[]))
    }

    /// The members that it sees; none if it does not answer.
    pub(crate) async fn members(&self) -> Vec<Value> {
        let page = format!("http://{}:{API}/ring?format=json", self.address);
        let Ok(text) = text_of(client().get(page)).await else {
            return Vec::new();
        };
        let ring: Value = serde_json::from_str(&text).unwrap_or_default();
        let members = ring.get("members").and_then(Value::as_array);
        members.cloned().unwrap_or_default()
    }

    /// The state of a member, as this node sees it; empty if it does not know it.
    pub(crate) async fn state_of(&self, name: &str) -> String {
        let members = self.members().await;
        let found = members.iter().find(|member| field(member, "id") == name);
        found
            .map(|member| field(member, "state").to_owned())
            .unwrap_or_default()
    }
}

/// Waits until each of some nodes sees so many active generators with all their tokens.
pub(crate) async fn settled(nodes: &[&Node], generators: usize) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let begin = Instant::now();
    for node in nodes {
        loop {
            let members = node.members().await;
            let full = members.iter().filter(|member| {
                field(member, "role") == "generator"
                    && field(member, "state") == "active"
                    && member.get("tokens").and_then(Value::as_u64) == Some(512)
            });
            if full.count() == generators {
                break;
            }
            if begin.elapsed() > PATIENCE {
                bail!("the ring does not settle:\n{}", node.process.log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

fn field<'a>(member: &'a Value, name: &str) -> &'a str {
    member.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Addresses of this process' nodes, told from those of another by its id.
fn address(number: u8) -> Ipv4Addr {
    let id = std::process::id();
    let [third, second] = [id % 250 + 1, id / 250 % 200 + 20].map(|part| part as u8);
    Ipv4Addr::new(127, second, third, number)
}
