//! Records of samples: the rows of one collection, or of a part of it.

use model::{Exemplar, HistogramSample, LabelSet, Point, SampleSink, Series};

use super::definitions::{DefinedLabelSet, Definitions};
use super::dictionary::Dictionary;
use super::record::{HEADER_BYTES, Kind};
use super::row::{RowReader, RowWriter, Times, Values};
use super::wire::{Fields, put_slice};
use crate::encode::v1::put_varint;

/// Bytes of rows after which a record is closed.
///
/// The sender reads and holds one record at a time, and damage costs one.
const FULL_BYTES: usize = 64 << 10;

/// Bytes of new definitions after which a record is closed, so that theirs is about
/// as long.
const FULL_DEFINITIONS_BYTES: usize = 32 << 10;

/// Bytes of a payload before the exemplars' label: three times.
const TIMES_BYTES: usize = 24;

/// A record that is being filled.
#[derive(Debug, Default)]
pub(crate) struct SamplesWriter {
    record: Vec<u8>,
    times: Option<Times>,
    row: RowWriter,
    shape: Vec<u32>,
    shape_guess: u32,
    series_guess: u32,
    label_set: Vec<u8>,
    started_ms: Option<i64>,
    row_samples: u32,
    samples: u32,
    /// Who has the samples of the next records already.
    delivered_to: Vec<u64>,
    /// Whether label sets come with all labels that they are to have.
    is_complete: bool,
}

/// A full record, but for its header.
#[derive(Debug)]
pub(crate) struct FilledRecord {
    /// [`HEADER_BYTES`] and the payload.
    pub(crate) bytes: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) samples: u32,
    pub(crate) newest_ms: i64,
}

impl SamplesWriter {
    /// For samples that were collected elsewhere, whose label sets are as they are to
    /// be.
    pub(crate) fn of_others() -> Self {
        Self {
            is_complete: true,
            ..Self::default()
        }
    }

    /// Says which destinations have the samples of the next record already; between
    /// records.
    pub(crate) fn set_delivered_to(&mut self, keys: &[u64]) {
        self.delivered_to.clear();
        self.delivered_to.extend_from_slice(keys);
    }

    /// Bytes of the record that is being filled.
    pub(crate) fn bytes(&self) -> usize {
        self.record.len()
    }

    /// Begins a record whose exemplars have this label.
    fn begin(&mut self, trace_id_label: &str) {
        self.record.clear();
        self.record.resize(HEADER_BYTES + TIMES_BYTES, 0);
        if !self.delivered_to.is_empty() {
            put_varint(&mut self.record, self.delivered_to.len() as u64);
            for key in &self.delivered_to {
                self.record.extend_from_slice(&key.to_le_bytes());
            }
        }
        put_slice(&mut self.record, trace_id_label.as_bytes());
        self.times = None;
        self.samples = 0;
    }

    /// Begins a row, after [`SamplesWriter::end_row`].
    pub(crate) fn label_set(&mut self, labels: LabelSet<'_>) {
        self.label_set.clear();
        self.label_set.extend_from_slice(labels.as_bytes());
        self.started_ms = None;
        self.shape.clear();
        self.row.clear();
        self.row_samples = 0;
    }

    /// Since when the row's series have counted.
    pub(crate) fn started(&mut self, timestamp_ms: i64) {
        self.started_ms = Some(timestamp_ms);
    }

    /// Adds a series to the row.
    pub(crate) fn series(
        &mut self,
        dictionary: &mut Dictionary,
        series: Series<'_>,
        metadata: u32,
        samples: RowSamples<'_>,
        exemplar: Option<Exemplar>,
    ) {
        let count = match samples {
            RowSamples::Points(points) => points.len(),
            RowSamples::Histograms(histograms) => histograms.len(),
        };
        if count == 0 {
            return;
        }
        let number = dictionary.series(series, metadata, self.series_guess);
        self.series_guess = number + 1;
        self.shape.push(number);
        self.row_samples += count as u32;
        match samples {
            RowSamples::Points(points) => self.row.points(points, exemplar, &mut self.times),
            RowSamples::Histograms(histograms) => {
                self.row.histograms(histograms, exemplar, &mut self.times);
            }
        }
    }

    /// Ends the row; returns whether the record is full.
    pub(crate) fn end_row(&mut self, dictionary: &mut Dictionary, trace_id_label: &str) -> bool {
        if self.shape.is_empty() {
            return false;
        }
        if self.samples == 0 {
            let times = self.times;
            self.begin(trace_id_label);
            self.times = times;
        }
        let labels = LabelSet::from_canonical(&self.label_set);
        let label_set = match self.is_complete {
            true => dictionary.complete_label_set(labels, self.started_ms),
            false => dictionary.label_set(labels, self.started_ms),
        };
        let shape = dictionary.shape(&self.shape, self.shape_guess);
        self.shape_guess = shape;
        // The next row begins as this one did, or after it.
        self.series_guess = dictionary.first_of(shape);
        put_varint(&mut self.record, label_set.into());
        put_varint(&mut self.record, shape.into());
        self.record.extend_from_slice(&self.row.bytes);
        self.samples += self.row_samples;
        self.shape.clear();
        self.record.len() >= FULL_BYTES || dictionary.new_bytes() >= FULL_DEFINITIONS_BYTES
    }

    /// Takes the record of the rows that were ended; `None` if there is none.
    /// `pushed_ms` is the earliest time at which a span of theirs was received.
    pub(crate) fn take(&mut self, pushed_ms: i64) -> Option<FilledRecord> {
        if self.samples == 0 {
            return None;
        }
        let times = self.times.take().unwrap_or_default();
        let room = self
            .record
            .get_mut(HEADER_BYTES..HEADER_BYTES + TIMES_BYTES)?;
        for (place, time) in room.chunks_exact_mut(8).zip([
            times.now_ms,
            times.zero_ms.unwrap_or_default(),
            pushed_ms,
        ]) {
            place.copy_from_slice(&time.to_le_bytes());
        }
        let filled = FilledRecord {
            bytes: std::mem::take(&mut self.record),
            kind: match self.delivered_to.is_empty() {
                true => Kind::Samples,
                false => Kind::TakenOver,
            },
            samples: self.samples,
            newest_ms: times.now_ms,
        };
        self.samples = 0;
        Some(filled)
    }

    /// Gives the memory of a record back for the next.
    pub(crate) fn reuse(&mut self, bytes: Vec<u8>) {
        if self.record.capacity() == 0 {
            self.record = bytes;
        }
    }
}

/// The samples of one series of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RowSamples<'a> {
    Points(&'a [Point]),
    Histograms(&'a [HistogramSample<'a>]),
}

/// What all rows of a record share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    times: Times,
    /// When the earliest span of theirs was received, in milliseconds since the
    /// Unix epoch; 0 if nobody knows.
    pub(crate) pushed_ms: i64,
    /// The name of the label of exemplars.
    pub(crate) trace_id_label: &'a str,
    /// The keys of destinations that have the samples already, one after the other.
    delivered_to: &'a [u8],
}

impl Head<'_> {
    /// The destinations that have the samples already.
    pub(crate) fn delivered_to(&self) -> impl Iterator<Item = u64> {
        let (keys, _) = self.delivered_to.as_chunks::<8>();
        keys.iter().map(|key| u64::from_le_bytes(*key))
    }

    /// Whether a destination has the samples already.
    pub(crate) fn is_delivered_to(&self, key: u64) -> bool {
        self.delivered_to().any(|delivered| delivered == key)
    }
}

/// Reads the rows of a record.
#[derive(Debug)]
pub(crate) struct SamplesReader<'a> {
    fields: Fields<'a>,
    pub(crate) head: Head<'a>,
}

/// A row before its samples are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) label_set: DefinedLabelSet<'a>,
    shape: &'a [u32],
}

impl Row<'_> {
    /// How many series it has.
    pub(crate) fn series(&self) -> usize {
        self.shape.len()
    }
}

impl<'a> SamplesReader<'a> {
    /// Reads the payload of a record; `None` if it is none.
    pub(crate) fn new(kind: Kind, payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        let times = Times {
            now_ms: fields.i64()?,
            zero_ms: Some(fields.i64()?),
        };
        let pushed_ms = fields.i64()?;
        let delivered_to = match kind {
            Kind::TakenOver => {
                let keys = fields.index()?;
                fields.bytes(keys.checked_mul(8)?)?
            }
            Kind::Definitions | Kind::Samples => &[],
        };
        let head = Head {
            times,
            pushed_ms,
            trace_id_label: fields.text()?,
            delivered_to,
        };
        Some(Self { fields, head })
    }

    /// Whether everything has been read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.fields.is_empty()
    }

    /// The next row; `None` at the end, or if what follows cannot be read.
    pub(crate) fn row<'d>(&mut self, definitions: &'d Definitions) -> Option<Row<'d>> {
        if self.fields.is_empty() {
            return None;
        }
        let label_set = self.fields.index()?;
        let shape = self.fields.index()?;
        let shape = definitions.shape(shape)?;
        // All or nothing of a row, so that what is lost of it is known.
        let is_known = shape
            .iter()
            .all(|number| definitions.series(*number).is_some());
        is_known.then_some(Row {
            label_set: definitions.label_set(label_set)?,
            shape,
        })
    }

    /// Hands the samples of the row to `sink`, if it is given, and returns how many
    /// there are; `None` if they cannot be read to their end.
    pub(crate) fn samples(
        &mut self,
        row: Row<'_>,
        definitions: &Definitions,
        values: &mut Values,
        mut sink: Option<&mut impl SampleSink>,
    ) -> Option<u32> {
        let mut reader = RowReader::new(&mut self.fields, self.head.times);
        let mut samples = 0;
        let mut metadata = None;
        for number in row.shape {
            reader.series(values)?;
            samples += values.points.len() + values.histogram_count;
            let Some(sink) = sink.as_deref_mut() else {
                continue;
            };
            let definition = definitions.series(*number)?;
            let told = definition.metadata.as_ref();
            if told != metadata
                && let Some(told) = told
            {
                sink.metric(told.as_metadata());
                metadata = Some(told);
            }
            if values.histogram_count > 0 {
                let histograms = values.histograms.get(..values.histogram_count)?;
                let histograms: Option<Vec<_>> =
                    histograms.iter().map(|values| values.sample()).collect();
                sink.histogram(&definition.name, &histograms?, values.exemplar);
            } else {
                let series = Series {
                    name: &definition.name,
                    le: definition.le.as_deref(),
                };
                sink.series(series, &values.points, values.exemplar);
            }
        }
        u32::try_from(samples).ok()
    }
}
