//! What Grafana asks, of the data sources in `operations/grafana`: every query has
//! data in a real Prometheus, with each kind of histogram.
//!
//! Those of the service graph are in Grafana's data source for Tempo; they are an
//! interface of ours, written down here.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::trace::span::SpanKind;
use serde_json::Value;
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Prometheus, Spanmill, eventually};

/// Calls of `payments` by `shop`, and those of them that fail.
const CALLS: u64 = 40;
const FAILED: usize = 10;

/// The service graph's own queries, of an edge's and a node's links, and of the
/// table above it, in every mode. What Grafana puts in place of variables stands
/// there already, but for the range.
const ALWAYS: [&str; 15] = [
    "sum by (client, server) (rate(traces_service_graph_request_total{}[$__range]))",
    "group by (client, connection_type, server) (traces_service_graph_request_total{})",
    "sum by (client, server) (rate(traces_service_graph_request_failed_total{}[$__range]))",
    "group by (client, connection_type, server) (traces_service_graph_request_failed_total{})",
    "sum by (client, server) (rate(traces_service_graph_request_total{ client=\"shop\" }[$__range])) \
     OR sum by (client, server) (rate(traces_service_graph_request_total{server=\"payments\"}[$__range]))",
    "sum by (client, server)(rate(traces_service_graph_request_total{server=\"payments\"}[$__rate_interval]))",
    "sum by (client, server)(rate(traces_service_graph_request_failed_total{server=\"payments\"}[$__rate_interval]))",
    "sum by (client, server)(rate(traces_service_graph_request_total{client=\"shop\",server=\"payments\"}[$__rate_interval]))",
    "sum by (client, server)(rate(traces_service_graph_request_failed_total{client=\"shop\",server=\"payments\"}[$__rate_interval]))",
    "topk(5, sum(rate(traces_spanmetrics_calls_total{span_kind=\"SPAN_KIND_SERVER\"}[$__range])) by (span_name))",
    "topk(5, sum(rate(traces_spanmetrics_calls_total{status_code=\"STATUS_CODE_ERROR\",span_kind=\"SPAN_KIND_SERVER\",span_name=~\"pay\"}[$__range])) by (span_name))",
    "sum(rate(traces_spanmetrics_calls_total{span_name=\"pay\"}[$__rate_interval]))",
    // Usual panels of span metrics.
    "sum by (service) (rate(traces_spanmetrics_calls_total[$__rate_interval]))",
    "sum by (service) (rate(traces_spanmetrics_calls_total{status_code=\"STATUS_CODE_ERROR\"}[$__rate_interval])) \
     / sum by (service) (rate(traces_spanmetrics_calls_total[$__rate_interval]))",
    "sum by (service) (rate(traces_spanmetrics_size_total[$__rate_interval]))",
];

/// Those that need a classic histogram.
const CLASSIC: [&str; 9] = [
    "sum by (client, server) (rate(traces_service_graph_request_server_seconds_sum{}[$__range]))",
    "group by (client, connection_type, server) (traces_service_graph_request_server_seconds_sum{})",
    "sum by (client, server) (rate(traces_service_graph_request_server_seconds_bucket{}[$__range]))",
    "group by (client, connection_type, server) (traces_service_graph_request_server_seconds_bucket{})",
    "histogram_quantile(0.9, sum(rate(traces_service_graph_request_server_seconds_bucket{server=\"payments\"}[$__rate_interval])) by (le, client, server))",
    "histogram_quantile(0.9, sum(rate(traces_service_graph_request_server_seconds_bucket{client=\"shop\",server=\"payments\"}[$__rate_interval])) by (le, client, server))",
    "histogram_quantile(.9, sum(rate(traces_spanmetrics_latency_bucket{span_kind=\"SPAN_KIND_SERVER\",span_name=~\"pay\"}[$__range])) by (le))",
    "histogram_quantile(0.95, sum by (le, service) (rate(traces_spanmetrics_latency_bucket[$__rate_interval])))",
    "sum by (service) (rate(traces_spanmetrics_latency_sum[$__rate_interval])) \
     / sum by (service) (rate(traces_spanmetrics_latency_count[$__rate_interval]))",
];

/// Those that need a native one, in place of those with `_bucket`.
const NATIVE: [&str; 7] = [
    "sum by (client, server) (rate(traces_service_graph_request_server_seconds{}[$__range]))",
    "group by (client, connection_type, server) (traces_service_graph_request_server_seconds{})",
    "histogram_quantile(0.9, sum(rate(traces_service_graph_request_server_seconds{server=\"payments\"}[$__rate_interval])) by (le, client, server))",
    "histogram_quantile(0.9, sum(rate(traces_service_graph_request_server_seconds{client=\"shop\",server=\"payments\"}[$__rate_interval])) by (le, client, server))",
    "histogram_quantile(.9, sum(rate(traces_spanmetrics_latency{span_kind=\"SPAN_KIND_SERVER\",span_name=~\"pay\"}[$__range])) by (le))",
    "histogram_quantile(0.95, sum by (service) (rate(traces_spanmetrics_latency[$__rate_interval])))",
    "histogram_sum(sum by (service) (rate(traces_spanmetrics_latency[$__rate_interval])))",
];

#[tokio::test]
async fn every_query_has_data_with_classic_histograms() -> anyhow::Result<()> {
    every_query_has_data("classic", &[&ALWAYS[..], &CLASSIC], &NATIVE, &CLASSIC).await
}

#[tokio::test]
async fn every_query_has_data_with_native_histograms() -> anyhow::Result<()> {
    every_query_has_data("native", &[&ALWAYS[..], &NATIVE], &CLASSIC, &NATIVE).await
}

/// An exemplar is sent once: with a bucket, where there is one.
#[tokio::test]
async fn every_query_has_data_with_both_histograms() -> anyhow::Result<()> {
    every_query_has_data("both", &[&ALWAYS[..], &CLASSIC, &NATIVE], &[], &CLASSIC).await
}

async fn every_query_has_data(
    mode: &str,
    answered: &[&[&str]],
    empty: &[&str],
    with_exemplars: &[&str],
) -> anyhow::Result<()> {
    let prometheus = Prometheus::start("scrape_configs: []").await?;
    let url = prometheus.url("/api/v1/write");
    let spanmill = Spanmill::builder()
        .config(&format!(
            "
            overrides: {{defaults: {{metrics_generator: {{
                processors: [span-metrics, service-graphs],
                generate_native_histograms: {mode},
            }}}}}}
            metrics_generator: {{storage: {{remote_write: [{{url: '{url}', send_exemplars: true}}]}}}}
            "
        ))
        .start()
        .await?;
    post(&spanmill.otlp_http(), &request(), None)
        .await?
        .accepted()?;

    let sources = DataSources::read()?;
    let mut all = sources.traces_to_metrics("shop")?;
    all.extend(sources.traces_to_metrics("payments")?);
    all.extend(answered.concat().into_iter().map(str::to_owned));
    for query in all.iter().map(|query| expanded(query)) {
        eventually(&query, || has_data(&prometheus, &query)).await?;
    }
    for query in empty {
        let series = prometheus.query(&expanded(query), None).await?;
        ensure!(series.is_empty(), "{query} has {} series", series.len());
    }

    // Grafana asks for the exemplars of a panel by its query.
    let label = sources.exemplar_label()?;
    for query in with_exemplars {
        if !query.starts_with("histogram_quantile") {
            continue;
        }
        let query = expanded(query);
        let found = eventually(&format!("exemplars of {query}"), || async {
            let found = prometheus.query_exemplars(&query, (0.0, 4e9)).await?;
            ensure!(!found.is_empty(), "none");
            Ok(found)
        })
        .await?;
        for exemplar in found {
            let trace_id = exemplar.labels.get(&label).context("no trace id")?;
            let number = u64::from_str_radix(trace_id, 16)?;
            ensure!((1..=CALLS).contains(&number), "{exemplar:?}");
        }
    }
    spanmill.finish(&[(SINGLE_TENANT, 2 * CALLS)]).await?;
    prometheus.stop().await
}

/// A query with what Grafana puts in place of its variables.
fn expanded(query: &str) -> String {
    query
        .replace("$__range", "5m")
        .replace("$__rate_interval", "5m")
}

async fn has_data(prometheus: &Prometheus, query: &str) -> anyhow::Result<()> {
    let series = prometheus.query(query, None).await?;
    let mut values = series.iter().flat_map(|series| &series.values);
    let is_number = values.all(|(_, value)| value.is_finite() && *value > 0.0);
    ensure!(!series.is_empty() && is_number, "{series:?}");
    Ok(())
}

/// Calls of `payments` by `shop`, each a trace of its own.
fn request() -> ExportTraceServiceRequest {
    let duration = Duration::from_millis(20);
    let spans = |service, name| {
        let spans = Traces::of_service(service).spans(name, CALLS, duration, 1);
        spans.with_errors(FAILED).request().resource_spans
    };
    let (mut clients, mut servers) = (spans("shop", "order"), spans("payments", "pay"));
    for span in &mut clients[0].scope_spans[0].spans {
        span.kind = SpanKind::Client.into();
    }
    for span in &mut servers[0].scope_spans[0].spans {
        span.parent_span_id = span.span_id.clone();
        // Another than that of the client.
        span.span_id[0] = 1;
    }
    clients.append(&mut servers);
    ExportTraceServiceRequest {
        resource_spans: clients,
    }
}

/// `operations/grafana/datasources.yaml`.
struct DataSources(Value);

impl DataSources {
    fn read() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let text = std::fs::read_to_string(root.join("operations/grafana/datasources.yaml"))?;
        // Provisioning replaces variables; "$$" is a plain "$".
        let sources = Self(serde_saphyr::from_str(&text.replace("$$", "$"))?);
        ensure!(sources.0["apiVersion"] == 1);
        Ok(sources)
    }

    /// The one data source of a type: its uid and settings.
    fn of_type(&self, kind: &str) -> anyhow::Result<(&str, &Value)> {
        let all = self.0["datasources"].as_array().context("no datasources")?;
        let mut found = all.iter().filter(|source| source["type"] == kind);
        let (Some(source), None) = (found.next(), found.next()) else {
            anyhow::bail!("not one data source of type {kind}");
        };
        let uid = source["uid"].as_str().context("no uid")?;
        Ok((uid, &source["jsonData"]))
    }

    /// The label of exemplars that leads to the trace store.
    fn exemplar_label(&self) -> anyhow::Result<String> {
        let (traces, _) = self.of_type("tempo")?;
        let (_, settings) = self.of_type("prometheus")?;
        let destination = &settings["exemplarTraceIdDestinations"][0];
        ensure!(destination["datasourceUid"] == traces);
        let name = destination["name"].as_str().context("no label")?;
        Ok(name.to_owned())
    }

    /// The queries that lead from a span of a service to its metrics.
    fn traces_to_metrics(&self, service: &str) -> anyhow::Result<Vec<String>> {
        let (metrics, _) = self.of_type("prometheus")?;
        let (_, settings) = self.of_type("tempo")?;
        ensure!(settings["serviceMap"]["datasourceUid"] == metrics);
        let links = &settings["tracesToMetrics"];
        ensure!(links["datasourceUid"] == metrics);
        let tags = links["tags"].as_array().context("no tags")?;
        let tags = tags.iter().map(|tag| {
            ensure!(tag["key"] == "service.name", "the span has no {tag}");
            let label = tag["value"].as_str().context("no label")?;
            Ok(format!("{label}=\"{service}\""))
        });
        let tags = tags.collect::<anyhow::Result<Vec<_>>>()?.join(", ");
        let queries = links["queries"].as_array().context("no queries")?;
        let queries = queries.iter().map(|query| {
            let query = query["query"].as_str().context("no query")?;
            Ok(query.replace("$__tags", &tags))
        });
        queries.collect()
    }
}
