//! Jaeger's Thrift over HTTP, in the binary encoding.

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use model::{PushOutcome, PushSpans};
use server::read_body;

use super::{
    content_type, converted, media_type_essence, not_converted, plain_answer, result_label,
    skip_metrics,
};
use crate::Distributor;
use crate::config::ThriftHttpConfig;
use crate::conversion::jaeger;
use crate::error::ReceiveError;
use crate::metrics::Receiver;

const TRACES: &str = "/api/traces";

#[derive(Clone)]
struct HttpState<P> {
    distributor: Distributor<P>,
    max_body_bytes: usize,
    body_read_timeout: Duration,
}

impl<P: PushSpans> Distributor<P> {
    /// What Jaeger's HTTP port serves: `/api/traces`, by POST.
    pub fn jaeger_http_router(&self, config: &ThriftHttpConfig) -> Router {
        let state = HttpState {
            distributor: self.clone(),
            max_body_bytes: config.max_body_bytes(),
            body_read_timeout: config.body_read_timeout(),
        };
        let router = Router::new()
            .route(TRACES, post(traces::<P>).fallback(not_post))
            .fallback(unknown_path)
            .with_state(state);
        match config.cors.layer() {
            Some(cors) => router.layer(cors),
            None => router,
        }
    }
}

async fn traces<P: PushSpans>(State(state): State<HttpState<P>>, request: Request) -> Response {
    let started = Instant::now();
    let result = receive(&state, request).await;
    state.distributor.metrics.push_answered(
        Receiver::JaegerThriftHttp,
        result_label(&result),
        started.elapsed(),
    );
    plain_answer(result)
}

async fn receive<P: PushSpans>(
    state: &HttpState<P>,
    request: Request,
) -> Result<PushOutcome, ReceiveError> {
    let (parts, body) = request.into_parts();
    // Before the body, so that strangers cost us little.
    let tenant = state.distributor.tenancy.tenant(&parts.headers)?;
    match media_type_essence(&parts.headers).as_str() {
        "application/x-thrift" | "application/vnd.apache.thrift.binary" => {}
        _ => {
            return Err(ReceiveError::UnsupportedMediaType {
                accepted: "application/x-thrift, application/vnd.apache.thrift.binary",
                content_type: content_type(&parts.headers),
            });
        }
    }
    let (limit, within) = (state.max_body_bytes, state.body_read_timeout);
    let body = read_body(&parts.headers, body, limit, within).await?;
    let request = converted(body, jaeger::batch, not_converted("Jaeger Thrift")).await?;
    let skip_metrics = skip_metrics(&parts.headers);
    state.distributor.push(tenant, request, skip_metrics).await
}

async fn not_post() -> Response {
    plain_answer(Err(ReceiveError::MethodNotAllowed))
}

async fn unknown_path() -> Response {
    let traces = TRACES.to_owned();
    plain_answer(Err(ReceiveError::UnknownPath { traces }))
}
