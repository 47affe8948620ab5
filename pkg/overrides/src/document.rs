//! Overrides as they are written: Tempo's nested layout, and one mapping from it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tenant_config::TenantConfig;
use crate::tenant_config::host_info::HostInfoConfig;
use crate::tenant_config::ingestion::IngestionConfig;
use crate::tenant_config::processors::Processors;
use crate::tenant_config::registry::{
    HistogramMode, LimiterType, RegistryConfig, SpanNameSanitization,
};
use crate::tenant_config::remote_write::{Author, EndpointConfig, RemoteWriteHeaders};
use crate::tenant_config::service_graphs::ServiceGraphsConfig;
use crate::tenant_config::span_metrics::SpanMetricsConfig;

/// One tenant's overrides, or `overrides.defaults`.
///
/// Blocks of type [`Value`] are accepted, and nothing inside them is read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    pub(crate) ingestion: IngestionConfig,
    pub(crate) metrics_generator: GeneratorDocument,
    pub(crate) forwarders: Vec<String>,
    pub(crate) read: Value,
    pub(crate) global: Value,
    pub(crate) compaction: Value,
    pub(crate) storage: Value,
    pub(crate) cost_attribution: Value,
}

/// The `metrics_generator` block of overrides.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct GeneratorDocument {
    pub(crate) processors: Processors,
    pub(crate) processor: ProcessorDocument,
    pub(crate) registry: RegistryDocument,
    #[serde(deserialize_with = "settings::duration::deserialize")]
    pub(crate) collection_interval: Duration,
    #[serde(deserialize_with = "settings::duration::deserialize")]
    pub(crate) ingestion_time_range_slack: Duration,
    pub(crate) max_active_series: u64,
    pub(crate) max_active_entities: u64,
    pub(crate) limiter_type: LimiterType,
    pub(crate) max_cardinality_per_label: u64,
    pub(crate) disable_collection: bool,
    pub(crate) stale_on_shutdown: bool,
    pub(crate) generate_native_histograms: HistogramMode,
    pub(crate) native_histogram_bucket_factor: f64,
    pub(crate) native_histogram_max_bucket_number: u32,
    #[serde(deserialize_with = "settings::duration::deserialize")]
    pub(crate) native_histogram_min_reset_duration: Duration,
    pub(crate) trace_id_label_name: String,
    pub(crate) span_name_sanitization: SpanNameSanitization,
    pub(crate) remote_write: Vec<EndpointConfig>,
    pub(crate) remote_write_headers: RemoteWriteHeaders,
    pub(crate) ring_size: u64,
    pub(crate) forwarder: Value,
}

/// A `processor` block, of the process or of overrides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessorDocument {
    /// What span metrics make.
    pub span_metrics: SpanMetricsConfig,
    /// What service graphs make.
    pub service_graphs: ServiceGraphsConfig,
    /// What host info makes.
    pub host_info: HostInfoConfig,
    /// Accepted for compatibility; nothing inside is read.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub local_blocks: Value,
}

/// A `registry` block, of the process or of overrides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryDocument {
    /// Time between two collections. Overrides have it beside the block as well.
    #[serde(with = "settings::duration")]
    pub collection_interval: Duration,
    /// How long a series may go without a span before it ends.
    #[serde(with = "settings::duration")]
    pub stale_duration: Duration,
    /// Labels of every series.
    pub external_labels: BTreeMap<String, String>,
    /// Name of a label with the tenant's id.
    pub inject_tenant_id_as: String,
    /// Longest label name, in bytes.
    pub max_label_name_length: usize,
    /// Longest label value, in bytes.
    pub max_label_value_length: usize,
    /// Name of a label with the generator's instance id.
    pub instance_label_name: String,
}

impl Default for GeneratorDocument {
    fn default() -> Self {
        let TenantConfig {
            registry,
            ingestion_time_range_slack,
            ..
        } = TenantConfig::default();
        Self {
            processors: Processors::default(),
            processor: ProcessorDocument::default(),
            registry: RegistryDocument::default(),
            collection_interval: registry.collection_interval,
            ingestion_time_range_slack,
            max_active_series: registry.max_active_series,
            max_active_entities: registry.max_active_entities,
            limiter_type: registry.limiter_type,
            max_cardinality_per_label: registry.max_cardinality_per_label,
            disable_collection: registry.disable_collection,
            stale_on_shutdown: registry.stale_on_shutdown,
            generate_native_histograms: registry.generate_native_histograms,
            native_histogram_bucket_factor: registry.native_histogram_bucket_factor,
            native_histogram_max_bucket_number: registry.native_histogram_max_bucket_number,
            native_histogram_min_reset_duration: registry.native_histogram_min_reset_duration,
            trace_id_label_name: registry.trace_id_label_name,
            span_name_sanitization: registry.span_name_sanitization,
            remote_write: Vec::new(),
            remote_write_headers: RemoteWriteHeaders::default(),
            ring_size: 0,
            forwarder: Value::Null,
        }
    }
}

impl Default for RegistryDocument {
    fn default() -> Self {
        let registry = RegistryConfig::default();
        Self {
            collection_interval: registry.collection_interval,
            stale_duration: registry.stale_duration,
            external_labels: registry.external_labels,
            inject_tenant_id_as: registry.inject_tenant_id_as,
            max_label_name_length: registry.max_label_name_length,
            max_label_value_length: registry.max_label_value_length,
            instance_label_name: registry.instance_label_name,
        }
    }
}

impl Document {
    /// The settings that it stands for, if its destinations are the author's.
    pub(crate) fn written_by(mut self, author: &Author) -> TenantConfig {
        for endpoint in &mut self.metrics_generator.remote_write {
            endpoint.author = author.clone();
        }
        TenantConfig::from(self)
    }
}

impl From<Document> for TenantConfig {
    fn from(document: Document) -> Self {
        let generator = document.metrics_generator;
        let registry = generator.registry;
        Self {
            processors: generator.processors,
            registry: RegistryConfig {
                collection_interval: generator.collection_interval,
                stale_duration: registry.stale_duration,
                external_labels: registry.external_labels,
                inject_tenant_id_as: registry.inject_tenant_id_as,
                max_label_name_length: registry.max_label_name_length,
                max_label_value_length: registry.max_label_value_length,
                instance_label_name: registry.instance_label_name,
                max_active_series: generator.max_active_series,
                max_active_entities: generator.max_active_entities,
                limiter_type: generator.limiter_type,
                disable_collection: generator.disable_collection,
                stale_on_shutdown: generator.stale_on_shutdown,
                generate_native_histograms: generator.generate_native_histograms,
                native_histogram_bucket_factor: generator.native_histogram_bucket_factor,
                native_histogram_max_bucket_number: generator.native_histogram_max_bucket_number,
                native_histogram_min_reset_duration: generator.native_histogram_min_reset_duration,
                trace_id_label_name: generator.trace_id_label_name,
                max_cardinality_per_label: generator.max_cardinality_per_label,
                span_name_sanitization: generator.span_name_sanitization,
            },
            ingestion_time_range_slack: generator.ingestion_time_range_slack,
            remote_write: generator.remote_write.into(),
            remote_write_headers: generator.remote_write_headers,
            span_metrics: generator.processor.span_metrics,
            service_graphs: generator.processor.service_graphs,
            host_info: generator.processor.host_info,
            ingestion: document.ingestion,
            forwarders: document.forwarders,
            ring_size: generator.ring_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_document_gives_the_built_in_settings() {
        assert_eq!(
            TenantConfig::from(Document::default()),
            TenantConfig::default()
        );
    }
}
