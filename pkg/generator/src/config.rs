//! Settings of the generator that are fixed for the life of the process.
//!
//! Names, layout and defaults are Tempo's. The blocks `processor` and `registry`,
//! and what stands beside them for all tenants, are the lowest layer of the tenants'
//! settings: what is in force comes from [`overrides::Overrides`], never from here.

use std::path::PathBuf;
use std::time::Duration;

use overrides::{LimiterType, ProcessorDocument, RegistryDocument};
use remote_write::{EndpointConfig, RemoteWriteConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use settings::{ByteSize, Problem};

/// The `metrics_generator` block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GeneratorConfig {
    /// The name of this generator, of which the instance label is made where it
    /// is on. Default: empty, the host's name.
    pub instance_id: String,

    /// Where samples go.
    pub storage: StorageConfig,

    /// The lowest layer of what processors make.
    pub processor: ProcessorDocument,

    /// The lowest layer of what registries hold.
    pub registry: RegistryDocument,

    /// The lowest layer of how far the end of a span may be from now.
    /// Default: 30s.
    #[serde(with = "settings::duration")]
    pub metrics_ingestion_time_range_slack: Duration,

    /// The lowest layer of what limits count. Default: series.
    pub limiter_type: LimiterType,

    /// How many pushes of one tenant are applied at the same time, each to a lane
    /// of its own. Default: 0, as many as there are processors.
    pub max_lanes: usize,

    /// Whether a push whose bytes were applied for the same tenant within the last
    /// two minutes is recognised: answered as before, and not applied again, so
    /// that a client's retry counts once. Switch it off only for clients that send
    /// the same spans with the same ids and mean it. Default: true.
    pub deduplicate_pushes: bool,

    /// Membership of generators. Without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring: Option<Value>,
    /// Without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_ring_key: Option<Value>,
    /// Where local blocks are written. Without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_storage: Option<Value>,
    /// Without effect: there is no Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_query_storage: Option<Value>,
    /// Without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_timeout: Option<Value>,
    /// Without effect: there is no Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<Value>,
    /// Without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_local_blocks: Option<Value>,
    /// Without effect: the internal gRPC port is always served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_grpc: Option<Value>,
    /// Without effect: there is no Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingest_concurrency: Option<Value>,
    /// Without effect: there is no Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_mode: Option<Value>,
    /// Without effect: there is no Kafka.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leave_consumer_group_on_shutdown: Option<Value>,
}

/// The `storage` block: where samples go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageConfig {
    /// Directory for samples on their way. Default: empty, within `storage.path`.
    pub path: PathBuf,

    /// Receivers, by Prometheus' keys. Default: none; then series are only
    /// there to be scraped.
    pub remote_write: Vec<EndpointConfig>,

    /// How long a stop waits for samples to be sent, within `shutdown_deadline`.
    /// Default: 1m.
    #[serde(with = "settings::duration")]
    pub remote_write_flush_deadline: Duration,

    /// Whether requests carry the tenant in `X-Scope-OrgID` with multi-tenancy
    /// on. Default: true.
    pub remote_write_add_org_id_header: bool,

    /// Samples of one tenant that may wait for a receiver, as compressed
    /// requests; the oldest are dropped when there are more. Default: 64MiB.
    pub remote_write_max_buffer_size_per_tenant: ByteSize,

    /// The same of all tenants together. Default: 512MiB.
    pub remote_write_max_buffer_size: ByteSize,

    /// Without effect: there is no write-ahead log of Prometheus' kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal: Option<Value>,
}

impl Default for GeneratorConfig {
    fn default() -> Self {
        Self {
            instance_id: String::new(),
            storage: StorageConfig::default(),
            processor: ProcessorDocument::default(),
            registry: RegistryDocument::default(),
            metrics_ingestion_time_range_slack: Duration::from_secs(30),
            limiter_type: LimiterType::default(),
            max_lanes: 0,
            deduplicate_pushes: true,
            ring: None,
            override_ring_key: None,
            traces_storage: None,
            traces_query_storage: None,
            query_timeout: None,
            codec: None,
            disable_local_blocks: None,
            disable_grpc: None,
            ingest_concurrency: None,
            ring_mode: None,
            leave_consumer_group_on_shutdown: None,
        }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            remote_write: Vec::new(),
            remote_write_flush_deadline: Duration::from_secs(60),
            remote_write_add_org_id_header: true,
            remote_write_max_buffer_size_per_tenant: ByteSize::mib(64),
            remote_write_max_buffer_size: ByteSize::mib(512),
            wal: None,
        }
    }
}

impl GeneratorConfig {
    /// What remote write is started with.
    pub fn remote_write(&self, multitenancy_enabled: bool) -> RemoteWriteConfig {
        let storage = &self.storage;
        RemoteWriteConfig {
            endpoints: storage.remote_write.clone(),
            add_org_id_header: multitenancy_enabled && storage.remote_write_add_org_id_header,
            max_buffer_bytes_per_tenant: storage.remote_write_max_buffer_size_per_tenant.as_usize(),
            max_buffer_bytes: storage.remote_write_max_buffer_size.as_usize(),
        }
    }

    /// Checks what the types cannot, and reports every problem at once, with
    /// paths from the top of the file. The layers of tenants, `remote_write`
    /// among them, are checked where they are read.
    pub fn validate(&self) -> Vec<Problem> {
        let path = "metrics_generator.storage";
        let storage = &self.storage;
        let mut problems = Vec::new();
        for (key, size) in [
            (
                "remote_write_max_buffer_size_per_tenant",
                storage.remote_write_max_buffer_size_per_tenant,
            ),
            (
                "remote_write_max_buffer_size",
                storage.remote_write_max_buffer_size,
            ),
        ] {
            if size < ByteSize::mib(1) {
                problems.push(Problem::new(
                    format!("{path}.{key}"),
                    format!("{size} is below the minimum of 1MiB"),
                ));
            }
        }
        problems
    }

    /// Paths of the settings that are given and have no effect, for a warning.
    pub fn without_effect(&self) -> Vec<&'static str> {
        let given = [
            ("metrics_generator.ring", &self.ring),
            (
                "metrics_generator.override_ring_key",
                &self.override_ring_key,
            ),
            ("metrics_generator.traces_storage", &self.traces_storage),
            (
                "metrics_generator.traces_query_storage",
                &self.traces_query_storage,
            ),
            ("metrics_generator.query_timeout", &self.query_timeout),
            ("metrics_generator.codec", &self.codec),
            (
                "metrics_generator.disable_local_blocks",
                &self.disable_local_blocks,
            ),
            ("metrics_generator.disable_grpc", &self.disable_grpc),
            (
                "metrics_generator.ingest_concurrency",
                &self.ingest_concurrency,
            ),
            ("metrics_generator.ring_mode", &self.ring_mode),
            (
                "metrics_generator.leave_consumer_group_on_shutdown",
                &self.leave_consumer_group_on_shutdown,
            ),
            ("metrics_generator.storage.wal", &self.storage.wal),
        ];
        given
            .into_iter()
            .filter_map(|(path, value)| value.is_some().then_some(path))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> GeneratorConfig {
        settings::decode(&settings::read_str("c.yaml", text).unwrap()).unwrap()
    }

    #[test]
    fn the_tenant_is_sent_with_multi_tenancy_on_unless_it_is_switched_off() {
        let on = GeneratorConfig::default();
        let off = read("storage: {remote_write_add_org_id_header: false}");
        assert!(on.remote_write(true).add_org_id_header);
        assert!(!on.remote_write(false).add_org_id_header);
        assert!(!off.remote_write(true).add_org_id_header);
    }

    #[test]
    fn every_problem_is_reported_with_its_path() {
        let config = read(
            "storage: {remote_write_max_buffer_size_per_tenant: 6, remote_write_max_buffer_size: 5}",
        );
        let paths: Vec<_> = config
            .validate()
            .into_iter()
            .map(|problem| problem.path)
            .collect();
        assert_eq!(
            paths,
            [
                "metrics_generator.storage.remote_write_max_buffer_size_per_tenant",
                "metrics_generator.storage.remote_write_max_buffer_size"
            ]
        );
    }

    #[test]
    fn what_has_no_effect_is_named_if_it_is_given() {
        assert!(GeneratorConfig::default().without_effect().is_empty());
        assert_eq!(
            read("ring: {kvstore: {store: memberlist}}\ncodec: otlp\nquery_timeout:")
                .without_effect(),
            ["metrics_generator.ring", "metrics_generator.codec"]
        );
    }
}
