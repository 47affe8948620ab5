//! The forms of a scrape: Prometheus' text 0.0.4, OpenMetrics 1.0 with
//! exemplars, and, where there are native histograms, Prometheus' protobuf.
//!
//! Source: protocols, section 4.

mod escaping;
mod negotiation;
mod protobuf;

use std::fmt::Write as _;

use bytes::Bytes;
use model::{Exemplar, HistogramSample, LabelSet, LabelSetBuf, Point, SampleSink, Series};
use registry::{Family, MetricKind};

pub(crate) use self::escaping::Escaping;
use self::escaping::{is_legacy_label, is_legacy_metric};
pub(crate) use self::negotiation::Negotiated;
pub(crate) use self::protobuf::Protobuf;

/// Which form a scraper gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `text/plain`.
    Prometheus,
    /// `application/openmetrics-text`.
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
    /// What becomes of names that the scraper does not take.
    pub(crate) escaping: Escaping,
}

impl ScrapeLabels {
    fn merge<'a>(&self, own: LabelSet<'a>, merged: &'a mut LabelSetBuf) -> LabelSet<'a> {
        if self.external_labels.is_empty() && own.iter().all(|(name, _)| is_legacy_label(name)) {
            return own;
        }
        // The series' own labels come later and win (D26); of two names that
        // are escaped alike, too, one is left.
        merged.clear();
        for (name, value) in &self.external_labels {
            merged.push(&self.escaping.label(name), value);
        }
        for (name, value) in own {
            merged.push(&self.escaping.label(name), value);
        }
        merged.finish()
    }
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
    /// The metric's name without `_total`, if it has to be escaped, and as it is
    /// written then.
    escaped: Option<(String, String)>,
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
            escaped: None,
            text: String::new(),
        }
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(arguments);
    }

    fn sample(&mut self, name: &str, le: Option<&str>, value: f64) {
        let le = le.map_or(["", "", ""], |le| ["le=\"", le, "\""]);
        self.head(name, le);
        self.text.push(' ');
        push_number(&mut self.text, value);
    }

    /// Writes a series: its name and labels, another one among them.
    fn head(&mut self, name: &str, another: [&str; 3]) {
        let escaped = self.escaped.as_ref().and_then(|(base, escaped)| {
            let suffix = name.strip_prefix(base.as_str())?;
            Some([escaped.as_str(), suffix])
        });
        let [base, suffix] = escaped.unwrap_or([name, ""]);
        let mut separator = "{";
        if escaped.is_some() && self.scrape_labels.escaping == Escaping::AllowUtf8 {
            // A name in quotes stands among the labels.
            self.text.push_str("{\"");
            push_escaped(&mut self.text, base);
            self.text.push_str(suffix);
            self.text.push('"');
            separator = ",";
        } else {
            self.text.push_str(base);
            self.text.push_str(suffix);
        }
        for part in [[self.labels.as_str(), "", ""], another] {
            if part == ["", "", ""] {
                continue;
            }
            self.text.push_str(separator);
            separator = ",";
            part.iter().for_each(|text| self.text.push_str(text));
        }
        if separator == "," {
            self.text.push('}');
        }
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
        let base = family.name.strip_suffix(suffix).unwrap_or(&family.name);
        // A counter is named without its suffix there.
        let rest = family.name.strip_prefix(base).filter(|_| !is_open);
        let rest = rest.unwrap_or_default();
        let escaping = self.scrape_labels.escaping;
        self.escaped = (!is_legacy_metric(base))
            .then(|| (base.to_owned(), escaping.metric(base).into_owned()));
        let help = family.help;
        let name = match &self.escaped {
            Some((_, escaped)) if escaping == Escaping::AllowUtf8 => {
                let mut quoted = "\"".to_owned();
                push_escaped(&mut quoted, escaped);
                quoted + rest + "\""
            }
            Some((_, escaped)) => format!("{escaped}{rest}"),
            None => format!("{base}{rest}"),
        };
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
            self.head(&format!("{base}_created"), ["", "", ""]);
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
        if is_legacy_label(name) {
            text.push_str(name);
        } else {
            text.push('"');
            push_escaped(text, name);
            text.push('"');
        }
        text.push_str("=\"");
        push_escaped(text, value);
        text.push('"');
    }
}

/// Writes a text as it stands between quotes.
fn push_escaped(text: &mut String, raw: &str) {
    for character in raw.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
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
