//! Metrics of pushes from distributors.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use server::nodes::NotApplied;
use telemetry::MetricsRegistry;

/// Metrics of pushes from distributors of the cluster, all named `generator_node_pushes_*`.
#[derive(Clone, Debug, Default)]
pub struct NodePushMetrics {
    refused: Family<ByReason, Counter>,
    not_owned: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

impl NodePushMetrics {
    /// Creates the metrics and registers each under its full name.
    pub fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("generator");
        registry.register(
            "node_pushes_refused",
            "Pushes from distributors of which nothing was applied, by reason",
            metrics.refused.clone(),
        );
        registry.register(
            "node_pushes_not_owned",
            "Pushes that were accepted from distributors that see another ring",
            metrics.not_owned.clone(),
        );
        metrics
    }

    pub(super) fn refused(&self, why: NotApplied) {
        let reason = why.into();
        self.refused.get_or_create(&ByReason { reason }).inc();
    }

    /// Somebody who is no node of the cluster tried.
    pub(super) fn not_a_node(&self) {
        let reason = "not_a_node";
        self.refused.get_or_create(&ByReason { reason }).inc();
    }

    /// It was taken all the same.
    pub(super) fn not_owned(&self) {
        self.not_owned.inc();
    }
}
