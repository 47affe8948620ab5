//! Remote write 2.0: its own rules, and its series as those of 1.0.

use std::collections::BTreeSet;

use prost::Message as _;
use proto::remote_write as v1;
use proto::remote_write::v2;

/// What 2.0 says of a series besides what 1.0 does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMetadata {
    /// `COUNTER`, `GAUGE`, `HISTOGRAM` or another, without the prefix.
    pub kind: String,
    /// One sentence.
    pub help: String,
    /// Such as `seconds`; often empty.
    pub unit: String,
    /// Since when the latest sample says it has counted, in milliseconds since
    /// 1970; 0 if it does not say.
    pub started_ms: i64,
}

/// Reads the series of a request, and what is wrong with them beyond the rules
/// of 1.0; less of it where any metric is taken.
pub(super) fn read(
    request: v2::Request,
    takes_any: bool,
) -> (Vec<(v1::TimeSeries, ReceivedMetadata)>, Vec<String>) {
    let symbols = request.symbols;
    let mut violations = Vec::new();
    if symbols.first().is_none_or(|first| !first.is_empty()) {
        violations.push("the first symbol is not empty".to_owned());
    }
    let unique: BTreeSet<_> = symbols.iter().collect();
    if unique.len() != symbols.len() {
        violations.push("a symbol stands twice".to_owned());
    }
    let mut read = Vec::new();
    for series in request.timeseries {
        let metadata = metadata(&symbols, &series);
        for problem in problems(&symbols, &series, &metadata, takes_any) {
            violations.push(format!(
                "{:?}: {problem}",
                labels(&symbols, &series.labels_refs)
            ));
        }
        let exemplar = |exemplar: &v2::Exemplar| v1::Exemplar {
            labels: labels(&symbols, &exemplar.labels_refs),
            value: exemplar.value,
            timestamp: exemplar.timestamp,
        };
        let sample = |sample: &v2::Sample| v1::Sample {
            value: sample.value,
            timestamp: sample.timestamp,
        };
        let in_v1 = v1::TimeSeries {
            labels: labels(&symbols, &series.labels_refs),
            samples: series.samples.iter().map(sample).collect(),
            exemplars: series.exemplars.iter().map(exemplar).collect(),
            histograms: series.histograms.iter().filter_map(histogram).collect(),
        };
        read.push((in_v1, metadata));
    }
    (read, violations)
}

fn problems(
    symbols: &[String],
    series: &v2::TimeSeries,
    metadata: &ReceivedMetadata,
    takes_any: bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    let of_exemplars = series.exemplars.iter().map(|e| &e.labels_refs);
    for references in std::iter::once(&series.labels_refs).chain(of_exemplars) {
        if references.len() % 2 != 0 || references.iter().any(|r| *r as usize >= symbols.len()) {
            problems.push(format!("references {references:?}"));
        }
    }
    if series.samples.is_empty() == series.histograms.is_empty() {
        problems.push("neither samples nor histograms, or both".to_owned());
    }
    if !takes_any {
        problems.extend(metadata_problems(metadata));
    }
    for (started_ms, timestamp_ms) in times(series) {
        if started_ms > timestamp_ms {
            problems.push(format!("starts after {timestamp_ms}"));
        }
    }
    problems
}

/// What spanmill says of every metric, though it need not.
fn metadata_problems(metadata: &ReceivedMetadata) -> Vec<String> {
    let mut problems = Vec::new();
    if !["COUNTER", "GAUGE", "HISTOGRAM"].contains(&metadata.kind.as_str()) {
        problems.push(format!("is a {}", metadata.kind));
    }
    if metadata.help.is_empty() {
        problems.push("no help".to_owned());
    }
    let counts = metadata.kind != "GAUGE";
    if counts != (metadata.started_ms != 0) {
        problems.push(format!("{} since {}", metadata.kind, metadata.started_ms));
    }
    problems
}

fn metadata(symbols: &[String], series: &v2::TimeSeries) -> ReceivedMetadata {
    let metadata = series.metadata.unwrap_or_default();
    let kind = metadata.r#type().as_str_name();
    ReceivedMetadata {
        kind: kind.trim_start_matches("METRIC_TYPE_").to_owned(),
        help: text(symbols, metadata.help_ref),
        unit: text(symbols, metadata.unit_ref),
        started_ms: times(series).last().map_or(0, |(started_ms, _)| started_ms),
    }
}

/// Since when each sample says it has counted, and its time.
fn times(series: &v2::TimeSeries) -> impl Iterator<Item = (i64, i64)> {
    let samples = series.samples.iter();
    let samples = samples.map(|sample| (sample.start_timestamp, sample.timestamp));
    let histograms = series.histograms.iter();
    samples.chain(histograms.map(|sample| (sample.start_timestamp, sample.timestamp)))
}

/// The same message in 1.0, which does not know the start timestamp.
fn histogram(histogram: &v2::Histogram) -> Option<v1::Histogram> {
    v1::Histogram::decode(histogram.encode_to_vec().as_slice()).ok()
}

fn labels(symbols: &[String], references: &[u32]) -> Vec<v1::Label> {
    references
        .chunks(2)
        .map(|pair| v1::Label {
            name: pair.first().map_or(String::new(), |r| text(symbols, *r)),
            value: pair.get(1).map_or(String::new(), |r| text(symbols, *r)),
        })
        .collect()
}

fn text(symbols: &[String], reference: u32) -> String {
    symbols.get(reference as usize).cloned().unwrap_or_default()
}
