//! Receivers that refuse, stall, or fail one tenant: whatever can be delivered
//! arrives, the rest is counted, and no one waits for another.

use std::time::Duration;

use anyhow::ensure;
use spanmill_integration::remote_write_sink::{Answer, Faults, When};
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{RemoteWriteSink, Spanmill, eventually};

const CALLS: &str = "traces_spanmetrics_calls_total";
const SIZE: &str = "traces_spanmetrics_size_total";
const DROPPED: &str = "spanmill_remote_write_samples_dropped_total";

async fn start(sink: &RemoteWriteSink) -> anyhow::Result<Spanmill> {
    Spanmill::builder()
        .config("multitenancy_enabled: true")
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write_flush_deadline: 5s, remote_write: \
             [{{url: '{}', name: sink, remote_timeout: 2s}}]}}}}",
            sink.url()
        ))
        .start()
        .await
}

/// Spans of one name for each of so many operations.
async fn push(spanmill: &Spanmill, tenant: &str, operations: u64) -> anyhow::Result<()> {
    let mut traces = Traces::of_service("shop");
    for number in 1..=operations {
        let name = format!("operation {number}");
        traces = traces.spans(&name, 1, Duration::from_millis(3), number);
    }
    let (url, request) = (spanmill.otlp_http(), traces.request());
    post(&url, &request, Some(tenant)).await?.accepted()?;
    Ok(())
}

async fn arrived(sink: &RemoteWriteSink, tenant: &str, name: &str, sum: f64) -> anyhow::Result<()> {
    sink.eventually(&format!("{sum} of {name} of {tenant}"), |received| {
        let found = received.sum(tenant, name, &[]);
        ensure!(found == sum, "{found}");
        Ok(())
    })
    .await
}

async fn dropped(spanmill: &Spanmill, reason: &str) -> anyhow::Result<f64> {
    eventually(&format!("samples dropped as {reason}"), || async {
        let metrics = spanmill.metrics().await?;
        let dropped = metrics.sum(DROPPED, &[("reason", reason)]);
        ensure!(dropped > 0.0, "none");
        Ok(dropped)
    })
    .await
}

#[tokio::test]
async fn one_refused_metric_does_not_take_the_others_along() -> anyhow::Result<()> {
    let faults = Faults::new().on(
        When::any().holds(SIZE),
        Answer::status(400)?.body("bad metric"),
    );
    let sink = RemoteWriteSink::start_with(faults).await?;
    let spanmill = start(&sink).await?;
    push(&spanmill, "acme", 3).await?;
    arrived(&sink, "acme", CALLS, 3.0).await?;
    arrived(&sink, "acme", "traces_spanmetrics_latency_count", 3.0).await?;
    dropped(&spanmill, "bad_request").await?;
    sink.check_protocol()?;
    ensure!(sink.received().series("acme", SIZE, &[]).count() == 0);
    spanmill.finish(&[("acme", 3)]).await
}

#[tokio::test]
async fn receiver_of_small_requests_gets_everything() -> anyhow::Result<()> {
    let faults = Faults::new().on(When::any().over_series(20), Answer::status(413)?);
    let sink = RemoteWriteSink::start_with(faults).await?;
    let spanmill = start(&sink).await?;
    push(&spanmill, "acme", 10).await?;
    arrived(&sink, "acme", CALLS, 10.0).await?;
    arrived(&sink, "acme", "traces_spanmetrics_latency_count", 10.0).await?;
    spanmill.finish(&[("acme", 10)]).await?;
    sink.check_protocol()
}

#[tokio::test]
async fn tenant_that_is_refused_for_now_holds_up_no_other() -> anyhow::Result<()> {
    let faults = Faults::new().on(
        When::any().tenant("noisy"),
        Answer::status(429)?.retry_after("600"),
    );
    let sink = RemoteWriteSink::start_with(faults).await?;
    let spanmill = start(&sink).await?;
    push(&spanmill, "noisy", 5).await?;
    for (round, tenant) in ["acme", "globex", "acme"].into_iter().enumerate() {
        push(&spanmill, tenant, 2 + round as u64).await?;
    }
    arrived(&sink, "acme", CALLS, 6.0).await?;
    arrived(&sink, "globex", CALLS, 3.0).await?;
    sink.check_protocol()?;
    ensure!(sink.received().sum("noisy", CALLS, &[]) == 0.0);
    // What waits for the receiver is not waited for at the end.
    let calls = [("noisy", 5), ("acme", 6), ("globex", 3)];
    spanmill.finish(&calls).await
}

/// The first is held, so it is given up and sent again; the next answers never
/// end, and neither is waited for.
#[tokio::test]
async fn receiver_that_stalls_gets_everything_once() -> anyhow::Result<()> {
    let faults = Faults::new()
        .on(When::request(1), Answer::status(204)?.held())
        .on(When::request(2), Answer::status(204)?.cut())
        .on(
            When::request(3),
            Answer::status(503)?.dripping(Duration::from_millis(50)),
        )
        .on(When::request(4), Answer::status(500)?.endless());
    let sink = RemoteWriteSink::start_with(faults).await?;
    let spanmill = start(&sink).await?;
    push(&spanmill, "acme", 3).await?;
    sink.eventually("five requests", |received| {
        ensure!(received.requests.len() >= 5);
        Ok(())
    })
    .await?;
    arrived(&sink, "acme", CALLS, 3.0).await?;
    push(&spanmill, "acme", 3).await?;
    spanmill.finish(&[("acme", 6)]).await?;
    arrived(&sink, "acme", CALLS, 6.0).await?;
    sink.check_protocol()
}

#[tokio::test]
async fn redirect_is_not_followed() -> anyhow::Result<()> {
    let other = RemoteWriteSink::start().await?;
    let faults = Faults::new().on(When::request(1), Answer::redirect_to(&other.url())?);
    let sink = RemoteWriteSink::start_with(faults).await?;
    let spanmill = start(&sink).await?;
    push(&spanmill, "acme", 3).await?;
    dropped(&spanmill, "redirected").await?;
    arrived(&sink, "acme", CALLS, 3.0).await?;
    ensure!(other.received().requests.is_empty());
    sink.check_protocol()?;
    spanmill.finish(&[("acme", 3)]).await
}
