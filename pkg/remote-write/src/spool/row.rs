//! The values of one label set at one collection, in few bytes.
//!
//! A value is a varint whose two lowest bits say what it is: a whole number, the
//! difference to the whole number before it in the row, a double, or something
//! rarer. Buckets are cumulative, so most are a difference of one byte.

use model::{BucketSpan, Exemplar, HistogramSample, Point};

use super::wire::{Fields, put_signed};
use crate::encode::v1::put_varint;

/// A whole number.
const WHOLE: u64 = 0;
/// The difference to the whole number before.
const DIFFERENCE: u64 = 1;
/// A double follows.
const DOUBLE: u64 = 2;
/// One of the next, by the bits above.
const RARE: u64 = 3;
/// The series ends.
const STALE: u64 = RARE;
/// A zero comes before the value.
const ZERO_BEFORE: u64 = 1 << 2 | RARE;
/// An exemplar comes before the samples.
const EXEMPLAR: u64 = 2 << 2 | RARE;
/// Points with their times.
const POINTS: u64 = 3 << 2 | RARE;
/// Samples of a native histogram.
const HISTOGRAMS: u64 = 4 << 2 | RARE;

/// Whole numbers below are written as such: they are exact in a double.
const MAX_WHOLE: u64 = 1 << 53;

/// The times that the samples of a record share, in milliseconds since the Unix
/// epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// The time of the collection.
    pub(crate) now_ms: i64,
    /// The time of zeros before first values, if there are any.
    pub(crate) zero_ms: Option<i64>,
}

/// Writes the values of a row.
#[derive(Debug, Default)]
pub(crate) struct RowWriter {
    pub(crate) bytes: Vec<u8>,
    previous: u64,
}

impl RowWriter {
    /// Begins a row.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.previous = 0;
    }

    /// Appends the points of a series. Takes the times from them where the record
    /// has none yet.
    pub(crate) fn points(
        &mut self,
        points: &[Point],
        exemplar: Option<Exemplar>,
        times: &mut Option<Times>,
    ) {
        let Some(last) = points.last() else {
            return;
        };
        let times = times.get_or_insert_with(|| Times {
            now_ms: last.timestamp_ms,
            zero_ms: None,
        });
        if let [zero, _] = points {
            times.zero_ms.get_or_insert(zero.timestamp_ms);
        }
        self.exemplar(exemplar, *times);
        let is_now = last.timestamp_ms == times.now_ms;
        match points {
            [value] if is_now => self.value(value.value),
            [zero, value]
                if is_now
                    && Some(zero.timestamp_ms) == times.zero_ms
                    && zero.value.to_bits() == 0 =>
            {
                put_varint(&mut self.bytes, ZERO_BEFORE);
                self.value(value.value);
            }
            _ => {
                put_varint(&mut self.bytes, POINTS);
                put_varint(&mut self.bytes, points.len() as u64);
                for point in points {
                    put_signed(
                        &mut self.bytes,
                        point.timestamp_ms.wrapping_sub(times.now_ms),
                    );
                    self.double(point.value);
                }
            }
        }
    }

    /// Appends the samples of a native histogram.
    pub(crate) fn histograms(
        &mut self,
        samples: &[HistogramSample<'_>],
        exemplar: Option<Exemplar>,
        times: &mut Option<Times>,
    ) {
        let Some(last) = samples.last() else {
            return;
        };
        let times = *times.get_or_insert_with(|| Times {
            now_ms: last.timestamp_ms,
            zero_ms: None,
        });
        self.exemplar(exemplar, times);
        put_varint(&mut self.bytes, HISTOGRAMS);
        put_varint(&mut self.bytes, samples.len() as u64);
        for sample in samples {
            self.histogram(sample, times);
        }
    }

    fn histogram(&mut self, sample: &HistogramSample<'_>, times: Times) {
        let out = &mut self.bytes;
        put_signed(out, sample.timestamp_ms.wrapping_sub(times.now_ms));
        put_signed(out, sample.started_ms.wrapping_sub(times.now_ms));
        out.push(u8::from(sample.is_float) | u8::from(sample.is_restart) << 1);
        out.push(sample.schema as u8);
        self.double(sample.zero_threshold);
        self.double(sample.sum);
        self.previous = 0;
        self.value(sample.count);
        self.value(sample.zero_count);
        put_varint(&mut self.bytes, sample.spans.len() as u64);
        for span in sample.spans {
            put_signed(&mut self.bytes, span.offset.into());
            put_varint(&mut self.bytes, span.length.into());
        }
        put_varint(&mut self.bytes, sample.counts.len() as u64);
        for count in sample.counts {
            self.value(*count);
        }
    }

    fn exemplar(&mut self, exemplar: Option<Exemplar>, times: Times) {
        if let Some(exemplar) = exemplar {
            put_varint(&mut self.bytes, EXEMPLAR);
            self.bytes.extend_from_slice(&exemplar.trace_id);
            self.double(exemplar.value);
            put_signed(
                &mut self.bytes,
                exemplar.timestamp_ms.wrapping_sub(times.now_ms),
            );
        }
    }

    #[inline]
    fn value(&mut self, value: f64) {
        let whole = value as u64;
        if whole < MAX_WHOLE && (whole as f64).to_bits() == value.to_bits() {
            let token = match whole.checked_sub(self.previous) {
                Some(difference) => difference << 2 | DIFFERENCE,
                None => whole << 2 | WHOLE,
            };
            put_varint(&mut self.bytes, token);
            self.previous = whole;
        } else if value.to_bits() == Point::STALE {
            put_varint(&mut self.bytes, STALE);
        } else {
            put_varint(&mut self.bytes, DOUBLE);
            self.double(value);
        }
    }

    #[inline]
    fn double(&mut self, value: f64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }
}

/// Reads the values of a row, series by series.
#[derive(Debug)]
pub(crate) struct RowReader<'a, 'b> {
    fields: &'b mut Fields<'a>,
    times: Times,
    previous: u64,
}

/// What a series of a row has; the memory for it is used again.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) points: Vec<Point>,
    pub(crate) histograms: Vec<HistogramValues>,
    pub(crate) exemplar: Option<Exemplar>,
    /// How many of `histograms` there are; the others are left from before.
    pub(crate) histogram_count: usize,
}

/// A native histogram with its own memory.
#[derive(Debug, Default)]
pub(crate) struct HistogramValues {
    sample: Option<Scalars>,
    spans: Vec<BucketSpan>,
    counts: Vec<f64>,
}

/// The rest of a native histogram.
type Scalars = HistogramSample<'static>;

impl HistogramValues {
    /// The sample; `None` before it was read.
    pub(crate) fn sample(&self) -> Option<HistogramSample<'_>> {
        Some(HistogramSample {
            spans: &self.spans,
            counts: &self.counts,
            ..self.sample?
        })
    }
}

impl<'a, 'b> RowReader<'a, 'b> {
    /// Reads a row from the front of `fields`.
    pub(crate) fn new(fields: &'b mut Fields<'a>, times: Times) -> Self {
        Self {
            fields,
            times,
            previous: 0,
        }
    }

    /// Reads the next series; `None` if it is not whole.
    pub(crate) fn series(&mut self, values: &mut Values) -> Option<()> {
        values.points.clear();
        values.histogram_count = 0;
        values.exemplar = None;
        loop {
            match self.fields.varint()? {
                EXEMPLAR => {
                    values.exemplar = Some(Exemplar {
                        trace_id: self.fields.array()?,
                        value: self.fields.f64()?,
                        timestamp_ms: self.time()?,
                    });
                }
                ZERO_BEFORE => values.points.push(Point {
                    timestamp_ms: self.times.zero_ms?,
                    value: 0.0,
                }),
                POINTS => {
                    for _ in 0..self.fields.varint()? {
                        let timestamp_ms = self.time()?;
                        let value = self.fields.f64()?;
                        values.points.push(Point {
                            timestamp_ms,
                            value,
                        });
                    }
                    return Some(());
                }
                HISTOGRAMS => {
                    for place in 0..self.fields.index()? {
                        if values.histograms.len() <= place {
                            values.histograms.push(HistogramValues::default());
                        }
                        self.histogram(values.histograms.get_mut(place)?)?;
                        values.histogram_count = place + 1;
                    }
                    return Some(());
                }
                token => {
                    let value = self.value_of(token)?;
                    values.points.push(Point {
                        timestamp_ms: self.times.now_ms,
                        value,
                    });
                    return Some(());
                }
            }
        }
    }

    fn histogram(&mut self, into: &mut HistogramValues) -> Option<()> {
        let timestamp_ms = self.time()?;
        let started_ms = self.time()?;
        let flags = self.fields.byte()?;
        let schema = self.fields.byte()? as i8;
        let zero_threshold = self.fields.f64()?;
        let sum = self.fields.f64()?;
        self.previous = 0;
        let count = self.value()?;
        let zero_count = self.value()?;
        into.spans.clear();
        for _ in 0..self.fields.varint()? {
            into.spans.push(BucketSpan {
                offset: i32::try_from(self.fields.signed()?).ok()?,
                length: u32::try_from(self.fields.varint()?).ok()?,
            });
        }
        into.counts.clear();
        for _ in 0..self.fields.varint()? {
            into.counts.push(self.value()?);
        }
        into.sample = Some(HistogramSample {
            timestamp_ms,
            started_ms,
            count,
            sum,
            schema,
            zero_threshold,
            zero_count,
            spans: &[],
            counts: &[],
            is_float: flags & 1 != 0,
            is_restart: flags & 2 != 0,
        });
        Some(())
    }

    fn time(&mut self) -> Option<i64> {
        Some(self.times.now_ms.wrapping_add(self.fields.signed()?))
    }

    fn value(&mut self) -> Option<f64> {
        let token = self.fields.varint()?;
        self.value_of(token)
    }

    #[inline]
    fn value_of(&mut self, token: u64) -> Option<f64> {
        let whole = match token & 3 {
            WHOLE => token >> 2,
            DIFFERENCE => self.previous.checked_add(token >> 2)?,
            DOUBLE => return self.fields.f64(),
            _ if token == STALE => return Some(f64::from_bits(Point::STALE)),
            _ => return None,
        };
        self.previous = whole;
        Some(whole as f64)
    }
}
