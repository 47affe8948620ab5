//! The `receivers` block: front ends that spans come in by.
//!
//! Source: OpenTelemetry Collector, `otlpreceiver`, `zipkinreceiver`, `jaegerreceiver`.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use settings::Problem;

mod grpc;
mod http;
mod jaeger;

pub use self::grpc::{
    GrpcReceiverConfig, JaegerGrpcConfig, KeepaliveConfig, KeepaliveEnforcementPolicy,
    KeepaliveServerParameters,
};
pub use self::http::{HttpReceiverConfig, ThriftHttpConfig, ZipkinConfig};
pub use self::jaeger::{JaegerConfig, JaegerProtocols, ThriftBinaryConfig, ThriftCompactConfig};

/// Receivers by name; each that is named listens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Named")]
pub struct ReceiversConfig {
    /// OTLP. Default, if no receiver is named: gRPC and HTTP on loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<OtlpConfig>,
    /// Zipkin. Default: not listened on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zipkin: Option<ZipkinConfig>,
    /// Jaeger. Default: not listened on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jaeger: Option<JaegerConfig>,
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
    /// Zipkin. Default: not listened on.
    #[serde(deserialize_with = "settings::present")]
    zipkin: Option<ZipkinConfig>,
    /// Jaeger. Default: not listened on.
    #[serde(deserialize_with = "settings::present")]
    jaeger: Option<JaegerConfig>,
    /// Refused: there is no Kafka. Send OTLP.
    #[serde(deserialize_with = "settings::present")]
    kafka: Option<Value>,
    /// Refused. Send OTLP.
    #[serde(deserialize_with = "settings::present")]
    opencensus: Option<Value>,
}

impl From<Named> for ReceiversConfig {
    fn from(named: Named) -> Self {
        let refused: Vec<_> = [("kafka", named.kafka), ("opencensus", named.opencensus)]
            .into_iter()
            .filter_map(|(name, given)| given.map(|_| name))
            .collect();
        let none = named.otlp.is_none() && named.zipkin.is_none() && named.jaeger.is_none();
        if none && refused.is_empty() {
            return Self::default();
        }
        Self {
            otlp: named.otlp,
            zipkin: named.zipkin,
            jaeger: named.jaeger,
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
            zipkin: None,
            jaeger: None,
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

impl ReceiversConfig {
    /// Paths of the settings that are given and have no effect.
    pub(super) fn without_effect(&self) -> Vec<String> {
        const BLOCK: &str = "distributor.receivers";

        let mut found = Vec::new();
        if let Some(OtlpConfig { protocols }) = &self.otlp {
            let path = format!("{BLOCK}.otlp.protocols");
            if let Some(grpc) = &protocols.grpc {
                let settings = grpc.without_effect().into_iter();
                found.extend(settings.map(|setting| format!("{path}.grpc.{setting}")));
            }
            if let Some(http) = &protocols.http
                && http.include_metadata
            {
                found.push(format!("{path}.http.include_metadata"));
            }
        }
        if let Some(zipkin) = &self.zipkin
            && zipkin.include_metadata
        {
            found.push(format!("{BLOCK}.zipkin.include_metadata"));
        }
        if let Some(jaeger) = &self.jaeger {
            found.extend(jaeger.without_effect(&format!("{BLOCK}.jaeger")));
        }
        found
    }

    /// Checks what the types cannot; `path` is where the block stands.
    pub(super) fn validate(&self, path: &str) -> Vec<Problem> {
        let mut problems: Vec<_> = self
            .refused
            .iter()
            .map(|name| refused(path, name))
            .collect();
        if let Some(otlp) = &self.otlp {
            problems.extend(otlp.validate(&format!("{path}.otlp.protocols")));
        }
        if let Some(zipkin) = &self.zipkin {
            problems.extend(zipkin.validate(&format!("{path}.zipkin")));
        }
        if let Some(jaeger) = &self.jaeger {
            problems.extend(jaeger.validate(&format!("{path}.jaeger")));
        }
        problems
    }
}

impl OtlpConfig {
    fn validate(&self, path: &str) -> Vec<Problem> {
        let protocols = &self.protocols;
        let mut problems = Vec::new();
        if protocols.grpc.is_none() && protocols.http.is_none() {
            problems.push(Problem::new(
                path,
                "names no protocol; write grpc: or http: or both below it",
            ));
        }
        if let Some(grpc) = &protocols.grpc {
            problems.extend(grpc.validate(&format!("{path}.grpc")));
        }
        if let Some(http) = &protocols.http {
            problems.extend(http.validate(&format!("{path}.http")));
            if !is_plain_path(&http.traces_url_path) {
                problems.push(Problem::new(
                    format!("{path}.http.traces_url_path"),
                    format!(
                        "{:?} is not a path; write one like /v1/traces",
                        http.traces_url_path
                    ),
                ));
            }
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
        format!("the {name} receiver is not offered; send OTLP to the otlp receiver")
    };
    Problem::new(format!("{path}.{name}"), message)
}

fn no_auth(path: &str, auth: Option<&Value>) -> Option<Problem> {
    auth.map(|_| {
        Problem::new(
            format!("{path}.auth"),
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
