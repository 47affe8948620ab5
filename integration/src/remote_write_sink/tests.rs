mod faults;

use prost::Message as _;
use proto::remote_write as pb;

use super::*;
use crate::http::client;

fn series(labels: &[(&str, &str)], points: &[(i64, f64)]) -> pb::TimeSeries {
    pb::TimeSeries {
        labels: labels
            .iter()
            .map(|(name, value)| pb::Label {
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect(),
        samples: points
            .iter()
            .map(|&(timestamp, value)| pb::Sample { value, timestamp })
            .collect(),
        ..pb::TimeSeries::default()
    }
}

fn calls(points: &[(i64, f64)]) -> pb::TimeSeries {
    series(&[("__name__", "calls"), ("service", "web")], points)
}

async fn send(sink: &RemoteWriteSink, timeseries: Vec<pb::TimeSeries>) -> reqwest::Response {
    send_as(sink, "acme", timeseries).await
}

/// Sends as a tenant, or as none if it is empty.
async fn send_as(
    sink: &RemoteWriteSink,
    tenant: &str,
    timeseries: Vec<pb::TimeSeries>,
) -> reqwest::Response {
    post(sink, tenant, timeseries).await.unwrap()
}

async fn answered(
    sink: &RemoteWriteSink,
    timeseries: Vec<pb::TimeSeries>,
) -> reqwest::Result<reqwest::Response> {
    post(sink, "acme", timeseries).await
}

async fn post(
    sink: &RemoteWriteSink,
    tenant: &str,
    timeseries: Vec<pb::TimeSeries>,
) -> reqwest::Result<reqwest::Response> {
    let request = pb::WriteRequest {
        timeseries,
        metadata: vec![],
    };
    let body = snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .unwrap();
    let mut request = client()
        .post(sink.url())
        .header("content-encoding", "snappy")
        .header("content-type", "application/x-protobuf")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .header("user-agent", "test/1");
    if !tenant.is_empty() {
        request = request.header("x-scope-orgid", tenant);
    }
    request.body(body).send().await
}

#[tokio::test]
async fn series_are_kept_by_tenant_in_order() {
    let sink = RemoteWriteSink::start().await.unwrap();
    assert_eq!(
        send(&sink, vec![calls(&[(1, 0.0), (2, 5.0)])])
            .await
            .status(),
        204
    );
    send(
        &sink,
        vec![
            calls(&[(2, 5.0)]),
            series(&[("__name__", "up")], &[(3, 1.0)]),
        ],
    )
    .await;
    send(&sink, vec![calls(&[(3, f64::from_bits(protocol::STALE))])]).await;
    sink.check_protocol().unwrap();
    let received = sink.received();
    assert_eq!(received.tenants().collect::<Vec<_>>(), ["acme"]);
    let [web] = received
        .series("acme", "calls", &[("service", "web")])
        .collect::<Vec<_>>()[..]
    else {
        panic!("not one series");
    };
    assert_eq!(web.points[..2], [(1, 0.0), (2, 5.0)]);
    assert_eq!((web.points.len(), web.has_ended()), (3, true));
    assert_eq!(received.sum("acme", "up", &[]), 1.0);
    assert_eq!(received.all_series("other").count(), 0);
}

#[tokio::test]
async fn answers_come_as_told_and_refused_samples_are_not_kept() {
    let sink = RemoteWriteSink::start().await.unwrap();
    sink.answer([Answer::status(503).unwrap().retry_after("7").body("busy")]);
    let answer = send(&sink, vec![calls(&[(1, 1.0)])]).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "7");
    assert_eq!(answer.text().await.unwrap(), "busy");
    sink.always_answer(Some(Answer::status(400).unwrap()));
    assert_eq!(send(&sink, vec![calls(&[(2, 2.0)])]).await.status(), 400);
    sink.always_answer(None);
    send(&sink, vec![calls(&[(3, 3.0)])]).await;
    let received = sink.received();
    assert_eq!(received.sum("acme", "calls", &[]), 3.0);
    let statuses: Vec<_> = received
        .requests
        .iter()
        .map(|r| r.status.as_u16())
        .collect();
    assert_eq!(statuses, [503, 400, 204]);
}

#[tokio::test]
async fn series_may_come_again_in_a_request_with_later_samples() {
    let sink = RemoteWriteSink::start().await.unwrap();
    send(&sink, vec![calls(&[(1, 1.0)]), calls(&[(2, 2.0)])]).await;
    sink.check_protocol().unwrap();
    let received = sink.received();
    let points = received
        .series("acme", "calls", &[])
        .map(|series| &series.points);
    assert_eq!(points.collect::<Vec<_>>(), [&[(1, 1.0), (2, 2.0)]]);
}

#[tokio::test]
async fn sink_that_is_down_refuses_connections_until_it_is_up_again() {
    let sink = RemoteWriteSink::start().await.unwrap();
    send(&sink, vec![calls(&[(1, 1.0)])]).await;
    sink.take_down();
    eventually("the sink to be gone", || async {
        let answer = client().post(sink.url()).send().await;
        ensure!(answer.is_err(), "it still answers");
        Ok(())
    })
    .await
    .unwrap();
    sink.bring_up().await.unwrap();
    send(&sink, vec![calls(&[(2, 2.0)])]).await;
    assert_eq!(sink.received().sum("acme", "calls", &[]), 2.0);
}

/// A histogram of two observations, changed.
fn histogram(change: impl Fn(&mut pb::Histogram)) -> pb::Histogram {
    let mut histogram = pb::Histogram {
        count: Some(pb::histogram::Count::CountInt(2)),
        zero_count: Some(pb::histogram::ZeroCount::ZeroCountInt(0)),
        positive_spans: vec![pb::BucketSpan {
            offset: 1,
            length: 1,
        }],
        positive_deltas: vec![2],
        timestamp: 1,
        ..pb::Histogram::default()
    };
    change(&mut histogram);
    histogram
}

#[tokio::test]
async fn every_breach_of_the_protocol_is_seen() {
    let name = ("__name__", "m");
    let exemplar = |timestamp, label: &str, value: &str| pb::TimeSeries {
        exemplars: vec![pb::Exemplar {
            labels: vec![pb::Label {
                name: label.into(),
                value: value.into(),
            }],
            value: 1.0,
            timestamp,
        }],
        ..series(&[name], &[(5, 1.0)])
    };
    let long = "x".repeat(121);
    let native = |histograms: &[(i64, pb::Histogram)]| pb::TimeSeries {
        histograms: histograms
            .iter()
            .map(|(timestamp, histogram)| pb::Histogram {
                timestamp: *timestamp,
                ..histogram.clone()
            })
            .collect(),
        ..series(&[name], &[])
    };
    let both = pb::TimeSeries {
        histograms: vec![histogram(|_| ())],
        ..series(&[name], &[(5, 1.0)])
    };
    // All live to the end: a port that is given again would meet connections to
    // the sink that had it before.
    let mut sinks = Vec::new();
    for (what, request) in [
        ("twice", vec![calls(&[(1, 1.0)]), calls(&[(1, 1.0)])]),
        (
            "before",
            vec![series(&[name, ("b", "1"), ("a", "1")], &[(1, 1.0)])],
        ),
        (
            "before",
            vec![series(&[name, ("b", "1"), ("b", "2")], &[(1, 1.0)])],
        ),
        ("is empty", vec![series(&[name, ("b", "")], &[(1, 1.0)])]),
        (
            "label name",
            vec![series(&[name, ("b.c", "1")], &[(1, 1.0)])],
        ),
        ("label name", vec![series(&[("", "1"), name], &[(1, 1.0)])]),
        ("metric name", vec![series(&[("a", "1")], &[(1, 1.0)])]),
        (
            "metric name",
            vec![series(&[("__name__", "9m")], &[(1, 1.0)])],
        ),
        ("no samples", vec![series(&[name], &[])]),
        ("NaN", vec![series(&[name], &[(1, f64::NAN)])]),
        ("timestamp", vec![series(&[name], &[(0, 1.0)])]),
        (
            "order of time",
            vec![series(&[name], &[(2, 1.0), (1, 1.0)])],
        ),
        ("samples and histograms", vec![both]),
        (
            "schema 9",
            vec![native(&[(1, histogram(|h| h.schema = 9))])],
        ),
        (
            "2 buckets in spans, 1 counts",
            vec![native(&[(
                1,
                histogram(|h| h.positive_spans[0].length = 2),
            )])],
        ),
        (
            "but 3 in the buckets",
            vec![native(&[(1, histogram(|h| h.positive_deltas = vec![3]))])],
        ),
        (
            "histograms are not in",
            vec![native(&[(2, histogram(|_| ())), (1, histogram(|_| ()))])],
        ),
        ("exemplar of 6", vec![exemplar(6, "trace_id", "a")]),
        ("129 characters", vec![exemplar(5, "trace_id", &long)]),
        ("after", vec![]),
    ] {
        let sink = RemoteWriteSink::start().await.unwrap();
        if request.is_empty() {
            send(&sink, vec![calls(&[(7, 1.0)])]).await;
            send(&sink, vec![calls(&[(6, 1.0)])]).await;
        }
        send(&sink, request).await;
        let found = sink.received().violations.join("; ");
        assert!(found.contains(what), "{what}: {found}");
        sinks.push(sink);
    }
    let sink = RemoteWriteSink::start().await.unwrap();
    client().put(sink.url()).body("x").send().await.unwrap();
    assert_eq!(
        sink.received().violations.len(),
        6,
        "{:?}",
        sink.received().violations
    );
}

async fn send_v2(sink: &RemoteWriteSink, request: pb::v2::Request) -> reqwest::Response {
    let body = snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .unwrap();
    client()
        .post(sink.url())
        .header("content-encoding", "snappy")
        .header(
            "content-type",
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        )
        .header("x-prometheus-remote-write-version", "2.0.0")
        .header("user-agent", "test/1")
        .body(body)
        .send()
        .await
        .unwrap()
}

/// `calls{service="web"}`, a counter, with one sample.
fn calls_v2() -> pb::v2::Request {
    let symbols = ["", "__name__", "calls", "service", "web", "Help"];
    pb::v2::Request {
        symbols: symbols.map(String::from).into(),
        timeseries: vec![pb::v2::TimeSeries {
            labels_refs: vec![1, 2, 3, 4],
            samples: vec![pb::v2::Sample {
                value: 5.0,
                timestamp: 9,
                start_timestamp: 7,
            }],
            exemplars: vec![pb::v2::Exemplar {
                labels_refs: vec![3, 4],
                value: 1.0,
                timestamp: 8,
            }],
            metadata: Some(pb::v2::Metadata {
                r#type: pb::v2::metadata::MetricType::Counter.into(),
                help_ref: 5,
                unit_ref: 0,
            }),
            ..Default::default()
        }],
    }
}

#[tokio::test]
async fn second_version_is_kept_and_answered_with_counts() {
    let sink = RemoteWriteSink::start().await.unwrap();
    let answer = send_v2(&sink, calls_v2()).await;
    let counts = ["samples", "histograms", "exemplars"].map(|kind| {
        let name = format!("x-prometheus-remote-write-{kind}-written");
        answer.headers()[name].to_str().unwrap().to_owned()
    });
    assert_eq!(counts, ["1", "0", "1"]);
    sink.check_protocol().unwrap();
    let received = sink.received();
    let web: Vec<_> = received
        .series("", "calls", &[("service", "web")])
        .collect();
    assert_eq!(web[0].points, [(9, 5.0)]);
    assert_eq!(web[0].exemplars[0].timestamp_ms, 8);
    let said = ReceivedMetadata {
        kind: "COUNTER".to_owned(),
        help: "Help".to_owned(),
        unit: String::new(),
        started_ms: 7,
    };
    assert_eq!(web[0].metadata, Some(said));
    assert_eq!(received.requests[0].version, Version::V2);
}

#[tokio::test]
async fn sink_that_knows_the_first_version_only_keeps_nothing_of_the_second() {
    let sink = RemoteWriteSink::start().await.unwrap();
    let only_v1 = Answer::status(204).unwrap().knowing_v1_only();
    sink.always_answer(Some(only_v1));
    let answer = send_v2(&sink, calls_v2()).await;
    assert_eq!(answer.status(), 204);
    let names = answer.headers().keys();
    assert_eq!(
        names
            .filter(|name| name.as_str().contains("written"))
            .count(),
        0
    );
    assert_eq!(sink.received().sum("", "calls", &[]), 0.0);
    send(&sink, vec![calls(&[(1, 1.0)])]).await;
    assert_eq!(sink.received().sum("acme", "calls", &[]), 1.0);
}

/// Puts a native histogram in the place of the sample.
fn begin(request: &mut pb::v2::Request, start_timestamp: i64) {
    let [series] = &mut request.timeseries[..] else {
        panic!("one series");
    };
    series.samples.clear();
    series.histograms.push(pb::v2::Histogram {
        timestamp: 9,
        start_timestamp,
        ..Default::default()
    });
}

#[tokio::test]
async fn every_breach_of_the_second_version_is_seen() {
    type Breach = fn(&mut pb::v2::Request);
    let breaches: [(&str, Breach); 12] = [
        ("first symbol", |request| request.symbols[0] = "x".into()),
        ("stands twice", |request| request.symbols.push("web".into())),
        ("references", |request| {
            request.timeseries[0].labels_refs[3] = 6;
        }),
        ("references", |request| {
            request.timeseries[0].exemplars[0].labels_refs.pop();
        }),
        ("neither samples", |request| {
            request.timeseries[0].samples.clear();
        }),
        ("or both", |request| {
            request.timeseries[0].histograms.push(Default::default());
        }),
        ("is a UNSPECIFIED", |request| {
            request.timeseries[0].metadata = None;
        }),
        ("no help", |request| {
            let metadata = request.timeseries[0].metadata.as_mut();
            metadata.unwrap().help_ref = 0;
        }),
        ("COUNTER since 0", |request| {
            request.timeseries[0].samples[0].start_timestamp = 0;
        }),
        ("starts after", |request| {
            request.timeseries[0].samples[0].start_timestamp = 10;
        }),
        ("COUNTER since 0", |request| begin(request, 0)),
        ("starts after", |request| begin(request, 10)),
    ];
    let mut sinks = Vec::new();
    for (what, breach) in breaches {
        let sink = RemoteWriteSink::start().await.unwrap();
        let mut request = calls_v2();
        breach(&mut request);
        send_v2(&sink, request).await;
        let found = sink.received().violations.join("; ");
        assert!(found.contains(what), "{what}: {found}");
        sinks.push(sink);
    }
}

/// What is scraped from anywhere has them.
#[tokio::test]
async fn metrics_of_any_kind_are_taken_if_it_is_told() {
    let sink = RemoteWriteSink::start().await.unwrap();
    sink.take_any_metric();
    send(&sink, vec![calls(&[(1, f64::NAN)])]).await;
    let mut request = calls_v2();
    request.timeseries[0].metadata = None;
    send_v2(&sink, request).await;
    sink.check_protocol().unwrap();
}
