//! What turns spans into updates of series.

pub(crate) mod host_info;
pub(crate) mod service_graphs;
pub(crate) mod span_metrics;

use overrides::TenantConfig;

use self::host_info::HostInfo;
use self::service_graphs::ServiceGraphs;
use self::span_metrics::SpanMetrics;
use crate::attributes::WantedKeys;

/// The processors of a tenant, compiled from its settings.
#[derive(Debug)]
pub(crate) struct Processors {
    /// The attributes that any of them wants, collected in one walk.
    pub(crate) wanted: WantedKeys,
    /// Requests, errors and durations; `None` if switched off.
    pub(crate) span_metrics: Option<SpanMetrics>,
    /// Edges between services; `None` if switched off.
    pub(crate) service_graphs: Option<ServiceGraphs>,
    /// Hosts that send spans; `None` if switched off.
    pub(crate) host_info: Option<HostInfo>,
}

impl Processors {
    pub(crate) fn new(config: &TenantConfig) -> Self {
        let mut wanted = WantedKeys::default();
        let span_metrics = SpanMetrics::new(config, &mut wanted);
        let service_graphs = ServiceGraphs::new(config, &mut wanted);
        let host_info = HostInfo::new(config, &mut wanted);
        Self {
            wanted,
            span_metrics,
            service_graphs,
            host_info,
        }
    }
}
