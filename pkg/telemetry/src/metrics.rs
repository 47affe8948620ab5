//! spanmill's own metrics.

pub use prometheus_client::registry::Registry as MetricsRegistry;

/// The media type of [`encode_metrics`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// An empty registry whose metrics are all named `spanmill_*`.
///
/// Each component takes `sub_registry_with_prefix("<component>")` of it.
pub fn new_metrics_registry() -> MetricsRegistry {
    MetricsRegistry::with_prefix("spanmill")
}

/// Writes all metrics as OpenMetrics 1.0 text, the last line being `# EOF`.
pub fn encode_metrics(registry: &MetricsRegistry) -> String {
    let mut text = String::new();
    // Writing to a string fails only if a metric's own encoder does; what was
    // written until then lacks its end, which a scraper refuses as a whole.
    if let Err(error) = prometheus_client::encoding::text::encode(&mut text, registry) {
        tracing::error!(%error, "cannot encode own metrics");
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn metrics_bear_the_prefix_and_end_with_eof() {
        let mut registry = new_metrics_registry();
        let pushes = Counter::<u64>::default();
        registry.sub_registry_with_prefix("distributor").register(
            "pushes",
            "Pushes that came in",
            pushes.clone(),
        );
        pushes.inc();
        assert_eq!(
            encode_metrics(&registry),
            "# HELP spanmill_distributor_pushes Pushes that came in.\n\
             # TYPE spanmill_distributor_pushes counter\n\
             spanmill_distributor_pushes_total 1\n\
             # EOF\n"
        );
    }
}
