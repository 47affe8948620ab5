//! OTLP/gRPC. Source: OTLP specification, "OTLP/gRPC".

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use model::{PushSpans, TenantId};
use prost::Message;
use server::grpc::{Health, SizeLimitLayer, unary};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;

use super::{response, result_label, skip_metrics};
use crate::Distributor;
use crate::config::GrpcReceiverConfig;
use crate::error::{DiscardReason, ReceiveError};
use crate::metrics::{PushResult, Receiver};

const SERVICE: &str = "opentelemetry.proto.collector.trace.v1.TraceService";
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HEALTH: &str = "grpc.health.v1.Health";

impl<P: PushSpans> Distributor<P> {
    /// What the OTLP/gRPC port serves: `TraceService`, and gRPC's health and
    /// reflection.
    pub fn grpc_router(&self, config: &GrpcReceiverConfig, health: &Health) -> Router {
        let mut routes = Routes::builder();
        routes.add_service(TraceService(self.clone()));
        let v1 = reflection("grpc.reflection.v1.ServerReflection").build_v1();
        let v1alpha = reflection("grpc.reflection.v1alpha.ServerReflection").build_v1alpha();
        match (v1, v1alpha) {
            (Ok(v1), Ok(v1alpha)) => {
                routes.add_service(v1).add_service(v1alpha);
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "grpc reflection is not available");
            }
        }
        let router = routes.routes().into_axum_router();
        router
            .merge(health.router(&[SERVICE]))
            .layer(SizeLimitLayer {
                max_message_bytes: config.max_message_bytes(),
            })
    }
}

fn reflection(own_name: &str) -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // The descriptors have services that this port does not.
        .with_service_name(SERVICE)
        .with_service_name(HEALTH)
        .with_service_name(own_name)
}

/// `TraceService`, whose requests stay bytes.
#[derive(Clone)]
struct TraceService<P>(Distributor<P>);

impl<P> NamedService for TraceService<P> {
    const NAME: &'static str = SERVICE;
}

impl<P: PushSpans> Service<Request<Body>> for TraceService<P> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let distributor = self.0.clone();
        Box::pin(async move {
            if request.uri().path() != EXPORT {
                return Ok(Status::unimplemented("TraceService has only Export").into_http());
            }
            let started = Instant::now();
            let (result, response) = distributor.answer(request).await;
            distributor
                .metrics
                .push_answered(Receiver::OtlpGrpc, result, started.elapsed());
            Ok(response)
        })
    }
}

impl<P: PushSpans> Distributor<P> {
    async fn answer(&self, request: Request<Body>) -> (PushResult, Response<Body>) {
        // Before the body, so that strangers cost us little.
        let tenant = match self.tenancy.tenant(request.headers()) {
            Ok(tenant) => tenant,
            Err(error) => {
                let error = ReceiveError::from(error);
                let result = PushResult::Refused(error.discard_reason());
                return (result, error.failure().to_grpc().into_http());
            }
        };
        let skip_metrics = skip_metrics(request.headers());
        let result = OnceLock::new();
        let export = |message| self.export(tenant, message, skip_metrics, &result);
        let response = unary(request.into_body(), export).await;
        let result = result.get().copied();
        (result.unwrap_or_else(|| unreadable(&response)), response)
    }

    async fn export(
        &self,
        tenant: TenantId,
        request: Bytes,
        skip_metrics: bool,
        result: &OnceLock<PushResult>,
    ) -> Result<Bytes, Status> {
        let pushed = self.push(tenant.clone(), request, skip_metrics).await;
        result.get_or_init(|| result_label(&pushed));
        match pushed {
            Ok(outcome) => Ok(response(outcome).encode_to_vec().into()),
            Err(error) => {
                let cause = telemetry::error_chain(&error);
                tracing::debug!(%tenant, error = %cause, "push refused");
                Err(error.failure().to_grpc())
            }
        }
    }
}

/// Why a request whose message could not be read was answered as it was.
fn unreadable(response: &Response<Body>) -> PushResult {
    let code = Status::from_header_map(response.headers()).map(|status| status.code());
    PushResult::Refused(match code {
        Some(Code::ResourceExhausted) => DiscardReason::TooLarge,
        Some(Code::Unimplemented) => DiscardReason::Unsupported,
        Some(Code::InvalidArgument | Code::Internal) => DiscardReason::Malformed,
        // The connection broke, or the client took too long.
        _ => DiscardReason::Cancelled,
    })
}
