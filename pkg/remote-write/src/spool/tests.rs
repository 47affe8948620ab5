use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use model::{
    BucketSpan, Exemplar, HistogramSample, LabelSet, LabelSetBuf, Metadata, MetricType, Point,
    SampleSink, Series,
};
use proptest::prelude::*;

use super::row::Values;
use super::tailer::{Next, Tailer};
use super::*;

mod formats;
mod handed_over;

/// A series with what it had in one collection, values as bits so that NaNs compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Read {
    labels: Vec<(String, String)>,
    started_ms: Option<i64>,
    metadata: Option<String>,
    name: String,
    le: Option<String>,
    points: Vec<(i64, u64)>,
    histograms: Vec<String>,
    exemplar: Option<([u8; 16], u64, i64)>,
}

/// Keeps what it gets.
#[derive(Debug, Default)]
struct Kept {
    current: Read,
    all: Vec<Read>,
}

impl SampleSink for Kept {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        let labels = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
        self.current = Read {
            labels: labels.collect(),
            ..Read::default()
        };
    }

    fn started(&mut self, timestamp_ms: i64) {
        self.current.started_ms = Some(timestamp_ms);
    }

    fn metric(&mut self, metadata: Metadata<'_>) {
        self.current.metadata = Some(format!("{metadata:?}"));
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        self.all.push(Read {
            name: series.name.to_owned(),
            le: series.le.map(str::to_owned),
            points: points
                .iter()
                .map(|point| (point.timestamp_ms, point.value.to_bits()))
                .collect(),
            exemplar: exemplar.map(|e| (e.trace_id, e.value.to_bits(), e.timestamp_ms)),
            ..self.current.clone()
        });
    }

    fn histogram(
        &mut self,
        name: &str,
        samples: &[HistogramSample<'_>],
        exemplar: Option<Exemplar>,
    ) {
        self.all.push(Read {
            name: name.to_owned(),
            histograms: samples.iter().map(|sample| format!("{sample:?}")).collect(),
            exemplar: exemplar.map(|e| (e.trace_id, e.value.to_bits(), e.timestamp_ms)),
            ..self.current.clone()
        });
    }
}

fn config(directory: &Path) -> SpoolConfig {
    SpoolConfig {
        directory: directory.to_owned(),
        max_bytes_per_tenant: 1 << 30,
        max_bytes: 1 << 30,
        max_age: Duration::ZERO,
        fsync: Fsync::Segment,
    }
}

fn id(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// Everything from a position on: the samples, and how many are missing.
fn read_from(spool: &Arc<TenantSpool>, position: u64) -> (Vec<Read>, u64) {
    let mut tailer = Tailer::new(Arc::clone(spool), position, None, false);
    let (mut kept, mut values, mut missing) = (Kept::default(), Values::default(), 0);
    while let Next::Record(next) = tailer.next().unwrap() {
        missing += next.missing + (next.end - next.position);
        let (mut rows, definitions) = tailer.rows().unwrap();
        while let Some(row) = rows.row(definitions) {
            kept.label_set(row.label_set.labels);
            if let Some(started_ms) = row.label_set.started_ms {
                kept.started(started_ms);
            }
            match rows.samples(row, definitions, &mut values, Some(&mut kept)) {
                Some(samples) => missing -= u64::from(samples),
                None => break,
            }
        }
    }
    (kept.all, missing)
}

/// Appends collections of two label sets with a counter and a bucket each.
fn append(spool: &Arc<TenantSpool>, collections: std::ops::Range<i64>) -> Vec<Read> {
    let mut kept = Kept::default();
    for number in collections {
        let mut append = begin(spool, &[]);
        for sink in [&mut append as &mut dyn Feed, &mut kept] {
            sink.feed(number);
        }
        append.finish();
    }
    kept.all
}

fn begin(spool: &Arc<TenantSpool>, external: &[(String, String)]) -> SpoolAppend {
    let memory = SamplesWriter::default();
    SpoolAppend::new(Arc::clone(spool), external, "traceID", memory, false)
}

/// Takes a collection, whatever it is.
trait Feed {
    fn feed(&mut self, number: i64);
}

impl<S: SampleSink> Feed for S {
    fn feed(&mut self, number: i64) {
        for service in ["web", "db"] {
            let mut labels = LabelSetBuf::new();
            labels.push("service", service);
            self.label_set(labels.finish());
            self.started(5);
            let point = Point {
                timestamp_ms: 1_000 + number,
                value: number as f64,
            };
            for le in [None, Some("0.5")] {
                self.series(Series { name: "m", le }, &[point], None);
            }
        }
    }
}

fn spool_with(directory: &Path, collections: std::ops::Range<i64>) -> (Vec<Read>, u64) {
    let (spool, _) = Spool::open(config(directory)).unwrap();
    let tenant = spool.start(&id("acme"));
    let appended = append(&tenant, collections);
    (appended, tenant.extent().end)
}

fn reopened(directory: &Path) -> Arc<TenantSpool> {
    let (spool, mut recovered) = Spool::open(config(directory)).unwrap();
    spool.resume(recovered.pop().unwrap())
}

/// The segments of the only tenant, oldest first.
fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let tenant = directory.join(id("acme").directory());
    let files = std::fs::read_dir(tenant).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn point() -> impl Strategy<Value = (i64, f64)> {
    let time = prop_oneof![
        Just(1_700_000_000_000),
        Just(1_699_999_999_000),
        any::<i64>()
    ];
    let value = prop_oneof![
        any::<f64>(),
        (0..1_000_u32).prop_map(f64::from),
        Just(0.0),
        Just(-0.0),
        Just(f64::from_bits(Point::STALE)),
        Just(f64::NAN),
        Just((1_u64 << 53) as f64),
    ];
    (time, value)
}

type Row = (u8, Option<i64>, Vec<(u8, Vec<(i64, f64)>, Option<u8>)>);

fn row() -> impl Strategy<Value = Row> {
    let series = (
        0..6_u8,
        prop::collection::vec(point(), 1..4),
        any::<Option<u8>>(),
    );
    (
        0..4_u8,
        any::<Option<i64>>(),
        prop::collection::vec(series, 1..5),
    )
}

fn write_row(sink: &mut impl SampleSink, external: bool, (labels, started, series): &Row) {
    let mut buffer = LabelSetBuf::new();
    if external {
        buffer.push("cluster", "x1");
        buffer.push("set", "hidden");
    }
    buffer.push("set", &labels.to_string());
    sink.label_set(buffer.finish());
    started.iter().for_each(|ms| sink.started(*ms));
    for (kind, points, exemplar) in series {
        let exemplar = exemplar.map(|byte| Exemplar {
            trace_id: [byte; 16],
            value: f64::from(byte) / 3.0,
            timestamp_ms: i64::from(byte) - 99,
        });
        if *kind >= 2 {
            let unit = if *kind == 2 { "" } else { "seconds" };
            sink.metric(Metadata {
                kind: MetricType::Counter,
                help: "Help",
                unit,
            });
        }
        if *kind == 5 {
            let spans = [BucketSpan {
                offset: -3,
                length: points.len() as u32,
            }];
            let counts: Vec<_> = points.iter().map(|(_, value)| value.abs()).collect();
            let samples: Vec<_> = points
                .iter()
                .map(|(timestamp_ms, value)| HistogramSample {
                    timestamp_ms: *timestamp_ms,
                    started_ms: 7,
                    count: 3.0,
                    sum: *value,
                    schema: -4,
                    zero_threshold: 1e-9,
                    zero_count: 0.5,
                    spans: &spans,
                    counts: &counts,
                    is_float: true,
                    is_restart: false,
                })
                .collect();
            sink.histogram("h", &samples, exemplar);
            continue;
        }
        let points: Vec<_> = points
            .iter()
            .map(|&(timestamp_ms, value)| Point {
                timestamp_ms,
                value,
            })
            .collect();
        let le = (*kind % 2 == 1).then_some("0.5");
        sink.series(Series { name: "m", le }, &points, exemplar);
    }
}

proptest! {
    /// forall rows in collections, with labels of all or without: what is read,
    /// before and after a restart, is what was appended, bit for bit.
    #[test]
    fn what_is_appended_is_read(
        collections in prop::collection::vec((any::<bool>(), prop::collection::vec(row(), 0..5)), 1..5)
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(config(directory.path())).unwrap();
        let tenant = spool.start(&id("acme"));
        let mut want = Kept::default();
        for (external, rows) in &collections {
            let labels = [("cluster".to_owned(), "x1".to_owned()), ("set".to_owned(), "hidden".to_owned())];
            let labels = if *external { &labels[..] } else { &[] };
            let mut append = begin(&tenant, labels);
            for row in rows {
                write_row(&mut append, false, row);
                write_row(&mut want, *external, row);
            }
            append.finish();
        }
        // A started time that is told before a metric is, and what else the order of
        // calls leaves open, is the same for both.
        prop_assert_eq!(&read_from(&tenant, 0), &(want.all.clone(), 0));
        prop_assert_eq!(tenant.extent().first, 0);
        if !want.all.is_empty() {
            prop_assert_eq!(read_from(&reopened(directory.path()), 0), (want.all, 0));
        }
    }
}

#[test]
fn sample_takes_few_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(config(directory.path())).unwrap();
    let tenant = spool.start(&id("acme"));
    append(&tenant, 0..1);
    let before = tenant.extent();
    append(&tenant, 1..101);
    let after = tenant.extent();
    // The head of a record is most of such a small collection's bytes: 65 of 73, or
    // of 75 where a value is above 31.
    let bytes = after.bytes - before.bytes;
    assert_eq!((bytes, after.end - before.end), (31 * 73 + 69 * 75, 400));
}

/// forall bytes of a segment: when it is flipped, or the file ends there, all other
/// records are read, and what is missing is known.
#[test]
fn damage_costs_the_records_that_it_hits_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let (appended, end) = spool_with(directory.path(), 0..6);
    let [path] = &segments(directory.path())[..] else {
        panic!("one segment");
    };
    let whole = std::fs::read(path).unwrap();
    let mut losses = BTreeMap::new();
    for place in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[place] ^= 0x10;
        std::fs::write(path, &flipped).unwrap();
        let spool = reopened(directory.path());
        let (read, missing) = read_from(&spool, 0);
        // A last record that is gone cannot be told from one that never was.
        let behind = end - spool.extent().end;
        assert_eq!(read.len() as u64 + missing + behind, end, "byte {place}");
        assert!(
            missing + behind <= 4,
            "byte {place} costs more than a record"
        );
        assert!(
            read.iter().all(|one| appended.contains(one)),
            "byte {place}"
        );
        *losses.entry(missing + behind).or_insert(0) += 1;
        std::fs::write(path, &whole[..place]).unwrap();
        let torn = reopened_if_any(directory.path());
        let read = torn.map_or(Vec::new(), |spool| read_from(&spool, 0).0);
        assert_eq!(read, appended[..read.len()], "ends at byte {place}");
    }
    // Damage to the head and to definitions, which stand twice, costs nothing.
    assert_eq!(losses.keys().copied().collect::<Vec<_>>(), [0, 4]);
}

fn reopened_if_any(directory: &Path) -> Option<Arc<TenantSpool>> {
    let (spool, mut recovered) = Spool::open(config(directory)).unwrap();
    recovered.pop().map(|found| spool.resume(found))
}

#[test]
fn missing_segments_and_those_of_a_later_version_are_passed_over_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut appended = Vec::new();
    for process in 0..4 {
        let spool = reopened_if_any(directory.path());
        let spool = spool.unwrap_or_else(|| {
            let (spool, _) = Spool::open(config(directory.path())).unwrap();
            spool.start(&id("acme"))
        });
        appended.push(append(&spool, 10 * process..10 * process + 2));
    }
    let files = segments(directory.path());
    assert_eq!(files.len(), 4);
    std::fs::remove_file(&files[1]).unwrap();
    let mut later = std::fs::read(&files[2]).unwrap();
    later[16] = 200;
    let length = u32::from_le_bytes(later[8..12].try_into().unwrap()) as usize;
    let checksum = crc32fast::hash(&later[16..16 + length]);
    later[12..16].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&files[2], later).unwrap();
    let (_, recovered) = Spool::open(config(directory.path())).unwrap();
    assert_eq!(recovered[0].unreadable, 1);
    let (read, missing) = read_from(&reopened(directory.path()), 0);
    assert_eq!((read.len(), missing), (16, 16));
    assert_eq!(read[..8], appended[0]);
    assert_eq!(read[8..], appended[3]);
}

/// What is defined by what was given up is defined anew.
#[test]
fn what_is_appended_after_too_much_was_kept_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(config(directory.path())).unwrap();
    let tenant = spool.start(&id("acme"));
    let place = directory.path().join(id("acme").directory());
    std::fs::write(&place, b"in the way").unwrap();
    let mut collection = begin(&tenant, &[]);
    let mut labels = LabelSetBuf::new();
    labels.push("service", &"long".repeat(256 << 10));
    collection.label_set(labels.finish());
    let series = Series {
        name: "m",
        le: None,
    };
    let point = Point {
        timestamp_ms: 1,
        value: 1.0,
    };
    collection.series(series, &[point], None);
    let (appended, _) = collection.finish();
    assert_eq!((appended.collected, appended.dropped), (1, 1));

    std::fs::remove_file(place).unwrap();
    let appended = append(&tenant, 0..2);
    assert_eq!(read_from(&tenant, 0), (appended, 0));
}

#[test]
fn bounds_remove_the_oldest_segments_of_whom_they_concern() {
    let directory = tempfile::tempdir().unwrap();
    let config = SpoolConfig {
        max_bytes_per_tenant: 600 << 10,
        max_bytes: 800 << 10,
        max_age: Duration::from_secs(3600),
        ..config(directory.path())
    };
    let (spool, _) = Spool::open(config).unwrap();
    let (large, small) = (spool.start(&id("large")), spool.start(&id("small")));
    let mut removed = Vec::new();
    // 4,000 collections are some 400 KB.
    for (tenant, collections) in [(&small, 4_000), (&large, 12_000)] {
        append(tenant, 0..collections);
        spool.enforce(tenant, 2_000, |whose, first, bound| {
            removed.push((whose.to_string(), first, bound));
        });
    }
    assert!(large.extent().bytes <= 600 << 10);
    assert!(large.extent().bytes + small.extent().bytes <= 800 << 10);
    let last = removed
        .iter()
        .rfind(|(whose, ..)| whose == "large")
        .unwrap();
    assert_eq!(last.1, large.extent().first);
    assert!(
        removed
            .iter()
            .all(|(whose, _, bound)| whose == "large" && *bound == Bound::Bytes)
    );
    // An hour and a bit after its samples.
    removed.clear();
    spool.enforce(&small, 3_700_000, |whose, first, bound| {
        removed.push((whose.to_string(), first, bound));
    });
    assert!(
        removed
            .iter()
            .any(|(whose, _, bound)| whose == "small" && *bound == Bound::Age)
    );
    assert!(
        small.extent().first > 0,
        "all but the last segment are too old"
    );
}

/// A file of the next number that holds nothing, as a full disk leaves one.
#[test]
fn unreadable_last_file_costs_no_segment_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let (appended, end) = spool_with(directory.path(), 0..3);
    let tenant = directory.path().join(id("acme").directory());
    std::fs::write(tenant.join("0000000000000001.segment"), b"").unwrap();
    let spool = reopened(directory.path());
    assert_eq!((spool.extent().first, spool.extent().end), (0, end));
    let more = append(&spool, 3..4);
    let all: Vec<_> = appended.into_iter().chain(more).collect();
    assert_eq!(read_from(&spool, 0), (all.clone(), 0));
    assert_eq!(read_from(&reopened(directory.path()), 0), (all, 0));
}

#[test]
fn what_the_disk_does_not_take_is_kept_and_written_later() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(config(directory.path())).unwrap();
    let tenant = spool.start(&id("acme"));
    let path = directory.path().join(id("acme").directory());
    // A file where the directory should be.
    std::fs::write(&path, b"").unwrap();
    let mut want = Kept::default();
    for number in 0..3 {
        let mut append = begin(&tenant, &[]);
        append.feed(number);
        want.feed(number);
        let (appended, _) = append.finish();
        assert!(appended.error.is_some());
        assert_eq!((appended.samples, appended.dropped), (0, 0));
    }
    assert_eq!(tenant.kept_samples(), 12);
    let collection = begin(&tenant, &[]);
    assert!(
        SpoolAppend::resume(Arc::clone(&tenant)).is_none(),
        "one at a time"
    );
    drop(collection);
    std::fs::remove_file(&path).unwrap();
    let (appended, _) = SpoolAppend::resume(Arc::clone(&tenant)).unwrap().finish();
    assert!(appended.error.is_none());
    assert_eq!((appended.samples, tenant.kept_samples()), (12, 0));
    assert_eq!(read_from(&tenant, 0), (want.all, 0));
}

#[test]
fn what_is_kept_is_bounded_and_the_oldest_go_first() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(config(directory.path())).unwrap();
    let tenant = spool.start(&id("acme"));
    let path = directory.path().join(id("acme").directory());
    std::fs::write(&path, b"").unwrap();
    let mut dropped = 0;
    for number in 0..20_000 {
        let mut append = begin(&tenant, &[]);
        append.feed(number);
        dropped += append.finish().0.dropped;
    }
    assert!(dropped > 20_000, "{dropped}");
    assert_eq!(dropped + tenant.kept_samples(), 80_000);
    std::fs::remove_file(&path).unwrap();
    let (appended, _) = SpoolAppend::resume(Arc::clone(&tenant)).unwrap().finish();
    assert_eq!(appended.samples + dropped, 80_000);
    let (read, missing) = read_from(&tenant, 0);
    assert_eq!((read.len() as u64, missing), (appended.samples, 0));
    assert_eq!(read.last().unwrap().points[0].0, 1_000 + 19_999);
}

/// Somebody takes the segment away that is being written.
#[test]
fn segment_that_is_gone_costs_what_was_to_go_there_and_another_is_begun() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(config(directory.path())).unwrap();
    let tenant = spool.start(&id("acme"));
    append(&tenant, 0..1);
    for path in segments(directory.path()) {
        std::fs::remove_file(path).unwrap();
    }
    let mut next = begin(&tenant, &[]);
    next.feed(1);
    assert_eq!(next.finish().0.dropped, 4);
    let appended = append(&tenant, 2..3);
    assert_eq!(read_from(&tenant, 0), (appended, 4));
}
