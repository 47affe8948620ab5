//! What the distributor takes in from a tenant.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of a tenant's ingestion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IngestionConfig {
    /// Whether the rate limit holds for each distributor or for all together.
    /// The same for all tenants. Default: local.
    pub rate_strategy: RateStrategy,
    /// Bytes of requests a second, decompressed; 0 takes a burst and then nothing. Beyond
    /// it requests are refused until they fit, and clients told when. Default: 15,000,000.
    pub rate_limit_bytes: u64,
    /// Bytes of requests at once; a longer request is refused for good. Default:
    /// 20,000,000.
    pub burst_size_bytes: u64,
    /// Accepted for compatibility: live traces of an ingester.
    pub max_traces_per_user: u64,
    /// Accepted for compatibility: live traces of all ingesters.
    pub max_global_traces_per_user: u64,
    /// Accepted for compatibility: ingesters that the tenant is spread over.
    pub tenant_shard_size: u64,
    /// The longest key and text value of an attribute, in bytes; what is longer is cut. 0
    /// leaves it to `distributor.max_attribute_bytes`. Default: 0.
    pub max_attribute_bytes: u64,
    /// How long an answer is held back, to slow a client down. Default: none.
    #[serde(with = "settings::duration::option")]
    #[schemars(with = "Option<settings::duration::Text>")]
    pub artificial_delay: Option<Duration>,
    /// Whether a client over its rate is told when to try again; without it, gRPC clients
    /// give the request up. Default: true.
    pub retry_info_enabled: bool,
}

impl Default for IngestionConfig {
    fn default() -> Self {
        Self {
            rate_strategy: RateStrategy::Local,
            rate_limit_bytes: 15_000_000,
            burst_size_bytes: 20_000_000,
            max_traces_per_user: 10_000,
            max_global_traces_per_user: 0,
            tenant_shard_size: 0,
            max_attribute_bytes: 0,
            artificial_delay: None,
            retry_info_enabled: true,
        }
    }
}

/// What a rate limit holds for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateStrategy {
    /// Each distributor.
    #[default]
    Local,
    /// All distributors together.
    Global,
}
