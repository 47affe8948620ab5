//! Samples that were collected elsewhere, on their way to the disk: all of them or none.

use std::fs::File;
use std::io;
use std::sync::Arc;

use model::{Exemplar, HistogramSample, LabelSet, Metadata, Point, SampleSink, Series};

use super::append::Appended;
use super::config::Fsync;
use super::dictionary::NO_METADATA;
use super::record::Kind;
use super::samples::{Head, RowSamples, SamplesWriter};
use super::tenant::TenantSpool;
use super::writer::{KeptRecord, SegmentWriter};

/// Samples that are taken over. Without [`TakeOver::commit`] nothing of them is there.
#[derive(Debug)]
pub(crate) struct TakeOver {
    spool: Arc<TenantSpool>,
    writer: Option<Box<SegmentWriter>>,
    samples: SamplesWriter,
    metadata: u32,
    trace_id_label: String,
    pushed_ms: i64,
    records: Vec<KeptRecord>,
    is_committed: bool,
}

impl TakeOver {
    /// Begins to take over. Waits for whoever appends just now.
    ///
    /// # Errors
    ///
    /// That the disk does not take what was collected here; or what it says to a new
    /// segment.
    pub(crate) fn begin(spool: Arc<TenantSpool>) -> io::Result<Self> {
        let writer = spool.take_writer();
        let mut begun = Self {
            spool,
            writer: Some(writer),
            samples: SamplesWriter::of_others(),
            metadata: NO_METADATA,
            trace_id_label: String::new(),
            pushed_ms: 0,
            records: Vec::new(),
            // Nothing has changed yet.
            is_committed: true,
        };
        begun.begin_segment()?;
        begun.is_committed = false;
        Ok(begun)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let (spool, config) = (&self.spool, self.spool.config());
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        if writer.is_behind() {
            return Err(io::Error::other(
                "the disk has not taken what was collected here",
            ));
        }
        let most = config.segment_bytes(spool.tenants());
        if writer.segment_bytes().is_some_and(|bytes| bytes < most) {
            return Ok(());
        }
        if let Some(finished) = writer.finish_segment()
            && config.fsync != Fsync::Never
        {
            finished?.sync_data()?;
        }
        spool.begin_segment(writer)?;
        if config.fsync == Fsync::Segment {
            // Whoever hands samples over will not have them any more.
            File::open(spool.directory())?.sync_all()?;
        }
        Ok(())
    }

    /// Begins with the rows of another record.
    pub(crate) fn begin_record(&mut self, head: Head<'_>) {
        self.end_record();
        let keys: Vec<u64> = head.delivered_to().collect();
        self.samples.set_delivered_to(&keys);
        self.trace_id_label.clear();
        self.trace_id_label.push_str(head.trace_id_label);
        self.pushed_ms = head.pushed_ms;
    }

    /// Writes everything, and makes it durable unless that is never to be.
    ///
    /// # Errors
    ///
    /// What the system says; then nothing of it is there.
    pub(crate) fn commit(mut self) -> io::Result<Appended> {
        self.end_record();
        let records = std::mem::take(&mut self.records);
        let Some(writer) = &mut self.writer else {
            return Ok(Appended::default());
        };
        let position = self.spool.extent().end;
        let syncs = self.spool.config().fsync != Fsync::Never;
        let mut samples = 0;
        for written in writer.write_together(records, position, syncs)? {
            samples += u64::from(written.samples);
            self.spool.written(written);
        }
        self.is_committed = true;
        Ok(Appended {
            collected: samples,
            samples,
            ..Appended::default()
        })
    }

    fn end_row(&mut self) {
        if let Some(writer) = &mut self.writer
            && self
                .samples
                .end_row(&mut writer.dictionary, &self.trace_id_label)
        {
            self.end_record();
        }
    }

    fn end_record(&mut self) {
        if let Some(writer) = &mut self.writer {
            // A full record is begun anew by the next row.
            self.samples
                .end_row(&mut writer.dictionary, &self.trace_id_label);
        }
        let Some(filled) = self.samples.take(self.pushed_ms) else {
            return;
        };
        let new = self.writer.as_mut().and_then(|it| it.dictionary.take_new());
        if let Some(definitions) = new {
            // Twice, as whatever is collected here.
            for bytes in [definitions.clone(), definitions] {
                self.records.push(KeptRecord {
                    kind: Kind::Definitions,
                    bytes,
                    samples: 0,
                    newest_ms: filled.newest_ms,
                });
            }
        }
        self.records.push(KeptRecord {
            kind: filled.kind,
            bytes: filled.bytes,
            samples: filled.samples,
            newest_ms: filled.newest_ms,
        });
    }
}

impl Drop for TakeOver {
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            if !self.is_committed {
                // Its numbers stand for what is not in the segment.
                writer.give_up();
            }
            writer.close_file();
            self.spool.give_back(writer);
        }
    }
}

impl SampleSink for TakeOver {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        self.end_row();
        self.samples.label_set(labels);
        self.metadata = NO_METADATA;
    }

    fn started(&mut self, timestamp_ms: i64) {
        self.samples.started(timestamp_ms);
    }

    fn metric(&mut self, metadata: Metadata<'_>) {
        if let Some(writer) = &mut self.writer {
            self.metadata = writer.dictionary.metadata(metadata);
        }
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        if let Some(writer) = &mut self.writer {
            self.samples.series(
                &mut writer.dictionary,
                series,
                self.metadata,
                RowSamples::Points(points),
                exemplar,
            );
        }
    }

    fn histogram(
        &mut self,
        name: &str,
        samples: &[HistogramSample<'_>],
        exemplar: Option<Exemplar>,
    ) {
        if let Some(writer) = &mut self.writer {
            self.samples.series(
                &mut writer.dictionary,
                Series { name, le: None },
                self.metadata,
                RowSamples::Histograms(samples),
                exemplar,
            );
        }
    }
}
