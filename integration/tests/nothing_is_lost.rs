//! What was collected is delivered, however the process and its receivers end:
//! each sample once and in order, and no tenant's under another's name.

use std::time::Duration;

use anyhow::ensure;
use proto::otlp::collector::ExportTraceServiceRequest;
use serde_json::json;
use spanmill_integration::deliveries::{left_in_spool, resets};
use spanmill_integration::remote_write_sink::ReceivedSeries;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Deliveries, Load, RemoteWriteSink, Spanmill, eventually};

const CALLS: &str = "traces_spanmetrics_calls_total";
const ACME: &str = "acme";
const OPERATIONS: u64 = 10;
const KILLS: u64 = 10;
const TENANTS: u64 = 100;

/// One call of each operation.
fn request(number: u64) -> ExportTraceServiceRequest {
    request_of("shop", number)
}

fn request_of(service: &str, number: u64) -> ExportTraceServiceRequest {
    let first = number * OPERATIONS;
    let traces = (0..OPERATIONS).fold(Traces::of_service(service), |traces, operation| {
        let (name, length) = (format!("operation {operation}"), Duration::from_millis(3));
        traces.spans(&name, 1, length, first + operation)
    });
    traces.request()
}

/// One that sends to these, in the order of their names `a`, `b` and so on.
async fn start(sinks: &[&RemoteWriteSink]) -> anyhow::Result<Spanmill> {
    let entry = |(name, sink): (&str, &&RemoteWriteSink)| json!({"name": name, "url": sink.url()});
    let entries: Vec<_> = ["a", "b"].into_iter().zip(sinks).map(entry).collect();
    let storage = json!({"remote_write": entries, "remote_write_flush_deadline": "2s"});
    let config = json!({
        "multitenancy_enabled": true,
        "metrics_generator": {"storage": storage},
    });
    Spanmill::builder()
        .config(&config.to_string())
        .start()
        .await
}

/// Waits until at least so many samples have been spooled; gives what there is then.
async fn spooled(spanmill: &Spanmill, samples: u64) -> anyhow::Result<u64> {
    eventually("samples in the spool", || async {
        let now = Deliveries::read(&spanmill.metrics().await?, &[]);
        ensure!(now.dropped == 0, "{now:?}");
        ensure!(now.spooled >= samples, "{now:?}");
        Ok(now.spooled)
    })
    .await
}

/// Waits until every operation has so many calls.
async fn arrived(sink: &RemoteWriteSink, calls: u64) -> anyhow::Result<()> {
    sink.eventually(&format!("{calls} calls of each operation"), |received| {
        let series: Vec<_> = received.series(ACME, CALLS, &[]).collect();
        ensure!(series.len() as u64 == OPERATIONS, "{} series", series.len());
        for series in series {
            let last = series.last();
            ensure!(last == Some(calls as f64), "{:?}", series.points);
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn planned_restart_while_the_receiver_is_away_costs_nothing() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    sink.take_down();
    let spanmill = start(&[&sink]).await?;
    let url = spanmill.otlp_http();
    let ((spanmill, left), requests) = Load::during(&url, Some(ACME), request, async |load| {
        load.more(100).await?;
        let before = spooled(&spanmill, 400).await?;
        let (spanmill, log) = spanmill.restart().await?;
        ensure!(log.contains("they stay in the spool"), "{log}");
        let left = left_in_spool(&spanmill.log())?;
        ensure!(left >= before, "{left} samples of {before} are left");
        load.more(100).await?;
        spooled(&spanmill, 400).await?;
        sink.bring_up().await?;
        load.more(100).await?;
        Ok((spanmill, left))
    })
    .await?;
    arrived(&sink, requests).await?;
    let deliveries = Deliveries::settled(&spanmill, &[], left).await?;
    ensure!(deliveries.dropped == 0, "{deliveries:?}");
    spanmill.ledger().await?;
    spanmill.stop().await?;

    sink.check_protocol()?;
    let received = sink.received();
    let (distinct, all) = (received.distinct_samples(), received.acknowledged_samples());
    ensure!(distinct >= deliveries.sent, "{distinct} of {deliveries:?}");
    ensure!(distinct == all, "{} samples came twice", all - distinct);
    received.check_every_collection_is_whole(ACME)?;
    let resets: usize = received.every_series().map(resets).sum();
    ensure!(resets == 0, "{resets} resets");
    Ok(())
}

/// The second process has counters of its own, which begin anew after all that the
/// first one left (D9).
#[tokio::test]
async fn crash_while_the_receiver_is_away_loses_nothing_that_was_collected() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    sink.take_down();
    let spanmill = start(&[&sink]).await?;
    let url = spanmill.otlp_http();
    let ((stopped, before), _) = Load::during(&url, Some(ACME), request, async |load| {
        load.more(100).await?;
        let before = spooled(&spanmill, 600).await?;
        Ok((spanmill.kill().await?, before))
    })
    .await?;
    let spanmill = stopped.start().await?;
    let left = left_in_spool(&spanmill.log())?;
    ensure!(left >= before, "{left} samples of {before} are left");

    let (spanmill, _) = Load::during(&url, Some(ACME), request, async |load| {
        load.more(100).await?;
        spooled(&spanmill, 400).await?;
        sink.bring_up().await?;
        load.more(100).await?;
        Ok(spanmill)
    })
    .await?;
    let calls = spanmill.ledger().await?.counted(ACME, "span-metrics");
    arrived(&sink, calls / OPERATIONS).await?;
    let deliveries = Deliveries::settled(&spanmill, &[], left).await?;
    ensure!(deliveries.dropped == 0, "{deliveries:?}");
    spanmill.stop().await?;

    sink.check_protocol()?;
    let received = sink.received();
    let (distinct, all) = (received.distinct_samples(), received.acknowledged_samples());
    ensure!(distinct >= deliveries.sent, "{distinct} of {deliveries:?}");
    ensure!(distinct == all, "{} samples came twice", all - distinct);
    received.check_every_collection_is_whole(ACME)?;
    for series in received.series(ACME, CALLS, &[]) {
        begins_with_zeros(series, 2)?;
    }
    Ok(())
}

/// Checks that a counter begins with a zero, and after each of its resets again.
fn begins_with_zeros(series: &ReceivedSeries, lives: usize) -> anyhow::Result<()> {
    let zeros = series.points.iter().filter(|(_, value)| *value == 0.0);
    let (zeros, resets) = (zeros.count(), resets(series));
    ensure!(
        zeros == lives && resets == lives - 1,
        "{zeros} zeros, {resets} resets: {:?}",
        series.points
    );
    Ok(())
}

#[tokio::test]
async fn ten_crashes_under_load_lose_nothing_that_was_collected() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    let spanmill = start(&[&sink]).await?;
    let url = spanmill.otlp_http();
    let ((spanmill, collected), _) = Load::during(&url, Some(ACME), request, async |load| {
        let (mut spanmill, mut collected) = (spanmill, 0);
        for number in 0..KILLS {
            load.more(20).await?;
            spooled(&spanmill, 1).await?;
            // At another moment between two collections each time.
            load.more(number * 10).await?;
            collected += spooled(&spanmill, 1).await?;
            spanmill = spanmill.kill().await?.start().await?;
        }
        load.more(20).await?;
        Ok((spanmill, collected))
    })
    .await?;
    let calls = spanmill.ledger().await?.counted(ACME, "span-metrics");
    arrived(&sink, calls / OPERATIONS).await?;
    let left = left_in_spool(&spanmill.log())?;
    let last = Deliveries::settled(&spanmill, &[], left).await?;
    ensure!(last.dropped == 0, "{last:?}");
    spanmill.stop().await?;

    // Also that what came twice was the same.
    sink.check_protocol()?;
    let received = sink.received();
    let (distinct, wanted) = (received.distinct_samples(), collected + last.spooled);
    ensure!(distinct >= wanted, "{distinct} of {wanted}");
    received.check_every_collection_is_whole(ACME)?;
    for series in received.series(ACME, CALLS, &[]) {
        begins_with_zeros(series, KILLS as usize + 1)?;
    }
    Ok(())
}

#[tokio::test]
async fn destination_that_is_away_holds_up_no_other_and_then_gets_everything() -> anyhow::Result<()>
{
    let (up, away) = (
        RemoteWriteSink::start().await?,
        RemoteWriteSink::start().await?,
    );
    away.take_down();
    let spanmill = start(&[&up, &away]).await?;
    let url = spanmill.otlp_http();
    let (spanmill, requests) = Load::during(&url, Some(ACME), request, async |load| {
        load.more(100).await?;
        spooled(&spanmill, 400).await?;
        let (spanmill, _) = spanmill.restart().await?;
        load.more(100).await?;
        spooled(&spanmill, 400).await?;
        Ok(spanmill)
    })
    .await?;
    arrived(&up, requests).await?;
    let behind = Deliveries::read(&spanmill.metrics().await?, &[("endpoint", "b")]);
    ensure!(
        behind.sent == 0 && behind.pending > behind.spooled,
        "{behind:?}"
    );

    away.bring_up().await?;
    arrived(&away, requests).await?;
    spanmill.ledger().await?;
    spanmill.stop().await?;
    for sink in [&up, &away] {
        sink.check_protocol()?;
        let received = sink.received();
        ensure!(received.distinct_samples() == received.acknowledged_samples());
        received.check_every_collection_is_whole(ACME)?;
    }
    ensure!(
        up.received()
            .every_series()
            .eq(away.received().every_series())
    );
    Ok(())
}

/// The label is the name of the tenant's only service.
#[tokio::test]
async fn no_sample_of_a_hundred_tenants_goes_out_under_another_name() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    sink.check_tenant_label("service");
    sink.take_down();
    let spanmill = Spanmill::builder()
        .config("multitenancy_enabled: true")
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write_flush_deadline: 2s, remote_write: \
             [{{url: '{}'}}]}}}}",
            sink.url()
        ))
        .start()
        .await?;
    push_as_each(&spanmill, 1).await?;
    spooled(&spanmill, TENANTS * OPERATIONS).await?;
    let (spanmill, _) = spanmill.restart().await?;
    push_as_each(&spanmill, 2).await?;
    spooled(&spanmill, TENANTS * OPERATIONS).await?;
    let spanmill = spanmill.kill().await?.start().await?;
    push_as_each(&spanmill, 3).await?;
    sink.bring_up().await?;
    for number in 0..TENANTS {
        let tenant = tenant(number);
        sink.eventually(&format!("the calls of {tenant}"), |received| {
            let calls = received.sum(&tenant, CALLS, &[]);
            ensure!(calls == OPERATIONS as f64, "{calls} calls");
            let mut series = received.series(&tenant, CALLS, &[]);
            ensure!(series.all(|series| resets(series) == 1), "not reset once");
            Ok(())
        })
        .await?;
    }
    sink.check_protocol()?;
    ensure!(sink.received().tenants().count() as u64 == TENANTS);
    spanmill.ledger().await?;
    spanmill.stop().await.map(drop)
}

fn tenant(number: u64) -> String {
    format!("tenant-{number}")
}

async fn push_as_each(spanmill: &Spanmill, round: u64) -> anyhow::Result<()> {
    for number in 0..TENANTS {
        let tenant = tenant(number);
        let request = request_of(&tenant, round * TENANTS + number);
        post(&spanmill.otlp_http(), &request, Some(&tenant))
            .await?
            .accepted()?;
    }
    Ok(())
}
