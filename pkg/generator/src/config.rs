//! Settings of the generator that are fixed for the life of the process.
//!
//! Names, layout and defaults are Tempo's. The blocks `processor` and `registry`,
//! and what stands beside them for all tenants, are the lowest layer of the tenants'
//! settings: what is in force comes from [`overrides::Overrides`], never from here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use overrides::{LimiterType, ProcessorDocument, RegistryDocument};
use remote_write::{EndpointConfig, Fsync, RemoteWriteConfig, SpoolConfig};
use ring::config::RingConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use settings::{ByteSize, Problem};

/// The `metrics_generator` block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GeneratorConfig {
    /// The name of this generator, of which the instance label is made where it
    /// is on. Default: empty, `ring.instance_id`; without that the host's name.
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
    #[schemars(with = "settings::duration::Text")]
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

    /// How long no span of a tenant has come when its instance gives its memory back.
    /// It does so only once every series has ended (`stale_duration`) and each end is
    /// delivered; the next span starts a new one. Default: 30m; with 0 tenants stay
    /// until the process ends.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub retire_idle_tenants_after: Duration,

    /// What this process is in the ring, where it is one of several.
    pub ring: RingConfig,

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StorageConfig {
    /// Directory of the spool, where samples are until they are delivered. Default:
    /// empty, `spool` below the `path` of the top-level `storage` block.
    pub path: PathBuf,

    /// How much the spool may hold, and how safely.
    pub spool: SpoolSettings,

    /// Receivers, by Prometheus' keys. Default: none; then series are only
    /// there to be scraped.
    pub remote_write: Vec<EndpointConfig>,

    /// How long a stop waits for samples to be sent, within `shutdown_deadline`.
    /// Default: 1m.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub remote_write_flush_deadline: Duration,

    /// Whether requests carry the tenant in `X-Scope-OrgID` with multi-tenancy
    /// on. Default: true.
    pub remote_write_add_org_id_header: bool,

    /// Without effect: there is no write-ahead log of Prometheus' kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal: Option<Value>,
}

/// The `spool` block: samples on disk from their collection until they are delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SpoolSettings {
    /// Bytes of one tenant; with more its oldest samples are dropped. A sample takes
    /// 2 to 10 bytes: 1 GiB is about ten hours of 100,000 series at 15 s. Default:
    /// 1GiB; at least 1MiB.
    pub max_size_per_tenant: ByteSize,

    /// Bytes of all tenants together; with more, whoever has most loses its oldest
    /// samples. Default: 10GiB; at least 1MiB.
    pub max_size: ByteSize,

    /// How old samples may become that cannot be delivered; 0s for any age. Default:
    /// 24h.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub max_age: Duration,

    /// What survives a loss of power. Whatever ends the process alone, nothing that was
    /// collected is lost. `append` forces every collection to the disk; `segment` every
    /// 8 MiB and what there is at a stop; `never` leaves it to the system. Default:
    /// segment.
    pub fsync: Fsync,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self {
            max_size_per_tenant: ByteSize::mib(1 << 10),
            max_size: ByteSize::mib(10 << 10),
            max_age: Duration::from_secs(24 * 60 * 60),
            fsync: Fsync::default(),
        }
    }
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
            retire_idle_tenants_after: Duration::from_secs(30 * 60),
            ring: RingConfig::default(),
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
            spool: SpoolSettings::default(),
            remote_write: Vec::new(),
            remote_write_flush_deadline: Duration::from_secs(60),
            remote_write_add_org_id_header: true,
            wal: None,
        }
    }
}

impl GeneratorConfig {
    /// What remote write is started with, in a process whose data are in `data_dir`.
    pub fn remote_write(&self, multitenancy_enabled: bool, data_dir: &Path) -> RemoteWriteConfig {
        let storage = &self.storage;
        let spool = &storage.spool;
        let directory = match storage.path.as_os_str().is_empty() {
            true => data_dir.join("spool"),
            false => storage.path.clone(),
        };
        RemoteWriteConfig {
            endpoints: storage.remote_write.clone(),
            add_org_id_header: multitenancy_enabled && storage.remote_write_add_org_id_header,
            spool: SpoolConfig {
                directory,
                max_bytes_per_tenant: spool.max_size_per_tenant.as_u64(),
                max_bytes: spool.max_size.as_u64(),
                max_age: spool.max_age,
                fsync: spool.fsync,
            },
        }
    }

    /// Checks what the types cannot, and reports every problem at once, with
    /// paths from the top of the file. The layers of tenants, `remote_write`
    /// among them, are checked where they are read.
    pub fn validate(&self) -> Vec<Problem> {
        let spool = &self.storage.spool;
        let mut problems = self.ring.validate();
        for (key, size) in [
            ("max_size_per_tenant", spool.max_size_per_tenant),
            ("max_size", spool.max_size),
        ] {
            if size < ByteSize::mib(1) {
                problems.push(Problem::new(
                    format!("metrics_generator.storage.spool.{key}"),
                    format!("{size} is below the minimum of 1MiB"),
                ));
            }
        }
        problems
    }

    /// The name that this process is given, if it is.
    pub fn named_instance(&self) -> Option<&str> {
        let names = [&self.instance_id, &self.ring.instance_id];
        names
            .into_iter()
            .map(String::as_str)
            .find(|name| !name.is_empty())
    }

    /// Paths of the settings that are given and have no effect, for a warning.
    pub fn without_effect(&self) -> Vec<String> {
        let given = [
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
            .filter_map(|(path, value)| value.is_some().then_some(path.to_owned()))
            .chain(self.ring.without_effect())
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
        assert!(on.remote_write(true, Path::new("d")).add_org_id_header);
        assert!(!on.remote_write(false, Path::new("d")).add_org_id_header);
        assert!(!off.remote_write(true, Path::new("d")).add_org_id_header);
    }

    #[test]
    fn every_problem_is_reported_with_its_path() {
        let config = read("storage: {spool: {max_size_per_tenant: 6, max_size: 5}}");
        let paths: Vec<_> = config
            .validate()
            .into_iter()
            .map(|problem| problem.path)
            .collect();
        assert_eq!(
            paths,
            [
                "metrics_generator.storage.spool.max_size_per_tenant",
                "metrics_generator.storage.spool.max_size"
            ]
        );
    }

    #[test]
    fn what_has_no_effect_is_named_if_it_is_given() {
        assert!(GeneratorConfig::default().without_effect().is_empty());
        assert_eq!(
            read("ring: {heartbeat_period: 5s}\ncodec: otlp\nquery_timeout:").without_effect(),
            [
                "metrics_generator.codec",
                "metrics_generator.ring.heartbeat_period"
            ]
        );
    }
}
