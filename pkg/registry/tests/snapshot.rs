//! A registry that is saved and restored goes on as if nothing had been.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use model::{Exemplar, HistogramSample, LabelSet, Metadata, Point, SampleSink, Series, TenantId};
use proptest::prelude::*;
use spanmill_registry::{
    Collection, Consumer, Counts, KeyHasher, Limits, MAX_METRICS, Metric, MetricKind,
    NativeBuckets, Registry, RestoreError, Schema, Snapshot, SnapshotHeader, SnapshotStats,
    TableId, Update,
};

const MINUTE: i64 = 60_000;

/// All that a collection wrote, a line for each series.
#[derive(Debug, Default, PartialEq)]
struct Written {
    labels: String,
    metric: String,
    lines: Vec<String>,
}

impl SampleSink for Written {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        let labels: Vec<_> = labels.iter().collect();
        self.labels = format!("{labels:?}");
    }

    fn started(&mut self, timestamp_ms: i64) {
        self.labels += &format!(" since {timestamp_ms}");
    }

    fn metric(&mut self, metadata: Metadata) {
        self.metric = format!("{metadata:?}");
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        let Self { labels, metric, .. } = self;
        let line = format!("{labels} {metric} {series:?} {points:?} {exemplar:?}");
        self.lines.push(line);
    }

    fn histogram(
        &mut self,
        name: &str,
        samples: &[HistogramSample<'_>],
        exemplar: Option<Exemplar>,
    ) {
        let Self { labels, metric, .. } = self;
        let line = format!("{labels} {metric} {name} {samples:?} {exemplar:?}");
        self.lines.push(line);
    }
}

impl Written {
    fn containing(&self, part: &str) -> usize {
        self.lines.iter().filter(|line| line.contains(part)).count()
    }
}

fn schema(kind: MetricKind) -> Schema {
    let metric = |name: &str, kind, sparse| Metric {
        name: name.to_owned(),
        help: "help",
        unit: "seconds",
        kind,
        sparse,
    };
    Schema::new([
        metric("calls_total", MetricKind::Counter, false),
        metric("latency", kind, false),
        metric("last", MetricKind::Gauge, false),
        metric("failed_total", MetricKind::Counter, true),
    ])
    .limiting_labels()
}

fn classic() -> Schema {
    let bounds = vec![1.0, 4.0];
    schema(MetricKind::ClassicHistogram { bounds })
}

/// Both histograms; the native one soon has too many buckets, restarts once a
/// minute and gets coarser in between.
fn both() -> Schema {
    schema(MetricKind::ClassicAndNative {
        bounds: vec![1.0, 4.0],
        buckets: NativeBuckets::new(2.0, 3, Duration::from_secs(60)),
    })
}

fn native() -> Schema {
    let buckets = NativeBuckets::new(2.0, 3, Duration::from_secs(60));
    schema(MetricKind::NativeHistogram { buckets })
}

/// A registry, and the table of its one processor.
struct Tenant {
    registry: Registry,
    table: TableId,
}

impl Tenant {
    fn new(schema: Schema, limits: Limits) -> Self {
        let registry = Registry::new(limits, 1);
        let table = registry.add_table(schema);
        Self { registry, table }
    }

    /// Applies one update for each label value and observation.
    fn push(&self, now_ms: i64, spans: &[(&str, f64)]) {
        let updates: Vec<Update> = spans
            .iter()
            .enumerate()
            .map(|(order, (name, value))| {
                let mut values = [f64::NAN; MAX_METRICS];
                values[..3].copy_from_slice(&[1.0, *value, *value]);
                if *value > 3.0 {
                    values[3] = 1.0;
                }
                Update {
                    key: KeyHasher::new().key(name.as_bytes()),
                    weight: value.max(0.5),
                    spans: 1,
                    is_sampled: *value > 2.0,
                    order: order as u32,
                    values,
                    trace_id: [*value as u8 + 1; 16],
                    timestamp_ms: now_ms,
                }
            })
            .collect();
        self.registry
            .apply(&self.table, &updates, now_ms, |index, labels| {
                labels.push("v", spans[index].0);
                Ok(())
            });
    }

    fn collect(&self, now_ms: i64, consumers: &[Consumer]) -> Written {
        let mut written = Written::default();
        self.registry.collect(
            Collection {
                now_ms,
                zero_ms: now_ms - 10,
                idle_since_ms: now_ms - 15 * MINUTE,
                consumers,
            },
            &mut written,
        );
        written.lines.sort();
        written
    }

    fn saved(&self, saved_ms: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let stats = self.registry.save(&header(saved_ms), &mut bytes).unwrap();
        assert_eq!(stats.bytes, bytes.len() as u64);
        bytes
    }

    /// As after a restart with these settings.
    fn restored(bytes: &[u8], limits: Limits, schema: Schema, now_ms: i64) -> Self {
        let (registry, _) = restore(bytes, limits, 0).unwrap();
        let table = registry.resume_table(schema, now_ms);
        Self { registry, table }
    }
}

fn header(saved_ms: i64) -> SnapshotHeader {
    SnapshotHeader {
        tenant: TenantId::parse("acme").unwrap(),
        saved_ms,
        last_sample_ms: saved_ms - 1,
        labelling: 7,
    }
}

fn restore(
    bytes: &[u8],
    limits: Limits,
    pause_ms: i64,
) -> Result<(Registry, SnapshotStats), RestoreError> {
    Registry::restore(limits, 1, Snapshot::open(bytes)?, pause_ms)
}

fn counts(tenant: &Tenant) -> Counts {
    tenant.registry.stats().active
}

const BOTH_CONSUMERS: &[Consumer] = &[Consumer::RemoteWrite, Consumer::Scrape];

#[derive(Clone, Debug)]
enum Step {
    Push(Vec<(u8, u8)>),
    Collect,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let spans = prop::collection::vec((0_u8..5, 0_u8..40), 0..12);
    let step = prop_oneof![
        3 => spans.prop_map(Step::Push),
        2 => Just(Step::Collect),
        2 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..24)
}

proptest! {
    /// forall pushes, collections and restarts: what is collected is what would
    /// be without the restarts, to the start time, the restart of a native
    /// histogram and the exemplar.
    #[test]
    fn restarts_cannot_be_seen_in_what_is_collected(
        steps in steps(),
        kind in 0_usize..3,
        max_active_entities in 0_u64..4,
    ) {
        let schema = || [classic, both, native][kind]();
        let limits = Limits { max_active_entities, ..Limits::default() };
        let steady = Tenant::new(schema(), limits);
        let mut restarted = Tenant::new(schema(), limits);
        let mut now_ms = 1_000_000;
        for step in &steps {
            now_ms += MINUTE / 4;
            match step {
                Step::Push(spans) => {
                    let names = ["a", "b", "c", "d", "e"];
                    let spans: Vec<_> = spans
                        .iter()
                        .map(|(name, value)| (names[usize::from(*name)], f64::from(*value) / 4.0))
                        .collect();
                    steady.push(now_ms, &spans);
                    restarted.push(now_ms, &spans);
                }
                Step::Collect => prop_assert_eq!(
                    restarted.collect(now_ms, BOTH_CONSUMERS),
                    steady.collect(now_ms, BOTH_CONSUMERS)
                ),
                Step::Restart => {
                    // A stop collects, so that no label set is without a value.
                    prop_assert_eq!(
                        restarted.collect(now_ms, &[Consumer::RemoteWrite]),
                        steady.collect(now_ms, &[Consumer::RemoteWrite])
                    );
                    let bytes = restarted.saved(now_ms);
                    restarted = Tenant::restored(&bytes, limits, schema(), now_ms);
                    prop_assert_eq!(counts(&restarted), counts(&steady));
                }
            }
        }
        prop_assert_eq!(
            restarted.collect(now_ms + 1, BOTH_CONSUMERS),
            steady.collect(now_ms + 1, BOTH_CONSUMERS)
        );
    }

    /// forall damages: a snapshot with flipped bits or a missing end is refused,
    /// and nothing panics.
    #[test]
    fn damaged_snapshot_is_refused(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 0..4),
        end in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let tenant = Tenant::new(both(), Limits::default());
        tenant.push(1_000, &[("a", 2.0), ("b", 9.0), ("c", 0.1)]);
        tenant.collect(2_000, &[Consumer::RemoteWrite]);
        let good = tenant.saved(3_000);
        let mut bytes = good.clone();
        for (at, bit) in &flips {
            *at.get_mut(&mut bytes) ^= 1 << bit;
        }
        if is_cut {
            bytes.truncate(end.index(bytes.len()));
        }
        prop_assert_eq!(restore(&bytes, Limits::default(), 0).is_ok(), bytes == good);
    }

    /// forall bytes in a block with the right checksum: reading them ends.
    #[test]
    fn any_records_can_be_read(
        records in prop::collection::vec(prop_oneof![0_u8..6, any::<u8>()], 0..200),
    ) {
        let mut bytes = Tenant::new(both(), Limits::default()).saved(3_000);
        bytes.truncate(bytes.len() - 10); // The block with the end.
        let checksum = crc32fast::hash(&records);
        bytes.extend_from_slice(&(records.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&records);
        let _ = restore(&bytes, Limits::default(), 0);
    }
}

#[test]
fn header_comes_back_and_tells_what_there_is() {
    let tenant = Tenant::new(classic(), Limits::default());
    tenant.push(1_000, &[("a", 2.0), ("b", 9.0)]);
    let bytes = tenant.saved(3_000);
    let snapshot = Snapshot::open(&bytes[..]).unwrap();
    assert_eq!(*snapshot.header(), header(3_000));
    let (_, stats) = Registry::restore(Limits::default(), 1, snapshot, 0).unwrap();
    let want = SnapshotStats {
        entities: 2,
        series: 16,
        bytes: 0,
    };
    assert_eq!(stats, want);
}

#[test]
fn what_is_no_snapshot_is_told_from_one_of_another_version() {
    let mut bytes = Tenant::new(classic(), Limits::default()).saved(3_000);
    assert!(matches!(
        restore(b"any other file", Limits::default(), 0),
        Err(RestoreError::Foreign)
    ));
    bytes[8] = 2;
    assert!(matches!(
        restore(&bytes, Limits::default(), 0),
        Err(RestoreError::Version { version: 2 })
    ));
}

#[test]
fn series_keep_their_place_under_a_lower_limit_and_new_ones_overflow() {
    let tenant = Tenant::new(classic(), Limits::default());
    tenant.push(1_000, &[("a", 1.0), ("b", 1.0), ("c", 1.0)]);
    tenant.collect(2_000, &[Consumer::RemoteWrite]);
    let limits = Limits {
        max_active_entities: 2,
        ..Limits::default()
    };
    let tenant = Tenant::restored(&tenant.saved(3_000), limits, classic(), 4_000);
    assert_eq!((counts(&tenant).entities, counts(&tenant).series), (3, 24));
    tenant.push(5_000, &[("a", 1.0), ("d", 1.0)]);
    let written = tenant.collect(6_000, &[Consumer::RemoteWrite]);
    assert_eq!(written.containing(r#"[("v", "a")] since 1000"#), 7);
    assert_eq!(written.containing("metric_overflow"), 7);
    assert_eq!(written.containing(r#""d""#), 0);
}

#[test]
fn values_of_restored_label_sets_count_for_the_limit_of_a_label() {
    let limits = Limits {
        max_cardinality_per_label: 2,
        ..Limits::default()
    };
    let tenant = Tenant::new(classic(), limits);
    tenant.push(1_000, &[("a", 1.0), ("b", 1.0)]);
    let tenant = Tenant::restored(&tenant.saved(3_000), limits, classic(), 4_000);
    tenant.push(5_000, &[("b", 1.0), ("c", 1.0)]);
    let written = tenant.collect(6_000, &[Consumer::RemoteWrite]);
    assert_eq!(written.containing(r#""c""#), 0);
    assert!(written.containing("__cardinality_overflow__") > 0);
}

#[test]
fn series_that_nobody_takes_up_end_at_the_first_collection() {
    let tenant = Tenant::new(classic(), Limits::default());
    tenant.push(1_000, &[("a", 1.0)]);
    tenant.collect(2_000, &[Consumer::RemoteWrite]);
    let (registry, _) = restore(&tenant.saved(3_000), Limits::default(), 0).unwrap();
    let table = registry.resume_table(
        Schema::new([Metric {
            name: "other".to_owned(),
            help: "",
            unit: "",
            kind: MetricKind::Counter,
            sparse: false,
        }]),
        4_000,
    );
    let tenant = Tenant { registry, table };
    let written = tenant.collect(5_000, &[Consumer::RemoteWrite]);
    let stale = format!("{:?}", Point::stale(5_000));
    // Calls, five of the histogram, the gauge; the sparse counter never was.
    assert_eq!((written.containing(&stale), written.lines.len()), (7, 7));
    assert_eq!(counts(&tenant), Counts::default());
}

#[test]
fn changed_buckets_keep_what_stays_the_same() {
    let tenant = Tenant::new(classic(), Limits::default());
    tenant.push(1_000, &[("a", 0.5), ("a", 2.0)]);
    tenant.collect(2_000, &[Consumer::RemoteWrite]);
    let bounds = vec![4.0];
    let next = schema(MetricKind::ClassicHistogram { bounds });
    let tenant = Tenant::restored(&tenant.saved(3_000), Limits::default(), next, 4_000);
    let written = tenant.collect(5_000, &[Consumer::RemoteWrite]);
    let point = |value| {
        format!(
            "{:?}",
            [Point {
                timestamp_ms: 5_000,
                value
            }]
        )
    };
    for (series, want) in [
        (r#""latency_bucket", le: Some("4")"#, point(2.5)),
        (r#""latency_count""#, point(2.5)),
        (r#""latency_sum""#, point(4.25)),
        (r#""calls_total""#, point(2.0)),
        (
            r#""latency_bucket", le: Some("1")"#,
            format!("{:?}", [Point::stale(5_000)]),
        ),
    ] {
        let lines = written.lines.iter();
        let line: Vec<_> = lines.filter(|line| line.contains(series)).collect();
        assert_eq!(line.len(), 1, "{series}");
        assert!(line[0].contains(&want), "{series}: {line:?}");
    }
}

#[test]
fn pause_does_not_count_as_idle() {
    let tenant = Tenant::new(classic(), Limits::default());
    tenant.push(0, &[("a", 1.0)]);
    tenant.collect(MINUTE, &[Consumer::RemoteWrite]);
    let bytes = tenant.saved(MINUTE);
    for (pause_ms, ends) in [(0, true), (30 * MINUTE, false)] {
        let (registry, _) = restore(&bytes, Limits::default(), pause_ms).unwrap();
        let table = registry.resume_table(classic(), 31 * MINUTE);
        let tenant = Tenant { registry, table };
        let now_ms = 31 * MINUTE;
        let written = tenant.collect(now_ms, &[Consumer::RemoteWrite]);
        let stale = format!("{:?}", Point::stale(now_ms));
        assert_eq!(written.containing(&stale) > 0, ends, "{pause_ms}");
    }
}

#[test]
fn ended_series_are_not_saved() {
    let tenant = Tenant::new(classic(), Limits::default());
    tenant.push(0, &[("a", 1.0)]);
    tenant.collect(0, &[Consumer::RemoteWrite]);
    tenant.push(10 * MINUTE, &[("b", 1.0)]);
    tenant.collect(16 * MINUTE, &[Consumer::RemoteWrite]);
    let bytes = tenant.saved(16 * MINUTE);
    let (_, stats) = restore(&bytes, Limits::default(), 0).unwrap();
    assert_eq!(stats.entities, 1);
}

/// The next start may be that of another version.
#[test]
fn saved_registry_is_that_of_its_version() {
    let format = fixtures::Format::new(env!("CARGO_MANIFEST_DIR"), "registry");
    let tenant = Tenant::new(both(), Limits::default());
    tenant.push(1_000, &[("a", 1.0), ("b", 5.0), ("a", 3.0)]);
    tenant.collect(MINUTE, &[Consumer::RemoteWrite]);
    tenant.push(MINUTE + 1, &[("b", 2.5)]);
    let written = tenant.saved(2 * MINUTE);
    let version: [u8; 4] = written[8..12].try_into().unwrap();
    let version = u32::from_le_bytes(version);
    format.check(version.into(), &written).unwrap();
    let want = tenant.collect(3 * MINUTE, BOTH_CONSUMERS);
    for (version, kept) in format.kept().unwrap() {
        let restored = Tenant::restored(&kept, Limits::default(), both(), 2 * MINUTE);
        let got = restored.collect(3 * MINUTE, BOTH_CONSUMERS);
        assert_eq!(got, want, "{version}");
    }
    let mut later = written;
    later[8] += 1;
    let refused = restore(&later, Limits::default(), 0).map(drop);
    let refused = refused.unwrap_err().to_string();
    assert_eq!(refused, format!("its version {} is not known", version + 1));
}
