//! What a registry gives out for what went in.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use model::{
    Exemplar, HistogramSample, LabelSet, LabelSetBuf, Metadata, MetricType, Point, SampleSink,
    Series,
};
use proptest::prelude::*;
use spanmill_registry::{
    Applied, Collection, Consumer, InvalidLabels, KeyHasher, Limits, MAX_METRICS, Metric,
    MetricKind, Registry, Schema, TableId, Update,
};

/// Everything that a collection or scrape wrote, by series.
#[derive(Default)]
struct Written {
    labels: String,
    series: BTreeMap<String, Vec<Point>>,
    exemplars: BTreeMap<String, Exemplar>,
}

impl SampleSink for Written {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        self.labels = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(",");
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        let le = series.le.map(|le| format!(",le={le}")).unwrap_or_default();
        let id = format!("{}{{{}{le}}}", series.name, self.labels);
        if let Some(exemplar) = exemplar {
            self.exemplars.insert(id.clone(), exemplar);
        }
        let before = self.series.insert(id.clone(), points.to_vec());
        assert!(before.is_none(), "{id} is written twice");
    }

    fn histogram(&mut self, name: &str, _: &[HistogramSample<'_>], _: Option<Exemplar>) {
        unreachable!("{name} is not native");
    }
}

impl Written {
    fn last(&self, id: &str) -> Option<f64> {
        Some(self.series.get(id)?.last()?.value)
    }

    fn values(&self) -> BTreeMap<&str, f64> {
        self.series
            .iter()
            .map(|(id, points)| (id.as_str(), points.last().unwrap().value))
            .collect()
    }
}

/// Type, help and unit.
type OwnMetadata = (MetricType, String, String);

fn own(metadata: Metadata<'_>) -> OwnMetadata {
    (
        metadata.kind,
        metadata.help.to_owned(),
        metadata.unit.to_owned(),
    )
}

/// What each series' metric is told to be.
#[derive(Default)]
struct Told {
    metric: Option<OwnMetadata>,
    series: BTreeMap<String, OwnMetadata>,
}

impl SampleSink for Told {
    fn label_set(&mut self, _: LabelSet<'_>) {
        self.metric = None;
    }

    fn metric(&mut self, metadata: Metadata<'_>) {
        self.metric = Some(own(metadata));
    }

    fn series(&mut self, series: Series<'_>, _: &[Point], _: Option<Exemplar>) {
        self.series
            .insert(series.name.to_owned(), self.metric.clone().unwrap());
    }

    fn histogram(&mut self, name: &str, _: &[HistogramSample<'_>], _: Option<Exemplar>) {
        unreachable!("{name} is not native");
    }
}

fn schema() -> Schema {
    let metric = |name: &str, kind| Metric {
        name: name.to_owned(),
        help: "help",
        unit: if name == "latency" { "seconds" } else { "" },
        kind,
        sparse: false,
    };
    let bounds = vec![0.5, 1.0];
    Schema::new([
        metric("calls_total", MetricKind::Counter),
        metric("latency", MetricKind::ClassicHistogram { bounds }),
        metric("size_total", MetricKind::Counter),
    ])
}

fn registry(max_active_series: u64) -> (Registry, TableId) {
    let registry = Registry::new(
        Limits {
            max_active_series,
            ..Limits::default()
        },
        4,
    );
    let table = registry.add_table(schema());
    (registry, table)
}

fn update(raw: &str, latency: f64) -> Update {
    let mut values = [f64::NAN; MAX_METRICS];
    values[..3].copy_from_slice(&[1.0, latency, 100.0]);
    Update {
        key: KeyHasher::new().key(raw.as_bytes()),
        weight: 1.0,
        spans: 1,
        is_sampled: false,
        order: 0,
        values,
        trace_id: [7; 16],
        timestamp_ms: 5,
    }
}

/// Applies one update per label value, whose raw value may differ from it.
fn push(registry: &Registry, table: &TableId, now_ms: i64, spans: &[(&str, &str, f64)]) -> Applied {
    let updates: Vec<Update> = spans.iter().map(|(raw, _, at)| update(raw, *at)).collect();
    registry.apply(table, &updates, now_ms, |index, labels| {
        if spans[index].1 == "invalid" {
            return Err(InvalidLabels);
        }
        labels.push("v", spans[index].1);
        Ok(())
    })
}

fn collect(registry: &Registry, now_ms: i64) -> Written {
    collect_into(registry, now_ms)
}

fn collect_into<S: SampleSink + Default>(registry: &Registry, now_ms: i64) -> S {
    let mut sink = S::default();
    registry.collect(
        Collection {
            now_ms,
            zero_ms: now_ms - 1_000,
            idle_since_ms: now_ms - 60_000,
            consumers: &[Consumer::RemoteWrite],
        },
        &mut sink,
    );
    sink
}

fn scrape(registry: &Registry, now_ms: i64) -> Written {
    let mut written = Written::default();
    for family in registry.families(now_ms) {
        registry.walk(&family, now_ms, &mut written, |_| true);
    }
    written
}

#[test]
fn span_counts_in_every_metric_of_its_label_set() {
    let (registry, table) = registry(0);
    let applied = push(
        &registry,
        &table,
        100_000,
        &[("a", "a", 0.5), ("a", "a", 0.7), ("a", "a", 5.0)],
    );
    assert_eq!(applied.counted, 3);
    let written = collect(&registry, 100_000);
    assert_eq!(
        written.values(),
        BTreeMap::from([
            ("calls_total{v=a}", 3.0),
            ("latency_bucket{v=a,le=0.5}", 1.0),
            ("latency_bucket{v=a,le=1}", 2.0),
            ("latency_bucket{v=a,le=+Inf}", 3.0),
            ("latency_sum{v=a}", 6.2),
            ("latency_count{v=a}", 3.0),
            ("size_total{v=a}", 300.0),
        ])
    );
}

#[test]
fn each_series_is_told_its_metric_to_its_end() {
    let (registry, table) = registry(0);
    push(&registry, &table, 100_000, &[("a", "a", 0.5)]);
    let metadata = |kind, unit| Metadata {
        kind,
        help: "help",
        unit,
    };
    let counter = metadata(MetricType::Counter, "");
    let histogram = metadata(MetricType::Histogram, "seconds");
    let want = BTreeMap::from(
        [
            ("calls_total", counter),
            ("latency_bucket", histogram),
            ("latency_count", histogram),
            ("latency_sum", histogram),
            ("size_total", counter),
        ]
        .map(|(name, metadata)| (name.to_owned(), own(metadata))),
    );
    // The first with values, the second with staleness markers.
    for now_ms in [100_000, 200_000] {
        let told: Told = collect_into(&registry, now_ms);
        assert_eq!(told.series, want, "{now_ms}");
    }
}

#[test]
fn weight_counts_in_the_histogram_and_values_as_they_are() {
    let (registry, table) = registry(0);
    let mut weighted = update("a", 0.7);
    weighted.weight = 2.5;
    registry.apply(&table, &[weighted], 1, |_, labels| {
        labels.push("v", "a");
        Ok(())
    });
    let written = collect(&registry, 100_000);
    assert_eq!(written.last("latency_count{v=a}"), Some(2.5));
    assert_eq!(written.last("latency_sum{v=a}"), Some(1.75));
    assert_eq!(written.last("calls_total{v=a}"), Some(1.0));
}

#[test]
fn first_value_comes_after_a_zero_and_later_ones_alone() {
    let (registry, table) = registry(0);
    push(&registry, &table, 90_000, &[("a", "a", 0.1)]);
    let first = collect(&registry, 100_000);
    for id in ["calls_total{v=a}", "latency_sum{v=a}"] {
        let zero = Point {
            timestamp_ms: 99_000,
            value: 0.0,
        };
        assert_eq!(first.series[id].len(), 2, "{id}");
        assert_eq!(first.series[id][0], zero, "{id}");
    }
    let second = collect(&registry, 115_000);
    assert_eq!(second.series["calls_total{v=a}"].len(), 1);
}

#[test]
fn raw_values_that_give_one_label_set_share_its_series() {
    let (registry, table) = registry(0);
    push(
        &registry,
        &table,
        1,
        &[("int 5", "5", 0.1), ("string 5", "5", 0.1)],
    );
    push(
        &registry,
        &table,
        2,
        &[("missing", "", 0.1), ("empty", "", 0.1)],
    );
    let written = collect(&registry, 100_000);
    assert_eq!(written.last("calls_total{v=5}"), Some(2.0));
    assert_eq!(written.last("calls_total{}"), Some(2.0));
    assert_eq!(written.series.len(), 14);
}

#[test]
fn invalid_label_set_costs_only_its_own_span() {
    let (registry, table) = registry(0);
    let spans = [("a", "a", 0.1), ("x", "invalid", 0.1), ("b", "b", 0.1)];
    let applied = push(&registry, &table, 1, &spans);
    assert_eq!((applied.counted, applied.invalid), (2, 1));
    assert_eq!(registry.stats().active.series, 14);
}

/// D20: a label set is admitted with all its metrics, in the order of arrival.
#[test]
fn label_sets_over_the_limit_go_whole_to_the_overflow_series() {
    let (registry, table) = registry(15);
    let spans = [
        ("a", "a", 0.1),
        ("b", "b", 0.1),
        ("c", "c", 0.7),
        ("a", "a", 0.1),
        ("d", "d", 5.0),
    ];
    let applied = push(&registry, &table, 1, &spans);
    assert_eq!((applied.counted, applied.overflowed), (5, 2));
    assert_eq!(registry.stats().active.series, 14);
    let written = collect(&registry, 100_000);
    assert_eq!(written.series.len(), 21);
    assert_eq!(written.last("calls_total{v=a}"), Some(2.0));
    assert_eq!(written.last("calls_total{v=b}"), Some(1.0));
    let over = "metric_overflow=true";
    assert_eq!(written.last(&format!("calls_total{{{over}}}")), Some(2.0));
    assert_eq!(
        written.last(&format!("latency_bucket{{{over},le=1}}")),
        Some(1.0)
    );
    assert_eq!(written.last(&format!("latency_count{{{over}}}")), Some(2.0));
}

#[test]
fn idle_series_ends_with_a_staleness_marker_and_may_begin_again() {
    let (registry, table) = registry(0);
    push(
        &registry,
        &table,
        1_000,
        &[("a", "a", 0.1), ("b", "b", 0.1)],
    );
    collect(&registry, 1_000);
    push(&registry, &table, 50_000, &[("b", "b", 0.1)]);
    let ends = collect(&registry, 70_000);
    assert_eq!(ends.series.len(), 14);
    assert!(ends.series["calls_total{v=a}"][0].is_stale());
    assert!(ends.series["latency_bucket{v=a,le=+Inf}"][0].is_stale());
    assert_eq!(ends.last("calls_total{v=b}"), Some(2.0));
    assert_eq!(registry.stats().active.series, 7);
    assert_eq!(collect(&registry, 71_000).series.len(), 7);

    push(&registry, &table, 80_000, &[("a", "a", 0.1)]);
    let again = &collect(&registry, 80_000).series["calls_total{v=a}"];
    assert_eq!((again[0].value, again[1].value), (0.0, 1.0));
}

/// The lane still knows the key when the slot ends, and must forget it before
/// the slot is another label set's.
#[test]
fn freed_slot_is_never_mistaken_for_its_former_label_set() {
    let (registry, table) = registry(0);
    push(&registry, &table, 1_000, &[("a", "a", 0.1)]);
    collect(&registry, 1_000);
    collect(&registry, 70_000); // "a" ends.
    collect(&registry, 71_000); // Its slot is freed.
    push(&registry, &table, 72_000, &[("b", "b", 0.1)]);
    push(
        &registry,
        &table,
        72_000,
        &[("a", "a", 0.1), ("b", "b", 0.1)],
    );
    let written = collect(&registry, 73_000);
    assert_eq!(written.last("calls_total{v=a}"), Some(1.0));
    assert_eq!(written.last("calls_total{v=b}"), Some(2.0));
}

#[test]
fn push_between_the_end_of_a_series_and_its_removal_revives_it() {
    let (registry, table) = registry(0);
    push(&registry, &table, 1_000, &[("a", "a", 0.1)]);
    collect(&registry, 1_000);
    collect(&registry, 70_000); // "a" ends.
    push(&registry, &table, 70_500, &[("a", "a", 0.1)]);
    let written = collect(&registry, 71_000);
    let points = &written.series["calls_total{v=a}"];
    assert_eq!((points[0].value, points[1].value), (0.0, 1.0));
    assert_eq!(registry.stats().active.series, 7);
    let stats = registry.stats();
    assert_eq!((stats.added.series, stats.active.series), (14, 7));
}

#[test]
fn last_exemplar_of_a_bucket_goes_once_to_each_consumer() {
    let (registry, table) = registry(0);
    push(&registry, &table, 1, &[("a", "a", 0.1), ("a", "a", 0.2)]);
    let id = "latency_bucket{v=a,le=0.5}";
    let written = scrape(&registry, 2);
    assert_eq!(
        (written.exemplars.len(), written.exemplars[id].value),
        (1, 0.2)
    );
    assert!(scrape(&registry, 3).exemplars.is_empty());
    push(&registry, &table, 4, &[("a", "a", 0.3)]);
    assert_eq!(collect(&registry, 5).exemplars[id].value, 0.3);
    assert!(collect(&registry, 6).exemplars.is_empty());
}

/// D13: a span may end a little after now, its exemplar not after its sample.
#[test]
fn exemplar_is_never_later_than_its_sample() {
    let (registry, table) = registry(0);
    let mut ahead = update("a", 0.1);
    ahead.timestamp_ms = 9_000;
    registry.apply(&table, &[ahead, update("b", 5.0)], 1, |_, _| Ok(()));
    let written = collect(&registry, 4_000);
    let times = written.exemplars.values();
    let times: Vec<_> = times.map(|exemplar| exemplar.timestamp_ms).collect();
    assert_eq!(times, [5, 4_000]);
}

#[test]
fn span_without_a_trace_id_gives_no_exemplar() {
    let (registry, table) = registry(0);
    let mut anonymous = update("a", 0.1);
    anonymous.trace_id = [0; 16];
    registry.apply(&table, &[anonymous], 1, |_, _| Ok(()));
    assert!(collect(&registry, 2).exemplars.is_empty());
}

#[test]
fn retired_table_ends_and_another_may_have_its_names() {
    let (registry, table) = registry(0);
    push(&registry, &table, 1, &[("a", "a", 0.1)]);
    collect(&registry, 2);
    registry.retire_table(&table);
    let next = registry.add_table(schema());
    push(&registry, &next, 3, &[("b", "b", 0.1)]);
    assert_eq!(scrape(&registry, 3).series.len(), 7);
    let written = collect(&registry, 4);
    assert!(written.series["calls_total{v=a}"][0].is_stale());
    assert_eq!(written.last("calls_total{v=b}"), Some(1.0));
    assert_eq!(registry.stats().active.series, 7);
}

/// A series must not end and begin at one time.
#[test]
fn table_that_comes_back_before_a_collection_goes_on() {
    let (registry, table) = registry(0);
    push(&registry, &table, 1, &[("a", "a", 0.1)]);
    collect(&registry, 2);
    registry.retire_table(&table);
    let next = registry.resume_table(schema(), 3);
    push(&registry, &next, 3, &[("a", "a", 0.1)]);
    let written = collect(&registry, 4);
    assert_eq!(written.series["calls_total{v=a}"].len(), 1);
    assert_eq!(written.last("calls_total{v=a}"), Some(2.0));
    // What has ended does not come back.
    registry.retire_table(&next);
    assert!(collect(&registry, 5).series["calls_total{v=a}"][0].is_stale());
    let last = registry.resume_table(schema(), 6);
    push(&registry, &last, 6, &[("a", "a", 0.1)]);
    assert_eq!(collect(&registry, 7).last("calls_total{v=a}"), Some(1.0));
}

/// D2: what stays the same goes on; of what changes, the rest ends.
#[test]
fn replaced_table_goes_on_counting_what_stays_the_same() {
    let (registry, table) = registry(14);
    push(&registry, &table, 1, &[("a", "a", 0.1), ("b", "b", 0.1)]);
    collect(&registry, 2);
    let bounds = vec![0.5, 2.0];
    let changed = Schema::new([
        Metric {
            name: "calls_total".to_owned(),
            help: "help",
            unit: "",
            kind: MetricKind::Counter,
            sparse: false,
        },
        Metric {
            name: "latency".to_owned(),
            help: "help",
            unit: "",
            kind: MetricKind::ClassicHistogram { bounds },
            sparse: false,
        },
    ]);
    let next = registry.replace_table(&table, changed, 3);
    push(&registry, &table, 3, &[("a", "a", 0.1)]); // Was under way.
    push(&registry, &next, 4, &[("a", "a", 0.7)]);
    let written = collect(&registry, 5);
    assert_eq!(written.last("calls_total{v=a}"), Some(4.0 - 1.0));
    assert_eq!(written.series["calls_total{v=a}"].len(), 1); // No zero again.
    assert_eq!(written.last("calls_total{v=b}"), Some(1.0));
    assert!(written.series["size_total{v=a}"][0].is_stale());
    assert!(written.series["latency_bucket{v=a,le=1}"][0].is_stale());
    for (series, want) in [("_bucket{v=a,le=0.5}", 2.0), ("_bucket{v=a,le=2}", 3.0)]
        .into_iter()
        .chain([("_count{v=a}", 3.0), ("_bucket{v=a,le=+Inf}", 3.0)])
    {
        let points = &written.series[&format!("latency{series}")];
        assert_eq!(points.len(), 1, "{series}");
        assert_eq!(points[0].value, want, "{series}");
    }
    assert_eq!(registry.stats().active.series, 12);
    assert_eq!(collect(&registry, 6).series.len(), 12);
}

/// Source: differences, D2.
#[test]
fn replaced_gauge_has_no_value_under_its_new_name_before_it_is_set() {
    let gauge = |name: &str| {
        Schema::new([Metric {
            name: name.to_owned(),
            help: "help",
            unit: "",
            kind: MetricKind::Gauge,
            sparse: false,
        }])
    };
    let registry = Registry::new(Limits::default(), 1);
    let table = registry.add_table(gauge("hosts"));
    let mut set = update("a", 0.0);
    set.values[0] = 1.0;
    registry.apply(&table, &[set], 1, |_, _| Ok(()));
    collect(&registry, 2);
    registry.replace_table(&table, gauge("machines"), 3);
    let written = collect(&registry, 4);
    assert!(written.series["hosts{}"][0].is_stale());
    assert_eq!(written.series.len(), 1, "{:?}", written.series);
}

#[test]
fn sparse_metric_appears_with_its_first_value() {
    let registry = Registry::new(Limits::default(), 1);
    let metric = |name: &str, sparse| Metric {
        name: name.to_owned(),
        help: "help",
        unit: "",
        kind: MetricKind::Counter,
        sparse,
    };
    let table = registry.add_table(Schema::new([metric("all", false), metric("failed", true)]));
    let mut span = update("a", f64::NAN);
    span.values[2] = f64::NAN;
    registry.apply(&table, &[span], 1, |_, _| Ok(()));
    assert_eq!(collect(&registry, 2).series.len(), 1);
    span.values[1] = 1.0;
    registry.apply(&table, &[span], 3, |_, _| Ok(()));
    let written = collect(&registry, 5_000);
    assert_eq!(written.series["all{}"].len(), 1);
    let failed: Vec<f64> = written.series["failed{}"].iter().map(|p| p.value).collect();
    assert_eq!(failed, [0.0, 1.0]);
    registry.retire_table(&table);
    assert!(collect(&registry, 6_000).series["failed{}"][0].is_stale());
}

#[test]
fn gauge_is_set_and_has_no_zero_before_it() {
    let registry = Registry::new(Limits::default(), 1);
    let table = registry.add_table(Schema::new([Metric {
        name: "info".to_owned(),
        help: "help",
        unit: "",
        kind: MetricKind::Gauge,
        sparse: false,
    }]));
    let mut set = update("a", 0.0);
    set.values[0] = 1.0;
    for now_ms in [1, 2_000, 4_000] {
        registry.apply(&table, &[set], now_ms, |_, _| Ok(()));
    }
    let written = collect(&registry, 5_000);
    assert_eq!(
        written.series["info{}"],
        [Point {
            timestamp_ms: 5_000,
            value: 1.0
        }]
    );
}

#[test]
fn concurrent_pushes_and_collections_lose_nothing() {
    let (registry, table) = registry(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (registry, table) = (&registry, &table);
            scope.spawn(move || {
                for round in 0..500 {
                    let value = format!("{}", (round * 7 + thread) % 50);
                    let spans = [(value.as_str(), value.as_str(), 0.1); 20];
                    push(registry, table, 10_000 + round, &spans);
                }
            });
        }
        for now_ms in 10_000..10_020 {
            collect(&registry, now_ms);
        }
    });
    let written = collect(&registry, 20_000);
    let calls = written.values().into_iter();
    let calls = calls.filter(|(id, _)| id.starts_with("calls_total"));
    assert_eq!(calls.map(|(_, value)| value).sum::<f64>(), 40_000.0);
}

proptest! {
    /// forall pushes, split between two registries in any way: their deltas
    /// added to a third give what one registry would have given.
    #[test]
    fn merged_deltas_equal_one_registry(
        pushes in prop::collection::vec((0_u8..2, "[a-e]", 0_u32..30), 1..60)
    ) {
        let (one, of_one) = registry(0);
        let (third, of_third) = registry(0);
        let parts = [registry(0), registry(0)];
        for (part, value, tenths) in &pushes {
            // Quarters add up exactly in any order.
            let span = [(value.as_str(), value.as_str(), f64::from(*tenths) / 4.0)];
            push(&one, &of_one, 1, &span);
            let (part, table) = &parts[usize::from(*part)];
            push(part, table, 1, &span);
        }
        for (part, table) in &parts {
            let deltas = part.take_deltas(table, 2);
            third.add_deltas(&of_third, &deltas, 2);
            prop_assert!(collect(part, 3).series.is_empty());
        }
        let (want, got) = (collect(&one, 3), collect(&third, 3));
        prop_assert_eq!(want.values(), got.values());
        prop_assert_eq!(want.exemplars.len(), got.exemplars.len());
    }

    /// forall pushes under a limit: totals, overflow included, are what came in.
    #[test]
    fn totals_under_a_limit_are_exact(
        pushes in prop::collection::vec("[a-z]", 1..200), limit in 1_u64..100
    ) {
        let (registry, table) = registry(limit);
        for value in &pushes {
            push(&registry, &table, 1, &[(value, value, 0.5)]);
        }
        let written = collect(&registry, 2);
        for metric in ["calls_total{", "latency_count{", "latency_bucket{"] {
            let series = written.values().into_iter();
            let series = series.filter(|(id, _)| id.starts_with(metric) && !id.contains("le=1}") && !id.contains("Inf"));
            prop_assert_eq!(series.map(|(_, value)| value).sum::<f64>(), pushes.len() as f64);
        }
        prop_assert!(registry.stats().active.series <= limit);
    }
}

#[test]
fn label_buffer_reused_between_label_sets_keeps_nothing() {
    let mut labels = LabelSetBuf::new();
    labels.push("a", "1");
    labels.clear();
    labels.push("b", "2");
    assert_eq!(labels.finish().iter().collect::<Vec<_>>(), [("b", "2")]);
}
