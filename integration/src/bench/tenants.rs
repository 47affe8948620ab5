//! Ten thousand tenants in one process: what each costs that does nothing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use spanmill_integration::Spanmill;
use spanmill_integration::traces::{Traces, post};

use crate::machine::{Usage, usage};
use crate::scenarios::megabytes;
use crate::sink::Sink;
use crate::table::Table;
use crate::{Args, progress};

/// Series of the tenants of a large service, scaled to 200,000 of all together: how many
/// tenants have so many.
const SERIES: &str = include_str!("../../testdata/tenants/series.csv");
const TENANTS: usize = 10_000;
/// Spans of each label set.
const SPANS: u64 = 2;
/// Requests at a time.
const AT_ONCE: usize = 32;
/// How long idle CPU is measured: whole collections.
const IDLE: Duration = Duration::from_secs(30);
/// Series without a span for so long end: later than all is counted after the restart,
/// also on a machine with other work.
const STALE: Duration = Duration::from_secs(300);
/// Tenants without a span for so long go: later than idle CPU is measured of those that
/// have no series any more.
const RETIRE: Duration = Duration::from_secs(600);

const CALLS: &str = "traces_spanmetrics_calls_total";
const ACTIVE_SERIES: &str = "spanmill_generator_registry_active_series";
const PENDING: &str = "spanmill_remote_write_samples_pending";
const RETIRED: &str = "spanmill_generator_tenants_retired_total";

/// Tenants of a real service by the number of their series, and tenants with one label
/// set of full span metrics each, which also retire.
pub(crate) async fn tenants(args: &Args, table: &mut Table) -> anyhow::Result<()> {
    let real = label_sets()?;
    let sink = Sink::start().await?;
    let name = "real shape";
    let spanmill = run(args, &sink, name, &["span-metrics-count"], &real, table).await?;
    spanmill.stop().await?;
    let same = vec![1; TENANTS];
    let name = "one label set";
    let spanmill = run(args, &sink, name, &["span-metrics"], &same, table).await?;
    // The receiver is there until all is delivered.
    retire(spanmill, name, table).await
}

/// Label sets of each tenant: with one series each, its series.
fn label_sets() -> anyhow::Result<Vec<u64>> {
    let mut all = Vec::new();
    for line in SERIES.lines().skip(1) {
        let (series, tenants) = line.split_once(',').context("series,tenants")?;
        all.extend(std::iter::repeat_n(
            series.parse::<u64>()?,
            tenants.parse()?,
        ));
    }
    ensure!(all.len() == TENANTS, "{} tenants", all.len());
    Ok(all)
}

async fn run(
    args: &Args,
    sink: &Sink,
    name: &str,
    processors: &[&str],
    label_sets: &[u64],
    table: &mut Table,
) -> anyhow::Result<Spanmill> {
    progress(&format!("tenants, {name}: starting"));
    let spanmill = Spanmill::builder()
        .program(&args.spanmill)
        .config(&settings(processors, sink.url()).to_string())
        .start()
        .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let empty = usage(spanmill.pid()?)?;
    push_all(&spanmill, label_sets).await?;
    // Every tenant is collected and delivered several times.
    tokio::time::sleep(args.collection_interval * 3).await;
    let active = sum(&spanmill, ACTIVE_SERIES).await?;
    let (full, cpu) = idle(&spanmill).await?;
    let wrong = count_wrong(&spanmill, label_sets, 1).await?;
    let mut row = |what: &str, measured: String, to_reach: &str| {
        row(table, name, what, measured, to_reach);
    };
    row("series", format!("{active}"), "");
    row("tenants with a wrong count", wrong.to_string(), "0");
    row("resident, each", per_tenant(&full, &empty), "<= 60 KiB");
    row("threads more", more(full.threads, empty.threads), "+0");
    row("open files more", more(full.files, empty.files), "+0");
    row("CPU while series are collected", percent(cpu), "");

    let begin = Instant::now();
    let stopped = spanmill.stop_for_now().await?;
    let stop = begin.elapsed();
    row("stop, to its end", seconds(stop.as_secs_f64()), "");
    row("stop, until it says so", seconds(said(stopped.log())?), "");
    let begin = Instant::now();
    let spanmill = stopped.start().await?;
    row("start", seconds(begin.elapsed().as_secs_f64()), "<= 30 s");
    let wrong = count_wrong(&spanmill, label_sets, 1).await?;
    row("wrong counts after it", wrong.to_string(), "0");
    push_all(&spanmill, label_sets).await?;
    let wrong = count_wrong(&spanmill, label_sets, 2).await?;
    row("wrong counts as they go on", wrong.to_string(), "0");
    Ok(spanmill)
}

/// Seconds that a stop says that it took.
fn said(log: &str) -> anyhow::Result<f64> {
    let line = log.lines().rev().find(|line| line.contains("stopped"));
    let (_, seconds) = line
        .and_then(|line| line.rsplit_once("seconds="))
        .context("it does not say that it has stopped")?;
    let end = seconds.find(|c: char| c != '.' && !c.is_ascii_digit());
    Ok(seconds
        .get(..end.unwrap_or(seconds.len()))
        .unwrap_or_default()
        .parse()?)
}

/// What it uses once nobody has any series.
async fn retire(spanmill: Spanmill, name: &str, table: &mut Table) -> anyhow::Result<()> {
    progress(&format!("tenants, {name}: waiting for them to retire"));
    until(&spanmill, ACTIVE_SERIES, |series| series == 0.0).await?;
    until(&spanmill, PENDING, |samples| samples == 0.0).await?;
    let (idle_ones, cpu) = idle(&spanmill).await?;
    let retired = sum(&spanmill, RETIRED).await?;
    ensure!(
        retired == 0.0,
        "{retired} tenants retired while the others were measured"
    );
    row(
        table,
        name,
        "resident, without series",
        megabytes(idle_ones.resident),
        "",
    );
    row(
        table,
        name,
        "idle CPU, without series",
        percent(cpu),
        "<= 2 %",
    );
    until(&spanmill, RETIRED, |tenants| tenants >= TENANTS as f64).await?;
    let (gone, cpu) = idle(&spanmill).await?;
    row(
        table,
        name,
        "resident, all retired",
        megabytes(gone.resident),
        "",
    );
    row(table, name, "idle CPU, all retired", percent(cpu), "<= 2 %");
    spanmill.stop().await.map(drop)
}

/// Waits until it is so of the sum of a metric.
async fn until(spanmill: &Spanmill, metric: &str, is_so: fn(f64) -> bool) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let sum = sum(spanmill, metric).await?;
        if is_so(sum) {
            return Ok(());
        }
        ensure!(begin.elapsed() < RETIRE * 2, "{metric} stays at {sum}");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// A row, told at once: the whole takes a quarter of an hour.
fn row(table: &mut Table, name: &str, what: &str, measured: String, to_reach: &str) {
    progress(&format!("tenants, {name}: {what}: {measured}"));
    table.row(
        &format!("{TENANTS} tenants, {name}: {what}"),
        measured,
        to_reach,
        "",
    );
}

fn settings(processors: &[&str], remote_write: &str) -> Value {
    let [stale, retire] = [STALE, RETIRE].map(|time| format!("{}s", time.as_secs()));
    json!({
        "multitenancy_enabled": true,
        "metrics_generator": {
            "retire_idle_tenants_after": retire,
            "registry": {"stale_duration": stale},
            "storage": {"remote_write": [{"url": remote_write}]},
        },
        "overrides": {"defaults": {"metrics_generator": {
            "processors": processors,
            "collection_interval": "15s",
        }}},
    })
}

fn tenant(number: usize) -> String {
    format!("tenant-{number:05}")
}

async fn push_all(spanmill: &Spanmill, label_sets: &[u64]) -> anyhow::Result<()> {
    let url = spanmill.otlp_http();
    let pushes = label_sets.iter().enumerate().map(|(number, sets)| {
        let url = &url;
        async move {
            let mut traces = Traces::of_service("shop");
            for set in 0..*sets {
                let name = format!("GET /{set}");
                traces = traces.spans(&name, SPANS, Duration::from_millis(5), 1 + set * SPANS);
            }
            let answer = post(url, &traces.request(), Some(&tenant(number))).await?;
            answer.accepted().map(drop)
        }
    });
    stream::iter(pushes)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
}

/// Tenants of which a scrape does not show every span of `pushes` of all.
async fn count_wrong(
    spanmill: &Spanmill,
    label_sets: &[u64],
    pushes: u64,
) -> anyhow::Result<usize> {
    let scrapes = label_sets
        .iter()
        .enumerate()
        .map(|(number, sets)| async move {
            let calls = spanmill.generated(&tenant(number)).await?.sum(CALLS, &[]);
            anyhow::Ok(calls != (sets * SPANS * pushes) as f64)
        });
    let wrong: Vec<bool> = stream::iter(scrapes)
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(wrong.into_iter().filter(|wrong| *wrong).count())
}

async fn sum(spanmill: &Spanmill, metric: &str) -> anyhow::Result<f64> {
    Ok(spanmill.metrics().await?.sum(metric, &[]))
}

/// What it uses while nothing is asked of it, and the share of a core.
async fn idle(spanmill: &Spanmill) -> anyhow::Result<(Usage, f64)> {
    let pid = spanmill.pid()?;
    // Connections that nobody uses any more are closed.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = usage(pid)?;
    tokio::time::sleep(IDLE).await;
    let after = usage(pid)?;
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
    Ok((after, cpu / IDLE.as_secs_f64()))
}

fn per_tenant(full: &Usage, empty: &Usage) -> String {
    let grown = full.resident.saturating_sub(empty.resident) as f64;
    format!(
        "{:.1} KiB ({} over the empty process, peak {})",
        grown / TENANTS as f64 / 1024.0,
        megabytes(full.resident.saturating_sub(empty.resident)),
        megabytes(full.peak)
    )
}

fn more(full: usize, empty: usize) -> String {
    format!("{:+} ({full})", full as i64 - empty as i64)
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

fn percent(share: f64) -> String {
    format!("{:.1} % of a core", share * 100.0)
}
