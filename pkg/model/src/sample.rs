//! Samples on their way from a registry to a receiver or a scraper.

use crate::labels::LabelSet;

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The value; [`Point::STALE`]'s bits end the series.
    pub value: f64,
}

impl Point {
    /// The bits of a staleness marker, a NaN that no arithmetic yields.
    ///
    /// Source: `prometheus/model/value`, `StaleNaN`.
    pub const STALE: u64 = 0x7ff0_0000_0000_0002;

    /// A staleness marker: the series ends here.
    pub fn stale(timestamp_ms: i64) -> Self {
        Self {
            timestamp_ms,
            value: f64::from_bits(Self::STALE),
        }
    }

    /// Whether this is a staleness marker.
    pub fn is_stale(self) -> bool {
        self.value.to_bits() == Self::STALE
    }
}

/// The value of a native histogram at a time.
///
/// Its buckets hold positive values; what a span or an edge observes is never
/// negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HistogramSample<'a> {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Since when it counts, in milliseconds since the Unix epoch; 0 in a
    /// staleness marker.
    pub started_ms: i64,
    /// The weights of all observations.
    pub count: f64,
    /// The sum of what was observed; [`Point::STALE`]'s bits end the series.
    pub sum: f64,
    /// How fine the buckets are, -4 to 8: bucket `i` holds the values above
    /// 2^((i - 1) / 2^schema), up to and including 2^(i / 2^schema).
    pub schema: i8,
    /// Up to where observations are in the zero bucket.
    pub zero_threshold: f64,
    /// The weights in the zero bucket.
    pub zero_count: f64,
    /// Where the buckets are.
    pub spans: &'a [BucketSpan],
    /// The weights in the buckets of the spans, one after the other.
    pub counts: &'a [f64],
    /// Whether counts need not be whole numbers.
    pub is_float: bool,
    /// Whether it has begun anew since the sample before.
    pub is_restart: bool,
}

/// Consecutive buckets of a native histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketSpan {
    /// The first bucket of the first span; buckets between this and the span
    /// before of all others.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

impl HistogramSample<'_> {
    /// The differences between neighbouring counts, if they are whole numbers.
    pub fn deltas(&self) -> impl Iterator<Item = i64> + '_ {
        self.counts.iter().scan(0, |before, count| {
            let count = *count as i64;
            Some(count - std::mem::replace(before, count))
        })
    }

    /// A histogram without observations, which begins to count at its time.
    pub fn empty(timestamp_ms: i64, schema: i8, zero_threshold: f64) -> Self {
        Self {
            timestamp_ms,
            started_ms: timestamp_ms,
            count: 0.0,
            sum: 0.0,
            schema,
            zero_threshold,
            zero_count: 0.0,
            spans: &[],
            counts: &[],
            is_float: false,
            is_restart: false,
        }
    }

    /// A staleness marker: the series ends here.
    pub fn stale(timestamp_ms: i64) -> Self {
        Self {
            started_ms: 0,
            sum: f64::from_bits(Point::STALE),
            ..Self::empty(timestamp_ms, 0, 0.0)
        }
    }
}

/// A trace that stands for the values of a histogram bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// The trace, as it is written in hexadecimal; never all zero.
    pub trace_id: [u8; 16],
    /// The observed value, within the bucket.
    pub value: f64,
    /// End of the span, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

/// One series of a label set: a metric name, and `le` for a bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'a> {
    /// The full name, with `_bucket`, `_sum`, `_count` where it has one.
    pub name: &'a str,
    /// The bucket's upper bound as text, `+Inf` for the last.
    pub le: Option<&'a str>,
}

/// What a receiver is told of a metric besides its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// What its values mean.
    pub kind: MetricType,
    /// One sentence.
    pub help: &'a str,
    /// The unit of its values, such as `seconds`; empty for a plain number.
    pub unit: &'a str,
}

/// What the values of a metric mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricType {
    /// A sum that only grows.
    Counter,
    /// A value that is set.
    Gauge,
    /// The distribution of what was observed, in whatever series.
    Histogram,
    /// Quantiles of what was observed.
    Summary,
    /// The distribution of what is there now.
    GaugeHistogram,
    /// Always 1; the labels say it.
    Info,
    /// Which of several states something is in.
    StateSet,
    /// No one has said.
    Unknown,
}

/// Takes the samples of a collection: the remote-write encoder, or the writer
/// of a scrape's text.
pub trait SampleSink {
    /// Starts a label set; the series that follow have it.
    fn label_set(&mut self, labels: LabelSet<'_>);

    /// Tells since when the series of the label set have counted, in
    /// milliseconds since the Unix epoch; called right after `label_set`.
    fn started(&mut self, _timestamp_ms: i64) {}

    /// Tells of the metric whose series follow, once for each label set.
    fn metric(&mut self, _metadata: Metadata<'_>) {}

    /// Takes the points of one series, oldest first (a new series comes with a
    /// zero before its first value), and at most one exemplar.
    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>);

    /// Takes the samples of one native histogram, oldest first (a new one comes
    /// with an empty one before its first value), and at most one exemplar.
    fn histogram(
        &mut self,
        name: &str,
        samples: &[HistogramSample<'_>],
        exemplar: Option<Exemplar>,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staleness_marker_is_told_from_an_ordinary_nan() {
        assert!(Point::stale(1).is_stale());
        let nan = Point {
            timestamp_ms: 1,
            value: f64::NAN,
        };
        assert!(!nan.is_stale());
    }
}
