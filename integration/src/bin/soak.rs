//! Measures what tenants feel of each other, in a process with 512 MiB of memory.
//!
//! `make soak` runs it with a release build. It fails where a span is not accounted for;
//! of how much and how fast nothing passes or fails: machines differ. The goals are that
//! the others' p99 is at most twice that without a noisy tenant, that none of their spans
//! is lost, and that a process that is sent five times what it can take takes at least
//! 70 % of that, and what it refuses may come again.

use std::io::Write as _;
use std::process::ExitCode;
use std::slice;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use spanmill_integration::Spanmill;
use spanmill_integration::cgroup::Cgroup;
use spanmill_integration::spangen::{Report, Spangen, Spans};

const MEMORY: u64 = 512 << 20;

/// How much of a processor is overloaded: little, so that those who send five times what
/// it can take have enough of the others.
const OVERLOADED_PROCESSORS: f64 = 0.1;

/// Why the generator does not count spans that waited for longer than they may be old.
const LATE: &str = "outside_metrics_ingestion_slack";

/// Tenants that send as usual.
const QUIET: [&str; 3] = ["quiet-1", "quiet-2", "quiet-3"];

/// What each of them sends, with room below its limit of 2 MB. Requests are small, so that
/// there are enough of them for a p99, and one that is refused is lost.
const QUIET_ARGUMENTS: [&str; 6] = [
    "--profile=reference",
    "--rate=1000",
    "--batch=20",
    "--series=5000",
    "--retry-for=0s",
    "--timeout=60s",
];

/// Tenants that together send five times what can be taken.
const OVERLOADING: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Measures fairness between tenants with the binaries in SPANMILL_BIN_DIR.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// What to measure
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "beside,overload"
    )]
    only: Vec<Section>,

    /// How long each scenario takes
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    duration: Duration,
}

impl Args {
    /// The duration as spangen takes it.
    fn duration_argument(&self) -> String {
        format!("--duration={}ms", self.duration.as_millis())
    }
}

/// A part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Quiet tenants beside a noisy one, with all processors.
    Beside,
    /// Five times as much as can be taken, with a part of a processor.
    Overload,
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
        // It goes on when it is told to come again later.
        arguments: &[
            "--profile=reference",
            "--rate=31746",
            "--in-flight=64",
            "--retry-for=0s",
        ],
    },
    // A span of a new label set makes 17 series.
    Noise {
        name: "one with a million new series a minute",
        arguments: &["--profile=reference", "--rate=1000", "--series=20000000"],
    },
];

async fn measure(args: Args) -> anyhow::Result<String> {
    let mut table = machine();
    if args.only.contains(&Section::Beside) {
        table.push_str(&noises(&args).await?);
    }
    if args.only.contains(&Section::Overload) {
        table.push_str(&overload(&args).await?);
    }
    Ok(table)
}

async fn noises(args: &Args) -> anyhow::Result<String> {
    let duration = args.duration_argument();
    let mut table = format!(
        "\n{:42}{:>10}{:>10}{:>7}{:>13}{:>10}{:>8}{:>9}\n",
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
        let of_noisy = |of: fn(&Report) -> u64| row.noisy.as_ref().map_or(0, of);
        table.push_str(&format!(
            "{:42}{}{:>13}{:>10}{:>8}{:>9}\n",
            noise.name,
            felt(&row.quiet),
            of_noisy(|report| report.spans.accepted),
            of_noisy(|report| report.spans.refused),
            row.end.killed,
            row.end.peak_mib,
        ));
    }
    Ok(table)
}

/// What it runs on, and how busy that is with other work.
fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{processors} processors, load {load} before it begins\n")
}

/// What quiet tenants felt: the slowest one's median and p99, and the spans of all that
/// were lost.
fn felt(quiet: &[Report]) -> String {
    let slowest = |of: fn(&Report) -> f64| quiet.iter().map(of).fold(0.0, f64::max) * 1e3;
    let lost = |report: &Report| report.spans.sent - report.spans.accepted;
    format!(
        "{:>7.1} ms{:>7.1} ms{:>7}",
        slowest(|report| report.push_seconds.p50),
        slowest(|report| report.push_seconds.p99),
        quiet.iter().map(lost).sum::<u64>(),
    )
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

/// What a tenant was told, over all that it sent.
type Told<'a> = (&'a str, &'a [Report]);

/// Stops the process, which must have counted what each tenant was told, span for span.
async fn stop(spanmill: Spanmill, cgroup: &Cgroup, told: &[Told<'_>]) -> anyhow::Result<End> {
    let end = End {
        killed: cgroup.killed()?,
        peak_mib: spanmill.peak_resident_bytes()? >> 20,
    };
    let ledger = spanmill.ledger().await?;
    for (tenant, reports) in told {
        // Those that waited for longer than spans may be old are taken, and not counted.
        let taken = ledger.counted(tenant, "span-metrics") + ledger.discarded(tenant, LATE);
        let spans = Spans::sum(reports);
        let is_sure = spans.unknown == 0 || !QUIET.contains(tenant);
        ensure!(
            is_sure,
            "tenant {tenant} had no answer to some: {reports:?}"
        );
        let may_be = spans.counted();
        ensure!(
            may_be.contains(&taken),
            "tenant {tenant}: {taken} spans taken, but it was told of {may_be:?}: {reports:?}"
        );
    }
    spanmill.stop().await?;
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
    let mut told: Vec<Told<'_>> = QUIET.into_iter().zip(quiet.chunks(1)).collect();
    told.extend(
        noisy
            .iter()
            .map(|report| ("noisy", slice::from_ref(report))),
    );
    let end = stop(spanmill, &cgroup, &told).await?;
    Ok(Beside { quiet, noisy, end })
}

/// What is taken of one client that sends as fast as it is answered, and of five that do
/// not wait for that; and what quiet tenants feel of these.
async fn overload(args: &Args) -> anyhow::Result<String> {
    let duration = &args.duration_argument();
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
    let process = spanmill.pid()?;
    let begun = processor_seconds(process)?;
    let alone = reports(&endpoint, &["alone"], &arguments).await?;
    let cpu_alone = processor_seconds(process)? - begun;
    let most: f64 = alone.iter().map(|report| report.accepted_per_second).sum();

    eprintln!("3 tenants of 1,000 spans/s");
    let quiet_arguments = [&QUIET_ARGUMENTS[..], &[duration]].concat();
    let before = reports(&endpoint, &QUIET, &quiet_arguments).await?;

    eprintln!("the same beside five that send {most:.0} spans/s each");
    let rate = format!("--rate={most:.0}");
    // Nobody waits when told to come again: what is sent does not depend on the answers.
    let arguments = [
        "--profile=reference",
        "--connections=10",
        "--in-flight=40",
        "--timeout=60s",
        "--retry-for=0s",
        &rate,
        duration,
    ];
    let begun = processor_seconds(process)?;
    let (quiet, five) = tokio::try_join!(
        reports(&endpoint, &QUIET, &quiet_arguments),
        reports(&endpoint, &OVERLOADING, &arguments),
    )?;
    let cpu_overloaded = processor_seconds(process)? - begun;

    let both: Vec<[Report; 2]> = before
        .iter()
        .zip(&quiet)
        .map(|(a, b)| [a.clone(), b.clone()])
        .collect();
    let mut told: Vec<Told<'_>> = vec![("alone", &alone)];
    told.extend(QUIET.into_iter().zip(both.iter().map(|both| &both[..])));
    told.extend(OVERLOADING.into_iter().zip(five.chunks(1)));
    let end = stop(spanmill, &cgroup, &told).await?;

    let all = Spans::sum(&five);
    let sent = (all.sent + Spans::sum(&quiet).sent) as f64 / args.duration.as_secs_f64();
    // Over all of the time in which answers came.
    let taken = |report: &Report| report.accepted_per_second;
    let taken: f64 = five.iter().chain(&quiet).map(taken).sum();
    let for_good = |report: &Report| {
        let reasons = report.reasons.iter();
        let for_good = reasons.filter(|(reason, _)| !reason.starts_with("gave up: "));
        for_good.map(|(_, spans)| spans).sum::<u64>()
    };
    // Where others use the machine as well, it is not given its share all the time.
    let per_second = |spans: Spans, cpu: f64| spans.accepted as f64 / cpu.max(0.01);
    let of_cpu = per_second(
        Spans::sum(&[&five[..], &quiet[..]].concat()),
        cpu_overloaded,
    ) / per_second(Spans::sum(&alone), cpu_alone);
    Ok(format!(
        "\nwith {OVERLOADED_PROCESSORS} of a processor, which takes {most:.0} spans/s at its most\n\
         {:42}{}\n{:42}{}\n\
         the five and the others sent {:.1} times the most, of which were taken {:.0} % \
         ({:.0} % by the processor time that it was given)\n\
         of the five's spans taken: {}; told to come again: {}; refused otherwise, or not \
         answered: {}; killed: {}; peak MiB: {}\n",
        "nobody else",
        felt(&before),
        "five that send so much each",
        felt(&quiet),
        sent / most,
        100.0 * taken / most,
        100.0 * of_cpu,
        all.accepted,
        all.refused,
        five.iter().map(for_good).sum::<u64>(),
        end.killed,
        end.peak_mib
    ))
}

/// Processor seconds of a process so far: `utime` and `stime`. Source: proc(5).
fn processor_seconds(process: u32) -> anyhow::Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks: Vec<f64> = times.map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
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
