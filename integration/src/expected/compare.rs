//! Whether an outcome is the recorded one, but for differences on purpose.
//!
//! Whole sets are compared: nothing may be missing, nothing may be extra. The
//! rows D1, D2 and so on are those of `docs/differences.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Case, Outcome, SeriesId};
use crate::exposition::Labels;
use crate::native_histogram::NativeHistogram;

/// Metrics that are gauges, and so never begin with a zero (D23).
const GAUGES: [&str; 2] = ["traces_target_info", "traces_host_info"];

/// The calls of span metrics, each with its weight.
const CALLS: &str = "traces_spanmetrics_calls_total";

/// Of a sum of float64, which depends on the order of addition.
const SUM_TOLERANCE: f64 = 1e-9;
/// Of a count of weights, which are float64 too; whole counts are exact.
const COUNT_TOLERANCE: f64 = 1e-12;

/// Digits of a trace id (D25).
const TRACE_ID_DIGITS: usize = 32;

/// How the outcome of one case is compared.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Beginnings of the names of metrics that are compared; empty for all.
    pub only: Vec<&'static str>,
    /// D3: the buckets that were configured, where Tempo used its own.
    pub buckets: Option<Vec<f64>>,
    /// D5: weights that Tempo did not read.
    pub gained: Option<GainedWeight>,
    /// D4: weights that Tempo rounded up.
    pub exact_weights: bool,
    /// D22: each root of a trace counts, and not only the last of them.
    pub more_virtual_nodes: bool,
    /// D20: the limit that the case runs into.
    pub limit: Option<u64>,
    /// D26: a label that Tempo overwrote.
    pub without_label: Option<&'static str>,
    /// Invalid labels of target info, which Tempo counts as discarded spans.
    pub target_info: bool,
}

/// Weight that series gain over the recorded one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GainedWeight {
    /// The value of the label `span_name`.
    pub span_name: &'static str,
    /// How much.
    pub weight: f64,
    /// The duration of the span that it belongs to, in seconds.
    pub seconds: f64,
}

impl Comparison {
    /// The rules for a case: what its differences change.
    #[must_use]
    pub fn of(case: &Case) -> Self {
        let touched = |row: &str| case.touched_by_differences.contains(row);
        let buckets = case
            .metrics_generator
            .pointer("/processor/span_metrics/histogram_buckets")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_f64).collect());
        let limit = case
            .tenant_setting("/max_active_series")
            .and_then(Value::as_u64);
        let target_info = case.tenant_setting("/processor/span_metrics/enable_target_info");
        // The string "0.5" on a span of 10 ms counts 2, where it counted 1.
        let gained = GainedWeight {
            span_name: "mult",
            weight: 1.0,
            seconds: 0.01,
        };
        Self {
            only: Vec::new(),
            buckets: buckets.filter(|_| touched("D3")),
            gained: touched("D5").then_some(gained),
            exact_weights: touched("D4"),
            more_virtual_nodes: touched("D22"),
            limit: limit.filter(|_| touched("D20")),
            without_label: touched("D26").then_some("service"),
            target_info: target_info.and_then(Value::as_bool) == Some(true),
        }
    }

    /// Compares series and exemplars; gives what is different, one line each.
    #[must_use]
    pub fn differences(&self, recorded: &Outcome, ours: &Outcome) -> Vec<String> {
        let recorded = self.prepared(recorded);
        let ours = self.prepared(ours);
        if let Some(limit) = self.limit {
            return limited(limit, &recorded, &ours);
        }
        let mut found = Vec::new();
        let wanted = self.with_gains(recorded.samples.clone());
        let (wanted, samples) = match &self.buckets {
            Some(buckets) => {
                check_buckets(buckets, &ours.samples, &mut found);
                (
                    without_buckets(wanted),
                    without_buckets(ours.samples.clone()),
                )
            }
            None => (wanted, ours.samples.clone()),
        };
        self.compare("sample", &wanted, &samples, &mut found, |id, want, got| {
            is_close(&id.0, *want, *got) || self.may_be_more(id) && got > want
        });
        let wanted = self.histograms_with_gains(&recorded);
        self.compare(
            "histogram",
            &wanted,
            &ours.histograms,
            &mut found,
            |id, want, got| is_same(want, got) || self.may_be_more(id) && got.count > want.count,
        );
        if self.buckets.is_none() {
            let wanted = padded(&recorded.exemplars);
            self.compare(
                "exemplar",
                &wanted,
                &ours.exemplars,
                &mut found,
                // Which one a native histogram has is not compared (D13, D27).
                |id, a, b| a == b || self.may_be_more(id) || recorded.histograms.contains_key(id),
            );
        }
        let gauges = |ids: &BTreeSet<SeriesId>| -> BTreeMap<SeriesId, ()> {
            let gauges = ids.iter().filter(|id| GAUGES.contains(&id.0.as_str()));
            gauges.map(|id| (id.clone(), ())).collect()
        };
        let wanted = gauges(&recorded.no_zero_sample);
        let got = ours
            .no_zero_sample
            .iter()
            .map(|id| (id.clone(), ()))
            .collect();
        self.compare("no_zero_sample", &wanted, &got, &mut found, |_, (), ()| {
            true
        });
        found
    }

    /// Compares the counters of span metrics; gives what is different.
    #[must_use]
    pub fn counter_differences(&self, recorded: &Outcome, ours: &Outcome) -> Vec<String> {
        let mut found = Vec::new();
        if recorded.spans_received != ours.spans_received {
            found.push(format!(
                "spans received: {} recorded, {} ours",
                recorded.spans_received, ours.spans_received
            ));
        }
        let compared = |(processor, reason): &&(String, String)| {
            matches!(processor.as_str(), "all" | "span-metrics")
                && !(self.target_info && reason == "invalid_utf8")
        };
        let keys: BTreeSet<_> = recorded
            .discarded
            .keys()
            .chain(ours.discarded.keys())
            .filter(compared)
            .collect();
        for key in keys {
            let of = |outcome: &Outcome| outcome.discarded.get(key).copied().unwrap_or(0.0);
            if of(recorded) != of(ours) {
                found.push(format!(
                    "discarded by {} as {}: {} recorded, {} ours",
                    key.0,
                    key.1,
                    of(recorded),
                    of(ours)
                ));
            }
        }
        found
    }

    /// Only what is compared.
    fn prepared(&self, outcome: &Outcome) -> Outcome {
        let compared = |id: &SeriesId| {
            self.only.is_empty() || self.only.iter().any(|prefix| id.0.starts_with(prefix))
        };
        let mut outcome = outcome.clone();
        outcome.samples.retain(|id, _| compared(id));
        outcome.histograms.retain(|id, _| compared(id));
        outcome.exemplars.retain(|id, _| compared(id));
        outcome.no_zero_sample.retain(compared);
        outcome
    }

    fn with_gains(&self, mut samples: BTreeMap<SeriesId, f64>) -> BTreeMap<SeriesId, f64> {
        if let Some(gained) = self.gained {
            for ((name, labels), value) in &mut samples {
                let of_span = labels
                    .get("span_name")
                    .is_some_and(|n| n == gained.span_name);
                // Sizes have no weight, and empty buckets lie below the span.
                if of_span && !name.ends_with("_size_total") && *value > 0.0 {
                    let sum = name.ends_with("_sum");
                    *value += gained.weight * if sum { gained.seconds } else { 1.0 };
                }
            }
        }
        samples
    }

    /// D4: the exact weights are those that were counted as calls.
    fn histograms_with_gains(&self, recorded: &Outcome) -> BTreeMap<SeriesId, NativeHistogram> {
        let mut histograms = recorded.histograms.clone();
        let Some(gained) = self.gained.filter(|_| self.exact_weights) else {
            return histograms;
        };
        let counted = self.with_gains(recorded.samples.clone());
        for ((_, labels), histogram) in &mut histograms {
            let of_span = labels
                .get("span_name")
                .is_some_and(|n| n == gained.span_name);
            let calls = counted.get(&(CALLS.to_owned(), labels.clone()));
            if let Some(calls) = calls.filter(|_| of_span) {
                // All its spans are in one bucket.
                histogram.count = *calls;
                histogram.counts = vec![*calls];
                histogram.sum = calls * gained.seconds;
                histogram.is_float = calls.fract() != 0.0;
            }
        }
        histograms
    }

    /// Compares two maps; without a label, of several series of ours that are
    /// one in the recording, one must have its value.
    fn compare<T: std::fmt::Debug>(
        &self,
        what: &str,
        recorded: &BTreeMap<SeriesId, T>,
        ours: &BTreeMap<SeriesId, T>,
        found: &mut Vec<String>,
        equal: impl Fn(&SeriesId, &T, &T) -> bool,
    ) {
        let recorded = self.by_compared_id(recorded);
        let ours = self.by_compared_id(ours);
        for (id, values) in &recorded {
            match ours.get(id) {
                None => found.push(format!("{what} {} {values:?}: missing", show(id))),
                Some(got) => {
                    for want in values {
                        if !got.iter().any(|got| equal(id, want, got)) {
                            found.push(format!(
                                "{what} {}: {want:?} recorded, {got:?} ours",
                                show(id)
                            ));
                        }
                    }
                }
            }
        }
        for (id, values) in &ours {
            if !recorded.contains_key(id) && !self.may_be_more(id) {
                found.push(format!("{what} {} {values:?}: extra", show(id)));
            }
        }
    }

    /// D22: whether a series may be there, or count, more than recorded.
    fn may_be_more(&self, (_, labels): &SeriesId) -> bool {
        // A case cuts the names of labels.
        let is_virtual = |(name, value): (&String, &String)| {
            name.starts_with("connection_t") && value == "virtual_node"
        };
        self.more_virtual_nodes && labels.iter().any(is_virtual)
    }

    fn by_compared_id<'a, T>(
        &self,
        map: &'a BTreeMap<SeriesId, T>,
    ) -> BTreeMap<SeriesId, Vec<&'a T>> {
        let mut by_id: BTreeMap<SeriesId, Vec<&T>> = BTreeMap::new();
        for (id, value) in map {
            let mut id = id.clone();
            if let Some(label) = self.without_label {
                id.1.remove(label);
            }
            by_id.entry(id).or_default().push(value);
        }
        by_id
    }
}

fn is_close(name: &str, want: f64, got: f64) -> bool {
    let tolerance = if name.ends_with("_sum") {
        SUM_TOLERANCE
    } else {
        COUNT_TOLERANCE
    };
    want == got || (want - got).abs() <= tolerance * want.abs().max(got.abs())
}

/// Whether a histogram is the recorded one; Tempo gives no hints of resets,
/// which these never have.
fn is_same(want: &NativeHistogram, got: &NativeHistogram) -> bool {
    let close = |a: &f64, b: &f64| (a - b).abs() <= COUNT_TOLERANCE * a.abs().max(b.abs());
    is_close("_sum", want.sum, got.sum)
        && close(&want.count, &got.count)
        && want.counts.len() == got.counts.len()
        && want
            .counts
            .iter()
            .zip(&got.counts)
            .all(|(a, b)| close(a, b))
        && *want
            == NativeHistogram {
                count: want.count,
                sum: want.sum,
                counts: want.counts.clone(),
                ..got.clone()
            }
}

/// D25: trace ids of full length, and none of nothing but zeros.
fn padded(exemplars: &BTreeMap<SeriesId, (Labels, f64)>) -> BTreeMap<SeriesId, (Labels, f64)> {
    let mut exemplars = exemplars.clone();
    for (labels, _) in exemplars.values_mut() {
        for value in labels.values_mut() {
            *value = format!("{value:0>TRACE_ID_DIGITS$}");
        }
    }
    exemplars.retain(|_, (labels, _)| {
        let mut ids = labels.values();
        ids.any(|id| id.contains(|digit| digit != '0'))
    });
    exemplars
}

/// D3: the last bucket stands for the count; the others are checked by
/// [`check_buckets`].
fn without_buckets(mut samples: BTreeMap<SeriesId, f64>) -> BTreeMap<SeriesId, f64> {
    samples.retain(|(_, labels), _| labels.get("le").is_none_or(|le| le == "+Inf"));
    samples
}

/// D3: every histogram has the configured bounds and no other.
fn check_buckets(buckets: &[f64], ours: &BTreeMap<SeriesId, f64>, found: &mut Vec<String>) {
    let mut bounds: BTreeMap<SeriesId, Vec<f64>> = BTreeMap::new();
    for (name, labels) in ours.keys() {
        let mut labels = labels.clone();
        if let Some(bound) = labels.remove("le").and_then(|le| le.parse().ok()) {
            bounds
                .entry((name.clone(), labels))
                .or_default()
                .push(bound);
        }
    }
    let mut wanted = buckets.to_vec();
    wanted.push(f64::INFINITY);
    for (id, mut got) in bounds {
        got.sort_by(f64::total_cmp);
        if got != wanted {
            found.push(format!(
                "buckets {}: {wanted:?} wanted, {got:?} ours",
                show(&id)
            ));
        }
    }
}

/// D20: nothing is lost, the limit holds, and no label set is cut in half.
fn limited(limit: u64, recorded: &Outcome, ours: &Outcome) -> Vec<String> {
    const OVERFLOW: &str = "metric_overflow";
    type Totals = BTreeMap<(String, Option<String>), f64>;
    let totals = |outcome: &Outcome| -> Totals {
        let mut totals = Totals::new();
        for ((name, labels), value) in &outcome.samples {
            let key = (name.clone(), labels.get("le").cloned());
            *totals.entry(key).or_default() += value;
        }
        for ((name, _), histogram) in &outcome.histograms {
            let counts = histogram.by_key().into_iter();
            let parts = counts.map(|(key, count)| (format!("{name} {key}"), count));
            let zero = (format!("{name} zero"), histogram.zero_count);
            let count = (format!("{name} count"), histogram.count);
            let sum = (format!("{name}_sum"), histogram.sum);
            for (part, value) in parts.chain([zero, count, sum]) {
                *totals.entry((part, None)).or_default() += value;
            }
        }
        totals
    };
    let metrics = |outcome: &Outcome| -> BTreeSet<(SeriesId, Option<String>)> {
        let samples = outcome.samples.keys();
        let all = samples.chain(outcome.histograms.keys()).cloned();
        all.map(|(name, mut labels)| {
            let le = labels.remove("le");
            ((name, labels), le)
        })
        .collect()
    };
    let mut found = Vec::new();
    let (wanted, got) = (totals(recorded), totals(ours));
    for key in wanted.keys().chain(got.keys()).collect::<BTreeSet<_>>() {
        let (want, have) = (wanted.get(key), got.get(key));
        if !matches!((want, have), (Some(a), Some(b)) if is_close(&key.0, *a, *b)) {
            found.push(format!("total {key:?}: {want:?} recorded, {have:?} ours"));
        }
    }
    let mut slots: BTreeMap<Labels, BTreeSet<(String, Option<String>)>> = BTreeMap::new();
    for ((name, labels), le) in metrics(ours) {
        slots.entry(labels).or_default().insert((name, le));
    }
    let whole = metrics(recorded).into_iter();
    let whole: BTreeSet<_> = whole.map(|((name, _), le)| (name, le)).collect();
    for (labels, series) in &slots {
        if *series != whole {
            found.push(format!("label set {labels:?} has only {series:?}"));
        }
    }
    let overflow = |labels: &&Labels| labels.contains_key(OVERFLOW);
    if slots.keys().filter(overflow).count() != 1 {
        found.push("not one overflow label set".to_owned());
    }
    let active = slots.iter().filter(|(labels, _)| !overflow(labels));
    let active: usize = active.map(|(_, series)| series.len()).sum();
    if active as u64 > limit {
        found.push(format!(
            "{active} series besides overflow, the limit is {limit}"
        ));
    }
    found
}

fn show((name, labels): &SeriesId) -> String {
    format!("{name}{labels:?}")
}
