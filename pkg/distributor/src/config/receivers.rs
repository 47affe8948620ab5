//! The `receivers` block: front ends that spans come in by.
//!
//! Source: OpenTelemetry Collector, `otlpreceiver`, `configgrpc`, `confighttp`.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use server::body::BODY_READ_TIMEOUT;
use server::{CorsConfig, ServeOptions, Tls, TlsConfig};
use settings::{ByteSize, Problem};

/// Receivers by name; each that is named listens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Named")]
pub struct ReceiversConfig {
    /// OTLP. Default, if no receiver is named: gRPC and HTTP on loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<OtlpConfig>,
    /// Names of receivers that are given and cannot be had.
    #[serde(skip)]
    refused: Vec<&'static str>,
}

/// Receivers by name; each that is named listens.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Named {
    /// OTLP. Default, if no receiver is named: gRPC and HTTP on loopback.
    #[serde(deserialize_with = "settings::present")]
    otlp: Option<OtlpConfig>,
    /// Refused: there is no Kafka. Send OTLP.
    #[serde(deserialize_with = "settings::present")]
    kafka: Option<Value>,
    /// Refused so far. Send OTLP.
    #[serde(deserialize_with = "settings::present")]
    jaeger: Option<Value>,
    /// Refused so far. Send OTLP.
    #[serde(deserialize_with = "settings::present")]
    zipkin: Option<Value>,
    /// Refused. Send OTLP.
    #[serde(deserialize_with = "settings::present")]
    opencensus: Option<Value>,
}

impl From<Named> for ReceiversConfig {
    fn from(named: Named) -> Self {
        let refused: Vec<_> = [
            ("kafka", named.kafka),
            ("jaeger", named.jaeger),
            ("zipkin", named.zipkin),
            ("opencensus", named.opencensus),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.map(|_| name))
        .collect();
        if named.otlp.is_none() && refused.is_empty() {
            return Self::default();
        }
        Self {
            otlp: named.otlp,
            refused,
        }
    }
}

impl Default for ReceiversConfig {
    fn default() -> Self {
        Self {
            otlp: Some(OtlpConfig {
                protocols: Protocols {
                    grpc: Some(GrpcReceiverConfig::default()),
                    http: Some(HttpReceiverConfig::default()),
                },
            }),
            refused: Vec::new(),
        }
    }
}

/// The OTLP receiver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OtlpConfig {
    /// The protocols that it speaks; at least one.
    pub protocols: Protocols,
}

/// Protocols of OTLP; each that is named listens, also with nothing behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Protocols {
    /// OTLP/gRPC. Default: not listened on.
    #[serde(
        deserialize_with = "settings::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub grpc: Option<GrpcReceiverConfig>,
    /// OTLP/HTTP, protobuf and JSON. Default: not listened on.
    #[serde(
        deserialize_with = "settings::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub http: Option<HttpReceiverConfig>,
}

/// OTLP/gRPC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GrpcReceiverConfig {
    /// Where to listen: `host:port`; `:port` is every address of the machine.
    /// Default: 127.0.0.1:4317.
    pub endpoint: String,
    /// The transport: `tcp` only. Default: tcp.
    pub transport: String,
    /// The largest request, in MiB, before and after decompression; 0 means the
    /// default. A larger one is refused for good. Default: 4.
    pub max_recv_msg_size_mib: u64,
    /// Requests that one connection may have open; 0 means 1,000. Default: 0.
    pub max_concurrent_streams: u32,
    /// TLS. Default: plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// How long connections live. Default: without end.
    pub keepalive: KeepaliveConfig,
    /// Without effect: what a request carries besides spans is at hand anyway.
    /// Default: false.
    pub include_metadata: bool,
    /// Without effect: windows are 4 MiB and frames 1 MiB. Default: not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_buffer_size: Option<ByteSize>,
    /// Without effect. Default: not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_buffer_size: Option<ByteSize>,
    /// Refused: authenticating clients is a matter of what is in front.
    #[serde(skip_serializing)]
    pub auth: Option<Value>,
}

impl Default for GrpcReceiverConfig {
    fn default() -> Self {
        Self {
            endpoint: "127.0.0.1:4317".to_owned(),
            transport: "tcp".to_owned(),
            max_recv_msg_size_mib: 4,
            max_concurrent_streams: 0,
            tls: None,
            keepalive: KeepaliveConfig::default(),
            include_metadata: false,
            read_buffer_size: None,
            write_buffer_size: None,
            auth: None,
        }
    }
}

impl GrpcReceiverConfig {
    /// The address to listen on.
    ///
    /// # Errors
    ///
    /// The endpoint is not `host:port`, or the host has no address.
    pub fn socket_addr(&self) -> Result<SocketAddr, Problem> {
        socket_addr(
            "distributor.receivers.otlp.protocols.grpc.endpoint",
            &self.endpoint,
        )
    }

    /// The largest request in bytes.
    pub fn max_message_bytes(&self) -> usize {
        let mib = match self.max_recv_msg_size_mib {
            0 => Self::default().max_recv_msg_size_mib,
            mib => mib,
        };
        ByteSize::mib(mib).as_usize()
    }

    /// How the listener serves, with TLS as it was loaded.
    pub fn serve_options(&self, tls: Option<Tls>) -> ServeOptions {
        let keepalive = &self.keepalive.server_parameters;
        let default = ServeOptions::default();
        ServeOptions {
            tls,
            max_concurrent_streams: match self.max_concurrent_streams {
                0 => default.max_concurrent_streams,
                streams => streams,
            },
            ping_interval: or(keepalive.time, default.ping_interval),
            ping_timeout: or(keepalive.timeout, default.ping_timeout),
            http2_idle_timeout: given(keepalive.max_connection_idle),
            max_connection_age: given(keepalive.max_connection_age),
            max_connection_age_grace: given(keepalive.max_connection_age_grace),
            ..default
        }
    }
}

/// How long connections of gRPC live, as in grpc-go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KeepaliveConfig {
    /// What the server does.
    pub server_parameters: KeepaliveServerParameters,
    /// What clients may do. Without effect: pings are cheap here.
    pub enforcement_policy: KeepaliveEnforcementPolicy,
}

/// What a server of gRPC does with its connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KeepaliveServerParameters {
    /// How long a connection may be without a request. Default: 0s, no limit.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub max_connection_idle: Duration,
    /// How old a connection may become. Default: 0s, no limit.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub max_connection_age: Duration,
    /// What its requests still get then. Default: 0s, no limit.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub max_connection_age_grace: Duration,
    /// How often a client is asked whether it is there. Default: 0s, which is 1m.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub time: Duration,
    /// How long the answer to a ping may take. Default: 0s, which is 20s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub timeout: Duration,
}

/// How often clients may ping. Without effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KeepaliveEnforcementPolicy {
    /// The least time between pings. Default: 0s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub min_time: Duration,
    /// Whether they may come without a request. Default: false.
    pub permit_without_stream: bool,
}

/// OTLP/HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpReceiverConfig {
    /// Where to listen: `host:port`; `:port` is every address of the machine.
    /// Default: 127.0.0.1:4318.
    pub endpoint: String,
    /// The path of trace requests. Default: /v1/traces.
    pub traces_url_path: String,
    /// The largest body, before and after decompression; 0 means the default. A
    /// larger one is refused for good. Default: 20MiB.
    pub max_request_body_size: ByteSize,
    /// TLS. Default: plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// What web pages of other origins may do. Default: nothing.
    pub cors: CorsConfig,
    /// How long the body of a request may take to arrive. Default: 0s, which is 30s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub read_timeout: Duration,
    /// How long the headers of a request may take to arrive, and at most 10s,
    /// against clients that hold connections; 0s means the default. Default: 10s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub read_header_timeout: Duration,
    /// How long a client may take nothing of an answer that is sent to it.
    /// Default: 0s, no limit.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub write_timeout: Duration,
    /// How long a connection may be without a request; 0s means no limit.
    /// Default: 1m.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub idle_timeout: Duration,
    /// Whether a connection serves more than one request. Default: true.
    pub keep_alives_enabled: bool,
    /// Without effect: what a request carries besides spans is at hand anyway.
    /// Default: false.
    pub include_metadata: bool,
    /// Refused: authenticating clients is a matter of what is in front.
    #[serde(skip_serializing)]
    pub auth: Option<Value>,
}

impl Default for HttpReceiverConfig {
    fn default() -> Self {
        Self {
            endpoint: "127.0.0.1:4318".to_owned(),
            traces_url_path: "/v1/traces".to_owned(),
            max_request_body_size: ByteSize::mib(20),
            tls: None,
            cors: CorsConfig::default(),
            read_timeout: Duration::ZERO,
            read_header_timeout: Duration::from_secs(10),
            write_timeout: Duration::ZERO,
            idle_timeout: Duration::from_secs(60),
            keep_alives_enabled: true,
            include_metadata: false,
            auth: None,
        }
    }
}

impl HttpReceiverConfig {
    /// The address to listen on.
    ///
    /// # Errors
    ///
    /// The endpoint is not `host:port`, or the host has no address.
    pub fn socket_addr(&self) -> Result<SocketAddr, Problem> {
        socket_addr(
            "distributor.receivers.otlp.protocols.http.endpoint",
            &self.endpoint,
        )
    }

    /// The largest body in bytes.
    pub fn max_body_bytes(&self) -> usize {
        match self.max_request_body_size.as_usize() {
            0 => Self::default().max_request_body_size.as_usize(),
            bytes => bytes,
        }
    }

    /// How long a body may take to arrive.
    pub fn body_read_timeout(&self) -> Duration {
        or(self.read_timeout, BODY_READ_TIMEOUT)
    }

    /// How the listener serves, with TLS as it was loaded.
    pub fn serve_options(&self, tls: Option<Tls>) -> ServeOptions {
        let default = ServeOptions::default();
        let header_read_timeout = or(self.read_header_timeout, default.header_read_timeout);
        ServeOptions {
            tls,
            header_read_timeout: header_read_timeout.min(ServeOptions::MAX_HEADER_READ_TIMEOUT),
            idle_timeout: given(self.idle_timeout),
            http2_idle_timeout: given(self.idle_timeout),
            write_timeout: given(self.write_timeout),
            http1_keep_alive: self.keep_alives_enabled,
            ..default
        }
    }
}

impl ReceiversConfig {
    /// Paths of the settings that are given and have no effect.
    pub(super) fn without_effect(&self) -> Vec<&'static str> {
        let protocols = self.otlp.as_ref().map(|otlp| &otlp.protocols);
        let grpc = protocols.and_then(|protocols| protocols.grpc.as_ref());
        let http = protocols.and_then(|protocols| protocols.http.as_ref());
        let of_grpc = |is_given: fn(&GrpcReceiverConfig) -> bool| grpc.is_some_and(is_given);
        let policy = |grpc: &GrpcReceiverConfig| {
            grpc.keepalive.enforcement_policy != KeepaliveEnforcementPolicy::default()
        };
        [
            (
                "distributor.receivers.otlp.protocols.grpc.include_metadata",
                of_grpc(|grpc| grpc.include_metadata),
            ),
            (
                "distributor.receivers.otlp.protocols.grpc.read_buffer_size",
                of_grpc(|grpc| grpc.read_buffer_size.is_some()),
            ),
            (
                "distributor.receivers.otlp.protocols.grpc.write_buffer_size",
                of_grpc(|grpc| grpc.write_buffer_size.is_some()),
            ),
            (
                "distributor.receivers.otlp.protocols.grpc.keepalive.enforcement_policy",
                of_grpc(policy),
            ),
            (
                "distributor.receivers.otlp.protocols.http.include_metadata",
                http.is_some_and(|http| http.include_metadata),
            ),
        ]
        .into_iter()
        .filter_map(|(path, is_given)| is_given.then_some(path))
        .collect()
    }

    /// Checks what the types cannot; `path` is where the block stands.
    pub(super) fn validate(&self, path: &str) -> Vec<Problem> {
        let mut problems: Vec<_> = self
            .refused
            .iter()
            .map(|name| refused(path, name))
            .collect();
        let Some(OtlpConfig { protocols }) = &self.otlp else {
            return problems;
        };
        let path = format!("{path}.otlp.protocols");
        if protocols.grpc.is_none() && protocols.http.is_none() {
            problems.push(Problem::new(
                &path,
                "names no protocol; write grpc: or http: or both below it",
            ));
        }
        if let Some(grpc) = &protocols.grpc {
            problems.extend(socket_addr(&format!("{path}.grpc.endpoint"), &grpc.endpoint).err());
            if grpc.transport != "tcp" {
                problems.push(Problem::new(
                    format!("{path}.grpc.transport"),
                    format!("{:?} is not offered; tcp is", grpc.transport),
                ));
            }
            problems.extend(no_auth(&format!("{path}.grpc.auth"), grpc.auth.as_ref()));
        }
        if let Some(http) = &protocols.http {
            problems.extend(socket_addr(&format!("{path}.http.endpoint"), &http.endpoint).err());
            if !is_plain_path(&http.traces_url_path) {
                problems.push(Problem::new(
                    format!("{path}.http.traces_url_path"),
                    format!(
                        "{:?} is not a path; write one like /v1/traces",
                        http.traces_url_path
                    ),
                ));
            }
            problems.extend(no_auth(&format!("{path}.http.auth"), http.auth.as_ref()));
        }
        problems
    }
}

/// A duration of which zero means that it is not given.
fn given(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

fn or(duration: Duration, default: Duration) -> Duration {
    given(duration).unwrap_or(default)
}

fn refused(path: &str, name: &str) -> Problem {
    let message = if name == "kafka" {
        "the Kafka receiver is not offered; send OTLP to the otlp receiver".to_owned()
    } else {
        format!("the {name} receiver is not offered yet; send OTLP to the otlp receiver")
    };
    Problem::new(format!("{path}.{name}"), message)
}

fn no_auth(path: &str, auth: Option<&Value>) -> Option<Problem> {
    auth.map(|_| {
        Problem::new(
            path,
            "authenticating clients is not offered here; put it in front, or use tls with \
             client_ca_file",
        )
    })
}

/// Whether a path is one for the router: no pattern, no query.
fn is_plain_path(path: &str) -> bool {
    path.len() > 1
        && path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte))
}

/// Reads `host:port`. A host with several addresses gives its first of IPv4.
fn socket_addr(path: &str, endpoint: &str) -> Result<SocketAddr, Problem> {
    if let Some(port) = endpoint.strip_prefix(':')
        && let Ok(port) = port.parse()
    {
        return Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    }
    let addresses: Vec<_> = endpoint
        .to_socket_addrs()
        .map_err(|error| {
            Problem::new(
                path,
                format!(
                    "{endpoint:?} is not an address to listen on ({error}); write host:port, as \
                     in 127.0.0.1:4317"
                ),
            )
        })?
        .collect();
    addresses
        .iter()
        .find(|address| address.is_ipv4())
        .or(addresses.first())
        .copied()
        .ok_or_else(|| Problem::new(path, format!("{endpoint:?} has no address")))
}
