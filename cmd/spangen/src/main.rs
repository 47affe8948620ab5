//! `spangen` sends OpenTelemetry traces, to try spanmill and to load it.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use http::HeaderValue;
use tokio::net::TcpStream;

use crate::args::{Args, Profile, Protocol};
use crate::arrival::{Arrival, Scatter};
use crate::client::{Client, Grpc, Http, Method};
use crate::profile::Reference;
use crate::report::Report;
use crate::run::{Limits, Run};
use crate::topology::{Topology, WEB_SHOP};
use crate::truth::Truth;
use crate::workload::{Sizes, Source, Workload};

mod args;
mod arrival;
mod client;
mod pace;
mod profile;
mod report;
mod run;
mod semconv;
mod template;
mod topology;
mod trace;
mod truth;
mod wire;
mod workload;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    match start(&args) {
        Ok(report) => report.map_or(ExitCode::SUCCESS, |report| exit_code(&report)),
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "spangen: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

/// Fails if spans were sent and none was accepted.
fn exit_code(report: &Report) -> ExitCode {
    if report.spans.sent > 0 && report.spans.accepted == 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn start(args: &Args) -> anyhow::Result<Option<Report>> {
    if args.print_topology {
        std::io::stdout().write_all(WEB_SHOP.as_bytes())?;
        return Ok(None);
    }
    let runtime = if args.threads > 1 {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(args.threads)
            .enable_all()
            .build()
    } else {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    let report = runtime.context("runtime")?.block_on(run(args))?;
    let text = if args.json {
        serde_json::to_string(&report)? + "\n"
    } else {
        report.text()
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Some(report))
}

async fn run(args: &Args) -> anyhow::Result<Report> {
    let url = args.url();
    reach(&url, args.protocol).await?;
    let clients = clients(args, &url)?;
    let mut tenants = Vec::new();
    for name in args.tenant_names() {
        let value = HeaderValue::from_str(&name);
        tenants.push(value.with_context(|| format!("--tenant {name:?} is no header value"))?);
    }
    let latency_log = match &args.latency_log {
        Some(path) => {
            Some(File::create(path).with_context(|| format!("--latency-log {}", path.display()))?)
        }
        None => None,
    };
    let limits = Limits {
        rate: args.spans_per_second(),
        duration: args.duration,
        spans: args.spans,
        in_flight: args.in_flight,
        timeout: args.timeout,
        retry_for: args.retry_for,
        seed: args.seed,
    };
    let scatter = args.scatter();
    let arrival = Arrival::new(&scatter, args.shuffle, args.repeat, args.seed);
    let truth = args.truth.is_some().then(Truth::default);
    let workload = workload(args, scatter)?;
    let run = Run::new(limits, workload, arrival, truth, tenants, latency_log);
    tokio::select! {
        () = run.drive(clients) => {}
        () = progress(&run, args.quiet) => {}
        () = interrupted(&run) => {}
    }
    if !args.quiet && std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    let report = run.abandon();
    if let Some(path) = &args.truth {
        let truth = run.take_truth();
        let truth = truth.context("--truth: the run was ended before everything was sent")?;
        std::fs::write(path, truth.json()?)
            .with_context(|| format!("--truth {}", path.display()))?;
    }
    Ok(report)
}

/// Says early and plainly that nothing listens.
async fn reach(url: &str, protocol: Protocol) -> anyhow::Result<()> {
    let uri: http::Uri = url.parse().with_context(|| format!("--endpoint {url}"))?;
    let host = uri
        .host()
        .with_context(|| format!("--endpoint {url} has no host"))?;
    let tls = uri.scheme_str() == Some("https");
    if tls && protocol != Protocol::Http {
        anyhow::bail!("--endpoint {url}: gRPC over TLS is not supported; use --protocol http");
    }
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let address = (host.trim_matches(['[', ']']), port);
    let connected = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(address));
    let problem = match connected.await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(problem)) => problem.to_string(),
        Err(_) => "no answer within 5s".to_owned(),
    };
    anyhow::bail!(
        "cannot reach {url}: {problem}\n  \
         is spanmill running? start it with \"make run\" (or the spanmill binary), or name another \
         address with --endpoint"
    )
}

fn clients(args: &Args, url: &str) -> anyhow::Result<Vec<Client>> {
    let grpc = |method| Grpc::new(url, method, args.gzip).map(Client::Grpc);
    let mut clients = Vec::new();
    for _ in 0..args.connections.max(1) {
        clients.push(match args.protocol {
            Protocol::Grpc => grpc(Method::Export)?,
            Protocol::PushSpans => grpc(Method::PushSpans)?,
            Protocol::Http => Client::Http(Http::new(url, args.gzip)?),
        });
    }
    Ok(clients)
}

fn workload(args: &Args, scatter: Scatter) -> anyhow::Result<Workload> {
    let source = match (args.profile, &args.topology) {
        (Some(Profile::Reference), _) => Source::Reference(Reference::new(args.series)),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("--topology {}", path.display()))?;
            let topology = Topology::parse(&text);
            Source::Topology(topology.with_context(|| format!("{}", path.display()))?)
        }
        (None, None) => Source::Topology(Topology::parse(WEB_SHOP)?),
    };
    let wait = args.truth.is_some().then_some(args.wait);
    if let (Some(_), Source::Topology(topology)) = (wait, &source)
        && let Some(queue) = topology.shared_queue()
    {
        anyhow::bail!(
            "--truth: queue {queue} has several consumers, and which of them a receiver pairs \
             with the producer depends on who comes first"
        );
    }
    let mut sizes = Sizes::for_rate(args.spans_per_second());
    if let Some(batch) = args.batch {
        sizes.spans_per_request = batch.max(1);
    }
    Ok(Workload::new(
        source, sizes, args.seed, args.churn, scatter, wait,
    ))
}

/// One line that renews itself on a terminal, a plain line every 5 s elsewhere.
async fn progress(run: &Run, quiet: bool) {
    if quiet {
        return std::future::pending().await;
    }
    let terminal = std::io::stderr().is_terminal();
    let every = Duration::from_millis(if terminal { 500 } else { 5_000 });
    let mut before = (0.0, 0);
    loop {
        tokio::time::sleep(every).await;
        let report = run.report();
        let now = (report.seconds, report.spans.accepted);
        let rate = (now.1 - before.1) as f64 / (now.0 - before.0).max(1e-9);
        before = now;
        let line = report.line(rate);
        let mut stderr = std::io::stderr().lock();
        let _ = if terminal {
            write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush())
        } else {
            writeln!(stderr, "{line}")
        };
    }
}

/// After the first Ctrl-C answers are awaited for 3 s more, or until the next.
async fn interrupted(run: &Run) {
    const GRACE: Duration = Duration::from_secs(3);
    if tokio::signal::ctrl_c().await.is_err() {
        return std::future::pending().await;
    }
    run.stop();
    tokio::select! {
        () = tokio::time::sleep(GRACE) => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
