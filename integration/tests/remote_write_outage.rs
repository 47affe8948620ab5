//! While the receiver is away, samples wait; when it is back, all arrive, each
//! tenant's under its own name.

use std::time::Duration;

use anyhow::ensure;
use spanmill_integration::remote_write_sink::Answer;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{RemoteWriteSink, Spanmill, eventually};

const CALLS: &str = "traces_spanmetrics_calls_total";
const TENANTS: [(&str, u64); 3] = [("acme", 5), ("globex", 7), ("initech", 11)];

async fn start(sink: &RemoteWriteSink) -> anyhow::Result<Spanmill> {
    Spanmill::builder()
        .config("multitenancy_enabled: true")
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write: [{{url: '{}', name: sink}}]}}}}",
            sink.url()
        ))
        .start()
        .await
}

/// Each tenant's spans come from a service of the tenant's name.
async fn push(spanmill: &Spanmill) -> anyhow::Result<()> {
    for (tenant, spans) in TENANTS {
        let traces = Traces::of_service(tenant).spans("pay", spans, Duration::from_millis(3), 1);
        post(&spanmill.otlp_http(), &traces.request(), Some(tenant))
            .await?
            .accepted()?;
    }
    Ok(())
}

/// Waits for what the tenants' calls add up to after so many pushes, and checks
/// that nobody was sent what is another's.
async fn arrived(sink: &RemoteWriteSink, pushes: u64) -> anyhow::Result<()> {
    for (tenant, spans) in TENANTS {
        let wanted = (spans * pushes) as f64;
        sink.eventually(&format!("{wanted} calls of {tenant}"), |received| {
            let calls = received.sum(tenant, CALLS, &[]);
            ensure!(calls == wanted, "{calls} calls");
            Ok(())
        })
        .await?;
    }
    let received = sink.received();
    for tenant in received.tenants() {
        for series in received.all_series(tenant) {
            let service = series.labels.get("service").map(String::as_str);
            ensure!(service == Some(tenant), "{tenant} has {series:?}");
        }
    }
    Ok(())
}

/// Waits until so many samples were sent in vain.
async fn retried(spanmill: &Spanmill) -> anyhow::Result<()> {
    eventually("a retry", || async {
        let metrics = spanmill.metrics().await?;
        let retried = metrics.sum("spanmill_remote_write_samples_retried_total", &[]);
        ensure!(retried > 0.0, "none yet");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn receiver_that_comes_back_gets_everything() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    sink.take_down();
    let spanmill = start(&sink).await?;
    push(&spanmill).await?;
    retried(&spanmill).await?;
    sink.bring_up().await?;
    push(&spanmill).await?;
    arrived(&sink, 2).await?;
    sink.check_protocol()?;
    let metrics = spanmill.metrics().await?;
    ensure!(metrics.sum("spanmill_remote_write_samples_dropped_total", &[]) == 0.0);
    spanmill
        .finish(&TENANTS.map(|(tenant, spans)| (tenant, spans * 2)))
        .await
}

#[tokio::test]
async fn receiver_that_is_overloaded_is_asked_again_and_gets_everything() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    sink.answer([
        Answer::status(503)?.retry_after("1").body("overloaded"),
        Answer::status(429)?,
        Answer::status(500)?,
    ]);
    let spanmill = start(&sink).await?;
    push(&spanmill).await?;
    arrived(&sink, 1).await?;
    sink.check_protocol()?;
    let refused = sink
        .received()
        .requests
        .iter()
        .filter(|r| r.status != 204)
        .count();
    ensure!(refused == 3, "{refused} requests refused");
    spanmill.finish(&TENANTS).await
}

#[tokio::test]
async fn samples_that_are_refused_for_good_are_counted_and_the_next_arrive() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    sink.always_answer(Some(Answer::status(400)?.body("out of order sample")));
    let spanmill = start(&sink).await?;
    push(&spanmill).await?;
    let dropped = "spanmill_remote_write_samples_dropped_total";
    let by_reason = [("endpoint", "sink"), ("reason", "bad_request")];
    for (tenant, _) in TENANTS {
        eventually("dropped samples", || async {
            let metrics = spanmill.metrics().await?;
            let of_tenant = [by_reason.as_slice(), &[("tenant", tenant)]].concat();
            ensure!(metrics.sum(dropped, &of_tenant) > 0.0, "none of {tenant}");
            Ok(())
        })
        .await?;
    }
    sink.always_answer(None);
    arrived(&sink, 1).await?;
    sink.check_protocol()?;
    spanmill.finish(&TENANTS).await
}
