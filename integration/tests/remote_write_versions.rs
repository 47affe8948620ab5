//! With `protobuf_message: auto` every receiver gets exact numbers, whichever
//! version of remote write it knows: 2.0 if it can, and 1.0 otherwise, even if it
//! says nothing of what it does not understand.

use std::time::Duration;

use anyhow::{Context, ensure};
use spanmill_integration::remote_write_sink::{Answer, ReceivedMetadata, ReceivedSeries, Version};
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::traces::{Traces, post};
use spanmill_integration::{Prometheus, RemoteWriteSink, Spanmill, VictoriaMetrics, eventually};

const CALLS: &str = "traces_spanmetrics_calls_total";
const COUNT: &str = "traces_spanmetrics_latency_count";
const LATENCY: &str = "traces_spanmetrics_latency";
const FALLBACKS: &str = "spanmill_remote_write_fallbacks_total";

async fn start(url: &str) -> anyhow::Result<Spanmill> {
    Spanmill::builder()
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write: \
             [{{url: '{url}', name: sink, protobuf_message: auto}}]}}}}"
        ))
        .start()
        .await
}

async fn push(spanmill: &Spanmill, count: u64, first_trace: u64) -> anyhow::Result<()> {
    let traces =
        Traces::of_service("shop").spans("GET /", count, Duration::from_millis(5), first_trace);
    post(&spanmill.otlp_http(), &traces.request(), None)
        .await?
        .accepted()?;
    Ok(())
}

async fn fallbacks(spanmill: &Spanmill) -> anyhow::Result<f64> {
    Ok(spanmill.metrics().await?.sum(FALLBACKS, &[]))
}

/// Debian's is of a time before 2.0: it answers 204 and stores nothing of it.
#[tokio::test]
async fn prometheus_that_knows_1_0_only_stores_every_call() -> anyhow::Result<()> {
    let prometheus = Prometheus::start("scrape_configs: []").await?;
    let spanmill = start(&prometheus.url("/api/v1/write")).await?;
    push(&spanmill, 100, 1).await?;
    for name in [CALLS, COUNT] {
        let sum = format!("sum({name})");
        eventually("100 calls in Prometheus", || async {
            let value = prometheus.value(&sum, None).await?;
            ensure!(value == 100.0, "{value} in {name}");
            Ok(())
        })
        .await?;
    }
    // The very first request, with the zero before the first value, is there.
    let raw = prometheus.query(&format!("{CALLS}[5m]"), None).await?;
    let [series] = raw.as_slice() else {
        anyhow::bail!("{} series", raw.len());
    };
    let first = series.values.first().context("no values")?;
    ensure!(first.1 == 0.0, "it begins with {first:?}");
    ensure!(fallbacks(&spanmill).await? == 1.0);
    spanmill.finish(&[(SINGLE_TENANT, 100)]).await?;
    prometheus.stop().await
}

#[tokio::test]
async fn victoria_metrics_stores_every_call() -> anyhow::Result<()> {
    let victoria_metrics = VictoriaMetrics::start().await?;
    let spanmill = start(&victoria_metrics.url("/api/v1/write")).await?;
    push(&spanmill, 100, 1).await?;
    for name in [CALLS, COUNT] {
        eventually("100 calls in VictoriaMetrics", || async {
            let stored = victoria_metrics.stored(name).await?;
            let [series] = stored.as_slice() else {
                anyhow::bail!("{} series", stored.len());
            };
            let mut values = series.values.clone();
            values.dedup();
            ensure!(values == [0.0, 100.0], "values {values:?} of {name}");
            Ok(())
        })
        .await?;
    }
    ensure!(fallbacks(&spanmill).await? == 1.0);
    spanmill.finish(&[(SINGLE_TENANT, 100)]).await?;
    victoria_metrics.stop().await
}

#[tokio::test]
async fn receiver_of_2_0_gets_every_call_with_what_it_means() -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    let spanmill = start(&sink.url()).await?;
    push(&spanmill, 100, 1).await?;
    arrived(&sink, 100.0).await?;
    ensure!(fallbacks(&spanmill).await? == 0.0);
    spanmill.finish(&[(SINGLE_TENANT, 100)]).await?;
    let received = sink.received();
    let mut versions = received.requests.iter().map(|request| request.version);
    ensure!(versions.all(|version| version == Version::V2));
    for (name, kind, help, unit) in [
        (CALLS, "COUNTER", "Spans, each counted with its weight", ""),
        (
            "traces_spanmetrics_latency_bucket",
            "HISTOGRAM",
            "Duration of spans in seconds",
            "seconds",
        ),
        (
            "traces_spanmetrics_size_total",
            "COUNTER",
            "Bytes of the encoded spans",
            "bytes",
        ),
    ] {
        for series in received.series("", name, &[]) {
            let said = series.metadata.clone().context("nothing is said")?;
            // Counted since the spans came: after the zero, before the value.
            let times = series.points.iter().map(|(time, _)| *time);
            let [first, second] = times.take(2).collect::<Vec<_>>()[..] else {
                anyhow::bail!("{name} has {:?}", series.points);
            };
            ensure!(first <= said.started_ms && said.started_ms <= second);
            let want = ReceivedMetadata {
                kind: kind.to_owned(),
                help: help.to_owned(),
                unit: unit.to_owned(),
                started_ms: said.started_ms,
            };
            ensure!(said == want, "{said:?}");
        }
    }
    drop(received);
    sink.check_protocol()
}

#[tokio::test]
async fn both_versions_have_the_same_native_histograms() -> anyhow::Result<()> {
    let first = RemoteWriteSink::start().await?;
    let second = RemoteWriteSink::start().await?;
    let endpoints = format!(
        "[{{url: '{}', name: first}}, \
         {{url: '{}', name: second, protobuf_message: io.prometheus.write.v2.Request}}]",
        first.url(),
        second.url()
    );
    let spanmill = Spanmill::builder()
        .config("overrides: {defaults: {metrics_generator: {generate_native_histograms: native}}}")
        .config(&format!(
            "metrics_generator: {{storage: {{remote_write: {endpoints}}}}}"
        ))
        .start()
        .await?;
    push(&spanmill, 100, 1).await?;
    for sink in [&first, &second] {
        sink.eventually("an exemplar of 100 spans", |received| {
            let [latency] = received.series("", LATENCY, &[]).collect::<Vec<_>>()[..] else {
                anyhow::bail!("not one series");
            };
            let counts: Vec<_> = latency.histograms.iter().map(|(_, h)| h.count).collect();
            ensure!(counts.starts_with(&[0.0, 100.0]), "{counts:?}");
            ensure!(!latency.exemplars.is_empty(), "no exemplar");
            Ok(())
        })
        .await?;
    }
    spanmill.finish(&[(SINGLE_TENANT, 100)]).await?;
    for (sink, version) in [(&first, Version::V1), (&second, Version::V2)] {
        sink.check_protocol()?;
        let received = sink.received();
        let mut versions = received.requests.iter().map(|request| request.version);
        ensure!(versions.all(|sent| sent == version), "not {version:?}");
    }
    let (first, second) = (first.received(), second.received());
    let first: Vec<_> = first.all_series("").collect();
    let second: Vec<_> = second.all_series("").collect();
    let untold = |series: &&ReceivedSeries| ReceivedSeries {
        metadata: None,
        ..(*series).clone()
    };
    let told: Vec<_> = second.iter().map(untold).collect();
    ensure!(first.into_iter().eq(&told), "{told:?}");

    let mut latency = second.iter().filter(|series| series.name == LATENCY);
    let latency = latency.next().context("no latency")?;
    let said = latency.metadata.clone().context("nothing is said")?;
    // Counted since the spans came: after the empty one, before the first with any.
    let times = latency.histograms.iter().map(|(time, _)| *time);
    let [empty, counted] = times.take(2).collect::<Vec<_>>()[..] else {
        anyhow::bail!("{:?}", latency.histograms);
    };
    ensure!(empty <= said.started_ms && said.started_ms <= counted);
    let want = ReceivedMetadata {
        kind: "HISTOGRAM".to_owned(),
        help: "Duration of spans in seconds".to_owned(),
        unit: "seconds".to_owned(),
        started_ms: said.started_ms,
    };
    ensure!(said == want, "{said:?}");
    Ok(())
}

#[tokio::test]
async fn receiver_that_answers_415_gets_every_call() -> anyhow::Result<()> {
    gets_every_call(Answer::status(415)?).await
}

#[tokio::test]
async fn receiver_that_answers_204_and_stores_nothing_gets_every_call() -> anyhow::Result<()> {
    gets_every_call(Answer::status(204)?.knowing_v1_only()).await
}

/// A receiver answers the first request so, and takes what comes then.
async fn gets_every_call(first_answer: Answer) -> anyhow::Result<()> {
    let sink = RemoteWriteSink::start().await?;
    sink.answer([first_answer]);
    let spanmill = start(&sink.url()).await?;
    push(&spanmill, 100, 1).await?;
    arrived(&sink, 100.0).await?;
    push(&spanmill, 11, 1_000).await?;
    arrived(&sink, 111.0).await?;
    ensure!(fallbacks(&spanmill).await? == 1.0);
    spanmill.finish(&[(SINGLE_TENANT, 111)]).await?;
    let received = sink.received();
    let requests = received.requests.iter().map(|request| request.version);
    let requests: Vec<_> = requests.collect();
    ensure!(requests.first() == Some(&Version::V2), "{requests:?}");
    let mut rest = requests.iter().skip(1);
    ensure!(rest.all(|version| *version == Version::V1), "{requests:?}");
    // What was not taken came again, from the zero on.
    let calls: Vec<_> = received.series("", CALLS, &[]).collect();
    let [calls] = calls.as_slice() else {
        anyhow::bail!("{} series", calls.len());
    };
    let mut values: Vec<_> = calls.points.iter().map(|(_, value)| *value).collect();
    values.dedup();
    ensure!(values == [0.0, 100.0, 111.0], "{values:?}");
    drop(received);
    sink.check_protocol()
}

async fn arrived(sink: &RemoteWriteSink, wanted: f64) -> anyhow::Result<()> {
    sink.eventually(&format!("{wanted} calls"), |received| {
        let calls = received.sum("", CALLS, &[]);
        ensure!(calls == wanted, "{calls} calls");
        Ok(())
    })
    .await
}
