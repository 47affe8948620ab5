//! What is for operators is not on the ports where spans come in, and nothing is
//! changed by asking.

use anyhow::ensure;
use reqwest::Method;
use spanmill_integration::Spanmill;
use spanmill_integration::http::client;

const PATHS: [&str; 17] = [
    "/",
    "/ready",
    "/metrics",
    "/metrics/generated",
    "/metrics/generated/targets",
    "/status",
    "/status/config",
    "/status/overrides",
    "/status/overrides/acme",
    "/status/runtime_config",
    "/status/services",
    "/status/version",
    "/api/v1/tenants",
    "/api/v1/tenants/acme/cardinality",
    "/debug/pprof/",
    "/shutdown",
    "/flush",
];

/// Threats, S18.
#[tokio::test]
async fn ports_for_spans_have_none_of_the_pages_for_operators() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder()
        .config("multitenancy_enabled: true")
        .start()
        .await?;
    let traces = spanmill.otlp_http();
    let http = traces.trim_end_matches("/v1/traces");
    for port in [http, &spanmill.otlp_grpc(), &spanmill.internal_grpc()] {
        for path in PATHS {
            for method in [Method::GET, Method::POST] {
                let request = client().request(method.clone(), format!("{port}{path}"));
                let response = request.send().await?;
                // The way in which gRPC says it, 12 being UNIMPLEMENTED.
                let grpc = response.headers().get("grpc-status");
                let is_unimplemented = grpc.is_some_and(|status| status == "12");
                let status = response.status();
                ensure!(
                    status == 404 || is_unimplemented,
                    "{method} {port}{path}: {status}"
                );
            }
        }
    }
    // With many tenants, the port that they scrape does not tell of all of them.
    for path in [
        "/api/v1/tenants",
        "/api/v1/tenants/acme/cardinality",
        "/debug/pprof/",
    ] {
        let status = client().get(spanmill.api(path)).send().await?.status();
        ensure!(status == 404, "{path}: {status}");
    }
    spanmill.finish(&[]).await
}

#[tokio::test]
async fn nothing_is_changed_or_ended_over_http() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    for path in ["/shutdown", "/flush", "/-/reload", "/quit", "/debug/pprof/"] {
        for method in [Method::GET, Method::POST] {
            for url in [spanmill.api(path), spanmill.admin(path)] {
                let request = client().request(method.clone(), url.clone());
                let status = request.send().await?.status();
                ensure!(status == 404, "{method} {url}: {status}");
            }
        }
    }
    spanmill.finish(&[]).await
}
