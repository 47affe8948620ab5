//! SIGTERM loses nothing: what was counted since the last collection is
//! collected and sent before the process ends.

use std::time::Duration;

use anyhow::ensure;
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Prometheus, Spanmill, eventually};

#[tokio::test]
async fn spans_after_the_last_collection_reach_prometheus() -> anyhow::Result<()> {
    let prometheus = Prometheus::start("scrape_configs: []").await?;
    // The next collection comes long after this test: only the last one can send.
    let spanmill = Spanmill::builder()
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write: [{{url: '{}'}}]}}}}\n\
             overrides: {{defaults: {{metrics_generator: {{collection_interval: 1h}}}}}}",
            prometheus.url("/api/v1/write")
        ))
        .start()
        .await?;
    let traces = Traces::of_service("shop").spans("GET /", 42, Duration::from_millis(5), 1);
    post(&spanmill.otlp_http(), &traces.request(), None)
        .await?
        .accepted()?;
    ensure!(
        spanmill
            .ledger()
            .await?
            .counted(SINGLE_TENANT, "span-metrics")
            == 42
    );

    spanmill.stop().await?;

    let calls = "sum(last_over_time(traces_spanmetrics_calls_total[5m]))";
    let sent = eventually("the samples", || prometheus.value(calls, None)).await?;
    ensure!(sent == 42.0, "{sent} calls arrived");
    prometheus.stop().await
}

#[tokio::test]
async fn second_signal_ends_it_at_once() -> anyhow::Result<()> {
    // A receiver that takes connections and never answers keeps the flush waiting.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let spanmill = Spanmill::builder()
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write: [{{url: 'http://{}/'}}]}}}}",
            silent.local_addr()?
        ))
        .start()
        .await?;
    let traces = Traces::of_service("shop").spans("GET /", 1, Duration::from_millis(5), 1);
    post(&spanmill.otlp_http(), &traces.request(), None)
        .await?
        .accepted()?;
    // A connection means that samples are on their way, and will stay there.
    let _stuck = silent.accept()?;

    let code = spanmill.terminate_twice().await?;
    ensure!(
        code != Some(0),
        "the second signal did not cut the flush short"
    );
    Ok(())
}
