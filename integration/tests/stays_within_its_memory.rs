//! A process in a small cgroup, with more coming in than it can take, is not killed, and
//! those who do not take much lose nothing.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use anyhow::ensure;
use spanmill_integration::Spanmill;
use spanmill_integration::cgroup::Cgroup;
use spanmill_integration::spangen::{Report, Spangen};

const MEMORY: u64 = 512 << 20;

/// Little enough to be filled with series in a short time.
const LITTLE_MEMORY: u64 = 128 << 20;

/// Spans that the rates of tenants do not hold back.
const CONFIG: &str = "
multitenancy_enabled: true
overrides:
  defaults:
    ingestion: {rate_limit_bytes: 1000000000, burst_size_bytes: 1000000000}
    metrics_generator: {processors: [span-metrics], collection_interval: 15s}
";

/// The cgroup; `None` with a word where there cannot be one.
fn cgroup(bytes: u64) -> Option<Cgroup> {
    match Cgroup::new(bytes, None) {
        Ok(cgroup) => Some(cgroup),
        Err(error) => {
            eprintln!("skipped: {error:#}");
            None
        }
    }
}

/// Whether all that was refused may be sent again.
fn all_is_retryable(report: &Report) -> bool {
    let gave_up = |reason: &String| reason.starts_with("gave up: ");
    report.spans.unknown == 0 && report.reasons.keys().all(gave_up)
}

#[tokio::test]
async fn flood_of_series_is_held_off_and_another_tenant_loses_no_span() -> anyhow::Result<()> {
    let Some(cgroup) = cgroup(LITTLE_MEMORY) else {
        return Ok(());
    };
    let spanmill = cgroup
        .within(Spanmill::builder().config(CONFIG).start())
        .await?;
    let metrics = spanmill.metrics().await?;
    let limit = metrics.sum("spanmill_memory_limit_bytes", &[]);
    ensure!(limit == (LITTLE_MEMORY / 10 * 9) as f64, "limit is {limit}");

    let endpoint = spanmill.otlp_grpc();
    let flood = Spangen::start(
        &endpoint,
        "flood",
        &[
            "--profile=reference",
            "--series=5000000",
            "--rate=max",
            "--in-flight=16",
            "--duration=20s",
            "--retry-for=1s",
        ],
    )?;
    let quiet = Spangen::start(
        &endpoint,
        "quiet",
        &[
            "--rate=200",
            "--duration=20s",
            "--retry-for=0s",
            "--timeout=60s",
        ],
    )?;
    let (flood, quiet) = tokio::try_join!(flood.report(), quiet.report())?;

    ensure!(cgroup.killed()? == 0, "a process was killed");
    ensure!(quiet.spans.accepted == quiet.spans.sent, "{quiet:?}");
    ensure!(quiet.retries == 0, "{quiet:?}");
    ensure!(
        flood.spans.accepted > 0 && all_is_retryable(&flood),
        "{flood:?}"
    );
    let metrics = spanmill.metrics().await?;
    let refused = metrics.sum(
        "spanmill_distributor_pushes_total",
        &[("result", "overloaded")],
    );
    ensure!(refused > 0.0, "nothing was refused: {flood:?}");
    let calls = [
        ("flood", flood.spans.accepted),
        ("quiet", quiet.spans.accepted),
    ];
    spanmill.finish(&calls).await
}

#[tokio::test]
async fn requests_beyond_what_can_be_taken_wait_or_may_come_again() -> anyhow::Result<()> {
    let Some(cgroup) = cgroup(MEMORY) else {
        return Ok(());
    };
    let spanmill = cgroup
        .within(Spanmill::builder().config(CONFIG).start())
        .await?;
    let endpoint = spanmill.otlp_grpc();
    let arguments = [
        "--profile=reference",
        "--rate=max",
        "--batch=4000",
        "--connections=10",
        "--in-flight=40",
        "--duration=8s",
        "--timeout=60s",
    ];
    let start = |tenant| Spangen::start(&endpoint, tenant, &arguments);
    let (a, b) = (start("a")?, start("b")?);
    let (a, b) = tokio::try_join!(a.report(), b.report())?;
    ensure!(cgroup.killed()? == 0, "a process was killed");
    ensure!(all_is_retryable(&a) && all_is_retryable(&b), "{a:?} {b:?}");
    let calls = [("a", a.spans.accepted), ("b", b.spans.accepted)];
    ensure!(calls.iter().all(|(_, accepted)| *accepted > 0), "{calls:?}");
    spanmill.finish(&calls).await
}
