//! What is secret in the settings is in no page, no log and no file, whatever goes
//! wrong while it is used.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use spanmill_integration::authority::Authority;
use spanmill_integration::http::{client, text_of};
use spanmill_integration::ports::Port;
use spanmill_integration::remote_write_sink::Answer;
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{RemoteWriteSink, Spanmill, eventually};

/// Stands in each setting that may be secret.
const CANARY: &str = "canary-5e1f";

/// "user:canary-5e1f" as basic authentication sends it.
const BASIC: &str = "dXNlcjpjYW5hcnktNWUxZg";

/// Every setting of a destination that may be secret, but for the ways to
/// authenticate, of which one has one.
fn secrets(name: &str, url: &str, key: &[String; 2]) -> Value {
    let (scheme, rest) = url.split_once("://").unwrap();
    let [certificate, key] = key;
    json!({
        "name": name,
        "url": format!("{scheme}://user:{CANARY}@{rest}?key={CANARY}"),
        "headers": {"X-Key": CANARY},
        "http_headers": {"X-Other": {"secrets": [CANARY]}},
        "proxy_connect_header": {"X-Tunnel": [CANARY]},
        "tls_config": {"cert": certificate, "key": key},
        "queue_config": {"max_backoff": "100ms"},
    })
}

/// The same with a way to authenticate, and a proxy where it is somewhere.
fn destination(mut secrets: Value, proxy: Option<String>, way: (&str, Value)) -> Value {
    secrets["proxy_from_environment"] = json!(proxy.is_none());
    if let Some(address) = proxy {
        secrets["proxy_url"] = json!(format!("http://user:{CANARY}@{address}/?key={CANARY}"));
    }
    secrets[way.0] = way.1;
    secrets
}

/// The tenant's own settings: a destination with everything, and headers.
fn write_overrides(file: &Path, destination: &Value) -> anyhow::Result<()> {
    let generator = json!({
        "remote_write": [destination],
        "remote_write_headers": {"X-Tenant-Key": CANARY},
    });
    let text = json!({"overrides": {"acme": {"metrics_generator": generator}}});
    Ok(std::fs::write(file, serde_json::to_string_pretty(&text)?)?)
}

/// Parts of everything that is secret here.
fn telling(private_key: &str) -> Vec<String> {
    let line = private_key.lines().nth(1).unwrap().to_owned();
    vec![CANARY.to_owned(), BASIC.to_owned(), line]
}

fn ensure_hidden(what: &str, shown: &str, private_key: &str) -> anyhow::Result<()> {
    for secret in telling(private_key) {
        ensure!(!shown.contains(&secret), "{what} shows {secret}: {shown}");
    }
    Ok(())
}

/// Paths and contents of all files below a directory.
fn everything_below(directory: &Path) -> anyhow::Result<String> {
    let mut everything = String::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        everything.push_str(&path.to_string_lossy());
        if path.is_dir() {
            everything.push_str(&everything_below(&path)?);
        } else {
            everything.push_str(&String::from_utf8_lossy(&std::fs::read(&path)?));
        }
    }
    Ok(everything)
}

fn identity() -> anyhow::Result<[String; 2]> {
    // The files go with it.
    let authority = Authority::new()?;
    let identity = authority.issue("client")?;
    Ok([
        std::fs::read_to_string(identity.certificate)?,
        std::fs::read_to_string(identity.key)?,
    ])
}

#[tokio::test]
async fn secrets_are_in_no_page_no_log_and_no_file() -> anyhow::Result<()> {
    let pair = identity()?;
    let (refusing, plain, proxy) = (
        RemoteWriteSink::start().await?,
        RemoteWriteSink::start().await?,
        RemoteWriteSink::start().await?,
    );
    refusing.always_answer(Some(Answer::status(401)?));
    proxy.always_answer(Some(Answer::status(407)?));
    let address = |sink: &RemoteWriteSink| {
        let url = sink.url();
        url.split('/').nth(2).unwrap().to_owned()
    };
    let nobody = Port::reserve()?;
    let basic = (
        "basic_auth",
        json!({"username": "user", "password": CANARY}),
    );
    let bearer = ("bearer_token", json!(CANARY));
    let token = ("authorization", json!({"credentials": CANARY}));
    let from_url = ("remote_timeout", json!("5s"));
    let at = |name: &str, url: String| secrets(name, &url, &pair);
    let destinations = [
        destination(at("refused", refusing.url()), None, basic.clone()),
        // Plain HTTP where TLS is spoken.
        destination(
            at("bad-tls", format!("https://{}/", address(&plain))),
            None,
            bearer,
        ),
        destination(
            at("no-proxy", "https://mimir.example/".to_owned()),
            Some(nobody.address().to_string()),
            token,
        ),
        destination(
            at("bad-proxy", "https://mimir.example/".to_owned()),
            Some(address(&proxy)),
            from_url,
        ),
    ];
    let runtime_file = tempfile::NamedTempFile::new()?;
    let own = at("own", "https://mimir.invalid/".to_owned());
    let own = destination(own, Some("proxy.invalid".to_owned()), basic);
    write_overrides(runtime_file.path(), &own)?;
    let config = json!({
        "server": {"log_level": "debug"},
        "multitenancy_enabled": true,
        "metrics_generator": {"storage": {
            "remote_write": destinations,
            "remote_write_flush_deadline": "100ms",
        }},
        "overrides": {
            "defaults": {"metrics_generator": {
                "remote_write_headers": {"X-Tenant-Key": CANARY},
                "remote_write": destinations,
            }},
            "per_tenant_override_config": runtime_file.path(),
            "per_tenant_override_period": "1s",
        },
    });
    let spanmill = Spanmill::builder()
        .config(&config.to_string())
        .start()
        .await?;
    for tenant in [SINGLE_TENANT, "acme"] {
        let traces = Traces::of_service("shop").spans("pay", 3, Duration::from_millis(3), 1);
        let answer = post(&spanmill.otlp_http(), &traces.request(), Some(tenant)).await?;
        answer.accepted()?;
    }
    eventually("every destination to fail", || async {
        let metrics = spanmill.metrics().await?;
        let failed = |counter: &str, endpoint: &str| {
            let counter = format!("spanmill_remote_write_samples_{counter}_total");
            metrics.sum(&counter, &[("endpoint", endpoint)]) > 0.0
        };
        ensure!(failed("dropped", "refused"), "not yet refused");
        for endpoint in ["bad-tls", "no-proxy", "bad-proxy"] {
            ensure!(
                failed("retried", endpoint),
                "{endpoint} was not yet retried"
            );
        }
        Ok(())
    })
    .await?;

    // A file that cannot be used is told of in the log.
    for broken in [
        json!({"url": format!("ftp://user:{CANARY}@h/?key={CANARY}")}),
        json!({"url": format!("http://user:{CANARY}@127.0.0.1/?key={CANARY}")}),
        json!({"url": "http://h", "headers": {"X-Key": format!("{CANARY}\n")}}),
        json!({"url": "http://h", "basic_auth": {"password": [CANARY]}}),
    ] {
        let before = spanmill
            .log()
            .matches("cannot use the overrides file")
            .count();
        write_overrides(runtime_file.path(), &broken)?;
        eventually("the file to be refused", || async {
            let now = spanmill
                .log()
                .matches("cannot use the overrides file")
                .count();
            ensure!(now > before, "not yet");
            Ok(())
        })
        .await?;
    }

    for path in [
        "/status",
        "/status/config",
        "/status/config?mode=diff",
        "/status/config?mode=defaults",
        "/status/overrides?format=json",
        "/status/overrides/acme",
        "/status/overrides/acme?format=json",
        "/status/runtime_config",
        "/status/runtime_config?mode=diff",
        "/status/services",
        "/status/version",
        "/metrics",
        "/metrics/generated/targets",
    ] {
        let page = text_of(client().get(spanmill.api(path))).await?;
        ensure_hidden(path, &page, &pair[1])?;
    }
    let config = text_of(client().get(spanmill.api("/status/config"))).await?;
    ensure!(config.contains("name: bad-proxy"), "{config}");
    let log = spanmill.log();
    ensure!(log.contains("bad-tls"), "{log}");
    ensure_hidden("the log", &log, &pair[1])?;
    let data = everything_below(&spanmill.directory().join("data"))?;
    ensure!(data.contains("spool"), "{data}");
    ensure_hidden("the data directory", &data, &pair[1])?;
    spanmill.finish(&[(SINGLE_TENANT, 3), ("acme", 3)]).await
}

#[tokio::test]
async fn secrets_are_not_in_the_message_of_a_bad_start() -> anyhow::Result<()> {
    for broken in [
        json!({"url": format!("ftp://user:{CANARY}@h/?key={CANARY}")}),
        json!({"url": format!("http://user:{CANARY}@h:port/")}),
        json!({"url": "http://h", "headers": {"X-Key": format!("{CANARY}\n")}}),
        json!({"url": "http://h", "headers": {"X-Key": [CANARY]}}),
        json!({"url": "http://h", "headers": {"Host": CANARY}}),
        json!({"url": "http://h", "basic_auth": {"password": [CANARY]}}),
        json!({"url": "http://h", "proxy_url": format!("socks5://user:{CANARY}@p")}),
        json!({"url": "http://h", "oauth2": {"client_secret": CANARY}}),
        json!({"url": "https://h", "tls_config": {"cert": "x", "key": CANARY}}),
    ] {
        let config = json!({"metrics_generator": {"storage": {"remote_write": [broken]}}});
        let (code, log) = Spanmill::builder()
            .config(&config.to_string())
            .run()
            .await?;
        ensure!(code == Some(2), "{broken} ended with {code:?}: {log}");
        ensure!(!log.contains(CANARY), "{broken}: {log}");
    }
    Ok(())
}
