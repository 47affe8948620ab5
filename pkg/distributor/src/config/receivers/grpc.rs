//! A receiver over gRPC.
//!
//! Source: OpenTelemetry Collector, `configgrpc`.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use server::{ServeOptions, Tls, TlsConfig};
use settings::{ByteSize, Problem};

use super::{given, no_auth, or, socket_addr};

/// Defines the settings of a receiver over gRPC by where it listens by default:
/// serde derives nothing for a type with the port as its parameter.
macro_rules! grpc_receiver {
    ($(#[$about:meta])* $name:ident at $endpoint:literal) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct $name {
            /// Where to listen: `host:port`; `:port` is every address of the machine.
            #[doc = concat!("Default: ", $endpoint, ".")]
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

        impl Default for $name {
            fn default() -> Self {
                Self {
                    endpoint: $endpoint.to_owned(),
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

        impl $name {
            /// The address to listen on; `path` is where the block stands.
            ///
            /// # Errors
            ///
            /// The endpoint is not `host:port`, or the host has no address.
            pub fn socket_addr(&self, path: &str) -> Result<SocketAddr, Problem> {
                socket_addr(&format!("{path}.endpoint"), &self.endpoint)
            }

            /// Checks what the types cannot.
            pub(super) fn validate(&self, path: &str) -> Vec<Problem> {
                let mut problems: Vec<_> = self.socket_addr(path).err().into_iter().collect();
                if self.transport != "tcp" {
                    problems.push(Problem::new(
                        format!("{path}.transport"),
                        format!("{:?} is not offered; tcp is", self.transport),
                    ));
                }
                problems.extend(no_auth(path, self.auth.as_ref()));
                problems
            }

            /// The settings that are given and have no effect.
            pub(super) fn without_effect(&self) -> Vec<&'static str> {
                let policy = &self.keepalive.enforcement_policy;
                [
                    ("include_metadata", self.include_metadata),
                    ("read_buffer_size", self.read_buffer_size.is_some()),
                    ("write_buffer_size", self.write_buffer_size.is_some()),
                    (
                        "keepalive.enforcement_policy",
                        *policy != KeepaliveEnforcementPolicy::default(),
                    ),
                ]
                .into_iter()
                .filter_map(|(name, is_given)| is_given.then_some(name))
                .collect()
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
    };
}

grpc_receiver! {
    /// OTLP/gRPC.
    GrpcReceiverConfig at "127.0.0.1:4317"
}

grpc_receiver! {
    /// Jaeger's gRPC.
    JaegerGrpcConfig at "127.0.0.1:14250"
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
