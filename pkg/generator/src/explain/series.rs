//! The series of a trial, and which of them change.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Exemplar, HistogramSample, LabelSet, Point, SampleSink, Series};
use overrides::TenantConfig;
use registry::{Family, MetricKind, Registry};
use remote_write::relabelled;

use super::{ReachedSeries, RelabelledSeries};

/// What the series of each metric and label set sum up to: it grows with each span that
/// reaches them, unless they are gauges.
pub(super) type Totals = BTreeMap<ReachedSeries, f64>;

/// Reads all series of a registry.
pub(super) fn totals(
    registry: &Registry,
    now_ms: i64,
    external_labels: &[(String, String)],
) -> Totals {
    let mut reader = Reader {
        external_labels,
        metric: (String::new(), ""),
        labels: BTreeMap::new(),
        totals: Totals::new(),
    };
    for family in registry.families(now_ms) {
        reader.metric = (family.name.clone(), kind(&family));
        registry.walk(&family, now_ms, &mut reader, |_| true);
    }
    reader.totals
}

/// The series that are new, or have grown.
pub(super) fn changed(before: &Totals, after: &Totals) -> Vec<ReachedSeries> {
    let changed = |(series, total): &(&ReachedSeries, &f64)| before.get(series) != Some(total);
    let series = after.iter().filter(changed);
    series.map(|(series, _)| series.clone()).collect()
}

/// Adds what destinations that relabel make of series.
pub(super) fn relabel(series: &mut [ReachedSeries], config: &TenantConfig) {
    let destinations: Vec<_> = Arc::clone(&config.remote_write)
        .iter()
        .enumerate()
        .filter(|(_, destination)| !destination.write_relabel_configs.is_empty())
        .map(|(place, destination)| {
            let name = match destination.name.is_empty() {
                true => (place + 1).to_string(),
                false => destination.name.clone(),
            };
            (name, destination.write_relabel_configs.clone())
        })
        .collect();
    for series in series {
        let name = match series.kind {
            "histogram" => format!("{}_count", series.metric),
            _ => series.metric.clone(),
        };
        let labels = series.labels.iter();
        let labels = labels.map(|(name, value)| (name.as_str(), value.as_str()));
        let named = std::iter::once(("__name__", name.as_str())).chain(labels);
        series.relabelled = destinations
            .iter()
            // What cannot be used keeps the process from starting.
            .filter_map(|(destination, rules)| {
                let labels = relabelled(rules, named.clone()).ok()?;
                Some(RelabelledSeries {
                    destination: destination.clone(),
                    labels: labels.map(|labels| labels.into_iter().collect()),
                })
            })
            .collect();
    }
}

fn kind(family: &Family) -> &'static str {
    match family.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::ClassicHistogram { .. } => "histogram",
        MetricKind::NativeHistogram { .. } => "native histogram",
        MetricKind::ClassicAndNative { .. } => "histogram and native histogram",
    }
}

struct Reader<'e> {
    external_labels: &'e [(String, String)],
    metric: (String, &'static str),
    labels: BTreeMap<String, String>,
    totals: Totals,
}

impl Reader<'_> {
    fn add(&mut self, value: f64) {
        let series = ReachedSeries {
            metric: self.metric.0.clone(),
            kind: self.metric.1,
            labels: self.labels.clone(),
            relabelled: Vec::new(),
        };
        *self.totals.entry(series).or_default() += value;
    }
}

impl SampleSink for Reader<'_> {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        // The series' own labels come later and win.
        self.labels = self.external_labels.iter().cloned().collect();
        let own = labels.iter();
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.labels.extend(own);
    }

    fn series(&mut self, _: Series<'_>, points: &[Point], _: Option<Exemplar>) {
        if let Some(point) = points.last() {
            self.add(point.value);
        }
    }

    fn histogram(&mut self, _: &str, samples: &[HistogramSample<'_>], _: Option<Exemplar>) {
        if let Some(sample) = samples.last() {
            self.add(sample.count);
        }
    }
}
