//! A page of a scrape: Prometheus' text 0.0.4, or OpenMetrics 1.0.
//!
//! More is accepted than the formats allow: empty lines, unknown comments, and
//! families in any order. What is refused makes the whole scrape fail, as it
//! does with Prometheus.

mod line;

use std::collections::BTreeMap;

use model::MetricType;

pub(crate) use self::line::{Exemplar, Sample};

/// Names and values, none of them empty.
pub(crate) type Labels = BTreeMap<String, String>;

/// Which format a page is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `text/plain`: timestamps in milliseconds.
    Prometheus,
    /// `application/openmetrics-text`: timestamps in seconds, exemplars,
    /// `_created` lines, and an end.
    OpenMetrics,
}

/// What a target has said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page {
    /// Every sample but those of `_created`, in order.
    pub(crate) samples: Vec<Sample>,
    families: BTreeMap<String, Family>,
    /// Since when series have counted, by family and labels, in milliseconds
    /// since the Unix epoch.
    created: BTreeMap<(String, Labels), i64>,
}

/// What a page says of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Family {
    /// What its values mean; `None` if it does not say.
    pub(crate) kind: Option<MetricType>,
    /// One sentence, or nothing.
    pub(crate) help: String,
    /// The unit, or nothing.
    pub(crate) unit: String,
}

/// Why a page cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    /// A line that is none of the format.
    #[error("line {number}: {problem}")]
    Line {
        /// From 1 on.
        number: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// OpenMetrics that was cut off.
    #[error("does not end with # EOF")]
    NoEnd,
}

impl Format {
    /// The format of an answer, by its `Content-Type`.
    pub(crate) fn of(content_type: &str) -> Self {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// A timestamp in milliseconds since the Unix epoch.
    fn millis(self, timestamp: &str) -> Option<i64> {
        match self {
            Self::Prometheus => timestamp.parse().ok(),
            Self::OpenMetrics => {
                let seconds: f64 = timestamp.parse().ok()?;
                seconds
                    .is_finite()
                    .then_some((seconds * 1_000.0).round() as i64)
            }
        }
    }
}

/// Endings that the series of a family may have, by what its values mean.
fn endings(kind: Option<MetricType>) -> &'static [&'static str] {
    match kind {
        Some(MetricType::Counter) => &["_total", "_created"],
        Some(MetricType::Histogram) => &["_bucket", "_sum", "_count", "_created"],
        Some(MetricType::Summary) => &["_sum", "_count", "_created"],
        Some(MetricType::GaugeHistogram) => &["_bucket", "_gsum", "_gcount"],
        Some(MetricType::Info) => &["_info"],
        Some(MetricType::Gauge | MetricType::StateSet | MetricType::Unknown) | None => &[],
    }
}

impl Page {
    /// Reads a page.
    ///
    /// # Errors
    ///
    /// The first line that cannot be read.
    pub(crate) fn parse(text: &str, format: Format) -> Result<Self, PageError> {
        let text = match format {
            Format::Prometheus => text,
            Format::OpenMetrics => {
                let end = text.strip_suffix('\n').unwrap_or(text);
                end.strip_suffix("# EOF").ok_or(PageError::NoEnd)?
            }
        };
        let mut page = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix('#') {
                page.describe(comment.trim_start());
            } else if !line.is_empty() {
                let sample = Sample::parse(line, format).map_err(|problem| PageError::Line {
                    number: index + 1,
                    problem,
                })?;
                page.samples.push(sample);
            }
        }
        if format == Format::OpenMetrics {
            page.take_created();
        }
        Ok(page)
    }

    /// Takes what a comment says of a metric, if it does.
    fn describe(&mut self, comment: &str) {
        let mut words = comment.splitn(3, [' ', '\t']);
        let (Some(what), Some(name)) = (words.next(), words.next()) else {
            return;
        };
        let said = words.next().unwrap_or_default();
        if !["HELP", "TYPE", "UNIT"].contains(&what) {
            return;
        }
        let family = self.families.entry(name.to_owned()).or_default();
        match what {
            "HELP" => family.help = line::unescape(said),
            "UNIT" => family.unit = said.trim().to_owned(),
            _ => family.kind = metric_type(said.trim()),
        }
    }

    /// Moves the `_created` samples to where their series find them.
    fn take_created(&mut self) {
        let mut created = BTreeMap::new();
        let families = &self.families;
        self.samples.retain(|sample| {
            let Some(base) = sample.name.strip_suffix("_created") else {
                return true;
            };
            if family_of(families, &sample.name).is_none() {
                return true;
            }
            let millis = (sample.value * 1_000.0).round() as i64;
            created.insert((base.to_owned(), sample.labels.clone()), millis);
            false
        });
        self.created = created;
    }

    /// What the page says of a sample's metric.
    pub(crate) fn family(&self, sample: &Sample) -> Option<&Family> {
        family_of(&self.families, &sample.name).map(|(_, family)| family)
    }

    /// Since when a sample's series has counted, in milliseconds since the Unix
    /// epoch, if the page says so.
    pub(crate) fn created_ms(&self, sample: &Sample) -> Option<i64> {
        let (name, family) = family_of(&self.families, &sample.name)?;
        let base = name.strip_suffix("_total").unwrap_or(name);
        let mut labels = sample.labels.clone();
        match family.kind {
            Some(MetricType::Histogram) => labels.remove("le"),
            Some(MetricType::Summary) => labels.remove("quantile"),
            _ => None,
        };
        self.created.get(&(base.to_owned(), labels)).copied()
    }
}

/// The family of a series, by the series' name.
fn family_of<'a>(
    families: &'a BTreeMap<String, Family>,
    name: &str,
) -> Option<(&'a str, &'a Family)> {
    let found = |base: &str| families.get_key_value(base);
    let with_ending = || {
        let base = |ending: &&str| name.strip_suffix(ending);
        let all = [
            "_total", "_created", "_bucket", "_sum", "_count", "_gsum", "_gcount", "_info",
        ];
        all.into_iter().find_map(|ending| {
            let base = base(&ending)?;
            // Some name a counter with its ending.
            let named = found(base).or_else(|| match ending {
                "_created" => found(&format!("{base}_total")),
                _ => None,
            })?;
            endings(named.1.kind).contains(&ending).then_some(named)
        })
    };
    found(name)
        .or_else(with_ending)
        .map(|(name, family)| (name.as_str(), family))
}

fn metric_type(said: &str) -> Option<MetricType> {
    match said {
        "counter" => Some(MetricType::Counter),
        "gauge" => Some(MetricType::Gauge),
        "histogram" => Some(MetricType::Histogram),
        "gaugehistogram" => Some(MetricType::GaugeHistogram),
        "summary" => Some(MetricType::Summary),
        "info" => Some(MetricType::Info),
        "stateset" => Some(MetricType::StateSet),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
