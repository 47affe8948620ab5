//! Settings of the distributor that are fixed for the life of the process.
//!
//! Names, units and defaults are Tempo's, which below `receivers` are those of
//! the OpenTelemetry Collector.

pub mod forwarders;
pub mod receivers;
pub mod usage;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use settings::Problem;

pub use self::forwarders::ForwarderConfig;
pub use self::receivers::{
    GrpcReceiverConfig, HttpReceiverConfig, JaegerConfig, JaegerGrpcConfig, JaegerProtocols,
    KeepaliveConfig, OtlpConfig, Protocols, ReceiversConfig, ThriftBinaryConfig,
    ThriftCompactConfig, ThriftHttpConfig, ZipkinConfig,
};
pub use self::usage::{CostAttributionConfig, UsageConfig};

/// As in Tempo.
const MAX_ATTRIBUTE_BYTES: u64 = 2_048;

/// The `distributor` block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DistributorConfig {
    /// What spans come in by. Default: OTLP over gRPC and HTTP on loopback.
    ///
    /// Once it names one, only what it names is listened on.
    pub receivers: ReceiversConfig,

    /// Where spans of tenants are sent besides; each tenant's overrides name those that get
    /// its spans. Default: none.
    pub forwarders: Vec<ForwarderConfig>,

    /// What is counted for whoever pays.
    pub usage: UsageConfig,

    /// When a client whose tenant is over its rate is told to try again; 0 means as soon
    /// as the push fits, after a minute at most. `ingestion.retry_info_enabled` of the
    /// tenant decides whether it is told at all. Default: 0s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub retry_after_on_resource_exhausted: Duration,

    /// The longest key and text value of an attribute, in bytes, for tenants whose
    /// `ingestion.max_attribute_bytes` is 0; 0 means the default. What is longer is cut,
    /// on resources, scopes, spans, events and links. Default: 2048.
    pub max_attribute_bytes: u64,

    /// Membership of distributors, for global rate limits. Without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring: Option<Value>,
    /// Without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_ring_key: Option<Value>,
    /// Without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_received_spans: Option<Value>,
    /// Without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_discarded_spans: Option<Value>,
    /// Without effect: received spans are always counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric_received_spans: Option<Value>,
    /// Without effect: there are no ingesters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend_writes: Option<Value>,
    /// Without effect: there are no ingesters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingester_write_path_enabled: Option<Value>,
    /// Without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artificial_delay: Option<Value>,
    /// Refused when true: there is no Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka_write_path_enabled: Option<bool>,
    /// Without effect: there is no Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kafka_config: Option<Value>,
}

impl Default for DistributorConfig {
    fn default() -> Self {
        Self {
            receivers: ReceiversConfig::default(),
            retry_after_on_resource_exhausted: Duration::ZERO,
            max_attribute_bytes: MAX_ATTRIBUTE_BYTES,
            ring: None,
            override_ring_key: None,
            forwarders: Vec::new(),
            usage: UsageConfig::default(),
            log_received_spans: None,
            log_discarded_spans: None,
            metric_received_spans: None,
            extend_writes: None,
            ingester_write_path_enabled: None,
            artificial_delay: None,
            kafka_write_path_enabled: None,
            kafka_config: None,
        }
    }
}

impl DistributorConfig {
    /// Checks what the types cannot, and reports every problem at once, with
    /// paths from the top of the file.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = self.receivers.validate("distributor.receivers");
        problems.extend(forwarders::validate(
            &self.forwarders,
            "distributor.forwarders",
        ));
        problems.extend(self.usage.validate("distributor.usage"));
        if self.kafka_write_path_enabled == Some(true) {
            problems.push(Problem::new(
                "distributor.kafka_write_path_enabled",
                "Kafka is not offered: spans go from distributors to generators directly; remove \
                 it or set it to false",
            ));
        }
        problems
    }

    /// [`DistributorConfig::max_attribute_bytes`], with the default for 0.
    pub fn max_attribute_bytes(&self) -> u64 {
        match self.max_attribute_bytes {
            0 => MAX_ATTRIBUTE_BYTES,
            set => set,
        }
    }

    /// Paths of the settings that are given and have no effect, for a warning.
    pub fn without_effect(&self) -> Vec<String> {
        let given = [
            ("distributor.ring", &self.ring),
            ("distributor.override_ring_key", &self.override_ring_key),
            ("distributor.log_received_spans", &self.log_received_spans),
            ("distributor.log_discarded_spans", &self.log_discarded_spans),
            (
                "distributor.metric_received_spans",
                &self.metric_received_spans,
            ),
            ("distributor.extend_writes", &self.extend_writes),
            (
                "distributor.ingester_write_path_enabled",
                &self.ingester_write_path_enabled,
            ),
            ("distributor.artificial_delay", &self.artificial_delay),
            ("distributor.kafka_config", &self.kafka_config),
        ];
        let mut found = self.receivers.without_effect();
        found.extend(
            given
                .into_iter()
                .filter(|(_, value)| value.is_some())
                .map(|(path, _)| path.to_owned()),
        );
        found
    }
}

#[cfg(test)]
mod tests;
