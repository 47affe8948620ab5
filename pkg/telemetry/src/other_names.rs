//! Metrics under names that others have for them too: the same values, read from what
//! is written for a scrape, so that nothing is counted twice.

use std::collections::HashMap;
use std::fmt::Write;

/// A metric under another name, made of samples that there are.
#[derive(Clone, Copy, Debug)]
pub struct OtherName {
    /// The name, for a counter without `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: OtherKind,
    /// The metrics that it is made of; samples that come to the same labels are summed.
    pub of: &'static [MadeOf],
    /// Its labels. One that a sample does not have is left out.
    pub labels: &'static [(&'static str, OtherLabel)],
}

/// The type of an [`OtherName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherKind {
    /// Its samples are named with `_total`.
    Counter,
    /// A counter whose name lacks `_total`; OpenMetrics has no type for it.
    UnmarkedCounter,
    /// A value that goes up and down.
    Gauge,
    /// Classic buckets. Those of metrics that are summed must be the same.
    Histogram,
}

/// Where the samples of an [`OtherName`] come from.
#[derive(Clone, Copy, Debug)]
pub struct MadeOf {
    /// The name of its samples, as [`crate::MetricDescription`] has it.
    pub metric: &'static str,
    /// A label and the values with which a sample counts; `None` if each does.
    pub only: Option<(&'static str, &'static [&'static str])>,
}

/// The value of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherLabel {
    /// That of this label of the sample.
    Of(&'static str),
    /// Always this.
    Text(&'static str),
}

impl OtherKind {
    /// The name of the type, as in a description of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter | Self::UnmarkedCounter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    fn openmetrics(self) -> &'static str {
        match self {
            Self::UnmarkedCounter => "unknown",
            other => other.name(),
        }
    }

    /// What follows the name in the name of a sample that had `suffix`.
    fn suffix(self, suffix: &str) -> &str {
        match self {
            Self::Counter => "_total",
            Self::UnmarkedCounter | Self::Gauge => "",
            Self::Histogram => suffix,
        }
    }
}

impl OtherName {
    /// The name of its samples; of a histogram, what their names begin with.
    pub fn sample_name(&self) -> String {
        format!("{}{}", self.name, self.kind.suffix(""))
    }

    /// What it is made of, in words.
    pub fn meaning(&self) -> String {
        let mut text = String::from("As ");
        for (place, of) in self.of.iter().enumerate() {
            let and = if place == 0 { "" } else { " and " };
            // Writing to a string does not fail.
            let _ = write!(text, "{and}{}", of.metric);
            if let Some((label, values)) = of.only {
                let _ = write!(text, " with {label} {}", values.join(", "));
            }
        }
        text
    }

    fn write(&self, families: &HashMap<&str, &str>, out: &mut String) {
        let mut values = Values::default();
        for of in self.of {
            let name = of.family();
            let family = families.get(name).copied().unwrap_or_default();
            for sample in family.lines().filter_map(|line| Sample::parse(line, name)) {
                let is_meant = of.only.is_none_or(|(label, only)| {
                    sample.label(label).is_some_and(|v| only.contains(&v))
                });
                if is_meant {
                    values.add(self.series(&sample), sample.value);
                }
            }
        }
        if values.0.is_empty() {
            return;
        }
        let (name, kind) = (self.name, self.kind.openmetrics());
        let _ = writeln!(
            out,
            "# HELP {name} {}.\n# TYPE {name} {kind}",
            self.meaning()
        );
        for (series, value) in values.in_order() {
            let _ = writeln!(out, "{series} {value}");
        }
    }

    /// Name and labels of what a sample becomes.
    fn series(&self, sample: &Sample<'_>) -> String {
        let mut text = format!("{}{}", self.name, self.kind.suffix(sample.suffix));
        let mut open = '{';
        for (name, from) in self.labels {
            let value = match from {
                OtherLabel::Of(label) => sample.label(label),
                OtherLabel::Text(text) => Some(*text),
            };
            if let Some(value) = value {
                let _ = write!(text, "{open}{name}=\"{value}\"");
                open = ',';
            }
        }
        if open == ',' {
            text.push('}');
        }
        text
    }
}

impl MadeOf {
    /// The name of the metric in OpenMetrics: that of its samples without what its
    /// type adds.
    fn family(&self) -> &'static str {
        let suffixes = ["_total", "_info"].into_iter();
        let mut stripped = suffixes.filter_map(|suffix| self.metric.strip_suffix(suffix));
        stripped.next().unwrap_or(self.metric)
    }
}

/// Appends metrics under other names to OpenMetrics text that has them, without its
/// last line, `# EOF`. A metric without a sample does not appear.
pub fn append_other_names(text: &mut String, names: &[OtherName]) {
    let mut others = String::new();
    let families = families(text);
    for name in names {
        name.write(&families, &mut others);
    }
    text.push_str(&others);
}

/// The lines of each metric, by its name. No value of a label has a line break.
fn families(text: &str) -> HashMap<&str, &str> {
    let text = text.strip_prefix("# HELP ").unwrap_or(text);
    let families = text.split("\n# HELP ");
    families
        .filter_map(|family| Some((family.split_once(' ')?.0, family.split_once('\n')?.1)))
        .collect()
}

/// One line of a metric.
struct Sample<'a> {
    /// What follows the metric's name.
    suffix: &'a str,
    /// Names and values, which stay escaped.
    labels: Vec<(&'a str, &'a str)>,
    value: &'a str,
}

impl<'a> Sample<'a> {
    /// Reads a line as prometheus-client writes it; `None` for a comment.
    fn parse(line: &'a str, metric: &str) -> Option<Self> {
        let rest = line.strip_prefix(metric)?;
        let end = rest.find(['{', ' '])?;
        let (suffix, mut rest) = rest.split_at_checked(end)?;
        let mut labels = Vec::new();
        while let Some((name, quoted)) = rest
            .strip_prefix(['{', ','])
            .and_then(|rest| rest.split_once("=\""))
        {
            let (value, behind) = quoted.split_at_checked(end_of_value(quoted)?)?;
            labels.push((name, value));
            rest = behind.strip_prefix('"')?;
        }
        let rest = rest.strip_prefix('}').unwrap_or(rest);
        Some(Self {
            suffix,
            labels,
            value: rest.split_ascii_whitespace().next()?,
        })
    }

    fn label(&self, name: &str) -> Option<&'a str> {
        let mut labels = self.labels.iter();
        labels.find(|(of, _)| *of == name).map(|(_, value)| *value)
    }
}

/// Where the quote is that ends an escaped value.
fn end_of_value(quoted: &str) -> Option<usize> {
    let mut is_escaped = false;
    quoted.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

/// Values by series, in the order in which these first came.
#[derive(Default)]
struct Values<'a>(HashMap<String, (usize, Value<'a>)>);

enum Value<'a> {
    /// As it was written.
    Text(&'a str),
    Sum(f64),
    /// Exact also beyond what a float can tell apart.
    WholeSum(u64),
}

impl<'a> Values<'a> {
    fn add(&mut self, series: String, value: &'a str) {
        let place = self.0.len();
        match self.0.entry(series) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert((place, Value::Text(value)));
            }
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                entry.get_mut().1.add(value);
            }
        }
    }

    fn in_order(self) -> impl Iterator<Item = (String, String)> {
        let mut values: Vec<_> = self.0.into_iter().collect();
        values.sort_by_key(|(_, (place, _))| *place);
        values
            .into_iter()
            .map(|(series, (_, value))| (series, value.to_string()))
    }
}

impl Value<'_> {
    fn add(&mut self, other: &str) {
        let whole = match self {
            Value::Text(text) => text.parse().ok(),
            Value::WholeSum(sum) => Some(*sum),
            Value::Sum(_) => None,
        };
        let both = whole.zip(other.parse::<u64>().ok());
        *self = match both.and_then(|(one, other)| one.checked_add(other)) {
            Some(sum) => Value::WholeSum(sum),
            None => Value::Sum(self.as_f64() + other.parse::<f64>().unwrap_or(f64::NAN)),
        };
    }

    fn as_f64(&self) -> f64 {
        match self {
            Value::Text(text) => text.parse().unwrap_or(f64::NAN),
            Value::WholeSum(sum) => *sum as f64,
            Value::Sum(sum) => *sum,
        }
    }
}

impl std::fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::WholeSum(sum) => write!(f, "{sum}"),
            Value::Sum(sum) => write!(f, "{sum}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP a_spans Spans.
# TYPE a_spans counter
a_spans_total{tenant=\"x\",reason=\"late\"} 9007199254740993
a_spans_total{tenant=\"x\",reason=\"full\"} 2
a_spans_total{reason=\"full\",tenant=\"\\\"},{y=\\\\\"} 3
# HELP a_took_seconds Time.
# TYPE a_took_seconds histogram
a_took_seconds_sum{by=\"grpc\"} 0.5
a_took_seconds_count{by=\"grpc\"} 2
a_took_seconds_bucket{le=\"0.1\",by=\"grpc\"} 1
a_took_seconds_bucket{le=\"+Inf\",by=\"grpc\"} 2
a_took_seconds_sum{by=\"http\"} 0.25
a_took_seconds_count{by=\"http\"} 1
a_took_seconds_bucket{le=\"0.1\",by=\"http\"} 0
a_took_seconds_bucket{le=\"+Inf\",by=\"http\"} 1
# HELP a_spans_waiting Spans.
# TYPE a_spans_waiting gauge
a_spans_waiting 7
";

    fn written(name: OtherName) -> Vec<String> {
        let mut text = TEXT.to_owned();
        append_other_names(&mut text, &[name]);
        let added = text.strip_prefix(TEXT).unwrap();
        added.lines().map(str::to_owned).collect()
    }

    const TENANT: (&str, OtherLabel) = ("user", OtherLabel::Of("tenant"));

    #[test]
    fn samples_with_the_same_labels_are_summed_to_the_last_digit() {
        let spans = OtherName {
            name: "b_spans",
            kind: OtherKind::Counter,
            of: &[MadeOf {
                metric: "a_spans_total",
                only: None,
            }],
            labels: &[TENANT, ("type", OtherLabel::Text("span"))],
        };
        assert_eq!(spans.sample_name(), "b_spans_total");
        assert_eq!(
            written(spans),
            [
                "# HELP b_spans As a_spans_total.",
                "# TYPE b_spans counter",
                "b_spans_total{user=\"x\",type=\"span\"} 9007199254740995",
                "b_spans_total{user=\"\\\"},{y=\\\\\",type=\"span\"} 3",
            ]
        );
    }

    #[test]
    fn only_samples_with_a_value_that_is_named_count_and_metrics_add_up() {
        let full = OtherName {
            name: "b_full",
            kind: OtherKind::UnmarkedCounter,
            of: &[
                MadeOf {
                    metric: "a_spans_total",
                    only: Some(("reason", &["full", "other"])),
                },
                MadeOf {
                    metric: "a_spans_waiting",
                    only: None,
                },
            ],
            labels: &[],
        };
        assert_eq!(
            written(full),
            [
                "# HELP b_full As a_spans_total with reason full, other and a_spans_waiting.",
                "# TYPE b_full unknown",
                "b_full 12",
            ]
        );
        let none = [MadeOf {
            metric: "a_spans_total",
            only: Some(("reason", &["other"])),
        }];
        let of = Box::leak(Box::new(none));
        assert_eq!(written(OtherName { of, ..full }), [""; 0]);
    }

    #[test]
    fn histograms_keep_their_buckets_in_order() {
        let took = OtherName {
            name: "b_seconds",
            kind: OtherKind::Histogram,
            of: &[MadeOf {
                metric: "a_took_seconds",
                only: None,
            }],
            labels: &[("le", OtherLabel::Of("le"))],
        };
        assert_eq!(
            written(took),
            [
                "# HELP b_seconds As a_took_seconds.",
                "# TYPE b_seconds histogram",
                "b_seconds_sum 0.75",
                "b_seconds_count 3",
                "b_seconds_bucket{le=\"0.1\"} 1",
                "b_seconds_bucket{le=\"+Inf\"} 3",
            ]
        );
    }
}
