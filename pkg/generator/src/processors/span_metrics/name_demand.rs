//! What replacing the varying parts of span names saves, or would save.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use model::{Exemplar, HistogramSample, LabelSet, Metadata, Point, SampleSink, Series};
use parking_lot::Mutex;
use registry::{Cardinality, KeyHasher, RecentCardinality};

use crate::raw_key::write_bytes;
use crate::span_name_template::template;

/// Counts the label sets that there are once span names are templates.
///
/// In a dry run the series have the names as they came, and the label sets that
/// a limit refused have no series. So the estimate joins those that a
/// collection walks over with those that lanes asked for of late.
#[derive(Debug)]
pub(crate) struct NameDemand {
    hasher: KeyHasher,
    /// Whether names are templates already in the label sets.
    are_templates: bool,
    /// Label sets asked for whose name varies, since the last look.
    replaced: AtomicU64,
    asked_for: Mutex<RecentCardinality>,
    rotated_ms: AtomicI64,
}

/// What [`NameDemand`] knows after a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameStats {
    /// Label sets that lanes asked for since the last collection, and whose
    /// name has parts that vary.
    pub(crate) replaced: u64,
    /// Different label sets with their names' templates, about.
    pub(crate) label_sets: u64,
}

/// Passes samples on, and counts the label sets.
#[derive(Debug)]
pub(crate) struct CountingSink<'a, S> {
    demand: Option<&'a NameDemand>,
    walked: Option<Cardinality>,
    scratch: Vec<u8>,
    sink: &'a mut S,
}

impl NameDemand {
    /// Generations of [`RecentCardinality`], each of a stale duration: what was
    /// asked for counts for one to two of them.
    const GENERATIONS: usize = 2;

    pub(super) fn new(are_templates: bool) -> Self {
        Self {
            hasher: KeyHasher::new(),
            are_templates,
            replaced: AtomicU64::new(0),
            asked_for: Mutex::new(RecentCardinality::new(Self::GENERATIONS)),
            rotated_ms: AtomicI64::new(0),
        }
    }

    /// Notes that a lane met a combination of raw values for the first time, or
    /// again one that the limit refuses.
    pub(super) fn asked_for(&self, name: &[u8], labels: LabelSet<'_>) {
        let varies = std::str::from_utf8(name).is_ok_and(|name| template(name) != name);
        if varies {
            self.replaced.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(hash) = self.hash(labels, &mut Vec::new()) {
            self.asked_for.lock().insert_hash(hash);
        }
    }

    /// A hash of a label set with the template of its name; `None` if it has no
    /// name, and so is of another processor.
    fn hash(&self, labels: LabelSet<'_>, scratch: &mut Vec<u8>) -> Option<u64> {
        scratch.clear();
        let mut has_name = false;
        for (label, value) in labels {
            write_bytes(label.as_bytes(), scratch);
            has_name |= label == "span_name";
            if label == "span_name" && !self.are_templates {
                write_bytes(template(value).as_bytes(), scratch);
            } else {
                write_bytes(value.as_bytes(), scratch);
            }
        }
        let key = self.hasher.key(scratch).to_bytes();
        let first = key.first_chunk::<8>().filter(|_| has_name)?;
        Some(u64::from_le_bytes(*first))
    }

    /// Starts a generation if the last one is as old as series may be.
    fn age(&self, now_ms: i64, stale_ms: i64) {
        let rotated_ms = self.rotated_ms.load(Ordering::Relaxed);
        if rotated_ms != 0 && now_ms - rotated_ms < stale_ms {
            return;
        }
        if rotated_ms != 0 {
            self.asked_for.lock().rotate();
        }
        self.rotated_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl<'a, S> CountingSink<'a, S> {
    /// Counts for `demand`, if there is one.
    pub(crate) fn new(demand: Option<&'a NameDemand>, sink: &'a mut S) -> Self {
        Self {
            demand,
            walked: demand.map(|_| Cardinality::new()),
            scratch: Vec::new(),
            sink,
        }
    }

    /// What there was, at the end of a collection of all series; series that
    /// are idle for `stale_ms` end.
    pub(crate) fn finish(self, now_ms: i64, stale_ms: i64) -> Option<NameStats> {
        let (demand, mut all) = (self.demand?, self.walked?);
        demand.age(now_ms, stale_ms);
        all.merge(&demand.asked_for.lock().union());
        Some(NameStats {
            replaced: demand.replaced.swap(0, Ordering::Relaxed),
            label_sets: all.estimate(),
        })
    }
}

impl<S: SampleSink> SampleSink for CountingSink<'_, S> {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        if let (Some(demand), Some(walked)) = (self.demand, &mut self.walked)
            && let Some(hash) = demand.hash(labels, &mut self.scratch)
        {
            walked.insert_hash(hash);
        }
        self.sink.label_set(labels);
    }

    fn started(&mut self, timestamp_ms: i64) {
        self.sink.started(timestamp_ms);
    }

    fn metric(&mut self, metadata: Metadata) {
        self.sink.metric(metadata);
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        self.sink.series(series, points, exemplar);
    }

    fn histogram(
        &mut self,
        name: &str,
        samples: &[HistogramSample<'_>],
        exemplar: Option<Exemplar>,
    ) {
        self.sink.histogram(name, samples, exemplar);
    }
}

#[cfg(test)]
mod tests {
    use model::LabelSetBuf;

    use super::*;
    use crate::collection::Discard;

    fn named(name: &str) -> LabelSetBuf {
        let mut labels = LabelSetBuf::new();
        labels.push("service", "shop");
        labels.push("span_name", name);
        labels
    }

    fn ask(demand: &NameDemand, name: &str) {
        demand.asked_for(name.as_bytes(), named(name).finish());
    }

    fn collect(demand: &NameDemand, names: &[&str], now_ms: i64) -> NameStats {
        let mut discard = Discard;
        let mut sink = CountingSink::new(Some(demand), &mut discard);
        for name in names {
            sink.label_set(named(name).finish());
        }
        sink.label_set(LabelSet::EMPTY);
        sink.finish(now_ms, 1_000).unwrap()
    }

    /// A hundred different words. Of a few label sets two may look the same to an estimate;
    /// of many hardly more than one in twenty.
    fn words() -> impl Iterator<Item = String> {
        let letters = "abcdefghij".chars();
        letters.flat_map(|a| "klmnopqrst".chars().map(move |b| format!("{a}{b}")))
    }

    #[test]
    fn active_and_refused_label_sets_count_once_by_their_template() {
        let demand = NameDemand::new(false);
        for word in words() {
            ask(&demand, &format!("GET /{word}/1"));
            ask(&demand, &format!("GET /{word}/2"));
        }
        let walked: Vec<_> = words().map(|word| format!("POST /{word}/7")).collect();
        let walked: Vec<_> = walked.iter().map(String::as_str).collect();
        let stats = collect(&demand, &walked, 500);
        assert_eq!(stats.replaced, 200);
        assert!((190..=210).contains(&stats.label_sets), "{stats:?}");
    }

    #[test]
    fn what_is_no_longer_asked_for_ages_out() {
        let demand = NameDemand::new(false);
        words().for_each(|word| ask(&demand, &word));
        // To the next hundred.
        let label_sets = |now_ms| (collect(&demand, &["b"], now_ms).label_sets + 50) / 100;
        assert_eq!(label_sets(1_000), 1);
        assert_eq!(label_sets(1_999), 1);
        assert_eq!(label_sets(2_000), 1, "a generation of its own");
        assert_eq!(label_sets(3_000), 0);
    }
}
