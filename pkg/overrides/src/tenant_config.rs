//! What is in force for one tenant.

pub mod cost_attribution;
pub mod host_info;
pub mod ingestion;
pub mod processors;
pub mod registry;
pub mod remote_write;
pub mod service_graphs;
pub mod span_metrics;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::cost_attribution::CostAttributionConfig;
use self::host_info::HostInfoConfig;
use self::ingestion::IngestionConfig;
use self::processors::Processors;
use self::registry::RegistryConfig;
use self::remote_write::{EndpointConfig, RemoteWriteHeaders};
use self::service_graphs::ServiceGraphsConfig;
use self::span_metrics::SpanMetricsConfig;

/// Everything that may differ between tenants; the default is Tempo's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TenantConfig {
    /// Which processors see the tenant's spans. Default: none.
    pub processors: Processors,
    /// What the registry holds, and how it is collected.
    pub registry: RegistryConfig,
    /// How far the end of a span may be from now, to either side, to count.
    /// Default: 30s.
    #[serde(with = "settings::duration")]
    pub ingestion_time_range_slack: Duration,
    /// Receivers of the tenant's samples; a list replaces that of the layer
    /// below as a whole. Tenants that have the same share it. Default: none.
    #[serde(serialize_with = "remote_write::as_list")]
    pub remote_write: Arc<[EndpointConfig]>,
    /// Headers of the tenant's remote-write requests, over those of each
    /// endpoint. Default: none.
    pub remote_write_headers: RemoteWriteHeaders,
    /// What span metrics make.
    pub span_metrics: SpanMetricsConfig,
    /// What service graphs make.
    pub service_graphs: ServiceGraphsConfig,
    /// What host info makes.
    pub host_info: HostInfoConfig,
    /// What the distributor takes in.
    pub ingestion: IngestionConfig,
    /// What the tenant's bytes and spans are counted by.
    pub cost_attribution: CostAttributionConfig,
    /// Names of forwarders that get the spans as well. Default: none.
    pub forwarders: Vec<String>,
    /// Generators that the tenant is spread over; 0 means all. Default: 0.
    pub ring_size: u64,
}

impl Default for TenantConfig {
    fn default() -> Self {
        Self {
            processors: Processors::default(),
            registry: RegistryConfig::default(),
            ingestion_time_range_slack: Duration::from_secs(30),
            remote_write: Arc::default(),
            remote_write_headers: RemoteWriteHeaders::default(),
            span_metrics: SpanMetricsConfig::default(),
            service_graphs: ServiceGraphsConfig::default(),
            host_info: HostInfoConfig::default(),
            ingestion: IngestionConfig::default(),
            cost_attribution: CostAttributionConfig::default(),
            forwarders: Vec::new(),
            ring_size: 0,
        }
    }
}
