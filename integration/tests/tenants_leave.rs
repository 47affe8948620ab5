//! A tenant is deleted: its series end at the receiver, nothing of it is left on disk,
//! and nobody else notices.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use reqwest::StatusCode;
use serde_json::{Value, json};
use spanmill_integration::binaries::binary;
use spanmill_integration::http::{client, text_of};
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Prometheus, RemoteWriteSink, Spanmill, eventually};
use tokio::process::Command;

const CANARY: &str = "canary-7f3a";
const CALLS: &str = "traces_spanmetrics_calls_total";

/// One whose tenants may set what they like, with series at a receiver by tenant.
async fn start(url: &str, more: &Value) -> anyhow::Result<Spanmill> {
    let config = json!({
        "multitenancy_enabled": true,
        "metrics_generator": {"storage": {"remote_write": [{"url": url}]}},
        "overrides": {
            "defaults": {"metrics_generator": {
                "processors": ["span-metrics", "service-graphs"],
            }},
            "user_configurable_overrides": {"enabled": true},
        },
    });
    Spanmill::builder()
        .config(&config.to_string())
        .config("metrics_generator: {registry: {inject_tenant_id_as: tenant}}")
        .config(&more.to_string())
        .start()
        .await
}

async fn push(spanmill: &Spanmill, tenant: &str, name: &str, first: u64) -> anyhow::Result<()> {
    let traces = Traces::of_service("shop").spans(name, 10, Duration::from_millis(5), first);
    let answer = post(&spanmill.otlp_http(), &traces.request(), Some(tenant)).await?;
    answer.accepted()?;
    Ok(())
}

async fn delete(spanmill: &Spanmill, tenant: &str) -> anyhow::Result<Value> {
    let url = spanmill.admin(&format!("/api/v1/tenants/{tenant}/delete"));
    let request = client()
        .post(url)
        .header("content-type", "application/json");
    let answer = text_of(request.body(json!({"tenant": tenant}).to_string())).await?;
    Ok(serde_json::from_str(&answer)?)
}

/// Files below a directory that have the canary in them or in their names.
fn canaries(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            found.extend(canaries(&path));
        } else if name.contains(CANARY) || has_canary(&fs::read(&path).unwrap()) {
            found.push(name);
        }
    }
    found
}

fn has_canary(bytes: &[u8]) -> bool {
    let mut windows = bytes.windows(CANARY.len());
    windows.any(|window| window == CANARY.as_bytes())
}

async fn set_canary(spanmill: &Spanmill) -> anyhow::Result<()> {
    let settings = json!({"metrics_generator": {"processor": {"span_metrics": {
        "dimensions": [CANARY],
    }}}});
    let request = client()
        .patch(spanmill.api("/api/overrides"))
        .header("X-Scope-OrgID", "acme");
    text_of(request.body(settings.to_string())).await.map(drop)
}

#[tokio::test]
async fn deleted_tenant_ends_at_the_receiver_and_leaves_nothing() -> anyhow::Result<()> {
    let prometheus = Prometheus::start("scrape_configs: []").await?;
    let spanmill = start(&prometheus.url("/api/v1/write"), &json!({})).await?;
    set_canary(&spanmill).await?;
    push(&spanmill, "acme", CANARY, 1).await?;
    push(&spanmill, "globex", "pay", 1).await?;
    let calls = |tenant: &str| format!("sum({CALLS}{{tenant=\"{tenant}\"}}) or vector(0)");
    eventually("both tenants in Prometheus", || async {
        for tenant in ["acme", "globex"] {
            let value = prometheus.value(&calls(tenant), None).await?;
            ensure!(value == 10.0, "{tenant}: {value}");
        }
        Ok(())
    })
    .await?;
    let data = spanmill.directory().join("data");
    ensure!(
        canaries(&data).len() >= 2,
        "the canary is in spool and settings"
    );

    let arguments = ["tenant", "delete", "acme", "--url", &spanmill.admin("")];
    let spanmillctl = || Command::new(binary("spanmillctl").unwrap());
    let refused = spanmillctl().args(arguments).output().await?;
    ensure!(!refused.status.success(), "without --yes");
    let deleted = spanmillctl().args(arguments).arg("--yes").output().await?;
    let (text, problem) = (
        String::from_utf8(deleted.stdout)?,
        String::from_utf8(deleted.stderr)?,
    );
    ensure!(deleted.status.success(), "{problem}");
    ensure!(text.contains(" 0 samples not delivered"), "{text}");
    ensure!(!text.contains("left:"), "{text}");

    // Nothing is on disk, in metrics, on pages or at the receiver.
    ensure!(canaries(&data).is_empty(), "{:?}", canaries(&data));
    let metrics = text_of(client().get(spanmill.api("/metrics"))).await?;
    let left: Vec<_> = metrics
        .lines()
        .filter(|line| line.contains("acme"))
        .collect();
    ensure!(left.is_empty(), "{left:?}");
    let page = client().get(spanmill.admin("/api/v1/tenants/acme"));
    ensure!(page.send().await?.status() == StatusCode::NOT_FOUND);
    eventually("the end of all series of the tenant", || async {
        let value = prometheus
            .value("count({tenant=\"acme\"}) or vector(0)", None)
            .await?;
        ensure!(value == 0.0, "{value} series");
        Ok(())
    })
    .await?;

    // The neighbour goes on, and the tenant may begin anew, with a zero.
    push(&spanmill, "globex", "pay", 100).await?;
    push(&spanmill, "acme", "again", 100).await?;
    eventually("both tenants in Prometheus", || async {
        for (tenant, want) in [("acme", 10.0), ("globex", 20.0)] {
            let value = prometheus.value(&calls(tenant), None).await?;
            ensure!(value == want, "{tenant}: {value}");
        }
        Ok(())
    })
    .await?;
    let again = format!("{CALLS}{{tenant=\"acme\",span_name=\"again\"}}[5m]");
    let raw = prometheus.query(&again, None).await?;
    ensure!(raw.len() == 1 && raw[0].values[0].1 == 0.0, "{raw:?}");
    spanmill.finish(&[("acme", 10), ("globex", 20)]).await?;
    prometheus.stop().await
}

#[tokio::test]
async fn tenant_is_deleted_only_where_operators_are_and_on_purpose() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    let spanmill = start(&sink.url(), &json!({})).await?;
    push(&spanmill, "acme", "pay", 1).await?;
    let path = "/api/v1/tenants/acme/delete";
    let named = r#"{"tenant": "acme"}"#;
    let (json, form) = ("application/json", "text/plain");
    for (url, kind, body, want) in [
        (spanmill.api(path), json, named, 404),
        (spanmill.admin(path), form, named, 415),
        (spanmill.admin(path), json, r#"{"tenant": "globex"}"#, 400),
    ] {
        let request = client().post(&url).header("content-type", kind);
        let status = request.body(body).send().await?.status().as_u16();
        ensure!(status == want, "{url} {kind} {body}: {status}");
    }
    let read = client().get(spanmill.admin(path)).send().await?.status();
    ensure!(read == StatusCode::METHOD_NOT_ALLOWED, "GET: {read}");
    spanmill.finish(&[("acme", 10)]).await
}

#[tokio::test]
async fn what_the_operator_wrote_is_left_and_named() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("runtime.yaml");
    fs::write(
        &file,
        "overrides:\n  acme:\n    metrics_generator:\n      max_active_series: 500\n",
    )?;
    let more = json!({"overrides": {"per_tenant_override_config": file}});
    let spanmill = start(&sink.url(), &more).await?;
    push(&spanmill, "acme", "pay", 1).await?;
    let answer = delete(&spanmill, "acme").await?;
    let left = answer["left"].as_array().unwrap();
    let what = left[0]["what"].as_str().unwrap();
    ensure!(left.len() == 1 && what.contains("runtime.yaml"), "{answer}");
    ensure!(answer["series_ended"].as_u64() > Some(0), "{answer}");
    spanmill.finish(&[]).await
}

#[tokio::test]
async fn deletion_that_a_crash_interrupts_is_finished_by_the_next_start() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    let spanmill = start(&sink.url(), &json!({})).await?;
    set_canary(&spanmill).await?;
    push(&spanmill, "acme", CANARY, 1).await?;
    push(&spanmill, "globex", "pay", 1).await?;
    sink.eventually("what was counted", |received| {
        let sum = received.sum("acme", CALLS, &[]);
        ensure!(sum == 10.0, "{sum}");
        Ok(())
    })
    .await?;
    // It waits for a receiver that takes nothing.
    sink.take_down();
    let url = spanmill.admin("/api/v1/tenants/acme/delete");
    let request = client()
        .post(url)
        .header("content-type", "application/json");
    let asked = request.body(r#"{"tenant": "acme"}"#).send();
    let marks = spanmill.directory().join("data/deletions");
    let collected = eventually("the last collection", || async {
        ensure!(fs::read_dir(&marks)?.count() == 1, "no mark");
        let metrics = text_of(client().get(spanmill.api("/metrics"))).await?;
        let goes_on = "spanmill_generator_spans_received_total{tenant=\"acme\"}";
        ensure!(!metrics.contains(goes_on), "its instance is still there");
        Ok(())
    });
    // Its client goes then; it goes on.
    tokio::select! {
        answer = asked => anyhow::bail!("answered {answer:?}"),
        collected = collected => collected?,
    }
    let refused = Traces::of_service("shop").spans("pay", 1, Duration::from_millis(5), 50);
    let answer = post(&spanmill.otlp_http(), &refused.request(), Some("acme")).await?;
    ensure!(
        answer.status == 503,
        "while it is deleted: {}",
        answer.status
    );

    let stopped = spanmill.kill().await?;
    sink.bring_up().await?;
    let spanmill = stopped.start().await?;
    eventually("the deletion to be finished", || async {
        ensure!(fs::read_dir(&marks)?.count() == 0, "still marked");
        Ok(())
    })
    .await?;
    let data = spanmill.directory().join("data");
    ensure!(canaries(&data).is_empty(), "{:?}", canaries(&data));
    // What was collected last was still delivered.
    sink.eventually("the end of all series", |received| {
        let goes_on = received
            .all_series("acme")
            .find(|series| !series.has_ended());
        ensure!(goes_on.is_none(), "{goes_on:?}");
        Ok(())
    })
    .await?;
    sink.check_protocol()?;
    spanmill.finish(&[]).await
}
