//! Metrics of the generator, all named `generator_*`.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use model::TenantId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use registry::RegistryStats;
use strum::VariantArray;
use telemetry::MetricsRegistry;

use crate::ledger::{DiscardReason, Ledger};

/// Stands for every processor: the span reached none.
const ALL: &str = "all";
/// The span-metrics processor, by its name in the settings.
const SPAN_METRICS: &str = "span-metrics";

/// Metrics of the generator.
///
/// Cloning is cheap and shares the underlying counters.
#[derive(Clone, Debug, Default)]
pub struct GeneratorMetrics {
    spans_received: Family<ByTenant, Counter>,
    bytes_received: Family<ByTenant, Counter>,
    spans_counted: Family<ByProcessor, Counter>,
    spans_discarded: Family<ByReason, Counter>,
    invalid_weights: Family<ByTenant, Counter>,
    active_series: Family<ByTenant, Gauge>,
    series_added: Family<ByTenant, Counter>,
    series_removed: Family<ByTenant, Counter>,
    spans_overflowed: Family<ByTenant, Counter>,
    collections: Family<ByTenant, Counter>,
    active_processors: Family<ByProcessor, Gauge>,
}

/// One tenant's share of [`GeneratorMetrics`], gone when it is dropped.
#[derive(Debug)]
pub(crate) struct TenantMetrics {
    families: GeneratorMetrics,
    tenant: ByTenant,
    spans_received: Counter,
    bytes_received: Counter,
    discarded: Vec<(DiscardReason, Counter)>,
    span_metrics: ArcSwapOption<ProcessorMetrics>,
    invalid_weights: Counter,
    active_series: Gauge,
    series_added: Counter,
    series_removed: Counter,
    spans_overflowed: Counter,
    collections: Counter,
}

/// The counters of a processor, exported while it is on.
#[derive(Debug)]
struct ProcessorMetrics {
    counted: Counter,
    filtered: Counter,
    invalid_utf8: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTenant {
    tenant: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByProcessor {
    tenant: String,
    processor: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    tenant: String,
    processor: &'static str,
    reason: DiscardReason,
}

impl GeneratorMetrics {
    /// Creates the metrics and registers each under its full name.
    pub fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("generator");
        registry.register(
            "spans_received",
            "Spans that reached the generator",
            metrics.spans_received.clone(),
        );
        registry.register(
            "bytes_received",
            "Encoded bytes of pushes",
            metrics.bytes_received.clone(),
        );
        registry.register(
            "spans_counted",
            "Spans that a processor counted in a series",
            metrics.spans_counted.clone(),
        );
        registry.register(
            "spans_discarded",
            "Spans that a processor did not count, by reason; processor all stands for each",
            metrics.spans_discarded.clone(),
        );
        registry.register(
            "invalid_weights",
            "Spans whose sampling weight was no probability, counted as one span",
            metrics.invalid_weights.clone(),
        );
        registry.register(
            "registry_active_series",
            "Series that count against the limit",
            metrics.active_series.clone(),
        );
        registry.register(
            "registry_series_added",
            "Series that were new",
            metrics.series_added.clone(),
        );
        registry.register(
            "registry_series_removed",
            "Series that ended with a staleness marker",
            metrics.series_removed.clone(),
        );
        registry.register(
            "registry_spans_overflowed",
            "Spans counted in the overflow series since the limit was reached",
            metrics.spans_overflowed.clone(),
        );
        registry.register(
            "registry_collections",
            "Collections of the tenant's series",
            metrics.collections.clone(),
        );
        registry.register(
            "active_processors",
            "Processors that are on for the tenant",
            metrics.active_processors.clone(),
        );
        metrics
    }

    /// Starts exporting one tenant.
    pub(crate) fn for_tenant(&self, tenant: &TenantId) -> TenantMetrics {
        let tenant = ByTenant {
            tenant: tenant.to_string(),
        };
        let counter = |family: &Family<ByTenant, Counter>| family.get_or_create_owned(&tenant);
        let of_all = DiscardReason::VARIANTS
            .iter()
            .filter(|reason| reason.processor() == ALL);
        let discarded = of_all.map(|reason| (*reason, self.discarded(&tenant, *reason)));
        TenantMetrics {
            spans_received: counter(&self.spans_received),
            bytes_received: counter(&self.bytes_received),
            discarded: discarded.collect(),
            span_metrics: ArcSwapOption::empty(),
            invalid_weights: counter(&self.invalid_weights),
            active_series: self.active_series.get_or_create_owned(&tenant),
            series_added: counter(&self.series_added),
            series_removed: counter(&self.series_removed),
            spans_overflowed: counter(&self.spans_overflowed),
            collections: counter(&self.collections),
            families: self.clone(),
            tenant,
        }
    }

    fn discarded(&self, tenant: &ByTenant, reason: DiscardReason) -> Counter {
        let labels = by_reason(tenant, reason);
        self.spans_discarded.get_or_create_owned(&labels)
    }
}

impl TenantMetrics {
    /// Counts a push.
    pub(crate) fn pushed(&self, bytes: usize, ledger: &Ledger) {
        self.bytes_received.inc_by(bytes as u64);
        self.spans_received.inc_by(ledger.received);
        if let Some(processor) = &*self.span_metrics.load() {
            processor.counted.inc_by(ledger.span_metrics.counted);
            processor.filtered.inc_by(ledger.span_metrics.filtered);
            processor
                .invalid_utf8
                .inc_by(ledger.span_metrics.invalid_utf8);
        }
        self.invalid_weights.inc_by(ledger.invalid_weights);
        self.spans_overflowed.inc_by(ledger.overflowed);
        for (reason, counter) in &self.discarded {
            let spans = match reason {
                DiscardReason::OutsideMetricsIngestionSlack => ledger.late,
                DiscardReason::MalformedSpan => ledger.malformed,
                DiscardReason::InvalidId => ledger.invalid_id,
                DiscardReason::MetricsGenerationSkipped => ledger.skipped,
                // The processor's own, above.
                DiscardReason::SpanMetricsFiltered | DiscardReason::InvalidUtf8 => 0,
            };
            counter.inc_by(spans);
        }
    }

    /// Notes whether span metrics are on: off, they have no part in the ledger.
    pub(crate) fn processors(&self, span_metrics: bool) {
        let (families, tenant) = (&self.families, &self.tenant);
        families
            .active_processors
            .get_or_create(&by_processor(tenant))
            .set(i64::from(span_metrics));
        if !span_metrics {
            self.span_metrics.store(None);
            families.spans_counted.remove(&by_processor(tenant));
            for reason in DiscardReason::VARIANTS {
                if reason.processor() == SPAN_METRICS {
                    families.spans_discarded.remove(&by_reason(tenant, *reason));
                }
            }
            return;
        }
        let counted = families
            .spans_counted
            .get_or_create_owned(&by_processor(tenant));
        self.span_metrics.store(Some(Arc::new(ProcessorMetrics {
            counted,
            filtered: families.discarded(tenant, DiscardReason::SpanMetricsFiltered),
            invalid_utf8: families.discarded(tenant, DiscardReason::InvalidUtf8),
        })));
    }

    /// Notes the state of the registry after a collection.
    pub(crate) fn collected(&self, stats: RegistryStats) {
        self.collections.inc();
        self.active_series
            .set(i64::try_from(stats.active_series).unwrap_or(i64::MAX));
        for (counter, total) in [
            (&self.series_added, stats.series_added),
            (&self.series_removed, stats.series_removed),
        ] {
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }
}

impl Drop for TenantMetrics {
    fn drop(&mut self) {
        let families = &self.families;
        for family in [
            &families.spans_received,
            &families.bytes_received,
            &families.invalid_weights,
            &families.series_added,
            &families.series_removed,
            &families.spans_overflowed,
            &families.collections,
        ] {
            family.remove(&self.tenant);
        }
        families.active_series.remove(&self.tenant);
        let processor = by_processor(&self.tenant);
        families.spans_counted.remove(&processor);
        families.active_processors.remove(&processor);
        for reason in DiscardReason::VARIANTS {
            families
                .spans_discarded
                .remove(&by_reason(&self.tenant, *reason));
        }
    }
}

fn by_processor(tenant: &ByTenant) -> ByProcessor {
    ByProcessor {
        tenant: tenant.tenant.clone(),
        processor: SPAN_METRICS,
    }
}

fn by_reason(tenant: &ByTenant, reason: DiscardReason) -> ByReason {
    ByReason {
        tenant: tenant.tenant.clone(),
        processor: reason.processor(),
        reason,
    }
}

impl DiscardReason {
    /// The processor that discards for this reason.
    fn processor(self) -> &'static str {
        match self {
            Self::OutsideMetricsIngestionSlack
            | Self::MalformedSpan
            | Self::InvalidId
            | Self::MetricsGenerationSkipped => ALL,
            Self::SpanMetricsFiltered | Self::InvalidUtf8 => SPAN_METRICS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::ProcessorLedger;

    /// The names are an interface: dashboards and alerts query them.
    #[test]
    fn exported_names_and_labels_are_stable() {
        let mut registry = telemetry::new_metrics_registry();
        let metrics = GeneratorMetrics::register(&mut registry);
        let tenant = metrics.for_tenant(&TenantId::parse("acme").unwrap());
        tenant.processors(true);
        tenant.pushed(
            1_000,
            &Ledger {
                received: 21,
                late: 1,
                malformed: 2,
                invalid_id: 3,
                skipped: 4,
                span_metrics: ProcessorLedger {
                    counted: 5,
                    filtered: 6,
                    invalid_utf8: 0,
                },
                invalid_weights: 7,
                overflowed: 8,
            },
        );
        tenant.collected(RegistryStats {
            active_series: 9,
            series_added: 10,
            series_removed: 1,
            updates_overflowed: 8,
        });
        let text = telemetry::encode_metrics(&registry);
        let prefix = "spanmill_generator_";
        for line in [
            "spans_received_total{tenant=\"acme\"} 21",
            "bytes_received_total{tenant=\"acme\"} 1000",
            "spans_counted_total{tenant=\"acme\",processor=\"span-metrics\"} 5",
            "spans_discarded_total{tenant=\"acme\",processor=\"all\",reason=\"outside_metrics_ingestion_slack\"} 1",
            "spans_discarded_total{tenant=\"acme\",processor=\"all\",reason=\"malformed_span\"} 2",
            "spans_discarded_total{tenant=\"acme\",processor=\"all\",reason=\"invalid_id\"} 3",
            "spans_discarded_total{tenant=\"acme\",processor=\"all\",reason=\"metrics_generation_skipped\"} 4",
            "spans_discarded_total{tenant=\"acme\",processor=\"span-metrics\",reason=\"span_metrics_filtered\"} 6",
            "spans_discarded_total{tenant=\"acme\",processor=\"span-metrics\",reason=\"invalid_utf8\"} 0",
            "invalid_weights_total{tenant=\"acme\"} 7",
            "registry_active_series{tenant=\"acme\"} 9",
            "registry_series_added_total{tenant=\"acme\"} 10",
            "registry_series_removed_total{tenant=\"acme\"} 1",
            "registry_spans_overflowed_total{tenant=\"acme\"} 8",
            "registry_collections_total{tenant=\"acme\"} 1",
            "active_processors{tenant=\"acme\",processor=\"span-metrics\"} 1",
        ] {
            assert!(
                text.contains(&format!("\n{prefix}{line}\n")),
                "missing {line}\n{text}"
            );
        }
        tenant.processors(false);
        let text = telemetry::encode_metrics(&registry);
        assert!(!text.contains("spans_counted_total{"), "{text}");
        assert!(text.contains("active_processors{tenant=\"acme\",processor=\"span-metrics\"} 0"));
        drop(tenant);
        assert!(!telemetry::encode_metrics(&registry).contains("acme"));
    }
}
