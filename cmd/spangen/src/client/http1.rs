//! OTLP/HTTP with protobuf bodies.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use prost::Message as _;

use super::{Answer, Payload, RpcStatus, TENANT_HEADER, accepted, chain};

/// A pool of HTTP connections.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    url: reqwest::Url,
    gzip: bool,
}

impl Http {
    /// A pool that opens connections as requests need them.
    pub(crate) fn new(endpoint: &str, gzip: bool) -> anyhow::Result<Self> {
        // Fails only if there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut url = reqwest::Url::parse(endpoint)?;
        if url.path() == "/" {
            url.set_path("/v1/traces");
        }
        let client = reqwest::Client::builder()
            .user_agent(concat!("spangen/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .http1_only()
            .no_proxy()
            .build()?;
        Ok(Self { client, url, gzip })
    }

    pub(super) async fn send(&self, payload: &Payload) -> Answer {
        let mut body = Vec::with_capacity(payload.template.length());
        payload.template.write(&payload.stamp, &mut body);
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-protobuf");
        if let Some(tenant) = &payload.tenant {
            request = request.header(TENANT_HEADER, tenant);
        }
        if self.gzip {
            body = match compressed(&body) {
                Ok(body) => body,
                Err(problem) => {
                    return Answer::Refused {
                        reason: format!("gzip: {problem}"),
                    };
                }
            };
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let response = match request.body(body).send().await {
            Ok(response) => response,
            Err(problem) if problem.is_connect() => {
                return Answer::Retry {
                    after: None,
                    reason: format!("not connected: {}", chain(&problem)),
                };
            }
            Err(problem) => return broke(&problem),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        match response.bytes().await {
            Ok(body) => judge(status, &headers, body),
            Err(problem) => broke(&problem),
        }
    }
}

fn broke(problem: &reqwest::Error) -> Answer {
    Answer::Unknown {
        reason: format!("connection broke: {}", chain(problem)),
    }
}

fn compressed(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body)?;
    encoder.finish()
}

/// What a response means for the request. Source: OTLP specification,
/// "OTLP/HTTP Response", retryable response codes.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Answer {
    if status == StatusCode::OK {
        return accepted(body);
    }
    let message = RpcStatus::decode(body).unwrap_or_default().message;
    let reason = format!("{status}: {message}");
    match status.as_u16() {
        429 | 502 | 503 | 504 => Answer::Retry {
            after: headers
                .get(RETRY_AFTER)
                .and_then(|seconds| seconds.to_str().ok()?.parse().ok())
                .map(Duration::from_secs),
            reason,
        },
        _ => Answer::Refused { reason },
    }
}
