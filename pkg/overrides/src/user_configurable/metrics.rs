//! Metrics of tenants' own settings, all named `spanmill_overrides_user_configurable_*`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use telemetry::MetricsRegistry;

/// What tenants' own settings say about themselves. Cloning is cheap and shares the
/// values.
#[derive(Clone, Debug, Default)]
pub(crate) struct UserConfigurableMetrics {
    pub(crate) documents: Gauge,
    pub(crate) refused_documents: Gauge,
    pub(crate) lists: Counter,
    pub(crate) list_failures: Counter,
    pub(crate) fetches: Counter,
    pub(crate) fetch_failures: Counter,
    pub(crate) writes: Counter,
    pub(crate) write_failures: Counter,
    pub(crate) conflicts: Counter,
}

impl UserConfigurableMetrics {
    /// Creates the metrics and registers each under its full name; `registry` is that
    /// of overrides.
    pub(crate) fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("user_configurable");
        registry.register(
            "documents",
            "Tenants whose own settings, set through the API, are in force",
            metrics.documents.clone(),
        );
        registry.register(
            "refused_documents",
            "Tenants whose stored settings are wrong, so that those before hold, or none",
            metrics.refused_documents.clone(),
        );
        for (name, help, counter) in [
            (
                "lists",
                "Times that the store was asked what has changed",
                &metrics.lists,
            ),
            (
                "list_failures",
                "Times that it did not say; the settings in force stayed",
                &metrics.list_failures,
            ),
            (
                "fetches",
                "Tenants' settings that were asked for from the store",
                &metrics.fetches,
            ),
            (
                "fetch_failures",
                "Tenants' settings that the store did not give",
                &metrics.fetch_failures,
            ),
            (
                "writes",
                "Tenants' settings that were stored",
                &metrics.writes,
            ),
            (
                "write_failures",
                "Tenants' settings that the store did not take",
                &metrics.write_failures,
            ),
            (
                "conflicts",
                "Writes that another one had come before, and requests for a version that is no more",
                &metrics.conflicts,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        metrics
    }
}

#[cfg(test)]
mod tests {
    use telemetry::{encode_metrics, new_metrics_registry};

    use crate::OverridesMetrics;

    #[test]
    fn names_are_an_interface() {
        let mut registry = new_metrics_registry();
        OverridesMetrics::register(&mut registry);
        let text = encode_metrics(&registry);
        for name in [
            "documents 0",
            "refused_documents 0",
            "lists_total 0",
            "list_failures_total 0",
            "fetches_total 0",
            "fetch_failures_total 0",
            "writes_total 0",
            "write_failures_total 0",
            "conflicts_total 0",
        ] {
            let line = format!("spanmill_overrides_user_configurable_{name}\n");
            assert!(text.contains(&line), "{line}");
        }
    }
}
