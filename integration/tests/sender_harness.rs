//! The harness for suites of senders: what a page says arrives by remote write in
//! either version, and the sender keeps to the protocol.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use parking_lot::Mutex;
use spanmill_integration::binaries::binary;
use spanmill_integration::patience::patience;
use spanmill_integration::remote_write_sink::{
    Answer, Faults, Received, ReceivedExemplar, ReceivedMetadata, ReceivedSeries, Version, When,
};
use spanmill_integration::{RemoteWriteSink, eventually};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The bits that Prometheus sends for any NaN it scrapes.
const NAN: u64 = 0x7ff8_0000_0000_0001;

const PAGE: &str = "\
# HELP http_requests All requests.
# TYPE http_requests counter
# UNIT http_requests requests
http_requests_total{path=\"/\\\"a\\\\b\\nc\",empty=\"\",method=\"GET\"} 5 # {trace_id=\"000000000000000000000000000000ab\"} 0.5 1700000000.5
http_requests_created{path=\"/\\\"a\\\\b\\nc\",method=\"GET\"} 1700000000
# TYPE temperature gauge
temperature{job=\"own\"} -Inf
# TYPE odd gauge
odd NaN
# TYPE latency_seconds histogram
# UNIT latency_seconds seconds
latency_seconds_bucket{le=\"0.5\"} 1
latency_seconds_bucket{le=\"+Inf\"} 2
latency_seconds_sum 3.25
latency_seconds_count 2
latency_seconds_created 1700000001.25
# TYPE rpc_seconds summary
rpc_seconds{quantile=\"0.9\"} 0.25
rpc_seconds_sum 1
rpc_seconds_count 4
# TYPE build info
build_info{version=\"1\"} 1
timed 7 1700000002.5
# EOF
";

/// A target whose page can be changed.
struct Target {
    address: String,
    page: Page,
    _server: JoinSet<()>,
}

/// The status, content type and text of a page.
type Page = Arc<Mutex<(StatusCode, &'static str, &'static str)>>;

impl Target {
    async fn start(page: &'static str) -> anyhow::Result<Self> {
        let page: Page = Arc::new(Mutex::new((StatusCode::OK, OPENMETRICS, page)));
        let router = Router::new().fallback(serve).with_state(page.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let mut server = JoinSet::new();
        server.spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self {
            address,
            page,
            _server: server,
        })
    }

    fn set(&self, status: StatusCode, content_type: &'static str, text: &'static str) {
        *self.page.lock() = (status, content_type, text);
    }
}

async fn serve(State(page): State<Page>, headers: HeaderMap) -> impl IntoResponse {
    let (status, content_type, text) = *page.lock();
    // What a target goes by that has both formats.
    let accept = headers.get(header::ACCEPT).map(|accept| accept.as_bytes());
    let is_asked_for = accept.is_some_and(|accept| accept.starts_with(b"application/openmetrics"));
    let status = if is_asked_for {
        status
    } else {
        StatusCode::NOT_ACCEPTABLE
    };
    (status, [(header::CONTENT_TYPE, content_type)], text)
}

/// The harness, until it is dropped.
struct Harness(Child);

impl Harness {
    fn start(target: &Target, sink: &RemoteWriteSink, protocol: &str) -> anyhow::Result<Self> {
        let child = Command::new(binary("rw-sender-harness")?)
            .env("SCRAPE_URL", format!("http://{}/metrics", target.address))
            .env("WRITE_URL", sink.url())
            .env("PROTOCOL", protocol)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self(child))
    }

    /// Interrupts it and waits for its end.
    async fn interrupt(mut self) -> anyhow::Result<ExitStatus> {
        let id = self.0.id().context("it has ended")?;
        let mut kill = Command::new("kill");
        let sent = kill.arg("-INT").arg(id.to_string()).status().await?;
        ensure!(sent.success(), "cannot be interrupted");
        Ok(tokio::time::timeout(patience(), self.0.wait()).await??)
    }
}

/// The one series of a metric, which has the target's labels and these.
fn one<'a>(
    received: &'a Received,
    target: &Target,
    name: &'a str,
    labels: &[(&str, &str)],
) -> anyhow::Result<&'a ReceivedSeries> {
    let mut all = received.all_series("").filter(|series| series.name == name);
    let mut want: BTreeMap<_, _> = labels.iter().copied().collect();
    want.extend([("job", "test"), ("instance", target.address.as_str())]);
    let want = want.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
    let want = want.collect::<BTreeMap<_, _>>();
    all.find(|series| series.labels == want)
        .with_context(|| format!("no {name} with {want:?}"))
}

async fn up(sink: &RemoteWriteSink, target: &Target, value: f64) -> anyhow::Result<()> {
    sink.eventually(&format!("up to be {value}"), |received| {
        let up = one(received, target, "up", &[])?;
        ensure!(up.last() == Some(value), "it is {:?}", up.last());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn page_arrives_in_1_0() -> anyhow::Result<()> {
    let (target, sink) = arrived("1").await?;
    let received = sink.received();
    ensure!(received.requests.iter().all(|r| r.version == Version::V1));
    ensure!(one(&received, &target, "up", &[])?.metadata.is_none());
    Ok(())
}

#[tokio::test]
async fn page_arrives_in_2_0_with_what_it_means() -> anyhow::Result<()> {
    let (target, sink) = arrived("2").await?;
    let received = sink.received();
    ensure!(received.requests.iter().all(|r| r.version == Version::V2));
    for (name, labels, kind, help, unit, started_ms) in [
        (
            "http_requests_total",
            &PATH[..],
            "COUNTER",
            "All requests.",
            "requests",
            1_700_000_000_000,
        ),
        (
            "temperature",
            &[("exported_job", "own")],
            "GAUGE",
            "",
            "",
            0,
        ),
        (
            "latency_seconds_bucket",
            &[("le", "0.5")],
            "HISTOGRAM",
            "",
            "seconds",
            1_700_000_001_250,
        ),
        (
            "latency_seconds_count",
            &[],
            "HISTOGRAM",
            "",
            "seconds",
            1_700_000_001_250,
        ),
        ("rpc_seconds", &[("quantile", "0.9")], "SUMMARY", "", "", 0),
        ("build_info", &[("version", "1")], "INFO", "", "", 0),
        ("timed", &[], "UNSPECIFIED", "", "", 0),
    ] {
        let said = &one(&received, &target, name, labels)?.metadata;
        let want = ReceivedMetadata {
            kind: kind.to_owned(),
            help: help.to_owned(),
            unit: unit.to_owned(),
            started_ms,
        };
        ensure!(*said == Some(want), "{name}: {said:?}");
    }
    Ok(())
}

/// The labels of the counter; the empty one is none.
const PATH: [(&str, &str); 2] = [("method", "GET"), ("path", "/\"a\\b\nc")];

/// A target and a sink after the page has been scraped a few times and sent.
async fn arrived(protocol: &str) -> anyhow::Result<(Target, RemoteWriteSink)> {
    let target = Target::start(PAGE).await?;
    let sink = RemoteWriteSink::start().await?;
    sink.take_any_metric();
    let harness = Harness::start(&target, &sink, protocol)?;
    sink.eventually("three scrapes", |received| {
        let up = one(received, &target, "up", &[])?;
        ensure!(up.points.len() >= 3, "{} scrapes", up.points.len());
        Ok(())
    })
    .await?;
    let status = harness.interrupt().await?;
    ensure!(status.success(), "it ended with {status}");
    sink.check_protocol()?;
    {
        let received = sink.received();
        for (name, labels, value) in [
            ("http_requests_total", &PATH[..], 5.0),
            ("temperature", &[("exported_job", "own")], f64::NEG_INFINITY),
            ("latency_seconds_bucket", &[("le", "0.5")], 1.0),
            ("latency_seconds_bucket", &[("le", "+Inf")], 2.0),
            ("latency_seconds_sum", &[], 3.25),
            ("latency_seconds_count", &[], 2.0),
            ("rpc_seconds", &[("quantile", "0.9")], 0.25),
            ("rpc_seconds_sum", &[], 1.0),
            ("rpc_seconds_count", &[], 4.0),
            ("build_info", &[("version", "1")], 1.0),
            ("up", &[], 1.0),
            ("scrape_samples_scraped", &[], 12.0),
        ] {
            let series = one(&received, &target, name, labels)?;
            let is_right = series.points.iter().all(|(_, found)| *found == value);
            ensure!(is_right && series.points.len() >= 3, "{series:?}");
        }
        let odd = one(&received, &target, "odd", &[])?;
        ensure!(
            odd.points.iter().all(|(_, value)| value.to_bits() == NAN),
            "{odd:?}"
        );
        let timed = one(&received, &target, "timed", &[])?;
        ensure!(timed.points == [(1_700_000_002_500, 7.0)], "{timed:?}");
        let counter = one(&received, &target, "http_requests_total", &PATH)?;
        let exemplar = ReceivedExemplar {
            labels: [("trace_id".to_owned(), format!("{:032x}", 0xab))].into(),
            value: 0.5,
            timestamp_ms: 1_700_000_000_500,
        };
        ensure!(counter.exemplars.contains(&exemplar), "{counter:?}");
        let names = received.all_series("").map(|series| series.name.as_str());
        ensure!(!names.into_iter().any(|name| name.ends_with("_created")));
    }
    Ok((target, sink))
}

#[tokio::test]
async fn series_end_when_they_vanish_and_when_a_scrape_fails() -> anyhow::Result<()> {
    let target = Target::start("a 1\nb 1\n# EOF\n").await?;
    let sink = RemoteWriteSink::start().await?;
    sink.take_any_metric();
    let harness = Harness::start(&target, &sink, "2")?;
    up(&sink, &target, 1.0).await?;
    let ended = async |name: &'static str, ended: bool| {
        sink.eventually(name, |received| {
            let series = one(received, &target, name, &[])?;
            ensure!(series.has_ended() == ended, "{series:?}");
            Ok(())
        })
        .await
    };
    // In the other format, too.
    target.set(StatusCode::OK, "text/plain; version=0.0.4", "b 2\n");
    ended("a", true).await?;
    ended("b", false).await?;
    target.set(StatusCode::OK, "text/plain", "b 2\n1234notvali}{ 444\n");
    up(&sink, &target, 0.0).await?;
    ended("b", true).await?;
    target.set(StatusCode::OK, OPENMETRICS, "b 3\n# EOF\n");
    up(&sink, &target, 1.0).await?;
    ended("b", false).await?;
    target.set(
        StatusCode::INTERNAL_SERVER_ERROR,
        OPENMETRICS,
        "b 4\n# EOF\n",
    );
    up(&sink, &target, 0.0).await?;
    ended("b", true).await?;
    harness.interrupt().await?;
    sink.check_protocol()
}

#[tokio::test]
async fn what_is_refused_for_now_comes_again_and_nothing_else() -> anyhow::Result<()> {
    let faults = Faults::new()
        .on(When::request(1), Answer::status(500)?)
        .on(When::request(2), Answer::status(429)?.retry_after("1"))
        .on(When::any().holds("poison"), Answer::status(400)?);
    let target = Target::start("a 1\n# EOF\n").await?;
    let sink = RemoteWriteSink::start_with(faults).await?;
    sink.take_any_metric();
    let harness = Harness::start(&target, &sink, "1")?;
    up(&sink, &target, 1.0).await?;
    target.set(StatusCode::OK, OPENMETRICS, "a 2\npoison 1\n# EOF\n");
    eventually("a refusal", || async {
        let received = sink.received();
        let mut statuses = received.requests.iter().map(|r| r.status.as_u16());
        ensure!(statuses.any(|status| status == 400), "none");
        Ok(())
    })
    .await?;
    target.set(StatusCode::OK, OPENMETRICS, "a 3\n# EOF\n");
    sink.eventually("what comes after", |received| {
        let last = one(received, &target, "a", &[])?.last();
        ensure!(last == Some(3.0), "{last:?}");
        Ok(())
    })
    .await?;
    harness.interrupt().await?;
    {
        let received = sink.received();
        let first = received.requests.iter().take(3).map(|r| r.status.as_u16());
        ensure!(first.collect::<Vec<_>>() == [500, 429, 204]);
        ensure!(one(&received, &target, "poison", &[]).is_err());
    }
    sink.check_protocol()
}

#[tokio::test]
async fn environment_that_says_too_little_is_refused() -> anyhow::Result<()> {
    let output = Command::new(binary("rw-sender-harness")?)
        .env("SCRAPE_URL", "http://127.0.0.1:1/metrics")
        .output()
        .await?;
    ensure!(output.status.code() == Some(2), "{}", output.status);
    let said = String::from_utf8(output.stderr)?;
    ensure!(said.starts_with("WRITE_URL is not set\n"), "{said}");
    Ok(())
}
