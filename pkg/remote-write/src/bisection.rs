//! A refused request in two halves.
//!
//! A receiver may refuse a whole request because of one series, or because it is too
//! large. The halves are other requests, which it has not refused; the series that
//! it refuses alone are dropped (differences, D35). A cold path.

use bytes::Bytes;
use prost::Message as _;
use proto::remote_write as v1;
use proto::remote_write::v2;

use crate::encode::Batch;
use crate::encode::transcode::{TranscodeError, decompress};
use crate::protocol::Protocol;

/// Cuts a request in two, by its series; `None` if it has but one.
///
/// # Errors
///
/// A request that cannot be read; none of ours is known to be.
pub(crate) fn halves(batch: &Batch) -> Result<Option<[Batch; 2]>, TranscodeError> {
    let raw = decompress(&batch.body)?;
    match batch.protocol {
        Protocol::V1 => {
            let mut request =
                v1::WriteRequest::decode(raw.as_slice()).map_err(TranscodeError::Message)?;
            let key = |series: &v1::TimeSeries| -> Vec<(String, String)> {
                let labels = series.labels.iter();
                labels
                    .map(|label| (label.name.clone(), label.value.clone()))
                    .collect()
            };
            let Some(middle) = cut(&mut request.timeseries, key) else {
                return Ok(None);
            };
            let second = v1::WriteRequest {
                timeseries: request.timeseries.split_off(middle),
                metadata: Vec::new(),
            };
            Ok(Some([half_v1(&request)?, half_v1(&second)?]))
        }
        Protocol::V2 => {
            let mut request =
                v2::Request::decode(raw.as_slice()).map_err(TranscodeError::Message)?;
            // Every text stands once, so references are as good as labels.
            let key = |series: &v2::TimeSeries| series.labels_refs.clone();
            let Some(middle) = cut(&mut request.timeseries, key) else {
                return Ok(None);
            };
            let second = v2::Request {
                timeseries: request.timeseries.split_off(middle),
                symbols: request.symbols.clone(),
            };
            Ok(Some([half_v2(request)?, half_v2(second)?]))
        }
    }
}

/// Brings what belongs to one series together, in its order, and gives a place near
/// the middle that divides no series; `None` if there is but one. A series that were
/// divided could arrive in the wrong order.
fn cut<T, K: Ord>(series: &mut [T], key: impl Fn(&T) -> K) -> Option<usize> {
    series.sort_by_cached_key(&key);
    let keys: Vec<K> = series.iter().map(key).collect();
    let middle = keys.len() / 2;
    let begins = |place: &usize| {
        place
            .checked_sub(1)
            .is_some_and(|b| keys.get(b) != keys.get(*place))
    };
    let after = (middle..keys.len()).find(begins);
    after.or_else(|| (1..middle).rev().find(begins))
}

fn half_v1(request: &v1::WriteRequest) -> Result<Batch, TranscodeError> {
    let series = request.timeseries.iter();
    let times = series.clone().flat_map(|series| {
        let samples = series.samples.iter().map(|sample| sample.timestamp);
        samples.chain(series.histograms.iter().map(|sample| sample.timestamp))
    });
    let exemplars = series.map(|series| series.exemplars.len()).sum();
    half(Protocol::V1, request, times, exemplars)
}

fn half_v2(mut request: v2::Request) -> Result<Batch, TranscodeError> {
    keep_used_symbols(&mut request);
    let series = request.timeseries.iter();
    let times = series.clone().flat_map(|series| {
        let samples = series.samples.iter().map(|sample| sample.timestamp);
        samples.chain(series.histograms.iter().map(|sample| sample.timestamp))
    });
    let exemplars = series.map(|series| series.exemplars.len()).sum();
    half(Protocol::V2, &request, times, exemplars)
}

/// A half as it will be sent, with samples of these times.
fn half(
    protocol: Protocol,
    request: &impl prost::Message,
    times: impl Iterator<Item = i64> + Clone,
    exemplars: usize,
) -> Result<Batch, TranscodeError> {
    Ok(Batch {
        body: compress(&request.encode_to_vec())?,
        protocol,
        samples: times.clone().count() as u64,
        exemplars: exemplars as u64,
        highest_timestamp_ms: times.max().unwrap_or(i64::MIN),
    })
}

/// Leaves the texts out that only the other half needs: halving must make requests
/// smaller.
fn keep_used_symbols(request: &mut v2::Request) {
    let symbols = std::mem::take(&mut request.symbols);
    let mut numbers = vec![None; symbols.len()];
    let mut kept = vec![String::new()];
    if let Some(first) = numbers.first_mut() {
        *first = Some(0);
    }
    let mut renumber = |reference: &mut u32| {
        let Some(number) = numbers.get_mut(*reference as usize) else {
            return;
        };
        *reference = *number.get_or_insert_with(|| {
            kept.extend(symbols.get(*reference as usize).cloned());
            kept.len() as u32 - 1
        });
    };
    for series in &mut request.timeseries {
        series.labels_refs.iter_mut().for_each(&mut renumber);
        for exemplar in &mut series.exemplars {
            exemplar.labels_refs.iter_mut().for_each(&mut renumber);
        }
        if let Some(metadata) = &mut series.metadata {
            renumber(&mut metadata.help_ref);
            renumber(&mut metadata.unit_ref);
        }
    }
    request.symbols = kept;
}

fn compress(raw: &[u8]) -> Result<Bytes, TranscodeError> {
    let body = snap::raw::Encoder::new()
        .compress_vec(raw)
        .map_err(TranscodeError::Snappy)?;
    Ok(body.into())
}
