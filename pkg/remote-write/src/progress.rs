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
    /// Where the frontier was before.
    frontier: u64,
}

/// What the reader found in one record.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordRead {
    /// Samples that went into requests, by shard.
    pub(crate) queued: Vec<u64>,
    /// Samples in it, or right before it, that cannot be read.
    pub(crate) lost: u64,
    /// Samples that are dropped because they are too old.
    pub(crate) too_old: u64,
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

    /// Begins to read the record that ends at `end`, for a reader that was at `from`;
    /// `false` if it should be elsewhere, at [`Progress::read`].
    #[must_use]
    pub(crate) fn begin_record(&mut self, from: u64, end: u64) -> bool {
        if self.read != from {
            return false;
        }
        self.reading = Some(Reading {
            from,
            frontier: self.frontier,
        });
        self.read = end;
        self.frontier = self.frontier.max(end);
        true
    }

    /// Notes what was in the record. Returns how many samples are lost.
    pub(crate) fn end_record(&mut self, read: &RecordRead) -> u64 {
        let Some(reading) = self.reading.take() else {
            return 0;
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
        let mut lost = 0;
        if reading.from < reading.frontier {
            self.owed = self.owed.saturating_sub(queued + read.too_old);
        } else {
            lost = read.lost;
        }
        if self.read >= reading.frontier {
            // What was owed and has not turned up cannot be read any more.
            lost += std::mem::take(&mut self.owed);
        }
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

    /// Skips what has been removed from the spool, up to a position. Returns how
    /// many samples are lost by it. What is in memory is not.
    pub(crate) fn skip_to(&mut self, position: u64) -> u64 {
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
        assert!(progress.begin_record(progress.read(), end));
        progress.end_record(&RecordRead {
            queued: queued.to_vec(),
            lost,
            too_old: 0,
        })
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
        assert!(progress.begin_record(0, 30));
        assert!(!progress.begin_record(0, 30));
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
}
