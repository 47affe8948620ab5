//! A cluster on this machine: what a distributor costs beside its generators, and how
//! soon all nodes know what has changed.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::future::join_all;

use crate::load::Load;
use crate::node::{Node, Nodes, settled};
use crate::scenarios::{REFERENCE_SERIES, megabytes, setup};
use crate::sink::Sink;
use crate::subject::Subject;
use crate::table::Table;
use crate::{Args, progress};

/// Generators of the larger cluster.
const MANY: u8 = 8;
/// As fast as it goes, before anything is measured.
const WARM_UP: Duration = Duration::from_secs(8);
/// How many generators are killed, one after the other.
const DEATHS: usize = 3;
/// How often a state of a member is looked at.
const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(30);

/// CPU of one process, of a distributor with one generator and with eight; then how long
/// changes of the ring take.
pub(crate) async fn cluster(args: &Args, table: &mut Table) -> anyhow::Result<()> {
    let alone = alone(args).await?;
    let name = "CPU s per million spans: one process";
    table.row(name, format!("{alone:.3}"), "<= 0.8", "8.0");
    two_processes(args, alone, table).await?;
    many(args, table).await
}

/// CPU seconds for a million spans in one process.
async fn alone(args: &Args) -> anyhow::Result<f64> {
    progress("cluster: one process");
    let sink = Sink::start().await?;
    let subject = Subject::start(&setup(args, None, &sink)).await?;
    let endpoint = subject.otlp();
    load(args, &endpoint, WARM_UP).run().await?;
    let before = subject.usage()?.cpu;
    let outcome = load(args, &endpoint, args.duration).run().await?;
    let cpu = (subject.usage()?.cpu - before).as_secs_f64();
    Ok(cpu / outcome.accepted as f64 * 1e6)
}

async fn two_processes(args: &Args, alone: f64, table: &mut Table) -> anyhow::Result<()> {
    progress("cluster: a distributor and a generator");
    let sink = Sink::start().await?;
    let nodes = nodes(args, &sink);
    let distributor = nodes.start("distributor", 1)?;
    let generator = nodes.start("generator", 2)?;
    settled(&[&distributor, &generator], 1).await?;
    let idle = distributor.usage()?.resident;
    let Measured {
        distributor: of_distributor,
        generators: of_generator,
        lost,
    } = measure(args, &distributor, &[&generator]).await?;
    let mut row = |what: &str, measured: String, to_reach: &str, tempo: &str| {
        table.row(what, measured, to_reach, tempo);
    };
    row(
        "    distributor, 1 generator",
        format!("{of_distributor:.3}"),
        "<= 0.8",
        "21.5",
    );
    row("    generator", format!("{of_generator:.3}"), "", "");
    let both = of_distributor + of_generator;
    row(
        "    the whole way, OTLP at a distributor to series",
        format!("{both:.3}, {:.2} x one process", both / alone),
        "<= 2.2",
        "37.5",
    );
    row("    spans not accepted", lost.to_string(), "0", "");
    let usage = distributor.usage()?;
    row(
        "    memory of the distributor",
        format!(
            "{} idle, {} after the load, peak {}",
            megabytes(idle),
            megabytes(usage.resident),
            megabytes(usage.peak)
        ),
        "",
        "",
    );
    distributor.end().await?;
    generator.end().await
}

async fn many(args: &Args, table: &mut Table) -> anyhow::Result<()> {
    progress("cluster: a distributor and eight generators");
    let sink = Sink::start().await?;
    let nodes = nodes(args, &sink);
    let distributor = nodes.start("distributor", 1)?;
    let generators: Result<Vec<_>, _> = (2..2 + MANY)
        .map(|number| nodes.start("generator", number))
        .collect();
    let generators = generators?;
    settled(&all(&distributor, &generators), usize::from(MANY)).await?;
    let of_all: Vec<&Node> = generators.iter().collect();
    let measured = measure(args, &distributor, &of_all).await?;
    table.row(
        "    distributor, 8 generators",
        format!(
            "{:.3}; {:.3} all generators together",
            measured.distributor, measured.generators
        ),
        "<= 0.8",
        "21.5",
    );
    let lost = measured.lost.to_string();
    table.row("    spans not accepted", lost, "0", "");
    let peak = megabytes(distributor.usage()?.peak);
    table.row("    peak memory of the distributor", peak, "", "");

    convergence(&nodes, distributor, generators, table).await
}

/// How soon all nodes know that one has come, goes, or is dead.
async fn convergence(
    nodes: &Nodes<'_>,
    distributor: Node,
    mut generators: Vec<Node>,
    table: &mut Table,
) -> anyhow::Result<()> {
    progress("cluster: one joins, one leaves, three die");
    let begin = Instant::now();
    let new = nodes.start("generator", 2 + MANY)?;
    let others = all(&distributor, &generators);
    let seen = seen_by_all(&others, new.name(), begin, &["joining", "active"]).await?;
    let active = seen_by_all(&others, new.name(), begin, &["active"]).await?;
    table.row(
        &format!(
            "join, {} nodes, from the start of its process",
            others.len()
        ),
        format!(
            "known to all after {:.2} s, active for all after {:.2} s",
            seen.as_secs_f64(),
            active.as_secs_f64()
        ),
        "",
        "",
    );
    let mut with_new = others;
    with_new.push(&new);
    settled(&with_new, usize::from(MANY) + 1).await?;

    let (name, begin) = (new.name().to_owned(), Instant::now());
    let others = all(&distributor, &generators);
    let (ended, seen) = tokio::join!(
        new.end(),
        seen_by_all(&others, &name, begin, &["leaving", "gone"])
    );
    ended?;
    let seen = format!("{:.2} s", seen?.as_secs_f64());
    let what = "change of a state known to all, from the signal to stop on";
    table.row(what, seen, "<= 0.5 s", "");

    let mut deaths = Vec::new();
    for _ in 0..DEATHS {
        // Until whoever went before is of no more concern.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let Some(dead) = generators.pop() else {
            break;
        };
        let name = dead.name().to_owned();
        let begin = dead.kill().await?;
        let others = all(&distributor, &generators);
        let seen = seen_by_all(&others, &name, begin, &["dead", "gone"]).await?;
        deaths.push(format!("{:.2}", seen.as_secs_f64()));
    }
    let deaths = format!("{} s", deaths.join(", "));
    table.row("dead node noticed by all", deaths, "<= 3 s", "up to 60");
    distributor.end().await?;
    for generator in generators {
        generator.end().await?;
    }
    Ok(())
}

fn all<'a>(distributor: &'a Node, generators: &'a [Node]) -> Vec<&'a Node> {
    generators.iter().chain([distributor]).collect()
}

/// CPU seconds for a million spans.
struct Measured {
    distributor: f64,
    generators: f64,
    lost: u64,
}

async fn measure(
    args: &Args,
    distributor: &Node,
    generators: &[&Node],
) -> anyhow::Result<Measured> {
    /// What generators have received of distributors.
    const RECEIVED: &str = "spanmill_generator_spans_received_total";
    let endpoint = distributor.otlp();
    let warm_up = load(args, &endpoint, WARM_UP).run().await?;
    let of_all = || -> anyhow::Result<Duration> {
        let usages = generators.iter().map(|node| Ok(node.usage()?.cpu));
        usages.sum()
    };
    let before = (distributor.usage()?.cpu, of_all()?);
    let outcome = load(args, &endpoint, args.duration).run().await?;
    let after = (distributor.usage()?.cpu, of_all()?);
    let mut received = 0.0;
    for node in generators {
        received += node.metric(RECEIVED).await?;
    }
    let sent = warm_up.accepted + outcome.accepted;
    progress(&format!(
        "cluster: {sent} spans accepted, {received} at generators, {:.0} k/s",
        outcome.per_second / 1e3
    ));
    let each = |cpu: Duration| cpu.as_secs_f64() / outcome.accepted as f64 * 1e6;
    Ok(Measured {
        distributor: each(after.0 - before.0),
        generators: each(after.1 - before.1),
        lost: outcome.lost,
    })
}

/// How long it takes from some time until every node sees a member in one of some states;
/// `gone` is that of one that is not a member any more.
async fn seen_by_all(
    nodes: &[&Node],
    name: &str,
    begin: Instant,
    states: &[&str],
) -> anyhow::Result<Duration> {
    let seen = nodes.iter().map(async |node| {
        loop {
            let state = node.state_of(name).await;
            let state = if state.is_empty() { "gone" } else { &state };
            if states.contains(&state) {
                return Ok(begin.elapsed());
            }
            ensure!(begin.elapsed() < PATIENCE, "{name} is {state}");
            tokio::time::sleep(LOOK).await;
        }
    });
    let seen: anyhow::Result<Vec<Duration>> = join_all(seen).await.into_iter().collect();
    Ok(seen?.into_iter().max().unwrap_or_default())
}

fn nodes<'a>(args: &'a Args, sink: &'a Sink) -> Nodes<'a> {
    Nodes {
        binary: &args.spanmill,
        collection_interval: args.collection_interval,
        remote_write: sink.url(),
    }
}

fn load<'a>(args: &'a Args, endpoint: &'a str, duration: Duration) -> Load<'a> {
    Load {
        binary: &args.spangen,
        endpoint,
        series: REFERENCE_SERIES,
        churn: 1.0,
        rate: None,
        in_flight: 8,
        tenants: None,
        duration,
        latency_log: None,
    }
}
