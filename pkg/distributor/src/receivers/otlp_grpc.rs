//! OTLP/gRPC. Source: OTLP specification, "OTLP/gRPC".

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use http::{Request, Response};
use model::PushSpans;
use prost::Message;
use server::grpc::{Health, SizeLimitLayer};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

use super::response;
use crate::Distributor;
use crate::config::GrpcReceiverConfig;
use crate::metrics::Receiver;

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
            let same = |message, _| ready(Ok(message));
            let answer = |outcome| response(outcome).encode_to_vec();
            let receiver = Receiver::OtlpGrpc;
            Ok(distributor.unary(receiver, request, same, answer).await)
        })
    }
}
