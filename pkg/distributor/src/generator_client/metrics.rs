//! Metrics of pushes to generators.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use telemetry::MetricsRegistry;

use super::Answer;

/// Metrics of pushes to generators, all named `distributor_generator_*`.
#[derive(Clone, Debug, Default)]
pub struct GeneratorClientMetrics {
    pushes: Family<ByGenerator, Counter>,
    failures: Family<ByGenerator, Counter>,
    clients: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByGenerator {
    generator: Arc<str>,
}

/// One generator's share, gone when it is dropped.
#[derive(Debug)]
pub(super) struct OfGenerator {
    families: GeneratorClientMetrics,
    label: ByGenerator,
    pushes: Counter,
    failures: Counter,
}

impl GeneratorClientMetrics {
    /// Creates the metrics and registers each under its full name.
    pub fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("distributor");
        registry.register(
            "generator_pushes",
            "Pushes to a generator, each attempt, by generator",
            metrics.pushes.clone(),
        );
        registry.register(
            "generator_push_failures",
            "Of these, those that the generator did not take, or did not answer",
            metrics.failures.clone(),
        );
        registry.register(
            "generator_clients",
            "Generators that have been pushed to and are in the ring",
            metrics.clients.clone(),
        );
        metrics
    }

    pub(super) fn clients(&self, count: usize) {
        self.clients.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn of(&self, generator: &Arc<str>) -> OfGenerator {
        let label = ByGenerator {
            generator: Arc::clone(generator),
        };
        OfGenerator {
            pushes: self.pushes.get_or_create_owned(&label),
            failures: self.failures.get_or_create_owned(&label),
            families: self.clone(),
            label,
        }
    }
}

impl OfGenerator {
    pub(super) fn answered(&self, answer: &Answer) {
        self.pushes.inc();
        if !matches!(answer, Answer::Applied(_)) {
            self.failures.inc();
        }
    }
}

impl Drop for OfGenerator {
    fn drop(&mut self) {
        self.families.pushes.remove(&self.label);
        self.families.failures.remove(&self.label);
    }
}
