//! A request that a client sends again counts once (D36).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use spanmill_integration::Spanmill;
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::traces::{Traces, post};

const CALLS: &str = "traces_spanmetrics_calls_total";

fn checkout(first_trace: u64) -> Traces {
    Traces::of_service("checkout").spans("pay", 5, Duration::from_millis(3), first_trace)
}

#[tokio::test]
async fn request_that_comes_again_is_answered_alike_and_counted_once() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder().start().await?;
    let mut request = checkout(1).request();
    // Refused by the distributor, which passes on the rest.
    for spans in &mut request.resource_spans {
        let first = spans
            .scope_spans
            .iter_mut()
            .flat_map(|s| &mut s.spans)
            .next();
        first.context("no span")?.trace_id = vec![0; 16];
    }
    let first = post(&spanmill.otlp_http(), &request, None).await?;
    ensure!(
        first
            .accepted()?
            .partial_success
            .unwrap_or_default()
            .rejected_spans
            == 1
    );
    for _ in 0..3 {
        let again = post(&spanmill.otlp_http(), &request, None).await?;
        ensure!(again.accepted()? == first.accepted()?);
    }
    // The same services and names, but other spans.
    post(&spanmill.otlp_http(), &checkout(6).request(), None)
        .await?
        .accepted()?;
    let calls = spanmill.generated(SINGLE_TENANT).await?.sum(CALLS, &[]);
    ensure!(calls == 9.0, "{calls} calls");
    let duplicate = spanmill
        .ledger()
        .await?
        .discarded(SINGLE_TENANT, "duplicate");
    ensure!(duplicate == 12, "{duplicate} duplicate spans");
    spanmill.finish(&[(SINGLE_TENANT, 9)]).await
}

#[tokio::test]
async fn switched_off_every_request_counts() -> anyhow::Result<()> {
    let spanmill = Spanmill::builder()
        .config("metrics_generator: {deduplicate_pushes: false}")
        .start()
        .await?;
    let request = checkout(1).request();
    for _ in 0..2 {
        post(&spanmill.otlp_http(), &request, None)
            .await?
            .accepted()?;
    }
    let duplicate = spanmill
        .ledger()
        .await?
        .discarded(SINGLE_TENANT, "duplicate");
    ensure!(duplicate == 0, "{duplicate} duplicate spans");
    spanmill.finish(&[(SINGLE_TENANT, 10)]).await
}
