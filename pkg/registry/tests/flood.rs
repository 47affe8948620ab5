//! A flood of new values costs no memory and no truth.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use model::{Exemplar, HistogramSample, LabelSet, Point, SampleSink, Series};
use spanmill_registry::{
    Collection, Consumer, KeyHasher, Limits, MAX_METRICS, Metric, MetricKind, Registry, Schema,
    Update,
};

const SPANS: u64 = 20_000_000;
const BATCH: u64 = 500;
const LIMIT: u64 = 10_000;

#[derive(Default)]
struct Totals {
    series: std::collections::HashSet<(Vec<u8>, String)>,
    labels: Vec<u8>,
    calls: f64,
    count: f64,
}

impl SampleSink for Totals {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        self.labels = labels.as_bytes().to_vec();
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], _: Option<Exemplar>) {
        let name = format!("{}{:?}", series.name, series.le);
        assert!(self.series.insert((self.labels.clone(), name)));
        let value = points.last().unwrap().value;
        match series.name {
            "calls_total" => self.calls += value,
            "latency_count" => self.count += value,
            _ => {}
        }
    }

    fn histogram(&mut self, name: &str, _: &[HistogramSample<'_>], _: Option<Exemplar>) {
        unreachable!("{name} is not native");
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn twenty_million_names_against_a_limit_of_ten_thousand_series() {
    let metric = |name: &str, kind| Metric {
        name: name.to_owned(),
        help: "help",
        unit: "",
        kind,
        sparse: false,
    };
    let bounds = (0..14).map(|power| 0.002 * f64::from(1 << power)).collect();
    let registry = Registry::new(
        Limits {
            max_active_series: LIMIT,
            ..Limits::default()
        },
        2,
    );
    let table = registry.add_table(Schema::new([
        metric("calls_total", MetricKind::Counter),
        metric("latency", MetricKind::ClassicHistogram { bounds }),
        metric("size_total", MetricKind::Counter),
    ]));
    let before = resident_bytes();
    let keys = KeyHasher::new();
    let mut updates = Vec::new();
    let mut collections = 0;
    for first in (0..SPANS).step_by(BATCH as usize) {
        updates.clear();
        updates.extend((first..first + BATCH).map(|name| {
            let mut values = [f64::NAN; MAX_METRICS];
            values[..3].copy_from_slice(&[1.0, 0.01, 500.0]);
            Update {
                key: keys.key(&name.to_le_bytes()),
                weight: 1.0,
                spans: 1,
                is_sampled: false,
                order: 0,
                values,
                trace_id: [1; 16],
                timestamp_ms: 1,
            }
        }));
        // A hundred thousand spans a second of pretended time.
        let now_ms = (1 + first / 100) as i64;
        registry.apply(&table, &updates, now_ms, |index, labels| {
            labels.push("service", "shop");
            labels.push("span_name", &format!("GET /item/{}", first + index as u64));
            labels.push("span_kind", "SPAN_KIND_SERVER");
            labels.push("status_code", "STATUS_CODE_UNSET");
            Ok(())
        });
        if first % 5_000_000 == 0 {
            collections += 1;
            let mut totals = Totals::default();
            let collection = Collection {
                now_ms,
                zero_ms: now_ms - 1,
                idle_since_ms: 0,
                consumers: &[Consumer::RemoteWrite],
            };
            registry.collect(collection, &mut totals);
            assert_eq!(totals.calls, (first + BATCH) as f64);
            assert_eq!(totals.count, (first + BATCH) as f64);
            assert!(totals.series.len() as u64 <= LIMIT + 19);
        }
    }
    assert_eq!(collections, 4);
    assert!(registry.stats().active.series <= LIMIT);
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 50 * 1024 * 1024, "grew by {grown} bytes");
}
