//! Calls of gRPC as routes of a listener.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use http::request::Parts;
use http::{Request, Response};
use tonic::body::Body as GrpcBody;
use tower::{Layer as _, service_fn};

use super::message_body::MessageBody;
use super::size_limit::SizeLimitLayer;

/// Routes of calls that `answer` answers. Their messages are of `max_message_bytes` at
/// most; [`unary`](super::unary) reads them.
pub fn calls<F, A>(
    paths: impl IntoIterator<Item = &'static str>,
    max_message_bytes: usize,
    answer: F,
) -> Router
where
    F: Fn(Parts, MessageBody<Body>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<GrpcBody>> + Send + 'static,
{
    let service = service_fn(move |request: Request<MessageBody<Body>>| {
        let (parts, body) = request.into_parts();
        let answered = answer(parts, body);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let service = SizeLimitLayer { max_message_bytes }.layer(service);
    let router = |router: Router, path| router.route_service(path, service.clone());
    paths.into_iter().fold(Router::new(), router)
}
