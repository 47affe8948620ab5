//! Real spanmills on hosts of their own, that find each other.

mod clients;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binaries::binary;
use crate::exposition::Exposition;
use crate::http::{client, text_of};
use crate::network::{Host, Network};
use crate::patience::eventually;
use crate::process::Process;
use crate::spanmill::merge;

pub use self::clients::{Clients, Counted, Sent};

const CONFIG_FILE: &str = "spanmill.yaml";
/// The port of gossip.
const GOSSIP: u16 = 7946;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// It takes spans.
    Distributor,
    /// It makes series.
    Generator,
    /// It does both.
    All,
}

/// What all nodes of a cluster have in common.
#[derive(Clone, Debug, Default)]
pub struct ClusterConfig {
    /// Where gossip begins.
    seeds: Vec<Ipv4Addr>,
    layers: Vec<Value>,
}

/// A node: a host, and the process on it while there is one.
#[derive(Debug)]
pub struct Node {
    host: Host,
    target: Target,
    program: PathBuf,
    directory: TempDir,
    process: Option<Process>,
}

impl ClusterConfig {
    /// Nodes find each other through these hosts.
    #[must_use]
    pub fn seeded_by(seeds: &[&Host]) -> Self {
        Self {
            seeds: seeds.iter().map(|host| host.address()).collect(),
            layers: Vec::new(),
        }
    }

    /// Lays more configuration over it, in YAML.
    ///
    /// # Errors
    ///
    /// When it is no YAML.
    pub fn with(mut self, layer: &str) -> anyhow::Result<Self> {
        let layer = serde_saphyr::from_str(layer).context("the test's YAML")?;
        self.layers.push(layer);
        Ok(self)
    }

    fn of(&self, host: &Host, target: Target) -> anyhow::Result<Value> {
        let (name, address) = (host.name(), host.address());
        let seeds: Vec<_> = self
            .seeds
            .iter()
            .map(|ip| format!("{ip}:{GOSSIP}"))
            .collect();
        let mut config = json!({
            "target": match target {
                Target::Distributor => "distributor",
                Target::Generator => "generator",
                Target::All => "all",
            },
            "server": {
                "http_listen_address": address,
                "grpc_listen_address": address,
                // The hosts are nobody else's.
                "admin_listen_address": address,
            },
            "distributor": { "receivers": { "otlp": { "protocols": {
                "grpc": { "endpoint": format!("{address}:4317") },
                "http": { "endpoint": format!("{address}:4318") },
            } } } },
            "memberlist": {
                "bind_addr": [address],
                "bind_port": GOSSIP,
                "join_members": seeds,
                "cluster_label": "test",
            },
            "metrics_generator": { "ring": {
                "instance_id": name,
                "instance_addr": address,
            } },
            "overrides": { "defaults": { "metrics_generator": {
                "processors": ["span-metrics", "service-graphs"],
                "collection_interval": "1s",
            } } },
        });
        for layer in &self.layers {
            merge(&mut config, layer.clone());
        }
        Ok(config)
    }
}

impl Node {
    /// Plugs in a host and starts a node on it, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn start(host: Host, target: Target, config: &ClusterConfig) -> anyhow::Result<Self> {
        Self::start_by(&binary("spanmill")?, host, target, config).await
    }

    /// The same, run by another program than the one that was built.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_by(
        program: &Path,
        host: Host,
        target: Target,
        config: &ClusterConfig,
    ) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let text = serde_json::to_string_pretty(&config.of(&host, target)?)?;
        std::fs::write(directory.path().join(CONFIG_FILE), text)?;
        let mut node = Self {
            host,
            target,
            program: program.to_owned(),
            directory,
            process: None,
        };
        node.begin()?;
        node.ready().await?;
        Ok(node)
    }

    /// Is run by another program from its next start on.
    pub fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// Starts its process, and does not wait for it.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        let arguments = [format!("--config.file={CONFIG_FILE}")];
        let (program, arguments) = self.host.runs(&self.program, &arguments);
        let process = Process::start("spanmill", program, &arguments, self.directory.path())?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it ends, or does not become ready.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let ready = self.api("/ready");
        let name = self.host.name().to_owned();
        let process = self.process.as_mut().context("no process")?;
        eventually(&format!("{name} to be ready"), || {
            let running = process.ensure_running();
            let ask = client().get(&ready);
            async move {
                match running {
                    Ok(()) => text_of(ask).await.map(|_| Ok(())),
                    Err(ended) => Ok(Err(ended)),
                }
            }
        })
        .await?
    }

    /// Ends it in order, with exit code 0; gives its log.
    ///
    /// # Errors
    ///
    /// When it ends otherwise or not at all.
    pub async fn stop(&mut self) -> anyhow::Result<String> {
        let mut process = self.process.take().context("no process")?;
        let status = process.stop().await?;
        ensure!(
            status.code() == Some(0),
            "{} ended with {status}:\n{}",
            self.host.name(),
            process.log()
        );
        Ok(process.log())
    }

    /// Ends it in order and starts it again, ready.
    ///
    /// # Errors
    ///
    /// As [`stop`](Self::stop) and [`ready`](Self::ready).
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.begin()?;
        self.ready().await
    }

    /// Kills it.
    ///
    /// # Errors
    ///
    /// When it has ended before.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("no process")?;
        process.signal("KILL").await?;
        process.wait().await?;
        Ok(())
    }

    /// Sends a signal by its name, such as `STOP`.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("no process")?;
        process.signal(signal).await
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What it does.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target
    }

    /// Its working directory; data lies in `data` below.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The address of a page of the HTTP API.
    #[must_use]
    pub fn api(&self, path: &str) -> String {
        format!("http://{}{path}", self.at(3200))
    }

    /// The address of a page of the admin listener.
    #[must_use]
    pub fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.at(3201))
    }

    /// Where OTLP/HTTP clients post traces.
    #[must_use]
    pub fn otlp_http(&self) -> String {
        format!("http://{}/v1/traces", self.at(4318))
    }

    /// Where OTLP/gRPC clients connect.
    #[must_use]
    pub fn otlp_grpc(&self) -> String {
        format!("http://{}", self.at(4317))
    }

    /// The CPU time that it has had since it was last started, to a hundredth of a second.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let process = self.process.as_ref().context("no process")?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id()?))?;
        // Behind the name, which may have blanks: state, and ten numbers before these.
        let (_, numbers) = stat.rsplit_once(')').context("no name")?;
        let ticks = numbers.split_whitespace().skip(11).take(2);
        let ticks: Result<Vec<u64>, _> = ticks.map(str::parse).collect();
        Ok(Duration::from_millis(ticks?.iter().sum::<u64>() * 10))
    }

    /// Its own metrics.
    ///
    /// # Errors
    ///
    /// When they cannot be fetched or read.
    pub async fn metrics(&self) -> anyhow::Result<Exposition> {
        Exposition::parse(&text_of(client().get(self.api("/metrics"))).await?)
    }

    /// The members that it sees, as `/ring` has them.
    ///
    /// # Errors
    ///
    /// When they cannot be fetched or read.
    pub async fn ring(&self) -> anyhow::Result<Value> {
        let request = client()
            .get(self.api("/ring"))
            .header("Accept", "application/json");
        Ok(serde_json::from_str(&text_of(request).await?)?)
    }

    /// What it has logged since it was last started.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    fn at(&self, port: u16) -> SocketAddr {
        (self.host.address(), port).into()
    }
}

impl Network {
    /// Plugs in hosts with these names.
    ///
    /// # Errors
    ///
    /// When the system does not let us.
    pub fn add_hosts<const N: usize>(&mut self, names: [&str; N]) -> anyhow::Result<[Host; N]> {
        let hosts: Result<Vec<_>, _> = names.iter().map(|name| self.add_host(name)).collect();
        hosts?
            .try_into()
            .map_err(|_| anyhow::anyhow!("as many hosts as names"))
    }
}
