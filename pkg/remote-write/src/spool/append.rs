//! The samples of one collection on their way to the disk.

use std::io;
use std::sync::Arc;

use model::{Exemplar, HistogramSample, LabelSet, Metadata, Point, SampleSink, Series};

use super::config::Fsync;
use super::dictionary::NO_METADATA;
use super::samples::{RowSamples, SamplesWriter};
use super::tenant::TenantSpool;
use super::writer::SegmentWriter;

/// Bytes of a segment after which a new one is begun if all of it is delivered, so
/// that a tenant does not keep much that nobody needs.
const DELIVERED_BYTES: u64 = 1 << 20;

/// What an append has done so far.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    /// Samples that came to be written, now or later.
    pub(crate) collected: u64,
    /// Samples that can be read now.
    pub(crate) samples: u64,
    /// Samples that were dropped because the disk did not take them for too long.
    pub(crate) dropped: u64,
    /// Why the disk did not take something, which is kept and tried again.
    pub(crate) error: Option<io::Error>,
}

/// The samples of one collection on their way to the disk, and what did not get
/// there before.
#[derive(Debug)]
pub(crate) struct SpoolAppend {
    spool: Arc<TenantSpool>,
    writer: Option<Box<SegmentWriter>>,
    samples: SamplesWriter,
    metadata: u32,
    trace_id_label: String,
    pushed_ms: i64,
    outcome: Appended,
}

impl SpoolAppend {
    /// Begins to append. The external labels are sorted by name, each once, none
    /// empty. `is_delivered` says that all that is there has been delivered.
    pub(crate) fn new(
        spool: Arc<TenantSpool>,
        external: &[(String, String)],
        trace_id_label: &str,
        samples: SamplesWriter,
        is_delivered: bool,
    ) -> Self {
        let mut writer = spool.take_writer();
        writer.dictionary.set_external(external);
        let mut append = Self {
            spool,
            writer: Some(writer),
            samples,
            metadata: NO_METADATA,
            trace_id_label: trace_id_label.to_owned(),
            pushed_ms: 0,
            outcome: Appended::default(),
        };
        if is_delivered {
            append.make_room();
        }
        append.roll_over(is_delivered);
        append
    }

    /// Begins to append nothing but what the disk did not take before; `None` if there
    /// is nothing, or somebody else appends.
    pub(crate) fn resume(spool: Arc<TenantSpool>) -> Option<Self> {
        let writer = spool.take_writer_that_is_behind()?;
        Some(Self {
            spool,
            writer: Some(writer),
            samples: SamplesWriter::default(),
            metadata: NO_METADATA,
            trace_id_label: String::new(),
            pushed_ms: 0,
            outcome: Appended::default(),
        })
    }

    /// Since when spans have been received whose samples follow, in milliseconds
    /// since the Unix epoch.
    pub(crate) fn pushed_since(&mut self, pushed_ms: i64) {
        self.pushed_ms = pushed_ms;
    }

    /// What was done since the last call.
    pub(crate) fn take_outcome(&mut self) -> Appended {
        std::mem::take(&mut self.outcome)
    }

    /// Whether there is something that [`SpoolAppend::take_outcome`] would tell.
    pub(crate) fn has_outcome(&self) -> bool {
        self.outcome.samples > 0 || self.outcome.error.is_some() || self.outcome.dropped > 0
    }

    /// Writes the last record. Returns what was done, and memory for the next
    /// append.
    pub(crate) fn finish(mut self) -> (Appended, SamplesWriter) {
        self.end_row();
        self.end_record();
        self.catch_up();
        if let Some(file) = self.writer.as_mut().and_then(|writer| writer.close_file())
            && self.spool.config().fsync == Fsync::Append
            && let Err(error) = file.sync_data()
        {
            self.outcome.error = Some(error);
        }
        (self.take_outcome(), std::mem::take(&mut self.samples))
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
        let Some(filled) = self.samples.take(self.pushed_ms) else {
            return;
        };
        self.begin_segment_if_none();
        let Some(writer) = &mut self.writer else {
            return;
        };
        self.outcome.collected += u64::from(filled.samples);
        let spool = &self.spool;
        let mut position = spool.extent().end;
        let mut samples = 0;
        let appended = writer.append(filled, &mut position, &mut |written| {
            samples += u64::from(written.samples);
            spool.written(written);
        });
        match appended {
            Ok(bytes) => self.samples.reuse(bytes),
            Err(refused) => {
                self.outcome.dropped += refused.dropped;
                self.outcome.error.get_or_insert(refused.error);
            }
        }
        self.outcome.samples += samples;
        self.roll_over(false);
    }

    /// Writes what the disk did not take before.
    fn catch_up(&mut self) {
        if !self
            .writer
            .as_ref()
            .is_some_and(|writer| writer.is_behind())
        {
            return;
        }
        self.begin_segment_if_none();
        let Some(writer) = &mut self.writer else {
            return;
        };
        let spool = &self.spool;
        let mut position = spool.extent().end;
        let mut samples = 0;
        let caught_up = writer.catch_up(&mut position, &mut |written| {
            samples += u64::from(written.samples);
            spool.written(written);
        });
        if let Err(error) = caught_up {
            self.outcome.error.get_or_insert(error);
        }
        self.outcome.samples += samples;
    }

    /// Removes what is delivered, also the current segment, if the disk needs the room
    /// for what is kept: nobody else may give it back.
    fn make_room(&mut self) {
        self.catch_up();
        let has_written = self.outcome.samples > 0;
        let Some(writer) = &mut self.writer else {
            return;
        };
        if has_written || !writer.is_in_the_way() {
            return;
        }
        if writer.segment_bytes().is_some() {
            self.outcome.dropped += writer.give_up();
        }
        self.spool.remove_segments();
        self.catch_up();
    }

    /// Ends the segment if it is long enough; the next record begins another.
    fn roll_over(&mut self, is_delivered: bool) {
        let config = self.spool.config();
        let Some(writer) = &mut self.writer else {
            return;
        };
        let most = config.segment_bytes(self.spool.tenants());
        let enough = match is_delivered {
            true => DELIVERED_BYTES.min(most),
            false => most,
        };
        let is_long = writer.segment_bytes().is_some_and(|bytes| bytes >= enough);
        let newest_ms = self.spool.last_segment_ms();
        let oldest_ms = writer.segment_oldest_ms();
        let is_old = oldest_ms
            .is_some_and(|oldest_ms| newest_ms.saturating_sub(oldest_ms) > config.segment_ms());
        if writer.is_behind() || !is_long && !is_old {
            return;
        }
        let finished = writer.finish_segment();
        if config.fsync != Fsync::Never
            && let Some(finished) = finished
            && let Err(error) = finished.and_then(|file| file.sync_data())
        {
            self.outcome.error.get_or_insert(error);
        }
    }

    fn begin_segment_if_none(&mut self) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        if writer.segment_bytes().is_some() {
            return;
        }
        if let Err(error) = self.spool.begin_segment(writer) {
            self.outcome.error.get_or_insert(error);
        }
    }
}

impl Drop for SpoolAppend {
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            writer.close_file();
            self.spool.give_back(writer);
        }
    }
}

impl SampleSink for SpoolAppend {
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
