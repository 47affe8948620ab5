//! Reads Prometheus and OpenMetrics text.
//!
//! Strict on purpose: what it cannot read is an error, since we wrote it.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};

/// Labels of a series by name, its metric's name not among them.
pub type Labels = BTreeMap<String, String>;

/// The samples of one scrape.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// In the order of the text.
    pub samples: Vec<Sample>,
}

/// One line of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name, with `_total`, `_bucket` and the like.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
    /// The exemplar behind it.
    pub exemplar: Option<Exemplar>,
}

/// What follows `#` on a line of OpenMetrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The trace id, as a rule.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// Seconds since 1970.
    pub timestamp: Option<f64>,
}

impl Exposition {
    /// Reads a whole scrape.
    ///
    /// # Errors
    ///
    /// The first line that is not well-formed.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let samples = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| parse_sample(line).with_context(|| format!("line {line:?}")))
            .collect::<Result<_, _>>()?;
        Ok(Self { samples })
    }

    /// The samples of one metric that have all of these labels.
    pub fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.name == name && sample.has(labels))
    }

    /// The sum of what [`Exposition::select`] gives; 0 when there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        // The sum of nothing is -0.
        0.0 + self
            .select(name, labels)
            .map(|sample| sample.value)
            .sum::<f64>()
    }

    /// All values of one label of one metric, sorted.
    #[must_use]
    pub fn values_of(&self, name: &str, label: &str) -> Vec<String> {
        let mut values: Vec<String> = self
            .select(name, &[])
            .filter_map(|sample| sample.labels.get(label).cloned())
            .collect();
        values.sort();
        values.dedup();
        values
    }
}

impl Sample {
    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels
            .iter()
            .all(|(name, value)| self.labels.get(*name).is_some_and(|v| v == value))
    }
}

fn parse_sample(line: &str) -> anyhow::Result<Sample> {
    let (name, labels, rest) = parse_series(line)?;
    let (numbers, exemplar) = match rest.split_once(" # ") {
        Some((numbers, exemplar)) => (numbers, Some(parse_exemplar(exemplar)?)),
        None => (rest, None),
    };
    let mut numbers = numbers.split_ascii_whitespace();
    let value = numbers.next().context("no value")?;
    Ok(Sample {
        name,
        labels,
        value: value.parse().with_context(|| format!("value {value:?}"))?,
        exemplar,
    })
}

fn parse_exemplar(text: &str) -> anyhow::Result<Exemplar> {
    let (name, labels, rest) = parse_series(text)?;
    ensure!(name.is_empty(), "an exemplar has no name");
    let mut numbers = rest.split_ascii_whitespace();
    Ok(Exemplar {
        labels,
        value: numbers.next().context("no value")?.parse()?,
        timestamp: numbers.next().map(str::parse).transpose()?,
    })
}

/// Name, labels, and what follows them.
fn parse_series(text: &str) -> anyhow::Result<(String, Labels, &str)> {
    let end = text
        .find(['{', ' '])
        .context("neither labels nor a value")?;
    let (name, rest) = text.split_at(end);
    let mut labels = Labels::new();
    let Some(mut rest) = rest.strip_prefix('{') else {
        return Ok((name.to_owned(), labels, rest));
    };
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((name.to_owned(), labels, after));
        }
        let (label, after) = rest.split_once("=\"").context("no label value")?;
        let (value, after) = parse_quoted(after)?;
        ensure!(
            labels.insert(label.to_owned(), value).is_none(),
            "label {label} twice"
        );
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}

/// A label value up to its closing quote, and what follows it.
fn parse_quoted(text: &str) -> anyhow::Result<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            '\\' => match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => value.push('\n'),
                Some(escaped @ ('\\' | '"')) => value.push(escaped),
                other => bail!("escape {other:?}"),
            },
            other => value.push(other),
        }
    }
    bail!("label value without an end")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn line_with_escapes_and_exemplar_is_read_whole() {
        let text = "# TYPE b histogram\n\
            b_bucket{path=\"a\\\\b \\\"c\\\"\\nd # {\",le=\"+Inf\"} 3 # {trace_id=\"0a\"} 0.5 12.25\n\
            up 1 1700000000\n\
            # EOF\n";
        let scrape = Exposition::parse(text).unwrap();
        assert_eq!(
            scrape.samples,
            [
                Sample {
                    name: "b_bucket".into(),
                    labels: labels(&[("path", "a\\b \"c\"\nd # {"), ("le", "+Inf")]),
                    value: 3.0,
                    exemplar: Some(Exemplar {
                        labels: labels(&[("trace_id", "0a")]),
                        value: 0.5,
                        timestamp: Some(12.25),
                    }),
                },
                Sample {
                    name: "up".into(),
                    labels: Labels::new(),
                    value: 1.0,
                    exemplar: None,
                },
            ]
        );
    }

    #[test]
    fn broken_lines_are_errors() {
        for line in [
            "up",
            "up{",
            "up{a=\"b} 1",
            "up{a=\"b\",a=\"c\"} 1",
            "up one",
        ] {
            assert!(Exposition::parse(line).is_err(), "line {line:?}");
        }
    }
}
