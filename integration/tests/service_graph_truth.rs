//! 100,000 traces sent the hard way: the service graph is the one that was generated.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use spanmill_integration::binaries::binary;
use spanmill_integration::ledger::Ledger;
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::{Spanmill, Truth, eventually};
use tokio::process::Command;

/// 100,000 traces, and a few more.
const SPANS: u64 = 560_000;

/// Bounds near each other where the web shop's durations are.
const BOUNDS: [f64; 13] = [
    0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0,
];

/// How long half an edge waits: long for what comes a second late, short for
/// what comes later than twice that.
const WAIT: &str = "8s";

async fn spanmill() -> anyhow::Result<Spanmill> {
    let config = format!(
        "
        metrics_generator:
          metrics_ingestion_time_range_slack: 10m
          processor:
            service_graphs:
              wait: {WAIT}
              histogram_buckets: {BOUNDS:?}
              enable_messaging_system_latency_histogram: true
              enable_virtual_node_label: true
              enable_unpaired_metrics: true
        overrides:
          defaults:
            ingestion: {{rate_limit_bytes: 1000000000, burst_size_bytes: 1000000000}}
            metrics_generator: {{processors: [service-graphs]}}
        "
    );
    Spanmill::builder().config(&config).start().await
}

/// Runs spangen to its end. Gives the spans it sent, copies among them; all were
/// accepted.
async fn send(spanmill: &Spanmill, truth: &Path) -> anyhow::Result<u64> {
    let output = Command::new(binary("spangen")?)
        .args(["--json", "--quiet", "--seed=7", "--rate=max"])
        .args(["--split=3", "--shuffle=64", "--repeat=5"])
        .args(["--late=2:1s", "--late=1:17s"])
        .arg(format!("--wait={WAIT}"))
        .arg(format!("--spans={SPANS}"))
        .arg(format!("--endpoint={}", spanmill.otlp_grpc()))
        .arg("--truth")
        .arg(truth)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    let report: Value = serde_json::from_slice(&output.stdout).context("no report")?;
    let spans = |fate| {
        report
            .pointer(&format!("/spans/{fate}"))
            .and_then(Value::as_u64)
    };
    let (sent, accepted) = (spans("sent"), spans("accepted"));
    ensure!(sent == accepted, "not everything was accepted: {report}");
    sent.context("no number of spans")
}

/// The ledger once no span waits for its counterpart any more.
async fn settled(spanmill: &Spanmill) -> anyhow::Result<Ledger> {
    eventually("every span to be counted or given up", || async {
        let metrics = spanmill.metrics().await?;
        let name = "spanmill_generator_processor_service_graphs_waiting_spans";
        let waiting = metrics.sum(name, &[]);
        ensure!(waiting == 0.0, "{waiting} spans wait");
        Ledger::check(&metrics)
    })
    .await
}

#[tokio::test]
async fn every_edge_is_counted_once_and_none_is_invented() -> anyhow::Result<()> {
    let spanmill = spanmill().await?;
    let file = spanmill.directory().join("truth.json");
    let sent = send(&spanmill, &file).await?;
    let truth = Truth::read(&file)?;
    ensure!(truth.traces >= 100_000, "only {} traces", truth.traces);
    let spans = truth.spans;
    ensure!(
        sent == spans.generated + spans.repeated,
        "{sent} sent, but {spans:?}"
    );

    let ledger = settled(&spanmill).await?;
    let differences = truth.differences(&spanmill.generated(SINGLE_TENANT).await?, &BOUNDS)?;
    ensure!(
        differences.is_empty(),
        "{} series differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    let counted = ledger.counted(SINGLE_TENANT, "service-graphs");
    ensure!(
        counted == spans.in_edges,
        "{counted} counted, but {spans:?}"
    );
    for (reason, want) in [
        ("unpaired", spans.unpaired),
        ("kind_not_applicable", spans.without_edge),
        ("duplicate", spans.repeated),
        ("replaced", 0),
        ("store_full", 0),
        ("outside_metrics_ingestion_slack", 0),
    ] {
        let discarded = ledger.discarded(SINGLE_TENANT, reason);
        ensure!(
            discarded == want,
            "{reason}: {discarded}, but should be {want}"
        );
    }
    spanmill.finish(&[]).await
}
