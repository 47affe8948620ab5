//! Settings of where spans are sent besides.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use settings::{ByteSize, Problem};

use crate::forwarders::{Condition, Context, address};

/// The most endpoints that all forwarders may have together.
pub(crate) const MAX_ENDPOINTS: usize = 64;

/// One entry of `forwarders`: where else spans of tenants go whose overrides name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ForwarderConfig {
    /// By what overrides' `forwarders` name it. Required.
    pub name: String,
    /// How spans are sent. Default: otlpgrpc.
    pub backend: Backend,
    /// Where to.
    pub otlpgrpc: OtlpGrpcConfig,
    /// What is left out.
    pub filter: FilterConfig,
    /// Whether a client's OK means that every endpoint has taken its spans, too: it waits
    /// for them, and they come before metrics. Otherwise spans wait in a queue, which never
    /// stands in the way. Default: false.
    pub required: bool,
    /// How long an endpoint may take for a request. Default: 5s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub timeout: Duration,
    /// Requests of one tenant that wait for an endpoint, unless it is required; further ones
    /// are not sent. Default: 100.
    pub queue_size: usize,
    /// Bytes of one tenant that wait for an endpoint. Default: 16 MiB.
    pub queue_bytes: ByteSize,
    /// Bytes of all tenants that wait for an endpoint. Default: 64 MiB.
    pub total_queue_bytes: ByteSize,
    /// How long a request is tried again that an endpoint does not take, unless it is
    /// required. Default: 1m.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub max_elapsed_time: Duration,
}

/// How a forwarder sends spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// OTLP over gRPC.
    #[default]
    OtlpGrpc,
}

/// Where a forwarder sends spans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "ForwarderOtlpGrpc")]
pub struct OtlpGrpcConfig {
    /// Each `host:port` gets all spans.
    pub endpoints: Vec<String>,
    /// How they are connected to.
    pub tls: ForwarderTlsConfig,
}

/// TLS of a forwarder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "ForwarderTls")]
pub struct ForwarderTlsConfig {
    /// Whether connections are not encrypted. Default: false.
    pub insecure: bool,
    /// PEM file with the authorities that may have signed the endpoints' certificates.
    /// Default: those of the system.
    pub cert_file: PathBuf,
}

/// What a forwarder leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "ForwarderFilter")]
pub struct FilterConfig {
    /// What of traces.
    pub traces: TracesFilterConfig,
}

/// Conditions in OTTL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "ForwarderTracesFilter")]
pub struct TracesFilterConfig {
    /// A span is not sent if any of these holds for it. Default: none.
    pub span: Vec<String>,
    /// An event of a span is not sent if any of these holds for it. Default: none.
    pub spanevent: Vec<String>,
}

impl Default for ForwarderConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            backend: Backend::default(),
            otlpgrpc: OtlpGrpcConfig::default(),
            filter: FilterConfig::default(),
            required: false,
            timeout: Duration::from_secs(5),
            queue_size: 100,
            queue_bytes: ByteSize::mib(16),
            total_queue_bytes: ByteSize::mib(64),
            max_elapsed_time: Duration::from_secs(60),
        }
    }
}

/// Checks all forwarders; `path` is that of their list.
pub(super) fn validate(forwarders: &[ForwarderConfig], path: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for (index, forwarder) in forwarders.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if forwarder.name.is_empty() {
            problems.push(Problem::new(format!("{path}.name"), "may not be empty"));
        } else if !names.insert(&forwarder.name) {
            let message = format!("{:?} is the name of another forwarder", forwarder.name);
            problems.push(Problem::new(format!("{path}.name"), message));
        }
        forwarder.validate(&path, &mut problems);
    }
    let endpoints = forwarders
        .iter()
        .map(|forwarder| forwarder.otlpgrpc.endpoints.len());
    if endpoints.sum::<usize>() > MAX_ENDPOINTS {
        let message = format!("have more than {MAX_ENDPOINTS} endpoints together");
        problems.push(Problem::new(path, message));
    }
    problems
}

impl ForwarderConfig {
    fn validate(&self, path: &str, problems: &mut Vec<Problem>) {
        let mut add = |key: &str, message: String| {
            problems.push(Problem::new(format!("{path}.{key}"), message));
        };
        let OtlpGrpcConfig { endpoints, tls } = &self.otlpgrpc;
        if endpoints.is_empty() {
            add("otlpgrpc.endpoints", "needs at least one".to_owned());
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            if address(endpoint, tls.insecure).is_none() {
                let message = format!("{endpoint:?} is not accepted; expected host:port");
                add(&format!("otlpgrpc.endpoints[{index}]"), message);
            }
        }
        let traces = &self.filter.traces;
        for (key, context, conditions) in [
            ("span", Context::Span, &traces.span),
            ("spanevent", Context::SpanEvent, &traces.spanevent),
        ] {
            for (index, condition) in conditions.iter().enumerate() {
                if let Err(error) = Condition::parse(condition, context) {
                    add(&format!("filter.traces.{key}[{index}]"), error.to_string());
                }
            }
        }
        for (key, is_zero) in [
            ("timeout", self.timeout.is_zero()),
            ("queue_size", self.queue_size == 0),
            ("queue_bytes", self.queue_bytes.as_u64() == 0),
            ("total_queue_bytes", self.total_queue_bytes.as_u64() == 0),
        ] {
            if is_zero {
                add(key, "must be above 0".to_owned());
            }
        }
    }
}
