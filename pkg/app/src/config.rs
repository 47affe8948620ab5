//! The configuration of the process: one YAML file by Tempo's names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::server::{AuthenticationConfig, NodeAuthentication, NodeAuthenticationConfig};
use distributor::{DistributorConfig, MetricsGeneratorClientConfig};
use generator::GeneratorConfig;
use overrides::{OverridesConfig, OverridesSources};
use ring::config::MemberlistConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use settings::{ByteSize, Node, Problem, Problems};

use crate::cluster;

pub(crate) mod ignored;
mod server;
mod target;

pub use self::server::{ServerConfig, ServerTlsConfig};
pub use self::target::{Target, UnknownTarget};

/// What runs without a file: everything in one process, for everyone.
const BUILT_IN: &str = include_str!("../../../config/single-process.yaml");

/// The shortest [`AppConfig::shutdown_deadline`]: closing alone may take it.
const MIN_SHUTDOWN_DEADLINE: Duration = Duration::from_secs(1);

/// The lowest [`AppConfig::memory_limit`]: less is hardly more than a start takes.
const MIN_MEMORY_LIMIT: ByteSize = ByteSize::mib(64);

/// Everything that is fixed for the life of the process.
///
/// Blocks of Tempo that do not concern us are taken out of the file before, with a
/// warning each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AppConfig {
    /// Which parts run. Default: all.
    #[schemars(with = "String")]
    pub target: Target,

    /// Whether `X-Scope-OrgID` says whose spans come in; it is required then.
    /// Default: false, and all spans are `single-tenant`'s.
    #[serde(alias = "auth_enabled")]
    pub multitenancy_enabled: bool,

    /// Path in front of `/metrics/generated` and what is below it, such as `/tempo`.
    /// As in Tempo, what operators ask for stays: `/ready`, `/metrics`, `/status`.
    /// Default: empty.
    pub http_api_prefix: String,

    /// Whether `/metrics` has spanmill's own metrics under Tempo's names as well, for
    /// dashboards and alerts that are made for Tempo. They are the same values; off,
    /// an answer is half as long. Default: true.
    pub tempo_metric_names: bool,

    /// How long a stop waits before it begins: readiness and gRPC's health deny
    /// already, and spans are still taken, so that whoever balances load has time
    /// to turn away. Default: 0s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub shutdown_delay: Duration,

    /// How long a stop may take after that, whatever its parts would like; at least
    /// 1s. Pushes in flight have half of it at most. Keep the sum of both below what
    /// an orchestrator gives before it kills. Default: 30s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub shutdown_deadline: Duration,

    /// What the process may take of memory; 0 is nine tenths of what its cgroup, or else
    /// the machine, gives. Requests in flight may have an eighth of it. When resident
    /// memory comes near, requests of the tenants that hold most series and waiting spans
    /// are refused, first in part, and may be sent again. At least 64MiB. Default: 0.
    pub memory_limit: ByteSize,

    /// Listeners and logs.
    pub server: ServerConfig,

    /// Who may use this process. Default: everyone who reaches a listener.
    pub authentication: AuthenticationConfig,

    /// Where data is kept.
    pub storage: StorageConfig,

    /// How spans come in.
    pub distributor: DistributorConfig,

    /// How spans become series, and where these go.
    pub metrics_generator: GeneratorConfig,

    /// How distributors of a cluster reach its generators.
    pub metrics_generator_client: MetricsGeneratorClientConfig,

    /// How the nodes of a cluster find each other.
    pub memberlist: MemberlistConfig,

    /// What the nodes of a cluster show each other.
    pub node_authentication: NodeAuthenticationConfig,

    /// Where the settings of tenants come from.
    pub overrides: OverridesConfig,
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            target: Target::default(),
            multitenancy_enabled: false,
            http_api_prefix: String::new(),
            tempo_metric_names: true,
            shutdown_delay: Duration::ZERO,
            shutdown_deadline: Duration::from_secs(30),
            memory_limit: ByteSize::default(),
            server: ServerConfig::default(),
            authentication: AuthenticationConfig::default(),
            storage: StorageConfig::default(),
            distributor: DistributorConfig::default(),
            metrics_generator: GeneratorConfig::default(),
            metrics_generator_client: MetricsGeneratorClientConfig::default(),
            memberlist: MemberlistConfig::default(),
            node_authentication: NodeAuthenticationConfig::default(),
            overrides: OverridesConfig::default(),
        }
    }
}

/// Where data is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "Storage")]
pub struct StorageConfig {
    /// The data directory, for one process at a time. Default: `./data`.
    pub path: PathBuf,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("./data"),
        }
    }
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings of the process.
    pub config: AppConfig,
    /// The layers of the tenants' settings.
    pub overrides: OverridesSources,
    /// What is in the file without effect, in words for a log.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Reads a file, or what is built in where there is none.
    ///
    /// With `expand_env`, `${NAME}` and `${NAME:default}` in it, and in the runtime
    /// file that it names, stand for environment variables.
    ///
    /// # Errors
    ///
    /// Every problem of the file.
    pub fn load(file: Option<&Path>, expand_env: bool) -> Result<Self, Problems> {
        let Some(file) = file else {
            return Self::from_text("built-in configuration", BUILT_IN);
        };
        let mut text = settings::read_text(file)?;
        if expand_env {
            text = settings::expand_env::expand(&text, |name| std::env::var(name).ok());
        }
        let mut loaded = Self::from_text(file.display().to_string(), text)?;
        loaded.overrides.expand_env(expand_env);
        Ok(loaded)
    }

    /// Reads a text, which messages call `name`.
    ///
    /// # Errors
    ///
    /// Every problem of the text.
    pub fn from_text(name: impl Into<String>, text: impl Into<String>) -> Result<Self, Problems> {
        let mut root = settings::read_str(name, text)?;
        let mut problems = OverridesSources::nest_flat_keys(&mut root);
        let mut warnings = ignored::take(&mut root);
        // Goes on behind a problem, so that all of them are told at once.
        let (config, found) = settings::decode_partly::<AppConfig>(&root, "");
        problems.extend(found);
        let config = config.unwrap_or_default();
        problems.add_further(located(&root, config.validate()));
        let overrides = match OverridesSources::from_config(&root, &config.overrides) {
            Ok(mut overrides) => {
                let forwarders = config.distributor.forwarders.iter();
                overrides.set_forwarders(forwarders.map(|forwarder| forwarder.name.clone()));
                overrides
            }
            Err(found) => {
                problems.extend(found);
                return problems.or(()).and(Err(Problems::new()));
            }
        };
        warnings.extend(config.without_effect().map(|path| {
            let place = root.locate(&path);
            format!("{place}: {path} has no effect here and is ignored")
        }));
        warnings.extend(overrides.warnings());
        problems.or(Self {
            config,
            overrides,
            warnings,
        })
    }
}

impl AppConfig {
    /// The settings in force as YAML, without secrets.
    ///
    /// # Errors
    ///
    /// Where something cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String, Problems> {
        settings::to_yaml(self)
    }

    /// The settings that differ from their defaults as YAML, without secrets.
    ///
    /// # Errors
    ///
    /// Where something cannot be written as YAML.
    pub fn difference_to_yaml(&self) -> Result<String, Problems> {
        settings::difference(self, &Self::default())
    }

    /// Checks what the types cannot, with paths from the top of the file.
    fn validate(&self) -> Vec<Problem> {
        let mut problems = self.server.validate();
        problems.extend(self.authentication.validate("authentication"));
        problems.extend(self.distributor.validate());
        problems.extend(self.metrics_generator.validate());
        problems.extend(self.metrics_generator_client.validate());
        problems.extend(self.memberlist.validate());
        problems.extend(self.node_authentication.validate("node_authentication"));
        problems.extend(self.overrides.validate());
        problems.extend(self.datagrams_with_authentication());
        problems.extend(self.nodes_with_authentication());
        let prefix = &self.http_api_prefix;
        if !prefix.is_empty() && !is_prefix(prefix) {
            problems.push(Problem::new(
                "http_api_prefix",
                format!("{prefix:?} is not accepted; expected a path such as /tempo"),
            ));
        }
        if self.shutdown_deadline < MIN_SHUTDOWN_DEADLINE {
            problems.push(Problem::new(
                "shutdown_deadline",
                "is below the minimum of 1s: nothing could be collected or sent",
            ));
        }
        if self.memory_limit != ByteSize::default() && self.memory_limit < MIN_MEMORY_LIMIT {
            problems.push(Problem::new(
                "memory_limit",
                format!(
                    "{} is below the minimum of {MIN_MEMORY_LIMIT}",
                    self.memory_limit
                ),
            ));
        }
        if self.storage.path.as_os_str().is_empty() {
            problems.push(Problem::new("storage.path", "may not be empty"));
        }
        problems
    }

    /// Receivers of datagrams, which carry no credential, where one is asked for.
    fn datagrams_with_authentication(&self) -> impl Iterator<Item = Problem> {
        let jaeger = self.distributor.receivers.jaeger.as_ref();
        let protocols = jaeger.map(|jaeger| &jaeger.protocols);
        let over_udp = protocols.map(|named| {
            [
                ("thrift_compact", named.thrift_compact.is_some()),
                ("thrift_binary", named.thrift_binary.is_some()),
            ]
        });
        let is_on = self.authentication.is_on();
        let refused = over_udp.into_iter().flatten();
        refused
            .filter(move |(_, is_set)| is_on && *is_set)
            .map(|(name, _)| {
                Problem::new(
                    format!("distributor.receivers.jaeger.protocols.{name}"),
                    "datagrams carry no credential, and authentication asks for one; remove \
                     either, or let agents send by grpc or thrift_http",
                )
            })
    }

    /// Nodes that anyone could pass for, where clients have to show who they are.
    fn nodes_with_authentication(&self) -> Option<Problem> {
        let is_open = self.authentication.is_on()
            && cluster::is_wanted(self)
            && !NodeAuthentication::new(&self.node_authentication).is_on();
        is_open.then(|| {
            Problem::new(
                "node_authentication",
                "is empty, and clients have to authenticate: whoever reaches the internal gRPC \
                 port could push as any tenant; set the same token on all nodes, or \
                 certificate_names",
            )
        })
    }

    fn without_effect(&self) -> impl Iterator<Item = String> {
        let of_generator = self.metrics_generator.without_effect();
        self.distributor
            .without_effect()
            .into_iter()
            .chain(of_generator)
    }
}

/// Whether it is a path for the router: no pattern, no query, no empty part.
fn is_prefix(path: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        !part.is_empty() && part.bytes().all(is_plain)
    };
    path.strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(is_part))
}

fn located(root: &Node, problems: Vec<Problem>) -> impl Iterator<Item = Problem> {
    problems.into_iter().map(|problem| {
        let place = root.locate(&problem.path).clone();
        problem.at(place)
    })
}

#[cfg(test)]
mod tests;
