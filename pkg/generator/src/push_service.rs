//! `tempopb.MetricsGenerator/PushSpans`: spans from distributors, and from
//! clients that push as Tempo's distributors do.

use bytes::Bytes;
use http::HeaderMap;
use model::{Push, PushError, PushSpans};
use otlp::Request as OtlpRequest;
use server::Tenancy;
use server::grpc::{calls, unary};
use tonic::{Code, Status};

use crate::Generator;

/// Metadata with which a client asks for no metrics; its value does not matter.
const NO_METRICS: &str = "no-generate-metrics";
/// The gRPC service of [`Generator::push_routes`].
pub const PUSH_SERVICE: &str = "tempopb.MetricsGenerator";
const PUSH_SPANS: &str = "/tempopb.MetricsGenerator/PushSpans";

impl Generator {
    /// The gRPC service, as routes for the internal listener.
    pub fn push_routes(&self, tenancy: Tenancy, max_message_bytes: usize) -> axum::Router {
        let service = PushService {
            generator: self.clone(),
            tenancy,
        };
        calls([PUSH_SPANS], max_message_bytes, move |parts, body| {
            let service = service.clone();
            async move { unary(body, |message| service.push(parts.headers, message)).await }
        })
    }
}

#[derive(Clone, Debug)]
struct PushService {
    generator: Generator,
    tenancy: Tenancy,
}

impl PushService {
    async fn push(self, headers: HeaderMap, request: Bytes) -> Result<Bytes, Status> {
        let tenant = self.tenancy.tenant(&headers);
        let tenant = tenant.map_err(|error| error.grpc_status())?;
        let skip_metrics = headers.contains_key(NO_METRICS) || skips_metrics(&request)?;
        let push = Push {
            tenant,
            request,
            skip_metrics,
        };
        let outcome = self.generator.push(push).await.map_err(status)?;
        if outcome.rejected_spans > 0 {
            tracing::debug!(
                spans = outcome.rejected_spans,
                reason = outcome.message,
                "refused spans"
            );
        }
        // PushResponse has no fields.
        Ok(Bytes::new())
    }
}

fn skips_metrics(request: &[u8]) -> Result<bool, Status> {
    OtlpRequest::new(request)
        .skip_metrics_generation()
        .map_err(|error| {
            Status::invalid_argument(format!("request is not a PushSpansRequest: {error}"))
        })
}

fn status(error: PushError) -> Status {
    match &error {
        PushError::Malformed { .. } => Status::new(Code::InvalidArgument, error.to_string()),
        PushError::Unavailable { retry_after, .. } | PushError::Incomplete { retry_after, .. } => {
            server::status::retry_info(Status::unavailable(error.to_string()), *retry_after)
        }
    }
}
