//! What host info makes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the host-info processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostInfoConfig {
    /// Resource attributes that name a host; the first that is there counts.
    /// Default: `k8s.node.name`, `host.id`.
    #[serde(alias = "host_identifies")]
    pub host_identifiers: Vec<String>,
    /// Name of the metric. Default: `traces_host_info`.
    pub metric_name: String,
}

impl Default for HostInfoConfig {
    fn default() -> Self {
        Self {
            host_identifiers: vec!["k8s.node.name".to_owned(), "host.id".to_owned()],
            metric_name: "traces_host_info".to_owned(),
        }
    }
}
