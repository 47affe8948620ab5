//! Zipkin over HTTP: version 1 in JSON, version 2 in JSON and protobuf.

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
use crate::config::ZipkinConfig;
use crate::conversion::zipkin::{self, Options};
use crate::error::ReceiveError;
use crate::metrics::Receiver;

const V1_SPANS: &str = "/api/v1/spans";
const V2_SPANS: &str = "/api/v2/spans";

#[derive(Clone)]
struct HttpState<P> {
    distributor: Distributor<P>,
    max_body_bytes: usize,
    body_read_timeout: Duration,
    options: Options,
}

impl<P: PushSpans> Distributor<P> {
    /// What the Zipkin port serves: the paths of spans of both versions, by POST.
    pub fn zipkin_router(&self, config: &ZipkinConfig) -> Router {
        let state = HttpState {
            distributor: self.clone(),
            max_body_bytes: config.max_body_bytes(),
            body_read_timeout: config.body_read_timeout(),
            options: Options {
                parse_string_tags: config.parse_string_tags,
            },
        };
        let router = Router::new()
            .route(V1_SPANS, post(spans::<P>).fallback(not_post))
            .route(V2_SPANS, post(spans::<P>).fallback(not_post))
            .fallback(unknown_path)
            .with_state(state);
        match config.cors.layer() {
            Some(cors) => router.layer(cors),
            None => router,
        }
    }
}

async fn spans<P: PushSpans>(State(state): State<HttpState<P>>, request: Request) -> Response {
    let started = Instant::now();
    let result = receive(&state, request).await;
    state.distributor.metrics.push_answered(
        Receiver::Zipkin,
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
    let is_v1 = parts.uri.path() == V1_SPANS;
    let media_type = media_type_essence(&parts.headers);
    // Whatever else it is called, it is JSON, as in the Collector.
    let (format, convert): (_, fn(&[u8], Options) -> _) = match media_type.as_str() {
        "application/x-thrift" => {
            return Err(ReceiveError::UnsupportedMediaType {
                accepted: "application/json, application/x-protobuf",
                content_type: content_type(&parts.headers),
            });
        }
        _ if is_v1 => ("Zipkin JSON of version 1", zipkin::v1_json),
        "application/x-protobuf" | "application/protobuf" => {
            ("Zipkin protobuf", zipkin::list_of_spans)
        }
        _ => ("Zipkin JSON", zipkin::v2_json),
    };
    let (limit, within) = (state.max_body_bytes, state.body_read_timeout);
    let body = read_body(&parts.headers, body, limit, within).await?;
    let options = state.options;
    let convert = move |body: &[u8]| convert(body, options);
    let request = converted(body, convert, not_converted(format)).await?;
    let skip_metrics = skip_metrics(&parts.headers);
    state.distributor.push(tenant, request, skip_metrics).await
}

async fn not_post() -> Response {
    plain_answer(Err(ReceiveError::MethodNotAllowed))
}

async fn unknown_path() -> Response {
    let traces = V2_SPANS.to_owned();
    plain_answer(Err(ReceiveError::UnknownPath { traces }))
}
