//! Instructions of each step of a span's way, counted by callgrind.
//!
//! A batch is the 314 spans of a usual request. Divide by that for one span;
//! the walks over whole registries say how many series they walk.

#![allow(missing_docs, reason = "the macros make items that cannot have any")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark fails by panicking"
)]

use std::hint::black_box;

use generator::{Dependencies, Generator, GeneratorMetrics};
use gungraun::prelude::*;
use model::{
    Clock, Exemplar, HistogramSample, LabelSet, LabelSetBuf, Point, Push, PushSpans, SampleSink,
    Series,
};
use otlp::Span;
use overrides::{HistogramMode, Overrides, Processor, Processors, TenantConfig};
use prost::Message;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::common::{AnyValue, KeyValue, any_value::Value};
use proto::otlp::resource::Resource;
use proto::otlp::trace::{ResourceSpans, ScopeSpans};
use registry::{
    Collection, Consumer, KeyHasher, LaneKey, Limits, MAX_METRICS, Metric, MetricKind, Registry,
    Schema, TableId, Update,
};
use remote_write::{
    Append, EndpointConfig, Fsync, RemoteWrite, RemoteWriteConfig, RemoteWriteMetrics, SpoolConfig,
    TenantDestinations,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 314;
/// Series of one label set: calls, size, and a histogram of 14 buckets.
const SERIES: usize = 19;

fn attribute(index: usize) -> KeyValue {
    text_attribute(
        &format!("attribute.number.{index}"),
        &format!("value of attribute {index}"),
    )
}

fn text_attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn spans() -> Vec<Vec<u8>> {
    let span = |index: usize| proto::otlp::trace::Span {
        trace_id: vec![index as u8 + 1; 16],
        span_id: vec![index as u8 + 1; 8],
        parent_span_id: vec![1; 8],
        name: format!("GET /api/v1/resource/{index}"),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_010_000_000,
        attributes: (0..13).map(attribute).collect(),
        ..Default::default()
    };
    (0..BATCH)
        .map(|index| span(index).encode_to_vec())
        .collect()
}

#[library_benchmark]
#[bench::spans_314(spans())]
fn scan(spans: Vec<Vec<u8>>) -> u64 {
    let mut sum = 0;
    for span in &spans {
        let read = Span::parse_with(span, |attribute| {
            sum += otlp::KeyValue::split(attribute).map_or(0, |(key, _)| key.len() as u64);
            Ok(())
        });
        sum += read.map_or(0, |span| span.end_time_unix_nano);
    }
    sum
}

#[library_benchmark]
#[bench::keys_314_of_98_bytes(vec![7; 98])]
fn fingerprint(mut values: Vec<u8>) -> LaneKey {
    let hasher = KeyHasher::new();
    let mut key = hasher.key(&values);
    for _ in 0..BATCH {
        values[..16].copy_from_slice(&key.to_bytes());
        key = hasher.key(black_box(&values));
    }
    key
}

struct Filled {
    registry: Registry,
    table: TableId,
    batch: Vec<Update>,
}

fn update(label_set: usize) -> Update {
    let mut values = [f64::NAN; MAX_METRICS];
    values[..3].copy_from_slice(&[1.0, 0.01, 630.0]);
    Update {
        key: KeyHasher::new().key(&label_set.to_le_bytes()),
        weight: 1.0,
        spans: 1,
        is_sampled: false,
        order: 0,
        values,
        trace_id: [1; 16],
        timestamp_ms: 1,
    }
}

fn apply(filled: &Filled, label_sets: &[usize], updates: &[Update]) {
    filled.registry.apply(
        &filled.table,
        updates,
        1,
        |index, labels: &mut LabelSetBuf| {
            labels.push("service", "checkout-service");
            labels.push(
                "span_name",
                &format!("POST /api/v1/orders/{}", label_sets[index]),
            );
            labels.push("span_kind", "SPAN_KIND_SERVER");
            labels.push("status_code", "STATUS_CODE_UNSET");
            Ok(())
        },
    );
}

/// A registry whose lane knows all label sets, and a batch of random ones.
fn filled(series: usize) -> Filled {
    let metric = |name: &str, kind| Metric {
        name: name.to_owned(),
        help: "",
        unit: "",
        kind,
        sparse: false,
    };
    let bounds = (0..14).map(|power| 0.002 * f64::from(1 << power)).collect();
    let registry = Registry::new(Limits::default(), 1);
    let table = registry.add_table(Schema::new([
        metric("traces_spanmetrics_calls_total", MetricKind::Counter),
        metric(
            "traces_spanmetrics_latency",
            MetricKind::ClassicHistogram { bounds },
        ),
        metric("traces_spanmetrics_size_total", MetricKind::Counter),
    ]));
    let label_sets = series / SERIES;
    // A fixed walk that visits them in no order.
    let batch = (0..BATCH).map(|index| update(index * 7_919 % label_sets));
    let filled = Filled {
        registry,
        table,
        batch: batch.collect(),
    };
    let all: Vec<usize> = (0..label_sets).collect();
    for some in all.chunks(BATCH) {
        let updates: Vec<Update> = some.iter().map(|label_set| update(*label_set)).collect();
        apply(&filled, some, &updates);
    }
    filled
}

fn merged(series: usize) -> Filled {
    let filled = filled(series);
    filled.registry.families(1);
    filled
}

#[library_benchmark]
#[bench::series_1k(merged(1_000))]
#[bench::series_100k(merged(100_000))]
#[bench::series_1m(merged(1_000_000))]
fn lane_update(filled: Filled) -> Filled {
    apply(&filled, &[], &filled.batch);
    filled
}

#[library_benchmark]
#[bench::series_100k(filled(100_000))]
#[bench::series_1m(filled(1_000_000))]
fn merge(filled: Filled) -> Filled {
    black_box(filled.registry.families(1));
    filled
}

/// Takes samples and does nothing with them.
struct Nothing;

impl SampleSink for Nothing {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        black_box(labels);
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        black_box((series, points, exemplar));
    }

    fn histogram(
        &mut self,
        name: &str,
        samples: &[HistogramSample<'_>],
        exemplar: Option<Exemplar>,
    ) {
        black_box((name, samples, exemplar));
    }
}

fn collection() -> Collection<'static> {
    Collection {
        now_ms: 2_000,
        zero_ms: 1_000,
        idle_since_ms: 0,
        consumers: &[Consumer::RemoteWrite],
    }
}

#[library_benchmark]
#[bench::series_100k(merged(100_000))]
fn collect(filled: Filled) -> Filled {
    filled.registry.collect(collection(), &mut Nothing);
    filled
}

/// A generator that has had pushes, and the next one of the same label sets.
struct Pushing {
    generator: Generator,
    next: Push,
    runtime: tokio::runtime::Runtime,
}

/// One request: 157 pairs of a client and the server that it calls, of 60 services
/// with 11 attributes each.
fn request(first_trace: usize) -> ExportTraceServiceRequest {
    const SERVICES: usize = 60;
    let service = |number: usize| {
        let mut attributes = vec![text_attribute(
            "service.name",
            &format!("service-{number:02}"),
        )];
        attributes.extend((0..10).map(attribute));
        ResourceSpans {
            resource: Some(Resource {
                attributes,
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans::default()],
            ..ResourceSpans::default()
        }
    };
    let mut resource_spans: Vec<_> = (0..SERVICES).map(service).collect();
    for (pair, mut server) in spans()
        .iter()
        .take(BATCH / 2)
        .map(|span| proto::otlp::trace::Span::decode(span.as_slice()).expect("a span"))
        .enumerate()
    {
        server.trace_id = ((first_trace + pair) as u128).to_be_bytes().to_vec();
        server.parent_span_id = vec![9; 8];
        let client = proto::otlp::trace::Span {
            span_id: vec![9; 8],
            parent_span_id: vec![8; 8],
            kind: 3,
            ..server.clone()
        };
        for (service, span) in [(pair, client), (pair * 7 + 1, server)] {
            let spans = &mut resource_spans[service % SERVICES];
            spans.scope_spans[0].spans.push(span);
        }
    }
    ExportTraceServiceRequest { resource_spans }
}

fn pushing(processors: &[Processor], histograms: HistogramMode) -> Pushing {
    let mut config = TenantConfig {
        processors: Processors::from_iter(processors.iter().copied()),
        ..TenantConfig::default()
    };
    config.registry.generate_native_histograms = histograms;
    let push = |first_trace| Push {
        tenant: model::TenantId::single(),
        request: request(first_trace).encode_to_vec().into(),
        skip_metrics: false,
    };
    let generator = Generator::new(Dependencies {
        overrides: Overrides::fixed(config),
        remote_write: None,
        metrics: GeneratorMetrics::register(&mut telemetry::new_metrics_registry()),
        clock: Clock::manual(1_700_000_000_000_000_000),
        max_lanes: 1,
        deduplicate_pushes: true,
        instance_label: "host-1".into(),
        state_dir: None,
        retire_after: std::time::Duration::ZERO,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for number in 1..20 {
        let applied = runtime.block_on(generator.push(push(number * 1_000)));
        applied.expect("a push");
    }
    Pushing {
        generator,
        next: push(20_000),
        runtime,
    }
}

// All that a push costs from its bytes to its answer.
#[library_benchmark]
#[bench::span_metrics(pushing(&[Processor::SpanMetrics], HistogramMode::Classic))]
#[bench::with_native_histograms(pushing(&[Processor::SpanMetrics], HistogramMode::Native))]
#[bench::with_service_graphs(pushing(
    &[Processor::SpanMetrics, Processor::ServiceGraphs],
    HistogramMode::Classic
))]
fn push(pushing: Pushing) -> (Generator, tokio::runtime::Runtime) {
    let Pushing {
        generator,
        next,
        runtime,
    } = pushing;
    let outcome = runtime.block_on(generator.push(next));
    black_box(outcome.expect("a push"));
    (generator, runtime)
}

struct Spooling {
    filled: Filled,
    append: Append,
    _runtime: tokio::runtime::Runtime,
    _directory: tempfile::TempDir,
}

fn spooling(series: usize) -> Spooling {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let endpoint = serde_json::json!({"url": "http://127.0.0.1:1/"});
    let endpoint: EndpointConfig = serde_json::from_value(endpoint).expect("an endpoint");
    let writer = runtime.block_on(async {
        let config = RemoteWriteConfig {
            endpoints: Vec::new(),
            add_org_id_header: false,
            spool: SpoolConfig {
                directory: directory.path().to_owned(),
                max_bytes_per_tenant: 1 << 30,
                max_bytes: 1 << 30,
                max_age: std::time::Duration::ZERO,
                fsync: Fsync::Never,
            },
        };
        let metrics = RemoteWriteMetrics::register(&mut telemetry::new_metrics_registry());
        let tasks = lifecycle::TaskGroup::new();
        let remote_write =
            RemoteWrite::start(config, metrics, Clock::system(), &tasks).expect("remote write");
        let destinations = TenantDestinations {
            endpoints: [endpoint].into(),
            headers: Default::default(),
        };
        remote_write.writer(&model::TenantId::single(), &destinations)
    });
    let filled = merged(series);
    // The second collection: no zeros before first values, and all is defined.
    let mut first = writer.append(&[], "traceID");
    filled.registry.collect(collection(), &mut first);
    first.commit();
    Spooling {
        filled,
        append: writer.append(&[], "traceID"),
        _runtime: runtime,
        _directory: directory,
    }
}

#[library_benchmark]
#[bench::series_100k(spooling(100_000))]
fn collect_and_spool(mut spooling: Spooling) -> Spooling {
    let mut later = collection();
    later.now_ms += 15_000;
    spooling
        .filled
        .registry
        .collect(later, &mut spooling.append);
    spooling
}

library_benchmark_group!(
    name = ingest,
    benchmarks = [
        scan,
        fingerprint,
        lane_update,
        merge,
        collect,
        collect_and_spool,
        push
    ]
);
main!(library_benchmark_groups = ingest);
