use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

/// What a sample says of buckets.
#[derive(Debug, PartialEq)]
struct Buckets {
    schema: i8,
    spans: Vec<(i32, u32)>,
    counts: Vec<f64>,
    is_restart: bool,
}

struct Histograms {
    native: NativeColumn,
    histograms: NativeHistograms,
}

impl Histograms {
    /// One histogram of schema 0, whose bucket `i` ends at 2^i, and of a slot
    /// that counts since the time 0.
    fn new(max_buckets: u32, min_reset_ms: u64) -> Self {
        let min_reset = Duration::from_millis(min_reset_ms);
        Self {
            native: NativeColumn {
                cells: 0..NATIVE_CELLS,
                place: 0,
                buckets: NativeBuckets::new(2.0, max_buckets, min_reset),
            },
            histograms: NativeHistograms::new(1),
        }
    }

    fn add_coarse(&mut self, now_ms: i64, schema: i8, buckets: &[(i32, f64)]) -> bool {
        let addition = Addition {
            settings: self.native.buckets,
            schema,
            buckets: buckets.iter().copied(),
            started_ms: 0,
            now_ms,
        };
        self.histograms.add(0, 0, addition)
    }

    fn add(&mut self, now_ms: i64, keys: impl IntoIterator<Item = i32>) -> bool {
        let buckets: Vec<_> = keys.into_iter().map(|key| (key, 1.0)).collect();
        self.add_coarse(now_ms, 0, &buckets)
    }

    fn buckets(&mut self) -> Buckets {
        let cells = [0.0; NATIVE_CELLS];
        let sample = self.histograms.sample(0, &self.native, cells, 0, 1);
        let spans = sample.spans.iter();
        Buckets {
            schema: sample.schema,
            spans: spans.map(|span| (span.offset, span.length)).collect(),
            counts: sample.counts.to_vec(),
            is_restart: sample.is_restart,
        }
    }

    fn by_key(&mut self) -> BTreeMap<i32, f64> {
        let sample = self
            .histograms
            .sample(0, &self.native, [0.0; NATIVE_CELLS], 0, 1);
        let mut counts = sample.counts.iter().copied();
        let mut next = 0;
        let mut by_key = BTreeMap::new();
        for span in sample.spans {
            next += span.offset;
            for _ in 0..span.length {
                by_key.insert(next, counts.next().unwrap());
                next += 1;
            }
        }
        assert_eq!(counts.next(), None);
        by_key.retain(|_, count| *count != 0.0);
        by_key
    }
}

#[test]
fn gaps_of_up_to_two_buckets_do_not_end_a_span() {
    let mut histograms = Histograms::new(0, 0);
    histograms.add(1, [-7, -5, -2, 2, 3, 3]);
    let want = Buckets {
        schema: 0,
        // Of -6, and of -4 and -3, there is nothing; then comes a gap of three.
        spans: vec![(-7, 6), (3, 2)],
        counts: vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 2.0],
        is_restart: false,
    };
    assert_eq!(histograms.buckets(), want);
}

#[test]
fn first_span_begins_where_the_first_bucket_is() {
    for (key, spans) in [(1, vec![(1, 1)]), (2, vec![(2, 1)]), (0, vec![(0, 1)])] {
        let mut histograms = Histograms::new(0, 0);
        histograms.add(1, [key]);
        assert_eq!(histograms.buckets().spans, spans);
    }
}

#[test]
fn buckets_double_in_width_until_they_are_few_enough() {
    let mut histograms = Histograms::new(3, 0);
    histograms.add(1, [-3, 0, 1]);
    assert_eq!(histograms.buckets().schema, 0);
    // The keys -3, 0, 1, 2 become -1, 0, 1, 1.
    assert!(!histograms.add(1, [2]));
    assert_eq!(histograms.buckets().schema, -1);
    let want = BTreeMap::from([(-1, 1.0), (0, 1.0), (1, 2.0)]);
    assert_eq!(histograms.by_key(), want);
    // What comes in finer buckets goes on.
    histograms.add(1, [-2, 2, -1]);
    let want = BTreeMap::from([(-1, 2.0), (0, 2.0), (1, 3.0)]);
    assert_eq!(histograms.by_key(), want);
}

#[test]
fn coarsest_schema_may_have_more_buckets_than_wanted() {
    let mut histograms = Histograms::new(1, 0);
    histograms.add(1, [-1_000, 0, 1_000]);
    assert_eq!(histograms.buckets().schema, -4);
    let want = BTreeMap::from([(-62, 1.0), (0, 1.0), (63, 1.0)]);
    assert_eq!(histograms.by_key(), want);
}

#[test]
fn too_many_buckets_restart_a_histogram_that_is_old_enough() {
    let mut histograms = Histograms::new(3, 1_000);
    assert!(!histograms.add(1, [1, 2, 3]));
    histograms.histograms.note_collected(0, 0);
    assert!(histograms.add(1_000, [4]), "restarts");
    let want = Buckets {
        schema: 0,
        spans: vec![(4, 1)],
        counts: vec![1.0],
        is_restart: true,
    };
    assert_eq!(histograms.buckets(), want);
    // The hint is given once.
    histograms.histograms.note_collected(0, 0);
    assert!(!histograms.buckets().is_restart);
    // Too early for another: the buckets get wider.
    assert!(!histograms.add(1_999, [5, 6, 7]));
    assert_eq!(histograms.buckets().schema, -1);
    assert_eq!(
        histograms.by_key(),
        BTreeMap::from([(2, 1.0), (3, 2.0), (4, 1.0)])
    );
}

#[test]
fn wide_buckets_are_given_up_as_soon_as_the_histogram_may_restart() {
    let mut histograms = Histograms::new(2, 1_000);
    histograms.add(1, [1, 2, 5]);
    assert_eq!(histograms.buckets().schema, -1);
    assert!(!histograms.add(999, [1]));
    assert!(histograms.add(1_000, [1]));
    assert_eq!(histograms.buckets().schema, 0);
    assert_eq!(histograms.by_key(), BTreeMap::from([(1, 1.0)]));
    // It had not been collected: no one could take it for a fall.
    assert!(!histograms.buckets().is_restart);
}

#[test]
fn what_is_coarser_makes_the_histogram_coarser() {
    let mut histograms = Histograms::new(0, 0);
    histograms.add(1, [1, 3, 4]);
    assert!(!histograms.add_coarse(1, -1, &[(2, 5.0)]));
    assert_eq!(histograms.buckets().schema, -1);
    assert_eq!(histograms.by_key(), BTreeMap::from([(1, 1.0), (2, 7.0)]));
}

#[test]
fn cleared_histogram_begins_as_a_new_one() {
    let mut histograms = Histograms::new(1, 0);
    histograms.add(1, [1, 5]);
    histograms.histograms.note_collected(0, 0);
    assert!(histograms.histograms.any_collected(0));
    histograms.histograms.clear(0);
    assert!(!histograms.histograms.any_collected(0));
    histograms.add(1, [3]);
    assert_eq!(histograms.buckets().schema, 0);
    assert_eq!(histograms.by_key(), BTreeMap::from([(3, 1.0)]));
}
