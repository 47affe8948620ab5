//! Overrides as they are written: Tempo's nested layout, and one mapping from it.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use settings::{Problem, Problems};

use crate::tenant_config::TenantConfig;
use crate::tenant_config::cost_attribution::CostAttributionConfig;
use crate::tenant_config::host_info::HostInfoConfig;
use crate::tenant_config::ingestion::IngestionConfig;
use crate::tenant_config::processors::{Processor, Processors};
use crate::tenant_config::registry::{
    HistogramMode, LimiterType, RegistryConfig, SpanNameSanitization,
};
use crate::tenant_config::remote_write::{Author, EndpointConfig, RemoteWriteHeaders};
use crate::tenant_config::service_graphs::ServiceGraphsConfig;
use crate::tenant_config::span_metrics::SpanMetricsConfig;
use crate::without_effect;

/// One tenant's overrides, or `overrides.defaults`.
///
/// Tempo's flat keys of before 2.3 (`metrics_generator_max_active_series` and so
/// on) mean the same. Mappings merge key by key with those of the layers below, lists
/// replace, and null returns to the built-in default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "Overrides")]
pub(crate) struct Document {
    /// What the distributor takes in from the tenant.
    pub(crate) ingestion: IngestionConfig,
    /// What is made of the tenant's spans, and where it goes.
    pub(crate) metrics_generator: GeneratorDocument,
    /// Names of `distributor.forwarders` that get the tenant's spans as well. Default: none.
    pub(crate) forwarders: Vec<String>,
    /// Limits of queries. Without effect.
    #[serde(skip_serializing)]
    pub(crate) read: Value,
    /// Limits of traces. Without effect.
    #[serde(skip_serializing)]
    pub(crate) global: Value,
    /// Retention of traces. Without effect.
    #[serde(skip_serializing)]
    pub(crate) compaction: Value,
    /// Storage of traces. Without effect.
    #[serde(skip_serializing)]
    pub(crate) storage: Value,
    /// What the tenant's bytes and spans are counted by, for whoever pays.
    pub(crate) cost_attribution: CostAttributionConfig,
}

/// The `metrics_generator` block of overrides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct GeneratorDocument {
    /// Which processors see the tenant's spans; an empty list switches the
    /// generator off for the tenant. Default: none.
    #[schemars(with = "Vec<Processor>")]
    pub(crate) processors: Processors,
    /// What each processor makes.
    pub(crate) processor: ProcessorDocument,
    /// What the registry holds.
    pub(crate) registry: RegistryDocument,
    /// Time between two collections; at least 1s, and 0s inherits. Each active series
    /// yields one sample an interval. Default: 15s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub(crate) collection_interval: Duration,
    /// How far the end of a span may be from now, to either side, to count; 0s
    /// inherits. Default: 30s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub(crate) ingestion_time_range_slack: Duration,
    /// Series that may be active at once; 0 means no limit. Default: 0.
    pub(crate) max_active_series: u64,
    /// Label sets that may be active at once, where `limiter_type` is `entity`;
    /// 0 means no limit. Default: 0.
    pub(crate) max_active_entities: u64,
    /// What the limit counts. Default: series.
    pub(crate) limiter_type: LimiterType,
    /// Values that one label may have before further ones are replaced; 0 means
    /// no limit. Default: 0.
    pub(crate) max_cardinality_per_label: u64,
    /// Whether samples are withheld, so that only the number of series is seen.
    /// Default: false.
    pub(crate) disable_collection: bool,
    /// Whether a planned stop ends all series with staleness markers, and the next
    /// start begins at 0; otherwise they go on after it. Default: false.
    pub(crate) stale_on_shutdown: bool,
    /// Which histograms durations become. Default: classic.
    pub(crate) generate_native_histograms: HistogramMode,
    /// Growth from one native bucket to the next at most, above 1; 0 inherits. There
    /// are the growths 65536, 256, 16, 4, 2, and each time its root, down to 1.0027.
    /// Default: 1.1, which gives 1.0905.
    pub(crate) native_histogram_bucket_factor: f64,
    /// Native buckets at most; 0 means no limit. A histogram that needs more
    /// begins anew, or, if it did so within the minimum below, makes its buckets
    /// wider until then. Default: 100.
    pub(crate) native_histogram_max_bucket_number: u32,
    /// Least time between two resets of a native histogram. Default: 15m.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub(crate) native_histogram_min_reset_duration: Duration,
    /// Name of the exemplar label with the trace id. Default: `traceID`.
    pub(crate) trace_id_label_name: String,
    /// Whether varying parts of span names are replaced by `<_>`: numbers,
    /// UUIDs, hashes, tokens, addresses, literals. Default: off.
    pub(crate) span_name_sanitization: SpanNameSanitization,
    /// Receivers of the tenant's samples, in place of all those of the layer below.
    /// Default: none.
    pub(crate) remote_write: Vec<EndpointConfig>,
    /// Headers of the tenant's remote-write requests, over those of each
    /// endpoint. Default: none.
    pub(crate) remote_write_headers: RemoteWriteHeaders,
    /// Generators that the tenant is spread over. Without effect.
    pub(crate) ring_size: u64,
    /// The queue before generators. Without effect: there is none.
    #[serde(skip_serializing)]
    pub(crate) forwarder: Value,
}

/// A `processor` block, of the process or of overrides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "ProcessorBlock")]
pub struct ProcessorDocument {
    /// What span metrics make.
    pub span_metrics: SpanMetricsConfig,
    /// What service graphs make.
    pub service_graphs: ServiceGraphsConfig,
    /// What host info makes.
    pub host_info: HostInfoConfig,
    /// Recent spans kept for queries. Without effect.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub local_blocks: Value,
}

/// A `registry` block, of the process or of overrides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "RegistryBlock")]
pub struct RegistryDocument {
    /// Time between two collections; at least 1s. Overrides have it beside the block
    /// as well. Default: 15s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub collection_interval: Duration,
    /// How long a series may go without a span before it ends. Default: 15m.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub stale_duration: Duration,
    /// Labels of every series; the series' own win. Default: none.
    pub external_labels: BTreeMap<String, String>,
    /// Name of a label with the tenant's id; empty for none. Default: empty.
    pub inject_tenant_id_as: String,
    /// Longest label name, in bytes. Default: 1024.
    pub max_label_name_length: usize,
    /// Longest label value, in bytes; longer ones are cut. Default: 2048.
    pub max_label_value_length: usize,
    /// Name of a label with the generator's instance id; empty for none.
    /// `__metrics_gen_instance` is Tempo's. Default: empty.
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
    /// The same with destinations that are the author's.
    pub(crate) fn written_by(mut self, author: &Author) -> Self {
        for endpoint in &mut self.metrics_generator.remote_write {
            endpoint.author = author.clone();
        }
        self
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
            cost_attribution: document.cost_attribution,
            forwarders: document.forwarders,
            ring_size: generator.ring_size,
        }
    }
}

/// What is in force, in overrides' layout and each value in one place, without
/// secrets and without what has no effect.
///
/// # Errors
///
/// Where something cannot be written.
pub(crate) fn shown(document: &Document) -> Result<Value, Problems> {
    let mut shown =
        serde_json::to_value(document).map_err(|error| Problem::new("", error.to_string()))?;
    without_effect::remove(&mut shown);
    let registry = shown.pointer_mut("/metrics_generator/registry");
    if let Some(registry) = registry.and_then(Value::as_object_mut) {
        registry.shift_remove("collection_interval");
    }
    Ok(shown)
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
