//! A real spanmill on ports of its own.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binaries::binary;
use crate::exposition::Exposition;
use crate::http::{client, text_of};
use crate::ledger::Ledger;
use crate::patience::eventually;
use crate::ports::Port;
use crate::process::Process;

/// The tenant of everyone when there is only one.
pub const SINGLE_TENANT: &str = "single-tenant";

/// The configuration file, in the working directory.
const CONFIG_FILE: &str = "spanmill.yaml";

/// The media type that makes a scrape bring exemplars.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

/// A running spanmill in a directory of its own.
#[derive(Debug)]
pub struct Spanmill {
    process: Process,
    program: Option<PathBuf>,
    ports: Ports,
    directory: TempDir,
}

#[derive(Debug)]
struct Ports {
    otlp_grpc: Port,
    otlp_http: Port,
    api: Port,
    grpc: Port,
    admin: Port,
}

/// A spanmill that has ended, with its settings and data, to be started again.
#[derive(Debug)]
pub struct Stopped {
    program: Option<PathBuf>,
    ports: Ports,
    directory: TempDir,
    log: String,
}

/// What a spanmill starts with.
#[derive(Debug)]
pub struct Builder {
    config: Vec<String>,
    program: Option<PathBuf>,
}

impl Spanmill {
    /// One with a base configuration: listeners on free ports, span metrics for
    /// every tenant, a collection each second.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            config: Vec::new(),
            program: None,
        }
    }

    /// The address of a page of the HTTP API.
    #[must_use]
    pub fn api(&self, path: &str) -> String {
        format!("http://{}{path}", self.ports.api.address())
    }

    /// `host:port` of the HTTP API, as scrapers want it.
    #[must_use]
    pub fn api_address(&self) -> String {
        self.ports.api.address().to_string()
    }

    /// The address of a page of the admin listener.
    #[must_use]
    pub fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.ports.admin.address())
    }

    /// Where OTLP/gRPC clients connect.
    #[must_use]
    pub fn otlp_grpc(&self) -> String {
        format!("http://{}", self.ports.otlp_grpc.address())
    }

    /// Where OTLP/HTTP clients post traces.
    #[must_use]
    pub fn otlp_http(&self) -> String {
        format!("http://{}/v1/traces", self.ports.otlp_http.address())
    }

    /// Where generators take pushes over gRPC.
    #[must_use]
    pub fn internal_grpc(&self) -> String {
        format!("http://{}", self.ports.grpc.address())
    }

    /// Its working directory; data lies in `data` below.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its process id.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.process.id()
    }

    /// Bytes of memory that it has at this moment.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most bytes of memory that it ever had.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn peak_resident_bytes(&self) -> anyhow::Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> anyhow::Result<u64> {
        let id = self.process.id()?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib = kib.with_context(|| format!("no {name}"))?;
        Ok(kib.parse::<u64>()? * 1_024)
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its own metrics.
    ///
    /// # Errors
    ///
    /// When they cannot be fetched or read.
    pub async fn metrics(&self) -> anyhow::Result<Exposition> {
        Exposition::parse(&text_of(client().get(self.api("/metrics"))).await?)
    }

    /// The series it generated for a tenant, with exemplars.
    ///
    /// # Errors
    ///
    /// When they cannot be fetched or read.
    pub async fn generated(&self, tenant: &str) -> anyhow::Result<Exposition> {
        let request = client()
            .get(self.api("/metrics/generated"))
            .header("X-Scope-OrgID", tenant)
            .header("Accept", OPENMETRICS);
        Exposition::parse(&text_of(request).await?)
    }

    /// Checks the ledger: every span that was received is accounted for.
    ///
    /// # Errors
    ///
    /// The first equation that does not hold.
    pub async fn ledger(&self) -> anyhow::Result<Ledger> {
        Ledger::check(&self.metrics().await?)
    }

    /// Sends a signal by its name, such as `TERM`.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        self.process.signal(signal).await
    }

    /// Sends SIGTERM, and checks that it ends with exit code 0. Gives its log.
    ///
    /// # Errors
    ///
    /// When it ends otherwise or not at all.
    pub async fn stop(mut self) -> anyhow::Result<String> {
        let status = self.process.stop().await?;
        ensure!(
            status.code() == Some(0),
            "spanmill ended with {status}; it logged\n{}",
            self.log()
        );
        Ok(self.log())
    }

    /// Sends SIGTERM, waits for the end, and starts it again: the same ports, the same
    /// settings, the same data. Gives the log until the end as well.
    ///
    /// # Errors
    ///
    /// When it ends otherwise or not at all, or does not get ready again.
    pub async fn restart(self) -> anyhow::Result<(Self, String)> {
        let stopped = self.stop_for_now().await?;
        let log = stopped.log().to_owned();
        Ok((stopped.start().await?, log))
    }

    /// Sends SIGTERM, and checks that it ends with exit code 0.
    ///
    /// # Errors
    ///
    /// When it ends otherwise or not at all.
    pub async fn stop_for_now(mut self) -> anyhow::Result<Stopped> {
        let status = self.process.stop().await?;
        let log = self.log();
        ensure!(
            status.code() == Some(0),
            "spanmill ended with {status}; it logged\n{log}"
        );
        Ok(self.stopped(log))
    }

    /// Sends SIGKILL and waits for the end: as a crash leaves it.
    ///
    /// # Errors
    ///
    /// When it has ended before.
    pub async fn kill(mut self) -> anyhow::Result<Stopped> {
        self.process.ensure_running()?;
        self.process.signal("KILL").await?;
        self.process.wait().await?;
        let log = self.log();
        Ok(self.stopped(log))
    }

    fn stopped(self, log: String) -> Stopped {
        Stopped {
            program: self.program,
            ports: self.ports,
            directory: self.directory,
            log,
        }
    }

    /// Sends SIGTERM, once more as soon as it has begun to stop, and gives the exit
    /// code.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub async fn terminate_twice(mut self) -> anyhow::Result<Option<i32>> {
        self.signal("TERM").await?;
        let ready = self.api("/ready");
        eventually("spanmill to stop being ready", || async {
            let answer = text_of(client().get(&ready)).await;
            ensure!(answer.is_err(), "still ready");
            Ok(())
        })
        .await?;
        self.signal("TERM").await?;
        Ok(self.process.wait().await?.code())
    }

    /// What each test ends with: the ledger holds, `calls` were counted for each
    /// tenant by span metrics, and the process stops cleanly.
    ///
    /// # Errors
    ///
    /// The first of these that does not hold.
    pub async fn finish(self, calls: &[(&str, u64)]) -> anyhow::Result<()> {
        let ledger = self.ledger().await?;
        for (tenant, calls) in calls {
            let counted = ledger.counted(tenant, "span-metrics");
            ensure!(
                counted == *calls,
                "tenant {tenant}: {counted} spans counted, but {calls} calls arrived"
            );
        }
        self.stop().await.map(drop)
    }
}

impl Stopped {
    /// Its working directory; data lies in `data` below.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it had logged.
    #[must_use]
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Starts it again: the same ports, the same settings, the same data.
    ///
    /// # Errors
    ///
    /// When it does not get ready.
    pub async fn start(self) -> anyhow::Result<Spanmill> {
        let program = self.program.as_deref();
        Ok(Spanmill {
            process: run_until_ready(program, &self.ports, &self.directory).await?,
            program: self.program,
            ports: self.ports,
            directory: self.directory,
        })
    }
}

impl Builder {
    /// Lays YAML over the configuration: mappings merge, all else is replaced.
    #[must_use]
    pub fn config(mut self, yaml: &str) -> Self {
        self.config.push(yaml.to_owned());
        self
    }

    /// Runs this program, and not that of the tests.
    #[must_use]
    pub fn program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it cannot be built or started, or ends before it is ready.
    pub async fn start(self) -> anyhow::Result<Spanmill> {
        let directory = TempDir::new()?;
        let ports = Ports::reserve()?;
        self.write_config(&ports, directory.path())?;
        let program = self.program.as_deref();
        Ok(Spanmill {
            process: run_until_ready(program, &ports, &directory).await?,
            program: self.program,
            ports,
            directory,
        })
    }

    /// Runs it to its end, which must come by itself: for bad starts. Gives the
    /// exit code and the log.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or does not end.
    pub async fn run(self) -> anyhow::Result<(Option<i32>, String)> {
        let directory = TempDir::new()?;
        let file = self.write_config(&Ports::reserve()?, directory.path())?;
        run_with(&directory, &[format!("--config.file={}", file.display())]).await
    }

    fn write_config(&self, ports: &Ports, directory: &Path) -> anyhow::Result<PathBuf> {
        let mut config = ports.base_config();
        for layer in &self.config {
            let layer: Value = serde_saphyr::from_str(layer).context("the test's YAML")?;
            merge(&mut config, layer);
        }
        let file = directory.join(CONFIG_FILE);
        // JSON is YAML, too.
        std::fs::write(&file, serde_json::to_string_pretty(&config)?)?;
        Ok(file)
    }
}

/// Starts the program on the configuration file of a directory.
async fn run_until_ready(
    program: Option<&Path>,
    ports: &Ports,
    directory: &TempDir,
) -> anyhow::Result<Process> {
    let arguments = [format!("--config.file={CONFIG_FILE}")];
    let program = match program {
        Some(program) => program.canonicalize()?,
        None => binary("spanmill")?,
    };
    let mut process = Process::start("spanmill", &program, &arguments, directory.path())?;
    let ready = format!("http://{}/ready", ports.api.address());
    eventually("spanmill to be ready", || {
        let running = process.ensure_running();
        let ask = client().get(&ready);
        async move {
            match running {
                Ok(()) => text_of(ask).await.map(Ok),
                Err(ended) => Ok(Err(ended)),
            }
        }
    })
    .await??;
    Ok(process)
}

/// Runs the program on a configuration file, word for word, to its end, which
/// must come by itself. Gives the exit code and the log.
///
/// # Errors
///
/// When it cannot be started, or does not end.
pub async fn run_with_file(config: &str) -> anyhow::Result<(Option<i32>, String)> {
    let directory = TempDir::new()?;
    std::fs::write(directory.path().join("spanmill.yaml"), config)?;
    run_with(&directory, &["--config.file=spanmill.yaml".into()]).await
}

async fn run_with(
    directory: &TempDir,
    arguments: &[String],
) -> anyhow::Result<(Option<i32>, String)> {
    let program = binary("spanmill")?;
    let mut process = Process::start("spanmill", &program, arguments, directory.path())?;
    let status = process.wait().await?;
    Ok((status.code(), process.log()))
}

impl Ports {
    fn reserve() -> anyhow::Result<Self> {
        Ok(Self {
            otlp_grpc: Port::reserve()?,
            otlp_http: Port::reserve()?,
            api: Port::reserve()?,
            grpc: Port::reserve()?,
            admin: Port::reserve()?,
        })
    }

    fn base_config(&self) -> Value {
        json!({
            "server": {
                "http_listen_address": "127.0.0.1",
                "http_listen_port": self.api.number(),
                "grpc_listen_address": "127.0.0.1",
                "grpc_listen_port": self.grpc.number(),
                "admin_listen_port": self.admin.number(),
            },
            "distributor": { "receivers": { "otlp": { "protocols": {
                "grpc": { "endpoint": self.otlp_grpc.address() },
                "http": { "endpoint": self.otlp_http.address() },
            } } } },
            "overrides": { "defaults": { "metrics_generator": {
                "processors": ["span-metrics"],
                "collection_interval": "1s",
            } } },
        })
    }
}

/// Lays `over` onto `under`: mappings merge, all else is replaced.
pub(crate) fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}
