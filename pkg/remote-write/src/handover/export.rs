//! From the spool of a node that goes to chunks.

use std::io;
use std::sync::Arc;

use model::{Exemplar, HistogramSample, LabelSet, Metadata, Point, SampleSink, Series};

use super::Outstanding;
use crate::progress::GivenAway;
use crate::spool::record::{HEADER_BYTES, Kind, seal};
use crate::spool::row::Values;
use crate::spool::tailer::{Next, NextRecord, Tailer};
use crate::spool::{
    DefinedLabelSet, Dictionary, Head, NO_METADATA, RowSamples, SamplesWriter, TenantSpool,
};

/// Bytes after which a chunk is closed. With the row that goes over it, unless that is
/// a very long one, it is less than a mebibyte.
const FULL_BYTES: usize = 960 << 10;

/// Reads what is outstanding of a tenant, once nothing is appended any more.
#[derive(Debug)]
pub(crate) struct Exporter {
    tailer: Tailer,
    outstanding: Vec<Outstanding>,
    /// The record that is being read.
    record: Option<NextRecord>,
    /// Rows before are in earlier chunks.
    position: u64,
    values: Values,
}

/// Samples of a part of the spool.
#[derive(Debug)]
pub(crate) struct Exported {
    /// The position of the first of them.
    pub(crate) first: u64,
    /// The position after the part.
    pub(crate) end: u64,
    /// How many there are.
    pub(crate) samples: u64,
    /// As they are in a segment, with their positions.
    pub(crate) records: Vec<u8>,
    /// What each destination is still to get of them.
    pub(crate) found: Vec<(u64, GivenAway)>,
}

impl Exporter {
    /// Reads from the first sample on that a destination is still to get.
    pub(crate) fn new(spool: Arc<TenantSpool>, outstanding: Vec<Outstanding>) -> Self {
        let lows = outstanding.iter().map(|destination| destination.low);
        let position = lows.min().unwrap_or(u64::MAX);
        Self {
            tailer: Tailer::new(spool, position, None, false),
            outstanding,
            record: None,
            position,
            values: Values::default(),
        }
    }

    /// The next part; `None` at the end. There may be no samples in it, if nobody is
    /// still to get them or they cannot be read.
    ///
    /// # Errors
    ///
    /// What the system says of the spool's files.
    pub(crate) fn next(&mut self) -> io::Result<Option<Exported>> {
        let begin = self.position;
        let mut part = Part::new(&self.outstanding);
        while part.bytes() < FULL_BYTES {
            let record = match self.record.take() {
                Some(record) => record,
                None => match self.tailer.next()? {
                    Next::Record(record) => record,
                    Next::End(end) => {
                        // What cannot be read at the end is behind, too.
                        self.position = self.position.max(end);
                        break;
                    }
                },
            };
            let read_to = self.read(record, &mut part);
            self.position = read_to;
            if read_to < record.end {
                self.record = Some(record);
            }
        }
        if self.position == begin {
            return Ok(None);
        }
        Ok(Some(part.finish(begin, self.position)))
    }

    /// Reads what is left of a record, or as much as there is room for; returns up to
    /// where.
    fn read(&mut self, record: NextRecord, part: &mut Part) -> u64 {
        let Some((mut rows, definitions)) = self.tailer.rows() else {
            return record.end;
        };
        let head = rows.head;
        let mut position = record.position;
        while let Some(row) = rows.row(definitions) {
            let begin = position;
            let label_set = row.label_set;
            let is_new = begin >= self.position;
            let is_wanted = is_new && part.wants(&self.outstanding, begin, label_set, head);
            if is_wanted {
                part.begin_row(begin, label_set, head);
            }
            let sink = is_wanted.then_some(&mut *part);
            let samples = rows.samples(row, definitions, &mut self.values, sink);
            // What cannot be read to its end takes the rest of the record with it.
            let Some(samples) = samples else {
                break;
            };
            position += u64::from(samples);
            if is_new {
                part.count(&self.outstanding, begin, label_set, head, samples.into());
            }
            if is_wanted {
                part.end_row(samples);
                if part.bytes() >= FULL_BYTES && position < record.end {
                    part.end_record();
                    return position;
                }
            }
        }
        part.end_record();
        record.end
    }
}

/// Records that are being made.
#[derive(Debug)]
struct Part {
    dictionary: Dictionary,
    writer: SamplesWriter,
    metadata: u32,
    records: Vec<u8>,
    found: Vec<(u64, GivenAway)>,
    samples: u64,
    /// The position of the record that is being filled, and that after it.
    record: u64,
    record_end: u64,
    pushed_ms: i64,
    trace_id_label: String,
    /// Who has the rows of the record already.
    delivered_to: Vec<u64>,
    /// The same of the next row.
    next_delivered_to: Vec<u64>,
}

impl Part {
    fn new(outstanding: &[Outstanding]) -> Self {
        let found = outstanding.iter().map(|it| (it.key, GivenAway::default()));
        Self {
            dictionary: Dictionary::default(),
            writer: SamplesWriter::of_others(),
            metadata: NO_METADATA,
            records: Vec::new(),
            found: found.collect(),
            samples: 0,
            record: 0,
            record_end: 0,
            pushed_ms: 0,
            trace_id_label: String::new(),
            delivered_to: Vec::new(),
            next_delivered_to: Vec::new(),
        }
    }

    /// Bytes of it so far.
    fn bytes(&self) -> usize {
        self.records.len() + self.writer.bytes() + self.dictionary.new_bytes()
    }

    /// Whether a destination is still to get a row; notes which are not.
    fn wants(
        &mut self,
        outstanding: &[Outstanding],
        position: u64,
        label_set: DefinedLabelSet<'_>,
        head: Head<'_>,
    ) -> bool {
        let mut is_wanted = false;
        self.next_delivered_to.clear();
        self.next_delivered_to.extend(head.delivered_to());
        for destination in outstanding {
            let key = destination.key;
            if head.is_delivered_to(key) {
            } else if destination.wants(position, label_set.hash) {
                is_wanted = true;
            } else {
                self.next_delivered_to.push(key);
            }
        }
        is_wanted
    }

    fn begin_row(&mut self, position: u64, label_set: DefinedLabelSet<'_>, head: Head<'_>) {
        let is_next = position == self.record_end && self.delivered_to == self.next_delivered_to;
        if !is_next {
            self.end_record();
        }
        if self.record == self.record_end {
            self.record = position;
            self.record_end = position;
            self.delivered_to.clone_from(&self.next_delivered_to);
            self.writer.set_delivered_to(&self.delivered_to);
            self.pushed_ms = head.pushed_ms;
            self.trace_id_label.clear();
            self.trace_id_label.push_str(head.trace_id_label);
        }
        self.writer.label_set(label_set.labels);
        if let Some(started_ms) = label_set.started_ms {
            self.writer.started(started_ms);
        }
        self.metadata = NO_METADATA;
    }

    /// Notes who is still to get the samples of a row that could be read.
    fn count(
        &mut self,
        outstanding: &[Outstanding],
        position: u64,
        label_set: DefinedLabelSet<'_>,
        head: Head<'_>,
        samples: u64,
    ) {
        for (destination, (key, found)) in outstanding.iter().zip(&mut self.found) {
            let is_new = position >= destination.frontier;
            if !destination.wants(position, label_set.hash) {
            } else if head.is_delivered_to(*key) {
                found.delivered_elsewhere += if is_new { samples } else { 0 };
            } else if is_new {
                found.new += samples;
            } else {
                found.again += samples;
            }
        }
    }

    fn end_row(&mut self, samples: u32) {
        self.samples += u64::from(samples);
        self.record_end += u64::from(samples);
        if self
            .writer
            .end_row(&mut self.dictionary, &self.trace_id_label)
        {
            self.end_record();
        }
    }

    fn end_record(&mut self) {
        let position = std::mem::replace(&mut self.record, self.record_end);
        let Some(mut filled) = self.writer.take(self.pushed_ms) else {
            return;
        };
        if let Some(mut definitions) = self.dictionary.take_new() {
            let newest_ms = filled.newest_ms;
            seal(&mut definitions, Kind::Definitions, position, 0, newest_ms);
            self.records.extend_from_slice(&definitions);
        }
        let (kind, samples, newest_ms) = (filled.kind, filled.samples, filled.newest_ms);
        seal(&mut filled.bytes, kind, position, samples, newest_ms);
        self.records.extend_from_slice(&filled.bytes);
        filled.bytes.truncate(HEADER_BYTES);
        self.writer.reuse(filled.bytes);
    }

    fn finish(mut self, first: u64, end: u64) -> Exported {
        self.end_record();
        Exported {
            first,
            end,
            samples: self.samples,
            records: self.records,
            found: self.found,
        }
    }
}

impl SampleSink for Part {
    fn label_set(&mut self, _: LabelSet<'_>) {}

    fn metric(&mut self, metadata: Metadata<'_>) {
        self.metadata = self.dictionary.metadata(metadata);
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        self.writer.series(
            &mut self.dictionary,
            series,
            self.metadata,
            RowSamples::Points(points),
            exemplar,
        );
    }

    fn histogram(
        &mut self,
        name: &str,
        samples: &[HistogramSample<'_>],
        exemplar: Option<Exemplar>,
    ) {
        self.writer.series(
            &mut self.dictionary,
            Series { name, le: None },
            self.metadata,
            RowSamples::Histograms(samples),
            exemplar,
        );
    }
}
