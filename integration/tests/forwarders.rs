//! Spans that are sent on: a required forwarder's target goes down and comes back, and
//! nothing is missing or double there or here afterwards; another's stands in nobody's
//! way.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use spanmill_integration::authority::Authority;
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::traces::{Traces, post, text_attribute};
use spanmill_integration::{Spanmill, eventually};

const CALLS: &str = "traces_spanmetrics_calls_total";
const REQUESTS: &str = "spanmill_forwarder_requests_total";
const SPANS: u64 = 5;

/// A target that counts every request, also one that comes again.
async fn target() -> anyhow::Result<Spanmill> {
    Spanmill::builder()
        .config("metrics_generator: {deduplicate_pushes: false}")
        .start()
        .await
}

/// One that sends on to a target.
async fn front(target: &Spanmill, settings: &str) -> anyhow::Result<Spanmill> {
    let endpoint = target.otlp_grpc().replace("http://", "");
    let config = format!(
        "distributor: {{forwarders: [{{name: store, {settings}, otlpgrpc: {{endpoints: \
         ['{endpoint}'], tls: {{insecure: true}}}}}}]}}\n\
         overrides: {{defaults: {{forwarders: [store]}}}}"
    );
    Spanmill::builder().config(&config).start().await
}

fn request(number: u64) -> Traces {
    Traces::of_service("checkout").spans("pay", SPANS, Duration::from_millis(3), number * SPANS + 1)
}

async fn calls(spanmill: &Spanmill) -> anyhow::Result<f64> {
    Ok(spanmill.generated(SINGLE_TENANT).await?.sum(CALLS, &[]))
}

#[tokio::test]
async fn nothing_is_missing_or_double_after_a_required_target_was_down() -> anyhow::Result<()> {
    let store = target().await?;
    let front = front(&store, "required: true").await?;
    let requests: Vec<_> = (0..30).map(|number| request(number).request()).collect();
    for request in &requests[..10] {
        post(&front.otlp_http(), request, None).await?.accepted()?;
    }
    ensure!(
        calls(&store).await? == 50.0,
        "an OK came before the target had it"
    );

    let stopped = store.stop_for_now().await?;
    for request in &requests[10..20] {
        let refused = post(&front.otlp_http(), request, None).await?;
        ensure!(refused.status == 503, "answered {}", refused.status);
    }
    ensure!(calls(&front).await? == 50.0, "what was refused is counted");
    let store = stopped.start().await?;
    for request in &requests[10..] {
        eventually("the target to take spans again", || async {
            post(&front.otlp_http(), request, None).await?.accepted()
        })
        .await?;
        // As a client does that has not seen the answer.
        post(&front.otlp_http(), request, None).await?.accepted()?;
    }
    for spanmill in [&store, &front] {
        let calls = calls(spanmill).await?;
        ensure!(calls == 150.0, "{calls} calls");
    }
    let labels = [("result", "repeated")];
    let repeated = front.metrics().await?.sum(REQUESTS, &labels);
    ensure!(repeated == 20.0, "{repeated} requests repeated");
    // The target's ledger begins anew with its start, its series do not.
    store.finish(&[(SINGLE_TENANT, 100)]).await?;
    front.finish(&[(SINGLE_TENANT, 150)]).await
}

#[tokio::test]
async fn target_that_is_not_required_stands_in_nobodys_way() -> anyhow::Result<()> {
    let copy = target().await?;
    let filter = "filter: {traces: {span: ['name == \"noise\"']}}";
    let front = front(&copy, filter).await?;
    let stopped = copy.stop_for_now().await?;
    for number in 0..10 {
        let request = request(number).request();
        post(&front.otlp_http(), &request, None).await?.accepted()?;
    }
    let noise = Traces::of_service("checkout").spans("noise", 1, Duration::ZERO, 1_000);
    post(&front.otlp_http(), &noise.request(), None)
        .await?
        .accepted()?;
    ensure!(calls(&front).await? == 51.0, "not all was counted");
    let copy = stopped.start().await?;
    eventually("the target to have what waited", || async {
        let calls = calls(&copy).await?;
        ensure!(calls == 50.0, "{calls} calls");
        Ok(())
    })
    .await?;
    front.finish(&[(SINGLE_TENANT, 51)]).await?;
    copy.finish(&[(SINGLE_TENANT, 50)]).await
}

#[tokio::test]
async fn attributes_that_are_cut_here_are_sent_on_whole() -> anyhow::Result<()> {
    let store = target().await?;
    let front = front(&store, "required: true").await?;
    let mut request = request(0).request();
    let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
    let long = text_attribute("db.statement", &"x".repeat(3_000));
    span.attributes.push(long);
    post(&front.otlp_http(), &request, None).await?.accepted()?;
    for spanmill in [&store, &front] {
        let cut = "spanmill_distributor_attributes_truncated_total";
        let cut = spanmill.metrics().await?.sum(cut, &[]);
        ensure!(cut == 1.0, "{cut} attributes cut");
    }
    store.finish(&[(SINGLE_TENANT, SPANS)]).await?;
    front.finish(&[(SINGLE_TENANT, SPANS)]).await
}

#[tokio::test]
async fn target_with_tls_is_sent_to_if_its_certificate_is_trusted() -> anyhow::Result<()> {
    let (authority, another) = (Authority::new()?, Authority::new()?);
    let identity = authority.issue("store")?;
    let tls = json!({"cert_file": identity.certificate, "key_file": identity.key});
    let grpc = json!({"protocols": {"grpc": {"tls": tls}}});
    let store = Spanmill::builder()
        .config(&json!({"distributor": {"receivers": {"otlp": grpc}}}).to_string())
        .start()
        .await?;
    let endpoint = store.otlp_grpc().replace("http://", "");
    let front = async |root: &Authority| {
        let forwarder = json!({
            "name": "store",
            "required": true,
            "otlpgrpc": {"endpoints": [endpoint], "tls": {"cert_file": root.certificate()}},
        });
        let config = json!({
            "distributor": {"forwarders": [forwarder]},
            "overrides": {"defaults": {"forwarders": ["store"]}},
        });
        Spanmill::builder()
            .config(&config.to_string())
            .start()
            .await
    };
    let (trusting, doubting) = (front(&authority).await?, front(&another).await?);
    let sent = request(1).request();
    post(&trusting.otlp_http(), &sent, None).await?.accepted()?;
    let refused = post(&doubting.otlp_http(), &sent, None).await?;
    ensure!(refused.status == 503, "answered {}", refused.status);
    ensure!(calls(&store).await? == 5.0, "once, by the one that trusts");
    trusting.finish(&[(SINGLE_TENANT, 5)]).await?;
    doubting.finish(&[]).await?;
    store.finish(&[(SINGLE_TENANT, 5)]).await
}
