//! The pages on tenants, and `spanmillctl` that reads them, say what was sent, what
//! became of it, and what would.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use spanmill_integration::binaries::binary;
use spanmill_integration::http::{client, text_of};
use spanmill_integration::traces::{Traces, post, text_attribute};
use spanmill_integration::{RemoteWriteSink, Spanmill, eventually};

/// Series of one label set of span metrics: calls, 14 buckets with `+Inf`, sum, count,
/// and size.
const PER_LABEL_SET: u64 = 19;

async fn page(spanmill: &Spanmill, path: &str) -> anyhow::Result<Value> {
    let text = text_of(client().get(spanmill.admin(path))).await?;
    Ok(serde_json::from_str(&text)?)
}

/// The answer on one tenant as soon as it is as wanted.
async fn tenant(
    spanmill: &Spanmill,
    tenant: &str,
    wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let path = format!("/api/v1/tenants/{tenant}");
    eventually(&format!("{tenant} as wanted"), async || {
        let answer = page(spanmill, &path).await?;
        ensure!(wanted(&answer), "{answer:#}");
        Ok(answer)
    })
    .await
}

/// Pushes spans of some hosts with an operation of its own each.
async fn push(
    spanmill: &Spanmill,
    tenant: Option<&str>,
    hosts: u64,
    first: u64,
) -> anyhow::Result<()> {
    for host in 0..hosts {
        let name = format!("GET /{host}");
        let traces = Traces::of_service("shop");
        let traces = traces.spans(&name, 1, Duration::from_millis(3), first + host);
        let mut request = traces.request();
        let resource = request.resource_spans[0].resource.as_mut().unwrap();
        let host = text_attribute("host.id", &format!("host-{host}"));
        resource.attributes.push(host);
        let answer = post(&spanmill.otlp_http(), &request, tenant).await?;
        answer.accepted()?;
    }
    Ok(())
}

#[tokio::test]
async fn tenants_are_shown_with_what_they_sent_and_wait_for() -> anyhow::Result<()> {
    let (good, bad) = (
        RemoteWriteSink::start().await?,
        RemoteWriteSink::start().await?,
    );
    bad.take_down();
    let own = |sink: &RemoteWriteSink, name: &str| json!({"metrics_generator": {"remote_write": [{"name": name, "url": sink.url()}]}});
    let file = tempfile::NamedTempFile::new()?;
    let overrides = json!({"overrides": {"acme": own(&good, "good"), "globex": own(&bad, "bad")}});
    std::fs::write(file.path(), overrides.to_string())?;
    let config = json!({
        "multitenancy_enabled": true,
        "metrics_generator": {"storage": {"remote_write_flush_deadline": "1s"}},
        "overrides": {
            "per_tenant_override_config": file.path(),
            "remote_write_allowed_addresses": ["loopback"],
        },
    });
    let config = config.to_string();
    let spanmill = Spanmill::builder().config(&config).start().await?;
    push(&spanmill, Some("acme"), 3, 1).await?;
    push(&spanmill, Some("globex"), 2, 11).await?;
    // A span without a trace id.
    let mut request = Traces::of_service("shop")
        .spans("bad", 1, Duration::ZERO, 21)
        .request();
    request.resource_spans[0].scope_spans[0].spans[0].trace_id = vec![0; 16];
    post(&spanmill.otlp_http(), &request, Some("acme")).await?;

    let is_sent = |answer: &Value| {
        let to = &answer["remote_write"]["destinations"][0];
        to["sent_samples"] != 0 && to["pending_samples"] == 0
    };
    let acme = tenant(&spanmill, "acme", is_sent).await?;
    ensure!(acme["processors"] == json!(["span-metrics"]), "{acme:#}");
    let series = 3 * PER_LABEL_SET;
    let level = json!({"active": series, "limit": 0, "demand": series});
    ensure!(acme["series"] == level, "{acme:#}");
    ensure!(acme["label_sets"]["active"] == 3, "{acme:#}");
    ensure!(acme["spans"]["total"] == 3, "{acme:#}");
    let refused = json!([{"stage": "distributor", "reason": "invalid_trace_id", "spans": 1}]);
    ensure!(acme["discards"] == refused, "{acme:#}");
    let to = &acme["remote_write"]["destinations"][0];
    ensure!(to["name"] == "good" && to["lag_seconds"] == 0.0, "{acme:#}");

    let is_behind = |answer: &Value| {
        let to = &answer["remote_write"]["destinations"][0];
        to["lag_seconds"].as_f64() > Some(0.0) && to["failures"] != 0
    };
    let globex = tenant(&spanmill, "globex", is_behind).await?;
    let to = &globex["remote_write"]["destinations"][0];
    ensure!(to["name"] == "bad" && to["sent_samples"] == 0, "{globex:#}");
    ensure!(
        to["pending_samples"].as_u64() >= Some(2 * PER_LABEL_SET),
        "{globex:#}"
    );
    ensure!(globex["remote_write"]["spool_bytes"] != 0, "{globex:#}");

    for (sort, first) in [("series", "acme"), ("discards", "acme"), ("lag", "globex")] {
        let list = page(&spanmill, &format!("/api/v1/tenants?sort={sort}&limit=1")).await?;
        ensure!(list["total"] == 2, "{list:#}");
        ensure!(list["tenants"][0]["tenant"] == first, "{sort}: {list:#}");
    }
    // Who sends and queries for one tenant does not see the others.
    let path = spanmill.api("/api/v1/tenants");
    let elsewhere = client().get(path).send().await?;
    ensure!(elsewhere.status() == 404, "{}", elsewhere.status());
    bad.bring_up().await?;
    spanmill.finish(&[("acme", 3), ("globex", 2)]).await
}

#[tokio::test]
async fn what_if_is_what_then_comes() -> anyhow::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "overrides: {}")?;
    let config = json!({"overrides": {
        "per_tenant_override_config": file.path(),
        "per_tenant_override_period": "1s",
    }});
    let config = config.to_string();
    let spanmill = Spanmill::builder().config(&config).start().await?;
    push(&spanmill, None, 4, 1).await?;
    let path = "/api/v1/tenants/single-tenant/cardinality?drop=span_name&enable=host-info";
    // Refused while it is the other one's turn.
    let answer = eventually("a trial of its own", async || {
        page(&spanmill, &format!("{path}&for=3s")).await
    });
    let sending = async {
        eventually("the trial", async || {
            let other = spanmill.admin(&format!("{path}&for=1ms"));
            let status = client().get(other).send().await?.status();
            ensure!(status == 409, "{status}");
            Ok(())
        })
        .await?;
        push(&spanmill, None, 4, 11).await
    };
    let (answer, sent) = tokio::join!(answer, sending);
    sent?;
    let answer = answer?;
    ensure!(answer["series"] == 4 * PER_LABEL_SET, "{answer:#}");
    // One operation is left of four.
    ensure!(
        answer["drop"]["series_without"] == PER_LABEL_SET,
        "{answer:#}"
    );
    let enable = &answer["enable"];
    ensure!(
        enable["series"] == 4 && enable["known"] == false,
        "{enable:#}"
    );
    ensure!(enable["trial"]["spans"] == 4, "{enable:#}");
    let label = &enable["families"][0]["labels"][0];
    ensure!(label["values"] == 4, "{enable:#}");

    // Then it is really switched on.
    let processors = json!(["span-metrics", "host-info"]);
    let runtime = json!({"overrides": {"*": {"metrics_generator": {"processors": processors}}}});
    std::fs::write(file.path(), runtime.to_string())?;
    let is_on = |answer: &Value| answer["processors"].as_array().map(Vec::len) == Some(2);
    tenant(&spanmill, "single-tenant", is_on).await?;
    push(&spanmill, None, 4, 21).await?;
    let series = 4 * PER_LABEL_SET + 4;
    let has_hosts = |answer: &Value| answer["series"]["active"] == series;
    tenant(&spanmill, "single-tenant", has_hosts).await?;
    spanmill.finish(&[("single-tenant", 12)]).await
}

#[tokio::test]
async fn spanmillctl_shows_tenants_in_tables() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    push(&spanmill, None, 2, 1).await?;
    // With one tenant, the HTTP API has the pages, too.
    let url = format!("--url=http://{}", spanmill.api_address());
    for (args, wanted) in [
        (&["tenants"][..], "single-tenant      38      -      38"),
        (
            &["tenant", "single-tenant"],
            "series            38, without a limit",
        ),
        (&["tenant", "single-tenant", "--json"], "\"active\": 38,"),
        (
            &["cardinality", "single-tenant", "--drop=span_name"],
            "Without span_name: about 19 series instead of 38",
        ),
        (
            &["overrides", "single-tenant"],
            "metrics_generator.processors",
        ),
    ] {
        let output = tokio::process::Command::new(binary("spanmillctl")?)
            .args(args)
            .arg(&url)
            .output()
            .await?;
        let text = String::from_utf8(output.stdout)?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success() && text.contains(wanted),
            "{args:?}: {text}{error}"
        );
    }
    spanmill.finish(&[("single-tenant", 2)]).await
}
