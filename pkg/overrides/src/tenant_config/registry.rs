//! What a tenant's registry holds, and how it is collected.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of a tenant's registry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RegistryConfig {
    /// Time between two collections; at least 1s. Each active series yields one
    /// sample an interval. Default: 15s.
    #[serde(with = "settings::duration")]
    pub collection_interval: Duration,
    /// How long a series may go without a span before it ends. Default: 15m.
    #[serde(with = "settings::duration")]
    pub stale_duration: Duration,
    /// Labels of every series; the series' own win. Default: none.
    pub external_labels: BTreeMap<String, String>,
    /// Name of a label with the tenant's id; empty for none. Default: none.
    pub inject_tenant_id_as: String,
    /// Longest label name, in bytes. Default: 1024.
    pub max_label_name_length: usize,
    /// Longest label value, in bytes; longer ones are cut. Default: 2048.
    pub max_label_value_length: usize,
    /// Name of a label with the generator's instance id; empty for none.
    /// `__metrics_gen_instance` is Tempo's. Default: none (D24).
    pub instance_label_name: String,
    /// Series that may be active at once; 0 means no limit. Default: 0.
    pub max_active_series: u64,
    /// Label sets that may be active at once, where `limiter_type` is `entity`;
    /// 0 means no limit. Default: 0.
    pub max_active_entities: u64,
    /// What the limit counts. Default: series.
    pub limiter_type: LimiterType,
    /// Whether samples are withheld, so that only the number of series is seen.
    /// Default: false.
    pub disable_collection: bool,
    /// Whether a planned stop ends all series with staleness markers, and the next
    /// start begins at 0; otherwise they go on after it. Default: false.
    pub stale_on_shutdown: bool,
    /// Which histograms durations become. Default: classic.
    pub generate_native_histograms: HistogramMode,
    /// Growth from one native bucket to the next at most, above 1. There are
    /// the growths 65536, 256, 16, 4, 2, and each time its root, down to
    /// 1.0027. Default: 1.1, which gives 1.0905.
    pub native_histogram_bucket_factor: f64,
    /// Native buckets at most; 0 means no limit. A histogram that needs more
    /// begins anew, or, if it did so within the minimum below, makes its buckets
    /// wider until then. Default: 100.
    pub native_histogram_max_bucket_number: u32,
    /// Least time between two resets of a native histogram. Default: 15m.
    #[serde(with = "settings::duration")]
    pub native_histogram_min_reset_duration: Duration,
    /// Name of the exemplar label with the trace id. Default: `traceID`.
    pub trace_id_label_name: String,
    /// Values that one label may have before further ones are replaced; 0 means
    /// no limit. Default: 0.
    pub max_cardinality_per_label: u64,
    /// Whether varying parts of span names are replaced by `<_>`: numbers,
    /// UUIDs, hashes, tokens, addresses, literals. Try `dry_run` first if names
    /// carry identifiers: metrics of our own show what it would save. Default:
    /// off.
    pub span_name_sanitization: SpanNameSanitization,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            collection_interval: Duration::from_secs(15),
            stale_duration: Duration::from_secs(15 * 60),
            external_labels: BTreeMap::new(),
            inject_tenant_id_as: String::new(),
            max_label_name_length: 1024,
            max_label_value_length: 2048,
            instance_label_name: String::new(),
            max_active_series: 0,
            max_active_entities: 0,
            limiter_type: LimiterType::Series,
            disable_collection: false,
            stale_on_shutdown: false,
            generate_native_histograms: HistogramMode::Classic,
            native_histogram_bucket_factor: 1.1,
            native_histogram_max_bucket_number: 100,
            native_histogram_min_reset_duration: Duration::from_secs(15 * 60),
            trace_id_label_name: "traceID".to_owned(),
            max_cardinality_per_label: 0,
            span_name_sanitization: SpanNameSanitization::Off,
        }
    }
}

/// What a tenant's limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimiterType {
    /// Series, a classic histogram counting as buckets and three.
    #[default]
    Series,
    /// Label sets, over all metrics.
    Entity,
}

/// Which histograms are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistogramMode {
    /// With fixed buckets, a series each.
    #[default]
    Classic,
    /// With exponential buckets in one series.
    Native,
    /// Both.
    Both,
}

/// Whether varying parts of span names are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpanNameSanitization {
    /// Names stay as they are. `""`, as in Tempo, means this as well.
    #[default]
    #[serde(alias = "")]
    Off,
    /// Names stay as they are; what replacing would save is counted.
    DryRun,
    /// They are replaced in the label `span_name`.
    Enabled,
}
