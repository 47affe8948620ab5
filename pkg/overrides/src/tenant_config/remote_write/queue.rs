//! How samples are batched and sent again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `queue_config` of Prometheus.
///
/// One request of a tenant is under way to an endpoint at a time, so that its
/// samples arrive in order; keys that tune Prometheus' own queue are accepted
/// and have no effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueConfig {
    /// Samples of one request at most. Default: 2000.
    pub max_samples_per_send: u64,

    /// Requests that may be under way to the endpoint at once, over all
    /// tenants. Default: 50.
    pub max_shards: usize,

    /// First delay before a request is sent again. Default: 30ms.
    #[serde(with = "settings::duration")]
    pub min_backoff: Duration,

    /// Longest delay before a request is sent again, but for what the receiver
    /// asks for. Default: 5s.
    #[serde(with = "settings::duration")]
    pub max_backoff: Duration,

    /// Accepted; has no effect. Default: 1.
    pub min_shards: usize,

    /// Accepted; has no effect: the buffer is bounded in bytes. Default: 10000.
    pub capacity: usize,

    /// Accepted; has no effect: samples are sent at once after a collection.
    /// Default: 5s.
    #[serde(with = "settings::duration")]
    pub batch_send_deadline: Duration,

    /// Accepted; has no effect: 429 is always retried. Default: true.
    pub retry_on_http_429: bool,

    /// Accepted; has no effect: only the buffer's size bounds how old a sample
    /// may get. Default: 0s.
    #[serde(with = "settings::duration")]
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
    /// Keys whose value cannot be used, and why.
    pub(crate) fn validate(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.max_samples_per_send == 0 {
            problems.push(("max_samples_per_send", "must be at least 1".to_owned()));
        }
        if self.max_shards == 0 {
            problems.push(("max_shards", "must be at least 1".to_owned()));
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetadataConfig {
    /// Whether to send metadata. Default: true.
    pub send: bool,
    /// How often. Default: 1m.
    #[serde(with = "settings::duration")]
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
