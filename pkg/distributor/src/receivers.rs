//! Protocol front ends. Each takes a request apart, names the tenant, and calls
//! [`Distributor::push`](crate::Distributor::push).

mod jaeger_grpc;
mod jaeger_http;
mod jaeger_udp;
mod otlp_grpc;
mod otlp_http;
mod plain_http;
mod unary;
mod zipkin;

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use model::{PushError, PushOutcome, PushSpans, TenantId};
use proto::otlp::collector::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use server::budget::UNKNOWN_LENGTH;
use server::{BodyError, RequestMemory, read_held_body};
use tokio::task::spawn_blocking;

use crate::Distributor;
use crate::conversion::ConversionError;
use crate::error::ReceiveError;
use crate::metrics::PushResult;

/// The length of a request from which on its conversion counts as long: it takes about
/// as much time as a usual push of protobuf.
const LONG_CONVERSION: usize = 64 << 10;

/// What a request takes of memory while it is converted, in lengths of it: itself, what
/// it becomes, and what is between the two.
const CONVERSION_MEMORY: usize = 3;

/// When to come again after a conversion that did not end, which only happens to a
/// process that does.
const RETRY_AFTER_FAILED_CONVERSION: Duration = Duration::from_secs(1);

/// The header, and gRPC metadata key, by which a client asks for no metrics
/// from its spans, whatever its value. As in Tempo.
const NO_GENERATE_METRICS: &str = "no-generate-metrics";

/// What holds for the body of a request over HTTP.
#[derive(Clone, Copy)]
struct BodyLimits {
    max_bytes: usize,
    read_timeout: Duration,
}

impl<P: PushSpans> Distributor<P> {
    /// Reads the body of a tenant's request into memory that it takes for it, which is to
    /// be kept until the push has ended.
    async fn read_body(
        &self,
        tenant: &TenantId,
        parts: &Parts,
        body: Body,
        limits: BodyLimits,
    ) -> Result<(Bytes, RequestMemory), BodyError> {
        let (max, within) = (limits.max_bytes, limits.read_timeout);
        let memory = RequestMemory::default();
        // Where there is none, reading throws the body away and fails.
        let _ = self.hold(tenant, expected_length(&parts.headers, max), &memory);
        let body = read_held_body(&parts.headers, body, max, within, &memory).await?;
        Ok((body, memory))
    }
}

/// How long a request's body is as far as its headers say, within the limit.
fn expected_length(headers: &HeaderMap, limit: usize) -> usize {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or(UNKNOWN_LENGTH).min(limit)
}

fn skip_metrics(headers: &HeaderMap) -> bool {
    headers.contains_key(NO_GENERATE_METRICS)
}

/// The answer of OTLP; `partial_success` is unset unless there is something to say.
fn response(outcome: PushOutcome) -> ExportTraceServiceResponse {
    let has_news = outcome.rejected_spans > 0 || !outcome.message.is_empty();
    ExportTraceServiceResponse {
        partial_success: has_news.then(|| ExportTracePartialSuccess {
            rejected_spans: i64::try_from(outcome.rejected_spans).unwrap_or(i64::MAX),
            error_message: outcome.message,
        }),
    }
}

/// Converts a request; what is long on a thread for blocking work, so that the other
/// connections of a worker of the runtime do not wait for it.
async fn converted<E: Send + 'static>(
    request: Bytes,
    memory: &RequestMemory,
    convert: impl FnOnce(&[u8]) -> Result<Vec<u8>, E> + Send + 'static,
    refused: impl FnOnce(E) -> ReceiveError,
) -> Result<Bytes, ReceiveError> {
    memory
        .raise_to(request.len().saturating_mul(CONVERSION_MEMORY))
        .map_err(BodyError::from)?;
    let converted = if request.len() < LONG_CONVERSION {
        convert(&request)
    } else {
        let converting = spawn_blocking(move || convert(&request));
        converting.await.map_err(|error| PushError::Unavailable {
            reason: error.to_string(),
            retry_after: RETRY_AFTER_FAILED_CONVERSION,
        })?
    };
    converted.map(Bytes::from).map_err(refused)
}

fn not_converted(format: &'static str) -> impl FnOnce(ConversionError) -> ReceiveError {
    move |source| ReceiveError::NotConverted { format, source }
}

/// The media type of a request without parameters, in lower case; empty if there is
/// none.
fn media_type_essence(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next();
    essence.unwrap_or_default().trim().to_ascii_lowercase()
}

/// The header for a message, cut to what fits a line.
fn content_type(headers: &HeaderMap) -> String {
    const LONGEST: usize = 100;

    let value = headers.get(header::CONTENT_TYPE);
    let bytes = value.map(HeaderValue::as_bytes).unwrap_or_default();
    let bytes = bytes.get(..LONGEST).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

fn result_label(result: &Result<PushOutcome, ReceiveError>) -> PushResult {
    match result {
        Ok(outcome) if outcome.rejected_spans == 0 => PushResult::Ok,
        Ok(_) => PushResult::Partial,
        Err(error) => PushResult::Refused(error.discard_reason()),
    }
}

#[cfg(test)]
mod tests;
