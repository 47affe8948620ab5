//! Requests in 2.0 that turn out to be needed in 1.0.
//!
//! A cold path: it runs for what was encoded before a receiver was found to
//! speak 1.0 only.

use bytes::Bytes;
use prost::{DecodeError, Message as _};
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
    Message(#[source] DecodeError),
}

/// Turns a request in 2.0 into the same in 1.0, both compressed. What 1.0 has no
/// place for is left out: metadata and start timestamps.
pub(crate) fn to_v1(body: &[u8]) -> Result<Bytes, TranscodeError> {
    let raw = decompress(body)?;
    let request = v2::Request::decode(raw.as_slice()).map_err(TranscodeError::Message)?;
    let symbols = request.symbols;
    let timeseries = request
        .timeseries
        .into_iter()
        .map(|series| series_to_v1(&symbols, series));
    let request = v1::WriteRequest {
        timeseries: timeseries
            .collect::<Result<_, _>>()
            .map_err(TranscodeError::Message)?,
        metadata: Vec::new(),
    };
    let body = snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .map_err(TranscodeError::Snappy)?;
    Ok(body.into())
}

/// Undoes the compression of a request.
pub(crate) fn decompress(body: &[u8]) -> Result<Vec<u8>, TranscodeError> {
    snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(TranscodeError::Snappy)
}

fn series_to_v1(symbols: &[String], series: v2::TimeSeries) -> Result<v1::TimeSeries, DecodeError> {
    let samples = series.samples.into_iter().map(|sample| v1::Sample {
        value: sample.value,
        timestamp: sample.timestamp,
    });
    let exemplars = series.exemplars.into_iter().map(|exemplar| v1::Exemplar {
        labels: labels_to_v1(symbols, &exemplar.labels_refs),
        value: exemplar.value,
        timestamp: exemplar.timestamp,
    });
    // The same message but for the start timestamp, which 1.0 does not know.
    let histograms = series
        .histograms
        .into_iter()
        .map(|histogram| v1::Histogram::decode(histogram.encode_to_vec().as_slice()));
    Ok(v1::TimeSeries {
        labels: labels_to_v1(symbols, &series.labels_refs),
        samples: samples.collect(),
        exemplars: exemplars.collect(),
        histograms: histograms.collect::<Result<_, _>>()?,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_histograms_keep_all_but_their_start() {
        let histogram = v2::Histogram {
            count: Some(v2::histogram::Count::CountInt(3)),
            sum: 0.5,
            schema: 2,
            zero_threshold: 1e-9,
            zero_count: Some(v2::histogram::ZeroCount::ZeroCountInt(1)),
            positive_spans: vec![v2::BucketSpan {
                offset: -4,
                length: 2,
            }],
            positive_deltas: vec![2, -1],
            reset_hint: v2::histogram::ResetHint::No.into(),
            timestamp: 9,
            start_timestamp: 7,
            ..v2::Histogram::default()
        };
        let request = v2::Request {
            symbols: ["", "__name__", "latency"].map(String::from).into(),
            timeseries: vec![v2::TimeSeries {
                labels_refs: vec![1, 2],
                histograms: vec![histogram],
                ..v2::TimeSeries::default()
            }],
        };
        let body = snap::raw::Encoder::new()
            .compress_vec(&request.encode_to_vec())
            .unwrap();
        let raw = snap::raw::Decoder::new()
            .decompress_vec(&to_v1(&body).unwrap())
            .unwrap();
        let series = v1::WriteRequest::decode(raw.as_slice()).unwrap().timeseries;
        assert_eq!(series[0].labels[0].value, "latency");
        let want = v1::Histogram {
            count: Some(v1::histogram::Count::CountInt(3)),
            sum: 0.5,
            schema: 2,
            zero_threshold: 1e-9,
            zero_count: Some(v1::histogram::ZeroCount::ZeroCountInt(1)),
            positive_spans: vec![v1::BucketSpan {
                offset: -4,
                length: 2,
            }],
            positive_deltas: vec![2, -1],
            reset_hint: v1::histogram::ResetHint::No.into(),
            timestamp: 9,
            ..v1::Histogram::default()
        };
        assert_eq!(series[0].histograms, [want]);
    }
}
