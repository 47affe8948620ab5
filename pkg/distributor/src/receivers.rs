//! Protocol front ends. Each takes a request apart, names the tenant, and calls
//! [`Distributor::push`](crate::Distributor::push).

mod otlp_grpc;
mod otlp_http;

use http::HeaderMap;
use model::PushOutcome;
use proto::otlp::collector::{ExportTracePartialSuccess, ExportTraceServiceResponse};

use crate::error::ReceiveError;
use crate::metrics::PushResult;

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

fn result_label(result: &Result<PushOutcome, ReceiveError>) -> PushResult {
    match result {
        Ok(outcome) if outcome.rejected_spans == 0 => PushResult::Ok,
        Ok(_) => PushResult::Partial,
        Err(error) => PushResult::Refused(error.discard_reason()),
    }
}

#[cfg(test)]
mod tests;
