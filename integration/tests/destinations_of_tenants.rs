//! Tenants have destinations of their own (D15), which change while spans come
//! in, and reach only what the operator allows.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use spanmill_integration::http::{client, text_of};
use spanmill_integration::ports::Port;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{RemoteWriteSink, Spanmill, eventually};

const CALLS: &str = "traces_spanmetrics_calls_total";

/// What tenants have of their own, by tenant.
fn write(file: &Path, tenants: &[(&str, Value)]) -> anyhow::Result<()> {
    let entry = |(tenant, settings): &(&str, Value)| {
        let settings = json!({"metrics_generator": settings});
        ((*tenant).to_owned(), settings)
    };
    let overrides: serde_json::Map<_, _> = tenants.iter().map(entry).collect();
    Ok(std::fs::write(
        file,
        json!({ "overrides": overrides }).to_string(),
    )?)
}

async fn push(spanmill: &Spanmill, tenant: &str, first_trace: u64) -> anyhow::Result<()> {
    let traces = Traces::of_service(tenant).spans("pay", 5, Duration::from_millis(3), first_trace);
    let answer = post(&spanmill.otlp_http(), &traces.request(), Some(tenant)).await?;
    answer.accepted().map(drop)
}

async fn start(
    everyones: &RemoteWriteSink,
    file: &Path,
    allowed: &[&str],
) -> anyhow::Result<Spanmill> {
    let config = json!({
        "multitenancy_enabled": true,
        "metrics_generator": {"storage": {
            "remote_write": [{"url": everyones.url(), "name": "everyones"}],
            "remote_write_flush_deadline": "1s",
        }},
        "overrides": {
            "per_tenant_override_config": file,
            "per_tenant_override_period": "1s",
            "remote_write_allowed_addresses": allowed,
        },
    });
    Spanmill::builder()
        .config(&config.to_string())
        .start()
        .await
}

/// Waits for a tenant's calls.
async fn arrived(sink: &RemoteWriteSink, tenant: &str, wanted: f64) -> anyhow::Result<()> {
    sink.eventually(&format!("{wanted} calls of {tenant}"), |received| {
        let calls = received.sum(tenant, CALLS, &[]);
        ensure!(calls == wanted, "{calls} calls");
        Ok(())
    })
    .await
}

fn tenants(sink: &RemoteWriteSink) -> Vec<String> {
    sink.received().tenants().map(str::to_owned).collect()
}

#[tokio::test]
async fn series_go_where_the_tenant_says_and_after_a_change_elsewhere() -> anyhow::Result<()> {
    let (everyones, first, second) = (
        RemoteWriteSink::start().await?,
        RemoteWriteSink::start().await?,
        RemoteWriteSink::start().await?,
    );
    let file = tempfile::NamedTempFile::new()?;
    let only_calls = json!([{"source_labels": ["__name__"], "regex": CALLS, "action": "keep"}]);
    let one = json!({"name": "first", "url": first.url()});
    let two = json!({"name": "second", "url": second.url(), "write_relabel_configs": only_calls});
    write(file.path(), &[("acme", json!({"remote_write": [one]}))])?;
    let spanmill = start(&everyones, file.path(), &["loopback"]).await?;
    push(&spanmill, "acme", 1).await?;
    push(&spanmill, "globex", 1).await?;
    arrived(&first, "acme", 5.0).await?;
    arrived(&everyones, "globex", 5.0).await?;

    // A second receiver beside the first.
    write(
        file.path(),
        &[("acme", json!({"remote_write": [one, two]}))],
    )?;
    push(&spanmill, "acme", 11).await?;
    arrived(&first, "acme", 10.0).await?;
    arrived(&second, "acme", 10.0).await?;
    for series in second.received().all_series("acme") {
        ensure!(series.name == CALLS, "{series:?}");
    }

    // Everyone's again, with an external label.
    let labels = json!({"registry": {"external_labels": {"cluster": "b"}}});
    write(file.path(), &[("acme", labels)])?;
    push(&spanmill, "acme", 21).await?;
    let what = "15 calls with the label";
    everyones
        .eventually(what, |received| {
            let calls = received.sum("acme", CALLS, &[("cluster", "b")]);
            ensure!(calls == 15.0, "{calls} calls");
            Ok(())
        })
        .await?;
    ensure!(tenants(&first) == ["acme"] && tenants(&second) == ["acme"]);
    ensure!(tenants(&everyones) == ["acme", "globex"]);
    spanmill.finish(&[("acme", 15), ("globex", 5)]).await
}

/// Of the name, only the resolver knows the address; nobody may connect.
#[tokio::test]
async fn what_overrides_may_not_reach_gets_no_connection() -> anyhow::Result<()> {
    let everyones = RemoteWriteSink::start().await?;
    let file = tempfile::NamedTempFile::new()?;
    let port = Port::reserve()?;
    let listener = std::net::TcpListener::bind(port.address())?;
    listener.set_nonblocking(true)?;
    let url = format!("http://localhost:{}/", port.number());
    write(
        file.path(),
        &[(
            "acme",
            json!({"remote_write": [{"name": "here", "url": url}]}),
        )],
    )?;
    let spanmill = start(&everyones, file.path(), &["public", "private"]).await?;
    push(&spanmill, "acme", 1).await?;
    eventually("a retry", || async {
        let metrics = spanmill.metrics().await?;
        let retried = metrics.sum("spanmill_remote_write_samples_retried_total", &[]);
        ensure!(retried > 0.0, "none yet");
        Ok(())
    })
    .await?;
    let log = spanmill.log();
    ensure!(log.contains("overrides may not reach localhost"), "{log}");

    // By its address it is refused with the file.
    let url = format!("http://0x7f.1:{}/", port.number());
    write(
        file.path(),
        &[("acme", json!({"remote_write": [{"url": url}]}))],
    )?;
    eventually("the file to be refused", || async {
        let metrics = spanmill.metrics().await?;
        let failed = metrics.sum("spanmill_overrides_reload_failed", &[]);
        ensure!(failed == 1.0, "not yet");
        Ok(())
    })
    .await?;
    let came = listener.accept().map_err(|error| error.kind()).err();
    ensure!(
        came == Some(std::io::ErrorKind::WouldBlock),
        "somebody came"
    );
    text_of(client().get(spanmill.api("/ready"))).await?;
    spanmill.finish(&[("acme", 5)]).await
}
