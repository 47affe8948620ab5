//! Native histograms as `prometheus.Histogram` and
//! `io.prometheus.write.v2.Histogram`, which is the same but for a start, the
//! fields that Prometheus' own sender writes: no buckets for negative values, no
//! custom bounds.

use model::{BucketSpan, HistogramSample};

use super::v1::{put_varint, varint_length};
use super::v2::start;

/// Field 4 of `TimeSeries` in 1.0, length-delimited.
const HISTOGRAM: u8 = 0x22;
/// Field 3 of `TimeSeries` in 2.0, length-delimited.
const HISTOGRAM_V2: u8 = 0x1a;
/// Fields of `Histogram`: numbers 1 to 15, so that a tag is one byte.
const COUNT_INT: u8 = 0x08;
const COUNT_FLOAT: u8 = 0x11;
const SUM: u8 = 0x19;
const SCHEMA: u8 = 0x20;
const ZERO_THRESHOLD: u8 = 0x29;
const ZERO_COUNT_INT: u8 = 0x30;
const ZERO_COUNT_FLOAT: u8 = 0x39;
const POSITIVE_SPAN: u8 = 0x5a;
const POSITIVE_DELTAS: u8 = 0x62;
const POSITIVE_COUNTS: u8 = 0x6a;
const RESET_HINT: u8 = 0x70;
const TIMESTAMP: u8 = 0x78;
/// Field 17 of `Histogram` in 2.0, a varint: a tag of two bytes.
const START_TIMESTAMP: [u8; 2] = [0x88, 0x01];
/// Fields of `BucketSpan`, varints.
const OFFSET: u8 = 0x08;
const LENGTH: u8 = 0x10;

/// `ResetHint.YES`. Without a hint, receivers compare with the sample before.
const RESET: u64 = 1;

/// The samples of one native histogram, encoded for both versions.
#[derive(Clone, Debug, Default)]
pub(crate) struct EncodedHistograms {
    /// The messages, one after the other.
    bytes: Vec<u8>,
    messages: Vec<Message>,
}

/// One sample.
#[derive(Clone, Copy, Debug)]
struct Message {
    length: usize,
    timestamp_ms: i64,
    started_ms: i64,
}

impl EncodedHistograms {
    /// Encodes the samples of another histogram, oldest first.
    pub(crate) fn set(&mut self, samples: &[HistogramSample<'_>]) {
        self.bytes.clear();
        self.messages.clear();
        for sample in samples {
            let before = self.bytes.len();
            put_sample(&mut self.bytes, sample);
            self.messages.push(Message {
                length: self.bytes.len() - before,
                timestamp_ms: sample.timestamp_ms,
                started_ms: sample.started_ms,
            });
        }
    }

    /// The bytes that they take as fields of a `TimeSeries` in 1.0.
    pub(crate) fn length(&self) -> usize {
        let lengths = self.messages.iter().map(|message| message.length as u64);
        let heads = lengths.map(|length| 1 + varint_length(length));
        self.bytes.len() + heads.sum::<usize>()
    }

    /// Appends them as fields of a `TimeSeries` in 1.0.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        for (message, bytes) in self.messages() {
            put_number(out, HISTOGRAM, message.length as u64);
            out.extend_from_slice(bytes);
        }
    }

    /// The same in 2.0. Those of a series that has counted since `started_ms`
    /// may have begun anew since.
    pub(crate) fn put_v2(&self, out: &mut Vec<u8>, started_ms: Option<i64>) {
        for (message, bytes) in self.messages() {
            let latest = started_ms.map(|started_ms| started_ms.max(message.started_ms));
            let started = start(latest, message.timestamp_ms);
            let length = started.map_or(0, |started| {
                START_TIMESTAMP.len() + varint_length(started as u64)
            });
            put_number(out, HISTOGRAM_V2, (message.length + length) as u64);
            out.extend_from_slice(bytes);
            if let Some(started) = started {
                out.extend_from_slice(&START_TIMESTAMP);
                put_varint(out, started as u64);
            }
        }
    }

    /// How many samples.
    pub(crate) fn count(&self) -> u64 {
        self.messages.len() as u64
    }

    /// The time of the last, in milliseconds since the Unix epoch.
    pub(crate) fn last_ms(&self) -> i64 {
        let last = self.messages.last();
        last.map_or(i64::MIN, |message| message.timestamp_ms)
    }

    fn messages(&self) -> impl Iterator<Item = (&Message, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.messages.iter().map(move |message| {
            let (bytes, after) = rest.split_at_checked(message.length).unwrap_or((rest, &[]));
            rest = after;
            (message, bytes)
        })
    }
}

fn put_sample(out: &mut Vec<u8>, sample: &HistogramSample<'_>) {
    if sample.is_float {
        put_double(out, COUNT_FLOAT, sample.count);
    } else {
        put_number(out, COUNT_INT, sample.count as u64);
    }
    put_double(out, SUM, sample.sum);
    put_number(out, SCHEMA, zigzag(sample.schema.into()));
    put_double(out, ZERO_THRESHOLD, sample.zero_threshold);
    if sample.is_float {
        put_double(out, ZERO_COUNT_FLOAT, sample.zero_count);
    } else {
        put_number(out, ZERO_COUNT_INT, sample.zero_count as u64);
    }
    for span in sample.spans {
        out.push(POSITIVE_SPAN);
        // At most 16 bytes, so its length is one byte.
        out.push(span_length(*span) as u8);
        put_number(out, OFFSET, zigzag(span.offset.into()));
        put_number(out, LENGTH, span.length.into());
    }
    if !sample.counts.is_empty() && sample.is_float {
        put_number(out, POSITIVE_COUNTS, size_of_val(sample.counts) as u64);
        for count in sample.counts {
            out.extend_from_slice(&count.to_le_bytes());
        }
    } else if !sample.counts.is_empty() {
        let lengths = sample.deltas().map(zigzag).map(varint_length);
        put_number(out, POSITIVE_DELTAS, lengths.sum::<usize>() as u64);
        for delta in sample.deltas() {
            put_varint(out, zigzag(delta));
        }
    }
    if sample.is_restart {
        put_number(out, RESET_HINT, RESET);
    }
    put_number(out, TIMESTAMP, sample.timestamp_ms as u64);
}

/// A signed number as protobuf's `sint32` and `sint64` have it.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn span_length(span: BucketSpan) -> usize {
    2 + varint_length(zigzag(span.offset.into())) + varint_length(span.length.into())
}

fn put_number(out: &mut Vec<u8>, tag: u8, number: u64) {
    out.push(tag);
    put_varint(out, number);
}

fn put_double(out: &mut Vec<u8>, tag: u8, number: f64) {
    out.push(tag);
    out.extend_from_slice(&number.to_le_bytes());
}

#[cfg(test)]
mod tests;
