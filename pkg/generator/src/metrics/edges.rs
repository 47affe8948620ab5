//! What the edge stores of tenants hold and take over.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use telemetry::MetricsRegistry;

use super::ByTenant;

/// The metrics of all edge stores.
#[derive(Clone, Debug, Default)]
pub(super) struct EdgeFamilies {
    items: Family<ByTenant, Gauge>,
    waiting_spans: Family<ByTenant, Gauge>,
    bytes: Family<ByTenant, Gauge>,
    taken_over: Family<ByTenant, Counter>,
}

/// One tenant's share, exported while it has service graphs.
#[derive(Debug)]
pub(super) struct EdgeMetrics {
    pub(super) items: Gauge,
    pub(super) waiting_spans: Gauge,
    pub(super) bytes: Gauge,
    pub(super) taken_over: Counter,
}

impl EdgeFamilies {
    /// Registers each under its full name.
    pub(super) fn register(registry: &mut MetricsRegistry) -> Self {
        let families = Self::default();
        registry.register(
            "processor_service_graphs_edges",
            "Items in the edge store: half edges, bridging spans, marks of filtered spans",
            families.items.clone(),
        );
        registry.register(
            "processor_service_graphs_waiting_spans",
            "Spans that wait for the other half of their edge",
            families.waiting_spans.clone(),
        );
        registry.register(
            "processor_service_graphs_store_bytes",
            "Memory of the edge store",
            families.bytes.clone(),
        );
        registry.register(
            "processor_service_graphs_spans_taken_over",
            "Spans that another generator received and handed over while they waited",
            families.taken_over.clone(),
        );
        families
    }

    /// Starts exporting one tenant.
    pub(super) fn for_tenant(&self, tenant: &ByTenant) -> EdgeMetrics {
        EdgeMetrics {
            items: self.items.get_or_create_owned(tenant),
            waiting_spans: self.waiting_spans.get_or_create_owned(tenant),
            bytes: self.bytes.get_or_create_owned(tenant),
            taken_over: self.taken_over.get_or_create_owned(tenant),
        }
    }

    /// Stops exporting one tenant.
    pub(super) fn remove(&self, tenant: &ByTenant) {
        for family in [&self.items, &self.waiting_spans, &self.bytes] {
            family.remove(tenant);
        }
        self.taken_over.remove(tenant);
    }
}
