//! A real Prometheus finds the tenants, scrapes their series, and gives exact
//! numbers, rates, quantiles and exemplars.

use std::time::Duration;

use anyhow::{Context, ensure};
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Prometheus, Spanmill, eventually};

const CALLS: &str = "traces_spanmetrics_calls_total";
const BUCKET: &str = "traces_spanmetrics_latency_bucket";

#[tokio::test]
async fn counts_rates_quantiles_and_exemplars_are_exact() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let send = |count, first_trace| {
        // 5 ms fall into the bucket (4 ms, 8 ms].
        let traces = Traces::of_service("shop")
            .spans("GET /", count, Duration::from_millis(5), first_trace)
            .with_errors(10);
        let url = spanmill.otlp_http();
        async move { post(&url, &traces.request(), None).await?.accepted() }
    };
    send(100, 1).await?;
    let prometheus = Prometheus::start(&scrape_config(&spanmill)).await?;
    let calls = |expected: f64| {
        let prometheus = &prometheus;
        let expression = format!("sum({CALLS})");
        async move {
            let value = prometheus.value(&expression, None).await?;
            ensure!(value == expected, "{value} calls");
            Ok(())
        }
    };
    eventually("100 calls in Prometheus", || calls(100.0)).await?;
    send(50, 1_001).await?;
    eventually("150 calls in Prometheus", || calls(150.0)).await?;

    let errors = format!("sum({CALLS}{{status_code=\"STATUS_CODE_ERROR\"}})");
    ensure!(prometheus.value(&errors, None).await? == 20.0);

    // The counter went from 100 to 150 within the range, and nowhere else.
    let raw = prometheus
        .query(
            &format!("{CALLS}{{status_code=\"STATUS_CODE_UNSET\"}}[1m]"),
            None,
        )
        .await?;
    let [series] = raw.as_slice() else {
        anyhow::bail!("{} series", raw.len());
    };
    let mut values: Vec<f64> = series.values.iter().map(|(_, value)| *value).collect();
    values.dedup();
    ensure!(values == [90.0, 130.0], "values {values:?}");
    let rate = format!("sum(rate({CALLS}[1m]))");
    ensure!(prometheus.value(&rate, None).await? > 0.0);

    // All 150 lie in one bucket: the median is in its middle, the rest is interpolation.
    for (quantile, seconds) in [(0.5, 0.006), (0.95, 0.0078)] {
        let expression = format!("histogram_quantile({quantile}, sum by (le) ({BUCKET}))");
        let value = prometheus.value(&expression, None).await?;
        ensure!(
            (value - seconds).abs() < 1e-9,
            "quantile {quantile} is {value}"
        );
    }

    let end = series.values.last().context("no values")?.0 + 60.0;
    let exemplars = eventually("exemplars", || async {
        let found = prometheus
            .query_exemplars(BUCKET, (end - 600.0, end))
            .await?;
        ensure!(!found.is_empty(), "none");
        Ok(found)
    })
    .await?;
    for exemplar in exemplars {
        let trace_id = exemplar.labels.get("traceID").context("no trace id")?;
        let number = u64::from_str_radix(trace_id, 16)?;
        ensure!(trace_id.len() == 32, "trace id {trace_id}");
        ensure!(
            (1..=100).contains(&number) || (1_001..=1_050).contains(&number),
            "{trace_id} was never sent"
        );
        ensure!(exemplar.value == 0.005, "value {}", exemplar.value);
        ensure!(
            exemplar.series.get("le").is_some_and(|le| le == "0.008"),
            "series {:?}",
            exemplar.series
        );
    }
    prometheus.stop().await?;
    spanmill.finish(&[(SINGLE_TENANT, 150)]).await
}

/// Targets are discovered over HTTP, as operators will set it up.
fn scrape_config(spanmill: &Spanmill) -> String {
    format!(
        "scrape_configs:\n\
         - job_name: spanmill-generated\n\
         \x20 scrape_interval: 1s\n\
         \x20 honor_timestamps: true\n\
         \x20 metrics_path: /metrics/generated\n\
         \x20 http_sd_configs:\n\
         \x20 - url: {}\n\
         \x20   refresh_interval: 1s\n",
        spanmill.api("/metrics/generated/targets")
    )
}
