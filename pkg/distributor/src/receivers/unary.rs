//! Unary calls of gRPC that bring spans.

use std::error::Error;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use model::{PushOutcome, PushSpans, TenantId};
use server::RequestMemory;
use server::budget::UNKNOWN_LENGTH;
use server::grpc::unary;
use tonic::body::Body;
use tonic::{Code, Status};

use super::{result_label, skip_metrics};
use crate::Distributor;
use crate::error::{DiscardReason, ReceiveError};
use crate::metrics::{PushResult, Receiver};

impl<P: PushSpans> Distributor<P> {
    /// Answers a call, whose message `to_otlp` makes an OTLP request of, by what
    /// `answer` says of its outcome.
    pub(super) async fn unary<B, F>(
        &self,
        receiver: Receiver,
        request: Request<B>,
        to_otlp: impl FnOnce(Bytes, RequestMemory) -> F,
        answer: fn(PushOutcome) -> Vec<u8>,
    ) -> Response<Body>
    where
        B: axum::body::HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
        F: Future<Output = Result<Bytes, ReceiveError>>,
    {
        let started = Instant::now();
        // Before the body, so that strangers cost us little.
        let (result, response) = match self.tenancy.tenant(request.headers()) {
            Ok(tenant) => {
                // Kept until the push has ended, and raised by what reads the body.
                let memory = request.extensions().get::<RequestMemory>().cloned();
                let memory = memory.unwrap_or_default();
                // Where there is none, reading throws the message away and fails.
                let _ = self.hold(&tenant, UNKNOWN_LENGTH, &memory);
                let skip_metrics = skip_metrics(request.headers());
                let result = OnceLock::new();
                let call = async |message| {
                    let push = to_otlp(message, memory.clone());
                    let pushed = self.push_converted(tenant, push, skip_metrics).await;
                    result.get_or_init(|| result_label(&pushed));
                    match pushed {
                        Ok(outcome) => Ok(answer(outcome).into()),
                        Err(error) => Err(error.failure().to_grpc()),
                    }
                };
                let response = unary(request.into_body(), call).await;
                let result = result.get().copied();
                (result.unwrap_or_else(|| unreadable(&response)), response)
            }
            Err(error) => {
                let error = ReceiveError::from(error);
                let result = PushResult::Refused(error.discard_reason());
                (result, error.failure().to_grpc().into_http())
            }
        };
        self.metrics
            .push_answered(receiver, result, started.elapsed());
        response
    }

    async fn push_converted(
        &self,
        tenant: TenantId,
        request: impl Future<Output = Result<Bytes, ReceiveError>>,
        skip_metrics: bool,
    ) -> Result<PushOutcome, ReceiveError> {
        let pushed = match request.await {
            Ok(request) => self.push(tenant.clone(), request, skip_metrics).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &pushed {
            let cause = telemetry::error_chain(error);
            tracing::debug!(%tenant, error = %cause, "push refused");
        }
        pushed
    }
}

/// Why a request whose message could not be read was answered as it was.
fn unreadable(response: &Response<Body>) -> PushResult {
    let code = Status::from_header_map(response.headers()).map(|status| status.code());
    PushResult::Refused(match code {
        Some(Code::ResourceExhausted) => DiscardReason::TooLarge,
        Some(Code::Unavailable) => DiscardReason::Overloaded,
        Some(Code::Unimplemented) => DiscardReason::Unsupported,
        Some(Code::InvalidArgument | Code::Internal) => DiscardReason::Malformed,
        // The connection broke, or the client took too long.
        _ => DiscardReason::Cancelled,
    })
}
