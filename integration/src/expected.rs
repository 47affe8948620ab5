//! Recorded cases: what Tempo wrote for given inputs and settings, and how ours
//! is compared with it.

mod compare;
mod inputs;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;

pub use compare::{Comparison, GainedWeight};
pub use inputs::{Input, PushedSpan, pushed_spans, shift_times};

use crate::exposition::{Exposition, Labels};
use crate::native_histogram::NativeHistogram;
use crate::remote_write_sink::Received;

/// A recorded case.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Its directory's name; also the tenant that it was recorded with.
    #[serde(skip)]
    pub name: String,
    /// Which input was pushed.
    pub input: Input,
    /// The block `metrics_generator` of the configuration.
    pub metrics_generator: Value,
    /// The tenant's entry in the overrides.
    pub tenant_overrides: Value,
    /// What the entry of `remote_write` had besides a URL.
    #[serde(default)]
    pub remote_write: Value,
    /// Rows of `docs/differences.md` that change the outcome.
    pub touched_by_differences: BTreeSet<String>,
}

/// A metric's name and its labels.
pub type SeriesId = (String, Labels);

/// What came out of a case, recorded or ours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The last value of each series.
    pub samples: BTreeMap<SeriesId, f64>,
    /// The last native histogram of each series of those.
    pub histograms: BTreeMap<SeriesId, NativeHistogram>,
    /// The last exemplar of each series that had one.
    pub exemplars: BTreeMap<SeriesId, (Labels, f64)>,
    /// Series that did not begin with a zero or an empty histogram.
    pub no_zero_sample: BTreeSet<SeriesId>,
    /// Spans that reached the generator.
    pub spans_received: f64,
    /// Discarded spans by processor and reason.
    pub discarded: BTreeMap<(String, String), f64>,
}

/// Where the recorded cases lie.
fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/conformance")
}

impl Case {
    /// The names of all cases, sorted.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn names() -> anyhow::Result<BTreeSet<String>> {
        std::fs::read_dir(testdata().join("cases"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    /// Reads a case's settings.
    ///
    /// # Errors
    ///
    /// When there is no such case, or it cannot be read.
    pub fn load(name: &str) -> anyhow::Result<Self> {
        let path = testdata().join("cases").join(name).join("case.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let case: Self = serde_json::from_str(&text).with_context(|| format!("case {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            ..case
        })
    }

    /// Reads what Tempo made of the case.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn recorded(&self) -> anyhow::Result<Outcome> {
        let path = testdata()
            .join("cases")
            .join(&self.name)
            .join("expected.txt.gz");
        let mut text = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(&path)?)
            .read_to_string(&mut text)
            .with_context(|| format!("{}", path.display()))?;
        Outcome::parse(&text).with_context(|| format!("{}", path.display()))
    }

    /// A setting of the tenant's metrics generator, by JSON pointer.
    #[must_use]
    pub fn tenant_setting(&self, pointer: &str) -> Option<&Value> {
        let path = format!("/metrics_generator{pointer}");
        self.tenant_overrides.pointer(&path)
    }

    /// The processors of the tenant.
    #[must_use]
    pub fn processors(&self) -> Vec<&str> {
        let list = self.tenant_setting("/processors").and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }
}

impl Outcome {
    /// Reads the lines of a recorded case.
    ///
    /// # Errors
    ///
    /// The first line that cannot be read.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut outcome = Self::default();
        // Not `lines()`: a label value may end in a carriage return.
        for line in text.split('\n').filter(|line| !line.is_empty()) {
            outcome
                .add(line)
                .with_context(|| format!("line {line:?}"))?;
        }
        Ok(outcome)
    }

    fn add(&mut self, line: &str) -> anyhow::Result<()> {
        let (kind, rest) = line.split_once(' ').context("no kind")?;
        match kind {
            "sample" => {
                let (series, value) = series_and_value(rest)?;
                self.samples.insert(series, value);
            }
            "exemplar" => {
                // Label values may have braces, too, but come before.
                let at = rest.rfind(" {").context("no exemplar labels")?;
                let (series, exemplar) = rest.split_at(at);
                let (labels, value) = exemplar.rsplit_once(' ').context("no value")?;
                let (series, _) = series_and_value(&format!("{series} 0"))?;
                let exemplar = (serde_json::from_str(labels)?, value.parse()?);
                self.exemplars.insert(series, exemplar);
            }
            "no_zero_sample" => {
                let (series, _) = series_and_value(&format!("{rest} 0"))?;
                self.no_zero_sample.insert(series);
            }
            "server" => {
                let ((name, mut labels), value) = series_and_value(rest)?;
                match name.as_str() {
                    "spans_received_total" => self.spans_received = value,
                    "spans_discarded_total" => {
                        let mut take = |label| labels.remove(label).unwrap_or_default();
                        let key = (take("processor"), take("reason"));
                        self.discarded.insert(key, value);
                    }
                    // Informative only.
                    _ => {}
                }
            }
            "histogram" => {
                // Label values may have braces, too, but come before.
                let at = rest.rfind(" {").context("no histogram")?;
                let (series, histogram) = rest.split_at(at);
                let (series, _) = series_and_value(&format!("{series} 0"))?;
                let histogram = NativeHistogram::parse(histogram)?;
                self.histograms.insert(series, histogram);
            }
            other => bail!("unknown kind {other:?}"),
        }
        Ok(())
    }

    /// What a sink was sent for a tenant under an `X-Scope-OrgID`, and what
    /// spanmill counted for it.
    #[must_use]
    pub fn of_tenant(
        tenant: &str,
        org_id: &str,
        received: &Received,
        metrics: &Exposition,
    ) -> Self {
        let mut outcome = Self::default();
        for series in received.all_series(org_id) {
            let id = (series.name.clone(), series.labels.clone());
            if let Some(exemplar) = series.exemplars.last() {
                let exemplar = (exemplar.labels.clone(), exemplar.value);
                outcome.exemplars.insert(id.clone(), exemplar);
            }
            let first = series.points.first().map(|(_, value)| *value);
            let first_histogram = series.histograms.first().map(|(_, first)| first.count);
            if first.or(first_histogram).is_some_and(|value| value != 0.0) {
                outcome.no_zero_sample.insert(id.clone());
            }
            if let Some((_, histogram)) = series.histograms.last() {
                outcome.histograms.insert(id.clone(), histogram.clone());
            }
            if let Some(value) = series.last() {
                outcome.samples.insert(id, value);
            }
        }
        let of_tenant = [("tenant", tenant)];
        outcome.spans_received = metrics.sum("spanmill_generator_spans_received_total", &of_tenant);
        for sample in metrics.select("spanmill_generator_spans_discarded_total", &of_tenant) {
            let label = |name: &str| sample.labels.get(name).cloned().unwrap_or_default();
            let key = (label("processor"), label("reason"));
            outcome.discarded.insert(key, sample.value);
        }
        outcome
    }
}

fn series_and_value(text: &str) -> anyhow::Result<(SeriesId, f64)> {
    let mut samples = Exposition::parse(text)?.samples.into_iter();
    let sample = samples.next().context("no sample")?;
    Ok(((sample.name, sample.labels), sample.value))
}

#[cfg(test)]
mod tests;
