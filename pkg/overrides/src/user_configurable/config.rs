//! The `overrides.user_configurable_overrides` block of the process.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use settings::{Problem, Secret};

/// Settings that tenants change themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UserConfigurableConfig {
    /// Whether tenants may; `/api/overrides` answers 404 otherwise. Whoever reaches the
    /// HTTP API may act as any tenant, so put something that authenticates in front.
    /// Default: false.
    pub enabled: bool,
    /// How often changes that other processes made are looked for; at least 1s. This
    /// process's own are in force at once. Default: 1m.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub poll_interval: Duration,
    /// Where they are stored.
    pub client: StoreConfig,
    /// What the API checks besides.
    pub api: ApiConfig,
}

/// Where settings of tenants are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "UserConfigurableStore")]
pub struct StoreConfig {
    /// Which store. Default: local.
    pub backend: Backend,
    /// Whether a start ends where the store writes against a condition, which would
    /// lose changes; one object is tried. Default: true.
    pub confirm_versioning: bool,
    /// A directory.
    pub local: LocalConfig,
    /// A bucket of Google Cloud Storage.
    pub gcs: GcsConfig,
    /// A bucket of S3, or of a store with its API and conditional writes.
    pub s3: S3Config,
    /// A container of Azure Blob Storage.
    pub azure: AzureConfig,
}

/// A kind of store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// A directory.
    #[default]
    #[serde(alias = "")]
    Local,
    /// Google Cloud Storage.
    Gcs,
    /// S3.
    S3,
    /// Azure Blob Storage.
    Azure,
}

/// A directory as a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "UserConfigurableLocal")]
pub struct LocalConfig {
    /// The directory. Several processes on one host may share it. Default:
    /// `overrides` in the data directory.
    pub path: PathBuf,
}

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "UserConfigurableGcs")]
pub struct GcsConfig {
    /// The bucket. Credentials are the application's default ones.
    pub bucket_name: String,
    /// What all names of objects begin with, before `overrides/`. Default: empty.
    pub prefix: String,
    /// Another address than Google's, such as `http://127.0.0.1:4443`. Default: empty.
    pub endpoint: String,
    /// Whether requests go without TLS and credentials, for an emulator. Default: false.
    pub insecure: bool,
}

/// A bucket of S3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "UserConfigurableS3")]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// What all names of objects begin with, before `overrides/`. Default: empty.
    pub prefix: String,
    /// `host` or `host:port` of the store. Default: AWS in the region.
    pub endpoint: String,
    /// The region. Default: that of the endpoint's name or of the environment, else
    /// `us-east-1`.
    pub region: String,
    /// The access key; without one, the environment, a web identity, the container or
    /// the instance gives credentials. Default: empty.
    pub access_key: String,
    /// Its secret. Default: empty.
    pub secret_key: Secret,
    /// The token of a session. Default: empty.
    pub session_token: Secret,
    /// Whether requests go without TLS. Default: false.
    pub insecure: bool,
}

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "UserConfigurableAzure")]
pub struct AzureConfig {
    /// The storage account.
    pub storage_account_name: String,
    /// Its key; without one, the environment, a federated token or the managed
    /// identity gives credentials. Default: empty.
    pub storage_account_key: Secret,
    /// The managed identity to use, by its client id. Default: the system's.
    pub user_assigned_id: String,
    /// The container.
    pub container_name: String,
    /// What all names of objects begin with, before `overrides/`. Default: empty.
    pub prefix: String,
    /// What follows the account in the host name. Default: `blob.core.windows.net`.
    pub endpoint_suffix: String,
}

/// What the API checks besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "UserConfigurableApi")]
pub struct ApiConfig {
    /// Whether a tenant may not set what its entry in the runtime file sets; a request
    /// with `skip-conflicting-overrides-check=true` may. Default: false.
    pub check_for_conflicting_runtime_overrides: bool,
    /// Tenants for whom something is stored at most, which is read at each start; further
    /// ones are answered 507. Those that have deleted their settings are among them. 0 is
    /// no limit. Default: 100000.
    pub max_tenants: usize,
}

impl Default for UserConfigurableConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            poll_interval: Duration::from_secs(60),
            client: StoreConfig::default(),
            api: ApiConfig::default(),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            confirm_versioning: true,
            local: LocalConfig::default(),
            gcs: GcsConfig::default(),
            s3: S3Config::default(),
            azure: AzureConfig::default(),
        }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            check_for_conflicting_runtime_overrides: false,
            max_tenants: 100_000,
        }
    }
}

impl Default for AzureConfig {
    fn default() -> Self {
        Self {
            storage_account_name: String::new(),
            storage_account_key: Secret::default(),
            user_assigned_id: String::new(),
            container_name: String::new(),
            prefix: String::new(),
            endpoint_suffix: "blob.core.windows.net".to_owned(),
        }
    }
}

impl UserConfigurableConfig {
    /// Checks what the types cannot, with paths from the top of the file.
    pub(crate) fn validate(&self) -> Vec<Problem> {
        let block = "overrides.user_configurable_overrides";
        let mut problems = Vec::new();
        if self.poll_interval < Duration::from_secs(1) {
            let path = format!("{block}.poll_interval");
            problems.push(Problem::new(path, "must be at least 1s"));
        }
        if !self.enabled {
            return problems;
        }
        let StoreConfig { gcs, s3, azure, .. } = &self.client;
        let needed: &[(&str, &str)] = match self.client.backend {
            Backend::Local => &[],
            Backend::Gcs => &[("gcs.bucket_name", &gcs.bucket_name)],
            Backend::S3 => &[("s3.bucket", &s3.bucket)],
            Backend::Azure => &[
                ("azure.storage_account_name", &azure.storage_account_name),
                ("azure.container_name", &azure.container_name),
            ],
        };
        for (key, value) in needed {
            if value.is_empty() {
                let path = format!("{block}.client.{key}");
                problems.push(Problem::new(path, "may not be empty with this backend"));
            }
        }
        if s3.access_key.is_empty() != s3.secret_key.is_empty() {
            let path = format!("{block}.client.s3.access_key");
            let message = "needs secret_key, and secret_key needs it";
            problems.push(Problem::new(path, message));
        }
        problems
    }
}
