//! What dashboards and alerts for Tempo ask for is there: the same values as under our
//! own names, readable for a real Prometheus, and gone when it is switched off.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use anyhow::ensure;
use spanmill_integration::traces::{SpanKind, Traces, post};
use spanmill_integration::{Exposition, Prometheus, RemoteWriteSink, Spanmill, eventually};

/// A name of Tempo's with labels, the value that the spans of the test give it, and the
/// same under our name.
type Row = (
    &'static str,
    &'static [(&'static str, &'static str)],
    Option<f64>,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const ACME: &[(&str, &str)] = &[("tenant", "acme")];

const ROWS: &[Row] = &[
    (
        "tempo_distributor_spans_received_total",
        ACME,
        Some(13.0),
        "spanmill_distributor_spans_received_total",
        ACME,
    ),
    (
        "tempo_distributor_bytes_received_total",
        ACME,
        None,
        "spanmill_distributor_bytes_received_total",
        ACME,
    ),
    (
        "tempo_distributor_ingress_bytes_total",
        ACME,
        None,
        "spanmill_distributor_bytes_received_total",
        ACME,
    ),
    (
        "tempo_distributor_push_duration_seconds_count",
        &[],
        Some(2.0),
        "spanmill_distributor_push_duration_seconds_count",
        &[],
    ),
    (
        "tempo_distributor_push_duration_seconds_bucket",
        &[("le", "+Inf")],
        Some(2.0),
        "spanmill_distributor_push_duration_seconds_bucket",
        &[("le", "+Inf")],
    ),
    (
        "tempo_discarded_spans_total",
        &[("tenant", "acme"), ("reason", "invalid_span_id")],
        Some(1.0),
        "spanmill_distributor_spans_refused_total",
        &[("tenant", "acme"), ("reason", "invalid_span_id")],
    ),
    (
        "tempo_metrics_generator_active_processors",
        &[("tenant", "acme"), ("processor", "span-metrics")],
        Some(1.0),
        "spanmill_generator_active_processors",
        &[("tenant", "acme"), ("processor", "span-metrics")],
    ),
    (
        "tempo_metrics_generator_spans_received_total",
        ACME,
        Some(12.0),
        "spanmill_generator_spans_received_total",
        ACME,
    ),
    (
        "tempo_metrics_generator_bytes_received_total",
        ACME,
        None,
        "spanmill_generator_bytes_received_total",
        ACME,
    ),
    (
        "tempo_metrics_generator_spans_discarded_total",
        &[
            ("tenant", "acme"),
            ("processor", "all"),
            ("reason", "outside_metrics_ingestion_slack"),
        ],
        Some(4.0),
        "spanmill_generator_spans_discarded_total",
        &[
            ("tenant", "acme"),
            ("processor", "all"),
            ("reason", "outside_metrics_ingestion_slack"),
        ],
    ),
    (
        "tempo_metrics_generator_spans_discarded_total",
        &[
            ("tenant", "acme"),
            ("processor", "span-metrics"),
            ("reason", "span_metrics_filtered"),
        ],
        Some(2.0),
        "spanmill_generator_spans_discarded_total",
        &[
            ("tenant", "acme"),
            ("processor", "span-metrics"),
            ("reason", "span_metrics_filtered"),
        ],
    ),
    (
        "tempo_metrics_generator_processor_service_graphs_dropped_spans",
        ACME,
        Some(3.0),
        "spanmill_generator_spans_discarded_total",
        &[("tenant", "acme"), ("reason", "store_full")],
    ),
    (
        "tempo_metrics_generator_processor_service_graphs_expired_edges",
        ACME,
        Some(0.0),
        "spanmill_generator_spans_discarded_total",
        &[("tenant", "acme"), ("reason", "unpaired")],
    ),
    (
        "tempo_metrics_generator_registry_active_series",
        ACME,
        None,
        "spanmill_generator_registry_active_series",
        ACME,
    ),
    (
        "tempo_metrics_generator_registry_max_active_series",
        ACME,
        Some(900.0),
        "spanmill_generator_registry_max_active_series",
        ACME,
    ),
    (
        "tempo_metrics_generator_registry_series_added_total",
        ACME,
        None,
        "spanmill_generator_registry_series_added_total",
        ACME,
    ),
    (
        "tempo_metrics_generator_registry_collections_total",
        ACME,
        None,
        "spanmill_generator_registry_collections_total",
        ACME,
    ),
    (
        "tempo_metrics_generator_registry_collections_failed_total",
        &[("tenant", "acme"), ("error_type", "other")],
        Some(0.0),
        "spanmill_remote_write_spool_write_errors_total",
        ACME,
    ),
    (
        "prometheus_remote_storage_samples_total",
        ACME,
        None,
        "spanmill_remote_write_samples_sent_total",
        ACME,
    ),
    (
        "prometheus_remote_storage_bytes_total",
        ACME,
        None,
        "spanmill_remote_write_bytes_sent_total",
        ACME,
    ),
    (
        "prometheus_remote_storage_samples_pending",
        ACME,
        None,
        "spanmill_remote_write_samples_pending",
        ACME,
    ),
    (
        "prometheus_remote_storage_shards",
        ACME,
        None,
        "spanmill_remote_write_shards",
        ACME,
    ),
    (
        "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
        ACME,
        None,
        "spanmill_remote_write_highest_sent_timestamp_seconds",
        ACME,
    ),
    (
        "prometheus_remote_storage_highest_timestamp_in_seconds",
        ACME,
        None,
        "spanmill_remote_write_highest_spooled_timestamp_seconds",
        ACME,
    ),
    (
        "tempo_build_info",
        &[],
        Some(1.0),
        "spanmill_build_info",
        &[],
    ),
];

const CONFIG: &str = "
multitenancy_enabled: true
overrides:
  defaults:
    metrics_generator:
      processors: [span-metrics, service-graphs]
      max_active_series: 900
      processor:
        span_metrics:
          filter_policies: [{exclude: {match_type: strict, attributes: [{key: name, value: health}]}}]
        service_graphs: {max_items: 3}
";

/// 12 spans with ids, of which 4 are too old, 2 are filtered, and 6 want to wait where 3
/// may; and one without an id.
fn spans() -> [proto::otlp::collector::ExportTraceServiceRequest; 2] {
    let millisecond = Duration::from_millis(1);
    let traces = Traces::of_service("shop")
        .spans("pay", 7, millisecond, 1)
        .spans("health", 2, millisecond, 100);
    let mut request = traces.request();
    for (place, span) in request.resource_spans[0].scope_spans[0]
        .spans
        .iter_mut()
        .enumerate()
    {
        span.kind = match place {
            0..6 => SpanKind::Client.into(),
            _ => SpanKind::Internal.into(),
        };
    }
    request.resource_spans[0].scope_spans[0].spans[6]
        .span_id
        .clear();
    let old = Traces::of_service("shop").spans("pay", 4, millisecond, 200);
    let mut old = old.request();
    for span in &mut old.resource_spans[0].scope_spans[0].spans {
        span.end_time_unix_nano -= 3_600_000_000_000;
    }
    [request, old]
}

#[tokio::test]
async fn tempos_names_have_the_values_of_ours_and_prometheus_reads_them() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    let spanmill = Spanmill::builder()
        .config(CONFIG)
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write: [{{url: '{}'}}]}}}}",
            sink.url()
        ))
        .start()
        .await?;
    for request in spans() {
        post(&spanmill.otlp_http(), &request, Some("acme"))
            .await?
            .accepted()?;
    }
    eventually("samples to be sent", || async {
        let metrics = spanmill.metrics().await?;
        check(&metrics)?;
        ensure!(metrics.sum("prometheus_remote_storage_samples_total", ACME) > 0.0);
        ensure!(
            metrics.sum(
                "prometheus_remote_storage_highest_timestamp_in_seconds",
                ACME
            ) > 1e9
        );
        Ok(())
    })
    .await?;
    let prometheus = Prometheus::start(&format!(
        "scrape_configs: [{{job_name: spanmill, scrape_interval: 1s, static_configs: [{{targets: ['{}']}}]}}]",
        spanmill.api_address()
    ))
    .await?;
    eventually("Prometheus to have scraped", || async {
        let up = prometheus.value("up", None).await?;
        ensure!(up == 1.0, "up is {up}");
        Ok(())
    })
    .await?;
    for (name, labels, value, ..) in ROWS {
        let Some(value) = value else { continue };
        let selector: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        let query = format!("sum({name}{{{}}})", selector.join(","));
        let found = prometheus.value(&query, None).await?;
        ensure!(found == *value, "{query} is {found}, not {value}");
    }
    // As Prometheus' own alert on remote write asks.
    let behind = "prometheus_remote_storage_highest_timestamp_in_seconds - ignoring (remote_name, url) \
                  group_right prometheus_remote_storage_queue_highest_sent_timestamp_seconds";
    ensure!(prometheus.value(behind, None).await? >= 0.0);
    spanmill.finish(&[("acme", 6)]).await
}

fn check(metrics: &Exposition) -> anyhow::Result<()> {
    for (name, labels, value, ours, our_labels) in ROWS {
        let found = metrics.sum(name, labels);
        ensure!(
            metrics.select(name, labels).count() > 0,
            "no {name} {labels:?}"
        );
        let same = metrics.sum(ours, our_labels);
        ensure!(
            found == same,
            "{name} {labels:?} is {found}, but {ours} is {same}"
        );
        ensure!(
            value.is_none_or(|value| found == value),
            "{name} {labels:?} is {found}, not {value:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn switched_off_no_name_is_there_but_ours() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder()
        .config("{tempo_metric_names: false, multitenancy_enabled: true}")
        .start()
        .await?;
    for request in spans() {
        post(&spanmill.otlp_http(), &request, Some("acme"))
            .await?
            .accepted()?;
    }
    let metrics = spanmill.metrics().await?;
    let mut names = metrics.samples.iter().map(|sample| &sample.name);
    let other = names.find(|name| !name.starts_with("spanmill_"));
    ensure!(other.is_none(), "{other:?}");
    ensure!(metrics.sum("spanmill_distributor_spans_received_total", ACME) == 13.0);
    spanmill.finish(&[("acme", 8)]).await
}
