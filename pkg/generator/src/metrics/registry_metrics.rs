//! Metrics of tenants' registries, all named `generator_registry_*`.

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use registry::{LabelStats, Limits, RegistryStats};
use telemetry::MetricsRegistry;

use super::ByTenant;

/// Metrics of all registries.
#[derive(Clone, Debug, Default)]
pub(super) struct RegistryMetrics {
    gauges: [Family<ByTenant, Gauge>; GAUGES.len()],
    counters: [Family<ByTenant, Counter>; COUNTERS.len()],
    spans_overflowed: Family<ByTenant, Counter>,
    collections: Family<ByTenant, Counter>,
    label_demand: Family<ByLabel, Gauge>,
    label_values_limited: Family<ByLabel, Counter>,
}

const GAUGES: [(&str, &str); 6] = [
    ("active_series", "Series that count against the limit"),
    ("max_active_series", "Limit of active series; 0 is none"),
    (
        "active_series_demand_estimate",
        "Series that there would be without limits, about",
    ),
    ("active_entities", "Label sets that count against the limit"),
    (
        "max_active_entities",
        "Limit of active label sets; 0 is none",
    ),
    (
        "entity_demand_estimate",
        "Label sets that there would be without limits, about",
    ),
];

const COUNTERS: [(&str, &str); 4] = [
    ("series_added", "Series that were new"),
    (
        "series_removed",
        "Series that ended with a staleness marker",
    ),
    ("entities_added", "Label sets that were new"),
    ("entities_removed", "Label sets that ended"),
];

/// One tenant's share of [`RegistryMetrics`], gone when it is dropped.
#[derive(Debug)]
pub(super) struct TenantRegistryMetrics {
    families: RegistryMetrics,
    tenant: ByTenant,
    gauges: [Gauge; GAUGES.len()],
    counters: [Counter; COUNTERS.len()],
    spans_overflowed: Counter,
    collections: Counter,
    /// The labels that are exported.
    labels: Mutex<Vec<ByLabel>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLabel {
    tenant: String,
    label_name: String,
}

impl RegistryMetrics {
    pub(super) fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("registry");
        for ((name, help), family) in GAUGES.iter().zip(&metrics.gauges) {
            registry.register(*name, *help, family.clone());
        }
        for ((name, help), family) in COUNTERS.iter().zip(&metrics.counters) {
            registry.register(*name, *help, family.clone());
        }
        registry.register(
            "spans_overflowed",
            "Spans that span metrics or service graphs counted in an overflow series",
            metrics.spans_overflowed.clone(),
        );
        registry.register(
            "collections",
            "Collections of the tenant's series",
            metrics.collections.clone(),
        );
        registry.register(
            "label_cardinality_demand_estimate",
            "Values that a label has, or would have without a limit, about",
            metrics.label_demand.clone(),
        );
        registry.register(
            "label_values_limited",
            "Label sets in which the value of a label was replaced, since it has too many",
            metrics.label_values_limited.clone(),
        );
        metrics
    }

    pub(super) fn for_tenant(&self, tenant: &ByTenant) -> TenantRegistryMetrics {
        let counter = |family: &Family<ByTenant, Counter>| family.get_or_create_owned(tenant);
        TenantRegistryMetrics {
            gauges: self
                .gauges
                .each_ref()
                .map(|family| family.get_or_create_owned(tenant)),
            counters: self.counters.each_ref().map(counter),
            spans_overflowed: counter(&self.spans_overflowed),
            collections: counter(&self.collections),
            families: self.clone(),
            tenant: tenant.clone(),
            labels: Mutex::default(),
        }
    }
}

impl TenantRegistryMetrics {
    /// Counts spans that went to an overflow series.
    pub(super) fn overflowed(&self, spans: u64) {
        self.spans_overflowed.inc_by(spans);
    }

    /// Spans that went to an overflow series so far.
    pub(super) fn spans_overflowed(&self) -> u64 {
        self.spans_overflowed.get()
    }

    /// Notes the state of the registry after a collection.
    pub(super) fn collected(&self, stats: RegistryStats, limits: Limits, labels: &[LabelStats]) {
        self.collections.inc();
        let RegistryStats {
            active,
            added,
            demand,
            ..
        } = stats;
        for (gauge, value) in self.gauges.iter().zip([
            active.series,
            limits.max_active_series,
            demand.series,
            active.entities,
            limits.max_active_entities,
            demand.entities,
        ]) {
            gauge.set(whole(value));
        }
        for (counter, total) in self.counters.iter().zip([
            added.series,
            added.series.saturating_sub(active.series),
            added.entities,
            added.entities.saturating_sub(active.entities),
        ]) {
            counter.inc_by(total.saturating_sub(counter.get()));
        }
        self.labels(labels);
    }

    fn labels(&self, stats: &[LabelStats]) {
        let mut exported = self.labels.lock();
        exported.retain(|label| {
            let is_known = stats.iter().any(|stats| stats.name == label.label_name);
            if !is_known {
                self.families.remove_label(label);
            }
            is_known
        });
        for stats in stats {
            let label = ByLabel {
                tenant: self.tenant.tenant.clone(),
                label_name: stats.name.clone(),
            };
            let demand = self.families.label_demand.get_or_create_owned(&label);
            demand.set(whole(stats.demand));
            let limited = &self.families.label_values_limited;
            let limited = limited.get_or_create_owned(&label);
            limited.inc_by(stats.limited.saturating_sub(limited.get()));
            if !exported.contains(&label) {
                exported.push(label);
            }
        }
    }
}

impl RegistryMetrics {
    fn remove_label(&self, label: &ByLabel) {
        self.label_demand.remove(label);
        self.label_values_limited.remove(label);
    }
}

impl Drop for TenantRegistryMetrics {
    fn drop(&mut self) {
        let families = &self.families;
        for family in &families.gauges {
            family.remove(&self.tenant);
        }
        let counters = families.counters.iter();
        for family in counters.chain([&families.spans_overflowed, &families.collections]) {
            family.remove(&self.tenant);
        }
        for label in self.labels.get_mut().iter() {
            families.remove_label(label);
        }
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
