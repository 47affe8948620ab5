//! The text of a scrape: Prometheus 0.0.4, or OpenMetrics 1.0 with exemplars.
//!
//! Source: protocols, section 4.

use std::fmt::Write as _;

use model::{Exemplar, LabelSet, LabelSetBuf, Point, SampleSink, Series};
use registry::{Family, MetricKind};

/// Which text a scraper gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `text/plain; version=0.0.4`.
    Prometheus,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` header prefers; Prometheus' if in doubt.
    pub(crate) fn negotiate(accept: &str) -> Self {
        let mut best = (Self::Prometheus, 0.0);
        for range in accept.split(',') {
            let mut parameters = range.split(';').map(str::trim);
            let format = match parameters.next() {
                Some("application/openmetrics-text") => Self::OpenMetrics,
                Some("text/plain" | "text/*" | "*/*") => Self::Prometheus,
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
        }
    }
}

/// Writes metrics as text.
#[derive(Debug)]
pub(crate) struct Exposition {
    format: Format,
    external_labels: Vec<(String, String)>,
    trace_id_label: String,
    /// The labels of the current label set, without braces.
    labels: String,
    merged: LabelSetBuf,
    started_ms: i64,
    /// The `_created` line of the current label set, which follows its series.
    created: Option<&'static str>,
    pub(crate) text: String,
}

impl Exposition {
    pub(crate) fn new(
        format: Format,
        external_labels: Vec<(String, String)>,
        trace_id_label: String,
    ) -> Self {
        Self {
            format,
            external_labels,
            trace_id_label,
            labels: String::new(),
            merged: LabelSetBuf::new(),
            started_ms: 0,
            created: None,
            text: String::new(),
        }
    }

    /// Starts a metric.
    pub(crate) fn family(&mut self, family: &Family) {
        let (kind, suffix) = match family.kind {
            MetricKind::Counter => ("counter", "_total"),
            MetricKind::Gauge => ("gauge", ""),
            MetricKind::ClassicHistogram { .. } => ("histogram", ""),
        };
        let name = match self.format {
            Format::Prometheus => family.name.as_str(),
            // A counter is named without its suffix there.
            Format::OpenMetrics => family.name.strip_suffix(suffix).unwrap_or(&family.name),
        };
        self.created = match (self.format, &family.kind) {
            (Format::Prometheus, _) | (_, MetricKind::Gauge) => None,
            (Format::OpenMetrics, MetricKind::Counter) => Some("_total"),
            (Format::OpenMetrics, MetricKind::ClassicHistogram { .. }) => Some("_count"),
        };
        let help = family.help;
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Ends the text.
    pub(crate) fn end(&mut self) {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
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
        let label = std::mem::take(&mut self.trace_id_label);
        self.write(format_args!(" # {{{label}=\"{trace_id:032x}\"}} "));
        self.trace_id_label = label;
        push_number(&mut self.text, exemplar.value);
        self.text.push(' ');
        push_seconds(&mut self.text, exemplar.timestamp_ms);
    }
}

impl SampleSink for Exposition {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        self.labels.clear();
        if self.external_labels.is_empty() {
            push_labels(&mut self.labels, labels);
            return;
        }
        // The series' own labels come later and win (D26).
        self.merged.clear();
        for (name, value) in &self.external_labels {
            self.merged.push(name, value);
        }
        for (name, value) in labels {
            self.merged.push(name, value);
        }
        push_labels(&mut self.labels, self.merged.finish());
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
mod tests {
    use registry::{KeyHasher, Limits, MAX_METRICS, Metric, Registry, Schema, Update};

    use super::*;

    const NOW_MS: i64 = 1_700_000_001_000;

    fn text(format: Format, external: &[(&str, &str)]) -> String {
        let registry = Registry::new(Limits::default(), 1);
        let metric = |name: &str, kind| Metric {
            name: name.to_owned(),
            help: "Some help",
            unit: "",
            kind,
            sparse: false,
        };
        let bounds = vec![0.5];
        let table = registry.add_table(Schema::new([
            metric("calls_total", MetricKind::Counter),
            metric("latency", MetricKind::ClassicHistogram { bounds }),
            metric("info", MetricKind::Gauge),
        ]));
        let mut values = [f64::NAN; MAX_METRICS];
        values[..3].copy_from_slice(&[1.0, 0.25, 1.0]);
        let update = Update {
            key: KeyHasher::new().key(b"a"),
            weight: 1.0,
            spans: 1,
            order: 0,
            values,
            trace_id: [0xab; 16],
            timestamp_ms: 1_700_000_000_123,
        };
        registry.apply(&table, &[update], 1_600_000_000_000, |_, labels| {
            labels.push("name", "a\\b\"c\nd} 1\nfake 9");
            Ok(())
        });
        let external = external
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut exposition = Exposition::new(format, external, "traceID".to_owned());
        for family in registry.families(NOW_MS) {
            exposition.family(&family);
            registry.walk(&family, NOW_MS, &mut exposition, |_| true);
        }
        exposition.end();
        exposition.text
    }

    #[test]
    fn openmetrics_has_exemplars_and_creation_times() {
        let labels = r#"name="a\\b\"c\nd} 1\nfake 9""#;
        let trace_id = "ab".repeat(16);
        assert_eq!(
            text(Format::OpenMetrics, &[]),
            format!(
                "# HELP calls Some help\n# TYPE calls counter\n\
                 calls_total{{{labels}}} 1\n\
                 calls_created{{{labels}}} 1600000000.000\n\
                 # HELP latency Some help\n# TYPE latency histogram\n\
                 latency_bucket{{{labels},le=\"0.5\"}} 1 # {{traceID=\"{trace_id}\"}} 0.25 1700000000.123\n\
                 latency_bucket{{{labels},le=\"+Inf\"}} 1\n\
                 latency_sum{{{labels}}} 0.25\n\
                 latency_count{{{labels}}} 1\n\
                 latency_created{{{labels}}} 1600000000.000\n\
                 # HELP info Some help\n# TYPE info gauge\n\
                 info{{{labels}}} 1\n\
                 # EOF\n"
            )
        );
    }

    #[test]
    fn prometheus_text_has_neither() {
        let text = text(Format::Prometheus, &[("zone", "z"), ("name", "loses")]);
        assert!(text.starts_with("# HELP calls_total Some help\n# TYPE calls_total counter\n"));
        assert!(text.contains("fake 9\",zone=\"z\"} 1\n"));
        for absent in ["_created", "# {", "EOF", "loses"] {
            assert!(!text.contains(absent), "{absent}\n{text}");
        }
    }

    #[test]
    fn accept_header_chooses_the_format() {
        for (accept, want) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4", Format::Prometheus),
            (
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;q=0.2,text/plain;q=0.5",
                Format::Prometheus,
            ),
            (
                "application/openmetrics-text; q=nonsense",
                Format::Prometheus,
            ),
        ] {
            assert_eq!(Format::negotiate(accept), want, "{accept}");
        }
    }
}
