//! How samples are batched and sent again.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Shards that a tenant may have at one endpoint: each has a connection and a
/// request in memory.
const MAX_SHARDS: usize = 1_000;

/// `queue_config` of Prometheus.
///
/// A tenant's series are divided among shards; each shard has one request under
/// way to the endpoint at a time, so that the samples of a series arrive in
/// order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QueueConfig {
    /// Samples of one request at most. Default: 2000.
    pub max_samples_per_send: u64,

    /// Shards of a tenant at most, while it is behind; at most 1000, of which 200
    /// are used. Default: 50.
    pub max_shards: usize,

    /// First delay before a request is sent again. Default: 30ms.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub min_backoff: Duration,

    /// Longest delay before a request is sent again, but for what the receiver
    /// asks for. Default: 5s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub max_backoff: Duration,

    /// Shards of a tenant at least, and what 0 means is 1. Default: 1.
    pub min_shards: usize,

    /// Accepted; has no effect: the spool is bounded in bytes. Default: 10000.
    pub capacity: usize,

    /// Accepted; has no effect: samples are sent at once after a collection.
    /// Default: 5s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub batch_send_deadline: Duration,

    /// Accepted; has no effect: 429 is always retried. Default: true.
    pub retry_on_http_429: bool,

    /// Samples that are older are not sent; 0s for any age. Default: 0s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub sample_age_limit: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_samples_per_send: 2000,
            max_shards: 50,
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            min_shards: 1,
            capacity: 10_000,
            batch_send_deadline: Duration::from_secs(5),
            retry_on_http_429: true,
            sample_age_limit: Duration::ZERO,
        }
    }
}

impl QueueConfig {
    /// Keys that ask for what is not done, and what is done instead.
    pub(super) fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        let default = Self::default();
        let mut found = Vec::new();
        if self.capacity != default.capacity {
            found.push(("queue_config.capacity", "the spool is bounded in bytes"));
        }
        if self.batch_send_deadline != default.batch_send_deadline {
            found.push((
                "queue_config.batch_send_deadline",
                "samples are sent at once after a collection",
            ));
        }
        if !self.retry_on_http_429 {
            found.push(("queue_config.retry_on_http_429", "429 is always retried"));
        }
        found
    }

    /// Keys whose value cannot be used, and why.
    pub(crate) fn validate(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.max_samples_per_send == 0 {
            problems.push(("max_samples_per_send", "must be at least 1".to_owned()));
        }
        if !(1..=MAX_SHARDS).contains(&self.max_shards) {
            let problem = format!("{} is not from 1 to {MAX_SHARDS}", self.max_shards);
            problems.push(("max_shards", problem));
        } else if self.min_shards > self.max_shards {
            let problem = format!(
                "{} is above max_shards ({})",
                self.min_shards, self.max_shards
            );
            problems.push(("min_shards", problem));
        }
        if self.min_backoff.is_zero() {
            problems.push(("min_backoff", "must be longer than 0s".to_owned()));
        }
        if self.max_backoff < self.min_backoff {
            problems.push((
                "max_backoff",
                format!(
                    "{:?} is shorter than min_backoff ({:?})",
                    self.max_backoff, self.min_backoff
                ),
            ));
        }
        problems
    }
}

/// `metadata_config` of Prometheus; accepted, without effect over protocol 1.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MetadataConfig {
    /// Whether to send metadata. Default: true.
    pub send: bool,
    /// How often. Default: 1m.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub send_interval: Duration,
    /// Entries of one request at most. Default: 2000.
    pub max_samples_per_send: u64,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self {
            send: true,
            send_interval: Duration::from_secs(60),
            max_samples_per_send: 2000,
        }
    }
}
