//! How far one destination of one tenant is, sample by sample.

use crate::spool::cursor::Cursor;

/// How far a destination is.
///
/// Every sample of the tenant is in one of these places: delivered or dropped;
/// unsent, in memory; owed, read once and to be read again; or beyond the frontier,
/// not read yet. So what is pending is exact whenever anything is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Up to where samples have been read, ever.
    frontier: u64,
    /// Samples before the frontier that have to be read again.
    owed: u64,
    /// Samples in requests that are filled, wait or are under way.
    unsent: u64,
    /// Where the reader is; before the frontier if it reads again.
    read: u64,
    /// The record that it is reading.
    reading: Option<Reading>,
    /// Up to where the spool was removed while a record was read.
    removed: u64,
    /// Samples that were found too old when they were read again.
    too_old: u64,
    shards: Vec<Shard>,
    /// The time of the latest sample that was delivered.
    newest_ms: i64,
    sequence: u64,
}

/// How far one shard is.
#[derive(Clone, Copy, Debug, Default)]
struct Shard {
    /// Its samples before are delivered or dropped.
    done: u64,
    /// Its samples in memory.
    queued: u64,
}

/// A record that is being read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Where the reader was before.
    from: u64,
    /// The position of the record's first sample.
    position: u64,
    /// Where the frontier was before.
    frontier: u64,
}

/// What the reader found in one record.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordRead {
    /// Samples that went into requests, by shard.
    pub(crate) queued: Vec<u64>,
    /// Samples in it that cannot be read.
    pub(crate) lost: u64,
    /// Samples that are dropped because they are too old.
    pub(crate) too_old: u64,
    /// Samples that are dropped by relabelling.
    pub(crate) relabelled: u64,
    /// Samples that were taken over from somebody who had delivered them.
    pub(crate) delivered_elsewhere: u64,
}

/// Samples that somebody else is to deliver, as far as they could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GivenAway {
    /// Those that had been read before.
    pub(crate) again: u64,
    /// Those that had not.
    pub(crate) new: u64,
    /// Samples among the new that were taken over from somebody who had delivered them.
    pub(crate) delivered_elsewhere: u64,
}

/// Samples that will not be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// They cannot be read.
    pub(crate) damaged: u64,
    /// They have been removed from the spool.
    pub(crate) removed: u64,
    /// They are too old.
    pub(crate) too_old: u64,
    /// Relabelling drops them.
    pub(crate) relabelled: u64,
    /// Somebody else had delivered them.
    pub(crate) delivered_elsewhere: u64,
}

impl Progress {
    /// Begins at a position.
    pub(crate) fn at(position: u64) -> Self {
        Self::resume(Cursor {
            frontier: position,
            shards: vec![position],
            newest_ms: i64::MIN,
            ..Cursor::default()
        })
    }

    /// Goes on from a cursor.
    pub(crate) fn resume(cursor: Cursor) -> Self {
        let read = cursor.shards.iter().copied().min();
        let read = read.unwrap_or(cursor.frontier).min(cursor.frontier);
        let shards = cursor.shards.iter().map(|done| Shard {
            done: *done,
            queued: 0,
        });
        let mut progress = Self {
            frontier: cursor.frontier,
            owed: cursor.owed,
            unsent: 0,
            read,
            reading: None,
            removed: 0,
            too_old: 0,
            shards: shards.collect(),
            newest_ms: cursor.newest_ms,
            sequence: cursor.sequence,
        };
        if progress.shards.is_empty() {
            progress.shards.push(Shard {
                done: read,
                queued: 0,
            });
        }
        progress
    }

    /// What to write down, so that another process can go on.
    pub(crate) fn cursor(&mut self) -> Cursor {
        self.sequence += 1;
        Cursor {
            sequence: self.sequence,
            frontier: self.settled_frontier(),
            owed: self.owed + self.unsent,
            newest_ms: self.newest_ms,
            shards: (0..self.shards.len())
                .map(|shard| self.done(shard))
                .collect(),
        }
    }

    /// Samples that are neither delivered nor dropped, of a spool that ends there.
    pub(crate) fn pending(&self, end: u64) -> u64 {
        self.owed + self.unsent + end.saturating_sub(self.settled_frontier())
    }

    /// Up to where samples have been read whole.
    fn settled_frontier(&self) -> u64 {
        self.reading
            .map_or(self.frontier, |reading| reading.frontier)
    }

    /// The position before which everything is delivered or dropped.
    pub(crate) fn low(&self) -> u64 {
        let shards = (0..self.shards.len()).map(|shard| self.done(shard));
        shards.min().unwrap_or(u64::MAX).min(self.settled())
    }

    /// Whether no samples are in memory.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsent == 0 && self.reading.is_none()
    }

    /// Where to read on.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The time of the latest sample that was delivered, in milliseconds since the
    /// Unix epoch.
    pub(crate) fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    /// Up to where the samples of a shard are delivered or dropped.
    pub(crate) fn done(&self, shard: usize) -> u64 {
        match self.shards.get(shard) {
            Some(shard) if shard.queued > 0 => shard.done,
            Some(shard) => shard.done.max(self.settled()),
            None => self.settled(),
        }
    }

    /// Up to where samples have been given to shards.
    fn settled(&self) -> u64 {
        self.reading.map_or(self.read, |reading| reading.from)
    }

    /// Changes the number of shards, if nothing is in memory and nothing is owed.
    pub(crate) fn reshard(&mut self, shards: usize) -> bool {
        if self.unsent > 0 || self.owed > 0 || self.read < self.frontier {
            return false;
        }
        self.shards.clear();
        let shard = Shard {
            done: self.read,
            queued: 0,
        };
        self.shards.resize(shards.max(1), shard);
        true
    }

    /// Begins to read the record from `position` to `end`, for a reader that was at
    /// `from`; `false` if it should be elsewhere, at [`Progress::read`].
    #[must_use]
    pub(crate) fn begin_record(&mut self, from: u64, position: u64, end: u64) -> bool {
        if self.read != from {
            return false;
        }
        self.reading = Some(Reading {
            from,
            position,
            frontier: self.frontier,
        });
        self.read = end;
        self.frontier = self.frontier.max(end);
        true
    }

    /// Notes what was in the record. Returns what is lost.
    pub(crate) fn end_record(&mut self, read: &RecordRead) -> Lost {
        let Some(reading) = self.reading.take() else {
            return Lost::default();
        };
        let queued: u64 = read.queued.iter().sum();
        for (shard, queued) in self.shards.iter_mut().zip(&read.queued) {
            // What was read before and went into no request needs no second look.
            if shard.queued == 0 {
                shard.done = shard.done.max(reading.from);
            }
            shard.queued += queued;
        }
        self.unsent += queued;
        let mut lost = Lost::default();
        if reading.position < reading.frontier {
            // Read again: all of it but what was settled before is owed.
            self.owed = self.owed.saturating_sub(queued);
            self.too_old += read.too_old;
        } else {
            let known = reading.from.max(reading.frontier);
            lost.damaged = reading.position.saturating_sub(known) + read.lost;
            lost.too_old = read.too_old;
            lost.relabelled = read.relabelled;
            lost.delivered_elsewhere = read.delivered_elsewhere;
        }
        if self.read >= reading.frontier {
            // What was owed and has not turned up cannot be read any more.
            let owed = std::mem::take(&mut self.owed);
            let too_old = std::mem::take(&mut self.too_old).min(owed);
            lost.too_old += too_old;
            lost.damaged += owed - too_old;
        }
        let removed = std::mem::take(&mut self.removed);
        lost.removed = self.skip_to(removed);
        lost
    }

    /// Notes that the samples of a request are delivered or dropped. `end` is the
    /// position after its last row.
    pub(crate) fn concluded(&mut self, shard: usize, samples: u64, end: u64) {
        self.unsent = self.unsent.saturating_sub(samples);
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.queued = shard.queued.saturating_sub(samples);
            shard.done = shard.done.max(end);
        }
    }

    /// Notes the time of a sample that was delivered.
    pub(crate) fn delivered(&mut self, newest_ms: i64) {
        self.newest_ms = self.newest_ms.max(newest_ms);
    }

    /// Gives up the requests in memory: their samples have to be read again.
    pub(crate) fn park(&mut self) {
        if let Some(reading) = self.reading.take() {
            // Its reader is gone, and nothing of it is in memory.
            self.read = reading.from;
            self.frontier = reading.frontier;
        }
        let done: Vec<_> = (0..self.shards.len())
            .map(|shard| self.done(shard))
            .collect();
        for (shard, done) in self.shards.iter_mut().zip(done) {
            *shard = Shard { done, queued: 0 };
        }
        self.owed += std::mem::take(&mut self.unsent);
        let low = self.shards.iter().map(|shard| shard.done).min();
        self.read = low.unwrap_or(self.read).min(self.read);
    }

    /// Up to where samples have been read, ever; the rest has not been looked at.
    pub(crate) fn frontier(&self) -> u64 {
        self.frontier
    }

    /// Notes that somebody else is to deliver what was pending up to a position, of
    /// which so much could be read. Returns how many samples these are, and what is
    /// lost of the rest. Nothing may be in memory.
    pub(crate) fn give_away(&mut self, end: u64, found: GivenAway) -> (u64, Lost) {
        let mut lost = Lost::default();
        let mut given = found.again.min(self.owed);
        self.owed -= given;
        if end >= self.frontier {
            let unread = end - self.frontier;
            let new = found.new.min(unread);
            lost.delivered_elsewhere = found.delivered_elsewhere.min(unread - new);
            lost.damaged = unread - new - lost.delivered_elsewhere;
            // What was owed and has not turned up cannot be read any more.
            lost.damaged += std::mem::take(&mut self.owed);
            given += new;
            self.frontier = end;
        }
        for shard in &mut self.shards {
            shard.done = shard.done.max(end);
        }
        self.read = self.read.max(end);
        (given, lost)
    }

    /// Skips what has been removed from the spool, up to a position. Returns how
    /// many samples are lost by it. What is in memory is not.
    pub(crate) fn skip_to(&mut self, position: u64) -> u64 {
        if self.reading.is_some() {
            // What of it is owed is known at its end.
            self.removed = self.removed.max(position);
            return 0;
        }
        if position <= self.read {
            return 0;
        }
        // Part of what is owed is gone; the rest of it would be a few requests.
        let mut lost = std::mem::take(&mut self.owed);
        lost += position.saturating_sub(self.frontier);
        self.frontier = self.frontier.max(position);
        self.read = self.frontier;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a record; returns how many samples are lost.
    fn read(progress: &mut Progress, end: u64, queued: &[u64], lost: u64) -> u64 {
        read_from(progress, progress.read(), end, queued, lost)
    }

    /// The same of a record that begins later than where the reader is.
    fn read_from(
        progress: &mut Progress,
        position: u64,
        end: u64,
        queued: &[u64],
        lost: u64,
    ) -> u64 {
        assert!(progress.begin_record(progress.read(), position, end));
        let read = RecordRead {
            queued: queued.to_vec(),
            lost,
            ..RecordRead::default()
        };
        progress.end_record(&read).damaged
    }

    #[test]
    fn everything_is_pending_until_it_is_concluded() {
        let mut progress = Progress::at(100);
        progress.reshard(2);
        assert_eq!(progress.pending(150), 50);
        read(&mut progress, 130, &[20, 10], 0);
        assert_eq!((progress.pending(150), progress.low()), (50, 100));
        progress.concluded(0, 20, 125);
        assert_eq!((progress.pending(150), progress.low()), (30, 100));
        progress.concluded(1, 10, 130);
        assert_eq!((progress.pending(150), progress.low()), (20, 130));
    }

    #[test]
    fn another_process_reads_again_what_was_not_concluded_and_only_that() {
        let mut progress = Progress::at(0);
        progress.reshard(2);
        read(&mut progress, 30, &[20, 10], 0);
        progress.concluded(0, 20, 28);
        let mut progress = Progress::resume(progress.cursor());
        assert_eq!((progress.pending(30), progress.read()), (10, 0));
        assert_eq!((progress.done(0), progress.done(1)), (30, 0));
        assert_eq!(read(&mut progress, 30, &[0, 10], 0), 0);
        assert_eq!(progress.pending(30), 10);
        progress.concluded(1, 10, 30);
        assert_eq!((progress.pending(30), progress.low()), (0, 30));
    }

    #[test]
    fn what_is_owed_and_gone_is_lost_once() {
        let mut progress = Progress::at(0);
        read(&mut progress, 30, &[30], 0);
        progress.concluded(0, 10, 10);
        progress.park();
        assert_eq!((progress.read(), progress.pending(50)), (10, 40));
        assert_eq!(progress.skip_to(40), 30);
        assert_eq!((progress.read(), progress.pending(50)), (40, 10));
        assert_eq!(read(&mut progress, 50, &[4], 6), 6);
        assert_eq!(progress.pending(50), 4);
    }

    #[test]
    fn record_that_is_being_read_is_read_again_by_another_process() {
        let mut progress = Progress::at(0);
        assert!(progress.begin_record(0, 0, 30));
        assert!(!progress.begin_record(0, 0, 30));
        assert_eq!(progress.pending(30), 30);
        let mut another = Progress::resume(progress.cursor());
        assert_eq!((another.read(), another.pending(30)), (0, 30));
        assert_eq!(read(&mut another, 30, &[30], 0), 0);
        assert_eq!(another.pending(30), 30);
    }

    #[test]
    fn what_is_in_memory_outlives_its_segment() {
        let mut progress = Progress::at(0);
        read(&mut progress, 30, &[30], 0);
        assert_eq!(progress.skip_to(20), 0);
        assert_eq!(progress.skip_to(50), 20);
        assert_eq!(progress.pending(60), 40);
    }

    /// The record that is owed is damaged: it is passed over, and the next one, which
    /// is new, tells.
    #[test]
    fn what_is_owed_and_damaged_is_not_paid_by_what_is_new() {
        let mut progress = Progress::at(0);
        read(&mut progress, 30, &[30], 0);
        progress.park();
        assert_eq!(progress.pending(45), 45);
        assert_eq!(read_from(&mut progress, 35, 45, &[10], 0), 30 + 5);
        assert_eq!(progress.pending(45), 10);
    }

    #[test]
    fn what_is_removed_while_it_is_read_counts_once() {
        let mut progress = Progress::at(0);
        read(&mut progress, 30, &[30], 0);
        read(&mut progress, 60, &[30], 0);
        progress.park();
        assert!(progress.begin_record(0, 0, 30));
        assert_eq!(progress.skip_to(70), 0);
        let record = RecordRead {
            queued: vec![30],
            ..RecordRead::default()
        };
        let lost = progress.end_record(&record);
        assert_eq!((lost.removed, lost.damaged), (30 + 10, 0));
        assert_eq!((progress.pending(80), progress.read()), (30 + 10, 70));
    }

    #[test]
    fn record_whose_reader_is_gone_is_read_again() {
        let mut progress = Progress::at(0);
        assert!(progress.begin_record(0, 0, 30));
        progress.park();
        assert_eq!((progress.read(), progress.pending(30)), (0, 30));
    }
}
