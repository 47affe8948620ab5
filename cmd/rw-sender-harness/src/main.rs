//! `rw-sender-harness` puts our remote write to the test of a suite for senders:
//! it scrapes a target each second and sends what it finds.
//!
//! Of an exemplar only a label `trace_id` of 32 hexadecimal digits is sent on,
//! as spanmill has no others; one with further labels is left out.

mod environment;
mod exposition;
mod scrape;
mod target;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use lifecycle::TaskGroup;
use model::{Clock, TenantId};
use remote_write::{
    EndpointConfig, Fsync, RemoteWrite, RemoteWriteConfig, RemoteWriteMetrics, SpoolConfig,
    TenantDestinations,
};
use settings::Secret;
use telemetry::logging::LogFormat;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::environment::{Settings, USAGE};
use crate::scrape::Scraper;
use crate::target::{TRACE_ID_LABEL, Target};

/// From the beginning of one scrape to that of the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long what is left may take to be sent at the end.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// How much may wait for a receiver.
const SPOOL_BYTES: u64 = 1 << 30;

fn main() -> ExitCode {
    let settings = match Settings::read(|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match start(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "rw-sender-harness: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(settings: &Settings) -> anyhow::Result<()> {
    telemetry::logging::init("info", LogFormat::Logfmt)?;
    // Fails only when one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(settings))
}

/// Scrapes and sends until a signal ends it.
async fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let url: reqwest::Url = settings.scrape_url.parse().context("SCRAPE_URL")?;
    let host = url.host_str().context("SCRAPE_URL has no host")?;
    let port = url
        .port_or_known_default()
        .context("SCRAPE_URL has no port")?;
    let instance = format!("{host}:{port}");
    let (clock, tasks) = (Clock::system(), TaskGroup::new());
    // Each run is one of its own, so nothing is to be found again.
    let spool = tempfile::tempdir().context("no directory for the spool")?;
    let endpoint = EndpointConfig {
        url: Secret::new(&settings.write_url),
        protobuf_message: settings.message,
        // Suites do not want to see anything of a refused request again.
        divide_refused_requests: false,
        ..EndpointConfig::default()
    };
    let config = RemoteWriteConfig {
        endpoints: vec![endpoint.clone()],
        add_org_id_header: false,
        spool: SpoolConfig {
            directory: spool.path().to_owned(),
            max_bytes_per_tenant: SPOOL_BYTES,
            max_bytes: SPOOL_BYTES,
            max_age: Duration::ZERO,
            fsync: Fsync::Never,
        },
    };
    let metrics = RemoteWriteMetrics::register(&mut telemetry::new_metrics_registry());
    let remote_write =
        RemoteWrite::start(config, metrics, clock.clone(), &tasks).context("WRITE_URL")?;
    let destinations = TenantDestinations {
        endpoints: [endpoint].into(),
        headers: Default::default(),
    };
    let writer = remote_write.writer(&TenantId::single(), &destinations);
    let scraper = Scraper::new(url, clock)?;
    let mut target = Target::new(&settings.job, &instance);
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let scrape = async {
            ticks.tick().await;
            scraper.scrape().await
        };
        let scrape = tokio::select! {
            scrape = scrape => scrape,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        if let Err(problem) = &scrape.page {
            let error = telemetry::error_chain(problem).to_string();
            tracing::warn!(error, "scrape failed");
        }
        let mut append = writer.append(&[], TRACE_ID_LABEL);
        target.feed(&scrape, &mut append);
        append.commit();
    }
    let left = remote_write.flush(FLUSH_DEADLINE).await;
    if left > 0 {
        tracing::warn!(samples = left, "not everything was sent");
    }
    remote_write.stop();
    tasks.join(FLUSH_DEADLINE).await;
    Ok(())
}
