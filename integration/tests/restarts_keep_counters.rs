//! Ten planned restarts under load: in a real Prometheus no counter resets, and
//! nothing is missing or counted twice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use proto::otlp::collector::ExportTraceServiceRequest;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Prometheus, Spanmill, eventually};

const RESTARTS: usize = 10;
/// Spans of a request; all of them have 5 ms.
const SPANS: u64 = 20;
const CALLS: &str = "traces_spanmetrics_calls_total";
/// What the generated series of a request are counted by.
const COUNTERS: [&str; 3] = [
    CALLS,
    "traces_spanmetrics_latency_count",
    "traces_spanmetrics_latency_bucket{le=\"0.008\"}",
];

/// Requests that are sent one after the other.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    accepted: AtomicU64,
}

impl Load {
    /// Sends each request until it is accepted, as an exporter does. Gives the spans
    /// that were accepted.
    async fn send(&self, url: &str) -> u64 {
        let mut first_trace = 1;
        while !self.is_over.load(Ordering::Relaxed) {
            let traces = Traces::of_service("shop");
            let traces = traces.spans("GET /", SPANS, Duration::from_millis(5), first_trace);
            let request = traces.request();
            first_trace += SPANS;
            // Refused while it stops, and not answered while it is away.
            while !is_accepted(url, &request).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.accepted.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.accepted.load(Ordering::Relaxed) * SPANS
    }

    /// Waits until so many more requests have been accepted.
    async fn more(&self, requests: u64) -> anyhow::Result<()> {
        let wanted = self.accepted.load(Ordering::Relaxed) + requests;
        eventually("more requests", || async {
            let accepted = self.accepted.load(Ordering::Relaxed);
            ensure!(accepted >= wanted, "{accepted} requests");
            Ok(())
        })
        .await
    }
}

async fn is_accepted(url: &str, request: &ExportTraceServiceRequest) -> bool {
    let answer = post(url, request, None).await;
    answer.is_ok_and(|answer| answer.accepted().is_ok())
}

async fn restart(mut spanmill: Spanmill, load: &Load) -> anyhow::Result<Spanmill> {
    for number in 1..=RESTARTS {
        load.more(100).await?;
        let log;
        (spanmill, log) = spanmill.restart().await?;
        ensure!(log.contains("series saved"), "restart {number}:\n{log}");
        let metrics = spanmill.metrics().await?;
        let restored = metrics.sum("spanmill_generator_state_tenants_restored_total", &[]);
        ensure!(restored == 1.0, "restart {number}: {restored} tenants");
    }
    load.more(100).await?;
    Ok(spanmill)
}

#[tokio::test]
async fn ten_restarts_under_load_neither_lose_nor_double_nor_reset() -> anyhow::Result<()> {
    let prometheus = Prometheus::start("scrape_configs: []").await?;
    let spanmill = Spanmill::builder()
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write: [{{url: '{}'}}]}}}}",
            prometheus.url("/api/v1/write")
        ))
        .start()
        .await?;
    let load = Load::default();
    let url = spanmill.otlp_http();
    let restarts = async {
        let restarted = restart(spanmill, &load).await;
        load.is_over.store(true, Ordering::Relaxed);
        restarted
    };
    let (sent, restarted) = tokio::join!(load.send(&url), restarts);
    let (sent, spanmill) = (sent as f64, restarted?);
    spanmill.ledger().await?;
    spanmill.stop().await?;

    let last = format!("sum(last_over_time({CALLS}[5m]))");
    eventually("all calls in Prometheus", || async {
        let calls = prometheus.value(&last, None).await?;
        ensure!(calls == sent, "{calls} calls, and {sent} were sent");
        Ok(())
    })
    .await?;

    let raw = prometheus.query(&format!("{CALLS}[5m]"), None).await?;
    let [series] = raw.as_slice() else {
        anyhow::bail!("{} series", raw.len());
    };
    let zeros = series.values.iter().filter(|(_, value)| *value == 0.0);
    ensure!(zeros.count() == 1, "values {:?}", series.values);
    let end = series.values.last().context("no values")?.0;
    for counter in COUNTERS {
        let of = |function: &str| format!("sum({function}({counter}[5m]))");
        let resets = prometheus.value(&of("resets"), Some(end)).await?;
        ensure!(resets == 0.0, "{resets} resets of {counter}");
        let increase = prometheus.value(&of("increase"), Some(end)).await?;
        ensure!(
            (increase / sent - 1.0).abs() < 0.001,
            "increase of {counter} is {increase}, and {sent} spans were sent"
        );
    }
    prometheus.stop().await
}
