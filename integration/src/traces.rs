//! Spans to send, and sending them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use prost::Message;
use proto::otlp::collector::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use proto::otlp::common::{AnyValue, KeyValue, any_value::Value};
use proto::otlp::resource::Resource;
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, Status};

pub use proto::otlp::trace::span::SpanKind;
pub use proto::otlp::trace::status::StatusCode;

use crate::http::client;

/// Spans of one service, each in a trace of its own.
#[derive(Clone, Debug)]
pub struct Traces {
    service: String,
    spans: Vec<Span>,
}

impl Traces {
    /// None yet, of the service with this name.
    #[must_use]
    pub fn of_service(service: &str) -> Self {
        Self {
            service: service.into(),
            spans: Vec::new(),
        }
    }

    /// Adds `count` server spans that end now. The trace ids are `first_trace`,
    /// `first_trace` + 1 and so on.
    #[must_use]
    pub fn spans(mut self, name: &str, count: u64, duration: Duration, first_trace: u64) -> Self {
        let end = now();
        self.spans.extend((0..count).map(|number| Span {
            trace_id: u128::from(first_trace + number).to_be_bytes().to_vec(),
            span_id: (first_trace + number).to_be_bytes().to_vec(),
            name: name.into(),
            kind: SpanKind::Server.into(),
            start_time_unix_nano: nanoseconds(end.saturating_sub(duration)),
            end_time_unix_nano: nanoseconds(end),
            ..Span::default()
        }));
        self
    }

    /// Gives the spans that were added last, `count` of them, an error status.
    #[must_use]
    pub fn with_errors(mut self, count: usize) -> Self {
        for span in self.spans.iter_mut().rev().take(count) {
            span.status = Some(Status {
                code: StatusCode::Error.into(),
                message: "it failed".into(),
            });
        }
        self
    }

    /// The OTLP message.
    #[must_use]
    pub fn request(&self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: vec![text_attribute("service.name", &self.service)],
                    ..Resource::default()
                }),
                scope_spans: vec![ScopeSpans {
                    spans: self.spans.clone(),
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }
}

/// An attribute whose value is text.
#[must_use]
pub fn text_attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.into())),
        }),
        ..KeyValue::default()
    }
}

/// How an OTLP/HTTP receiver answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The answer's body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body of a 200, as OTLP has it.
    ///
    /// # Errors
    ///
    /// Any other status.
    pub fn accepted(&self) -> anyhow::Result<ExportTraceServiceResponse> {
        anyhow::ensure!(
            self.status == 200,
            "answered {}: {}",
            self.status,
            String::from_utf8_lossy(&self.body)
        );
        ExportTraceServiceResponse::decode(self.body.as_slice()).context("body is not OTLP")
    }
}

/// Posts a request to an OTLP/HTTP address as protobuf, as `tenant` if there is one.
///
/// # Errors
///
/// When there is no answer.
pub async fn post(
    url: &str,
    request: &ExportTraceServiceRequest,
    tenant: Option<&str>,
) -> anyhow::Result<Answer> {
    let mut post = client()
        .post(url)
        .header("content-type", "application/x-protobuf")
        .body(request.encode_to_vec());
    if let Some(tenant) = tenant {
        post = post.header("X-Scope-OrgID", tenant);
    }
    let response = post.send().await?;
    Ok(Answer {
        status: response.status().as_u16(),
        body: response.bytes().await?.into(),
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "spans must end now by the clock of the process under test"
)]
fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
