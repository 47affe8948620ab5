//! `tempopb.MetricsGenerator/PushSpans`: spans from distributors, and from
//! clients that push as Tempo's distributors do.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use model::{Push, PushError, PushSpans};
use otlp::Request as OtlpRequest;
use server::Tenancy;
use server::grpc::{SizeLimitLayer, unary};
use tonic::{Code, Status};
use tower::{Layer, Service};

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
        let service = SizeLimitLayer { max_message_bytes }.layer(service);
        axum::Router::new().route_service(PUSH_SPANS, service)
    }
}

#[derive(Clone, Debug)]
struct PushService {
    generator: Generator,
    tenancy: Tenancy,
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<B> Service<Request<B>> for PushService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            Ok(unary(body, |message| service.push(parts.headers, message)).await)
        })
    }
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
