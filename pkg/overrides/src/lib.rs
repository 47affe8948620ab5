//! All that may differ between tenants, resolved from layers.
//!
//! Layers are documents, merged key by key (weakest first: built-in, the
//! `metrics_generator` block of the process, `overrides.defaults`, the runtime
//! file's `"*"`, the tenant's own entry, what the tenant set itself through the API)
//! and read once into a [`TenantConfig`].
//! [`Overrides::for_tenant`] hands out what is in force.

mod document;
mod layers;
mod legacy;
mod metrics;
mod provenance;
mod runtime_file;
mod snapshot;
mod sources;
mod validate;
mod without_effect;

pub mod config;
pub mod overrides;
pub mod tenant_config;
pub mod user_configurable;

pub use config::OverridesConfig;
pub use document::{ProcessorDocument, RegistryDocument};
pub use metrics::OverridesMetrics;
pub use overrides::Overrides;
pub use provenance::{Explained, LayerName};
pub use runtime_file::RuntimeFileDocument;
pub use sources::OverridesSources;
pub use tenant_config::TenantConfig;
pub use tenant_config::cost_attribution::CostAttributionConfig;
pub use tenant_config::host_info::HostInfoConfig;
pub use tenant_config::ingestion::{IngestionConfig, RateStrategy};
pub use tenant_config::processors::{Processor, Processors};
pub use tenant_config::registry::{
    HistogramMode, LimiterType, RegistryConfig, SpanNameSanitization,
};
pub use tenant_config::remote_write::{
    Author, EndpointConfig, RemoteWriteHeaders, addresses::AllowedAddresses,
};
pub use tenant_config::service_graphs::ServiceGraphsConfig;
pub use tenant_config::span_metrics::{
    DimensionMapping, FilterPolicy, IntrinsicDimensions, MatchType, PolicyAttribute, PolicyMatch,
    PolicyValue, SpanMetricsConfig,
};
pub use user_configurable::config::UserConfigurableConfig;
pub use user_configurable::document::{ChangedSetting, MAX_DOCUMENT_BYTES, UserDocument};
pub use user_configurable::error::{StoreError, UserOverridesError};
pub use user_configurable::version::{IfMatch, Version};
pub use user_configurable::{Change, Changed, StoredOverrides, UserOverrides};
