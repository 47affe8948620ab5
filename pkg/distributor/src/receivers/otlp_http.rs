//! OTLP/HTTP, protobuf and JSON. Source: OTLP specification, "OTLP/HTTP".

use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::{PushOutcome, PushSpans, TenantId};
use prost::Message;
use proto::otlp::collector::ExportTraceServiceResponse;
use serde_json::json;
use server::status::MediaType;

use super::{
    BodyLimits, content_type, converted, media_type_essence, response, result_label, skip_metrics,
};
use crate::Distributor;
use crate::config::HttpReceiverConfig;
use crate::error::ReceiveError;
use crate::metrics::Receiver;

#[derive(Clone)]
struct HttpState<P> {
    distributor: Distributor<P>,
    body: BodyLimits,
    path: String,
}

impl<P: PushSpans> Distributor<P> {
    /// What the OTLP/HTTP port serves: the path of traces, by POST.
    pub fn http_router(&self, config: &HttpReceiverConfig) -> Router {
        let state = HttpState {
            distributor: self.clone(),
            body: BodyLimits {
                max_bytes: config.max_body_bytes(),
                read_timeout: config.body_read_timeout(),
            },
            path: config.traces_url_path.clone(),
        };
        let router = Router::new()
            .route(&state.path, post(traces::<P>).fallback(not_post))
            .fallback(unknown_path::<P>)
            .with_state(state);
        match config.cors.layer() {
            Some(cors) => router.layer(cors),
            None => router,
        }
    }
}

async fn traces<P: PushSpans>(State(state): State<HttpState<P>>, request: Request) -> Response {
    let started = Instant::now();
    let media_type = media_type(request.headers());
    let result = receive(&state, media_type, request).await;
    state.distributor.metrics.push_answered(
        Receiver::OtlpHttp,
        result_label(&result),
        started.elapsed(),
    );
    match result {
        Ok(outcome) => success(&response(outcome), media_type.unwrap_or(MediaType::Json)),
        Err(error) => {
            tracing::debug!(error = %telemetry::error_chain(&error), "push refused");
            refusal(&error, media_type)
        }
    }
}

async fn receive<P: PushSpans>(
    state: &HttpState<P>,
    media_type: Option<MediaType>,
    request: Request,
) -> Result<PushOutcome, ReceiveError> {
    let (parts, body) = request.into_parts();
    // Before the body, so that strangers cost us little.
    let tenant: TenantId = state.distributor.tenancy.tenant(&parts.headers)?;
    let Some(media_type) = media_type else {
        return Err(ReceiveError::UnsupportedMediaType {
            accepted: "application/x-protobuf, application/json",
            content_type: content_type(&parts.headers),
        });
    };
    let read = state
        .distributor
        .read_body(&tenant, &parts, body, state.body);
    let (body, memory) = read.await?;
    let request = match media_type {
        MediaType::Protobuf => body,
        MediaType::Json => {
            let refused = |source| ReceiveError::MalformedJson { source };
            converted(body, &memory, otlp::json::to_protobuf, refused).await?
        }
    };
    state
        .distributor
        .push(tenant, request, skip_metrics(&parts.headers))
        .await
}

async fn not_post(headers: HeaderMap) -> Response {
    let mut response = refusal(&ReceiveError::MethodNotAllowed, media_type(&headers));
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

async fn unknown_path<P: PushSpans>(
    State(state): State<HttpState<P>>,
    headers: HeaderMap,
) -> Response {
    let error = ReceiveError::UnknownPath { traces: state.path };
    refusal(&error, media_type(&headers))
}

fn success(response: &ExportTraceServiceResponse, media_type: MediaType) -> Response {
    let body = match media_type {
        MediaType::Protobuf => Body::from(response.encode_to_vec()),
        MediaType::Json => Body::from(to_json(response)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media_type.as_str()),
    );
    response
}

/// A `google.rpc.Status` in the request's media type; who sent none of ours is
/// no exporter, and gets what people can read.
fn refusal(error: &ReceiveError, media_type: Option<MediaType>) -> Response {
    error
        .failure()
        .to_http(error.http_status(), media_type.unwrap_or(MediaType::Json))
}

fn to_json(response: &ExportTraceServiceResponse) -> String {
    let Some(partial) = &response.partial_success else {
        return "{}".to_owned();
    };
    json!({"partialSuccess": {
        "rejectedSpans": partial.rejected_spans.to_string(),
        "errorMessage": partial.error_message,
    }})
    .to_string()
}

/// The media type of a request; `None` if it is none of ours.
fn media_type(headers: &HeaderMap) -> Option<MediaType> {
    let essence = media_type_essence(headers);
    [MediaType::Protobuf, MediaType::Json]
        .into_iter()
        .find(|known| essence == known.as_str())
}
