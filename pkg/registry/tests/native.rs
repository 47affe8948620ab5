//! What a registry gives out of native histograms for what went in.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Exemplar, HistogramSample, LabelSet, Metadata, MetricType, Point, SampleSink, Series};
use proptest::prelude::*;
use spanmill_registry::{
    Collection, Consumer, KeyHasher, Limits, MAX_METRICS, Metric, MetricKind, NativeBuckets,
    Registry, Schema, TableId, Update,
};

/// Counts by bucket: the key of a value is the smallest `i` for which it is at
/// most 2^i.
type Counts = BTreeMap<i32, f64>;

/// One sample of a native histogram.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    timestamp_ms: i64,
    started_ms: i64,
    count: f64,
    sum: f64,
    zero_count: f64,
    counts: Counts,
    is_float: bool,
    is_restart: bool,
}

/// Everything that a collection or scrape wrote, by series.
#[derive(Default)]
struct Written {
    labels: String,
    metric: Option<(MetricType, String)>,
    native: BTreeMap<String, Vec<Sample>>,
    plain: BTreeMap<String, Vec<Point>>,
    exemplars: BTreeMap<String, Exemplar>,
}

impl SampleSink for Written {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        let labels: Vec<_> = labels.iter().map(|(_, value)| value).collect();
        self.labels = labels.join(",");
        self.metric = None;
    }

    fn metric(&mut self, metadata: Metadata<'_>) {
        self.metric = Some((metadata.kind, metadata.unit.to_owned()));
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        let id = format!("{}{} {}", series.name, series.le.unwrap_or(""), self.labels);
        self.exemplars
            .extend(exemplar.map(|exemplar| (id.clone(), exemplar)));
        let before = self.plain.insert(id.clone(), points.to_vec());
        assert!(before.is_none(), "{id} is written twice");
    }

    fn histogram(
        &mut self,
        name: &str,
        samples: &[HistogramSample<'_>],
        exemplar: Option<Exemplar>,
    ) {
        let told = self.metric.as_ref();
        let told = told.map(|(kind, unit)| (*kind, unit.as_str()));
        assert_eq!(told, Some((MetricType::Histogram, "seconds")), "{name}");
        let id = format!("{name} {}", self.labels);
        self.exemplars
            .extend(exemplar.map(|exemplar| (id.clone(), exemplar)));
        let samples = samples.iter().map(Sample::of).collect();
        let before = self.native.insert(id.clone(), samples);
        assert!(before.is_none(), "{id} is written twice");
    }
}

impl Sample {
    fn of(sample: &HistogramSample<'_>) -> Self {
        let mut next = 0;
        let mut keys = Vec::new();
        for span in sample.spans {
            next += span.offset;
            keys.extend(next..next + span.length as i32);
            next += span.length as i32;
        }
        assert_eq!(keys.len(), sample.counts.len());
        let counts = keys.into_iter().zip(sample.counts.iter().copied());
        Self {
            timestamp_ms: sample.timestamp_ms,
            started_ms: sample.started_ms,
            count: sample.count,
            sum: sample.sum,
            zero_count: sample.zero_count,
            counts: counts.filter(|(_, count)| *count != 0.0).collect(),
            is_float: sample.is_float,
            is_restart: sample.is_restart,
        }
    }
}

/// Buckets that double, so that the values 1, 2, 4 have the keys 0, 1, 2.
fn doubling(max_buckets: u32, min_reset_ms: u64) -> NativeBuckets {
    NativeBuckets::new(2.0, max_buckets, Duration::from_millis(min_reset_ms))
}

fn native(buckets: NativeBuckets) -> Schema {
    schema(MetricKind::NativeHistogram { buckets })
}

fn both(buckets: NativeBuckets) -> Schema {
    let bounds = vec![1.0];
    schema(MetricKind::ClassicAndNative { bounds, buckets })
}

fn classic() -> Schema {
    let bounds = vec![1.0];
    schema(MetricKind::ClassicHistogram { bounds })
}

fn schema(kind: MetricKind) -> Schema {
    Schema::new([Metric {
        name: "latency".to_owned(),
        help: "help",
        unit: "seconds",
        kind,
        sparse: false,
    }])
}

fn registry(schema: Schema) -> (Registry, TableId) {
    let registry = Registry::new(Limits::default(), 1);
    let table = registry.add_table(schema);
    (registry, table)
}

/// Applies one update for each label value, observation and weight.
fn push(registry: &Registry, table: &TableId, now_ms: i64, spans: &[(&str, f64, f64)]) {
    let update = |(name, value, weight): &(&str, f64, f64)| {
        let mut values = [f64::NAN; MAX_METRICS];
        values[0] = *value;
        Update {
            key: KeyHasher::new().key(name.as_bytes()),
            weight: *weight,
            spans: 1,
            is_sampled: false,
            order: 0,
            values,
            trace_id: [7; 16],
            timestamp_ms: 5,
        }
    };
    let updates: Vec<Update> = spans.iter().map(update).collect();
    registry.apply(table, &updates, now_ms, |index, labels| {
        labels.push("v", spans[index].0);
        Ok(())
    });
}

fn collect(registry: &Registry, now_ms: i64) -> Written {
    let mut written = Written::default();
    registry.collect(
        Collection {
            now_ms,
            zero_ms: now_ms - 10,
            idle_since_ms: now_ms - 60_000,
            consumers: &[Consumer::RemoteWrite],
        },
        &mut written,
    );
    written
}

fn last(written: &Written, id: &str) -> Sample {
    written.native[id].last().unwrap().clone()
}

fn is_stale(sample: &Sample) -> bool {
    sample.sum.to_bits() == Point::STALE
}

#[test]
fn first_sample_comes_after_an_empty_histogram_and_its_exemplar_later() {
    let (registry, table) = registry(native(doubling(0, 0)));
    push(&registry, &table, 100, &[("a", 2.0, 1.0), ("a", 0.0, 2.0)]);
    let written = collect(&registry, 200);
    let [empty, first] = &written.native["latency a"][..] else {
        panic!("not two samples");
    };
    let want = Sample {
        timestamp_ms: 190,
        started_ms: 190,
        count: 0.0,
        sum: 0.0,
        zero_count: 0.0,
        counts: Counts::new(),
        is_float: false,
        is_restart: false,
    };
    assert_eq!(*empty, want);
    let want = Sample {
        timestamp_ms: 200,
        started_ms: 100,
        count: 3.0,
        sum: 2.0,
        zero_count: 2.0,
        counts: Counts::from([(1, 1.0)]),
        ..want
    };
    assert_eq!(*first, want);
    assert!(written.exemplars.is_empty() && written.plain.is_empty());

    push(&registry, &table, 300, &[("a", 3.0, 1.0)]);
    let written = collect(&registry, 400);
    let want = Sample {
        timestamp_ms: 400,
        count: 4.0,
        sum: 5.0,
        counts: Counts::from([(1, 1.0), (2, 1.0)]),
        ..want
    };
    assert_eq!(written.native["latency a"], [want]);
    assert_eq!(written.exemplars["latency a"].value, 3.0);
    assert!(collect(&registry, 500).exemplars.is_empty());
}

#[test]
fn fractional_weights_make_a_float_histogram() {
    let (registry, table) = registry(native(doubling(0, 0)));
    push(&registry, &table, 100, &[("a", 2.0, 2.5), ("b", 2.0, 4.0)]);
    let written = collect(&registry, 200);
    let of_a = last(&written, "latency a");
    assert_eq!((of_a.count, of_a.sum, of_a.is_float), (2.5, 5.0, true));
    let of_b = last(&written, "latency b");
    assert_eq!((of_b.count, of_b.sum, of_b.is_float), (4.0, 8.0, false));
    // Whole numbers do not make it an integer histogram again.
    push(&registry, &table, 300, &[("a", 2.0, 1.5)]);
    let of_a = last(&collect(&registry, 400), "latency a");
    assert_eq!((of_a.count, of_a.is_float), (4.0, true));
}

#[test]
fn both_histograms_have_the_same_observations_and_the_classic_one_the_exemplars() {
    let (registry, table) = registry(both(doubling(0, 0)));
    push(&registry, &table, 100, &[("a", 0.5, 1.0), ("a", 4.0, 1.0)]);
    let written = collect(&registry, 200);
    let of_a = last(&written, "latency a");
    assert_eq!((of_a.count, of_a.sum), (2.0, 4.5));
    assert_eq!(of_a.counts, Counts::from([(-1, 1.0), (2, 1.0)]));
    let plain: BTreeMap<_, _> = written
        .plain
        .iter()
        .map(|(id, points)| (id.as_str(), points.last().unwrap().value))
        .collect();
    let want = BTreeMap::from([
        ("latency_bucket1 a", 1.0),
        ("latency_bucket+Inf a", 2.0),
        ("latency_sum a", 4.5),
        ("latency_count a", 2.0),
    ]);
    assert_eq!(plain, want);
    let exemplars: Vec<_> = written.exemplars.keys().map(String::as_str).collect();
    assert_eq!(exemplars, ["latency_bucket+Inf a", "latency_bucket1 a"]);
    let exemplars = collect(&registry, 300).exemplars;
    assert!(exemplars.is_empty(), "{exemplars:?}");
}

#[test]
fn idle_histogram_ends_with_a_staleness_marker_and_may_begin_again() {
    let (registry, table) = registry(native(doubling(0, 0)));
    push(&registry, &table, 100, &[("a", 2.0, 1.0)]);
    collect(&registry, 200);
    assert!(is_stale(&last(&collect(&registry, 100_000), "latency a")));
    assert!(collect(&registry, 100_100).native.is_empty());
    push(&registry, &table, 100_200, &[("a", 8.0, 1.0)]);
    let written = collect(&registry, 100_300);
    assert_eq!(written.native["latency a"].len(), 2);
    let of_a = last(&written, "latency a");
    assert_eq!((of_a.count, of_a.started_ms), (1.0, 100_200));
    assert_eq!(of_a.counts, Counts::from([(3, 1.0)]));
}

#[test]
fn histogram_that_begins_anew_forgets_all_and_says_so_once() {
    let (registry, table) = registry(native(doubling(2, 1_000)));
    let spans = [("a", 0.0, 1.5), ("a", 1.0, 1.0), ("a", 2.0, 1.0)];
    push(&registry, &table, 100, &spans);
    collect(&registry, 200);
    push(&registry, &table, 2_000, &[("a", 4.0, 1.0)]);
    let of_a = last(&collect(&registry, 2_100), "latency a");
    assert_eq!((of_a.count, of_a.sum, of_a.zero_count), (1.0, 4.0, 0.0));
    assert_eq!(of_a.counts, Counts::from([(2, 1.0)]));
    assert_eq!((of_a.is_restart, of_a.is_float), (true, false));
    assert_eq!(of_a.started_ms, 2_100);
    assert!(!last(&collect(&registry, 2_200), "latency a").is_restart);
}

#[test]
fn native_histogram_counts_as_one_series_of_the_limit() {
    let limits = Limits {
        max_active_series: 2,
        ..Limits::default()
    };
    let registry = Registry::new(limits, 1);
    let table = registry.add_table(native(doubling(0, 0)));
    let spans = [("a", 1.0, 1.0), ("b", 1.0, 1.0), ("c", 1.0, 1.0)];
    push(&registry, &table, 100, &spans);
    let written = collect(&registry, 200);
    let ids: Vec<_> = written.native.keys().map(String::as_str).collect();
    assert_eq!(ids, ["latency a", "latency b", "latency true"]);
}

#[test]
fn what_stays_the_same_goes_on_when_the_kind_of_histogram_changes() {
    let (registry, table) = registry(classic());
    push(&registry, &table, 100, &[("a", 4.0, 1.0)]);
    collect(&registry, 200);
    // To both: the classic one goes on, the native one is new.
    let table = registry.replace_table(&table, both(doubling(0, 0)), 300);
    push(&registry, &table, 400, &[("a", 2.0, 1.0)]);
    let written = collect(&registry, 500);
    let count = &written.plain["latency_count a"];
    assert_eq!((count.len(), count[0].value), (1, 2.0));
    assert_eq!(written.native["latency a"].len(), 2);
    assert_eq!(last(&written, "latency a").counts, Counts::from([(1, 1.0)]));
    // To other native buckets: they go on as fine as the coarser of both.
    let table = registry.replace_table(
        &table,
        both(NativeBuckets::new(1.5, 0, Duration::ZERO)),
        600,
    );
    push(&registry, &table, 700, &[("a", 4.0, 1.0)]);
    let written = collect(&registry, 800);
    assert_eq!(written.native["latency a"].len(), 1);
    let want = Counts::from([(1, 1.0), (2, 1.0)]);
    assert_eq!(last(&written, "latency a").counts, want);
    // To the native one alone: the classic one ends.
    registry.replace_table(&table, native(doubling(0, 0)), 900);
    let written = collect(&registry, 1_000);
    assert_eq!(written.native["latency a"].len(), 1);
    let of_a = last(&written, "latency a");
    assert_eq!((of_a.count, of_a.sum, of_a.started_ms), (2.0, 6.0, 100));
    assert_eq!(written.plain.len(), 4);
    for (id, points) in &written.plain {
        assert!(points.iter().all(|point| point.is_stale()), "{id}");
    }
}

#[test]
fn native_histogram_that_is_given_up_ends() {
    let (registry, table) = registry(both(doubling(0, 0)));
    push(&registry, &table, 100, &[("a", 4.0, 1.0)]);
    collect(&registry, 200);
    registry.replace_table(&table, classic(), 300);
    let written = collect(&registry, 400);
    assert!(is_stale(&last(&written, "latency a")));
    assert_eq!(written.plain["latency_count a"].len(), 1);
    assert_eq!(written.plain["latency_count a"][0].value, 1.0);
}

proptest! {
    /// forall spans: two registries merged into a third give what one registry
    /// gives, and every observation is in its bucket.
    #[test]
    fn merged_deltas_equal_one_registry(
        spans in prop::collection::vec(("[ab]", 0_u32..6, 1_u8..4, any::<bool>()), 1..60),
    ) {
        let buckets = doubling(0, 0);
        let (one, one_table) = registry(native(buckets));
        let parts = [registry(native(buckets)), registry(native(buckets))];
        let mut want: BTreeMap<&str, Counts> = BTreeMap::new();
        for (name, exponent, weight, second) in &spans {
            let span = [(name.as_str(), f64::from(1 << exponent), f64::from(*weight))];
            push(&one, &one_table, 100, &span);
            let (part, table) = &parts[usize::from(*second)];
            push(part, table, 100, &span);
            let counts = want.entry(name).or_default();
            *counts.entry(*exponent as i32).or_default() += f64::from(*weight);
        }
        let (merged, merged_table) = registry(native(buckets));
        for (part, table) in &parts {
            merged.add_deltas(&merged_table, &part.take_deltas(table, 100), 100);
            prop_assert!(collect(part, 200).native.is_empty());
        }
        let (one, merged) = (collect(&one, 200), collect(&merged, 200));
        prop_assert_eq!(&one.native, &merged.native);
        for (name, counts) in want {
            prop_assert_eq!(last(&one, &format!("latency {name}")).counts, counts);
        }
    }
}
