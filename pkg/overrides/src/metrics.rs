//! Metrics of overrides, all named `spanmill_overrides_*`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use telemetry::MetricsRegistry;

use crate::snapshot::Snapshot;
use crate::user_configurable::metrics::UserConfigurableMetrics;

/// What overrides say about themselves. Cloning is cheap and shares the values.
#[derive(Clone, Debug, Default)]
pub struct OverridesMetrics {
    reload_failed: Gauge,
    tenants: Gauge,
    refused_entries: Gauge,
    unavailable_processors: Family<ByProcessor, Gauge>,
    pub(crate) user_configurable: UserConfigurableMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProcessor {
    processor: &'static str,
}

impl OverridesMetrics {
    /// Creates the metrics and registers each under its full name.
    pub fn register(registry: &mut MetricsRegistry) -> Self {
        let registry = registry.sub_registry_with_prefix("overrides");
        let metrics = Self {
            user_configurable: UserConfigurableMetrics::register(registry),
            ..Self::default()
        };
        registry.register(
            "reload_failed",
            "Whether the runtime file cannot be used as it is, so that its last good state holds",
            metrics.reload_failed.clone(),
        );
        registry.register(
            "tenants",
            "Tenants with an entry of their own in the runtime file",
            metrics.tenants.clone(),
        );
        registry.register(
            "refused_entries",
            "Tenants whose entry in the runtime file is wrong, so that the one before it holds, or none",
            metrics.refused_entries.clone(),
        );
        registry.register(
            "unavailable_processors",
            "Entries, the defaults among them, that ask for a processor which this version lacks",
            metrics.unavailable_processors.clone(),
        );
        metrics
    }

    pub(crate) fn reloaded(&self, snapshot: &Snapshot) {
        let is_refused = !snapshot.refused.is_empty();
        self.reload_failed.set(i64::from(is_refused));
        self.tenants.set(gauge(snapshot.layers.of_tenants.len()));
        self.refused_entries.set(gauge(snapshot.refused_entries));
        self.unavailable_processors.clear();
        for (processor, entries) in snapshot.unavailable() {
            let labels = ByProcessor { processor };
            let asked = self.unavailable_processors.get_or_create(&labels);
            asked.set(gauge(entries));
        }
    }

    pub(crate) fn reload_failed(&self) {
        self.reload_failed.set(1);
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
