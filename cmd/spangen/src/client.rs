//! Sends requests and reads answers, by the rules for OTLP clients.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use prost::Message as _;

use crate::template::{Stamp, Template};

mod grpc;
mod http1;

pub(crate) use grpc::{Grpc, Method};
pub(crate) use http1::Http;

/// One request to send.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    /// Its fixed part.
    pub(crate) template: Arc<Template>,
    /// Its ids and times.
    pub(crate) stamp: Stamp,
    /// The value of `X-Scope-OrgID`.
    pub(crate) tenant: Option<HeaderValue>,
}

/// What became of a request, as far as the client can tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// The server took it, but for some spans.
    Accepted {
        /// Spans refused for good.
        rejected: u64,
        /// Why.
        message: String,
    },
    /// The server did not take it and may do so later.
    Retry {
        /// When, if the server said so.
        after: Option<Duration>,
        /// Why.
        reason: String,
    },
    /// The server will never take it.
    Refused {
        /// Why.
        reason: String,
    },
    /// The connection broke or time ran out: it may have been taken.
    Unknown {
        /// What happened.
        reason: String,
    },
}

/// A connection to a server.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    /// OTLP/gRPC.
    Grpc(Grpc),
    /// OTLP/HTTP.
    Http(Http),
}

impl Client {
    /// Sends a request once.
    ///
    /// Not cancel-safe: whether a dropped request was taken is unknown.
    pub(crate) async fn send(&self, payload: &Payload) -> Answer {
        match self {
            Self::Grpc(client) => client.send(payload).await,
            Self::Http(client) => client.send(payload).await,
        }
    }
}

/// The header that names the tenant.
const TENANT_HEADER: &str = "x-scope-orgid";

/// An OTLP `ExportTraceServiceResponse`; Tempo's `PushResponse` reads as an
/// empty one.
#[derive(Clone, PartialEq, prost::Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// A `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: bytes::Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RetryDelay>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryDelay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl RpcStatus {
    /// The delay of the first `RetryInfo`; zero if it names none.
    fn retry_delay(&self) -> Option<Duration> {
        let info = self
            .details
            .iter()
            .find(|any| any.type_url.ends_with("google.rpc.RetryInfo"))?;
        let delay = RetryInfo::decode(info.value.clone()).ok()?.retry_delay;
        let delay = delay.unwrap_or_default();
        Some(Duration::new(
            u64::try_from(delay.seconds).unwrap_or(0),
            u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999),
        ))
    }
}

/// The answer of a server that took the request.
fn accepted(body: bytes::Bytes) -> Answer {
    match ExportResponse::decode(body) {
        Ok(response) => {
            let partial = response.partial_success.unwrap_or_default();
            Answer::Accepted {
                rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
                message: partial.error_message,
            }
        }
        Err(problem) => Answer::Unknown {
            reason: format!("the server's answer cannot be read: {problem}"),
        },
    }
}

/// An error with everything behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
