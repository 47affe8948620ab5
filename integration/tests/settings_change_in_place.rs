//! Settings that change while spans come in (D2): series whose labels and
//! buckets stay the same go on counting, the others end.

#![allow(
    clippy::disallowed_methods,
    reason = "samples are told apart by the clock of the process under test"
)]

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use proto::otlp::collector::ExportTraceServiceRequest;
use serde_json::{Value, json};
use spanmill_integration::patience::eventually;
use spanmill_integration::remote_write_sink::ReceivedSeries;
use spanmill_integration::spanmill::SINGLE_TENANT;
use spanmill_integration::traces::{SpanKind, Traces, post, text_attribute};
use spanmill_integration::{RemoteWriteSink, Spanmill};

const CALLS: &str = "traces_spanmetrics_calls_total";
const LATENCY: &str = "traces_spanmetrics_latency";
const SIZE: &str = "traces_spanmetrics_size_total";
const EDGES: &str = "traces_service_graph_request_total";
const SERVER_LATENCY: &str = "traces_service_graph_request_server_seconds";

const OF_FRONTEND: &[(&str, &str)] = &[("service", "frontend")];
const OF_CART: &[(&str, &str)] = &[("service", "cart")];
const TO_CART: &[(&str, &str)] = &[("client", "frontend"), ("server", "cart")];

/// Half of an edge each: the frontend's spans, and the cart's that they call.
struct Halves {
    client: ExportTraceServiceRequest,
    server: ExportTraceServiceRequest,
}

/// The frontend calls the cart, half a second each. The last of the calls have
/// the attribute `region`.
fn calls(count: u64, with_region: usize, first_trace: u64) -> Halves {
    let half = |service: &str, name: &str| {
        let length = Duration::from_millis(500);
        let traces = Traces::of_service(service).spans(name, count, length, first_trace);
        let mut request = traces.request();
        for resource_spans in &mut request.resource_spans {
            if let Some(resource) = &mut resource_spans.resource {
                let host = text_attribute("host.id", &format!("host of {service}"));
                resource.attributes.push(host);
            }
            let spans = resource_spans.scope_spans.iter_mut();
            for span in spans.flat_map(|s| &mut s.spans).rev().take(with_region) {
                span.attributes.push(text_attribute("region", "north"));
            }
        }
        request
    };
    let mut halves = Halves {
        client: half("frontend", "get cart"),
        server: half("cart", "GET /cart"),
    };
    for span in spans(&mut halves.client) {
        span.kind = SpanKind::Client.into();
    }
    for span in spans(&mut halves.server) {
        span.parent_span_id = std::mem::replace(&mut span.span_id, vec![7; 8]);
    }
    halves
}

fn spans(
    request: &mut ExportTraceServiceRequest,
) -> impl Iterator<Item = &mut proto::otlp::trace::Span> {
    let scopes = request.resource_spans.iter_mut();
    let scopes = scopes.flat_map(|resource| &mut resource.scope_spans);
    scopes.flat_map(|scope| &mut scope.spans)
}

/// A spanmill whose one tenant has settings that change.
struct Changing {
    spanmill: Spanmill,
    sink: RemoteWriteSink,
    runtime_file: tempfile::NamedTempFile,
}

/// What was sent of it, first to last.
struct History(Vec<ReceivedSeries>);

impl Changing {
    /// Starts it with the tenant's `metrics_generator` block.
    async fn with(settings: Value) -> anyhow::Result<Self> {
        let sink = RemoteWriteSink::start().await?;
        let runtime_file = tempfile::NamedTempFile::new()?;
        write(runtime_file.path(), settings)?;
        let config = json!({
            "metrics_generator": { "storage": { "remote_write": [{ "url": sink.url() }] } },
            "overrides": {
                "per_tenant_override_config": runtime_file.path(),
                "per_tenant_override_period": "1s",
            },
        });
        let spanmill = Spanmill::builder()
            .config(&config.to_string())
            .start()
            .await?;
        Ok(Self {
            spanmill,
            sink,
            runtime_file,
        })
    }

    /// Sends spans, and waits until they have been collected.
    async fn take(&self, halves: &Halves) -> anyhow::Result<()> {
        self.push(&halves.client).await?;
        self.push(&halves.server).await?;
        self.collected().await
    }

    async fn push(&self, request: &ExportTraceServiceRequest) -> anyhow::Result<()> {
        let answer = post(&self.spanmill.otlp_http(), request, None).await?;
        answer.accepted().map(drop)
    }

    /// Waits for a collection that begins after now.
    async fn collected(&self) -> anyhow::Result<()> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let now_ms = i64::try_from(now_ms)?;
        self.sink
            .eventually("a collection", |received| {
                let mut series = received.all_series("");
                let is_later =
                    |series: &ReceivedSeries| series.points.last().map(|p| p.0) > Some(now_ms);
                ensure!(series.any(is_later), "nothing after {now_ms}");
                Ok(())
            })
            .await
    }

    /// Changes the settings, and waits until they are in force.
    async fn change_to(&self, settings: Value) -> anyhow::Result<()> {
        write(self.runtime_file.path(), settings)?;
        eventually("the settings to change", || async {
            ensure!(self.spanmill.log().contains("settings changed"), "not yet");
            Ok(())
        })
        .await
    }

    /// Stops it, and gives what it has sent.
    async fn finish(self) -> anyhow::Result<History> {
        self.spanmill.ledger().await?;
        self.spanmill.stop().await?;
        self.sink.check_protocol()?;
        let history = self.sink.received().all_series("").cloned().collect();
        Ok(History(history))
    }
}

fn write(file: &Path, settings: Value) -> anyhow::Result<()> {
    let overrides = json!({ "overrides": { SINGLE_TENANT: { "metrics_generator": settings } } });
    std::fs::write(file, overrides.to_string())?;
    Ok(())
}

impl History {
    /// The only series of a metric with these labels.
    fn only(&self, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<&ReceivedSeries> {
        let has = |series: &ReceivedSeries, (name, value): &(&str, &str)| {
            series.labels.get(*name).is_some_and(|v| v == value)
        };
        let mut found = self
            .0
            .iter()
            .filter(|series| series.name == name && labels.iter().all(|label| has(series, label)));
        let first = found
            .next()
            .with_context(|| format!("no {name}{labels:?}"))?;
        ensure!(found.next().is_none(), "several of {name}{labels:?}");
        Ok(first)
    }

    /// The series began once, never went back, and is at `value`.
    fn goes_on(&self, name: &str, labels: &[(&str, &str)], value: f64) -> anyhow::Result<()> {
        let series = self.only(name, labels)?;
        let values: Vec<f64> = series.points.iter().map(|(_, value)| *value).collect();
        ensure!(
            values.first() == Some(&0.0)
                && values.iter().filter(|value| **value == 0.0).count() == 1
                && values.is_sorted()
                && values.last() == Some(&value),
            "{name}{labels:?} does not go on to {value}: {values:?}"
        );
        Ok(())
    }

    /// The series reached `value`, and ended with a marker.
    fn ended(&self, name: &str, labels: &[(&str, &str)], value: f64) -> anyhow::Result<()> {
        let series = self.only(name, labels)?;
        let mut points = series.points.iter().rev().map(|(_, value)| *value);
        ensure!(
            series.has_ended(),
            "{name}{labels:?} has not ended: {series:?}"
        );
        points.next();
        ensure!(
            points.next() == Some(value) && points.all(|value| !value.is_nan()),
            "{name}{labels:?} did not end once, at {value}: {series:?}"
        );
        Ok(())
    }
}

/// `labels`, and the bucket.
fn bucket<'a>(labels: &[(&'a str, &'a str)], le: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut labels = labels.to_vec();
    labels.push(("le", le));
    labels
}

#[tokio::test]
async fn processor_switched_on_begins_and_the_other_goes_on() -> anyhow::Result<()> {
    let changing = Changing::with(json!({ "processors": ["span-metrics"] })).await?;
    changing.take(&calls(3, 0, 1)).await?;
    changing
        .change_to(json!({ "processors": ["span-metrics", "service-graphs"] }))
        .await?;
    changing.take(&calls(4, 0, 100)).await?;
    let history = changing.finish().await?;
    history.goes_on(CALLS, OF_FRONTEND, 7.0)?;
    history.goes_on(&format!("{LATENCY}_count"), OF_CART, 7.0)?;
    history.goes_on(EDGES, TO_CART, 4.0)
}

#[tokio::test]
async fn processor_switched_off_ends_its_series_even_if_no_span_comes() -> anyhow::Result<()> {
    let changing =
        Changing::with(json!({ "processors": ["span-metrics", "service-graphs"] })).await?;
    changing.take(&calls(3, 0, 1)).await?;
    changing
        .change_to(json!({ "processors": ["span-metrics"] }))
        .await?;
    changing.collected().await?;
    let history = changing.finish().await?;
    history.ended(EDGES, TO_CART, 3.0)?;
    history.ended(&format!("{SERVER_LATENCY}_count"), TO_CART, 3.0)?;
    history.ended(
        &format!("{SERVER_LATENCY}_bucket"),
        &bucket(TO_CART, "0.8"),
        3.0,
    )?;
    history.goes_on(CALLS, OF_FRONTEND, 3.0)
}

#[tokio::test]
async fn subprocessor_switched_off_ends_alone() -> anyhow::Result<()> {
    let changing = Changing::with(json!({ "processors": ["span-metrics"] })).await?;
    changing.take(&calls(3, 0, 1)).await?;
    let size = changing
        .spanmill
        .generated(SINGLE_TENANT)
        .await?
        .sum(SIZE, OF_CART);
    changing
        .change_to(json!({ "processors": ["span-metrics-count", "span-metrics-latency"] }))
        .await?;
    changing.take(&calls(4, 0, 100)).await?;
    let history = changing.finish().await?;
    history.ended(SIZE, OF_CART, size)?;
    history.goes_on(CALLS, OF_CART, 7.0)?;
    history.goes_on(&format!("{LATENCY}_sum"), OF_CART, 3.5)
}

#[tokio::test]
async fn native_histogram_goes_on_where_the_classic_one_is_given_up() -> anyhow::Result<()> {
    let settings =
        |mode: &str| json!({ "processors": ["span-metrics"], "generate_native_histograms": mode });
    let changing = Changing::with(settings("both")).await?;
    changing.take(&calls(3, 0, 1)).await?;
    changing.change_to(settings("native")).await?;
    changing.take(&calls(4, 0, 100)).await?;
    let history = changing.finish().await?;
    history.goes_on(CALLS, OF_CART, 7.0)?;
    history.ended(&format!("{LATENCY}_count"), OF_CART, 3.0)?;
    let native = history.only(LATENCY, OF_CART)?;
    let mut counts: Vec<f64> = native.histograms.iter().map(|(_, h)| h.count).collect();
    counts.dedup();
    ensure!(counts == [0.0, 3.0, 7.0], "counts {counts:?}");
    Ok(())
}

#[tokio::test]
async fn changed_dimensions_end_the_label_sets_that_cannot_come_again() -> anyhow::Result<()> {
    let settings = |dimension: &str| {
        json!({
            "processors": ["span-metrics", "service-graphs"],
            "processor": {
                "span_metrics": { "dimensions": [dimension] },
                "service_graphs": { "dimensions": [dimension] },
            },
        })
    };
    let changing = Changing::with(settings("region")).await?;
    changing.take(&calls(5, 2, 1)).await?;
    changing.change_to(settings("zone")).await?;
    changing.take(&calls(4, 0, 100)).await?;
    let history = changing.finish().await?;
    let north = |labels: &[(&'static str, &'static str)]| {
        let mut labels = labels.to_vec();
        labels.push(("region", "north"));
        labels
    };
    history.ended(CALLS, &north(OF_CART), 2.0)?;
    history.ended(EDGES, &north(TO_CART), 2.0)?;
    let without = History(
        history
            .0
            .into_iter()
            .filter(|series| !series.labels.contains_key("region"))
            .collect(),
    );
    without.goes_on(CALLS, OF_CART, 7.0)?;
    without.goes_on(EDGES, TO_CART, 7.0)
}

#[tokio::test]
async fn changed_buckets_end_and_begin_and_the_rest_of_the_histogram_goes_on() -> anyhow::Result<()>
{
    let settings = |bounds: [f64; 2]| {
        json!({
            "processors": ["span-metrics", "service-graphs"],
            "processor": {
                "span_metrics": { "histogram_buckets": bounds },
                "service_graphs": { "histogram_buckets": bounds },
            },
        })
    };
    let changing = Changing::with(settings([0.6, 1.0])).await?;
    changing.take(&calls(3, 0, 1)).await?;
    changing.change_to(settings([0.6, 2.0])).await?;
    changing.take(&calls(4, 0, 100)).await?;
    let history = changing.finish().await?;
    for (metric, labels) in [(LATENCY, OF_CART), (SERVER_LATENCY, TO_CART)] {
        let name = format!("{metric}_bucket");
        history.ended(&name, &bucket(labels, "1"), 3.0)?;
        // It begins with what is known to lie in it, so that none is above the next.
        let begun = &history.only(&name, &bucket(labels, "2"))?.points;
        let values = (begun.first().map(|p| p.1), begun.last().map(|p| p.1));
        ensure!(values == (Some(3.0), Some(7.0)), "{begun:?}");
        history.goes_on(&name, &bucket(labels, "0.6"), 7.0)?;
        history.goes_on(&name, &bucket(labels, "+Inf"), 7.0)?;
        history.goes_on(&format!("{metric}_count"), labels, 7.0)?;
        history.goes_on(&format!("{metric}_sum"), labels, 3.5)?;
    }
    history.goes_on(CALLS, OF_CART, 7.0)?;
    history.goes_on(EDGES, TO_CART, 7.0)
}

#[tokio::test]
async fn changed_filters_stop_what_they_refuse_and_reset_nothing() -> anyhow::Result<()> {
    let changing = Changing::with(json!({ "processors": ["span-metrics"] })).await?;
    changing.take(&calls(3, 0, 1)).await?;
    let servers = json!({
        "include": {
            "match_type": "strict",
            "attributes": [{ "key": "kind", "value": "SPAN_KIND_SERVER" }],
        },
    });
    changing
        .change_to(json!({
            "processors": ["span-metrics"],
            "processor": { "span_metrics": { "filter_policies": [servers] } },
        }))
        .await?;
    changing.take(&calls(4, 0, 100)).await?;
    let history = changing.finish().await?;
    history.goes_on(CALLS, OF_CART, 7.0)?;
    history.goes_on(CALLS, OF_FRONTEND, 3.0)
}

#[tokio::test]
async fn lowered_limits_keep_what_is_there_and_refuse_what_is_new() -> anyhow::Result<()> {
    let changing = Changing::with(json!({ "processors": ["span-metrics"] })).await?;
    let first = calls(3, 0, 1);
    changing.push(&first.server).await?;
    changing.collected().await?;
    changing
        .change_to(json!({ "processors": ["span-metrics"], "max_active_series": 1 }))
        .await?;
    changing.take(&calls(4, 0, 100)).await?;
    let history = changing.finish().await?;
    history.goes_on(CALLS, OF_CART, 7.0)?;
    history.goes_on(&format!("{LATENCY}_count"), OF_CART, 7.0)?;
    history.goes_on(CALLS, &[("metric_overflow", "true")], 4.0)
}

#[tokio::test]
async fn spans_that_wait_for_their_counterpart_outlive_a_change() -> anyhow::Result<()> {
    let settings = |bounds: [f64; 1], dimensions: &[&str]| {
        json!({
            "processors": ["service-graphs"],
            "processor": { "service_graphs": {
                "histogram_buckets": bounds,
                "dimensions": dimensions,
                "wait": "60s",
            } },
        })
    };
    let changing = Changing::with(settings([1.0], &[])).await?;
    let halves = calls(3, 0, 1);
    changing.push(&halves.client).await?;
    changing.change_to(settings([2.0], &["zone"])).await?;
    changing.push(&halves.server).await?;
    let history = changing.finish().await?;
    history.goes_on(EDGES, TO_CART, 3.0)
}

#[tokio::test]
async fn renamed_host_info_ends_under_its_old_name() -> anyhow::Result<()> {
    let settings = |name: &str| {
        json!({
            "processors": ["span-metrics", "host-info"],
            "processor": { "host_info": { "metric_name": name } },
        })
    };
    let changing = Changing::with(settings("traces_host_info")).await?;
    changing.take(&calls(3, 0, 1)).await?;
    changing.change_to(settings("hosts")).await?;
    changing.take(&calls(4, 0, 100)).await?;
    let history = changing.finish().await?;
    let host = [("grafana_host_id", "host of cart")];
    history.ended("traces_host_info", &host, 1.0)?;
    let values = &history.only("hosts", &host)?.points;
    ensure!(values.iter().all(|(_, value)| *value == 1.0), "{values:?}");
    history.goes_on(CALLS, OF_CART, 7.0)
}

#[tokio::test]
async fn changed_external_labels_end_the_series_that_had_them_and_count_on() -> anyhow::Result<()> {
    let settings = |zone: &str| {
        json!({
            "processors": ["span-metrics"],
            "registry": { "external_labels": { "zone": zone } },
        })
    };
    let changing = Changing::with(settings("a")).await?;
    changing.take(&calls(3, 0, 1)).await?;
    changing.change_to(settings("b")).await?;
    changing.take(&calls(4, 0, 100)).await?;
    let history = changing.finish().await?;
    let of = |zone| [("service", "cart"), ("zone", zone)];
    history.ended(CALLS, &of("a"), 3.0)?;
    let values = &history.only(CALLS, &of("b"))?.points;
    // No zero: what it has counted under the other label would count twice.
    ensure!(values.iter().all(|(_, value)| *value >= 3.0), "{values:?}");
    ensure!(
        values.last().map(|point| point.1) == Some(7.0),
        "{values:?}"
    );
    Ok(())
}
