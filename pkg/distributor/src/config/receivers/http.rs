//! Receivers over HTTP.
//!
//! Source: OpenTelemetry Collector, `confighttp`.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use server::body::BODY_READ_TIMEOUT;
use server::{CorsConfig, ServeOptions, Tls, TlsConfig};
use settings::{ByteSize, Problem};

use super::{given, no_auth, or, socket_addr};

/// Defines the settings of a receiver over HTTP: where it listens by default, and
/// what it has beside those that all have.
macro_rules! http_receiver {
    (
        $(#[$about:meta])*
        $name:ident at $endpoint:literal {
            $($(#[$about_field:meta])* $field:ident: $kind:ty = $default:expr,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct $name {
            /// Where to listen: `host:port`; `:port` is every address of the machine.
            #[doc = concat!("Default: ", $endpoint, ".")]
            pub endpoint: String,
            $($(#[$about_field])* pub $field: $kind,)*
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

        impl Default for $name {
            fn default() -> Self {
                Self {
                    endpoint: $endpoint.to_owned(),
                    $($field: $default,)*
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

        impl $name {
            /// The address to listen on; `path` is where the block stands.
            ///
            /// # Errors
            ///
            /// The endpoint is not `host:port`, or the host has no address.
            pub fn socket_addr(&self, path: &str) -> Result<SocketAddr, Problem> {
                socket_addr(&format!("{path}.endpoint"), &self.endpoint)
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
                let header = or(self.read_header_timeout, default.header_read_timeout);
                ServeOptions {
                    tls,
                    header_read_timeout: header.min(ServeOptions::MAX_HEADER_READ_TIMEOUT),
                    idle_timeout: given(self.idle_timeout),
                    http2_idle_timeout: given(self.idle_timeout),
                    write_timeout: given(self.write_timeout),
                    http1_keep_alive: self.keep_alives_enabled,
                    ..default
                }
            }

            /// Checks what the types cannot, but for its own settings.
            pub(super) fn validate(&self, path: &str) -> Vec<Problem> {
                let mut problems: Vec<_> = self.socket_addr(path).err().into_iter().collect();
                problems.extend(no_auth(path, self.auth.as_ref()));
                problems
            }
        }
    };
}

http_receiver! {
    /// OTLP/HTTP.
    HttpReceiverConfig at "127.0.0.1:4318" {
        /// The path of trace requests. Default: /v1/traces.
        traces_url_path: String = "/v1/traces".to_owned(),
    }
}

http_receiver! {
    /// Zipkin: version 1 in JSON, version 2 in JSON and protobuf.
    ZipkinConfig at "127.0.0.1:9411" {
        /// Whether tags that look like numbers or booleans become such. Default: false.
        parse_string_tags: bool = false,
    }
}

http_receiver! {
    /// Jaeger's Thrift over HTTP.
    ThriftHttpConfig at "127.0.0.1:14268" {}
}
