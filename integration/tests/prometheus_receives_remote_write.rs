//! A real Prometheus takes our remote write and gives exact numbers, from the
//! very first span on.

use std::time::Duration;

use anyhow::{Context, ensure};
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Prometheus, Spanmill, eventually};

const CALLS: &str = "traces_spanmetrics_calls_total";
const BUCKET: &str = "traces_spanmetrics_latency_bucket";

#[tokio::test]
async fn increase_counts_the_first_spans_of_a_new_series() -> anyhow::Result<()> {
    let prometheus = Prometheus::start("scrape_configs: []").await?;
    let spanmill = Spanmill::builder()
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write: [{{url: '{}', send_exemplars: true}}]}}}}",
            prometheus.url("/api/v1/write")
        ))
        .start()
        .await?;
    // 5 ms fall into the bucket (4 ms, 8 ms].
    let traces = Traces::of_service("shop").spans("GET /", 100, Duration::from_millis(5), 1);
    post(&spanmill.otlp_http(), &traces.request(), None)
        .await?
        .accepted()?;

    let calls = format!("sum({CALLS})");
    eventually("100 calls in Prometheus", || async {
        let value = prometheus.value(&calls, None).await?;
        ensure!(value == 100.0, "{value} calls");
        Ok(())
    })
    .await?;

    // The series begins with a zero sample, earlier than the first value.
    let raw = prometheus.query(&format!("{CALLS}[5m]"), None).await?;
    let [series] = raw.as_slice() else {
        anyhow::bail!("{} series", raw.len());
    };
    let mut values: Vec<f64> = series.values.iter().map(|(_, value)| *value).collect();
    values.dedup();
    ensure!(values == [0.0, 100.0], "values {values:?}");

    // At the time of a sample nothing is extrapolated: the increase is exact.
    let last = series.values.last().context("no values")?.0;
    for name in [CALLS, "traces_spanmetrics_latency_count"] {
        let increase = format!("sum(increase({name}[5m]))");
        let value = prometheus.value(&increase, Some(last)).await?;
        ensure!(
            (value - 100.0).abs() < 1e-9,
            "increase of {name} is {value}"
        );
    }
    let rate = format!("sum(rate({CALLS}[5m]))");
    let value = prometheus.value(&rate, Some(last)).await?;
    ensure!((value - 100.0 / 300.0).abs() < 1e-9, "rate is {value}");

    // All lie in one bucket: the median is in its middle.
    let quantile = format!("histogram_quantile(0.5, sum by (le) (rate({BUCKET}[5m])))");
    let value = prometheus.value(&quantile, Some(last)).await?;
    ensure!((value - 0.006).abs() < 1e-9, "median is {value}");

    let exemplars = prometheus
        .query_exemplars(BUCKET, (last - 600.0, last + 60.0))
        .await?;
    let [exemplar] = exemplars.as_slice() else {
        anyhow::bail!("{} exemplars: {exemplars:?}", exemplars.len());
    };
    let last_trace = format!("{:032x}", 100);
    ensure!(
        exemplar.labels.get("traceID") == Some(&last_trace),
        "exemplar {exemplar:?}"
    );
    ensure!(exemplar.value == 0.005, "exemplar {exemplar:?}");

    // The last collection still needs the receiver.
    spanmill.finish(&[(SINGLE_TENANT, 100)]).await?;
    prometheus.stop().await
}
