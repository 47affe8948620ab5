//! Metrics of remote write, all named `remote_write_*`.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use model::TenantId;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use telemetry::MetricsRegistry;

use crate::encode::Batch;
use crate::written::Written;

/// Upper bounds of request durations, in seconds, up to the usual timeout.
const DURATION_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

type Seconds = Gauge<f64, AtomicU64>;

/// Metrics of remote write, of all tenants and endpoints.
///
/// Cloning is cheap and shares the underlying counters.
#[derive(Clone, Debug)]
pub struct RemoteWriteMetrics {
    samples_sent: Family<ByEndpoint, Counter>,
    exemplars_sent: Family<ByEndpoint, Counter>,
    bytes_sent: Family<ByEndpoint, Counter>,
    samples_retried: Family<ByEndpoint, Counter>,
    samples_dropped: Family<ByReason, Counter>,
    buffer_bytes: Family<ByEndpoint, Gauge>,
    buffer_samples: Family<ByEndpoint, Gauge>,
    highest_sent_timestamp: Family<ByEndpoint, Seconds>,
    request_duration: Family<OfEndpoint, Histogram, fn() -> Histogram>,
    fallbacks: Family<OfEndpoint, Counter>,
}

/// One tenant's share of [`RemoteWriteMetrics`] at one endpoint.
///
/// When it is dropped, the tenant stops being exported for that endpoint.
#[derive(Debug)]
pub(crate) struct TenantMetrics {
    families: RemoteWriteMetrics,
    labels: ByEndpoint,
    samples_sent: Counter,
    exemplars_sent: Counter,
    bytes_sent: Counter,
    samples_retried: Counter,
    buffer_bytes: Gauge,
    buffer_samples: Gauge,
    highest_sent_timestamp: Seconds,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEndpoint {
    tenant: String,
    endpoint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    tenant: String,
    endpoint: String,
    reason: DropReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfEndpoint {
    endpoint: String,
}

/// Why samples will never be delivered. A closed set, because it is a label
/// value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum DropReason {
    /// Newer ones needed the memory.
    BufferFull,
    /// 400.
    BadRequest,
    /// 401 or 403.
    Unauthorized,
    /// 404.
    NotFound,
    /// 413.
    TooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 3xx: redirects are not followed.
    Redirected,
    /// Any other final answer.
    Rejected,
    /// 2xx, but the receiver says that it has written less, or nothing at all of
    /// what it has written.
    NotWritten,
}

impl EncodeLabelValue for DropReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        <&'static str>::from(self).encode(encoder)
    }
}

impl RemoteWriteMetrics {
    /// Creates the metrics and registers each under its full name.
    pub fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self {
            samples_sent: Family::default(),
            exemplars_sent: Family::default(),
            bytes_sent: Family::default(),
            samples_retried: Family::default(),
            samples_dropped: Family::default(),
            buffer_bytes: Family::default(),
            buffer_samples: Family::default(),
            highest_sent_timestamp: Family::default(),
            request_duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            fallbacks: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("remote_write");
        registry.register(
            "samples_sent",
            "Samples that a receiver has acknowledged",
            metrics.samples_sent.clone(),
        );
        registry.register(
            "exemplars_sent",
            "Exemplars that a receiver has acknowledged",
            metrics.exemplars_sent.clone(),
        );
        registry.register(
            "bytes_sent",
            "Compressed bytes of requests that a receiver has acknowledged",
            metrics.bytes_sent.clone(),
        );
        registry.register(
            "samples_retried",
            "Samples of requests that failed and will be sent again, once for each attempt",
            metrics.samples_retried.clone(),
        );
        registry.register(
            "samples_dropped",
            "Samples that will never be delivered, by reason",
            metrics.samples_dropped.clone(),
        );
        registry.register(
            "buffer_bytes",
            "Compressed bytes of requests that wait or are under way",
            metrics.buffer_bytes.clone(),
        );
        registry.register(
            "buffer_samples",
            "Samples that wait or are under way",
            metrics.buffer_samples.clone(),
        );
        registry.register(
            "highest_sent_timestamp_seconds",
            "Time of the latest sample that a receiver has acknowledged, since the Unix epoch",
            metrics.highest_sent_timestamp.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "Time from the start of a request to its answer or failure",
            metrics.request_duration.clone(),
        );
        registry.register(
            "fallbacks",
            "Requests in remote write 2.0 that a receiver did not take, and that are sent in 1.0",
            metrics.fallbacks.clone(),
        );
        metrics
    }

    /// Starts exporting one tenant at one endpoint.
    pub(crate) fn for_tenant(&self, tenant: &TenantId, endpoint: &str) -> TenantMetrics {
        let labels = ByEndpoint {
            tenant: tenant.to_string(),
            endpoint: endpoint.to_owned(),
        };
        TenantMetrics {
            samples_sent: self.samples_sent.get_or_create_owned(&labels),
            exemplars_sent: self.exemplars_sent.get_or_create_owned(&labels),
            bytes_sent: self.bytes_sent.get_or_create_owned(&labels),
            samples_retried: self.samples_retried.get_or_create_owned(&labels),
            buffer_bytes: self.buffer_bytes.get_or_create_owned(&labels),
            buffer_samples: self.buffer_samples.get_or_create_owned(&labels),
            highest_sent_timestamp: self.highest_sent_timestamp.get_or_create_owned(&labels),
            families: self.clone(),
            labels,
        }
    }

    /// The durations of requests to one endpoint.
    pub(crate) fn durations(&self, endpoint: &str) -> Histogram {
        self.request_duration.get_or_create_owned(&OfEndpoint {
            endpoint: endpoint.to_owned(),
        })
    }

    /// Requests to one endpoint that had to be sent in 1.0 after all.
    pub(crate) fn fallbacks(&self, endpoint: &str) -> Counter {
        self.fallbacks.get_or_create_owned(&OfEndpoint {
            endpoint: endpoint.to_owned(),
        })
    }
}

impl TenantMetrics {
    /// Counts a batch that is now in the buffer.
    pub(crate) fn buffered(&self, batch: &Batch) {
        self.buffer_bytes.inc_by(signed(batch.body.len() as u64));
        self.buffer_samples.inc_by(signed(batch.samples));
    }

    /// Counts a batch that has left the buffer.
    pub(crate) fn unbuffered(&self, batch: &Batch) {
        self.buffer_bytes.dec_by(signed(batch.body.len() as u64));
        self.buffer_samples.dec_by(signed(batch.samples));
    }

    /// Counts what a receiver has acknowledged of a batch that took so many
    /// bytes to send, and drops the rest for a reason.
    pub(crate) fn sent_partly(
        &self,
        batch: &Batch,
        bytes: usize,
        written: Written,
        reason: DropReason,
    ) {
        let samples = written.samples.min(batch.samples);
        let exemplars = written.exemplars.min(batch.exemplars);
        if samples > 0 {
            self.sent(
                &Batch {
                    samples,
                    exemplars,
                    ..batch.clone()
                },
                bytes,
            );
        }
        if samples < batch.samples {
            self.dropped(
                reason,
                &Batch {
                    samples: batch.samples - samples,
                    ..batch.clone()
                },
            );
        }
    }

    /// Counts a batch that a receiver has acknowledged, which took so many bytes
    /// to send.
    pub(crate) fn sent(&self, batch: &Batch, bytes: usize) {
        self.samples_sent.inc_by(batch.samples);
        self.exemplars_sent.inc_by(batch.exemplars);
        self.bytes_sent.inc_by(bytes as u64);
        let timestamp = Duration::from_millis(batch.highest_timestamp_ms.max(0).unsigned_abs());
        self.highest_sent_timestamp.set(
            timestamp
                .as_secs_f64()
                .max(self.highest_sent_timestamp.get()),
        );
    }

    /// Counts an attempt that failed and will be made again.
    pub(crate) fn retried(&self, batch: &Batch) {
        self.samples_retried.inc_by(batch.samples);
    }

    /// Counts a batch that will never be delivered.
    pub(crate) fn dropped(&self, reason: DropReason, batch: &Batch) {
        self.families
            .samples_dropped
            .get_or_create(&self.by_reason(reason))
            .inc_by(batch.samples);
    }

    fn by_reason(&self, reason: DropReason) -> ByReason {
        ByReason {
            tenant: self.labels.tenant.clone(),
            endpoint: self.labels.endpoint.clone(),
            reason,
        }
    }
}

impl Drop for TenantMetrics {
    fn drop(&mut self) {
        let families = &self.families;
        families.samples_sent.remove(&self.labels);
        families.exemplars_sent.remove(&self.labels);
        families.bytes_sent.remove(&self.labels);
        families.samples_retried.remove(&self.labels);
        families.buffer_bytes.remove(&self.labels);
        families.buffer_samples.remove(&self.labels);
        families.highest_sent_timestamp.remove(&self.labels);
        for reason in <DropReason as strum::VariantArray>::VARIANTS {
            families.samples_dropped.remove(&self.by_reason(*reason));
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn lines(registry: &MetricsRegistry) -> Vec<String> {
        telemetry::encode_metrics(registry)
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }

    /// The names are an interface: dashboards and alerts query them.
    #[test]
    fn exported_names_and_labels_are_stable_and_go_with_the_tenant() {
        let mut registry = telemetry::new_metrics_registry();
        let metrics = RemoteWriteMetrics::register(&mut registry);
        let tenant = metrics.for_tenant(&TenantId::parse("acme").unwrap(), "h:9090");
        let batch = Batch {
            body: Bytes::from_static(b"12345"),
            protocol: crate::protocol::Protocol::V1,
            samples: 3,
            exemplars: 1,
            highest_timestamp_ms: 1_500,
        };
        tenant.buffered(&batch);
        tenant.buffered(&batch);
        tenant.unbuffered(&batch);
        tenant.retried(&batch);
        tenant.sent(&batch, 5);
        tenant.dropped(DropReason::BufferFull, &batch);
        let by = "tenant=\"acme\",endpoint=\"h:9090\"";
        assert_eq!(
            lines(&registry),
            [
                format!("spanmill_remote_write_samples_sent_total{{{by}}} 3"),
                format!("spanmill_remote_write_exemplars_sent_total{{{by}}} 1"),
                format!("spanmill_remote_write_bytes_sent_total{{{by}}} 5"),
                format!("spanmill_remote_write_samples_retried_total{{{by}}} 3"),
                format!(
                    "spanmill_remote_write_samples_dropped_total{{{by},reason=\"buffer_full\"}} 3"
                ),
                format!("spanmill_remote_write_buffer_bytes{{{by}}} 5"),
                format!("spanmill_remote_write_buffer_samples{{{by}}} 3"),
                format!("spanmill_remote_write_highest_sent_timestamp_seconds{{{by}}} 1.5"),
            ]
        );
        drop(tenant);
        assert_eq!(lines(&registry), [""; 0]);
    }
}
