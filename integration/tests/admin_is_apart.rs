//! What is for operators is not on the ports where spans come in, and nothing is
//! changed by asking; and with TLS it is for those alone who show a certificate.

use anyhow::ensure;
use reqwest::Method;
use serde_json::json;
use spanmill_integration::Spanmill;
use spanmill_integration::authority::{Authority, Identity};
use spanmill_integration::binaries::binary;
use spanmill_integration::http::client;
use tokio::process::Command;

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

#[tokio::test]
async fn admin_pages_with_tls_are_for_those_who_show_a_certificate() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let (server, operator) = (authority.issue("server")?, authority.issue("operator")?);
    let stranger = Authority::new()?.issue("stranger")?;
    let tls = json!({
        "cert_file": server.certificate,
        "key_file": server.key,
        "client_ca_file": authority.certificate(),
    });
    let config = json!({"server": {"admin_tls_config": tls}}).to_string();
    let spanmill = Spanmill::builder().config(&config).start().await?;
    let plain = client().get(spanmill.admin("/status")).send().await;
    ensure!(plain.is_err(), "without TLS: {plain:?}");

    let url = spanmill.admin("").replace("http:", "https:");
    let ask = async |identity: Option<&Identity>| {
        let mut spanmillctl = Command::new(binary("spanmillctl")?);
        spanmillctl.args(["tenants", "--url", &url]);
        spanmillctl.env("SPANMILL_CA_FILE", authority.certificate());
        if let Some(identity) = identity {
            spanmillctl.env("SPANMILL_CERT_FILE", &identity.certificate);
            spanmillctl.env("SPANMILL_KEY_FILE", &identity.key);
        }
        let output = spanmillctl.output().await?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::Ok((output.status.success(), text))
    };
    for (who, identity, is_let_in) in [
        ("nobody", None, false),
        ("a stranger", Some(&stranger), false),
        ("an operator", Some(&operator), true),
    ] {
        let (is_done, told) = ask(identity).await?;
        ensure!(is_done == is_let_in, "{who}: {told}");
    }
    // The other listeners have what is set for them.
    spanmill.finish(&[]).await
}
