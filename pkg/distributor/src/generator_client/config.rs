//! Settings of how generators are reached.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use settings::{ByteSize, Problem};

/// The block `metrics_generator_client`: how a distributor reaches the generators of its
/// cluster. Keys as in Tempo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "MetricsGeneratorClient")]
pub struct MetricsGeneratorClientConfig {
    /// How connections are watched.
    pub pool_config: PoolConfig,
    /// How long a generator may take for a push, until it is sent to it again. What is
    /// received has ten seconds for all attempts together. Default: 5s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub remote_timeout: Duration,
    /// How they are connected to.
    pub grpc_client_config: GrpcClientConfig,
    /// Bytes of pushes that may be under way to one generator; spans of further ones are
    /// refused, and the client told to come again. So a generator that is slow takes no more
    /// memory than this, and nothing from the others. Default: 64 MiB.
    pub max_in_flight_bytes: ByteSize,
}

/// How connections to generators are watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "MetricsGeneratorPool")]
pub struct PoolConfig {
    /// How often a generator is asked whether it is there, by HTTP/2 pings. Default: 15s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub checkinterval: Duration,
    /// Whether it is asked. Default: true.
    pub healthcheckenabled: bool,
    /// How long it may take to answer, until its connection is given up. Default: 1s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub healthchecktimeout: Duration,
}

/// How generators are connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "MetricsGeneratorGrpcClient")]
pub struct GrpcClientConfig {
    /// The longest answer that is read. Default: 100 MiB.
    pub max_recv_msg_size: ByteSize,
    /// The longest push that is sent to one generator; what is longer is refused for good.
    /// Default: 100 MiB.
    pub max_send_msg_size: ByteSize,
    /// How long it may take to connect. Default: 5s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub connect_timeout: Duration,
    /// Whether connections are encrypted. Default: false.
    pub tls_enabled: bool,
    /// File with the certificate that this node shows to generators, and those that lead to
    /// its root, in PEM. Default: empty, it shows none.
    pub tls_cert_path: PathBuf,
    /// File with its private key, in PEM.
    pub tls_key_path: PathBuf,
    /// File with the roots of the generators' certificates, in PEM. Default: empty, those of
    /// the system.
    pub tls_ca_path: PathBuf,
    /// The name that a generator's certificate has to have. Default: empty, its address.
    pub tls_server_name: String,
    /// Only `false` is accepted: who does not check the certificate of a generator gives
    /// spans to whoever answers.
    pub tls_insecure_skip_verify: bool,
}

impl Default for MetricsGeneratorClientConfig {
    fn default() -> Self {
        Self {
            pool_config: PoolConfig::default(),
            remote_timeout: Duration::from_secs(5),
            grpc_client_config: GrpcClientConfig::default(),
            max_in_flight_bytes: ByteSize::mib(64),
        }
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            checkinterval: Duration::from_secs(15),
            healthcheckenabled: true,
            healthchecktimeout: Duration::from_secs(1),
        }
    }
}

impl Default for GrpcClientConfig {
    fn default() -> Self {
        Self {
            max_recv_msg_size: ByteSize::mib(100),
            max_send_msg_size: ByteSize::mib(100),
            connect_timeout: Duration::from_secs(5),
            tls_enabled: false,
            tls_cert_path: PathBuf::new(),
            tls_key_path: PathBuf::new(),
            tls_ca_path: PathBuf::new(),
            tls_server_name: String::new(),
            tls_insecure_skip_verify: false,
        }
    }
}

impl PoolConfig {
    /// The time between two pings, and that for an answer; `None` if there are none.
    pub(super) fn ping(&self) -> Option<(Duration, Duration)> {
        self.healthcheckenabled
            .then_some((self.checkinterval, self.healthchecktimeout))
    }
}

impl MetricsGeneratorClientConfig {
    /// Checks what the types cannot, with paths from the top of the file.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |key: &str, message: &str| {
            let path = format!("metrics_generator_client.{key}");
            problems.push(Problem::new(path, message));
        };
        let (pool, grpc) = (&self.pool_config, &self.grpc_client_config);
        for (key, duration) in [
            ("remote_timeout", self.remote_timeout),
            ("pool_config.checkinterval", pool.checkinterval),
            ("pool_config.healthchecktimeout", pool.healthchecktimeout),
            ("grpc_client_config.connect_timeout", grpc.connect_timeout),
        ] {
            if duration.is_zero() {
                add(key, "may not be zero");
            }
        }
        for (key, size) in [
            ("max_in_flight_bytes", self.max_in_flight_bytes),
            (
                "grpc_client_config.max_recv_msg_size",
                grpc.max_recv_msg_size,
            ),
            (
                "grpc_client_config.max_send_msg_size",
                grpc.max_send_msg_size,
            ),
        ] {
            if size.as_u64() == 0 {
                add(key, "may not be zero");
            }
        }
        let has_certificate = !grpc.tls_cert_path.as_os_str().is_empty();
        let has_key = !grpc.tls_key_path.as_os_str().is_empty();
        if has_certificate != has_key {
            let key = "grpc_client_config.tls_cert_path";
            add(key, "and tls_key_path go together: set both or neither");
        }
        if grpc.tls_insecure_skip_verify {
            add(
                "grpc_client_config.tls_insecure_skip_verify",
                "is not offered; name the root of the generators' certificates in tls_ca_path",
            );
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_good() {
        assert_eq!(MetricsGeneratorClientConfig::default().validate(), []);
    }

    #[test]
    fn every_problem_is_told_by_its_path() {
        let mut config = MetricsGeneratorClientConfig {
            remote_timeout: Duration::ZERO,
            max_in_flight_bytes: ByteSize::mib(0),
            ..MetricsGeneratorClientConfig::default()
        };
        config.grpc_client_config.tls_key_path = "key.pem".into();
        config.grpc_client_config.tls_insecure_skip_verify = true;
        let problems = config.validate();
        let paths: Vec<_> = problems
            .iter()
            .map(|problem| problem.path.as_str())
            .collect();
        assert_eq!(
            paths,
            [
                "metrics_generator_client.remote_timeout",
                "metrics_generator_client.max_in_flight_bytes",
                "metrics_generator_client.grpc_client_config.tls_cert_path",
                "metrics_generator_client.grpc_client_config.tls_insecure_skip_verify",
            ]
        );
    }
}
