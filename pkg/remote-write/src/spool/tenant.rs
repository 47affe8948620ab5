//! One tenant's part of the spool: its segments, oldest first, and who appends.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use model::TenantId;
use parking_lot::{Condvar, Mutex};

use super::SpoolConfig;
use super::config::Fsync;
use super::record::Kind;
use super::segment;
use super::writer::{SegmentWriter, Written};

/// The longest wait for the writer. The disk is then of no use, anyway.
const WAIT: Duration = Duration::from_secs(30);

/// One tenant's part of the spool.
#[derive(Debug)]
pub(crate) struct TenantSpool {
    tenant: TenantId,
    directory: PathBuf,
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Rung when the writer is given back.
    returned: Condvar,
}

/// What all tenants share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: SpoolConfig,
    /// How many tenants there are.
    pub(crate) tenants: AtomicU64,
    /// Bytes that are kept for a disk that does not take them.
    pub(crate) kept_bytes: Arc<AtomicUsize>,
}

impl Shared {
    /// What nobody shares yet.
    pub(crate) fn new(config: SpoolConfig) -> Self {
        Self {
            config,
            tenants: AtomicU64::new(0),
            kept_bytes: Arc::default(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    segments: VecDeque<Segment>,
    next_segment: u64,
    /// Samples that were ever spooled.
    position: u64,
    newest_ms: i64,
    writer: Option<Box<SegmentWriter>>,
    /// Whether somebody has the writer.
    is_written: bool,
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
        shared: Arc<Shared>,
        segments: Vec<Segment>,
        next_segment: u64,
    ) -> Self {
        let last = segments.last();
        let times = segments.iter().map(|segment| segment.newest_ms);
        let newest_ms = times.filter(|newest_ms| *newest_ms < i64::MAX).max();
        shared.tenants.fetch_add(1, Ordering::Relaxed);
        let state = State {
            position: last.map_or(0, |segment| segment.end),
            newest_ms: newest_ms.unwrap_or(i64::MIN),
            next_segment,
            segments: segments.into(),
            ..State::default()
        };
        Self {
            tenant,
            directory,
            shared,
            state: Mutex::new(state),
            returned: Condvar::new(),
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

    /// The segment with the sample at a position, or the first after it; without one,
    /// the position after the last sample that ever was, which may be later.
    pub(crate) fn segment_at(&self, position: u64) -> Result<Segment, u64> {
        let state = self.state.lock();
        let mut segments = state.segments.iter();
        let segment = segments.find(|segment| segment.end > position);
        segment.cloned().ok_or(state.position)
    }

    /// How many bytes of a segment can be read, and the position after the last sample
    /// of the tenant if no segment follows; `None` if it has been removed.
    pub(crate) fn readable(&self, number: u64) -> Option<(u64, Option<u64>)> {
        let state = self.state.lock();
        let last = state.segments.back()?.number;
        let mut segments = state.segments.iter();
        let segment = segments.find(|segment| segment.number == number)?;
        Some((segment.bytes, (number == last).then_some(state.position)))
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
        let segment = self.segment_at(position).ok()?;
        Some(segment.oldest_ms)
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

    /// The time of the latest sample of the last segment, in milliseconds since the
    /// Unix epoch; the least there is if it has none.
    pub(super) fn last_segment_ms(&self) -> i64 {
        let state = self.state.lock();
        let last = state.segments.back();
        last.map_or(i64::MIN, |segment| segment.newest_ms)
    }

    /// The settings.
    pub(crate) fn config(&self) -> &SpoolConfig {
        &self.shared.config
    }

    /// How many tenants there are.
    pub(super) fn tenants(&self) -> u64 {
        self.shared.tenants.load(Ordering::Relaxed)
    }

    /// Samples that the disk has not taken yet.
    pub(crate) fn kept_samples(&self) -> u64 {
        let state = self.state.lock();
        state
            .writer
            .as_ref()
            .map_or(0, |writer| writer.kept_samples())
    }

    /// Removes every segment of a tenant whose samples have all been delivered and
    /// who is not written any more. What its cursors know stays.
    pub(crate) fn remove_all(&self) {
        self.state.lock().writer = None;
        self.remove_segments();
    }

    /// Removes every segment, if every sample is before a position, and the disk has
    /// them all; `false` if not, or somebody writes.
    pub(crate) fn remove_if_before(&self, position: u64) -> bool {
        let mut state = self.state.lock();
        let last = state.segments.back();
        let is_before = last.is_none_or(|last| last.end <= position);
        let writer = state.writer.as_ref();
        let is_behind = writer.is_some_and(|writer| writer.is_behind());
        if state.is_written || is_behind || !is_before {
            return false;
        }
        state.writer = None;
        while !state.segments.is_empty() {
            self.remove_first(&mut state);
        }
        true
    }

    /// Removes every segment. Their samples have all been delivered, and nobody writes
    /// to them any more.
    pub(super) fn remove_segments(&self) {
        let mut state = self.state.lock();
        while !state.segments.is_empty() {
            self.remove_first(&mut state);
        }
    }

    /// The writer, until it is given back. Waits for whoever has it: that is somebody
    /// who tries again what the disk did not take.
    pub(super) fn take_writer(&self) -> Box<SegmentWriter> {
        let mut state = self.state.lock();
        while state.is_written && !self.returned.wait_for(&mut state, WAIT).timed_out() {}
        state.is_written = true;
        state.writer.take().unwrap_or_else(|| {
            let kept_in_all = Arc::clone(&self.shared.kept_bytes);
            Box::new(SegmentWriter::new(self.directory.clone(), kept_in_all))
        })
    }

    /// The writer, if nobody has it and the disk did not take all from it.
    pub(super) fn take_writer_that_is_behind(&self) -> Option<Box<SegmentWriter>> {
        let mut state = self.state.lock();
        let is_behind = state
            .writer
            .as_ref()
            .is_some_and(|writer| writer.is_behind());
        if state.is_written || !is_behind {
            return None;
        }
        state.is_written = true;
        state.writer.take()
    }

    /// Takes the writer back.
    pub(super) fn give_back(&self, writer: Box<SegmentWriter>) {
        let mut state = self.state.lock();
        state.writer = Some(writer);
        state.is_written = false;
        drop(state);
        self.returned.notify_one();
    }

    /// Begins a segment at the end.
    ///
    /// # Errors
    ///
    /// What the system says; then nothing has changed.
    pub(super) fn begin_segment(&self, writer: &mut SegmentWriter) -> io::Result<()> {
        let mut state = self.state.lock();
        let (number, position) = (state.next_segment, state.position);
        // Also if it fails: a file of that number may be there.
        state.next_segment += 1;
        let bytes = writer.begin_segment(&self.tenant, number, position)?;
        if self.config().fsync == Fsync::Append {
            // Its name must be as durable as what is in it.
            let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
            if let Err(error) = synced {
                writer.abandon_segment();
                let _ = std::fs::remove_file(self.path(number));
                return Err(error);
            }
        }
        // A process may have ended before it wrote into its segment.
        let is_empty = |last: &Segment| last.first == last.end;
        if state.segments.back().is_some_and(is_empty)
            && let Some(empty) = state.segments.pop_back()
        {
            let _ = std::fs::remove_file(self.path(empty.number));
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
        Ok(())
    }

    /// Makes the current segment durable, unless it never is to be.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let state = self.state.lock();
        let last = state.segments.back().map(|segment| segment.number);
        drop(state);
        match last {
            Some(number) if self.config().fsync != Fsync::Never => {
                match File::open(self.path(number)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    opened => opened?.sync_data(),
                }
            }
            _ => Ok(()),
        }
    }

    /// Notes a record that has been written.
    pub(super) fn written(&self, written: Written) {
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

impl Drop for TenantSpool {
    fn drop(&mut self) {
        self.shared.tenants.fetch_sub(1, Ordering::Relaxed);
    }
}
