//! What `spanmillctl trace-span` says of spans is what becomes of them: for recorded
//! requests, each sent by a tenant of its own, the ledger has the same counts and the
//! same series are there.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking; spans must arrive now by the clock of the process"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use prost::Message as _;
use proto::otlp::collector::ExportTraceServiceRequest;
use serde_json::Value;
use spanmill_integration::binaries::binary;
use spanmill_integration::expected::Input;
use spanmill_integration::traces::post;
use spanmill_integration::{Exposition, Spanmill, eventually};

const CONFIG: &str = "
multitenancy_enabled: true
overrides:
  defaults:
    metrics_generator:
      processors: [span-metrics, service-graphs, host-info]
      # What was recorded is not late by the time it takes to send it.
      ingestion_time_range_slack: 10m
      processor:
        service_graphs: {wait: 1s}
        span_metrics:
          dimensions: [http.method]
          filter_policies: [{exclude: {match_type: strict, attributes: [{key: kind, value: SPAN_KIND_PRODUCER}]}}]
";

const RECEIVED: &str = "spanmill_distributor_spans_received_total";
const REFUSED: &str = "spanmill_distributor_spans_refused_total";
const COUNTED: &str = "spanmill_generator_spans_counted_total";
const DISCARDED: &str = "spanmill_generator_spans_discarded_total";
const WAITING: &str = "spanmill_generator_processor_service_graphs_waiting_spans";

/// Spans by who decided, and what.
type Counts = BTreeMap<(String, String), u64>;

#[tokio::test]
async fn what_is_said_of_recorded_spans_is_in_the_ledger_and_in_the_series() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().config(CONFIG).start().await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut tenants = Vec::new();
    let mut inputs = Input::Edge.requests(u64::try_from(now.as_nanos())?)?;
    inputs.extend(
        Input::Real
            .requests(u64::try_from(now.as_nanos())?)?
            .into_iter()
            .take(8),
    );
    for (number, request) in inputs.into_iter().enumerate() {
        // A span that is no valid protobuf cannot be made anew; the generator's tests have it.
        let Ok(decoded) = ExportTraceServiceRequest::decode(&request[..]) else {
            continue;
        };
        let scopes = decoded
            .resource_spans
            .iter()
            .flat_map(|resource| &resource.scope_spans);
        if scopes.flat_map(|scope| &scope.spans).next().is_none() {
            continue;
        }
        let tenant = format!("tenant-{number}");
        post(&spanmill.otlp_http(), &decoded, Some(&tenant))
            .await?
            .accepted()?;
        let file = spanmill.directory().join(format!("{tenant}.pb"));
        std::fs::write(&file, decoded.encode_to_vec())?;
        tenants.push((tenant, file));
    }
    ensure!(tenants.len() > 40, "{} requests", tenants.len());
    eventually("all edges to have ended", || async {
        let waiting = spanmill.metrics().await?.sum(WAITING, &[]);
        ensure!(waiting == 0.0, "{waiting} spans wait");
        Ok(())
    })
    .await?;
    let metrics = spanmill.metrics().await?;
    for (tenant, file) in &tenants {
        let now = humantime::format_rfc3339(UNIX_EPOCH + now).to_string();
        let told = trace_span(&spanmill, file, tenant, &now).await?;
        let counts = counts_told(&told);
        ensure!(
            counts == counts_of(&metrics, tenant),
            "{tenant}: {counts:?} is said, but {:?}",
            counts_of(&metrics, tenant)
        );
        let series = series_told(&told);
        let there = series_of(&spanmill.generated(tenant).await?);
        ensure!(
            series == there,
            "{tenant}: {series:?} are said, but {there:?}"
        );
    }
    spanmill.finish(&[]).await
}

async fn trace_span(
    spanmill: &Spanmill,
    file: &Path,
    tenant: &str,
    now: &str,
) -> anyhow::Result<Value> {
    let output = tokio::process::Command::new(binary("spanmillctl")?)
        .args(["trace-span", "--config.file=spanmill.yaml", "--json"])
        .args(["--tenant", tenant, "--now", now])
        .arg(file)
        .current_dir(spanmill.directory())
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("no JSON")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn counts_told(told: &Value) -> Counts {
    let mut counts = Counts::new();
    for span in told["spans"].as_array().unwrap() {
        if let Some(reason) = span["refused"]["reason"].as_str() {
            let by = match text(&span["refused"]["by"]).as_str() {
                "generator" => "all".to_owned(),
                other => other.to_owned(),
            };
            *counts.entry((by, reason.to_owned())).or_default() += 1;
        }
        for processor in span["processors"].as_array().unwrap() {
            let what = match &processor["verdict"] {
                Value::String(counted) => counted.clone(),
                discarded => text(&discarded["discarded"]),
            };
            *counts
                .entry((text(&processor["processor"]), what))
                .or_default() += 1;
        }
    }
    counts
}

fn counts_of(metrics: &Exposition, tenant: &str) -> Counts {
    let of_tenant = [("tenant", tenant)];
    let mut counts = Counts::new();
    let mut add = |by: &str, what: &str, spans: f64| {
        if spans > 0.0 {
            counts.insert((by.to_owned(), what.to_owned()), spans as u64);
        }
    };
    for sample in metrics.select(COUNTED, &of_tenant) {
        add(&sample.labels["processor"], "counted", sample.value);
    }
    for sample in metrics.select(DISCARDED, &of_tenant) {
        add(
            &sample.labels["processor"],
            &sample.labels["reason"],
            sample.value,
        );
    }
    for sample in metrics.select(REFUSED, &of_tenant) {
        add("distributor", &sample.labels["reason"], sample.value);
    }
    assert!(metrics.sum(RECEIVED, &of_tenant) > 0.0, "{tenant}");
    counts
}

/// Metrics with their labels; of a histogram its count.
fn series_told(told: &Value) -> BTreeSet<(String, BTreeMap<String, String>)> {
    let spans = told["spans"].as_array().unwrap().iter();
    let parts = spans.flat_map(|span| {
        let processors = span["processors"].as_array().unwrap().iter();
        processors.chain([span])
    });
    parts
        .flat_map(|part| part["series"].as_array().unwrap())
        .map(|series| {
            let suffix = if series["kind"] == "histogram" {
                "_count"
            } else {
                ""
            };
            let labels = series["labels"].as_object().unwrap().iter();
            let labels = labels.map(|(name, value)| (name.clone(), text(value)));
            (text(&series["metric"]) + suffix, labels.collect())
        })
        .collect()
}

fn series_of(generated: &Exposition) -> BTreeSet<(String, BTreeMap<String, String>)> {
    let samples = generated.samples.iter();
    samples
        .filter(|sample| {
            !["_bucket", "_sum", "_created"]
                .iter()
                .any(|end| sample.name.ends_with(end))
        })
        .map(|sample| (sample.name.clone(), sample.labels.clone()))
        .collect()
}
