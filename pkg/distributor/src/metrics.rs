//! The distributor's own metrics.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::TenantId;
use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use strum::VariantArray;
use telemetry::MetricsRegistry;

use crate::error::DiscardReason;

mod overview;

pub use self::overview::TenantIntake;

/// Tenants with metrics of their own. Ids are free to choose unless something
/// in front checks them, so without a bound a stranger could fill our memory.
/// Twice what a large hosted service has.
const MAX_TENANTS: usize = 20_000;

/// The `tenant` of those beyond [`MAX_TENANTS`]; no tenant id can be this.
const OTHER_TENANTS: &str = "<other>";

/// How long a tenant must have been idle before its place is given to another,
/// once all are taken.
const IDLE: Duration = Duration::from_secs(600);

/// Metrics of the distributor, all named `distributor_*`.
///
/// For every tenant, spans received = pushed + refused, exactly, whenever no
/// push is under way. Cloning is cheap and shares the underlying counters.
#[derive(Clone, Debug)]
pub struct DistributorMetrics {
    families: Families,
    pushes: Family<PushLabels, Counter>,
    push_duration: Family<ReceiverLabel, Histogram>,
    tenants: Arc<RwLock<Tenants>>,
}

#[derive(Clone, Debug, Default)]
struct Families {
    spans_received: Family<TenantLabel, Counter>,
    spans_pushed: Family<TenantLabel, Counter>,
    spans_refused: Family<RefusedLabels, Counter>,
    bytes_received: Family<TenantLabel, Counter>,
    spans_possibly_duplicated: Family<TenantLabel, Counter>,
    spans_recognised: Family<TenantLabel, Counter>,
    spans_unowned: Family<TenantLabel, Counter>,
    attributes_truncated: Family<TenantLabel, Counter>,
}

#[derive(Debug)]
struct Tenants {
    by_id: HashMap<TenantId, Arc<TenantMetrics>>,
    other: Option<Arc<TenantMetrics>>,
    capacity: usize,
    swept: Instant,
}

/// One tenant's share of [`DistributorMetrics`].
///
/// When it is dropped the tenant stops being exported.
#[derive(Debug)]
pub(crate) struct TenantMetrics {
    families: Families,
    label: TenantLabel,
    spans_received: Counter,
    spans_pushed: Counter,
    bytes_received: Counter,
    /// Since the last sweep.
    used: AtomicBool,
}

/// What a push came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Receiver {
    OtlpGrpc,
    OtlpHttp,
    Zipkin,
    JaegerGrpc,
    JaegerThriftHttp,
    JaegerThriftCompact,
    JaegerThriftBinary,
}

/// How a push ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PushResult {
    /// Every span was taken.
    Ok,
    /// Some spans were refused.
    Partial,
    /// No span was taken.
    Refused(DiscardReason),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TenantLabel {
    tenant: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    tenant: Arc<str>,
    reason: DiscardReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PushLabels {
    receiver: Receiver,
    result: PushResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReceiverLabel {
    receiver: Receiver,
}

impl DistributorMetrics {
    /// Creates the metrics and registers each under its full name.
    pub fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self::with_capacity(MAX_TENANTS);
        let registry = registry.sub_registry_with_prefix("distributor");
        let families = &metrics.families;
        registry.register(
            "spans_received",
            "Spans in requests that could be read, by tenant",
            families.spans_received.clone(),
        );
        registry.register(
            "spans_pushed",
            "Received spans that a generator took, by tenant",
            families.spans_pushed.clone(),
        );
        registry.register(
            "spans_refused",
            "Received spans that no generator took, by tenant and reason",
            families.spans_refused.clone(),
        );
        registry.register(
            "bytes_received",
            "Bytes of requests that could be read, as decompressed protobuf, by tenant",
            families.bytes_received.clone(),
        );
        registry.register(
            "spans_possibly_duplicated",
            "Spans that went to another generator while it was not known whether one that is \
             gone had applied them, by tenant",
            families.spans_possibly_duplicated.clone(),
        );
        registry.register(
            "spans_recognised",
            "Spans of requests that came again after generators had taken all of them, and \
             were not sent on, by tenant",
            families.spans_recognised.clone(),
        );
        registry.register(
            "spans_unowned",
            "Spans for which there was no generator, by tenant; clients were told to retry",
            families.spans_unowned.clone(),
        );
        registry.register(
            "attributes_truncated",
            "Attributes of which the key or the value was too long and was cut, by tenant",
            families.attributes_truncated.clone(),
        );
        registry.register(
            "pushes",
            "Requests answered, by receiver and result",
            metrics.pushes.clone(),
        );
        registry.register(
            "push_duration_seconds",
            "Time from the arrival of a request's headers to its answer, by receiver",
            metrics.push_duration.clone(),
        );
        metrics
    }

    fn with_capacity(capacity: usize) -> Self {
        Self {
            families: Families::default(),
            pushes: Family::default(),
            push_duration: Family::new_with_constructor(|| {
                // Half a millisecond to about 8 s.
                Histogram::new((0..8).map(|power| 0.000_5 * 4_f64.powi(power)))
            }),
            tenants: Arc::new(RwLock::new(Tenants {
                by_id: HashMap::new(),
                other: None,
                capacity,
                swept: Instant::now(),
            })),
        }
    }

    /// The metrics of one tenant, made with its first push.
    ///
    /// Costs one look-up; to be held for one push only.
    pub(crate) fn for_tenant(&self, tenant: &TenantId) -> Arc<TenantMetrics> {
        self.for_tenant_at(tenant, Instant::now())
    }

    fn for_tenant_at(&self, tenant: &TenantId, now: Instant) -> Arc<TenantMetrics> {
        if let Some(known) = self.tenants.read().by_id.get(tenant) {
            known.used.store(true, Ordering::Relaxed);
            return Arc::clone(known);
        }
        let mut tenants = self.tenants.write();
        if tenants.by_id.len() >= tenants.capacity {
            tenants.sweep(now);
        }
        if tenants.by_id.len() >= tenants.capacity && !tenants.by_id.contains_key(tenant) {
            let other = tenants
                .other
                .get_or_insert_with(|| Arc::new(self.families.tenant(OTHER_TENANTS)));
            return Arc::clone(other);
        }
        let made = tenants
            .by_id
            .entry(tenant.clone())
            .or_insert_with(|| Arc::new(self.families.tenant(tenant.as_str())));
        Arc::clone(made)
    }

    /// Stops exporting a tenant, until its next push; not while one is under way.
    /// Returns whether it is gone.
    pub fn forget(&self, tenant: &TenantId) -> bool {
        let by_id = &mut self.tenants.write().by_id;
        let is_used = |metrics: &Arc<TenantMetrics>| Arc::strong_count(metrics) > 1;
        if by_id.get(tenant).is_some_and(is_used) {
            return false;
        }
        by_id.remove(tenant);
        true
    }

    /// Stops exporting tenants without a push since this was last called. To be called
    /// once in a while where no generator in the process says when a tenant is idle.
    pub fn forget_unused(&self) {
        self.tenants.write().forget_unused(Instant::now());
    }

    /// Counts a request that was answered.
    pub(crate) fn push_answered(&self, receiver: Receiver, result: PushResult, took: Duration) {
        self.pushes
            .get_or_create(&PushLabels { receiver, result })
            .inc();
        self.push_duration
            .get_or_create(&ReceiverLabel { receiver })
            .observe(took.as_secs_f64());
    }
}

impl Tenants {
    /// Forgets tenants without a push since the last sweep.
    ///
    /// Whoever is under way holds a clone, and no clone can be made while the
    /// map is locked: so no tenant ever has two sets of counters.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < IDLE {
            return;
        }
        self.forget_unused(now);
    }

    fn forget_unused(&mut self, now: Instant) {
        self.swept = now;
        self.by_id.retain(|_, metrics| {
            metrics.used.swap(false, Ordering::Relaxed) || Arc::strong_count(metrics) > 1
        });
    }
}

impl Families {
    fn tenant(&self, tenant: &str) -> TenantMetrics {
        let label = TenantLabel {
            tenant: Arc::from(tenant),
        };
        TenantMetrics {
            spans_received: self.spans_received.get_or_create_owned(&label),
            spans_pushed: self.spans_pushed.get_or_create_owned(&label),
            bytes_received: self.bytes_received.get_or_create_owned(&label),
            families: self.clone(),
            label,
            used: AtomicBool::new(true),
        }
    }
}

impl TenantMetrics {
    /// Counts a request that could be read.
    pub(crate) fn received(&self, spans: u64, bytes: usize) {
        self.spans_received.inc_by(spans);
        self.bytes_received.inc_by(bytes as u64);
    }

    /// Counts spans that the generator took.
    pub(crate) fn pushed(&self, spans: u64) {
        self.spans_pushed.inc_by(spans);
    }

    /// Counts spans that may have been applied by a generator that is gone, and go to
    /// another.
    pub(crate) fn possibly_duplicated(&self, spans: u64) {
        let counter = &self.families.spans_possibly_duplicated;
        counter.get_or_create(&self.label).inc_by(spans);
    }

    /// Counts spans that generators have taken before.
    pub(crate) fn recognised(&self, spans: u64) {
        let counter = &self.families.spans_recognised;
        counter.get_or_create(&self.label).inc_by(spans);
    }

    /// Counts spans for which there is no generator.
    pub(crate) fn unowned(&self, spans: u64) {
        if spans > 0 {
            let counter = &self.families.spans_unowned;
            counter.get_or_create(&self.label).inc_by(spans);
        }
    }

    /// Counts spans that it did not.
    pub(crate) fn refused(&self, reason: DiscardReason, spans: u64) {
        if spans > 0 {
            self.families
                .spans_refused
                .get_or_create(&self.refused_labels(reason))
                .inc_by(spans);
        }
    }

    /// Counts attributes that were cut.
    pub(crate) fn truncated(&self, attributes: u64) {
        let truncated = &self.families.attributes_truncated;
        truncated.get_or_create(&self.label).inc_by(attributes);
    }

    fn refused_labels(&self, reason: DiscardReason) -> RefusedLabels {
        RefusedLabels {
            tenant: Arc::clone(&self.label.tenant),
            reason,
        }
    }
}

impl Drop for TenantMetrics {
    fn drop(&mut self) {
        self.families.spans_received.remove(&self.label);
        self.families.spans_pushed.remove(&self.label);
        self.families.bytes_received.remove(&self.label);
        self.families.spans_possibly_duplicated.remove(&self.label);
        self.families.spans_recognised.remove(&self.label);
        self.families.spans_unowned.remove(&self.label);
        self.families.attributes_truncated.remove(&self.label);
        for reason in DiscardReason::VARIANTS {
            self.families
                .spans_refused
                .remove(&self.refused_labels(*reason));
        }
    }
}

impl EncodeLabelValue for Receiver {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&<&'static str>::from(self), encoder)
    }
}

impl EncodeLabelValue for PushResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Ok => EncodeLabelValue::encode(&"ok", encoder),
            Self::Partial => EncodeLabelValue::encode(&"partial", encoder),
            Self::Refused(reason) => reason.encode(encoder),
        }
    }
}

#[cfg(test)]
mod tests;
