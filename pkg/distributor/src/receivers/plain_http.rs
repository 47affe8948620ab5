//! What Zipkin and Jaeger over HTTP have in common: spans in, a sentence out.

use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use model::{PushOutcome, PushSpans};
use server::CorsConfig;

use super::{BodyLimits, converted, not_converted, result_label, skip_metrics};
use crate::Distributor;
use crate::conversion::ConversionError;
use crate::error::ReceiveError;
use crate::metrics::Receiver;

/// A receiver over HTTP that converts what it is sent; `choose` looks at a request before
/// its body is read and says what its body is.
#[derive(Clone)]
pub(super) struct PlainHttp<P, C> {
    pub(super) distributor: Distributor<P>,
    pub(super) receiver: Receiver,
    /// The paths that spans may be sent to; who sends to others is told of the last.
    pub(super) paths: &'static [&'static str],
    pub(super) body: BodyLimits,
    pub(super) choose: C,
}

type Convert = dyn FnOnce(&[u8]) -> Result<Vec<u8>, ConversionError> + Send;

/// How a body becomes an OTLP request.
pub(super) struct Conversion {
    /// The name of what is converted.
    pub(super) format: &'static str,
    pub(super) convert: Box<Convert>,
}

impl<P, C> PlainHttp<P, C>
where
    P: PushSpans,
    C: Fn(&Parts) -> Result<Conversion, ReceiveError> + Clone + Send + Sync + 'static,
{
    /// Serves the paths, by POST.
    pub(super) fn router(self, cors: &CorsConfig) -> Router {
        let mut router = Router::new();
        for path in self.paths {
            router = router.route(path, post(spans::<P, C>).fallback(not_post));
        }
        let router = router.fallback(unknown_path::<P, C>).with_state(self);
        match cors.layer() {
            Some(cors) => router.layer(cors),
            None => router,
        }
    }

    async fn receive(&self, request: Request) -> Result<PushOutcome, ReceiveError> {
        let (parts, body) = request.into_parts();
        // Before the body, so that strangers cost us little.
        let tenant = self.distributor.tenancy.tenant(&parts.headers)?;
        let Conversion { format, convert } = (self.choose)(&parts)?;
        let read = self.distributor.read_body(&tenant, &parts, body, self.body);
        let (body, memory) = read.await?;
        let request = converted(body, &memory, convert, not_converted(format)).await?;
        let skip_metrics = skip_metrics(&parts.headers);
        self.distributor.push(tenant, request, skip_metrics).await
    }
}

async fn spans<P, C>(State(receiver): State<PlainHttp<P, C>>, request: Request) -> Response
where
    P: PushSpans,
    C: Fn(&Parts) -> Result<Conversion, ReceiveError> + Clone + Send + Sync + 'static,
{
    let started = Instant::now();
    let result = receiver.receive(request).await;
    receiver.distributor.metrics.push_answered(
        receiver.receiver,
        result_label(&result),
        started.elapsed(),
    );
    plain_answer(result)
}

async fn not_post() -> Response {
    plain_answer(Err(ReceiveError::MethodNotAllowed))
}

async fn unknown_path<P, C>(State(receiver): State<PlainHttp<P, C>>) -> Response {
    let traces = receiver.paths.last().copied().unwrap_or_default();
    plain_answer(Err(ReceiveError::UnknownPath {
        traces: traces.to_owned(),
    }))
}

/// The answer of Zipkin and of Jaeger over HTTP: 202, or a status with a sentence for
/// people. Neither can say that some spans were refused but in words.
fn plain_answer(result: Result<PushOutcome, ReceiveError>) -> Response {
    let (status, sentence, retry_after) = match result {
        Ok(outcome) => (StatusCode::ACCEPTED, outcome.message, None),
        Err(error) => {
            tracing::debug!(error = %telemetry::error_chain(&error), "push refused");
            let failure = error.failure();
            (error.http_status(), failure.message, failure.retry_after)
        }
    };
    let mut response = Response::new(Body::from(sentence));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, text);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if let Some(delay) = retry_after {
        // Rounded up: 0 would mean at once.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
