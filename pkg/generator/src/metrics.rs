//! Metrics of the generator, all named `generator_*`.

mod edges;
mod overview;
mod registry_metrics;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use model::TenantId;
use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use registry::{LabelStats, Limits, RegistryStats};
use telemetry::MetricsRegistry;

use self::edges::{EdgeFamilies, EdgeMetrics};
use self::registry_metrics::{RegistryMetrics, TenantRegistryMetrics};
use crate::ledger::{DiscardReason, Discarded, Ledger, ProcessorLedger};
use crate::processors::span_metrics::name_demand::NameStats;

/// Stands for every processor: the span reached none.
const ALL: &str = "all";
/// Why no processor sees a span.
const OF_ALL: &[DiscardReason] = &[
    DiscardReason::OutsideMetricsIngestionSlack,
    DiscardReason::MalformedSpan,
    DiscardReason::InvalidId,
    DiscardReason::MetricsGenerationSkipped,
    DiscardReason::Duplicate,
];

/// A processor with a ledger of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accountable {
    SpanMetrics,
    ServiceGraphs,
    HostInfo,
}

impl Accountable {
    const ALL: [Self; 3] = [Self::SpanMetrics, Self::ServiceGraphs, Self::HostInfo];

    /// The name in the settings.
    fn name(self) -> &'static str {
        match self {
            Self::SpanMetrics => "span-metrics",
            Self::ServiceGraphs => "service-graphs",
            Self::HostInfo => "host-info",
        }
    }

    /// Why it does not count a span.
    fn reasons(self) -> &'static [DiscardReason] {
        match self {
            Self::SpanMetrics => &[
                DiscardReason::ProcessorOff,
                DiscardReason::SpanMetricsFiltered,
                DiscardReason::InvalidUtf8,
            ],
            Self::ServiceGraphs => &[
                DiscardReason::ProcessorOff,
                DiscardReason::ServiceGraphsFiltered,
                DiscardReason::InvalidUtf8,
                DiscardReason::KindNotApplicable,
                DiscardReason::NoServiceName,
                DiscardReason::StoreFull,
                DiscardReason::Replaced,
                DiscardReason::Unpaired,
                DiscardReason::HandedOver,
            ],
            Self::HostInfo => &[
                DiscardReason::ProcessorOff,
                DiscardReason::InvalidUtf8,
                DiscardReason::NoHost,
            ],
        }
    }
}

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
    registry: RegistryMetrics,
    active_processors: Family<ByProcessor, Gauge>,
    edges: EdgeFamilies,
    spans_sanitized: Family<ByTenant, Counter>,
    post_sanitization_demand: Family<ByTenant, Gauge>,
    tenants_restored: Counter,
    series_restored: Counter,
    restore_failures: Counter,
    tenants_retired: Counter,
}

/// One tenant's share of [`GeneratorMetrics`], gone when it is dropped.
#[derive(Debug)]
pub(crate) struct TenantMetrics {
    families: GeneratorMetrics,
    /// Shared by pushes that are being entered, and held alone by who switches a
    /// processor on, so that it has missed either all of a push or nothing.
    accounts: RwLock<()>,
    tenant: ByTenant,
    spans_received: Counter,
    bytes_received: Counter,
    discarded: Vec<(DiscardReason, Counter)>,
    span_metrics: ArcSwapOption<ProcessorMetrics>,
    service_graphs: ArcSwapOption<ProcessorMetrics>,
    host_info: ArcSwapOption<ProcessorMetrics>,
    edges: ArcSwapOption<EdgeMetrics>,
    invalid_weights: Counter,
    registry: TenantRegistryMetrics,
}

/// The counters of a processor, exported while it is on.
#[derive(Debug)]
struct ProcessorMetrics {
    counted: Counter,
    discarded: Vec<(DiscardReason, Counter)>,
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
        let registry = registry.sub_registry_with_prefix("generator");
        let metrics = Self {
            registry: RegistryMetrics::register(registry),
            edges: EdgeFamilies::register(registry),
            ..Self::default()
        };
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
            "active_processors",
            "Processors that are on for the tenant",
            metrics.active_processors.clone(),
        );
        registry.register(
            "registry_spans_sanitized",
            "Spans with a name that varies whose label set was looked up: the first of each \
combination of values, and those over the limit; dry run included",
            metrics.spans_sanitized.clone(),
        );
        registry.register(
            "registry_post_sanitization_demand_estimate",
            "Label sets of span metrics, active and refused, once names are sanitized; within 3.3 %",
            metrics.post_sanitization_demand.clone(),
        );
        registry.register(
            "state_tenants_restored",
            "Tenants that went on with what the last stop saved",
            metrics.tenants_restored.clone(),
        );
        registry.register(
            "state_series_restored",
            "Series that went on with what the last stop saved",
            metrics.series_restored.clone(),
        );
        registry.register(
            "state_restore_failures",
            "Saved states that could not be used: what they held began anew",
            metrics.restore_failures.clone(),
        );
        registry.register(
            "tenants_retired",
            "Tenants that were idle for long enough to give their memory back",
            metrics.tenants_retired.clone(),
        );
        metrics
    }

    /// Counts what the last stop saved.
    pub(crate) fn restored(&self, tenants: u64, series: u64) {
        self.tenants_restored.inc_by(tenants);
        self.series_restored.inc_by(series);
    }

    /// Counts a saved state that cannot be used.
    pub(crate) fn restore_failed(&self) {
        self.restore_failures.inc();
    }

    /// Counts a tenant that gave its memory back.
    pub(crate) fn retired(&self) {
        self.tenants_retired.inc();
    }

    /// Starts exporting one tenant.
    pub(crate) fn for_tenant(&self, tenant: &TenantId) -> TenantMetrics {
        let tenant = ByTenant {
            tenant: tenant.to_string(),
        };
        let counter = |family: &Family<ByTenant, Counter>| family.get_or_create_owned(&tenant);
        let discarded = OF_ALL
            .iter()
            .map(|reason| (*reason, self.discarded(&tenant, ALL, *reason)))
            .collect();
        TenantMetrics {
            spans_received: counter(&self.spans_received),
            bytes_received: counter(&self.bytes_received),
            discarded,
            span_metrics: ArcSwapOption::empty(),
            service_graphs: ArcSwapOption::empty(),
            host_info: ArcSwapOption::empty(),
            edges: ArcSwapOption::empty(),
            invalid_weights: counter(&self.invalid_weights),
            registry: self.registry.for_tenant(&tenant),
            families: self.clone(),
            accounts: RwLock::default(),
            tenant,
        }
    }

    fn discarded(
        &self,
        tenant: &ByTenant,
        processor: &'static str,
        reason: DiscardReason,
    ) -> Counter {
        self.spans_discarded
            .get_or_create_owned(&by_reason(tenant, processor, reason))
    }
}

impl TenantMetrics {
    /// Counts a push.
    pub(crate) fn pushed(&self, bytes: usize, ledger: &Ledger) {
        let _accounts = self.accounts.read();
        self.bytes_received.inc_by(bytes as u64);
        self.spans_received.inc_by(ledger.received);
        add(&self.discarded, &ledger.discarded);
        self.settled(ledger);
    }

    /// Counts what became of spans that had been received.
    pub(crate) fn settled(&self, ledger: &Ledger) {
        for (metrics, ledger) in [
            (&self.span_metrics, &ledger.span_metrics),
            (&self.service_graphs, &ledger.service_graphs),
            (&self.host_info, &ledger.host_info),
        ] {
            if let Some(metrics) = &*metrics.load() {
                metrics.add(ledger);
            }
        }
        self.invalid_weights.inc_by(ledger.invalid_weights);
        self.registry.overflowed(ledger.overflowed);
    }

    /// Notes which processors are on: one that is off has no part in the ledger.
    pub(crate) fn processors(&self, span_metrics: bool, service_graphs: bool, host_info: bool) {
        let _accounts = self.accounts.write();
        self.processor(Accountable::SpanMetrics, &self.span_metrics, span_metrics);
        self.processor(
            Accountable::ServiceGraphs,
            &self.service_graphs,
            service_graphs,
        );
        self.processor(Accountable::HostInfo, &self.host_info, host_info);
        if !service_graphs {
            self.edges.store(None);
            self.families.edges.remove(&self.tenant);
        } else if self.edges.load().is_none() {
            let edges = self.families.edges.for_tenant(&self.tenant);
            self.edges.store(Some(Arc::new(edges)));
        }
    }

    fn processor(
        &self,
        processor: Accountable,
        metrics: &ArcSwapOption<ProcessorMetrics>,
        is_on: bool,
    ) {
        let (families, tenant) = (&self.families, &self.tenant);
        let labels = by_processor(tenant, processor.name());
        families
            .active_processors
            .get_or_create(&labels)
            .set(i64::from(is_on));
        if !is_on {
            metrics.store(None);
            families.remove_processor(tenant, processor);
            return;
        }
        if metrics.load().is_some() {
            return;
        }
        let counter = |reason: &DiscardReason| {
            let counter = families.discarded(tenant, processor.name(), *reason);
            (*reason, counter)
        };
        let on = ProcessorMetrics {
            counted: families.spans_counted.get_or_create_owned(&labels),
            discarded: processor.reasons().iter().map(counter).collect(),
        };
        let before: u64 = self.discarded.iter().map(|(_, spans)| spans.get()).sum();
        let mut missed = Discarded::default();
        missed.add(
            DiscardReason::ProcessorOff,
            self.spans_received.get().saturating_sub(before),
        );
        add(&on.discarded, &missed);
        metrics.store(Some(Arc::new(on)));
    }

    /// Notes what waits in the edge store.
    pub(crate) fn edges(&self, items: i64, waiting_spans: u64) {
        if let Some(edges) = &*self.edges.load() {
            edges.items.set(items);
            let waiting_spans = i64::try_from(waiting_spans).unwrap_or(i64::MAX);
            edges.waiting_spans.set(waiting_spans);
        }
    }

    /// Counts spans that another generator had received.
    pub(crate) fn taken_over(&self, spans: u64) {
        if let Some(edges) = &*self.edges.load() {
            edges.taken_over.inc_by(spans);
        }
    }

    /// Notes the memory of the edge store.
    pub(crate) fn edge_store_bytes(&self, bytes: usize) {
        if let Some(edges) = &*self.edges.load() {
            edges.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// Notes what replacing parts of names saves.
    pub(crate) fn names(&self, stats: NameStats) {
        let families = &self.families;
        families
            .spans_sanitized
            .get_or_create(&self.tenant)
            .inc_by(stats.replaced);
        families
            .post_sanitization_demand
            .get_or_create(&self.tenant)
            .set(i64::try_from(stats.label_sets).unwrap_or(i64::MAX));
    }

    /// Notes that names stay as they are, and nobody asks what else could be.
    pub(crate) fn names_off(&self) {
        self.families.spans_sanitized.remove(&self.tenant);
        self.families.post_sanitization_demand.remove(&self.tenant);
    }

    /// Notes the state of the registry after a collection.
    pub(crate) fn collected(&self, stats: RegistryStats, limits: Limits, labels: &[LabelStats]) {
        self.registry.collected(stats, limits, labels);
    }
}

impl Drop for TenantMetrics {
    fn drop(&mut self) {
        self.names_off();
        let families = &self.families;
        for family in [
            &families.spans_received,
            &families.bytes_received,
            &families.invalid_weights,
        ] {
            family.remove(&self.tenant);
        }
        families.edges.remove(&self.tenant);
        for processor in Accountable::ALL {
            families.remove_processor(&self.tenant, processor);
            families
                .active_processors
                .remove(&by_processor(&self.tenant, processor.name()));
        }
        for reason in OF_ALL {
            families
                .spans_discarded
                .remove(&by_reason(&self.tenant, ALL, *reason));
        }
    }
}

impl GeneratorMetrics {
    fn remove_processor(&self, tenant: &ByTenant, processor: Accountable) {
        self.spans_counted
            .remove(&by_processor(tenant, processor.name()));
        for reason in processor.reasons() {
            self.spans_discarded
                .remove(&by_reason(tenant, processor.name(), *reason));
        }
    }
}

impl ProcessorMetrics {
    fn add(&self, ledger: &ProcessorLedger) {
        self.counted.inc_by(ledger.counted);
        add(&self.discarded, &ledger.discarded);
    }
}

fn add(counters: &[(DiscardReason, Counter)], discarded: &Discarded) {
    for (reason, counter) in counters {
        counter.inc_by(discarded.of(*reason));
    }
}

fn by_processor(tenant: &ByTenant, processor: &'static str) -> ByProcessor {
    ByProcessor {
        tenant: tenant.tenant.clone(),
        processor,
    }
}

fn by_reason(tenant: &ByTenant, processor: &'static str, reason: DiscardReason) -> ByReason {
    ByReason {
        tenant: tenant.tenant.clone(),
        processor,
        reason,
    }
}

#[cfg(test)]
mod tests;
