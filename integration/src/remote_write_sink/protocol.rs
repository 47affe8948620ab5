//! What a sender of remote write must do.
//!
//! Source: Prometheus remote-write specifications 1.0 and 2.0. That names beginning with
//! `__` are reserved is not checked: attributes of that name can be chosen as
//! dimensions.

use std::collections::BTreeMap;

use anyhow::Context as _;
use axum::http::{HeaderMap, Method};
use proto::remote_write::{Exemplar, Histogram, Label, TimeSeries};

use crate::native_histogram::NativeHistogram;

/// The bits of a staleness marker, the one NaN that may be sent.
pub(super) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Characters of an exemplar's labels at most. Source: OpenMetrics 1.0.
const EXEMPLAR_CHARACTERS: usize = 128;

/// Bytes that a message may have once it is decompressed: what receivers
/// usually take.
const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.0, `prometheus.WriteRequest`.
    V1,
    /// 2.0, `io.prometheus.write.v2.Request`.
    V2,
}

impl Version {
    /// What a request says it is.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get("content-type").map(|v| v.as_bytes());
        match content_type {
            Some(SECOND_TYPE) => Self::V2,
            _ => Self::V1,
        }
    }
}

const SECOND_TYPE: &[u8] = b"application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// Checks the request line and the headers.
pub(super) fn check_headers(method: &Method, headers: &HeaderMap) -> Vec<String> {
    let (content_type, version) = match Version::of(headers) {
        Version::V1 => (&b"application/x-protobuf"[..], "0.1.0"),
        Version::V2 => (SECOND_TYPE, "2.0.0"),
    };
    let mut violations = Vec::new();
    if *method != Method::POST {
        violations.push(format!("method is {method}"));
    }
    for (name, want) in [
        ("content-encoding", &b"snappy"[..]),
        ("content-type", content_type),
        ("x-prometheus-remote-write-version", version.as_bytes()),
    ] {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        if values != [want] {
            let want = String::from_utf8_lossy(want);
            violations.push(format!("{name} is {values:?}, not {want:?}"));
        }
    }
    if headers.get_all("x-scope-orgid").iter().count() > 1 {
        violations.push("x-scope-orgid stands twice".to_owned());
    }
    let agent = headers.get("user-agent").and_then(|v| v.to_str().ok());
    if !agent.is_some_and(|agent| agent.contains('/')) {
        violations.push(format!("user-agent is {agent:?}, not <name>/<version>"));
    }
    violations
}

/// Reads a body: snappy in its block format, around a message.
pub(super) fn decode<M: prost::Message + Default>(body: &[u8]) -> Result<M, String> {
    let decode = || {
        let length = snap::raw::decompress_len(body).context("body is not snappy")?;
        anyhow::ensure!(
            length <= MAX_MESSAGE_BYTES,
            "message has {length} bytes, over {MAX_MESSAGE_BYTES}"
        );
        let raw = snap::raw::Decoder::new()
            .decompress_vec(body)
            .context("body is not snappy")?;
        M::decode(raw.as_slice()).context("body is not the message")
    };
    decode().map_err(|error: anyhow::Error| format!("{error:#}"))
}

/// Checks that a label of every series is the tenant.
pub(super) fn check_tenant_label<'a>(
    all: impl Iterator<Item = &'a TimeSeries>,
    name: &str,
    tenant: &str,
) -> Vec<String> {
    let others = all.filter_map(|series| {
        let label = series.labels.iter().find(|label| label.name == name);
        let value = label.map_or("", |label| &label.value);
        (value != tenant).then(|| format!("{name} is {value:?} in a request of {tenant:?}"))
    });
    others.collect()
}

/// Checks every series of a request.
pub(super) fn check_series<'a>(
    all: impl Iterator<Item = &'a TimeSeries>,
    takes_nan: bool,
) -> Vec<String> {
    let mut violations = Vec::new();
    let mut seen = BTreeMap::new();
    for series in all {
        let id: Vec<_> = series.labels.iter().map(|l| (&l.name, &l.value)).collect();
        for problem in problems(series, takes_nan) {
            violations.push(format!("{id:?}: {problem}"));
        }
        // Several samples of a series in one request are allowed, in their order.
        let samples = series.samples.iter().map(|sample| sample.timestamp);
        let histograms = series.histograms.iter().map(|sample| sample.timestamp);
        let times = samples.chain(histograms);
        let first = times.clone().min();
        if let Some(last) = seen.insert(id.clone(), times.max())
            && first <= last
        {
            violations.push(format!(
                "{id:?}: twice in a request, not in the order of time"
            ));
        }
    }
    violations
}

fn problems(series: &TimeSeries, takes_nan: bool) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(label_problems(&series.labels));
    let name = series.labels.iter().find(|l| l.name == "__name__");
    if !name.is_some_and(|name| is_name(&name.value, ":")) {
        problems.push(format!("metric name is {:?}", name.map(|l| &l.value)));
    }
    if series.samples.is_empty() && series.histograms.is_empty() {
        problems.push("no samples".to_owned());
    }
    for sample in &series.samples {
        if sample.value.is_nan() && !takes_nan && sample.value.to_bits() != STALE {
            problems.push(format!("NaN at {}", sample.timestamp));
        }
        if sample.timestamp <= 0 {
            problems.push(format!("timestamp {}", sample.timestamp));
        }
    }
    if !series
        .samples
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.timestamp < b.timestamp))
    {
        problems.push("samples are not in the order of time".to_owned());
    }
    if !series.samples.is_empty() && !series.histograms.is_empty() {
        problems.push("samples and histograms".to_owned());
    }
    for histogram in &series.histograms {
        problems.extend(histogram_problems(histogram));
    }
    let times: Vec<_> = series.histograms.iter().map(|h| h.timestamp).collect();
    if !times.is_sorted_by(|a, b| a < b) {
        problems.push("histograms are not in the order of time".to_owned());
    }
    let last = series.samples.last().map(|sample| sample.timestamp);
    let last = last.or(times.last().copied());
    for exemplar in &series.exemplars {
        problems.extend(exemplar_problems(exemplar, last));
    }
    problems
}

/// What Prometheus refuses, and what needs not be sent.
fn histogram_problems(histogram: &Histogram) -> Vec<String> {
    let mut problems = Vec::new();
    let read = NativeHistogram::from(histogram);
    let mut check = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };
    let timestamp = histogram.timestamp;
    check(timestamp > 0, format!("timestamp {timestamp}"));
    let stale = read.sum.to_bits() == STALE;
    check(stale || !read.sum.is_nan(), format!("NaN at {timestamp}"));
    check(
        (-4..=8).contains(&read.schema),
        format!("schema {}", read.schema),
    );
    let lengths: u64 = read.spans.iter().map(|(_, length)| length).sum();
    check(
        lengths == read.counts.len() as u64,
        format!("{lengths} buckets in spans, {} counts", read.counts.len()),
    );
    let mut later = read.spans.iter().skip(1);
    check(
        later.all(|(offset, length)| *offset > 0 && *length > 0),
        format!("spans {:?}", read.spans),
    );
    let mut counts = read.counts.iter().chain([&read.zero_count]);
    check(
        counts.all(|count| *count >= 0.0),
        format!("counts {:?}", read.counts),
    );
    let sum = read.counts.iter().sum::<f64>() + read.zero_count;
    // Floats are added in another order.
    let tolerance = if read.is_float { 1e-9 * sum } else { 0.0 };
    check(
        (sum - read.count).abs() <= tolerance,
        format!("count {}, but {sum} in the buckets", read.count),
    );
    let others = [
        histogram.negative_spans.is_empty(),
        histogram.negative_deltas.is_empty(),
        histogram.negative_counts.is_empty(),
        histogram.custom_values.is_empty(),
        histogram.positive_counts.is_empty() || histogram.positive_deltas.is_empty(),
    ];
    check(
        others.into_iter().all(|is_empty| is_empty),
        "fields of other histograms".to_owned(),
    );
    problems
}

fn label_problems(labels: &[Label]) -> Vec<String> {
    let mut problems = Vec::new();
    for pair in labels.windows(2) {
        if let [a, b] = pair
            && a.name >= b.name
        {
            problems.push(format!("label {} before {}", a.name, b.name));
        }
    }
    for label in labels {
        if !is_name(&label.name, "") {
            problems.push(format!("label name {:?}", label.name));
        }
        if label.value.is_empty() {
            problems.push(format!("label {} is empty", label.name));
        }
    }
    problems
}

fn exemplar_problems(exemplar: &Exemplar, last_sample: Option<i64>) -> Vec<String> {
    let mut problems = label_problems(&exemplar.labels);
    let characters: usize = exemplar
        .labels
        .iter()
        .map(|l| l.name.chars().count() + l.value.chars().count())
        .sum();
    if characters > EXEMPLAR_CHARACTERS {
        problems.push(format!("exemplar labels have {characters} characters"));
    }
    if exemplar.timestamp <= 0 || Some(exemplar.timestamp) > last_sample {
        problems.push(format!(
            "exemplar of {}, last sample of {last_sample:?}",
            exemplar.timestamp
        ));
    }
    problems
}

/// Whether a name is one that every receiver takes, with further characters
/// allowed.
fn is_name(name: &str, further: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || further.contains(c);
    name.chars().all(allowed) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()
}
