//! The `server` block: listeners and logs, by dskit's names.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use server::{ServeOptions, Tls, TlsConfig};
use settings::{ByteSize, Problem, Secret};
use telemetry::logging::LogFormat;

/// Go's names of TLS versions, and what each comes to.
const TLS_VERSIONS: [(&str, &str); 5] = [
    ("", "1.2"),
    ("VersionTLS10", "1.2"),
    ("VersionTLS11", "1.2"),
    ("VersionTLS12", "1.2"),
    ("VersionTLS13", "1.3"),
];

/// Listeners and logs.
///
/// Addresses are loopback unless set, where Tempo listens on every interface. Port 0
/// takes a free one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerConfig {
    /// Address of the HTTP API; empty for every interface. Default: 127.0.0.1.
    pub http_listen_address: String,
    /// Port of the HTTP API. Default: 3200.
    pub http_listen_port: u16,
    /// TLS of the HTTP API. Default: none.
    pub http_tls_config: ServerTlsConfig,
    /// Connections to the HTTP API that are served at once; more wait unaccepted.
    /// Default: 0, which is 10,000.
    pub http_listen_conn_limit: usize,
    /// How long a request to the HTTP API may take to arrive. None has a body, so
    /// it holds for the headers, as `http_server_read_header_timeout` does.
    /// Default: 30s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub http_server_read_timeout: Duration,
    /// How long the headers of such a request may take to arrive, and at most 10s,
    /// against clients that hold connections. Default: 0s, which is 10s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub http_server_read_header_timeout: Duration,
    /// How long a client of the HTTP API may take nothing of what is sent to it; a
    /// long answer that is being taken may go on. 0s for no limit. Default: 30s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub http_server_write_timeout: Duration,
    /// How long a connection to the HTTP API may idle; 0s for no limit. Default: 2m.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub http_server_idle_timeout: Duration,

    /// Address of the internal gRPC port; empty for every interface. Default:
    /// 127.0.0.1.
    pub grpc_listen_address: String,
    /// Internal gRPC port. Default: 9095.
    pub grpc_listen_port: u16,
    /// TLS of the internal gRPC port. Default: none.
    pub grpc_tls_config: ServerTlsConfig,
    /// Longest message that the internal gRPC port takes. Default: 16MiB.
    pub grpc_server_max_recv_msg_size: ByteSize,
    /// Calls that one connection to it may have in flight; 0 means the default.
    /// Default: 1000.
    pub grpc_server_max_concurrent_streams: u32,
    /// Connections to it that are served at once; more wait unaccepted. Default: 0,
    /// which is 10,000.
    pub grpc_listen_conn_limit: usize,
    /// How long a connection to it may be without a call; 0s for no limit.
    /// Default: 0s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub grpc_server_max_connection_idle: Duration,
    /// How old a connection to it may become before it is asked to end, so that
    /// clients behind a load balancer spread again; 0s for no limit. Default: 0s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub grpc_server_max_connection_age: Duration,
    /// What calls in flight still get then; 0s for no limit. Default: 0s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub grpc_server_max_connection_age_grace: Duration,
    /// How often a silent client is asked whether it is there; 0s means the
    /// default. Default: 1m, where Tempo has 2h.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub grpc_server_keepalive_time: Duration,
    /// How long it may take to answer; 0s means the default. Default: 20s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub grpc_server_keepalive_timeout: Duration,

    /// The oldest TLS version spoken by all, as in Go: `VersionTLS12` or
    /// `VersionTLS13`. Older ones may be written and stand for `VersionTLS12`, since
    /// they are not spoken. Default: empty, `VersionTLS12`.
    pub tls_min_version: String,

    /// Address of the admin pages; empty for every interface. Default:
    /// 127.0.0.1. Without authentication whoever reaches it is trusted: keep it on
    /// loopback then, or ask for client certificates.
    pub admin_listen_address: String,
    /// Port of the admin pages. Default: 3201.
    pub admin_listen_port: u16,
    /// TLS of the admin pages. Default: none.
    pub admin_tls_config: ServerTlsConfig,

    /// Connections that one client may have to one listener, by its address; more are
    /// closed at once. Of IPv6 a network of 64 bits counts as one client. Raise it where
    /// all clients come through one proxy. Default: 0, half of what the listener serves.
    pub max_connections_per_client: usize,

    /// How long requests in flight may take at a stop. Default: 30s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub graceful_shutdown_timeout: Duration,

    /// Least severe log lines that are written: debug, info, warn or error.
    /// Default: info.
    pub log_level: String,
    /// `logfmt` or `json`. Default: logfmt.
    pub log_format: String,
}

/// TLS of a listener of the `server` block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerTlsConfig {
    /// File with the certificate chain, in PEM. Default: empty, no TLS.
    pub cert_file: PathBuf,
    /// File with its private key, in PEM.
    pub key_file: PathBuf,
    /// File with the roots of client certificates, in PEM; clients must show a
    /// certificate then. Default: empty, clients need none.
    pub client_ca_file: PathBuf,
    /// Refused: a certificate is in a file, `cert_file`, so that it can be renewed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert: String,
    /// Refused, as `cert`.
    #[serde(skip_serializing_if = "Secret::is_empty")]
    pub key: Secret,
    /// Refused, as `cert`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_ca: String,
    /// As in Go. With `client_ca_file` only `RequireAndVerifyClientCert`, which is
    /// the default, without it only `NoClientCert`.
    pub client_auth_type: String,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let loopback = "127.0.0.1".to_owned();
        Self {
            http_listen_address: loopback.clone(),
            http_listen_port: 3200,
            http_tls_config: ServerTlsConfig::default(),
            http_listen_conn_limit: 0,
            http_server_read_timeout: Duration::from_secs(30),
            http_server_read_header_timeout: Duration::ZERO,
            http_server_write_timeout: Duration::from_secs(30),
            http_server_idle_timeout: Duration::from_secs(120),
            grpc_listen_address: loopback.clone(),
            grpc_listen_port: 9095,
            grpc_tls_config: ServerTlsConfig::default(),
            grpc_server_max_recv_msg_size: ByteSize::mib(16),
            grpc_server_max_concurrent_streams: ServeOptions::MAX_CONCURRENT_STREAMS,
            grpc_listen_conn_limit: 0,
            grpc_server_max_connection_idle: Duration::ZERO,
            grpc_server_max_connection_age: Duration::ZERO,
            grpc_server_max_connection_age_grace: Duration::ZERO,
            grpc_server_keepalive_time: Duration::from_secs(60),
            grpc_server_keepalive_timeout: Duration::from_secs(20),
            tls_min_version: String::new(),
            admin_listen_address: loopback,
            admin_listen_port: 3201,
            admin_tls_config: ServerTlsConfig::default(),
            max_connections_per_client: 0,
            graceful_shutdown_timeout: Duration::from_secs(30),
            log_level: "info".to_owned(),
            log_format: "logfmt".to_owned(),
        }
    }
}

impl ServerConfig {
    /// Where the HTTP API listens.
    ///
    /// # Errors
    ///
    /// Where the address is none and no host's name.
    pub fn http_address(&self) -> Result<SocketAddr, Problem> {
        address("http", &self.http_listen_address, self.http_listen_port)
    }

    /// Where the internal gRPC port listens.
    ///
    /// # Errors
    ///
    /// Where the address is none and no host's name.
    pub fn grpc_address(&self) -> Result<SocketAddr, Problem> {
        address("grpc", &self.grpc_listen_address, self.grpc_listen_port)
    }

    /// Where the admin pages are served.
    ///
    /// # Errors
    ///
    /// Where the address is none and no host's name.
    pub fn admin_address(&self) -> Result<SocketAddr, Problem> {
        address("admin", &self.admin_listen_address, self.admin_listen_port)
    }

    /// TLS of the HTTP API; none where it has no certificate.
    pub fn http_tls(&self) -> Option<TlsConfig> {
        self.http_tls_config.tls(self.tls_min_version())
    }

    /// TLS of the internal gRPC port; none where it has no certificate.
    pub fn grpc_tls(&self) -> Option<TlsConfig> {
        self.grpc_tls_config.tls(self.tls_min_version())
    }

    /// TLS of the admin pages; none where they have no certificate.
    pub fn admin_tls(&self) -> Option<TlsConfig> {
        self.admin_tls_config.tls(self.tls_min_version())
    }

    /// How the HTTP API is served, with TLS as it was loaded.
    pub fn http_options(&self, tls: Option<Tls>) -> ServeOptions {
        let default = ServeOptions::default();
        let header_read_timeout = [
            self.http_server_read_timeout,
            self.http_server_read_header_timeout,
        ];
        ServeOptions {
            tls,
            max_connections: match self.http_listen_conn_limit {
                0 => default.max_connections,
                limit => limit,
            },
            header_read_timeout: header_read_timeout
                .into_iter()
                .filter_map(set)
                .fold(ServeOptions::MAX_HEADER_READ_TIMEOUT, Duration::min),
            write_timeout: set(self.http_server_write_timeout),
            idle_timeout: set(self.http_server_idle_timeout),
            http2_idle_timeout: set(self.http_server_idle_timeout),
            ..default
        }
    }

    /// How the internal gRPC port is served, with TLS as it was loaded.
    pub fn grpc_options(&self, tls: Option<Tls>) -> ServeOptions {
        let default = ServeOptions::default();
        ServeOptions {
            tls,
            max_connections: match self.grpc_listen_conn_limit {
                0 => default.max_connections,
                limit => limit,
            },
            max_concurrent_streams: match self.grpc_server_max_concurrent_streams {
                0 => default.max_concurrent_streams,
                streams => streams,
            },
            http2_idle_timeout: set(self.grpc_server_max_connection_idle),
            max_connection_age: set(self.grpc_server_max_connection_age),
            max_connection_age_grace: set(self.grpc_server_max_connection_age_grace),
            ping_interval: set(self.grpc_server_keepalive_time).unwrap_or(default.ping_interval),
            ping_timeout: set(self.grpc_server_keepalive_timeout).unwrap_or(default.ping_timeout),
            ..default
        }
    }

    /// The oldest TLS version, as a listener takes it.
    fn tls_min_version(&self) -> &'static str {
        let found = TLS_VERSIONS
            .iter()
            .find(|(name, _)| *name == self.tls_min_version);
        // Checked by `validate`.
        found.map_or("1.2", |(_, version)| version)
    }

    /// How log lines are written.
    pub fn log_format(&self) -> LogFormat {
        // Checked by `validate`.
        self.log_format.parse().unwrap_or_default()
    }

    pub(super) fn validate(&self) -> Vec<Problem> {
        let addresses = [
            self.http_address(),
            self.grpc_address(),
            self.admin_address(),
        ];
        let mut problems: Vec<_> = addresses.into_iter().filter_map(Result::err).collect();
        for (path, tls) in [
            ("server.http_tls_config", &self.http_tls_config),
            ("server.grpc_tls_config", &self.grpc_tls_config),
            ("server.admin_tls_config", &self.admin_tls_config),
        ] {
            problems.extend(tls.problem(path));
        }
        if let Err(error) = self.log_format.parse::<LogFormat>() {
            problems.push(Problem::new("server.log_format", error.to_string()));
        }
        if !["trace", "debug", "info", "warn", "error"].contains(&self.log_level.as_str()) {
            problems.push(Problem::new(
                "server.log_level",
                format!(
                    "{:?} is not accepted; expected one of debug, info, warn, error",
                    self.log_level
                ),
            ));
        }
        if self.grpc_server_max_recv_msg_size.as_u64() == 0 {
            problems.push(Problem::new(
                "server.grpc_server_max_recv_msg_size",
                "must be above 0",
            ));
        }
        if !TLS_VERSIONS
            .iter()
            .any(|(name, _)| *name == self.tls_min_version)
        {
            problems.push(Problem::new(
                "server.tls_min_version",
                format!(
                    "{:?} is not accepted; expected VersionTLS12 or VersionTLS13",
                    self.tls_min_version
                ),
            ));
        }
        problems
    }
}

impl ServerTlsConfig {
    /// TLS as a listener takes it; none where no certificate is set.
    fn tls(&self, min_version: &str) -> Option<TlsConfig> {
        (!self.cert_file.as_os_str().is_empty()).then(|| TlsConfig {
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            client_ca_file: self.client_ca_file.clone(),
            min_version: min_version.to_owned(),
            ..TlsConfig::default()
        })
    }

    fn problem(&self, path: &str) -> Option<Problem> {
        let inline = [
            ("cert", !self.cert.is_empty()),
            ("key", !self.key.is_empty()),
            ("client_ca", !self.client_ca.is_empty()),
        ];
        if let Some((key, _)) = inline.iter().find(|(_, is_set)| *is_set) {
            let message =
                format!("is not read here; write it to a file, and name it as {key}_file");
            return Some(Problem::new(format!("{path}.{key}"), message));
        }
        let set = |file: &PathBuf| !file.as_os_str().is_empty();
        let client_ca = set(&self.client_ca_file);
        let (key, message) = if set(&self.cert_file) != set(&self.key_file) {
            (
                "cert_file",
                "cert_file and key_file go together; set both or none".to_owned(),
            )
        } else if client_ca && !set(&self.cert_file) {
            ("client_ca_file", "needs cert_file and key_file".to_owned())
        } else {
            let accepted = if client_ca {
                "RequireAndVerifyClientCert"
            } else {
                "NoClientCert"
            };
            let with = if client_ca { "with" } else { "without" };
            if ["", accepted].contains(&self.client_auth_type.as_str()) {
                return None;
            }
            let message = format!(
                "{:?} is not accepted {with} client_ca_file; expected {accepted}",
                self.client_auth_type
            );
            ("client_auth_type", message)
        };
        Some(Problem::new(format!("{path}.{key}"), message))
    }
}

/// A duration of which zero means that it is not set.
fn set(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

fn address(listener: &str, host: &str, port: u16) -> Result<SocketAddr, Problem> {
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let refused = || {
        Problem::new(
            format!("server.{listener}_listen_address"),
            format!("{host:?} is not an address to listen on; write one such as 127.0.0.1"),
        )
    };
    let addresses: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(|_| refused())?
        .collect();
    addresses
        .iter()
        .find(|address| address.is_ipv4())
        .or(addresses.first())
        .copied()
        .ok_or_else(refused)
}
