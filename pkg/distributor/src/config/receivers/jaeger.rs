//! The Jaeger receiver.
//!
//! Source: OpenTelemetry Collector, `jaegerreceiver`.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use settings::{ByteSize, Problem};

use super::{JaegerGrpcConfig, ThriftHttpConfig, socket_addr};

/// The Jaeger receiver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JaegerConfig {
    /// The protocols that it speaks; at least one.
    pub protocols: JaegerProtocols,
    /// Refused: sampling strategies are not served.
    #[serde(skip_serializing)]
    pub remote_sampling: Option<Value>,
}

/// Protocols of Jaeger; each that is named listens, also with nothing behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JaegerProtocols {
    /// gRPC. Default: not listened on.
    #[serde(
        deserialize_with = "settings::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub grpc: Option<JaegerGrpcConfig>,
    /// Thrift over HTTP. Default: not listened on.
    #[serde(
        deserialize_with = "settings::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub thrift_http: Option<ThriftHttpConfig>,
    /// Thrift over UDP, compact. It says nothing of a tenant, so that with
    /// `multitenancy_enabled` all is refused. Default: not listened on.
    #[serde(
        deserialize_with = "settings::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub thrift_compact: Option<ThriftCompactConfig>,
    /// Thrift over UDP, binary; as `thrift_compact`. Default: not listened on.
    #[serde(
        deserialize_with = "settings::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub thrift_binary: Option<ThriftBinaryConfig>,
}

/// Defines the settings of a receiver over UDP by where it listens by default, as
/// those over gRPC.
macro_rules! udp_receiver {
    ($(#[$about:meta])* $name:ident at $endpoint:literal) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct $name {
            /// Where to listen: `host:port`; `:port` is every address of the machine.
            #[doc = concat!("Default: ", $endpoint, ".")]
            pub endpoint: String,
            /// The largest datagram; a larger one is refused. 0 means the default, and
            /// 65,507 bytes are the most that there is. Default: 65000B.
            pub max_packet_size: ByteSize,
            /// What the system keeps of datagrams that were not read yet; 0 leaves it to
            /// the system. Default: 0.
            pub socket_buffer_size: ByteSize,
            /// Without effect: the socket's buffer is the queue. Default: not set.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub queue_size: Option<Value>,
            /// Without effect. Default: not set.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub workers: Option<Value>,
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    endpoint: $endpoint.to_owned(),
                    max_packet_size: ByteSize::bytes(65_000),
                    socket_buffer_size: ByteSize::bytes(0),
                    queue_size: None,
                    workers: None,
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

            /// The largest datagram in bytes.
            pub fn max_datagram_bytes(&self) -> usize {
                const MOST: usize = 65_507;

                match self.max_packet_size.as_usize() {
                    0 => Self::default().max_packet_size.as_usize(),
                    bytes => bytes.min(MOST),
                }
            }

            fn without_effect(&self) -> Vec<&'static str> {
                [
                    ("queue_size", self.queue_size.is_some()),
                    ("workers", self.workers.is_some()),
                ]
                .into_iter()
                .filter_map(|(name, is_given)| is_given.then_some(name))
                .collect()
            }
        }
    };
}

udp_receiver! {
    /// Jaeger's Thrift over UDP, compact.
    ThriftCompactConfig at "127.0.0.1:6831"
}

udp_receiver! {
    /// Jaeger's Thrift over UDP, binary.
    ThriftBinaryConfig at "127.0.0.1:6832"
}

impl JaegerConfig {
    /// Checks what the types cannot; `path` is where the block stands.
    pub(super) fn validate(&self, path: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.remote_sampling.is_some() {
            problems.push(Problem::new(
                format!("{path}.remote_sampling"),
                "sampling strategies are not served; remove it",
            ));
        }
        let path = format!("{path}.protocols");
        let named = &self.protocols;
        if *named == JaegerProtocols::default() {
            problems.push(Problem::new(
                &path,
                "names no protocol; write grpc:, thrift_http:, thrift_compact: or \
                 thrift_binary: below it",
            ));
        }
        if let Some(grpc) = &named.grpc {
            problems.extend(grpc.validate(&format!("{path}.grpc")));
        }
        if let Some(http) = &named.thrift_http {
            problems.extend(http.validate(&format!("{path}.thrift_http")));
        }
        if let Some(udp) = &named.thrift_compact {
            problems.extend(udp.socket_addr(&format!("{path}.thrift_compact")).err());
        }
        if let Some(udp) = &named.thrift_binary {
            problems.extend(udp.socket_addr(&format!("{path}.thrift_binary")).err());
        }
        problems
    }

    /// Paths of the settings that are given and have no effect.
    pub(super) fn without_effect(&self, path: &str) -> Vec<String> {
        let named = &self.protocols;
        let of = |name: &str, settings: Vec<&'static str>| {
            let path = format!("{path}.protocols.{name}");
            let full = settings
                .into_iter()
                .map(|setting| format!("{path}.{setting}"));
            full.collect::<Vec<_>>()
        };
        let mut found = Vec::new();
        if let Some(grpc) = &named.grpc {
            found.extend(of("grpc", grpc.without_effect()));
        }
        if let Some(http) = &named.thrift_http
            && http.include_metadata
        {
            found.extend(of("thrift_http", vec!["include_metadata"]));
        }
        if let Some(udp) = &named.thrift_compact {
            found.extend(of("thrift_compact", udp.without_effect()));
        }
        if let Some(udp) = &named.thrift_binary {
            found.extend(of("thrift_binary", udp.without_effect()));
        }
        found
    }
}
