//! What is measured, and how.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::NamedTempFile;

use crate::latency::{self, Summary};
use crate::load::Load;
use crate::sink::Sink;
use crate::subject::{Setup, Subject};
use crate::table::Table;
use crate::{Args, Section, progress};

/// Series of the reference profile: span metrics of 2,740 label sets.
const REFERENCE_SERIES: u64 = 52_060;

/// A load well below what two cores can take.
const MODERATE: u64 = 63_000;

/// Runs every section that is asked for, one after the other.
pub(crate) async fn run(args: &Args) -> anyhow::Result<Table> {
    let mut table = Table::default();
    let wants = |section| args.only.contains(&section);
    if wants(Section::Cpu) {
        cpu(args, &mut table).await.context("cpu")?;
    }
    let largest = args.series.iter().copied().max().unwrap_or(0);
    for series in &args.series {
        let p99 = wants(Section::P99) && *series == largest;
        if !wants(Section::Memory) && !p99 {
            continue;
        }
        for lanes in &args.lanes {
            let lanes = match lanes.as_str() {
                "default" => None,
                number => Some(
                    number
                        .parse()
                        .with_context(|| format!("--lanes {number}"))?,
                ),
            };
            many_series(args, *series, lanes, p99, &mut table)
                .await
                .with_context(|| format!("{series} series"))?;
        }
    }
    if wants(Section::Steady) {
        steady(args, &mut table).await.context("steady")?;
    }
    Ok(table)
}

/// CPU and throughput with the reference profile, as fast as it goes.
async fn cpu(args: &Args, table: &mut Table) -> anyhow::Result<()> {
    const WARM_UP: Duration = Duration::from_secs(10);
    progress("cpu: starting");
    let sink = Sink::start().await?;
    let subject = Subject::start(&setup(args, None, &sink)).await?;
    let endpoint = subject.otlp();
    let load = |duration| Load {
        binary: &args.spangen,
        endpoint: &endpoint,
        series: REFERENCE_SERIES,
        churn: 1.0,
        rate: None,
        in_flight: 8,
        duration,
        latency_log: None,
    };
    load(WARM_UP).run().await?;
    let before = subject.usage()?;
    let outcome = load(args.duration).run().await?;
    let after = subject.usage()?;
    let cpu = (after.cpu - before.cpu).as_secs_f64();
    let million = outcome.accepted as f64 / 1e6;
    progress(&format!(
        "cpu: {million:.1} M spans accepted, {} not, {cpu:.1} CPU s, {} remote-write requests, {} MB",
        outcome.lost,
        sink.counts().0,
        sink.counts().1 / 1_000_000,
    ));
    table.row(
        "CPU s per million spans (52 k series, 1 % churn/min)",
        format!("{:.3}", cpu / million),
        "<= 0.8",
        "8.0",
    );
    let per_second = format!("{:.0} k", outcome.per_second / 1e3);
    table.row(
        "spans/s, cores shared with the client",
        per_second,
        "",
        "119 k",
    );
    let p99 = format!("{:.1} ms", outcome.p99 * 1e3);
    table.row("p99 of a push at that rate", p99, "", "");
    table.row("spans not accepted", outcome.lost.to_string(), "0", "");
    table.row("peak memory", megabytes(after.peak), "", "177 MB");
    Ok(())
}

/// Memory of a series, and pushes during collections.
async fn many_series(
    args: &Args,
    series: u64,
    lanes: Option<usize>,
    p99: bool,
    table: &mut Table,
) -> anyhow::Result<()> {
    let name = format!(
        "{} k series, {} lanes",
        series / 1_000,
        lanes.map_or_else(|| "default".to_owned(), |lanes| lanes.to_string())
    );
    progress(&format!("{name}: starting"));
    let sink = Sink::start().await?;
    let subject = match Subject::start(&setup(args, lanes, &sink)).await {
        Ok(subject) => subject,
        Err(refused) if lanes.is_some() => {
            progress(&format!("{name}: skipped: {refused:#}"));
            table.row(&name, "skipped: it did not start".to_owned(), "", "");
            return Ok(());
        }
        Err(problem) => return Err(problem),
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = subject.usage()?.resident;
    let endpoint = subject.otlp();
    let log = NamedTempFile::new()?;
    let load = |rate: Option<u64>, duration, latency_log| Load {
        binary: &args.spangen,
        endpoint: &endpoint,
        series,
        churn: 0.0,
        rate,
        // Pushes at a rate do not wait for each other.
        in_flight: if rate.is_some() {
            64
        } else {
            lanes.unwrap_or(8).max(8)
        },
        duration,
        latency_log,
    };
    // As fast as it goes first, so that all series and all lanes are there.
    load(None, Duration::from_secs(8), None).run().await?;
    let collections = args.collection_interval * 5 / 2;
    load(Some(MODERATE), collections, Some(log.path()))
        .run()
        .await?;
    let (usage, active) = (subject.usage()?, subject.active_series().await?);
    progress(&format!(
        "{name}: {active} active series, idle {}",
        megabytes(idle)
    ));
    if args.only.contains(&Section::Memory) {
        let each = |bytes: u64| format!("{:.0}", bytes as f64 / active.max(1) as f64);
        let grown = usage.resident.saturating_sub(idle);
        let tempo = if series > 500_000 { "1,800" } else { "2,750" };
        table.row(
            &format!("bytes a series: {name}"),
            format!(
                "{} ({} with the idle process, peak {})",
                each(grown),
                each(usage.resident),
                each(usage.peak)
            ),
            "<= 100",
            tempo,
        );
    }
    if p99 {
        let pushes = latency::parse(&std::fs::read_to_string(log.path())?);
        let windows = latency::collections(sink.times());
        let (inside, outside) = latency::split(&pushes, &windows);
        table.row(
            &format!("p99 of a push in a collection: {name}"),
            describe(inside),
            "<= 50 ms",
            "4.3 s",
        );
        table.row("    otherwise", describe(outside), "", "");
    }
    Ok(())
}

/// Growth of memory with a steady load and steady series.
async fn steady(args: &Args, table: &mut Table) -> anyhow::Result<()> {
    const STEP: Duration = Duration::from_secs(10);
    progress("steady: starting");
    let sink = Sink::start().await?;
    let subject = Subject::start(&setup(args, None, &sink)).await?;
    let endpoint = subject.otlp();
    let load = Load {
        binary: &args.spangen,
        endpoint: &endpoint,
        series: REFERENCE_SERIES,
        churn: 0.0,
        rate: Some(MODERATE),
        in_flight: 8,
        duration: args.steady,
        latency_log: None,
    };
    let started = Instant::now();
    let mut samples = Vec::new();
    let mut sending = std::pin::pin!(load.run());
    let outcome = loop {
        tokio::select! {
            outcome = &mut sending => break outcome?,
            () = tokio::time::sleep(STEP) => {
                let resident = subject.usage()?.resident;
                samples.push(resident);
                let seconds = started.elapsed().as_secs();
                progress(&format!("steady: {seconds} s, {}", megabytes(resident)));
            }
        }
    };
    // The first fifth fills lanes, buffers and the allocator.
    let settled = samples.get(samples.len() / 5..).unwrap_or_default();
    let (early, late) = settled.split_at(settled.len() / 2);
    let mean = |some: &[u64]| some.iter().sum::<u64>() as f64 / some.len().max(1) as f64;
    let growth = (mean(late) - mean(early)) / 1e6;
    table.row(
        &format!("growth over {}", humantime::format_duration(args.steady)),
        format!(
            "{growth:+.1} MB (mean of the second half against the first; at the end {})",
            megabytes(samples.last().copied().unwrap_or(0))
        ),
        "none",
        "",
    );
    table.row(
        "spans not accepted meanwhile",
        outcome.lost.to_string(),
        "0",
        "",
    );
    Ok(())
}

fn setup<'a>(args: &'a Args, lanes: Option<usize>, sink: &'a Sink) -> Setup<'a> {
    Setup {
        binary: &args.spanmill,
        lanes,
        collection_interval: args.collection_interval,
        remote_write: sink.url(),
    }
}

fn describe(summary: Summary) -> String {
    let Summary { pushes, p99, max } = summary;
    format!(
        "{:.1} ms (max {:.1} ms, {pushes} pushes)",
        p99 * 1e3,
        max * 1e3
    )
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
