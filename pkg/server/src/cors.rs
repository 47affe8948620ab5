//! Cross-origin requests: browsers that send traces.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// Who may send from a browser. Keys and meaning as in the OpenTelemetry
/// Collector, `confighttp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CorsConfig {
    /// Origins that may send; each may hold one `*` for any characters, such as
    /// `https://*.example.com`. Default: none, so that browsers refuse.
    pub allowed_origins: Vec<String>,
    /// Request headers that may be sent besides those that every request may
    /// have; `*` for any. Default: none.
    pub allowed_headers: Vec<String>,
    /// Seconds for which a browser may remember the answer. Default: 0, the
    /// browser's own.
    pub max_age: u64,
}

/// Headers that are always allowed. As `rs/cors`, which the Collector uses.
const SAFE_HEADERS: [HeaderName; 4] = [
    header::ACCEPT,
    header::CONTENT_TYPE,
    HeaderName::from_static("x-requested-with"),
    header::CONTENT_ENCODING,
];

impl CorsConfig {
    /// The layer that answers preflight requests; `None` if no origin is allowed.
    ///
    /// A header name that is none cannot match a request and is left out.
    pub fn layer(&self) -> Option<CorsLayer> {
        if self.allowed_origins.is_empty() {
            return None;
        }
        let any_origin = self.allowed_origins.iter().any(|origin| origin == "*");
        let allow_origin = if any_origin {
            AllowOrigin::any()
        } else {
            let patterns: Vec<_> = self
                .allowed_origins
                .iter()
                .map(|origin| origin.to_ascii_lowercase())
                .collect();
            AllowOrigin::predicate(move |origin: &HeaderValue, _| {
                let Ok(origin) = origin.to_str() else {
                    return false;
                };
                let origin = origin.to_ascii_lowercase();
                patterns.iter().any(|pattern| matches(pattern, &origin))
            })
        };
        let any_header = self.allowed_headers.iter().any(|name| name == "*");
        let allow_headers = if any_header {
            AllowHeaders::mirror_request()
        } else {
            let asked = self.allowed_headers.iter();
            AllowHeaders::list(
                SAFE_HEADERS
                    .into_iter()
                    .chain(asked.filter_map(|name| name.parse().ok())),
            )
        };
        let mut layer = CorsLayer::new()
            .allow_methods([Method::GET, Method::POST, Method::HEAD])
            .allow_origin(allow_origin)
            .allow_headers(allow_headers)
            // A browser sends no credentials to an answer that allows anyone.
            .allow_credentials(!any_origin);
        if self.max_age > 0 {
            layer = layer.max_age(Duration::from_secs(self.max_age));
        }
        Some(layer)
    }
}

/// Whether an origin is what a pattern with at most one `*` describes.
fn matches(pattern: &str, origin: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == origin,
        Some((start, end)) => {
            origin.len() >= start.len() + end.len()
                && origin.starts_with(start)
                && origin.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::post;
    use http::{Request, Response};
    use tower::ServiceExt;

    use super::*;

    async fn preflight(config: &CorsConfig, origin: &str) -> Response<Body> {
        let router = Router::new().route("/v1/traces", post(|| async {}));
        let request = Request::options("/v1/traces")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "x-scope-orgid")
            .body(Body::empty())
            .unwrap();
        let layered = router.layer(config.layer().unwrap());
        layered.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn origins_match_with_one_wildcard() {
        let config = CorsConfig {
            allowed_origins: vec![
                "https://*.Example.com".into(),
                "http://localhost:3000".into(),
            ],
            allowed_headers: vec!["X-Scope-OrgID".into()],
            max_age: 600,
        };
        for (origin, allowed) in [
            ("https://shop.example.com", true),
            ("http://localhost:3000", true),
            ("https://example.com", false),
            ("https://shop.example.com.evil.net", false),
            ("null", false),
        ] {
            let response = preflight(&config, origin).await;
            let answer = response.headers().get("access-control-allow-origin");
            assert_eq!(
                answer.is_some_and(|value| value == origin),
                allowed,
                "{origin}"
            );
        }
        let response = preflight(&config, "https://shop.example.com").await;
        let headers = response.headers();
        assert_eq!(headers["access-control-max-age"], "600");
        assert_eq!(headers["access-control-allow-credentials"], "true");
        let names = headers["access-control-allow-headers"].to_str().unwrap();
        assert!(
            names.split(',').any(|name| name == "x-scope-orgid"),
            "{names}"
        );
    }

    #[tokio::test]
    async fn any_origin_comes_without_credentials() {
        let config = CorsConfig {
            allowed_origins: vec!["*".into()],
            allowed_headers: vec!["*".into()],
            max_age: 0,
        };
        let response = preflight(&config, "https://anywhere.net").await;
        let headers = response.headers();
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert_eq!(headers["access-control-allow-headers"], "x-scope-orgid");
        assert!(!headers.contains_key("access-control-allow-credentials"));
    }

    #[test]
    fn without_origins_there_is_no_layer() {
        assert!(CorsConfig::default().layer().is_none());
    }
}
