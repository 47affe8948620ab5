use model::Point;
use proptest::prelude::*;
use prost::Message;
use proto::remote_write as pb;
use proto::remote_write::v2 as pb2;

use super::*;

fn encode(samples: &[HistogramSample<'_>]) -> Vec<u8> {
    let mut encoded = EncodedHistograms::default();
    encoded.set(samples);
    let mut out = Vec::new();
    encoded.put(&mut out);
    assert_eq!(out.len(), encoded.length());
    out
}

fn encode_v2(samples: &[HistogramSample<'_>], started_ms: Option<i64>) -> Vec<u8> {
    let mut encoded = EncodedHistograms::default();
    encoded.set(samples);
    let mut out = Vec::new();
    encoded.put_v2(&mut out, started_ms);
    out
}

/// What a series of 1.0 is in 2.0.
fn second_version(series: &pb::TimeSeries, started_ms: i64) -> pb2::TimeSeries {
    let histograms = series.histograms.iter().map(|histogram| {
        let mut histogram = pb2::Histogram::decode(histogram.encode_to_vec().as_slice()).unwrap();
        histogram.start_timestamp = started_ms;
        histogram
    });
    pb2::TimeSeries {
        histograms: histograms.collect(),
        ..Default::default()
    }
}

fn span() -> impl Strategy<Value = BucketSpan> {
    let offset = prop_oneof![-70..70, any::<i32>()];
    (offset, 0_u32..300).prop_map(|(offset, length)| BucketSpan { offset, length })
}

fn pb_spans(spans: &[BucketSpan]) -> Vec<pb::BucketSpan> {
    let spans = spans.iter();
    let spans = spans.map(|&BucketSpan { offset, length }| pb::BucketSpan { offset, length });
    spans.collect()
}

proptest! {
    /// forall histograms: what we write, prost reads; and where no field is
    /// zero, the bytes are prost's own.
    #[test]
    fn encoding_reads_back_with_prost(
        timestamp_ms in prop_oneof![Just(-1), 1..i64::MAX, Just(1_700_000_000_123)],
        sum in prop_oneof![0.1..1e9, Just(f64::from_bits(Point::STALE))],
        schema in prop_oneof![-4_i8..0, 1_i8..=8],
        spans in prop::collection::vec(span(), 0..5),
        counts in prop::collection::vec(0_u64..1 << 53, 0..40),
        zero_count in 0_u64..1 << 53,
        is_float in any::<bool>(),
        is_restart in any::<bool>(),
    ) {
        use pb::histogram::{Count, ResetHint, ZeroCount};
        let parts: Vec<f64> = counts.iter().map(|count| *count as f64).collect();
        let count = counts.iter().sum::<u64>() % (1 << 53);
        let sample = HistogramSample {
            timestamp_ms,
            started_ms: 1,
            count: count as f64,
            sum,
            schema,
            zero_threshold: 1e-39,
            zero_count: zero_count as f64,
            spans: &spans,
            counts: &parts,
            is_float,
            is_restart,
        };
        let mut before = 0;
        let deltas = counts.iter().map(|count| {
            let count = *count as i64;
            count - std::mem::replace(&mut before, count)
        });
        let histogram = pb::Histogram {
            count: Some(if is_float {
                Count::CountFloat(count as f64)
            } else {
                Count::CountInt(count)
            }),
            sum,
            schema: schema.into(),
            zero_threshold: 1e-39,
            zero_count: Some(if is_float {
                ZeroCount::ZeroCountFloat(zero_count as f64)
            } else {
                ZeroCount::ZeroCountInt(zero_count)
            }),
            positive_spans: pb_spans(&spans),
            positive_deltas: if is_float { Vec::new() } else { deltas.collect() },
            positive_counts: if is_float { parts.clone() } else { Vec::new() },
            reset_hint: if is_restart { ResetHint::Yes } else { ResetHint::Unknown }.into(),
            timestamp: timestamp_ms,
            ..pb::Histogram::default()
        };
        let bytes = encode(&[sample]);
        let read = pb::TimeSeries::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(read.histograms[0].sum.to_bits(), sum.to_bits());
        let written = pb::TimeSeries { histograms: vec![histogram], ..Default::default() };
        let has_zero_fields = spans.iter().any(|span| span.offset == 0 || span.length == 0);
        // Since 1 by itself, 9 by its series, but never since later than now.
        for (started_ms, want) in [(None, 0), (Some(0), 1), (Some(9), 9)] {
            let bytes = encode_v2(&[sample], started_ms);
            let read = pb2::TimeSeries::decode(bytes.as_slice()).unwrap();
            let want = if want <= timestamp_ms { want } else { 0 };
            prop_assert_eq!(read.histograms[0].start_timestamp, want);
            let written = second_version(&written, want);
            if !has_zero_fields {
                prop_assert_eq!(bytes, written.encode_to_vec());
            }
        }
        if has_zero_fields {
            let (mut read, mut written) = (read, written);
            read.histograms[0].sum = 0.0;
            written.histograms[0].sum = 0.0;
            prop_assert_eq!(read, written);
        } else {
            prop_assert_eq!(bytes, written.encode_to_vec());
        }
    }
}

#[test]
fn empty_histogram_and_staleness_marker_read_back() {
    let samples = [
        HistogramSample::empty(5, 3, 1e-39),
        HistogramSample::stale(9),
    ];
    let read = pb::TimeSeries::decode(encode(&samples).as_slice()).unwrap();
    let [empty, stale] = &read.histograms[..] else {
        panic!("not two samples");
    };
    assert_eq!((empty.timestamp, empty.schema, empty.sum), (5, 3, 0.0));
    let none = pb::histogram::Count::CountInt(0);
    assert_eq!((empty.count, stale.count), (Some(none), Some(none)));
    assert_eq!((stale.timestamp, stale.sum.to_bits()), (9, Point::STALE));
    let read = encode_v2(&samples, Some(6));
    let read = pb2::TimeSeries::decode(read.as_slice()).unwrap();
    let starts = read
        .histograms
        .iter()
        .map(|histogram| histogram.start_timestamp);
    assert_eq!(starts.collect::<Vec<_>>(), [0, 6]);
}
