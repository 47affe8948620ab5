//! A tenant that has been idle gives its memory back, and no counter resets by it.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::Duration;

use anyhow::ensure;
use reqwest::StatusCode;
use spanmill_integration::http::client;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{RemoteWriteSink, Spanmill, eventually};

const CALLS: &str = "traces_spanmetrics_calls_total";
const STALE: u64 = 0x7ff0_0000_0000_0002;

async fn push(spanmill: &Spanmill, spans: u64) -> anyhow::Result<()> {
    let traces = Traces::of_service("shop").spans("pay", spans, Duration::from_millis(5), 1);
    let answer = post(&spanmill.otlp_http(), &traces.request(), Some("acme")).await?;
    answer.accepted()?;
    Ok(())
}

#[tokio::test]
async fn idle_tenant_goes_after_its_series_have_ended_and_comes_back_with_a_zero()
-> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    let spanmill = Spanmill::builder()
        .config(&format!(
            "multitenancy_enabled: true\n\
             metrics_generator:\n  \
               retire_idle_tenants_after: 1s\n  \
               deduplicate_pushes: false\n  \
               registry: {{stale_duration: 2s}}\n  \
               storage: {{remote_write: [{{url: '{}'}}]}}",
            sink.url()
        ))
        .start()
        .await?;
    for (round, spans) in [(1.0, 10), (2.0, 7)] {
        push(&spanmill, spans).await?;
        eventually("the tenant to retire", || async {
            let metrics = spanmill.metrics().await?;
            let retired = metrics.sum("spanmill_generator_tenants_retired_total", &[]);
            ensure!(retired == round, "{retired} retired");
            let own = metrics.sum("spanmill_generator_spans_received_total", &[]);
            ensure!(own == 0.0, "its metrics are still there");
            Ok(())
        })
        .await?;
        let targets = client().get(spanmill.api("/metrics/generated/targets"));
        let targets = targets.send().await?;
        ensure!(targets.status() == StatusCode::OK);
        ensure!(targets.text().await? == "[]");
    }

    // All was delivered before it went: twice a zero, the count, and the end, each later
    // than what was before.
    let all: Vec<_> = {
        let received = sink.received();
        received.series("acme", CALLS, &[]).cloned().collect()
    };
    ensure!(all.len() == 1, "{all:?}");
    let is_stale = |value: f64| value.to_bits() == STALE;
    let points = all[0].points.iter();
    let mut values: Vec<_> = points
        .map(|(_, value)| (!is_stale(*value)).then_some(*value))
        .collect();
    values.dedup();
    let want = [Some(0.0), Some(10.0), None, Some(0.0), Some(7.0), None];
    ensure!(values == want, "{values:?}");
    let times: Vec<_> = all[0].points.iter().map(|(time, _)| *time).collect();
    ensure!(times.is_sorted(), "{all:?}");
    sink.check_protocol()?;
    spanmill.finish(&[]).await
}
