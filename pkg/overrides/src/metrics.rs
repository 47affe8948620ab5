//! Metrics of overrides, all named `spanmill_overrides_*`.

use prometheus_client::metrics::gauge::Gauge;
use telemetry::MetricsRegistry;

/// What overrides say about themselves. Cloning is cheap and shares the values.
#[derive(Clone, Debug, Default)]
pub struct OverridesMetrics {
    reload_failed: Gauge,
    tenants: Gauge,
}

impl OverridesMetrics {
    /// Creates the metrics and registers each under its full name.
    pub fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("overrides");
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
        metrics
    }

    pub(crate) fn reloaded(&self, tenants: usize) {
        self.reload_failed.set(0);
        self.tenants.set(i64::try_from(tenants).unwrap_or(i64::MAX));
    }

    pub(crate) fn reload_failed(&self) {
        self.reload_failed.set(1);
    }
}
