//! The spanmill that is measured.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use spanmill_integration::Exposition;
use spanmill_integration::http::{client, text_of};
use spanmill_integration::ports::Port;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::machine::{Usage, usage};

/// How it is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup<'a> {
    /// The binary.
    pub(crate) binary: &'a Path,
    /// `metrics_generator.max_lanes`, if it is set.
    pub(crate) lanes: Option<usize>,
    /// What turns spans into series, as in the setting.
    pub(crate) processors: &'a [&'a str],
    /// Time between two collections.
    pub(crate) collection_interval: Duration,
    /// Whether there are tenants.
    pub(crate) multitenancy: bool,
    /// Where it writes its series.
    pub(crate) remote_write: &'a str,
}

/// A running spanmill, killed when dropped.
#[derive(Debug)]
pub(crate) struct Subject {
    child: Child,
    pid: u32,
    otlp: Port,
    api: Port,
    otlp_http: Port,
    _others: [Port; 2],
    directory: TempDir,
}

impl Subject {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it ends before that, with what it logged last: it may refuse a setting.
    pub(crate) async fn start(setup: &Setup<'_>) -> anyhow::Result<Self> {
        let binary = setup.binary.canonicalize();
        let binary = binary.with_context(|| format!("{}", setup.binary.display()))?;
        let directory = TempDir::new()?;
        let (otlp, api) = (Port::reserve()?, Port::reserve()?);
        let otlp_http = Port::reserve()?;
        let others = [Port::reserve()?, Port::reserve()?];
        let config = config(setup, [&otlp, &otlp_http, &api], &others, directory.path());
        let file = directory.path().join("spanmill.yaml");
        std::fs::write(&file, serde_json::to_string_pretty(&config)?)?;
        let log = File::create(directory.path().join("log"))?;
        let mut command = Command::new(&binary);
        command
            .arg(format!("--config.file={}", file.display()))
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        if let Some(lanes) = setup.lanes {
            // No more lanes are taken at once than there are threads.
            let cpus = std::thread::available_parallelism().map_or(1, usize::from);
            command.env("TOKIO_WORKER_THREADS", lanes.max(cpus).to_string());
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let pid = child.id().context("spanmill has ended")?;
        let mut subject = Self {
            child,
            pid,
            otlp,
            api,
            otlp_http,
            _others: others,
            directory,
        };
        subject.wait_until_ready().await?;
        Ok(subject)
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        const STEP: Duration = Duration::from_millis(100);
        const STEPS: usize = 300;
        let ready = format!("http://{}/ready", self.api.address());
        for _ in 0..STEPS {
            if let Some(status) = self.child.try_wait()? {
                bail!("spanmill ended with {status}:\n{}", self.last_lines());
            }
            if text_of(client().get(&ready)).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(STEP).await;
        }
        bail!("spanmill is not ready after 30s:\n{}", self.last_lines())
    }

    /// Where OTLP/gRPC goes.
    pub(crate) fn otlp(&self) -> String {
        format!("http://{}", self.otlp.address())
    }

    /// Where OTLP/HTTP goes.
    pub(crate) fn otlp_http(&self) -> String {
        format!("http://{}/v1/traces", self.otlp_http.address())
    }

    /// What it has used.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        usage(self.pid).with_context(|| self.last_lines())
    }

    /// The sum of one of its own metrics.
    pub(crate) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let page = format!("http://{}/metrics", self.api.address());
        let metrics = Exposition::parse(&text_of(client().get(page)).await?)?;
        Ok(metrics.sum(name, &[]))
    }

    fn last_lines(&self) -> String {
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let from = lines.len().saturating_sub(10);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

fn config(
    setup: &Setup<'_>,
    [otlp, http, api]: [&Port; 3],
    [grpc, admin]: &[Port; 2],
    directory: &Path,
) -> serde_json::Value {
    /// Bytes a second, never reached.
    const NO_LIMIT: u64 = 100_000_000_000;
    let interval = format!("{}ms", setup.collection_interval.as_millis());
    let mut config = json!({
        "multitenancy_enabled": setup.multitenancy,
        "server": {
            "http_listen_address": "127.0.0.1",
            "http_listen_port": api.number(),
            "grpc_listen_address": "127.0.0.1",
            "grpc_listen_port": grpc.number(),
            "admin_listen_port": admin.number(),
        },
        "distributor": { "receivers": { "otlp": { "protocols": {
            "grpc": { "endpoint": otlp.address() },
            "http": { "endpoint": http.address() },
        } } } },
        "metrics_generator": { "storage": {
            "path": directory.join("storage"),
            "remote_write": [{ "url": setup.remote_write }],
        } },
        "overrides": { "defaults": {
            "ingestion": { "rate_limit_bytes": NO_LIMIT, "burst_size_bytes": NO_LIMIT },
            "metrics_generator": {
                "processors": setup.processors,
                "collection_interval": interval,
                "processor": { "service_graphs": { "wait": "1m" } },
            },
        } },
    });
    if let Some(lanes) = setup.lanes
        && let Some(generator) = config.get_mut("metrics_generator")
        && let Some(generator) = generator.as_object_mut()
    {
        generator.insert("max_lanes".to_owned(), lanes.into());
    }
    config
}
