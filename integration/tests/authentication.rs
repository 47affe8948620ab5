//! Who has a credential reaches what it gives, and nobody reaches more; credentials and
//! certificates change while spans come in, and none of these is lost.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::{Value, json};
use server::authentication::hash_token;
use server::grpc::BytesCodec;
use spanmill_integration::authority::Authority;
use spanmill_integration::http::{client, text_of};
use spanmill_integration::ledger::Ledger;
use spanmill_integration::traces::Traces;
use spanmill_integration::{Exposition, Spanmill, eventually};
use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const PUSH_SPANS: &str = "/tempopb.MetricsGenerator/PushSpans";

/// The secret that each credential here has is its name with this.
fn token(name: &str) -> String {
    format!("token-of-{name}")
}

fn credential(name: &str, tenants: &[&str], roles: &[&str]) -> serde_json::Value {
    let bearer_hash = hash_token(&token(name));
    json!({"name": name, "bearer_hash": bearer_hash, "tenants": tenants, "roles": roles})
}

fn one_span() -> Traces {
    Traces::of_service("shop").spans("pay", 1, Duration::from_millis(3), 1)
}

/// Headers of a request.
type Headers = Vec<(&'static str, String)>;

fn headers(name: Option<&str>, tenants: &[&str]) -> Headers {
    let authorization = name.map(|name| ("authorization", format!("Bearer {}", token(name))));
    let tenants = tenants
        .iter()
        .map(|tenant| ("x-scope-orgid", (*tenant).to_owned()));
    authorization.into_iter().chain(tenants).collect()
}

async fn grpc(address: &str, path: &'static str, headers: &Headers) -> anyhow::Result<Code> {
    let channel = Endpoint::from_shared(address.to_owned())?.connect().await?;
    let mut request = tonic::Request::new(Bytes::from(one_span().request().encode_to_vec()));
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse()?);
    }
    let mut grpc = Grpc::new(channel);
    grpc.ready().await?;
    let path = PathAndQuery::from_static(path);
    let answer = grpc.unary(request, path, BytesCodec).await;
    Ok(answer.map_or_else(|status| status.code(), |_| Code::Ok))
}

async fn http(request: reqwest::RequestBuilder, headers: &Headers) -> anyhow::Result<u16> {
    let mut request = request;
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    Ok(request.send().await?.status().as_u16())
}

async fn get(address: String, headers: &Headers) -> anyhow::Result<u16> {
    http(client().get(address), headers).await
}

/// The own metrics, as the operators see them.
async fn metrics(spanmill: &Spanmill) -> anyhow::Result<Exposition> {
    let page = client().get(spanmill.api("/metrics"));
    Exposition::parse(&text_of(page.bearer_auth(token("operators"))).await?)
}

/// Checks the ledger and that the tenant's calls are so many, then stops.
async fn finish(spanmill: Spanmill, tenant: &str, calls: u64) -> anyhow::Result<String> {
    let ledger = Ledger::check(&metrics(&spanmill).await?)?;
    let counted = ledger.counted(tenant, "span-metrics");
    ensure!(counted == calls, "{counted} spans counted, {calls} sent");
    spanmill.stop().await
}

/// Threats, S1.
#[tokio::test]
async fn credential_of_one_tenant_reaches_no_other_at_any_entry_point() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder()
        .config(
            &json!({
                "multitenancy_enabled": true,
                "authentication": {"credentials": [
                    credential("acme", &["acme"], &["write", "read"]),
                    credential("writer", &["acme"], &["write"]),
                    credential("reader", &["acme"], &["read"]),
                    credential("operators", &["*"], &["read", "admin"]),
                ]},
            })
            .to_string(),
        )
        .start()
        .await?;
    let mut accepted = 0;
    for (what, sent, write, read) in [
        ("own tenant", headers(Some("acme"), &["acme"]), 200, 200),
        ("the only tenant", headers(Some("acme"), &[]), 200, 200),
        (
            "the same twice",
            headers(Some("acme"), &["acme", "acme"]),
            200,
            200,
        ),
        ("other tenant", headers(Some("acme"), &["globex"]), 403, 403),
        ("other case", headers(Some("acme"), &["ACME"]), 403, 403),
        (
            "two tenants",
            headers(Some("acme"), &["acme", "globex"]),
            401,
            401,
        ),
        ("joined", headers(Some("acme"), &["acme|globex"]), 401, 401),
        ("listed", headers(Some("acme"), &["acme,globex"]), 401, 401),
        ("no tenant", headers(Some("acme"), &[""]), 401, 401),
        ("no credential", headers(None, &["acme"]), 401, 401),
        ("nothing", headers(None, &[]), 401, 401),
        ("unknown", headers(Some("nobody"), &["acme"]), 401, 401),
        (
            "only to write",
            headers(Some("writer"), &["acme"]),
            200,
            403,
        ),
        ("only to read", headers(Some("reader"), &["acme"]), 403, 200),
    ] {
        let post = client()
            .post(spanmill.otlp_http())
            .header("content-type", "application/x-protobuf")
            .body(one_span().request().encode_to_vec());
        let status = http(post, &sent).await?;
        ensure!(status == write, "{what}: OTLP/HTTP answered {status}");
        let code = match write {
            200 => Code::Ok,
            401 => Code::Unauthenticated,
            _ => Code::PermissionDenied,
        };
        for (address, path) in [
            (spanmill.otlp_grpc(), EXPORT),
            (spanmill.internal_grpc(), PUSH_SPANS),
        ] {
            let answered = grpc(&address, path, &sent).await?;
            ensure!(answered == code, "{what}: {path} answered {answered:?}");
        }
        accepted += if write == 200 { 3 } else { 0 };
        let status = get(spanmill.api("/metrics/generated"), &sent).await?;
        ensure!(status == read, "{what}: scrape answered {status}");
    }
    let acme = headers(Some("acme"), &[]);
    let operators = headers(Some("operators"), &[]);
    for (page, of_acme, of_operators, of_nobody) in [
        (spanmill.api("/ready"), 200, 200, 200),
        (spanmill.admin("/ready"), 200, 200, 200),
        (
            spanmill.api("/metrics/generated?tenant=acme"),
            200,
            200,
            401,
        ),
        (
            spanmill.api("/metrics/generated?tenant=globex"),
            403,
            200,
            401,
        ),
        (spanmill.api("/metrics/generated/targets"), 403, 200, 401),
        (spanmill.api("/metrics"), 403, 200, 401),
        (spanmill.api("/status/overrides/acme"), 200, 200, 401),
        (spanmill.api("/status/overrides/globex"), 403, 200, 401),
        (spanmill.api("/status/overrides"), 403, 200, 401),
        (spanmill.api("/status/config"), 403, 200, 401),
        (spanmill.admin("/status"), 403, 200, 401),
        (spanmill.admin("/api/v1/tenants"), 403, 200, 401),
        (spanmill.admin("/api/v1/tenants/acme"), 403, 200, 401),
        (spanmill.admin("/nothing"), 403, 404, 401),
    ] {
        for (who, headers, want) in [
            ("acme", &acme, of_acme),
            ("operators", &operators, of_operators),
            ("nobody", &Headers::new(), of_nobody),
        ] {
            let status = get(page.clone(), headers).await?;
            ensure!(status == want, "{page} answered {who} {status}");
        }
    }
    let config = client().get(spanmill.api("/status/config"));
    let config = text_of(config.bearer_auth(token("operators"))).await?;
    ensure!(config.contains("bearer_hash: <secret>"), "{config}");
    ensure!(!config.contains(&hash_token(&token("acme"))), "{config}");
    let log = finish(spanmill, "acme", accepted).await?;
    ensure!(
        !log.contains("token-of") && !log.contains("sha256:"),
        "{log}"
    );
    Ok(())
}

fn replace(file: &Path, credentials: &[serde_json::Value]) -> anyhow::Result<()> {
    let beside = file.with_extension("new");
    std::fs::write(&beside, json!({"credentials": credentials}).to_string())?;
    Ok(std::fs::rename(beside, file)?)
}

#[tokio::test]
async fn credentials_and_certificates_change_under_load_without_a_lost_span() -> anyhow::Result<()>
{
    let authority = Authority::new()?;
    let identity = authority.issue("server")?;
    let directory = tempfile::TempDir::new()?;
    let file = directory.path().join("credentials.yaml");
    let (old, new) = (
        credential("old", &["acme"], &["write"]),
        credential("new", &["acme"], &["write"]),
    );
    replace(&file, std::slice::from_ref(&old))?;
    let spanmill = Spanmill::builder()
        .config(
            &json!({
                "multitenancy_enabled": true,
                "authentication": {
                    "credentials": [credential("operators", &["*"], &["read", "admin"])],
                    "file": file,
                },
                "distributor": {"receivers": {"otlp": {"protocols": {"http": {"tls": {
                    "cert_file": identity.certificate,
                    "key_file": identity.key,
                    "reload_interval": "100ms",
                }}}}}},
            })
            .to_string(),
        )
        .start()
        .await?;
    let url = spanmill.otlp_http().replace("http:", "https:");
    // Each request has a connection of its own, and so meets the certificate as it is.
    let _ = client();
    let root = reqwest::Certificate::from_pem(&std::fs::read(authority.certificate())?)?;
    let sender = reqwest::Client::builder()
        .tls_certs_only([root])
        .pool_max_idle_per_host(0)
        .build()?;
    let current = Mutex::new(token("old"));
    let (is_over, sent) = (AtomicBool::new(false), Mutex::new(0_u64));
    let push = async |token: String| {
        let traces = Traces::of_service("shop").spans("pay", 10, Duration::from_millis(3), 1);
        let post = sender
            .post(&url)
            .header("content-type", "application/x-protobuf")
            .bearer_auth(token)
            .body(traces.request().encode_to_vec());
        anyhow::Ok(post.send().await?.status().as_u16())
    };
    let load = async {
        while !is_over.load(Ordering::Relaxed) {
            // In a statement of its own: the lock is not to be held while it is sent.
            let token = current.lock().clone();
            let status = push(token).await?;
            // Never once refused: what a client would have to send again counts as lost.
            ensure!(status == 200, "answered {status}");
            *sent.lock() += 10;
        }
        anyhow::Ok(())
    };
    let more = async || {
        let before = *sent.lock();
        eventually("more spans", async || {
            ensure!(*sent.lock() >= before + 200, "not yet");
            Ok(())
        })
        .await
    };
    let is_in_force = async |name: &str, is_there: bool, failed: f64| {
        eventually("the file to be read", async || {
            let text = text_of(
                client()
                    .get(spanmill.api("/metrics"))
                    .bearer_auth(token("operators")),
            )
            .await?;
            let line = format!("spanmill_authentication_requests_total{{credential=\"{name}\"}}");
            ensure!(text.contains(&line) == is_there, "{text}");
            let failed = format!("spanmill_authentication_reload_failed {failed}\n");
            ensure!(text.contains(&failed), "{text}");
            Ok(())
        })
        .await
    };
    let rotation = async {
        more().await?;
        replace(&file, &[old.clone(), new.clone()])?;
        is_in_force("new", true, 0.0).await?;
        *current.lock() = token("new");
        more().await?;
        for certificate in 1..=3 {
            authority.issue("server")?;
            eventually("the certificate to be served", async || {
                let reloads = spanmill.log().matches("certificate reloaded").count();
                ensure!(reloads >= certificate, "not yet");
                Ok(())
            })
            .await?;
            more().await?;
        }
        replace(&file, std::slice::from_ref(&new))?;
        is_in_force("old", false, 0.0).await?;
        ensure!(
            push(token("old")).await? == 401,
            "the old one is still taken"
        );
        std::fs::write(&file, "credentials: [")?;
        is_in_force("new", true, 1.0).await?;
        more().await?;
        anyhow::Ok(())
    };
    let rotation = async {
        let rotated = rotation.await;
        is_over.store(true, Ordering::Relaxed);
        rotated
    };
    let (loaded, rotated) = tokio::join!(load, rotation);
    rotated?;
    loaded?;
    let sent = *sent.lock();
    finish(spanmill, "acme", sent).await.map(drop)
}

#[tokio::test]
async fn deletion_of_a_tenant_names_the_credentials_that_it_leaves() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder()
        .config(
            &json!({
                "multitenancy_enabled": true,
                "authentication": {"credentials": [
                    credential("collectors", &["acme"], &["write"]),
                    credential("shared", &["globex", "acme"], &["write"]),
                    credential("of-globex", &["globex"], &["write"]),
                    credential("operators", &["*"], &["read", "admin"]),
                ]},
            })
            .to_string(),
        )
        .start()
        .await?;
    let sent = headers(Some("collectors"), &[]);
    let code = grpc(&spanmill.otlp_grpc(), EXPORT, &sent).await?;
    ensure!(code == Code::Ok, "{code:?}");
    let delete = client()
        .post(spanmill.admin("/api/v1/tenants/acme/delete"))
        .bearer_auth(token("operators"))
        .header("content-type", "application/json")
        .body(json!({"tenant": "acme"}).to_string());
    let answer: Value = serde_json::from_str(&text_of(delete).await?)?;
    let left = answer["left"].as_array().unwrap();
    let left: Vec<_> = left
        .iter()
        .map(|left| {
            (
                left["what"].as_str().unwrap(),
                left["why"].as_str().unwrap(),
            )
        })
        .collect();
    ensure!(
        matches!(
            left[..],
            [("its credential collectors", why), ("its credential shared", shared)]
                if why.contains("remove it") && shared.contains("other tenants use it")
        ),
        "{answer}"
    );
    spanmill.stop().await.map(drop)
}
