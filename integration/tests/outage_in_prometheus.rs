//! Receivers that were away under load, and over a restart, show no sign of it: in a
//! real Prometheus and in a real VictoriaMetrics counters have counted everything.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use proto::otlp::collector::ExportTraceServiceRequest;
use spanmill_integration::traces::Traces;
use spanmill_integration::{Deliveries, Load, Prometheus, Spanmill, VictoriaMetrics, eventually};

/// Calls of a request.
const CALLS: u64 = 20;
const COUNTERS: [&str; 3] = [
    "traces_spanmetrics_calls_total",
    "traces_spanmetrics_latency_count",
    "traces_spanmetrics_latency_bucket{le=\"0.008\"}",
];

fn request(number: u64) -> ExportTraceServiceRequest {
    let traces = Traces::of_service("shop");
    let length = Duration::from_millis(5);
    traces.spans("pay", CALLS, length, number * CALLS).request()
}

async fn start(url: &str) -> anyhow::Result<Spanmill> {
    Spanmill::builder()
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write_flush_deadline: 5s, remote_write: \
             [{{url: '{url}'}}]}}}}"
        ))
        .start()
        .await
}

/// Waits until so many samples have been spooled and not sent, or spooled and sent.
async fn collected(spanmill: &Spanmill, holds: impl Fn(Deliveries) -> bool) -> anyhow::Result<()> {
    eventually("collections", || async {
        let now = Deliveries::read(&spanmill.metrics().await?, &[]);
        ensure!(now.dropped == 0 && holds(now), "{now:?}");
        Ok(())
    })
    .await
}

/// A load during which the receiver goes, spanmill is started anew, and the receiver
/// comes back. Gives how many calls were counted, all of which were sent.
async fn outage(
    spanmill: Spanmill,
    take_down: impl AsyncFnOnce() -> anyhow::Result<()>,
    bring_up: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let url = spanmill.otlp_http();
    let (spanmill, requests) = Load::during(&url, None, request, async |load| {
        load.more(50).await?;
        collected(&spanmill, |now| now.sent > 0).await?;
        take_down().await?;
        collected(&spanmill, |now| now.pending > 60).await?;
        let (spanmill, log) = spanmill.restart().await?;
        ensure!(log.contains("they stay in the spool"), "{log}");
        load.more(50).await?;
        collected(&spanmill, |now| now.spooled > 60).await?;
        bring_up().await?;
        load.more(50).await?;
        collected(&spanmill, |now| now.pending == 0).await?;
        Ok(spanmill)
    })
    .await?;
    spanmill.ledger().await?;
    spanmill.stop().await?;
    Ok((requests * CALLS) as f64)
}

/// Checks what a query says of a counter against the truth, within a thousandth.
fn check(what: &str, value: f64, want: f64) -> anyhow::Result<()> {
    let is_right = (value / want - 1.0).abs() < 0.001;
    ensure!(is_right, "{what} is {value}, and not {want}");
    Ok(())
}

#[tokio::test]
async fn prometheus_that_was_away_has_counted_everything() -> anyhow::Result<()> {
    let mut prometheus = Prometheus::start("scrape_configs: []").await?;
    let spanmill = start(&prometheus.url("/api/v1/write")).await?;
    let away = tokio::sync::Mutex::new(&mut prometheus);
    let want = outage(
        spanmill,
        async || away.lock().await.take_down().await,
        async || away.lock().await.bring_up().await,
    )
    .await?;
    for counter in COUNTERS {
        let of = |function: &str| format!("sum({function}({counter}[5m]))");
        eventually("all calls", || async {
            let value = prometheus.value(&of("max_over_time"), None).await?;
            ensure!(value == want, "{counter} is {value}, and not {want}");
            Ok(())
        })
        .await?;
        let raw = prometheus.query(&format!("{counter}[5m]"), None).await?;
        let [series] = raw.as_slice() else {
            anyhow::bail!("{} series of {counter}", raw.len());
        };
        // At the time of a sample little is extrapolated.
        let end = series.values.last().context("no values")?.0;
        let resets = prometheus.value(&of("resets"), Some(end)).await?;
        ensure!(resets == 0.0, "{resets} resets of {counter}");
        let increase = prometheus.value(&of("increase"), Some(end)).await?;
        check(counter, increase, want)?;
        check_outage_is_covered(series.values.iter().map(|(time, _)| time * 1e3))?;
    }
    prometheus.stop().await
}

#[tokio::test]
async fn victoria_metrics_that_was_away_has_counted_everything() -> anyhow::Result<()> {
    let mut victoria_metrics = VictoriaMetrics::start().await?;
    let spanmill = start(&victoria_metrics.url("/api/v1/write")).await?;
    let away = tokio::sync::Mutex::new(&mut victoria_metrics);
    let want = outage(
        spanmill,
        async || away.lock().await.take_down().await,
        async || away.lock().await.bring_up().await,
    )
    .await?;
    for counter in COUNTERS {
        let stored = eventually("all calls", || async {
            let stored = victoria_metrics.stored(counter).await?;
            let last = stored.first().and_then(|series| series.values.last());
            ensure!(last == Some(&want), "{counter} is {last:?}, and not {want}");
            Ok(stored)
        })
        .await?;
        let [series] = stored.as_slice() else {
            anyhow::bail!("{} series of {counter}", stored.len());
        };
        ensure!(series.values.is_sorted(), "resets: {:?}", series.values);
        let end = *series.timestamps.last().context("no values")? as f64 / 1e3;
        let of = |function: &str| format!("sum({function}({counter}[5m]))");
        let most = victoria_metrics
            .value(&of("max_over_time"), Some(end))
            .await?;
        check(counter, most, want)?;
        let increase = victoria_metrics.value(&of("increase"), Some(end)).await?;
        check(counter, increase, want)?;
        check_outage_is_covered(series.timestamps.iter().map(|time| *time as f64))?;
    }
    victoria_metrics.stop().await
}

/// Checks that there are samples of the time of the outage: a zero, one that was sent
/// before, and three of each process while the receiver was away.
fn check_outage_is_covered(times_ms: impl Iterator<Item = f64>) -> anyhow::Result<()> {
    let times: Vec<_> = times_ms.collect();
    ensure!(times.len() >= 8, "{times:?}");
    Ok(())
}
