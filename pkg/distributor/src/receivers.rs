//! Protocol front ends. Each takes a request apart, names the tenant, and calls
//! [`Distributor::push`](crate::Distributor::push).

mod jaeger_grpc;
mod jaeger_http;
mod jaeger_udp;
mod otlp_grpc;
mod otlp_http;
mod unary;
mod zipkin;

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::{PushError, PushOutcome};
use proto::otlp::collector::{ExportTracePartialSuccess, ExportTraceServiceResponse};

use tokio::task::spawn_blocking;

use crate::conversion::ConversionError;
use crate::error::ReceiveError;
use crate::metrics::PushResult;

/// The length of a request from which on its conversion counts as long: it takes about
/// as much time as a usual push of protobuf.
const LONG_CONVERSION: usize = 64 << 10;

/// When to come again after a conversion that did not end, which only happens to a
/// process that does.
const RETRY_AFTER_FAILED_CONVERSION: Duration = Duration::from_secs(1);

/// The header, and gRPC metadata key, by which a client asks for no metrics
/// from its spans, whatever its value. As in Tempo.
const NO_GENERATE_METRICS: &str = "no-generate-metrics";

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
    convert: impl FnOnce(&[u8]) -> Result<Vec<u8>, E> + Send + 'static,
    refused: impl FnOnce(E) -> ReceiveError,
) -> Result<Bytes, ReceiveError> {
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

/// The answer of Zipkin and of Jaeger over HTTP: 202, or a status with a sentence for
/// people. Neither can say that some spans were refused but in words.
fn plain_answer(result: Result<PushOutcome, ReceiveError>) -> Response {
    let (status, sentence, retry_after) = match result {
        Ok(outcome) => (StatusCode::ACCEPTED, outcome.message, None),
        Err(error) => {
            tracing::debug!(error = %telemetry::error_chain(&error), "push refused");
            let failure = error.failure();
            (error.http_status(), failure.message, failure.retry_after)
        }
    };
    let mut response = Response::new(Body::from(sentence));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, text);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if let Some(delay) = retry_after {
        // Rounded up: 0 would mean at once.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
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
