//! One tenant's part of the spool: its segments, oldest first, and who appends.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Exemplar, HistogramSample, LabelSet, Metadata, Point, SampleSink, Series, TenantId};
use parking_lot::Mutex;

use super::SpoolConfig;
use super::config::Fsync;
use super::dictionary::NO_METADATA;
use super::record::Kind;
use super::samples::{RowSamples, SamplesWriter};
use super::segment;
use super::writer::{SegmentWriter, Written};

/// Bytes of a segment after which a new one is begun if all of it is delivered, so
/// that a tenant does not keep much that nobody needs.
const DELIVERED_BYTES: u64 = 1 << 20;

/// One tenant's part of the spool.
#[derive(Debug)]
pub(crate) struct TenantSpool {
    tenant: TenantId,
    directory: PathBuf,
    config: Arc<SpoolConfig>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    segments: VecDeque<Segment>,
    next_segment: u64,
    /// Samples that were ever spooled.
    position: u64,
    newest_ms: i64,
    writer: Option<Box<SegmentWriter>>,
}

/// A segment as its reader sees it.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// The position of its first sample.
    pub(crate) first: u64,
    /// The position after its last sample.
    pub(crate) end: u64,
    /// Bytes that are whole.
    pub(crate) bytes: u64,
    /// The time of its latest sample, in milliseconds since the Unix epoch.
    pub(crate) newest_ms: i64,
    /// The time of its first sample.
    pub(crate) oldest_ms: i64,
    /// Where its definitions are; `None` if nobody has looked.
    pub(crate) definitions: Option<Vec<u64>>,
}

/// What the disk holds of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The position of the first sample.
    pub(crate) first: u64,
    /// The position after the last.
    pub(crate) end: u64,
    pub(crate) bytes: u64,
    /// The time of the latest sample ever, in milliseconds since the Unix epoch.
    pub(crate) newest_ms: i64,
}

impl TenantSpool {
    /// A tenant's spool with the segments that were found.
    pub(crate) fn new(
        tenant: TenantId,
        directory: PathBuf,
        config: Arc<SpoolConfig>,
        segments: Vec<Segment>,
        next_segment: u64,
    ) -> Self {
        let last = segments.last();
        let state = State {
            position: last.map_or(0, |segment| segment.end),
            newest_ms: last.map_or(i64::MIN, |segment| segment.newest_ms),
            next_segment,
            segments: segments.into(),
            ..State::default()
        };
        Self {
            tenant,
            directory,
            config,
            state: Mutex::new(state),
        }
    }

    /// Whose it is.
    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Where it lies.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What there is.
    pub(crate) fn extent(&self) -> Extent {
        let state = self.state.lock();
        Extent {
            first: state
                .segments
                .front()
                .map_or(state.position, |segment| segment.first),
            end: state.position,
            bytes: state.segments.iter().map(|segment| segment.bytes).sum(),
            newest_ms: state.newest_ms,
        }
    }

    /// Raises what is known to have been spooled, from what a reader remembers.
    pub(crate) fn raise(&self, position: u64, newest_ms: i64) {
        let mut state = self.state.lock();
        state.position = state.position.max(position);
        state.newest_ms = state.newest_ms.max(newest_ms);
    }

    /// The segment with the sample at a position, or the first after it.
    pub(crate) fn segment_at(&self, position: u64) -> Option<Segment> {
        let state = self.state.lock();
        let mut segments = state.segments.iter();
        segments.find(|segment| segment.end > position).cloned()
    }

    /// How many bytes of a segment can be read, and whether more may come; `None` if
    /// it has been removed.
    pub(crate) fn readable(&self, number: u64) -> Option<(u64, bool)> {
        let state = self.state.lock();
        let last = state.segments.back()?.number;
        let mut segments = state.segments.iter();
        let segment = segments.find(|segment| segment.number == number)?;
        Some((segment.bytes, number == last))
    }

    /// Notes that the file of a segment is gone.
    pub(crate) fn lose(&self, number: u64) {
        let mut state = self.state.lock();
        state.segments.retain(|segment| segment.number != number);
    }

    /// The segment after another.
    pub(crate) fn segment_after(&self, number: u64) -> Option<Segment> {
        let state = self.state.lock();
        let mut segments = state.segments.iter();
        segments.find(|segment| segment.number > number).cloned()
    }

    /// The time of the oldest sample from a position on, to the segment.
    pub(crate) fn oldest_ms(&self, position: u64) -> Option<i64> {
        self.segment_at(position).map(|segment| segment.oldest_ms)
    }

    /// The file of a segment.
    pub(crate) fn path(&self, number: u64) -> PathBuf {
        segment::path(&self.directory, number)
    }

    /// Removes the segments of which every sample is before a position, but for the
    /// last.
    pub(crate) fn remove_before(&self, position: u64) {
        let mut state = self.state.lock();
        while state.segments.len() > 1
            && state
                .segments
                .front()
                .is_some_and(|segment| segment.end <= position)
        {
            self.remove_first(&mut state);
        }
    }

    /// Removes the oldest segment, but for the last; returns the position of what
    /// is now first.
    pub(crate) fn remove_oldest(&self) -> Option<u64> {
        let mut state = self.state.lock();
        if state.segments.len() < 2 {
            return None;
        }
        self.remove_first(&mut state);
        state.segments.front().map(|segment| segment.first)
    }

    fn remove_first(&self, state: &mut State) {
        if let Some(segment) = state.segments.pop_front()
            && let Err(error) = std::fs::remove_file(self.path(segment.number))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(
                tenant = %self.tenant,
                segment = segment.number,
                error = %telemetry::error_chain(&error),
                "cannot remove a segment of the spool that is no longer needed"
            );
        }
    }

    /// The time of the latest sample of the oldest segment, if that is not the last.
    pub(crate) fn oldest_segment_ms(&self) -> Option<i64> {
        let state = self.state.lock();
        let oldest = state.segments.front()?;
        (state.segments.len() > 1).then_some(oldest.newest_ms)
    }

    /// Begins to append the samples of a collection. `is_delivered` says that all
    /// that is there has been delivered.
    pub(crate) fn append(
        self: &Arc<Self>,
        external: &[(String, String)],
        trace_id_label: &str,
        samples: SamplesWriter,
        is_delivered: bool,
    ) -> SpoolAppend {
        let writer = self.state.lock().writer.take();
        let mut writer =
            writer.unwrap_or_else(|| Box::new(SegmentWriter::new(self.directory.clone())));
        writer.dictionary.set_external(external);
        let mut append = SpoolAppend {
            spool: Arc::clone(self),
            writer: Some(writer),
            samples,
            metadata: NO_METADATA,
            trace_id_label: trace_id_label.to_owned(),
            pushed_ms: 0,
            outcome: Appended::default(),
        };
        append.roll_over(is_delivered);
        append
    }

    /// Makes the current segment durable, unless it never is to be.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let state = self.state.lock();
        let last = state.segments.back().map(|segment| segment.number);
        drop(state);
        match last {
            Some(number) if self.config.fsync != Fsync::Never => {
                match File::open(self.path(number)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    opened => opened?.sync_data(),
                }
            }
            _ => Ok(()),
        }
    }

    fn written(&self, written: Written) {
        let mut state = self.state.lock();
        state.position += u64::from(written.samples);
        state.newest_ms = state.newest_ms.max(written.newest_ms);
        let position = state.position;
        if let Some(segment) = state.segments.back_mut()
            && segment.number == written.segment
        {
            segment.end = position;
            segment.bytes = written.segment_bytes;
            segment.newest_ms = segment.newest_ms.max(written.newest_ms);
            if segment.oldest_ms == i64::MIN {
                segment.oldest_ms = written.newest_ms;
            }
            if written.kind == Kind::Definitions
                && let Some(definitions) = &mut segment.definitions
            {
                definitions.push(written.at);
            }
        }
    }
}

/// What an append has done so far.
#[derive(Debug, Default)]
pub(crate) struct Appended {
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
            && self.spool.config.fsync == Fsync::Append
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
        let spool = &self.spool;
        let mut position = spool.state.lock().position;
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
        let mut position = spool.state.lock().position;
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

    /// Ends the segment if it is long enough; the next record begins another.
    fn roll_over(&mut self, is_delivered: bool) {
        let config = &self.spool.config;
        let Some(writer) = &mut self.writer else {
            return;
        };
        let enough = match is_delivered {
            true => DELIVERED_BYTES.min(config.segment_bytes()),
            false => config.segment_bytes(),
        };
        if writer.is_behind() || writer.segment_bytes().is_none_or(|bytes| bytes < enough) {
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
        let mut state = self.spool.state.lock();
        let (number, position) = (state.next_segment, state.position);
        match writer.begin_segment(&self.spool.tenant, number, position) {
            Ok(bytes) => {
                state.next_segment += 1;
                // A restart may leave one in which nothing was written.
                if state
                    .segments
                    .back()
                    .is_some_and(|last| last.first == last.end)
                {
                    let empty = state.segments.pop_back();
                    if let Some(empty) = empty {
                        let _ = std::fs::remove_file(self.spool.path(empty.number));
                    }
                }
                state.segments.push_back(Segment {
                    number,
                    first: position,
                    end: position,
                    bytes,
                    newest_ms: i64::MIN,
                    oldest_ms: i64::MIN,
                    definitions: Some(Vec::new()),
                });
            }
            Err(error) => {
                self.outcome.error.get_or_insert(error);
            }
        }
    }
}

impl Drop for SpoolAppend {
    fn drop(&mut self) {
        let mut state = self.spool.state.lock();
        state.writer = self.writer.take();
        if let Some(writer) = &mut state.writer {
            writer.close_file();
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
