//! Where samples go: Prometheus' `remote_write` entries, by their own names.

mod auth;
mod queue;
mod relabel;
mod tls;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use settings::Secret;

use crate::spool::SpoolConfig;

pub use auth::{Authorization, BasicAuth};
pub use queue::{MetadataConfig, QueueConfig};
pub use relabel::{RelabelAction, RelabelConfig};
pub use tls::TlsClientConfig;

/// What the process sends, and how much may wait.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteWriteConfig {
    /// Receivers that are checked at the start. Which are used is said for each
    /// tenant.
    pub endpoints: Vec<EndpointConfig>,

    /// Whether requests carry `X-Scope-OrgID`, the tenant. Set it when
    /// multi-tenancy is on, unless `remote_write_add_org_id_header` is off.
    /// Default: false.
    pub add_org_id_header: bool,

    /// Where samples wait for their receivers, and how many may.
    pub spool: SpoolConfig,
}

/// One receiver: an entry of `remote_write`.
///
/// Keys, units and defaults are Prometheus'. Requests follow no redirect and
/// use no proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointConfig {
    /// Where to send, `http` or `https`. Required. User name and password in
    /// it are sent as basic authentication and never shown.
    pub url: Secret,

    /// The `endpoint` label of our own metrics. Default: host and port of the
    /// URL, with a number appended where two endpoints share them.
    pub name: String,

    /// How long one request may take, from connecting to the end of the
    /// answer. Default: 30s.
    #[serde(with = "settings::duration")]
    pub remote_timeout: Duration,

    /// Headers of every request. Those that the protocol or authentication
    /// sets are refused. Default: none.
    pub headers: BTreeMap<String, Secret>,

    /// Basic authentication. At most one of the three ways to authenticate
    /// may be set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,

    /// The `Authorization` header by type and credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,

    /// A bearer token; the older form of `authorization`.
    pub bearer_token: Secret,

    /// A file with the bearer token, read at start.
    pub bearer_token_file: String,

    /// How the receiver's certificate is checked, and ours.
    pub tls_config: TlsClientConfig,

    /// Rules that change or drop series before they are sent here. They see
    /// the whole label set, `__name__` and external labels included.
    /// Default: none.
    pub write_relabel_configs: Vec<RelabelConfig>,

    /// Batch size and retry delays.
    pub queue_config: QueueConfig,

    /// Accepted for compatibility: over protocol 1.0 no metadata is sent, and in
    /// 2.0 it is part of each series.
    pub metadata_config: MetadataConfig,

    /// Which version of the protocol is spoken. Default: 1.0, as in Tempo.
    pub protobuf_message: ProtobufMessage,

    /// Accepted for compatibility: exemplars are always sent, as by Tempo.
    pub send_exemplars: bool,

    /// Accepted for compatibility: what the tenant's histogram mode makes is
    /// sent, as by Tempo.
    pub send_native_histograms: bool,

    /// Whether HTTP/2 may be spoken over TLS. Default: true.
    pub enable_http2: bool,
}

/// Which version of remote write is spoken, by its message; or `auto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProtobufMessage {
    /// Remote write 1.0.
    #[default]
    #[serde(rename = "prometheus.WriteRequest")]
    V1,
    /// Remote write 2.0, with type, help and unit of each metric and start
    /// timestamps. A receiver that does not speak it loses everything.
    #[serde(rename = "io.prometheus.write.v2.Request")]
    V2,
    /// 2.0, or 1.0 where the receiver answers 415, or a success that does not
    /// say how much was written: several that know 1.0 only answer so and store
    /// nothing. Such a request is sent again in 1.0. After an hour of 1.0, 2.0
    /// is tried again.
    #[serde(rename = "auto")]
    Auto,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            name: String::new(),
            remote_timeout: Duration::from_secs(30),
            headers: BTreeMap::new(),
            basic_auth: None,
            authorization: None,
            bearer_token: Secret::default(),
            bearer_token_file: String::new(),
            tls_config: TlsClientConfig::default(),
            write_relabel_configs: Vec::new(),
            queue_config: QueueConfig::default(),
            metadata_config: MetadataConfig::default(),
            protobuf_message: ProtobufMessage::default(),
            send_exemplars: true,
            send_native_histograms: false,
            enable_http2: true,
        }
    }
}

impl EndpointConfig {
    /// Checks what the types cannot: pairs of a key, as it is written below
    /// the entry, and what is wrong there. Reads no file.
    pub fn validate(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut add = |key: &str, problem: String| problems.push((key.to_owned(), problem));
        if let Err(problem) = self.parsed_url() {
            add("url", problem);
        }
        if self.remote_timeout.is_zero() {
            add("remote_timeout", "must be longer than 0s".to_owned());
        }
        for (name, value) in &self.headers {
            if let Err(problem) = crate::headers::check(name, value.expose()) {
                add(&format!("headers.{name}"), problem);
            } else if name.eq_ignore_ascii_case("authorization") {
                add(
                    &format!("headers.{name}"),
                    "is set by basic_auth, authorization or bearer_token".to_owned(),
                );
            }
        }
        let ways = [
            self.basic_auth.is_some(),
            self.authorization.is_some(),
            !self.bearer_token.is_empty() || !self.bearer_token_file.is_empty(),
        ];
        if ways.iter().filter(|way| **way).count() > 1 {
            add(
                "authorization",
                "only one of basic_auth, authorization and bearer_token can be set".to_owned(),
            );
        }
        for (key, problem) in self.queue_config.validate() {
            add(&format!("queue_config.{key}"), problem);
        }
        if let Some(problem) = self.tls_config.problem() {
            add("tls_config", problem.to_owned());
        }
        if let Err((place, problem)) = crate::relabel::Relabeller::new(&self.write_relabel_configs)
        {
            add(&format!("write_relabel_configs[{place}]"), problem);
        }
        problems
    }

    /// The URL, if it can be used.
    pub(crate) fn parsed_url(&self) -> Result<reqwest::Url, String> {
        if self.url.is_empty() {
            return Err("is required".to_owned());
        }
        let url: reqwest::Url = self
            .url
            .expose()
            .parse()
            .map_err(|error| format!("is not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!(
                "has the scheme {:?}; http and https are accepted",
                url.scheme()
            ));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("has no host".to_owned());
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests;
