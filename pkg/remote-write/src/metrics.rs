//! Metrics of remote write, all named `remote_write_*`.

mod drop_reason;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use model::TenantId;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use telemetry::MetricsRegistry;

pub use self::drop_reason::DropReason;

/// Upper bounds of request durations, in seconds, up to the usual timeout.
const DURATION_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

type Seconds = Gauge<f64, AtomicU64>;

/// Upper bounds of the time from a push to its delivery, in seconds: a collection
/// interval is most of it, an outage all.
const DELIVERY_BUCKETS: [f64; 12] = [
    0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 300.0, 1800.0, 7200.0,
];

/// Metrics of remote write, of all tenants and endpoints.
///
/// Cloning is cheap and shares the underlying counters.
#[derive(Clone, Debug)]
pub struct RemoteWriteMetrics {
    samples_collected: Family<OfTenant, Counter>,
    samples_spooled: Family<OfTenant, Counter>,
    samples_sent: Family<ByEndpoint, Counter>,
    exemplars_sent: Family<ByEndpoint, Counter>,
    bytes_sent: Family<ByEndpoint, Counter>,
    samples_retried: Family<ByEndpoint, Counter>,
    samples_dropped: Family<ByReason, Counter>,
    samples_handed_over: Family<ByEndpoint, Counter>,
    samples_taken_over: Family<OfTenant, Counter>,
    samples_pending: Family<ByEndpoint, Gauge>,
    shards: Family<ByEndpoint, Gauge>,
    spool_age: Family<ByEndpoint, Seconds>,
    lag: Family<ByEndpoint, Seconds>,
    highest_sent_timestamp: Family<ByEndpoint, Seconds>,
    delivery: Family<ByEndpoint, Histogram, fn() -> Histogram>,
    highest_spooled_timestamp: Family<OfTenant, Seconds>,
    spool_bytes: Family<OfTenant, Gauge>,
    spool_write_errors: Family<OfTenant, Counter>,
    spool_unreadable_files: Counter,
    request_duration: Family<OfEndpoint, Histogram, fn() -> Histogram>,
    fallbacks: Family<OfEndpoint, Counter>,
    /// Who exports what: a queue may take the place of one that is not gone yet.
    exported: Arc<Mutex<HashMap<ByEndpoint, usize>>>,
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
    samples_pending: Gauge,
    shards: Gauge,
    spool_age: Seconds,
    lag: Seconds,
    highest_sent_timestamp: Seconds,
    delivery: Histogram,
}

/// One tenant's share of [`RemoteWriteMetrics`] that no endpoint has to do with.
///
/// When it is dropped, the tenant stops being exported there.
#[derive(Debug)]
pub(crate) struct SpoolMetrics {
    families: RemoteWriteMetrics,
    labels: OfTenant,
    samples_collected: Counter,
    samples_spooled: Counter,
    highest_spooled_timestamp: Seconds,
    spool_bytes: Gauge,
    spool_write_errors: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTenant {
    tenant: String,
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

impl RemoteWriteMetrics {
    /// Creates the metrics and registers each under its full name.
    pub fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self {
            samples_collected: Family::default(),
            samples_spooled: Family::default(),
            samples_sent: Family::default(),
            exemplars_sent: Family::default(),
            bytes_sent: Family::default(),
            samples_retried: Family::default(),
            samples_dropped: Family::default(),
            samples_handed_over: Family::default(),
            samples_taken_over: Family::default(),
            samples_pending: Family::default(),
            shards: Family::default(),
            spool_age: Family::default(),
            lag: Family::default(),
            highest_sent_timestamp: Family::default(),
            delivery: Family::new_with_constructor(|| Histogram::new(DELIVERY_BUCKETS)),
            highest_spooled_timestamp: Family::default(),
            spool_bytes: Family::default(),
            spool_write_errors: Family::default(),
            spool_unreadable_files: Counter::default(),
            request_duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            fallbacks: Family::default(),
            exported: Arc::default(),
        };
        let registry = registry.sub_registry_with_prefix("remote_write");
        registry.register(
            "samples_collected",
            "Samples that were collected for remote write; those that are neither in the spool nor dropped are kept in memory until the disk takes them",
            metrics.samples_collected.clone(),
        );
        registry.register(
            "samples_spooled",
            "Samples that were collected and written to the spool",
            metrics.samples_spooled.clone(),
        );
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
            "samples_handed_over",
            "Samples that another generator has taken over, to deliver them",
            metrics.samples_handed_over.clone(),
        );
        registry.register(
            "samples_taken_over",
            "Samples that another generator has handed over; they are among those that were collected, and spooled",
            metrics.samples_taken_over.clone(),
        );
        registry.register(
            "samples_pending",
            "Samples in the spool that are neither acknowledged nor dropped, nor handed over",
            metrics.samples_pending.clone(),
        );
        registry.register(
            "shards",
            "Requests that may be under way at once, each for other series",
            metrics.shards.clone(),
        );
        registry.register(
            "spool_age_seconds",
            "How long the oldest sample that is pending has been there, at the last change",
            metrics.spool_age.clone(),
        );
        registry.register(
            "lag_seconds",
            "How much later the latest sample of the spool is than the latest acknowledged, at the last change",
            metrics.lag.clone(),
        );
        registry.register(
            "push_to_delivery_seconds",
            "Time from the earliest push of a request's samples to the receiver's acknowledgement",
            metrics.delivery.clone(),
        );
        registry.register(
            "highest_spooled_timestamp_seconds",
            "Time of the latest sample that was written to the spool, since the Unix epoch",
            metrics.highest_spooled_timestamp.clone(),
        );
        registry.register(
            "spool_bytes",
            "Bytes of the spool on disk",
            metrics.spool_bytes.clone(),
        );
        registry.register(
            "spool_write_errors",
            "Collections that the disk did not take as a whole; what it did not take is tried again",
            metrics.spool_write_errors.clone(),
        );
        registry.register(
            "spool_unreadable_files",
            "Files of the spool that could not be read at the start",
            metrics.spool_unreadable_files.clone(),
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
        *self.exported.lock().entry(labels.clone()).or_default() += 1;
        TenantMetrics {
            samples_sent: self.samples_sent.get_or_create_owned(&labels),
            exemplars_sent: self.exemplars_sent.get_or_create_owned(&labels),
            bytes_sent: self.bytes_sent.get_or_create_owned(&labels),
            samples_retried: self.samples_retried.get_or_create_owned(&labels),
            samples_pending: self.samples_pending.get_or_create_owned(&labels),
            shards: self.shards.get_or_create_owned(&labels),
            spool_age: self.spool_age.get_or_create_owned(&labels),
            lag: self.lag.get_or_create_owned(&labels),
            highest_sent_timestamp: self.highest_sent_timestamp.get_or_create_owned(&labels),
            delivery: self.delivery.get_or_create_owned(&labels),
            families: self.clone(),
            labels,
        }
    }

    /// Starts exporting one tenant's spool.
    pub(crate) fn for_spool(&self, tenant: &TenantId) -> SpoolMetrics {
        let labels = OfTenant {
            tenant: tenant.to_string(),
        };
        SpoolMetrics {
            samples_collected: self.samples_collected.get_or_create_owned(&labels),
            samples_spooled: self.samples_spooled.get_or_create_owned(&labels),
            highest_spooled_timestamp: self.highest_spooled_timestamp.get_or_create_owned(&labels),
            spool_bytes: self.spool_bytes.get_or_create_owned(&labels),
            spool_write_errors: self.spool_write_errors.get_or_create_owned(&labels),
            families: self.clone(),
            labels,
        }
    }

    /// Counts a file of the spool that cannot be read.
    pub(crate) fn unreadable_file(&self) {
        self.spool_unreadable_files.inc();
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
    /// Counts what a receiver has acknowledged in a request of so many bytes.
    pub(crate) fn sent(&self, samples: u64, exemplars: u64, bytes: usize, newest_ms: i64) {
        self.samples_sent.inc_by(samples);
        self.exemplars_sent.inc_by(exemplars);
        self.bytes_sent.inc_by(bytes as u64);
        let timestamp = seconds(newest_ms);
        self.highest_sent_timestamp
            .set(timestamp.max(self.highest_sent_timestamp.get()));
    }

    /// Counts samples of an attempt that failed and will be made again.
    pub(crate) fn retried(&self, samples: u64) {
        self.samples_retried.inc_by(samples);
    }

    /// Counts samples that will never be delivered.
    pub(crate) fn dropped(&self, reason: DropReason, samples: u64) {
        if samples > 0 {
            self.families
                .samples_dropped
                .get_or_create(&self.by_reason(reason))
                .inc_by(samples);
        }
    }

    /// Counts samples that another generator is to deliver.
    pub(crate) fn handed_over(&self, samples: u64) {
        if samples > 0 {
            let handed_over = &self.families.samples_handed_over;
            handed_over.get_or_create(&self.labels).inc_by(samples);
        }
    }

    /// Notes how far behind the endpoint is.
    pub(crate) fn pending(&self, samples: u64, age_ms: i64, lag_ms: i64) {
        self.samples_pending.set(signed(samples));
        self.spool_age.set(seconds(age_ms));
        self.lag.set(seconds(lag_ms));
    }

    /// Notes how many requests may be under way.
    pub(crate) fn shards(&self, shards: usize) {
        self.shards.set(signed(shards as u64));
    }

    /// Counts the time from a push to its delivery.
    pub(crate) fn delivery(&self, milliseconds: i64) {
        self.delivery.observe(seconds(milliseconds));
    }

    /// Samples that a receiver has acknowledged so far.
    pub(crate) fn samples_sent(&self) -> u64 {
        self.samples_sent.get()
    }

    /// Samples that will never be delivered, of the reasons that there were.
    pub(crate) fn samples_dropped(&self) -> Vec<(&'static str, u64)> {
        let reasons = <DropReason as strum::VariantArray>::VARIANTS.iter();
        let dropped = reasons.filter_map(|reason| {
            let labels = self.by_reason(*reason);
            let samples = self.families.samples_dropped.get(&labels)?.get();
            Some((reason.into(), samples))
        });
        dropped.collect()
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
        let mut exported = families.exported.lock();
        if let Some(count) = exported.get_mut(&self.labels) {
            *count -= 1;
            if *count > 0 {
                return;
            }
        }
        exported.remove(&self.labels);
        families.samples_sent.remove(&self.labels);
        families.exemplars_sent.remove(&self.labels);
        families.bytes_sent.remove(&self.labels);
        families.samples_retried.remove(&self.labels);
        families.samples_handed_over.remove(&self.labels);
        families.samples_pending.remove(&self.labels);
        families.shards.remove(&self.labels);
        families.spool_age.remove(&self.labels);
        families.lag.remove(&self.labels);
        families.highest_sent_timestamp.remove(&self.labels);
        families.delivery.remove(&self.labels);
        for reason in <DropReason as strum::VariantArray>::VARIANTS {
            families.samples_dropped.remove(&self.by_reason(*reason));
        }
    }
}

impl SpoolMetrics {
    /// Counts samples that are to be on disk, now or later.
    pub(crate) fn collected(&self, samples: u64) {
        self.samples_collected.inc_by(samples);
    }

    /// Counts samples that are on disk now; `newest_ms` is the time of the latest.
    pub(crate) fn spooled(&self, samples: u64, newest_ms: i64) {
        self.samples_spooled.inc_by(samples);
        self.highest_spooled_timestamp.set(seconds(newest_ms));
    }

    /// Counts samples that another generator has handed over.
    pub(crate) fn taken_over(&self, samples: u64) {
        if samples > 0 {
            let taken_over = &self.families.samples_taken_over;
            taken_over.get_or_create(&self.labels).inc_by(samples);
        }
    }

    /// Notes how much there is on disk.
    pub(crate) fn bytes(&self, bytes: u64) {
        self.spool_bytes.set(signed(bytes));
    }

    /// Counts a collection that the disk did not take as a whole.
    pub(crate) fn write_error(&self) {
        self.spool_write_errors.inc();
    }
}

impl Drop for SpoolMetrics {
    fn drop(&mut self) {
        let families = &self.families;
        families.samples_collected.remove(&self.labels);
        families.samples_taken_over.remove(&self.labels);
        families.samples_spooled.remove(&self.labels);
        families.highest_spooled_timestamp.remove(&self.labels);
        families.spool_bytes.remove(&self.labels);
        families.spool_write_errors.remove(&self.labels);
    }
}

fn seconds(milliseconds: i64) -> f64 {
    Duration::from_millis(milliseconds.max(0).unsigned_abs()).as_secs_f64()
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
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
        let acme = TenantId::parse("acme").unwrap();
        let tenant = (
            metrics.for_tenant(&acme, "h:9090"),
            metrics.for_spool(&acme),
        );
        tenant.0.retried(3);
        tenant.0.sent(3, 1, 5, 1_500);
        tenant.0.dropped(DropReason::SpoolFull, 3);
        tenant.0.pending(7, 2_500, 500);
        tenant.0.shards(2);
        tenant.1.collected(15);
        tenant.1.spooled(13, 2_500);
        tenant.1.bytes(100);
        tenant.1.write_error();
        let by = "tenant=\"acme\",endpoint=\"h:9090\"";
        let of = "tenant=\"acme\"";
        let without_buckets = |lines: Vec<String>| -> Vec<String> {
            let lines = lines.into_iter();
            lines
                .filter(|line| !line.contains("push_to_delivery"))
                .collect()
        };
        assert_eq!(
            without_buckets(lines(&registry)),
            [
                format!("spanmill_remote_write_samples_collected_total{{{of}}} 15"),
                format!("spanmill_remote_write_samples_spooled_total{{{of}}} 13"),
                format!("spanmill_remote_write_samples_sent_total{{{by}}} 3"),
                format!("spanmill_remote_write_exemplars_sent_total{{{by}}} 1"),
                format!("spanmill_remote_write_bytes_sent_total{{{by}}} 5"),
                format!("spanmill_remote_write_samples_retried_total{{{by}}} 3"),
                format!(
                    "spanmill_remote_write_samples_dropped_total{{{by},reason=\"spool_full\"}} 3"
                ),
                format!("spanmill_remote_write_samples_pending{{{by}}} 7"),
                format!("spanmill_remote_write_shards{{{by}}} 2"),
                format!("spanmill_remote_write_spool_age_seconds{{{by}}} 2.5"),
                format!("spanmill_remote_write_lag_seconds{{{by}}} 0.5"),
                format!("spanmill_remote_write_highest_spooled_timestamp_seconds{{{of}}} 2.5"),
                format!("spanmill_remote_write_spool_bytes{{{of}}} 100"),
                format!("spanmill_remote_write_spool_write_errors_total{{{of}}} 1"),
                "spanmill_remote_write_spool_unreadable_files_total 0".to_owned(),
                format!("spanmill_remote_write_highest_sent_timestamp_seconds{{{by}}} 1.5"),
            ]
        );
        drop(tenant);
        assert_eq!(
            lines(&registry),
            ["spanmill_remote_write_spool_unreadable_files_total 0"]
        );
    }
}
