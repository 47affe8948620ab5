//! What the bytes and spans of a tenant are counted by.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of a tenant's cost attribution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "CostAttributionOverrides")]
pub struct CostAttributionConfig {
    /// Label sets that there may be; further ones are counted as `__overflow__`. 0 means
    /// `distributor.usage.cost_attribution.max_cardinality`. Default: 0.
    pub max_cardinality: u64,
    /// Attributes, each with the label that it becomes; empty text means its own name.
    /// With `resource.` or `span.` before it an attribute is looked for there alone, else
    /// in the resource first. Attributes with one label fill in for each other. Default:
    /// none.
    pub dimensions: BTreeMap<String, String>,
}
