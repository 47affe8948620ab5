//! The forms of a scrape: Prometheus' text 0.0.4, OpenMetrics 1.0 with
//! exemplars, and, where there are native histograms, Prometheus' protobuf.
//!
//! Source: protocols, section 4.

mod protobuf;

use std::fmt::Write as _;

use bytes::Bytes;
use model::{Exemplar, HistogramSample, LabelSet, LabelSetBuf, Point, SampleSink, Series};
use registry::{Family, MetricKind};

pub(crate) use self::protobuf::Protobuf;

/// Which form a scraper gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `text/plain; version=0.0.4`.
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
    /// Delimited messages `io.prometheus.client.MetricFamily`.
    Protobuf,
}

/// Writes metrics in one form: each family, its series, and the end.
pub(crate) trait Exposition: SampleSink {
    /// Starts a metric.
    fn family(&mut self, family: &Family);

    /// Ends the last metric.
    fn end(&mut self);

    /// Bytes that wait to be taken.
    fn len(&mut self) -> usize;

    /// Takes what has been written.
    fn take(&mut self) -> Bytes;
}

/// Which labels come on top of the series' own.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScrapeLabels {
    pub(crate) external_labels: Vec<(String, String)>,
    /// The exemplars' label.
    pub(crate) trace_id_label: String,
}

impl ScrapeLabels {
    fn merge<'a>(&self, own: LabelSet<'a>, merged: &'a mut LabelSetBuf) -> LabelSet<'a> {
        if self.external_labels.is_empty() {
            return own;
        }
        // The series' own labels come later and win (D26).
        merged.clear();
        for (name, value) in &self.external_labels {
            merged.push(name, value);
        }
        for (name, value) in own {
            merged.push(name, value);
        }
        merged.finish()
    }
}

impl Format {
    /// The format that an `Accept` header prefers; Prometheus' text if in doubt.
    /// Protobuf is for those who have native histograms: it has nothing else
    /// that text does not have.
    pub(crate) fn negotiate(accept: &str, has_native: bool) -> Self {
        let mut best = (Self::Prometheus, 0.0);
        for range in accept.split(',') {
            let mut parameters = range.split(';').map(str::trim);
            let format = match parameters.next() {
                Some("application/openmetrics-text") => Self::OpenMetrics,
                Some("text/plain" | "text/*" | "*/*") => Self::Prometheus,
                Some("application/vnd.google.protobuf") if has_native && is_delimited(range) => {
                    Self::Protobuf
                }
                _ => continue,
            };
            let quality = parameters
                .find_map(|parameter| parameter.strip_prefix("q="))
                .map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited"
            }
        }
    }
}

/// Whether a range of protobuf is the one that there is.
fn is_delimited(range: &str) -> bool {
    let mut wanted = [
        "proto=io.prometheus.client.MetricFamily",
        "encoding=delimited",
    ]
    .iter();
    wanted.all(|wanted| {
        range
            .split(';')
            .any(|parameter| parameter.trim() == *wanted)
    })
}

/// Writes metrics as text.
#[derive(Debug)]
pub(crate) struct Text {
    format: Format,
    scrape_labels: ScrapeLabels,
    /// The labels of the current label set, without braces.
    labels: String,
    merged: LabelSetBuf,
    started_ms: i64,
    /// The `_created` line of the current label set, which follows its series.
    created: Option<&'static str>,
    /// Whether native histograms are written, as far as text can.
    is_native: bool,
    text: String,
}

impl Text {
    /// Text in either format that has it.
    pub(crate) fn new(format: Format, scrape_labels: ScrapeLabels) -> Self {
        Self {
            format,
            scrape_labels,
            labels: String::new(),
            merged: LabelSetBuf::new(),
            started_ms: 0,
            created: None,
            is_native: false,
            text: String::new(),
        }
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(arguments);
    }

    fn sample(&mut self, name: &str, le: Option<&str>, value: f64) {
        self.text.push_str(name);
        if !self.labels.is_empty() || le.is_some() {
            self.text.push('{');
            self.text.push_str(&self.labels);
            if let Some(le) = le {
                let comma = if self.labels.is_empty() { "" } else { "," };
                self.write(format_args!("{comma}le=\"{le}\""));
            }
            self.text.push('}');
        }
        self.text.push(' ');
        push_number(&mut self.text, value);
    }

    fn exemplar(&mut self, exemplar: Exemplar) {
        let trace_id = u128::from_be_bytes(exemplar.trace_id);
        let label = std::mem::take(&mut self.scrape_labels.trace_id_label);
        self.write(format_args!(" # {{{label}=\"{trace_id:032x}\"}} "));
        self.scrape_labels.trace_id_label = label;
        push_number(&mut self.text, exemplar.value);
        self.text.push(' ');
        push_seconds(&mut self.text, exemplar.timestamp_ms);
    }
}

impl Exposition for Text {
    fn family(&mut self, family: &Family) {
        let (kind, suffix, last) = match family.kind {
            MetricKind::Counter => ("counter", "_total", Some("_total")),
            MetricKind::Gauge => ("gauge", "", None),
            MetricKind::ClassicHistogram { .. }
            | MetricKind::NativeHistogram { .. }
            | MetricKind::ClassicAndNative { .. } => ("histogram", "", Some("_count")),
        };
        self.is_native = matches!(family.kind, MetricKind::NativeHistogram { .. });
        let is_open = self.format == Format::OpenMetrics;
        self.created = last.filter(|_| is_open);
        // A counter is named without its suffix there.
        let short = family.name.strip_suffix(suffix).filter(|_| is_open);
        let (name, help) = (short.unwrap_or(&family.name), family.help);
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn end(&mut self) {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
    }

    fn len(&mut self) -> usize {
        self.text.len()
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.text).into()
    }
}

impl SampleSink for Text {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        self.labels.clear();
        let labels = self.scrape_labels.merge(labels, &mut self.merged);
        push_labels(&mut self.labels, labels);
    }

    fn started(&mut self, timestamp_ms: i64) {
        self.started_ms = timestamp_ms;
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        let Some(point) = points.last() else {
            return;
        };
        self.sample(series.name, series.le, point.value);
        if let (Format::OpenMetrics, Some(exemplar)) = (self.format, exemplar) {
            self.exemplar(exemplar);
        }
        self.text.push('\n');
        if let Some(base) = self.created.and_then(|last| series.name.strip_suffix(last)) {
            self.text.push_str(base);
            self.text.push_str("_created");
            if !self.labels.is_empty() {
                let labels = std::mem::take(&mut self.labels);
                self.write(format_args!("{{{labels}}}"));
                self.labels = labels;
            }
            self.text.push(' ');
            push_seconds(&mut self.text, self.started_ms);
            self.text.push('\n');
        }
    }

    /// Text knows the buckets of classic histograms only: of a native one there
    /// is one for all.
    fn histogram(
        &mut self,
        name: &str,
        samples: &[HistogramSample<'_>],
        exemplar: Option<Exemplar>,
    ) {
        let Some(sample) = samples.last().filter(|_| self.is_native) else {
            return;
        };
        self.started_ms = sample.started_ms;
        for (suffix, le, value, exemplar) in [
            ("_bucket", Some("+Inf"), sample.count, exemplar),
            ("_sum", None, sample.sum, None),
            ("_count", None, sample.count, None),
        ] {
            let name = &format!("{name}{suffix}");
            let timestamp_ms = sample.timestamp_ms;
            let point = Point {
                timestamp_ms,
                value,
            };
            self.series(Series { name, le }, &[point], exemplar);
        }
    }
}

fn push_labels(text: &mut String, labels: LabelSet<'_>) {
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
}

fn push_number(text: &mut String, value: f64) {
    let _ = if value.is_infinite() {
        text.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        write!(text, "{value}")
    };
}

fn push_seconds(text: &mut String, millis: i64) {
    let _ = write!(text, "{}.{:03}", millis / 1_000, (millis % 1_000).abs());
}

#[cfg(test)]
mod tests;
