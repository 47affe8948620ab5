//! Jaeger's gRPC. Source: jaeger-idl, `proto/api_v2/collector.proto`.

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::post;
use http::Response;
use model::PushSpans;
use server::RequestMemory;
use server::grpc::{Health, SizeLimitLayer};
use tonic::Status;
use tonic::body::Body;

use super::{converted, not_converted};
use crate::Distributor;
use crate::config::JaegerGrpcConfig;
use crate::conversion::jaeger;
use crate::metrics::Receiver;

const SERVICE: &str = "jaeger.api_v2.CollectorService";
const POST_SPANS: &str = "/jaeger.api_v2.CollectorService/PostSpans";

impl<P: PushSpans> Distributor<P> {
    /// What Jaeger's gRPC port serves: `CollectorService`, and gRPC's health.
    pub fn jaeger_grpc_router(&self, config: &JaegerGrpcConfig, health: &Health) -> Router {
        Router::new()
            .route(POST_SPANS, post(post_spans::<P>))
            .with_state(self.clone())
            .merge(health.router(&[SERVICE]))
            .fallback(unknown)
            .layer(SizeLimitLayer {
                max_message_bytes: config.max_message_bytes(),
            })
    }
}

async fn post_spans<P: PushSpans>(
    State(distributor): State<Distributor<P>>,
    request: Request,
) -> Response<Body> {
    let convert = async |message, memory: RequestMemory| {
        let refused = not_converted("Jaeger protobuf");
        converted(message, &memory, jaeger::post_spans, refused).await
    };
    // A PostSpansResponse has no fields.
    let answer = |_| Vec::new();
    distributor
        .unary(Receiver::JaegerGrpc, request, convert, answer)
        .await
}

async fn unknown() -> Response<Body> {
    Status::unimplemented("CollectorService has only PostSpans").into_http()
}
