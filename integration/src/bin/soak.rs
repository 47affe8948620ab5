//! Measures what tenants feel of each other, in a process with 512 MiB of memory.
//!
//! `make soak` runs it with a release build. Nothing here passes or fails: machines
//! differ. The goals are that the others' p99 is at most twice that without a noisy
//! tenant, that none of their spans is lost, and that a process that is sent five times
//! what it can take takes at least 70 % of that.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use spanmill_integration::Spanmill;
use spanmill_integration::cgroup::Cgroup;
use spanmill_integration::spangen::{Report, Spangen};

const MEMORY: u64 = 512 << 20;

/// How much of a processor is overloaded: little, so that those who send five times what
/// it can take have enough of the others.
const OVERLOADED_PROCESSORS: f64 = 0.2;

/// Tenants that send as usual.
const QUIET: [&str; 3] = ["quiet-1", "quiet-2", "quiet-3"];

/// What each of them sends, with room below its limit of 2 MB.
const QUIET_ARGUMENTS: [&str; 4] = [
    "--profile=reference",
    "--rate=1000",
    "--series=5000",
    "--retry-for=0s",
];

/// Tenants that together send five times what can be taken.
const OVERLOADING: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Measures fairness between tenants with the binaries in SPANMILL_BIN_DIR.
#[derive(Clone, Copy, Debug, Parser)]
struct Args {
    /// How long each scenario takes
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    duration: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(Args::parse()).await {
        Ok(table) => {
            // Nobody reads it if this fails.
            let _ = write!(std::io::stdout(), "{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A tenant that is not as usual.
struct Noise {
    name: &'static str,
    arguments: &'static [&'static str],
}

const NOISES: [Noise; 3] = [
    Noise {
        name: "nobody else",
        arguments: &[],
    },
    Noise {
        name: "one at ten times its rate",
        arguments: &["--profile=reference", "--rate=31746", "--in-flight=64"],
    },
    // A span of a new label set makes 17 series.
    Noise {
        name: "one with a million new series a minute",
        arguments: &["--profile=reference", "--rate=1000", "--series=20000000"],
    },
];

async fn measure(args: Args) -> anyhow::Result<String> {
    let duration = format!("--duration={}ms", args.duration.as_millis());
    let mut table = format!(
        "{:40}{:>10}{:>10}{:>7}{:>13}{:>10}{:>8}{:>9}\n",
        "3 tenants of 1,000 spans/s beside",
        "their p50",
        "their p99",
        "lost",
        "noisy: taken",
        "refused",
        "killed",
        "peak MiB"
    );
    for noise in NOISES {
        eprintln!("beside {}", noise.name);
        let row = beside(&noise, &duration).await?;
        let slowest = |of: fn(&Report) -> f64| row.quiet.iter().map(of).fold(0.0, f64::max) * 1e3;
        let lost = row.quiet.iter().map(lost).sum::<u64>();
        let of_noisy = |of: fn(&Report) -> u64| row.noisy.as_ref().map_or(0, of);
        table.push_str(&format!(
            "{:40}{:>7.1} ms{:>7.1} ms{lost:>7}{:>13}{:>10}{:>8}{:>9}\n",
            noise.name,
            slowest(|report| report.push_seconds.p50),
            slowest(|report| report.push_seconds.p99),
            of_noisy(|report| report.spans.accepted),
            of_noisy(|report| report.spans.refused),
            row.end.killed,
            row.end.peak_mib,
        ));
    }
    table.push_str(&overload(&duration).await?);
    Ok(table)
}

fn lost(report: &Report) -> u64 {
    report.spans.sent - report.spans.accepted
}

/// What quiet tenants beside a noisy one reported.
struct Beside {
    quiet: Vec<Report>,
    noisy: Option<Report>,
    end: End,
}

/// What there is to say of a process at its end.
struct End {
    killed: u64,
    peak_mib: u64,
}

async fn start(cgroup: &Cgroup, rate: u64) -> anyhow::Result<Spanmill> {
    let config = format!(
        "
multitenancy_enabled: true
overrides:
  defaults:
    ingestion: {{rate_limit_bytes: {rate}, burst_size_bytes: {rate}}}
    metrics_generator: {{processors: [span-metrics], collection_interval: 15s}}
"
    );
    let spanmill = Spanmill::builder().config(&config).start();
    let within = cgroup.within(spanmill);
    within.await.context("spanmill did not start")
}

/// Stops the process, which must have counted `calls`.
async fn stop(spanmill: Spanmill, cgroup: &Cgroup, calls: &[(&str, u64)]) -> anyhow::Result<End> {
    let end = End {
        killed: cgroup.killed()?,
        peak_mib: spanmill.peak_resident_bytes()? >> 20,
    };
    spanmill.finish(calls).await?;
    Ok(end)
}

async fn beside(noise: &Noise, duration: &str) -> anyhow::Result<Beside> {
    let cgroup = Cgroup::new(MEMORY, None).context("this needs the right to make cgroups")?;
    let spanmill = start(&cgroup, 2_000_000).await?;
    let endpoint = spanmill.otlp_grpc();
    let noisy = match noise.arguments {
        [] => None,
        some => {
            let arguments = [some, &[duration]].concat();
            Some(Spangen::start(&endpoint, "noisy", &arguments)?)
        }
    };
    let arguments = [&QUIET_ARGUMENTS[..], &[duration]].concat();
    let quiet = reports(&endpoint, &QUIET, &arguments).await?;
    let noisy = match noisy {
        Some(noisy) => Some(noisy.report().await?),
        None => None,
    };
    let calls: Vec<_> = QUIET
        .into_iter()
        .zip(&quiet)
        .map(|(tenant, report)| (tenant, report.spans.accepted))
        .collect();
    let end = stop(spanmill, &cgroup, &calls).await?;
    Ok(Beside { quiet, noisy, end })
}

/// What is taken of one client that sends as fast as it is answered, and of five that do
/// not wait for that.
async fn overload(duration: &str) -> anyhow::Result<String> {
    let cgroup = Cgroup::new(MEMORY, Some(OVERLOADED_PROCESSORS))?;
    let spanmill = start(&cgroup, 1_000_000_000).await?;
    let endpoint = spanmill.otlp_grpc();

    eprintln!("one client as fast as it is answered");
    let arguments = [
        "--profile=reference",
        "--rate=max",
        "--timeout=60s",
        duration,
    ];
    let alone = reports(&endpoint, &OVERLOADING[..1], &arguments).await?;
    let most = alone
        .iter()
        .map(|report| report.accepted_per_second)
        .sum::<f64>();

    eprintln!("five that send {most:.0} spans/s each");
    let rate = format!("--rate={most:.0}");
    let arguments = [
        "--profile=reference",
        "--connections=10",
        "--in-flight=40",
        "--timeout=60s",
        &rate,
        duration,
    ];
    let five = reports(&endpoint, &OVERLOADING, &arguments).await?;
    let taken = five
        .iter()
        .map(|report| report.accepted_per_second)
        .sum::<f64>();
    let sum = |of: fn(&Report) -> u64| five.iter().map(of).sum::<u64>();
    let in_vain = |report: &Report| {
        let reasons = report.reasons.iter();
        let for_good = reasons.filter(|(reason, _)| !reason.starts_with("gave up: "));
        for_good.map(|(_, spans)| spans).sum()
    };
    let mut calls: Vec<_> = OVERLOADING
        .into_iter()
        .zip(&five)
        .map(|(tenant, report)| (tenant, report.spans.accepted))
        .collect();
    if let (Some((_, calls)), Some(alone)) = (calls.first_mut(), alone.first()) {
        *calls += alone.spans.accepted;
    }
    let end = stop(spanmill, &cgroup, &calls).await?;
    Ok(format!(
        "\nwith {OVERLOADED_PROCESSORS} of a processor: {most:.0} spans/s at its most; sent five \
         times that: {taken:.0} spans/s ({:.0} %)\nrequests that were told to come again: {}; \
         spans refused otherwise: {}; killed: {}; peak MiB: {}\n",
        100.0 * taken / most,
        sum(|report| report.retries),
        sum(in_vain),
        end.killed,
        end.peak_mib
    ))
}

/// What tenants report that send at the same time, each with the same arguments.
async fn reports(
    endpoint: &str,
    tenants: &[&str],
    arguments: &[&str],
) -> anyhow::Result<Vec<Report>> {
    let mut running = Vec::new();
    for tenant in tenants {
        running.push(Spangen::start(endpoint, tenant, arguments)?);
    }
    let mut reports = Vec::new();
    for spangen in running {
        reports.push(spangen.report().await?);
    }
    Ok(reports)
}
