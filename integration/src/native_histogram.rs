//! Native histograms, as they are recorded and as they are received.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use proto::remote_write as pb;
use serde_json::Value;

/// A native histogram of values that are not negative.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeHistogram {
    /// Of all observations.
    pub count: f64,
    /// Of what was observed.
    pub sum: f64,
    /// How fine the buckets are, -4 to 8.
    pub schema: i64,
    /// Up to where observations are in the zero bucket.
    pub zero_threshold: f64,
    /// How many are in the zero bucket.
    pub zero_count: f64,
    /// Where the buckets are: how far from the last, and how many.
    pub spans: Vec<(i64, u64)>,
    /// The counts in the buckets of the spans.
    pub counts: Vec<f64>,
    /// Whether counts are floating-point numbers.
    pub is_float: bool,
    /// Whether it has begun anew: 0 if nothing is said, 1 if it has.
    pub reset_hint: i64,
}

impl NativeHistogram {
    /// The counts that are not 0, by bucket.
    #[must_use]
    pub fn by_key(&self) -> BTreeMap<i64, f64> {
        let mut next = 0;
        let keys = self.spans.iter().flat_map(|(offset, length)| {
            let first = next + offset;
            next = first + i64::try_from(*length).unwrap_or(i64::MAX);
            first..next
        });
        let counts = keys.zip(self.counts.iter().copied());
        counts.filter(|(_, count)| *count != 0.0).collect()
    }

    /// Reads one as it is recorded.
    ///
    /// # Errors
    ///
    /// When a field is missing or is not what it should be.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let json: Value = serde_json::from_str(text)?;
        let number = |name: &str| {
            let number = json.get(name).and_then(Value::as_f64);
            number.with_context(|| format!("no {name} in {json}"))
        };
        let list = |name: &str| {
            let list = json.get(name).and_then(Value::as_array);
            list.with_context(|| format!("no {name} in {json}"))
        };
        for none in ["neg_spans", "neg_deltas", "custom"] {
            ensure!(list(none)?.is_empty(), "{none} is not empty");
        }
        let deltas = list("pos_deltas")?.iter().filter_map(Value::as_i64);
        let spans = list("pos_spans")?
            .iter()
            .map(|span| serde_json::from_value(span.clone()));
        Ok(Self {
            count: number("count")?,
            sum: number("sum")?,
            schema: number("schema")? as i64,
            zero_threshold: number("zero_threshold")?,
            zero_count: number("zero_count")?,
            spans: spans.collect::<Result<_, _>>()?,
            counts: counts(deltas),
            is_float: json.get("float").and_then(Value::as_bool) == Some(true),
            reset_hint: number("reset_hint")? as i64,
        })
    }
}

impl From<&pb::Histogram> for NativeHistogram {
    fn from(histogram: &pb::Histogram) -> Self {
        use pb::histogram::{Count, ZeroCount};
        let is_float = matches!(histogram.count, Some(Count::CountFloat(_)));
        let spans = histogram.positive_spans.iter();
        Self {
            count: match histogram.count {
                Some(Count::CountInt(count)) => count as f64,
                Some(Count::CountFloat(count)) => count,
                None => f64::NAN,
            },
            sum: histogram.sum,
            schema: histogram.schema.into(),
            zero_threshold: histogram.zero_threshold,
            zero_count: match histogram.zero_count {
                Some(ZeroCount::ZeroCountInt(count)) => count as f64,
                Some(ZeroCount::ZeroCountFloat(count)) => count,
                None => f64::NAN,
            },
            spans: spans
                .map(|span| (span.offset.into(), span.length.into()))
                .collect(),
            counts: if is_float {
                histogram.positive_counts.clone()
            } else {
                counts(histogram.positive_deltas.iter().copied())
            },
            is_float,
            reset_hint: histogram.reset_hint.into(),
        }
    }
}

fn counts(deltas: impl Iterator<Item = i64>) -> Vec<f64> {
    let sums = deltas.scan(0, |sum, delta| {
        *sum += delta;
        Some(*sum as f64)
    });
    sums.collect()
}
