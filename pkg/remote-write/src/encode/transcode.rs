//! Requests in 2.0 that turn out to be needed in 1.0.
//!
//! A cold path: it runs for what was encoded before a receiver was found to
//! speak 1.0 only.

use bytes::Bytes;
use prost::Message as _;
use proto::remote_write as v1;
use proto::remote_write::v2;

/// A request that cannot be turned into one of 1.0. None of ours is known to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TranscodeError {
    /// The compression is broken.
    #[error("request is not snappy")]
    Snappy(#[source] snap::Error),
    /// It is no message of 2.0.
    #[error("request is no message of remote write 2.0")]
    Message(#[source] prost::DecodeError),
}

/// Turns a request in 2.0 into the same in 1.0, both compressed. What 1.0 has no
/// place for is left out: metadata and start timestamps.
pub(crate) fn to_v1(body: &[u8]) -> Result<Bytes, TranscodeError> {
    let raw = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(TranscodeError::Snappy)?;
    let request = v2::Request::decode(raw.as_slice()).map_err(TranscodeError::Message)?;
    let symbols = request.symbols;
    let timeseries = request
        .timeseries
        .into_iter()
        .map(|series| series_to_v1(&symbols, series));
    let request = v1::WriteRequest {
        timeseries: timeseries.collect(),
        metadata: Vec::new(),
    };
    let body = snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .map_err(TranscodeError::Snappy)?;
    Ok(body.into())
}

fn series_to_v1(symbols: &[String], series: v2::TimeSeries) -> v1::TimeSeries {
    let samples = series.samples.into_iter().map(|sample| v1::Sample {
        value: sample.value,
        timestamp: sample.timestamp,
    });
    let exemplars = series.exemplars.into_iter().map(|exemplar| v1::Exemplar {
        labels: labels_to_v1(symbols, &exemplar.labels_refs),
        value: exemplar.value,
        timestamp: exemplar.timestamp,
    });
    v1::TimeSeries {
        labels: labels_to_v1(symbols, &series.labels_refs),
        samples: samples.collect(),
        exemplars: exemplars.collect(),
        histograms: series.histograms.into_iter().map(histogram_to_v1).collect(),
    }
}

fn labels_to_v1(symbols: &[String], references: &[u32]) -> Vec<v1::Label> {
    let text = |reference: &u32| {
        symbols
            .get(*reference as usize)
            .cloned()
            .unwrap_or_default()
    };
    let pairs = references.chunks_exact(2);
    let label = |pair: &[u32]| match pair {
        [name, value] => Some(v1::Label {
            name: text(name),
            value: text(value),
        }),
        _ => None,
    };
    pairs.filter_map(label).collect()
}

/// The messages are the same but for the start timestamp.
fn histogram_to_v1(histogram: v2::Histogram) -> v1::Histogram {
    use v1::histogram::{Count, ZeroCount};
    let spans = |spans: Vec<v2::BucketSpan>| {
        let spans = spans.into_iter().map(|span| v1::BucketSpan {
            offset: span.offset,
            length: span.length,
        });
        spans.collect()
    };
    v1::Histogram {
        count: histogram.count.map(|count| match count {
            v2::histogram::Count::CountInt(count) => Count::CountInt(count),
            v2::histogram::Count::CountFloat(count) => Count::CountFloat(count),
        }),
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: histogram.zero_count.map(|count| match count {
            v2::histogram::ZeroCount::ZeroCountInt(count) => ZeroCount::ZeroCountInt(count),
            v2::histogram::ZeroCount::ZeroCountFloat(count) => ZeroCount::ZeroCountFloat(count),
        }),
        negative_spans: spans(histogram.negative_spans),
        negative_deltas: histogram.negative_deltas,
        negative_counts: histogram.negative_counts,
        positive_spans: spans(histogram.positive_spans),
        positive_deltas: histogram.positive_deltas,
        positive_counts: histogram.positive_counts,
        reset_hint: histogram.reset_hint,
        timestamp: histogram.timestamp,
        custom_values: histogram.custom_values,
    }
}
