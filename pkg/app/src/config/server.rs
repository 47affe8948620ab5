//! The `server` block: listeners and logs, by dskit's names.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use server::TlsConfig;
use settings::{ByteSize, Problem};
use telemetry::logging::LogFormat;

/// Listeners and logs.
///
/// Addresses are loopback unless set, where Tempo listens on every interface. Port 0
/// takes a free one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerConfig {
    /// Address of the HTTP API; empty for every interface. Default: 127.0.0.1.
    pub http_listen_address: String,
    /// Port of the HTTP API. Default: 3200.
    pub http_listen_port: u16,
    /// TLS of the HTTP API. Default: none.
    pub http_tls_config: ServerTlsConfig,
    /// How long a connection to the HTTP API may idle. Default: 2m.
    #[serde(with = "settings::duration")]
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
    /// Calls that one connection to it may have in flight. Default: 1000.
    pub grpc_server_max_concurrent_streams: u32,

    /// Address of the admin pages; empty for every interface. Default:
    /// 127.0.0.1. Whoever reaches it is trusted: keep it on loopback.
    pub admin_listen_address: String,
    /// Port of the admin pages. Default: 3201.
    pub admin_listen_port: u16,

    /// How long requests in flight may take at a stop. Default: 30s.
    #[serde(with = "settings::duration")]
    pub graceful_shutdown_timeout: Duration,

    /// Least severe log lines that are written: debug, info, warn or error.
    /// Default: info.
    pub log_level: String,
    /// `logfmt` or `json`. Default: logfmt.
    pub log_format: String,
}

/// TLS of a listener of the `server` block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerTlsConfig {
    /// File with the certificate chain, in PEM. Default: empty, no TLS.
    pub cert_file: PathBuf,
    /// File with its private key, in PEM.
    pub key_file: PathBuf,
    /// File with the roots of client certificates, in PEM; clients must show a
    /// certificate then. Default: empty, clients need none.
    pub client_ca_file: PathBuf,
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
            http_server_idle_timeout: Duration::from_secs(120),
            grpc_listen_address: loopback.clone(),
            grpc_listen_port: 9095,
            grpc_tls_config: ServerTlsConfig::default(),
            grpc_server_max_recv_msg_size: ByteSize::mib(16),
            grpc_server_max_concurrent_streams: 1_000,
            admin_listen_address: loopback,
            admin_listen_port: 3201,
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
        if self.grpc_server_max_concurrent_streams == 0 {
            problems.push(Problem::new(
                "server.grpc_server_max_concurrent_streams",
                "must be above 0",
            ));
        }
        problems
    }
}

impl ServerTlsConfig {
    /// TLS as a listener takes it; none where no certificate is set.
    pub fn tls(&self) -> Option<TlsConfig> {
        (!self.cert_file.as_os_str().is_empty()).then(|| TlsConfig {
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            client_ca_file: self.client_ca_file.clone(),
            ..TlsConfig::default()
        })
    }

    fn problem(&self, path: &str) -> Option<Problem> {
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
