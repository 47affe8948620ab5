//! APIs of Tempo that need local blocks, and say so until there are some.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;

/// Paths of Tempo at which metrics are made of recent spans.
const PATHS: [&str; 7] = [
    "/api/metrics/query",
    "/api/metrics/query_range",
    "/api/metrics/summary",
    "/generator/api/metrics",
    "/generator/api/metrics/query_range",
    "/querier/api/metrics/query_range",
    "/querier/api/metrics/summary",
];

const REASON: &str = "TraceQL metrics are made of recent spans (local-blocks), which this version \
                      does not keep; ask Prometheus for the generated series\n";

/// Answers 501 with the reason below a prefix.
pub(crate) fn routes(prefix: &str) -> Router {
    PATHS.iter().fold(Router::new(), |router, path| {
        let answer = any(async || (StatusCode::NOT_IMPLEMENTED, REASON));
        router.route(&format!("{prefix}{path}"), answer)
    })
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn each_api_of_local_blocks_says_that_it_is_not_offered() {
        for path in PATHS {
            let request = Request::get(format!("/tempo{path}?q=a")).body(Body::empty());
            let response = routes("/tempo").oneshot(request.unwrap()).await.unwrap();
            assert_eq!(response.status(), 501, "{path}");
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            assert_eq!(body, REASON, "{path}");
        }
    }
}
