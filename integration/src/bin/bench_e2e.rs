//! Measures a release build over real sockets: CPU, memory, latency, growth.
//!
//! `make bench-e2e` runs it. Progress goes to standard error, one table at the
//! end to standard output. Nothing here passes or fails: machines differ.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

#[path = "../bench/cluster.rs"]
mod cluster;
#[path = "../bench/delivery.rs"]
mod delivery;
#[path = "../bench/latency.rs"]
mod latency;
#[path = "../bench/load.rs"]
mod load;
#[path = "../bench/machine.rs"]
mod machine;
#[path = "../bench/node.rs"]
mod node;
#[path = "../bench/scenarios.rs"]
mod scenarios;
#[path = "../bench/sink.rs"]
mod sink;
#[path = "../bench/sizing.rs"]
mod sizing;
#[path = "../bench/subject.rs"]
mod subject;
#[path = "../bench/table.rs"]
mod table;
#[path = "../bench/tenants.rs"]
mod tenants;

/// Measures spanmill over real sockets with spangen's reference profile.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// The spanmill binary to measure
    #[arg(long, value_name = "FILE", default_value = "target/release/spanmill")]
    spanmill: PathBuf,

    /// The spangen binary to measure with
    #[arg(long, value_name = "FILE", default_value = "target/release/spangen")]
    spangen: PathBuf,

    /// What to measure
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "cpu,edges,delivery,memory,p99,cluster,sizing,tenants,steady"
    )]
    only: Vec<Section>,

    /// Settings of `metrics_generator.max_lanes` for memory and p99; `default`
    /// leaves it unset
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1,2,8,16"
    )]
    lanes: Vec<String>,

    /// Series for memory; p99 takes the most of them
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "100000,1000000"
    )]
    series: Vec<u64>,

    /// How long CPU is measured
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = humantime::parse_duration)]
    duration: Duration,

    /// How long growth is watched
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    steady: Duration,

    /// Time between two collections
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = humantime::parse_duration)]
    collection_interval: Duration,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// CPU seconds for a million spans, and spans a second.
    Cpu,
    /// Bytes of a span that waits for its counterpart.
    Edges,
    /// CPU and bytes of a sample on its way to a receiver, also after an outage.
    Delivery,
    /// Resident bytes of an active series.
    Memory,
    /// Latency of a push while series are collected.
    P99,
    /// CPU and memory of a distributor and its generators, and how soon all nodes know what
    /// has changed.
    Cluster,
    /// What the formulas of docs/sizing.md say beside what is measured.
    Sizing,
    /// Memory, threads, files, idle CPU and restart with ten thousand tenants.
    Tenants,
    /// Growth of memory under a steady load.
    Steady,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let measured = tokio::select! {
        measured = scenarios::run(&args) => measured,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match measured {
        Ok(table) => {
            let text = format!("{}\n{table}", machine::describe());
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            progress(&format!("bench_e2e: {problem:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A line on standard error.
fn progress(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
