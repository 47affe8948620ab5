//! What one tenant has yet to send to one destination.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use http::HeaderMap;
use model::TenantId;
use parking_lot::Mutex;
use telemetry::LogThrottle;
use tokio::time::Instant;

use crate::destination::Destination;
use crate::handover::Outstanding;
use crate::metrics::{DropReason, TenantMetrics};
use crate::progress::{GivenAway, Progress, RecordRead};
use crate::retry::Backoff;
use crate::spool::TenantSpool;
use crate::spool::cursor;
use crate::spool::tailer::{Place, Tailer};
use crate::tenant::Tenant;

/// Failures of the disk to read, one after the other, after which the place is taken
/// for damaged.
const MAX_READ_ERRORS: u32 = 3;

/// What one tenant has yet to send to one destination.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) tenant: Weak<Tenant>,
    /// Which cursor is its own.
    pub(crate) key: u64,
    pub(crate) metrics: TenantMetrics,
    spool: Arc<TenantSpool>,
    cursor: PathBuf,
    cursor_log: LogThrottle,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    destination: Arc<Destination>,
    headers: Arc<HeaderMap>,
    progress: Progress,
    /// Where in the files a position is: one that is not after what is done, and
    /// where a reader has stopped.
    low_place: Option<(u64, Place)>,
    end_place: Option<(u64, Place)>,
    /// How often in a row the disk has failed to read.
    read_errors: u32,
    phase: Phase,
    /// Counts the ends of turns: a wait that is over may be of an earlier one.
    turn: u64,
    /// Whether there is more since the queue began to be sent.
    again: bool,
    /// Whether it goes elsewhere since then.
    elsewhere: bool,
    /// Whether it has been taken out of use.
    removed: bool,
    backoff: Option<Backoff>,
    failures: u64,
}

/// Where a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has nothing to send.
    Idle,
    /// It waits for its turn.
    Ready,
    /// It is being sent.
    Running,
    /// It failed, and waits until it is tried again.
    Waiting,
}

/// How a queue's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Everything was sent.
    Drained,
    /// It has had its share; there is more.
    Over,
    /// It is to be tried again at that time.
    Failed { again: Instant },
}

/// How far the number of samples in memory was brought by a request's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Concluded {
    pub(crate) shard: usize,
    pub(crate) samples: u64,
    /// The position after its last row.
    pub(crate) end: u64,
    /// The time of its latest sample, if it was delivered.
    pub(crate) newest_ms: Option<i64>,
}

impl Queue {
    /// A queue that goes on where `progress` says.
    pub(crate) fn new(
        tenant: Weak<Tenant>,
        spool: Arc<TenantSpool>,
        key: u64,
        progress: Progress,
        (destination, headers): (Arc<Destination>, Arc<HeaderMap>),
        metrics: TenantMetrics,
    ) -> Self {
        Self {
            tenant,
            key,
            cursor: cursor::path(spool.directory(), key),
            spool,
            metrics,
            cursor_log: LogThrottle::new(std::time::Duration::from_secs(10)),
            state: Mutex::new(State {
                destination,
                headers,
                progress,
                low_place: None,
                end_place: None,
                read_errors: 0,
                phase: Phase::Idle,
                turn: 0,
                again: false,
                elsewhere: false,
                removed: false,
                backoff: None,
                failures: 0,
            }),
        }
    }

    /// Whose it is.
    pub(crate) fn tenant_id(&self) -> &TenantId {
        self.spool.tenant()
    }

    /// Where to, and with which headers.
    pub(crate) fn destination(&self) -> (Arc<Destination>, Arc<HeaderMap>) {
        let state = self.state.lock();
        (Arc::clone(&state.destination), Arc::clone(&state.headers))
    }

    /// Changes where to, and the headers, from the next turn on. What failed may not
    /// fail any more, so it need not wait.
    pub(crate) fn set_destination(&self, destination: Arc<Destination>, headers: Arc<HeaderMap>) {
        let mut state = self.state.lock();
        let is_same = Arc::ptr_eq(&state.destination, &destination) && state.headers == headers;
        if is_same {
            return;
        }
        state.destination = destination;
        state.headers = headers;
        state.elsewhere = true;
        state.failures = 0;
        state.backoff = None;
        if state.phase == Phase::Waiting {
            state.phase = Phase::Idle;
        }
    }

    /// Samples that are neither delivered nor dropped.
    pub(crate) fn pending(&self) -> u64 {
        let end = self.spool.extent().end;
        self.state.lock().progress.pending(end)
    }

    /// The position before which everything is delivered or dropped.
    pub(crate) fn low(&self) -> u64 {
        self.state.lock().progress.low()
    }

    /// Where to read on.
    pub(crate) fn read(&self) -> u64 {
        self.state.lock().progress.read()
    }

    /// For each shard, up to where its samples are delivered or dropped.
    pub(crate) fn done(&self) -> Vec<u64> {
        let state = self.state.lock();
        let progress = &state.progress;
        (0..progress.shards())
            .map(|shard| progress.done(shard))
            .collect()
    }

    /// A reader from where to read on.
    pub(crate) fn tailer(&self) -> Tailer {
        let state = self.state.lock();
        let read = state.progress.read();
        let places = [state.low_place, state.end_place].into_iter().flatten();
        let before = places.filter(|(position, _)| *position <= read);
        let place = before.max_by_key(|(position, _)| *position);
        Tailer::new(
            Arc::clone(&self.spool),
            read,
            place.map(|(_, place)| place),
            state.read_errors >= MAX_READ_ERRORS,
        )
    }

    /// Notes where in the files a record is that is being read.
    pub(crate) fn note_place(&self, position: u64, place: Option<Place>) {
        let mut state = self.state.lock();
        state.read_errors = 0;
        if position <= state.progress.low() {
            state.low_place = place.map(|place| (position, place));
        }
    }

    /// Notes where in the files a reader stops.
    pub(crate) fn note_end(&self, position: u64, place: Option<Place>) {
        self.state.lock().end_place = place.map(|place| (position, place));
    }

    /// Notes that the disk has failed to read.
    pub(crate) fn read_failed(&self) {
        self.state.lock().read_errors += 1;
    }

    /// Begins to read a record; `false` if the reader should be elsewhere.
    pub(crate) fn begin_record(&self, from: u64, position: u64, end: u64) -> bool {
        let mut state = self.state.lock();
        state.progress.begin_record(from, position, end)
    }

    /// Notes what was in the record, and counts what of it is lost.
    pub(crate) fn end_record(&self, read: &RecordRead) {
        let lost = self.state.lock().progress.end_record(read);
        for (reason, samples) in [
            (DropReason::Damaged, lost.damaged),
            (DropReason::SpoolFull, lost.removed),
            (DropReason::TooOld, lost.too_old),
            (DropReason::Relabelled, lost.relabelled),
            (DropReason::DeliveredElsewhere, lost.delivered_elsewhere),
        ] {
            self.metrics.dropped(reason, samples);
        }
        if lost.damaged > 0 {
            tracing::error!(
                tenant = %self.tenant_id(),
                samples = lost.damaged,
                "samples in the spool cannot be read, they are lost"
            );
        }
    }

    /// Changes the number of shards to what the samples that are pending ask for, if
    /// that can be done now.
    pub(crate) fn reshard(&self, wanted: usize) -> usize {
        let mut state = self.state.lock();
        if state.progress.shards() != wanted {
            state.progress.reshard(wanted);
        }
        state.progress.shards()
    }

    /// Notes the end of a request, and writes down how far the queue is.
    pub(crate) fn conclude(&self, concluded: Concluded) {
        let mut state = self.state.lock();
        let progress = &mut state.progress;
        progress.concluded(concluded.shard, concluded.samples, concluded.end);
        if let Some(newest_ms) = concluded.newest_ms {
            progress.delivered(newest_ms);
        }
        state.failures = 0;
        state.backoff = None;
        self.write_cursor(&mut state);
    }

    /// Writes down how far the queue is.
    pub(crate) fn save(&self) {
        self.write_cursor(&mut self.state.lock());
    }

    fn write_cursor(&self, state: &mut State) {
        if state.removed {
            return;
        }
        // Written in order, because the state is locked.
        if let Err(error) = state.progress.cursor().write(&self.cursor)
            && let Some(suppressed) = self.cursor_log.admit()
        {
            tracing::error!(
                tenant = %self.tenant_id(),
                path = %self.cursor.display(),
                error = %telemetry::error_chain(&error),
                suppressed,
                "cannot write down what was sent; after a crash it would be sent again"
            );
        }
    }

    /// Gives up what is in memory; it is read again.
    pub(crate) fn park(&self) {
        let mut state = self.state.lock();
        state.progress.park();
        self.write_cursor(&mut state);
    }

    /// Skips what has been removed from the spool already, before a turn.
    pub(crate) fn skip_removed(&self) {
        let lost = self.skip_to(self.spool.extent().first);
        self.metrics.dropped(DropReason::SpoolFull, lost);
    }

    /// Skips what has been removed from the spool; returns how many samples are lost
    /// by it.
    pub(crate) fn skip_to(&self, position: u64) -> u64 {
        let mut state = self.state.lock();
        let lost = state.progress.skip_to(position);
        if lost > 0 {
            self.write_cursor(&mut state);
        }
        lost
    }

    /// What is still to be sent, once nothing is sent any more; what was in memory is
    /// among it.
    pub(crate) fn outstanding(&self) -> Outstanding {
        self.park();
        self.skip_removed();
        Outstanding::of(self.key, &self.state.lock().progress)
    }

    /// Notes that somebody else is to deliver what was pending up to a position.
    /// Returns how many samples these are.
    pub(crate) fn give_away(&self, end: u64, found: GivenAway) -> u64 {
        let mut state = self.state.lock();
        let (given, lost) = state.progress.give_away(end, found);
        self.write_cursor(&mut state);
        self.metrics.handed_over(given);
        self.metrics.dropped(DropReason::Damaged, lost.damaged);
        let elsewhere = lost.delivered_elsewhere;
        self.metrics
            .dropped(DropReason::DeliveredElsewhere, elsewhere);
        given
    }

    /// Takes the queue out of use, and removes its cursor. Returns how many samples
    /// will not be sent.
    pub(crate) fn remove(&self) -> u64 {
        let end = self.spool.extent().end;
        let mut state = self.state.lock();
        state.removed = true;
        // It may never have been written.
        let _ = std::fs::remove_file(&self.cursor);
        state.progress.pending(end)
    }

    /// Where another queue that takes this one's place goes on.
    pub(crate) fn take_over(&self) -> Progress {
        let mut state = self.state.lock();
        state.removed = true;
        Progress::resume(state.progress.cursor())
    }

    /// How long the oldest sample that is pending has been there, in milliseconds;
    /// and how much later the latest of the spool is than the latest delivered.
    pub(crate) fn measure(&self, now_ms: i64) {
        let extent = self.spool.extent();
        let state = self.state.lock();
        let progress = &state.progress;
        let pending = progress.pending(extent.end);
        let oldest_ms = match pending {
            0 => now_ms,
            _ => self.spool.oldest_ms(progress.low()).unwrap_or(now_ms),
        };
        let lag_ms = match pending {
            0 => 0,
            _ => extent
                .newest_ms
                .saturating_sub(progress.newest_ms().max(oldest_ms)),
        };
        self.metrics.pending(
            pending,
            now_ms.saturating_sub(oldest_ms).max(0),
            lag_ms.max(0),
        );
    }

    /// Samples that are pending, and how long the oldest has been there, in
    /// milliseconds; 0 if none is.
    pub(crate) fn backlog(&self, now_ms: i64) -> (u64, u64) {
        let end = self.spool.extent().end;
        let (pending, low) = {
            let state = self.state.lock();
            (state.progress.pending(end), state.progress.low())
        };
        let oldest_ms = (pending > 0).then(|| self.spool.oldest_ms(low)).flatten();
        let lag_ms = now_ms.saturating_sub(oldest_ms.unwrap_or(now_ms));
        (pending, lag_ms.max(0).unsigned_abs())
    }

    /// Notes that there is more to send; returns whether the queue is to be put
    /// among the ready.
    pub(crate) fn wake(&self) -> bool {
        let mut state = self.state.lock();
        state.again = true;
        let wakes = state.phase == Phase::Idle && !state.removed;
        if wakes {
            state.phase = Phase::Ready;
        }
        wakes
    }

    /// Begins a turn; `false` if the queue is not to be sent.
    pub(crate) fn begin_turn(&self) -> bool {
        let mut state = self.state.lock();
        state.again = false;
        state.elsewhere = false;
        state.phase = Phase::Running;
        !state.removed
    }

    /// Ends a turn; returns where the queue is now, and which of its turns that was.
    pub(crate) fn end_turn(&self, turn: Turn) -> (Phase, u64) {
        let mut state = self.state.lock();
        state.phase = match turn {
            _ if state.removed => Phase::Idle,
            Turn::Drained if !state.again => Phase::Idle,
            Turn::Drained | Turn::Over => Phase::Ready,
            // What failed is not what it tries now.
            Turn::Failed { .. } if state.elsewhere => {
                state.failures = 0;
                state.backoff = None;
                Phase::Ready
            }
            Turn::Failed { .. } => Phase::Waiting,
        };
        state.turn += 1;
        (state.phase, state.turn)
    }

    /// Ends the wait after a turn, unless something else has.
    pub(crate) fn end_wait(&self, turn: u64) -> bool {
        let mut state = self.state.lock();
        let ends = state.phase == Phase::Waiting && state.turn == turn;
        if ends {
            state.phase = Phase::Ready;
        }
        ends
    }

    /// Whether no samples are in memory.
    pub(crate) fn is_settled(&self) -> bool {
        self.state.lock().progress.is_settled()
    }

    /// Whether a turn that began with a destination should end: the queue has another
    /// now, or is out of use.
    pub(crate) fn is_changed(&self, destination: &Arc<Destination>) -> bool {
        let state = self.state.lock();
        state.removed || !Arc::ptr_eq(&state.destination, destination)
    }

    /// Whether nobody who waits need wait for it: it has failed again and again, or its
    /// receiver has, for everybody.
    pub(crate) fn is_hopeless(&self, failures: u64) -> bool {
        let state = self.state.lock();
        state.failures >= failures || state.destination.gate.failures() >= failures
    }

    /// Whether its next attempt will probably fail.
    pub(crate) fn is_probe(&self) -> bool {
        let state = self.state.lock();
        state.failures > 0 || state.destination.is_silent()
    }

    /// How often it failed since something was delivered.
    pub(crate) fn failures(&self) -> u64 {
        self.state.lock().failures
    }

    /// Notes a failure; returns how long to wait.
    pub(crate) fn failed(
        &self,
        jitter: f64,
        retry_after: Option<std::time::Duration>,
    ) -> std::time::Duration {
        let mut state = self.state.lock();
        state.failures += 1;
        let queue = state.destination.config.queue_config.clone();
        state
            .backoff
            .get_or_insert_with(|| Backoff::new(queue.min_backoff, queue.max_backoff))
            .delay(jitter, retry_after)
    }
}
