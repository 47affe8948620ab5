//! Which metric of Tempo's is which of ours.
//!
//! Source: tempo-2.10, section 1.5; `prometheus_remote_storage_*` as in Prometheus 2.

use telemetry::OtherKind::{Counter, Gauge, Histogram, UnmarkedCounter};
use telemetry::OtherLabel::{Of, Text};
use telemetry::{MadeOf, OtherKind, OtherLabel, OtherName};

type Labels = &'static [(&'static str, OtherLabel)];

const TENANT: Labels = &[("tenant", Of("tenant"))];
/// In Prometheus a destination has a name and a URL; ours has a name, made of host and
/// port unless it is configured.
const DESTINATION: Labels = &[
    ("tenant", Of("tenant")),
    ("remote_name", Of("endpoint")),
    ("url", Of("endpoint")),
];

/// For what Tempo's generator discards spans, too.
const TEMPO_REASONS: &[&str] = &[
    "outside_metrics_ingestion_slack",
    "span_metrics_filtered",
    "service_graphs_filtered",
    "invalid_utf8",
];

const SENT: &str = "spanmill_remote_write_samples_sent_total";
const DROPPED: &str = "spanmill_remote_write_samples_dropped_total";
/// Why samples that were sent were not taken.
const FAILED: &[&str] = &[
    "bad_request",
    "unauthorized",
    "not_found",
    "too_large",
    "unsupported_media_type",
    "redirected",
    "rejected",
    "not_written",
];
/// Why samples were not sent.
const NOT_SENT: &[&str] = &[
    "spool_full",
    "spool_age",
    "spool_error",
    "damaged",
    "relabelled",
    "too_old",
    "destination_removed",
];

/// Metrics under Tempo's names, each made of ours.
pub(crate) const NAMES: &[OtherName] = &[
    named(
        "tempo_distributor_metrics_generator_pushes",
        Counter,
        &[("metrics_generator", Of("generator"))],
        &[all("spanmill_distributor_generator_pushes_total")],
    ),
    named(
        "tempo_distributor_metrics_generator_pushes_failures",
        Counter,
        &[("metrics_generator", Of("generator"))],
        &[all("spanmill_distributor_generator_push_failures_total")],
    ),
    named(
        "tempo_distributor_metrics_generator_clients",
        Gauge,
        &[],
        &[all("spanmill_distributor_generator_clients")],
    ),
    named(
        "tempo_build_info",
        Gauge,
        &[("version", Of("version")), ("revision", Of("commit"))],
        &[all("spanmill_build_info")],
    ),
    named(
        "tempo_distributor_spans_received",
        Counter,
        TENANT,
        &[all("spanmill_distributor_spans_received_total")],
    ),
    named(
        "tempo_distributor_bytes_received",
        Counter,
        TENANT,
        &[all("spanmill_distributor_bytes_received_total")],
    ),
    named(
        "tempo_distributor_ingress_bytes",
        Counter,
        TENANT,
        &[all("spanmill_distributor_bytes_received_total")],
    ),
    named(
        "tempo_distributor_attributes_truncated",
        Counter,
        TENANT,
        &[all("spanmill_distributor_attributes_truncated_total")],
    ),
    named(
        "tempo_distributor_push_duration_seconds",
        Histogram,
        &[("le", Of("le"))],
        &[all("spanmill_distributor_push_duration_seconds")],
    ),
    named(
        "tempo_discarded_spans",
        Counter,
        &[("reason", Of("reason")), ("tenant", Of("tenant"))],
        &[all("spanmill_distributor_spans_refused_total")],
    ),
    named(
        "tempo_metrics_generator_active_processors",
        Gauge,
        &[("tenant", Of("tenant")), ("processor", Of("processor"))],
        &[all("spanmill_generator_active_processors")],
    ),
    named(
        "tempo_metrics_generator_spans_received",
        Counter,
        TENANT,
        &[all("spanmill_generator_spans_received_total")],
    ),
    named(
        "tempo_metrics_generator_bytes_received",
        Counter,
        TENANT,
        &[all("spanmill_generator_bytes_received_total")],
    ),
    named(
        "tempo_metrics_generator_spans_discarded",
        Counter,
        &[
            ("tenant", Of("tenant")),
            ("reason", Of("reason")),
            ("processor", Of("processor")),
        ],
        &[only(
            "spanmill_generator_spans_discarded_total",
            TEMPO_REASONS,
        )],
    ),
    named(
        "tempo_metrics_generator_processor_service_graphs_expired_edges",
        UnmarkedCounter,
        TENANT,
        &[only(
            "spanmill_generator_spans_discarded_total",
            &["unpaired"],
        )],
    ),
    named(
        "tempo_metrics_generator_processor_service_graphs_dropped_spans",
        UnmarkedCounter,
        TENANT,
        &[only(
            "spanmill_generator_spans_discarded_total",
            &["store_full"],
        )],
    ),
    named(
        "tempo_metrics_generator_registry_active_series",
        Gauge,
        TENANT,
        &[all("spanmill_generator_registry_active_series")],
    ),
    named(
        "tempo_metrics_generator_registry_max_active_series",
        Gauge,
        TENANT,
        &[all("spanmill_generator_registry_max_active_series")],
    ),
    named(
        "tempo_metrics_generator_registry_active_series_demand_estimate",
        Gauge,
        TENANT,
        &[all(
            "spanmill_generator_registry_active_series_demand_estimate",
        )],
    ),
    named(
        "tempo_metrics_generator_registry_active_entities",
        Gauge,
        TENANT,
        &[all("spanmill_generator_registry_active_entities")],
    ),
    named(
        "tempo_metrics_generator_registry_max_active_entities",
        Gauge,
        TENANT,
        &[all("spanmill_generator_registry_max_active_entities")],
    ),
    named(
        "tempo_metrics_generator_registry_entity_demand_estimate",
        Gauge,
        TENANT,
        &[all("spanmill_generator_registry_entity_demand_estimate")],
    ),
    named(
        "tempo_metrics_generator_registry_series_added",
        Counter,
        TENANT,
        &[all("spanmill_generator_registry_series_added_total")],
    ),
    named(
        "tempo_metrics_generator_registry_series_removed",
        Counter,
        TENANT,
        &[all("spanmill_generator_registry_series_removed_total")],
    ),
    named(
        "tempo_metrics_generator_registry_entities_added",
        Counter,
        TENANT,
        &[all("spanmill_generator_registry_entities_added_total")],
    ),
    named(
        "tempo_metrics_generator_registry_entities_removed",
        Counter,
        TENANT,
        &[all("spanmill_generator_registry_entities_removed_total")],
    ),
    named(
        "tempo_metrics_generator_registry_collections",
        Counter,
        TENANT,
        &[all("spanmill_generator_registry_collections_total")],
    ),
    named(
        "tempo_metrics_generator_registry_collections_failed",
        Counter,
        &[("tenant", Of("tenant")), ("error_type", Text("other"))],
        &[all("spanmill_remote_write_spool_write_errors_total")],
    ),
    named(
        "prometheus_remote_storage_samples",
        Counter,
        DESTINATION,
        &[all(SENT), only(DROPPED, FAILED)],
    ),
    named(
        "prometheus_remote_storage_samples_failed",
        Counter,
        DESTINATION,
        &[only(DROPPED, FAILED)],
    ),
    named(
        "prometheus_remote_storage_samples_retried",
        Counter,
        DESTINATION,
        &[all("spanmill_remote_write_samples_retried_total")],
    ),
    named(
        "prometheus_remote_storage_samples_dropped",
        Counter,
        &[
            ("tenant", Of("tenant")),
            ("remote_name", Of("endpoint")),
            ("url", Of("endpoint")),
            ("reason", Of("reason")),
        ],
        &[only(DROPPED, NOT_SENT)],
    ),
    named(
        "prometheus_remote_storage_exemplars",
        Counter,
        DESTINATION,
        &[all("spanmill_remote_write_exemplars_sent_total")],
    ),
    named(
        "prometheus_remote_storage_bytes",
        Counter,
        DESTINATION,
        &[all("spanmill_remote_write_bytes_sent_total")],
    ),
    named(
        "prometheus_remote_storage_samples_pending",
        Gauge,
        DESTINATION,
        &[all("spanmill_remote_write_samples_pending")],
    ),
    named(
        "prometheus_remote_storage_shards",
        Gauge,
        DESTINATION,
        &[all("spanmill_remote_write_shards")],
    ),
    named(
        "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
        Gauge,
        DESTINATION,
        &[all("spanmill_remote_write_highest_sent_timestamp_seconds")],
    ),
    named(
        "prometheus_remote_storage_highest_timestamp_in_seconds",
        Gauge,
        TENANT,
        &[all(
            "spanmill_remote_write_highest_spooled_timestamp_seconds",
        )],
    ),
];

/// Metrics of Tempo's that there are not, and why.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    (
        "tempo_distributor_traces_per_batch",
        "the trace ids of a request are not counted",
    ),
    (
        "tempo_distributor_metrics_generator_*, _ingester_*, _forwarder_*, _kafka_*",
        "there is no such client",
    ),
    (
        "tempo_receiver_accepted_spans, _refused_spans",
        "spans are counted by tenant, requests by receiver: `spanmill_distributor_pushes_total`",
    ),
    (
        "tempo_metrics_generator_registry_series_limited_total",
        "a limit refuses label sets, not series: `spanmill_generator_registry_spans_overflowed_total` counts spans",
    ),
    (
        "tempo_metrics_generator_registry_entities_limited_total",
        "as the one above",
    ),
    (
        "tempo_metrics_generator_processor_service_graphs_edges",
        "completed edges are series, `traces_service_graph_request_total`; what waits is `spanmill_generator_processor_service_graphs_edges`",
    ),
    (
        "tempo_metrics_generator_metrics_generation_skipped_processor_pushes_total",
        "spans are counted: `spanmill_generator_spans_discarded_total` with reason metrics_generation_skipped",
    ),
    (
        "tempo_metrics_generator_active_processors_update_failed_total, _storage_remote_write_update_failed_total",
        "a change of settings does not fail: a wrong one is refused when it is read, `spanmill_overrides_reload_failed`",
    ),
    (
        "tempo_metrics_generator_processor_local_blocks_*",
        "there are no local blocks",
    ),
    (
        "prometheus_remote_storage_sent_batch_duration_seconds",
        "durations are counted by destination, not by tenant: `spanmill_remote_write_request_duration_seconds`",
    ),
    (
        "prometheus_remote_storage_shards_min, _max, _desired, prometheus_tsdb_wal_*",
        "there is a spool in place of Prometheus' write-ahead log",
    ),
    ("tempo_ring_members, tempo_memberlist_*", "there is no ring"),
];

const fn named(
    name: &'static str,
    kind: OtherKind,
    labels: Labels,
    of: &'static [MadeOf],
) -> OtherName {
    OtherName {
        name,
        kind,
        of,
        labels,
    }
}

const fn all(metric: &'static str) -> MadeOf {
    MadeOf { metric, only: None }
}

const fn only(metric: &'static str, reasons: &'static [&'static str]) -> MadeOf {
    MadeOf {
        metric,
        only: Some(("reason", reasons)),
    }
}
