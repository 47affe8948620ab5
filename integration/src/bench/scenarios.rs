//! What is measured, and how.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use spanmill_integration::traces::{SpanKind, Traces, post};
use tempfile::NamedTempFile;

use crate::cluster::cluster;
use crate::delivery::delivery;
use crate::latency::{self, Summary};
use crate::load::Load;
use crate::sink::Sink;
use crate::sizing::sizing;
use crate::subject::{Setup, Subject};
use crate::table::Table;
use crate::tenants::tenants;
use crate::{Args, Section, progress};

/// Series of the reference profile: span metrics of 2,740 label sets.
pub(crate) const REFERENCE_SERIES: u64 = 52_060;

/// What is measured unless a section says otherwise.
const SPAN_METRICS: [&str; 1] = ["span-metrics"];

const ACTIVE_SERIES: &str = "spanmill_generator_registry_active_series";
const WAITING_SPANS: &str = "spanmill_generator_processor_service_graphs_waiting_spans";
const STORE_BYTES: &str = "spanmill_generator_processor_service_graphs_store_bytes";

/// So few that their memory is none.
const FEW_SERIES: u64 = 1_000;

/// How long after the last request memory is read, so that none is under way.
const QUIET: Duration = Duration::from_secs(2);

/// A load well below what two cores can take.
const MODERATE: u64 = 63_000;

/// Runs every section that is asked for, one after the other.
pub(crate) async fn run(args: &Args) -> anyhow::Result<Table> {
    let mut table = Table::default();
    let wants = |section| args.only.contains(&section);
    if wants(Section::Cpu) {
        cpu(args, &mut table).await.context("cpu")?;
    }
    if wants(Section::Edges) {
        edges(args, &mut table).await.context("edges")?;
    }
    if wants(Section::Delivery) {
        delivery(args, &mut table).await.context("delivery")?;
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
    if wants(Section::Cluster) {
        cluster(args, &mut table).await.context("cluster")?;
    }
    if wants(Section::Sizing) {
        sizing(args, &mut table).await.context("sizing")?;
    }
    if wants(Section::Tenants) {
        tenants(args, &mut table).await.context("tenants")?;
    }
    if wants(Section::Steady) {
        steady(args, &mut table).await.context("steady")?;
    }
    Ok(table)
}

/// CPU and throughput with the reference profile, as fast as it goes.
async fn cpu(args: &Args, table: &mut Table) -> anyhow::Result<()> {
    let alone = cpu_of(args, &SPAN_METRICS, "<= 0.8", "8.0", table).await?;
    let both = [SPAN_METRICS[0], "service-graphs"];
    let both = cpu_of(args, &both, "<= 1.2", "11.5", table).await?;
    let more = format!("{:.2} us", both - alone);
    table.row("service graphs, a span more", more, "<= 0.3 us", "3.5 us");
    Ok(())
}

/// The same with some processors. Gives the CPU seconds for a million spans.
async fn cpu_of(
    args: &Args,
    processors: &[&str],
    to_reach: &str,
    tempo: &str,
    table: &mut Table,
) -> anyhow::Result<f64> {
    const WARM_UP: Duration = Duration::from_secs(10);
    let name = processors.join(", ");
    progress(&format!("cpu, {name}: starting"));
    let sink = Sink::start().await?;
    let mut setup = setup(args, None, &sink);
    setup.processors = processors;
    let subject = Subject::start(&setup).await?;
    let endpoint = subject.otlp();
    let load = |duration| Load {
        binary: &args.spangen,
        endpoint: &endpoint,
        series: REFERENCE_SERIES,
        churn: 1.0,
        rate: None,
        in_flight: 8,
        tenants: None,
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
        "cpu, {name}: {million:.1} M spans accepted, {} not, {cpu:.1} CPU s, {} series, {} remote-write requests, {} MB",
        outcome.lost,
        subject.metric(ACTIVE_SERIES).await?,
        sink.counts().0,
        sink.counts().1 / 1_000_000,
    ));
    table.row(
        &format!("CPU s per million spans: {name}"),
        format!("{:.3}", cpu / million),
        to_reach,
        tempo,
    );
    let per_second = format!("{:.0} k", outcome.per_second / 1e3);
    table.row(
        "    spans/s, cores shared with the client",
        per_second,
        "",
        "",
    );
    let p99 = format!("{:.1} ms", outcome.p99 * 1e3);
    table.row("    p99 of a push at that rate", p99, "", "");
    table.row("    spans not accepted", outcome.lost.to_string(), "0", "");
    table.row("    peak memory", megabytes(after.peak), "", "");
    Ok(cpu / million)
}

/// Memory of spans that wait for their counterparts.
async fn edges(args: &Args, table: &mut Table) -> anyhow::Result<()> {
    const HALVES: u64 = 500_000;
    const REQUEST: u64 = 5_000;
    let sink = Sink::start().await?;
    let mut setup = setup(args, None, &sink);
    setup.processors = &["service-graphs"];
    let subject = Subject::start(&setup).await?;
    let send = async |first: u64| {
        let mut request = Traces::of_service("frontend")
            .spans("call", REQUEST, Duration::from_millis(3), first)
            .request();
        let scopes = request.resource_spans.iter_mut();
        for span in scopes
            .flat_map(|r| &mut r.scope_spans)
            .flat_map(|s| &mut s.spans)
        {
            span.kind = SpanKind::Client.into();
        }
        let answer = post(&subject.otlp_http(), &request, None).await?;
        answer.accepted()
    };
    // What requests of that size leave behind is not the edges'.
    for first in (1..=5 * REQUEST).step_by(REQUEST as usize) {
        send(first).await?;
    }
    let idle = subject.usage()?.resident;
    let waiting = subject.metric(WAITING_SPANS).await?;
    for first in (5 * REQUEST + 1..=HALVES).step_by(REQUEST as usize) {
        send(first).await?;
    }
    // Its metrics are those of a second ago.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let usage = subject.usage()?;
    let all = subject.metric(WAITING_SPANS).await?;
    let store = subject.metric(STORE_BYTES).await?;
    let grown = usage.resident.saturating_sub(idle) as f64;
    table.row(
        &format!("bytes a pending edge, {all} of them"),
        format!(
            "{:.0} in the store, {:.0} resident",
            store / all,
            grown / (all - waiting)
        ),
        "<= 150",
        "",
    );
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
    let load = |series, rate: Option<u64>, duration, latency_log| Load {
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
        tenants: None,
        duration,
        latency_log,
    };
    // What requests under way take is no series'.
    let full = Duration::from_secs(8);
    load(FEW_SERIES, None, full, None).run().await?;
    tokio::time::sleep(QUIET).await;
    let busy = subject.usage()?.resident;
    // As fast as it goes first, so that all series and all lanes are there.
    load(series, None, full, None).run().await?;
    let collections = args.collection_interval * 5 / 2;
    load(series, Some(MODERATE), collections, Some(log.path()))
        .run()
        .await?;
    tokio::time::sleep(QUIET).await;
    let (usage, active) = (
        subject.usage()?,
        subject.metric(ACTIVE_SERIES).await? as u64,
    );
    progress(&format!(
        "{name}: {active} active series, idle {}",
        megabytes(idle)
    ));
    if args.only.contains(&Section::Memory) {
        let each = |bytes: u64| format!("{:.0}", bytes as f64 / active.max(1) as f64);
        let over = |before: u64| each(usage.resident.saturating_sub(before));
        let tempo = if series > 500_000 { "1,800" } else { "2,750" };
        table.row(
            &format!("bytes a series: {name}"),
            format!(
                "{} over the same load with 1 k series, {} over the idle process, {} in all, peak {}",
                over(busy),
                over(idle),
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
        tenants: None,
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

pub(crate) fn setup<'a>(args: &'a Args, lanes: Option<usize>, sink: &'a Sink) -> Setup<'a> {
    Setup {
        binary: &args.spanmill,
        lanes,
        processors: &SPAN_METRICS,
        collection_interval: args.collection_interval,
        multitenancy: false,
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

pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
