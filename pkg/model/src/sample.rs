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
pub struct Metadata {
    /// What its values mean.
    pub kind: MetricType,
    /// One sentence.
    pub help: &'static str,
    /// The unit of its values, such as `seconds`; empty for a plain number.
    pub unit: &'static str,
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
    fn metric(&mut self, _metadata: Metadata) {}

    /// Takes the points of one series, oldest first (a new series comes with a
    /// zero before its first value), and at most one exemplar.
    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>);
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
