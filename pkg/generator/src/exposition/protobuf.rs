//! Prometheus' protobuf format: the one in which a scrape has native histograms.

use bytes::Bytes;
use model::{BucketSpan, Exemplar, HistogramSample, LabelSet, LabelSetBuf, Point};
use model::{SampleSink, Series};
use prost::Message;
use proto::exposition as pb;
use registry::{Family, MetricKind};

use super::{Exposition, ScrapeLabels};

const MILLIS_PER_SECOND: i64 = 1_000;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// Writes metrics as delimited messages `MetricFamily`. A metric that is too
/// long for one comes in several of the same name.
#[derive(Debug)]
pub(crate) struct Protobuf {
    scrape_labels: ScrapeLabels,
    merged: LabelSetBuf,
    started_ms: i64,
    /// Whether the family's native histograms are written, and not the classic
    /// ones of the same observations: both would share a sum and a count, but
    /// only the native ones may begin anew.
    is_native: bool,
    family: pb::MetricFamily,
    bytes: Vec<u8>,
}

impl Protobuf {
    pub(crate) fn new(scrape_labels: ScrapeLabels) -> Self {
        Self {
            scrape_labels,
            merged: LabelSetBuf::new(),
            started_ms: 0,
            is_native: false,
            family: pb::MetricFamily::default(),
            bytes: Vec::new(),
        }
    }

    /// Writes the metrics that have come, and keeps the family open for more.
    fn flush(&mut self) {
        if !self.family.metric.is_empty() {
            // Writing to a Vec cannot fail.
            let _ = self.family.encode_length_delimited(&mut self.bytes);
            self.family.metric.clear();
        }
    }

    /// A family's name, as the scraper takes it.
    fn name(&self, family: &Family) -> String {
        let is_counter = matches!(family.kind, MetricKind::Counter);
        let base = family.name.strip_suffix("_total");
        let base = base.filter(|_| is_counter).unwrap_or(&family.name);
        let suffix = family.name.strip_prefix(base).unwrap_or_default();
        format!("{}{suffix}", self.scrape_labels.escaping.metric(base))
    }

    fn exemplar(&self, exemplar: Exemplar) -> pb::Exemplar {
        pb::Exemplar {
            label: vec![pb::LabelPair {
                name: self.scrape_labels.trace_id_label.clone(),
                value: format!("{:032x}", u128::from_be_bytes(exemplar.trace_id)),
            }],
            value: exemplar.value,
            timestamp: Some(timestamp(exemplar.timestamp_ms)),
        }
    }

    fn current_histogram(&mut self) -> Option<&mut pb::Histogram> {
        let created = timestamp(self.started_ms);
        let metric = self.family.metric.last_mut()?;
        Some(metric.histogram.get_or_insert_with(|| pb::Histogram {
            created_timestamp: Some(created),
            ..pb::Histogram::default()
        }))
    }

    /// Adds a part of a classic histogram.
    fn part(&mut self, series: Series<'_>, value: f64, exemplar: Option<Exemplar>) {
        let exemplar = exemplar.map(|exemplar| self.exemplar(exemplar));
        let is_sum = series.name.ends_with("_sum");
        let (whole, fractional) = split(value, value.fract() != 0.0);
        let Some(histogram) = self.current_histogram() else {
            return;
        };
        match series.le {
            Some(le) => histogram.bucket.push(pb::Bucket {
                cumulative_count: whole,
                cumulative_count_float: fractional,
                upper_bound: le.parse().unwrap_or(f64::INFINITY),
                exemplar,
            }),
            None if is_sum => histogram.sample_sum = value,
            None => (histogram.sample_count, histogram.sample_count_float) = (whole, fractional),
        }
    }
}

impl Exposition for Protobuf {
    fn family(&mut self, family: &Family) {
        self.flush();
        self.is_native = family.kind.is_native();
        let kind = match family.kind {
            MetricKind::Counter => pb::MetricType::Counter,
            MetricKind::Gauge => pb::MetricType::Gauge,
            MetricKind::ClassicHistogram { .. }
            | MetricKind::NativeHistogram { .. }
            | MetricKind::ClassicAndNative { .. } => pb::MetricType::Histogram,
        };
        self.family = pb::MetricFamily {
            name: self.name(family),
            help: family.help.to_owned(),
            r#type: kind.into(),
            metric: Vec::new(),
        };
    }

    fn end(&mut self) {
        self.flush();
    }

    fn len(&mut self) -> usize {
        // After each few slots: a message of these alone is not much longer.
        self.flush();
        self.bytes.len()
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes).into()
    }
}

impl SampleSink for Protobuf {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        let labels = self.scrape_labels.merge(labels, &mut self.merged);
        let pairs = labels.iter().map(|(name, value)| pb::LabelPair {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        self.family.metric.push(pb::Metric {
            label: pairs.collect(),
            ..pb::Metric::default()
        });
    }

    fn started(&mut self, timestamp_ms: i64) {
        self.started_ms = timestamp_ms;
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        let Some(value) = points.last().map(|point| point.value) else {
            return;
        };
        let created_timestamp = Some(timestamp(self.started_ms));
        let kind = self.family.r#type();
        let Some(metric) = self.family.metric.last_mut() else {
            return;
        };
        if kind == pb::MetricType::Counter {
            metric.counter = Some(pb::Counter {
                value,
                created_timestamp,
            });
        } else if kind == pb::MetricType::Gauge {
            metric.gauge = Some(pb::Gauge { value });
        } else if !self.is_native {
            self.part(series, value, exemplar);
        }
    }

    fn histogram(&mut self, _: &str, samples: &[HistogramSample<'_>], exemplar: Option<Exemplar>) {
        let Some(sample) = samples.last() else {
            return;
        };
        let exemplars = exemplar.map(|exemplar| self.exemplar(exemplar));
        let (sample_count, sample_count_float) = split(sample.count, sample.is_float);
        let (zero_count, zero_count_float) = split(sample.zero_count, sample.is_float);
        let (mut positive_delta, mut positive_count) = (Vec::new(), Vec::new());
        if sample.is_float {
            positive_count = sample.counts.to_vec();
        } else {
            positive_delta = sample.deltas().collect();
        }
        let span = |&BucketSpan { offset, length }| pb::BucketSpan { offset, length };
        let Some(metric) = self.family.metric.last_mut() else {
            return;
        };
        metric.histogram = Some(pb::Histogram {
            sample_count,
            sample_count_float,
            sample_sum: sample.sum,
            bucket: Vec::new(),
            created_timestamp: Some(timestamp(sample.started_ms)),
            schema: sample.schema.into(),
            zero_threshold: sample.zero_threshold,
            zero_count,
            zero_count_float,
            positive_span: sample.spans.iter().map(span).collect(),
            positive_delta,
            positive_count,
            exemplars: exemplars.into_iter().collect(),
        });
    }
}

/// A count as a whole number, or else as a float64; the other is 0.
fn split(count: f64, is_float: bool) -> (u64, f64) {
    if is_float {
        (0, count)
    } else {
        (count as u64, 0.0)
    }
}

fn timestamp(millis: i64) -> pb::Timestamp {
    pb::Timestamp {
        seconds: millis.div_euclid(MILLIS_PER_SECOND),
        nanos: (millis.rem_euclid(MILLIS_PER_SECOND) * NANOS_PER_MILLI) as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Escaping;
    use super::super::tests::{dotted, native_buckets, written};
    use super::*;

    /// The families of a scrape, by their order: calls, latency, info.
    fn families(latency: MetricKind) -> Vec<pb::MetricFamily> {
        let mut bytes = written(latency, &[("zone", "z")], Protobuf::new).take();
        let mut families = Vec::new();
        while !bytes.is_empty() {
            families.push(pb::MetricFamily::decode_length_delimited(&mut bytes).unwrap());
        }
        families
    }

    fn exemplar() -> pb::Exemplar {
        pb::Exemplar {
            label: vec![pb::LabelPair {
                name: "traceID".to_owned(),
                value: "ab".repeat(16),
            }],
            value: 0.25,
            timestamp: Some(timestamp(1_700_000_000_123)),
        }
    }

    #[test]
    fn counters_and_gauges_have_their_labels_and_values() {
        let buckets = native_buckets();
        let families = families(MetricKind::NativeHistogram { buckets });
        let [calls, _, info] = &families[..] else {
            panic!("{families:?}");
        };
        assert_eq!(
            (calls.name.as_str(), calls.help.as_str()),
            ("calls_total", "Some help")
        );
        assert_eq!(calls.r#type(), pb::MetricType::Counter);
        let counter = calls.metric[0].counter.unwrap();
        let created = timestamp(1_600_000_000_000);
        assert_eq!(
            (counter.value, counter.created_timestamp),
            (1.0, Some(created))
        );
        let labels = &calls.metric[0].label;
        let labels: Vec<_> = labels.iter().map(|l| (&*l.name, &*l.value)).collect();
        assert_eq!(labels, [("name", "a\\b\"c\nd} 1\nfake 9"), ("zone", "z")]);
        assert_eq!(info.r#type(), pb::MetricType::Gauge);
        assert_eq!(info.metric[0].gauge, Some(pb::Gauge { value: 1.0 }));
    }

    #[test]
    fn native_histogram_has_its_buckets_and_no_classic_ones() {
        let (bounds, buckets) = (vec![0.5], native_buckets());
        let histogram = pb::Histogram {
            sample_count: 1,
            sample_sum: 0.25,
            created_timestamp: Some(timestamp(1_600_000_000_000)),
            schema: 3,
            zero_threshold: 2.938_735_877_055_719e-39,
            positive_span: vec![pb::BucketSpan {
                offset: -16,
                length: 1,
            }],
            positive_delta: vec![1],
            ..pb::Histogram::default()
        };
        let native = &families(MetricKind::NativeHistogram { buckets })[1];
        assert_eq!(native.r#type(), pb::MetricType::Histogram);
        let with_exemplar = pb::Histogram {
            exemplars: vec![exemplar()],
            ..histogram.clone()
        };
        assert_eq!(native.metric[0].histogram, Some(with_exemplar));
        let both = &families(MetricKind::ClassicAndNative { bounds, buckets })[1];
        assert_eq!(both.metric[0].histogram, Some(histogram));
    }

    #[test]
    fn classic_histogram_has_its_buckets() {
        let bounds = vec![0.5];
        let classic = &families(MetricKind::ClassicHistogram { bounds })[1];
        let bucket = |upper_bound, exemplar| pb::Bucket {
            cumulative_count: 1,
            cumulative_count_float: 0.0,
            upper_bound,
            exemplar,
        };
        let histogram = pb::Histogram {
            sample_count: 1,
            sample_sum: 0.25,
            bucket: vec![bucket(0.5, Some(exemplar())), bucket(f64::INFINITY, None)],
            created_timestamp: Some(timestamp(1_600_000_000_000)),
            ..pb::Histogram::default()
        };
        assert_eq!(classic.metric[0].histogram, Some(histogram));
    }

    #[test]
    fn names_are_escaped_as_asked_for() {
        let names = |escaping| {
            let mut bytes = dotted(escaping, Protobuf::new).take();
            let mut names = Vec::new();
            while !bytes.is_empty() {
                let family = pb::MetricFamily::decode_length_delimited(&mut bytes).unwrap();
                names.push(family.name);
                names.extend(family.metric[0].label.iter().map(|l| l.name.clone()));
            }
            names
        };
        assert_eq!(
            names(Escaping::Dots),
            [
                "host_dot_calls_total",
                "k8s_dot_node",
                "a_dot_latency",
                "k8s_dot_node",
                "host_dot_total",
                "k8s_dot_node",
            ]
        );
        assert_eq!(
            names(Escaping::AllowUtf8)[..2],
            ["host.calls_total", "k8s.node"]
        );
    }

    #[test]
    fn fractional_counts_are_floats() {
        assert_eq!(split(2.0, false), (2, 0.0));
        assert_eq!(split(2.5, true), (0, 2.5));
    }
}
