//! From the spool to requests, for one destination: the part that reads and encodes.
//!
//! It runs on a thread where it may block, and holds one record and a request for
//! each shard.

use std::io;
use std::sync::Arc;

use crate::destination::Destination;
use crate::encode::Batch;
use crate::progress::RecordRead;
use crate::queue::Queue;
use crate::requests::RequestWriter;
use crate::spool::row::Values;
use crate::spool::tailer::{Next, NextRecord, Tailer};

/// Reads samples and fills requests with them.
#[derive(Debug)]
pub(crate) struct Filler {
    queue: Arc<Queue>,
    destination: Arc<Destination>,
    tailer: Tailer,
    shards: Vec<ShardWriter>,
    values: Values,
    batches: Vec<ShardBatch>,
}

/// The request that is being filled for one shard.
#[derive(Debug)]
struct ShardWriter {
    requests: RequestWriter,
    /// Rows before have been delivered, or dropped, already.
    done: u64,
    /// The position after the last row that went into the request.
    end: u64,
    /// When the earliest span of its rows was received; 0 if nobody knows.
    pushed_ms: i64,
}

/// A request of a shard.
#[derive(Debug)]
pub(crate) struct ShardBatch {
    pub(crate) shard: usize,
    pub(crate) batch: Batch,
    /// The position after its last row.
    pub(crate) end: u64,
    /// When the earliest span of its rows was received, in milliseconds since the
    /// Unix epoch; 0 if nobody knows.
    pub(crate) pushed_ms: i64,
}

/// What a call has found.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) batches: Vec<ShardBatch>,
    /// Whether everything that there is has been read.
    pub(crate) is_drained: bool,
}

impl Filler {
    /// Reads from where the queue is.
    pub(crate) fn new(queue: Arc<Queue>, destination: Arc<Destination>) -> Self {
        let tailer = queue.tailer();
        let config = &destination.config.queue_config;
        let shards = queue.done().into_iter().map(|done| ShardWriter {
            requests: RequestWriter::new(
                destination.negotiation.protocol(),
                config.max_samples_per_send,
                Arc::clone(&destination.relabeller),
            ),
            done,
            end: 0,
            pushed_ms: 0,
        });
        Self {
            shards: shards.collect(),
            queue,
            destination,
            tailer,
            values: Values::default(),
            batches: Vec::new(),
        }
    }

    /// Reads until so many requests are full, or to the end; then the last ones go
    /// as they are.
    ///
    /// # Errors
    ///
    /// What the system says of the spool's files; the call can be made again.
    pub(crate) fn fill(&mut self, wanted: usize) -> io::Result<Filled> {
        while self.batches.len() < wanted {
            let from = self.tailer.position();
            let next = match self.tailer.next()? {
                Next::Record(next) => next,
                Next::End(end) if from < end => {
                    self.note_missing(from, end);
                    continue;
                }
                Next::End(_) => {
                    self.note_end();
                    self.close_all();
                    return Ok(self.filled(true));
                }
            };
            if next.missing > 0 {
                // Maybe it has been removed by a bound.
                self.queue.skip_removed();
            } else {
                let place = self.tailer.record_place();
                self.queue.note_place(from, place);
            }
            if !self.queue.begin_record(from, next.position, next.end) {
                // What comes next has been removed from the spool.
                self.tailer.seek(self.queue.read());
                continue;
            }
            let read = self.read(next);
            self.queue.end_record(&read);
        }
        Ok(self.filled(false))
    }

    /// Ends the requests that are not full.
    pub(crate) fn finish(&mut self) -> Vec<ShardBatch> {
        self.note_end();
        self.close_all();
        std::mem::take(&mut self.batches)
    }

    /// Notes that the last samples, up to `end`, are not there: after a crash more may
    /// be remembered than the disk has.
    fn note_missing(&mut self, from: u64, end: u64) {
        // Maybe they have been removed by a bound.
        self.queue.skip_removed();
        if self.queue.begin_record(from, end, end) {
            self.queue.end_record(&RecordRead::default());
        }
        self.tailer.seek(self.queue.read());
    }

    /// Notes where the reader is, for the next turn.
    fn note_end(&self) {
        let (position, place) = (self.tailer.position(), self.tailer.place());
        self.queue.note_end(position, place);
    }

    fn filled(&mut self, is_drained: bool) -> Filled {
        Filled {
            batches: std::mem::take(&mut self.batches),
            is_drained,
        }
    }

    /// Reads one record.
    fn read(&mut self, next: NextRecord) -> RecordRead {
        let mut read = RecordRead {
            queued: vec![0; self.shards.len()],
            lost: next.end - next.position,
            ..RecordRead::default()
        };
        let is_too_old = self.destination.is_too_old(next.newest_ms);
        let Some((mut rows, definitions)) = self.tailer.rows() else {
            return read;
        };
        let mut position = next.position;
        let head = rows.head;
        let is_delivered = head.is_delivered_to(self.queue.key);
        for shard in &mut self.shards {
            shard.requests.set_trace_id_label(head.trace_id_label);
        }
        while let Some(row) = rows.row(definitions) {
            let place = row.label_set.hash as usize % self.shards.len().max(1);
            let Some(shard) = self.shards.get_mut(place) else {
                break;
            };
            let is_new = position >= shard.done;
            let is_wanted = is_new && !is_too_old && !is_delivered;
            let samples = if is_wanted {
                let full = shard.requests.make_room_for_row(row.series());
                let start = position;
                self.batches
                    .extend(full.map(|batch| shard.finished(place, batch, start)));
                let before = shard.requests.samples();
                shard.requests.begin(row.label_set);
                let requests = &mut shard.requests;
                let samples = rows.samples(row, definitions, &mut self.values, Some(requests));
                let queued = shard.requests.samples().saturating_sub(before);
                if let Some(all) = read.queued.get_mut(place) {
                    *all += queued;
                }
                read.relabelled += samples.map_or(0, u64::from).saturating_sub(queued);
                for batch in shard.requests.take_full() {
                    self.batches.push(shard.finished(place, batch, start));
                }
                samples
            } else {
                let nobody = None::<&mut RequestWriter>;
                rows.samples(row, definitions, &mut self.values, nobody)
            };
            // What cannot be read to its end takes the rest of the record with it.
            let Some(samples) = samples else {
                break;
            };
            if is_new && is_delivered {
                read.delivered_elsewhere += u64::from(samples);
            } else if is_new && is_too_old {
                read.too_old += u64::from(samples);
            }
            position += u64::from(samples);
            if is_wanted {
                shard.end = position;
                if shard.pushed_ms == 0 {
                    shard.pushed_ms = head.pushed_ms;
                }
            }
        }
        read.lost = next.end.saturating_sub(position);
        read
    }

    fn close_all(&mut self) {
        for (place, shard) in self.shards.iter_mut().enumerate() {
            if let Some(batch) = shard.requests.close() {
                let end = shard.end;
                self.batches.push(shard.finished(place, batch, end));
            }
        }
    }
}

impl ShardWriter {
    fn finished(&mut self, shard: usize, batch: Batch, end: u64) -> ShardBatch {
        ShardBatch {
            shard,
            batch,
            end,
            pushed_ms: std::mem::take(&mut self.pushed_ms),
        }
    }
}
