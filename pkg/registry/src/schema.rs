//! The metrics that share a label set, and how their values lie in a row.

use std::ops::Range;

use model::{Metadata, MetricType};

use crate::native_buckets::NativeBuckets;
use crate::native_histogram::NATIVE_CELLS;
use crate::update::MAX_METRICS;

/// What a metric's values mean.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricKind {
    /// A sum that only grows.
    Counter,
    /// A value that is set.
    Gauge,
    /// Counts per bucket, and the sum of what was observed.
    ClassicHistogram {
        /// Upper bounds, increasing; `+Inf` is implied.
        bounds: Vec<f64>,
    },
    /// Counts per exponential bucket, and the sum of what was observed, in one
    /// series.
    NativeHistogram {
        /// Which buckets there are.
        buckets: NativeBuckets,
    },
    /// A classic and a native histogram of the same observations. Exemplars are
    /// with the classic one.
    ClassicAndNative {
        /// Upper bounds, increasing; `+Inf` is implied.
        bounds: Vec<f64>,
        /// Which buckets the native one has.
        buckets: NativeBuckets,
    },
}

impl MetricKind {
    /// Whether it is a native histogram, maybe with a classic one.
    pub fn is_native(&self) -> bool {
        self.native_buckets().is_some()
    }

    /// The bounds of a classic histogram, if it is one.
    pub(crate) fn bounds(&self) -> Option<&[f64]> {
        match self {
            Self::Counter | Self::Gauge | Self::NativeHistogram { .. } => None,
            Self::ClassicHistogram { bounds } | Self::ClassicAndNative { bounds, .. } => {
                Some(bounds)
            }
        }
    }

    /// The buckets of a native histogram, if it is one.
    fn native_buckets(&self) -> Option<NativeBuckets> {
        match self {
            Self::Counter | Self::Gauge | Self::ClassicHistogram { .. } => None,
            Self::NativeHistogram { buckets } | Self::ClassicAndNative { buckets, .. } => {
                Some(*buckets)
            }
        }
    }
}

/// One metric of a [`Schema`].
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The name, without the suffixes of a histogram's series.
    pub name: String,
    /// One sentence for a scrape's `HELP`.
    pub help: &'static str,
    /// The unit of its values, such as `seconds`; empty for a plain number.
    pub unit: &'static str,
    /// What its values mean.
    pub kind: MetricKind,
    /// Whether its series appear only with the first value that is not 0, and
    /// not together with the label set.
    pub sparse: bool,
}

impl Metric {
    /// What receivers are told of it.
    pub(crate) fn metadata(&self) -> Metadata<'_> {
        Metadata {
            kind: match self.kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::ClassicHistogram { .. }
                | MetricKind::NativeHistogram { .. }
                | MetricKind::ClassicAndNative { .. } => MetricType::Histogram,
            },
            help: self.help,
            unit: self.unit,
        }
    }
}

/// The metrics that share a label set.
///
/// A slot of the registry holds one row of numbers: a counter or gauge takes
/// one cell; a classic histogram one for each bucket, `+Inf` included, and one
/// for the sum; a native one three: its buckets lie elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    metrics: Vec<Column>,
    width: usize,
    series: u64,
    limits_labels: bool,
}

/// A metric with its place in the row and the names of its series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) metric: Metric,
    pub(crate) cells: Range<usize>,
    /// Series of one label set.
    pub(crate) series: u64,
    pub(crate) bucket_name: String,
    pub(crate) sum_name: String,
    pub(crate) count_name: String,
    pub(crate) le: Vec<String>,
    pub(crate) native: Option<NativeColumn>,
}

/// The native histogram of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NativeColumn {
    /// Its part of the column's cells, after those of the classic one: the sum,
    /// the zero bucket, and how many observations had a fractional weight.
    pub(crate) cells: Range<usize>,
    /// Its place among the native histograms of the schema.
    pub(crate) place: u8,
    pub(crate) buckets: NativeBuckets,
}

impl Schema {
    /// Lays metrics out in a row, at most [`MAX_METRICS`] of them; more are
    /// left out.
    pub fn new(metrics: impl IntoIterator<Item = Metric>) -> Self {
        let mut schema = Self {
            metrics: Vec::new(),
            width: 0,
            series: 0,
            limits_labels: false,
        };
        for metric in metrics.into_iter().take(MAX_METRICS) {
            let mut le = Vec::new();
            let (mut cells, mut series) = match metric.kind {
                MetricKind::Counter | MetricKind::Gauge => (1, 1),
                _ => (0, 0),
            };
            if let Some(bounds) = metric.kind.bounds() {
                le.extend(bounds.iter().map(f64::to_string));
                le.push("+Inf".to_owned());
                (cells, series) = (bounds.len() + 2, bounds.len() as u64 + 3);
            }
            let first = schema.width + cells;
            let native = metric.kind.native_buckets().map(|buckets| NativeColumn {
                cells: first..first + NATIVE_CELLS,
                place: schema.natives().count() as u8,
                buckets,
            });
            if native.is_some() {
                cells += NATIVE_CELLS;
                series += 1;
            }
            schema.metrics.push(Column {
                cells: schema.width..schema.width + cells,
                series,
                native,
                bucket_name: format!("{}_bucket", metric.name),
                sum_name: format!("{}_sum", metric.name),
                count_name: format!("{}_count", metric.name),
                le,
                metric,
            });
            schema.width += cells;
            schema.series += series;
        }
        schema
    }

    /// The same, for label sets whose labels may each have only so many values:
    /// see [`Limits::max_cardinality_per_label`](crate::Limits).
    #[must_use]
    pub fn limiting_labels(self) -> Self {
        Self {
            limits_labels: true,
            ..self
        }
    }

    pub(crate) fn limits_labels(&self) -> bool {
        self.limits_labels
    }

    /// Cells in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Series of one label set, by which limits count: 1 for a counter, gauge or
    /// native histogram, and for a classic histogram its buckets with `+Inf`,
    /// `_sum` and `_count`.
    pub fn series(&self) -> u64 {
        self.series
    }

    /// The metrics, in the order of their values in an update.
    pub fn metrics(&self) -> impl Iterator<Item = &Metric> {
        self.metrics.iter().map(|column| &column.metric)
    }

    /// Whether a metric of the other has the name of one of these.
    pub(crate) fn shares_a_name(&self, other: &Self) -> bool {
        self.metrics()
            .any(|metric| other.metrics().any(|other| other.name == metric.name))
    }

    /// Whether the series of both are the same, whatever is said of them.
    pub(crate) fn has_series_of(&self, other: &Self) -> bool {
        let series = |schema: &Self| -> Vec<_> {
            let metrics = schema.metrics();
            let series =
                metrics.map(|metric| (metric.name.clone(), metric.kind.clone(), metric.sparse));
            series.collect()
        };
        self.limits_labels == other.limits_labels && series(self) == series(other)
    }

    /// The native histograms, in the order of their places.
    pub(crate) fn natives(&self) -> impl Iterator<Item = &NativeColumn> {
        self.metrics
            .iter()
            .filter_map(|column| column.native.as_ref())
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.metrics
    }

    /// For each column a bit, to say of which ones something holds.
    pub(crate) fn bits() -> impl Iterator<Item = u8> {
        (0..MAX_METRICS).map(|column| 1 << column)
    }
}

impl Column {
    /// The cells without those of a native histogram.
    pub(crate) fn plain_cells(&self) -> Range<usize> {
        let end = self.native.as_ref().map(|native| native.cells.start);
        self.cells.start..end.unwrap_or(self.cells.end)
    }

    /// Whether its series have not appeared yet in a row.
    pub(crate) fn is_absent(&self, row: &[f64]) -> bool {
        let cells = row.get(self.cells.clone()).unwrap_or_default();
        self.metric.sparse && cells.iter().all(|cell| *cell == 0.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Calls, latency with two bounds, size: the shape of span metrics.
    pub(crate) fn spans() -> Schema {
        let metric = |name: &str, kind| Metric {
            name: name.to_owned(),
            help: "help",
            unit: "",
            kind,
            sparse: false,
        };
        Schema::new([
            metric("calls_total", MetricKind::Counter),
            metric(
                "latency",
                MetricKind::ClassicHistogram {
                    bounds: vec![0.5, 1.0],
                },
            ),
            metric("size_total", MetricKind::Counter),
        ])
    }

    #[test]
    fn row_holds_buckets_and_sum() {
        let schema = spans();
        assert_eq!((schema.width(), schema.series()), (6, 7));
        let latency = &schema.columns()[1];
        assert_eq!(latency.cells, 1..5);
        assert_eq!(latency.le, ["0.5", "1", "+Inf"]);
    }

    #[test]
    fn native_histogram_is_one_series_after_the_cells_of_the_classic_one() {
        let buckets = NativeBuckets::new(1.1, 100, std::time::Duration::ZERO);
        let metric = |kind| Metric {
            name: "latency".to_owned(),
            help: "help",
            unit: "",
            kind,
            sparse: false,
        };
        let bounds = vec![0.5, 1.0];
        let schema = Schema::new([
            metric(MetricKind::NativeHistogram { buckets }),
            metric(MetricKind::ClassicAndNative { bounds, buckets }),
        ]);
        assert_eq!(
            (schema.width(), schema.series(), schema.natives().count()),
            (10, 7, 2)
        );
        let [native, both] = schema.columns() else {
            panic!("two columns");
        };
        assert_eq!((native.plain_cells(), native.series), (0..0, 1));
        assert_eq!((both.plain_cells(), both.series), (3..7, 6));
        let places: Vec<_> = [native, both]
            .map(|column| column.native.clone().unwrap().cells)
            .into();
        assert_eq!(places, [0..3, 7..10]);
    }
}
