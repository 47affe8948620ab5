//! Settings of what is counted for whoever pays.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use settings::Problem;

/// The `usage` block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UsageConfig {
    /// Bytes and spans of each tenant by attributes of its choice.
    pub cost_attribution: CostAttributionConfig,
}

/// The `usage.cost_attribution` block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "CostAttribution")]
pub struct CostAttributionConfig {
    /// Whether received bytes and spans are attributed, and shown at `/usage_metrics`; by
    /// what is in overrides' `cost_attribution.dimensions`. Default: false.
    pub enabled: bool,
    /// Label sets of a tenant that there may be; further ones are counted as
    /// `__overflow__`. Overrides may have another number. Default: 10,000.
    pub max_cardinality: u64,
    /// How long after its last span a label set is forgotten; it begins at 0 if it comes
    /// again. Default: 15m.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub stale_duration: Duration,
}

impl Default for CostAttributionConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            max_cardinality: 10_000,
            stale_duration: Duration::from_secs(15 * 60),
        }
    }
}

impl UsageConfig {
    /// Checks what the types cannot; `path` is that of the block.
    pub(super) fn validate(&self, path: &str) -> Vec<Problem> {
        let config = &self.cost_attribution;
        let mut problems = Vec::new();
        if config.max_cardinality == 0 {
            let path = format!("{path}.cost_attribution.max_cardinality");
            problems.push(Problem::new(path, "must be above 0"));
        }
        if config.stale_duration.is_zero() {
            let path = format!("{path}.cost_attribution.stale_duration");
            problems.push(Problem::new(path, "must be longer than 0s"));
        }
        problems
    }
}
