//! `/generator/prepare-downscale`: the next stop of this node is for good, or is not. For
//! the admin listener only.
//!
//! `POST` prepares, `DELETE` cancels, `GET` asks; the answer is `set` or `unset`, as that
//! of Mimir's `/ingester/prepare-shutdown`. Whatever a browser sends from another page
//! names its origin, and is refused.

use std::io;

use axum::Router;
use axum::extract::State;
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use telemetry::error_chain;
use tokio::task::spawn_blocking;

use crate::downscale::Downscale;

/// The page as a route.
pub(crate) fn routes(downscale: Downscale) -> Router {
    Router::new()
        .route(
            "/generator/prepare-downscale",
            get(answer).post(answer).delete(answer),
        )
        .with_state(downscale)
}

async fn answer(
    State(downscale): State<Downscale>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if headers.contains_key(ORIGIN) {
        let message = "a browser may not ask this from another page\n";
        return (StatusCode::FORBIDDEN, message).into_response();
    }
    let done = spawn_blocking(move || {
        match method {
            Method::POST => downscale.prepare()?,
            Method::DELETE => downscale.cancel()?,
            _ => {}
        }
        let is_prepared = downscale.is_prepared()?;
        if method != Method::GET && method != Method::HEAD {
            tracing::info!(is_prepared, "prepared for a stop for good, or not any more");
        }
        Ok(is_prepared)
    });
    match done
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
    {
        Ok(true) => "set\n".into_response(),
        Ok(false) => "unset\n".into_response(),
        Err(error) => {
            let message = format!("{}\n", error_chain(&error));
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(router: &Router, method: &str, origin: Option<&str>) -> (u16, String) {
        let mut request = Request::builder()
            .method(method)
            .uri("/generator/prepare-downscale");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 10).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_is_prepared_stays_so_until_it_is_cancelled() {
        let storage = tempfile::tempdir().unwrap();
        let router = || routes(Downscale::new(storage.path()));
        let (set, unset) = ((200, "set\n".to_owned()), (200, "unset\n".to_owned()));
        let first = router();
        for (method, want) in [
            ("GET", &unset),
            ("DELETE", &unset),
            ("POST", &set),
            ("POST", &set),
            ("GET", &set),
        ] {
            assert_eq!(ask(&first, method, None).await, *want, "{method}");
        }
        // Another process in the same directory.
        let next = router();
        for (method, want) in [("GET", &set), ("DELETE", &unset), ("GET", &unset)] {
            assert_eq!(ask(&next, method, None).await, *want, "{method}");
        }
        let (status, _) = ask(&next, "POST", Some("http://evil.example")).await;
        assert_eq!(status, 403);
        assert_eq!(ask(&next, "GET", None).await, unset);
        std::fs::remove_dir(storage.path()).unwrap();
        assert_eq!(ask(&next, "POST", None).await.0, 500);
    }
}
