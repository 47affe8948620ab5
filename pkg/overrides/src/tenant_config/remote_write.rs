//! Where a tenant's samples go: Prometheus' `remote_write` entries, by their
//! own names.

pub mod addresses;
pub mod auth;
pub mod headers;
pub mod proxy;
pub mod queue;
pub mod relabel;
pub mod tls;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use settings::Secret;

use self::addresses::AllowedAddresses;
use self::auth::{Authorization, BasicAuth};
use self::headers::HttpHeader;
use self::queue::{MetadataConfig, QueueConfig};
use self::relabel::RelabelConfig;
use self::tls::TlsClientConfig;

pub use self::validate::validate_list;

/// Headers by name.
pub type RemoteWriteHeaders = BTreeMap<String, Secret>;

/// One receiver: an entry of `remote_write`.
///
/// Keys, units and defaults are Prometheus', but that requests follow no
/// redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    #[schemars(with = "settings::duration::Text")]
    pub remote_timeout: Duration,

    /// Headers of every request. Those that the protocol or authentication
    /// sets are refused. Default: none.
    pub headers: BTreeMap<String, Secret>,

    /// Headers of every request, the longer way to write them: several values,
    /// and values from files. Default: none.
    pub http_headers: BTreeMap<String, HttpHeader>,

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

    /// The proxy to send through, `http` or `https`. User name and password in
    /// it are sent to the proxy as basic authentication and never shown.
    /// Default: none.
    pub proxy_url: Secret,

    /// Hosts that are reached without the proxy, separated by commas: names,
    /// which stand for what is below them as well, addresses, and ranges such
    /// as `10.0.0.0/8`; each but a range may have a port. Default: none.
    pub no_proxy: String,

    /// Whether the environment names the proxy: `HTTP_PROXY`, `HTTPS_PROXY`
    /// and `NO_PROXY`, or the same in lower case. Default: false.
    pub proxy_from_environment: bool,

    /// Headers for the proxy, with the request that opens a tunnel to an
    /// `https` receiver. Default: none.
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,

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

    /// Whether the halves of a request that was refused with 413, or 400, are sent on
    /// their own, and their halves, so that series which the receiver takes do not go
    /// with one that it does not. Switch it off for a receiver that refuses single
    /// series and keeps the others. Default: true.
    pub divide_refused_requests: bool,

    /// Accepted for compatibility: exemplars are always sent, as by Tempo.
    pub send_exemplars: bool,

    /// Accepted for compatibility: what the tenant's histogram mode makes is
    /// sent, as by Tempo.
    pub send_native_histograms: bool,

    /// Whether HTTP/2 may be spoken over TLS. Default: true.
    pub enable_http2: bool,

    /// Accepted for compatibility: redirects are never followed, because they
    /// could lead anywhere. Default: false, unlike Prometheus'.
    pub follow_redirects: bool,

    /// Accepted for compatibility: a name's addresses are tried in the order
    /// in which the system gives them. Default: false.
    pub round_robin_dns: bool,

    /// Refused: requests would go without authentication.
    #[serde(skip_serializing)]
    #[schemars(with = "serde_json::Value")]
    pub sigv4: Given,
    /// Refused, as `sigv4`.
    #[serde(skip_serializing)]
    #[schemars(with = "serde_json::Value")]
    pub oauth2: Given,
    /// Refused, as `sigv4`.
    #[serde(skip_serializing)]
    #[schemars(with = "serde_json::Value")]
    pub azuread: Given,
    /// Refused, as `sigv4`.
    #[serde(skip_serializing)]
    #[schemars(with = "serde_json::Value")]
    pub google_iam: Given,

    /// Who wrote all this; not a key. Default: the operator.
    #[serde(skip)]
    pub author: Author,
}

/// Who wrote an entry, which decides what it may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Author {
    /// Whoever runs the process, in its configuration: anything may be named.
    #[default]
    Operator,
    /// Whoever writes the runtime file: only allowed addresses may be reached,
    /// by mistake or not.
    Admin(Arc<AllowedAddresses>),
    /// A tenant: as for an admin, and nothing of this host may be read, no
    /// file and no environment variable, and no tenant be chosen.
    Tenant(Arc<AllowedAddresses>),
}

/// Which version of remote write is spoken, by its message; or `auto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// Whether a key is there, whatever stands behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given(pub bool);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            name: String::new(),
            remote_timeout: Duration::from_secs(30),
            headers: BTreeMap::new(),
            http_headers: BTreeMap::new(),
            basic_auth: None,
            authorization: None,
            bearer_token: Secret::default(),
            bearer_token_file: String::new(),
            tls_config: TlsClientConfig::default(),
            proxy_url: Secret::default(),
            no_proxy: String::new(),
            proxy_from_environment: false,
            proxy_connect_header: BTreeMap::new(),
            write_relabel_configs: Vec::new(),
            queue_config: QueueConfig::default(),
            metadata_config: MetadataConfig::default(),
            protobuf_message: ProtobufMessage::default(),
            send_exemplars: true,
            send_native_histograms: false,
            divide_refused_requests: true,
            enable_http2: true,
            follow_redirects: false,
            round_robin_dns: false,
            sigv4: Given::default(),
            oauth2: Given::default(),
            azuread: Given::default(),
            google_iam: Given::default(),
            author: Author::default(),
        }
    }
}

impl Author {
    /// The addresses that may be reached; `None` where any may.
    pub fn allowed_addresses(&self) -> Option<&Arc<AllowedAddresses>> {
        match self {
            Self::Operator => None,
            Self::Admin(allowed) | Self::Tenant(allowed) => Some(allowed),
        }
    }
}

impl EndpointConfig {
    /// Keys that ask for what is not done, and what is done instead.
    pub fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        if self.follow_redirects {
            found.push(("follow_redirects", "redirects are never followed"));
        }
        if self.round_robin_dns {
            found.push((
                "round_robin_dns",
                "a name's addresses are tried in the order in which the system gives them",
            ));
        }
        if !self.send_exemplars {
            found.push(("send_exemplars", "exemplars are always sent"));
        }
        if self.metadata_config != MetadataConfig::default() {
            found.push((
                "metadata_config",
                "metadata is a part of each series in protocol 2.0, and not sent in 1.0",
            ));
        }
        found.extend(self.queue_config.without_effect());
        found
    }
}

/// Writes a shared list as a list.
pub(crate) fn as_list<S: Serializer>(
    list: &Arc<[EndpointConfig]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter())
}

#[cfg(test)]
mod tests;
