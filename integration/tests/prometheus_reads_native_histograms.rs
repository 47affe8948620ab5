//! A real Prometheus takes native histograms, sent and scraped, and gives
//! quantiles of known durations within one bucket.

use std::time::Duration;

use anyhow::ensure;
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Prometheus, Spanmill, eventually};

const LATENCY: &str = "traces_spanmetrics_latency";

/// What buckets grow by where the factor is 1.1: 2^(1/8).
const GROWTH: f64 = 1.090_507_732_665_257_7;

/// Spans of each name.
const SPANS: u64 = 1_000;

const QUANTILES: [f64; 5] = [0.05, 0.25, 0.5, 0.9, 0.99];

/// The duration of the span of a rank from 0 to 1, in seconds.
type Distribution = fn(f64) -> f64;

const DURATIONS: [(&str, Distribution); 3] = [
    ("uniform", |rank| 0.001 + 0.999 * rank),
    ("exponential", |rank| -0.02 * (1.0 - rank).ln()),
    ("two peaks", |rank| {
        if rank < 0.7 {
            0.005 + 0.001 * rank
        } else {
            3.0 + rank
        }
    }),
];

#[tokio::test]
async fn quantiles_of_what_is_sent_are_within_a_bucket() -> anyhow::Result<()> {
    quantiles_of_what_is_sent_in("prometheus.WriteRequest", 0.0).await
}

/// The first request is made for 2.0, which Debian's Prometheus does not know.
#[tokio::test]
async fn quantiles_of_what_is_sent_after_falling_back_are_within_a_bucket() -> anyhow::Result<()> {
    quantiles_of_what_is_sent_in("auto", 1.0).await
}

async fn quantiles_of_what_is_sent_in(message: &str, fallbacks: f64) -> anyhow::Result<()> {
    let prometheus = Prometheus::start("scrape_configs: []").await?;
    let url = prometheus.url("/api/v1/write");
    let spanmill = Spanmill::builder()
        .config("overrides: {defaults: {metrics_generator: {generate_native_histograms: native}}}")
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write: \
             [{{url: '{url}', protobuf_message: {message}}}]}}}}"
        ))
        .start()
        .await?;
    send(&spanmill).await?;
    counted(&prometheus).await?;
    check_quantiles(&prometheus).await?;

    let exemplars = eventually("exemplars", || async {
        let found = prometheus.query_exemplars(LATENCY, (0.0, 4e9)).await?;
        ensure!(found.len() == DURATIONS.len(), "{} of them", found.len());
        Ok(found)
    })
    .await?;
    for exemplar in exemplars {
        ensure!(exemplar.labels.contains_key("traceID"), "{exemplar:?}");
        ensure!(exemplar.value > 0.0, "{exemplar:?}");
    }
    let metrics = spanmill.metrics().await?;
    let fallen_back = metrics.sum("spanmill_remote_write_fallbacks_total", &[]);
    ensure!(fallen_back == fallbacks, "{fallen_back} fallbacks");
    let spans = SPANS * DURATIONS.len() as u64;
    spanmill.finish(&[(SINGLE_TENANT, spans)]).await?;
    prometheus.stop().await
}

#[tokio::test]
async fn quantiles_of_what_is_scraped_are_within_a_bucket() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder()
        .config("overrides: {defaults: {metrics_generator: {generate_native_histograms: both}}}")
        .start()
        .await?;
    send(&spanmill).await?;
    let prometheus = Prometheus::start(&format!(
        "scrape_configs:\n\
         - job_name: spanmill-generated\n\
         \x20 scrape_interval: 1s\n\
         \x20 metrics_path: /metrics/generated\n\
         \x20 static_configs: [{{targets: ['{}']}}]\n",
        spanmill.api_address()
    ))
    .await?;
    counted(&prometheus).await?;
    check_quantiles(&prometheus).await?;
    let calls = "sum(traces_spanmetrics_calls_total)";
    let spans = SPANS * DURATIONS.len() as u64;
    ensure!(prometheus.value(calls, None).await? == spans as f64);
    prometheus.stop().await?;

    // Text has the classic histogram of the same observations.
    let text = spanmill.generated(SINGLE_TENANT).await?;
    let count = text.sum(&format!("{LATENCY}_bucket"), &[("le", "+Inf")]);
    ensure!(count == spans as f64, "{count} in text");
    ensure!(text.select(LATENCY, &[]).next().is_none());
    spanmill.finish(&[(SINGLE_TENANT, spans)]).await
}

/// Sends the spans of every name.
async fn send(spanmill: &Spanmill) -> anyhow::Result<()> {
    let mut first_trace = 1;
    for (name, duration) in DURATIONS {
        let mut traces = Traces::of_service("shop");
        for number in 0..SPANS {
            let duration = Duration::from_secs_f64(duration(rank(number)));
            traces = traces.spans(name, 1, duration, first_trace);
            first_trace += 1;
        }
        post(&spanmill.otlp_http(), &traces.request(), None)
            .await?
            .accepted()?;
    }
    Ok(())
}

/// Where the spans of a name lie, evenly.
fn rank(number: u64) -> f64 {
    (number as f64 + 0.5) / SPANS as f64
}

/// Waits until Prometheus has them all.
async fn counted(prometheus: &Prometheus) -> anyhow::Result<()> {
    let count = format!("sum(histogram_count({LATENCY}))");
    eventually("all spans in Prometheus", || async {
        let value = prometheus.value(&count, None).await?;
        let spans = SPANS * DURATIONS.len() as u64;
        ensure!(value == spans as f64, "{value} spans");
        Ok(())
    })
    .await
}

async fn check_quantiles(prometheus: &Prometheus) -> anyhow::Result<()> {
    for (name, duration) in DURATIONS {
        let series = format!("{LATENCY}{{span_name=\"{name}\"}}");
        for quantile in QUANTILES {
            let query = format!("histogram_quantile({quantile}, {series})");
            let value = prometheus.value(&query, None).await?;
            let wanted = duration(quantile);
            ensure!(
                (wanted / GROWTH..=wanted * GROWTH).contains(&value),
                "{name}: quantile {quantile} is {value}, of durations {wanted}"
            );
        }
        let sum = prometheus
            .value(&format!("histogram_sum({series})"), None)
            .await?;
        let wanted: f64 = (0..SPANS).map(|number| duration(rank(number))).sum();
        ensure!(
            (sum / wanted - 1.0).abs() < 1e-6,
            "{name}: the sum is {sum}, of durations {wanted}"
        );
    }
    Ok(())
}
