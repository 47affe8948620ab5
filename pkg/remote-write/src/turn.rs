//! A queue's turn: its shards filled and sent, until all is sent, or its share is,
//! or the receiver fails.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::Clock;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::config::QueueConfig;
use crate::delivery::{Delivery, Failure};
use crate::filler::{Filled, Filler, ShardBatch};
use crate::queue::{Concluded, Queue, Turn};
use crate::spool::cursor::MAX_SHARDS;

/// Requests of each shard after which others get their turn.
const REQUESTS_OF_A_TURN: usize = 64;

/// Requests' worth of samples that are pending for each shard that is used: what a
/// receiver takes one by one in a second or so, and a collection of 200,000 series.
const REQUESTS_FOR_A_SHARD: u64 = 100;

/// Requests that are filled at once, even with fewer shards: to go to another thread
/// costs as much as a part of one.
const REQUESTS_AT_ONCE: usize = 4;

/// How long a turn may take before others get theirs.
const TURN: Duration = Duration::from_secs(5);

/// How long to wait after the disk failed.
const DISK_RETRY: Duration = Duration::from_secs(5);

/// What all turns share.
#[derive(Debug)]
pub(crate) struct Turns {
    pub(crate) clock: Clock,
    /// How many may read and encode at the same time.
    pub(crate) fillers: Arc<Semaphore>,
    /// Shards that may be used besides one of each turn.
    pub(crate) more_shards: Arc<Semaphore>,
    pub(crate) is_stopped: AtomicBool,
}

/// Requests of one shard.
#[derive(Debug, Default)]
struct Shard {
    waiting: VecDeque<ShardBatch>,
    is_busy: bool,
}

type Filling = Pin<Box<dyn Future<Output = Option<(Filler, io::Result<Filled>)>> + Send>>;

/// Sends what a queue has pending, in shards: the samples of a series are all in one,
/// and of each one request at most is under way, so that they arrive in order.
pub(crate) async fn take_turn(turns: &Turns, queue: &Arc<Queue>) -> Turn {
    let (destination, headers) = queue.destination();
    queue.skip_removed();
    let wanted = shards_for(queue.pending(), &destination.config.queue_config);
    let more = wanted
        .saturating_sub(1)
        .min(turns.more_shards.available_permits());
    // They come back with the end of the turn. If others were faster, there are fewer.
    let more = turns.more_shards.try_acquire_many(more as u32);
    let count = queue.reshard(1 + more.as_ref().map_or(0, |more| more.num_permits()));
    let start = Instant::now();
    queue.metrics.shards(count);
    let delivery = Delivery {
        queue,
        destination: &destination,
        headers: &headers,
        is_stopped: &turns.is_stopped,
    };
    let mut shards: Vec<Shard> = Vec::new();
    shards.resize_with(count, Shard::default);
    let mut filler = Some(Filler::new(Arc::clone(queue), Arc::clone(&destination)));
    let mut filling: Option<Filling> = None;
    let mut sending = FuturesUnordered::new();
    let (mut is_drained, mut is_over) = (false, false);
    let mut failure: Option<Failure> = None;
    let mut filled = 0;
    loop {
        let stops = failure.is_some()
            || turns.is_stopped.load(Ordering::Relaxed)
            || queue.is_changed(&destination);
        let is_probing =
            queue.failures() > 0 || destination.is_silent() || destination.gate.is_closed();
        if !stops {
            for shard in &mut shards {
                let may_send = !is_probing || sending.is_empty();
                if may_send
                    && !shard.is_busy
                    && let Some(batch) = shard.waiting.pop_front()
                {
                    shard.is_busy = true;
                    sending.push(send(&delivery, batch));
                }
            }
        }
        let waiting: usize = shards.iter().map(|shard| shard.waiting.len()).sum();
        if !stops
            && !is_drained
            && !is_over
            && waiting < 2 * count
            && let Some(idle) = filler.take()
        {
            let wanted = if is_probing {
                1
            } else {
                count.max(REQUESTS_AT_ONCE)
            };
            filling = Some(Box::pin(fill(Arc::clone(&turns.fillers), idle, wanted)));
        }
        if sending.is_empty() && filling.is_none() && (stops || waiting == 0) {
            break;
        }
        tokio::select! {
            Some((batch, result)) = sending.next() => {
                if let Some(shard) = shards.get_mut(batch.shard) {
                    shard.is_busy = false;
                }
                match result {
                    Ok(is_taken) => conclude(turns, queue, &batch, is_taken),
                    Err(error) => {
                        delivery.failed(&error, batch.batch.samples);
                        failure.get_or_insert(error);
                    }
                }
            }
            Some(done) = finished(&mut filling) => {
                filling = None;
                let Some((idle, result)) = done else {
                    // It panicked, and said so.
                    break;
                };
                filler = Some(idle);
                let batches = match result {
                    Ok(found) => {
                        is_drained = found.is_drained;
                        found.batches
                    }
                    Err(error) => {
                        failure.get_or_insert(disk_failure(queue, &error));
                        Vec::new()
                    }
                };
                filled += batches.len();
                distribute(&mut shards, batches);
                let has_had_enough = filled >= REQUESTS_OF_A_TURN * count || start.elapsed() >= TURN;
                if has_had_enough && !is_drained && !is_over {
                    is_over = true;
                    let last = filler.as_mut().map(Filler::finish);
                    distribute(&mut shards, last.unwrap_or_default());
                }
            }
        }
    }
    if failure.is_none() && is_drained && queue.is_settled() {
        // Also where no request was made of what was read.
        queue.save();
        if let Some(tenant) = queue.tenant.upgrade() {
            tenant.remove_delivered();
        }
        return Turn::Drained;
    }
    if failure.is_none() && is_over && queue.is_settled() {
        return Turn::Over;
    }
    queue.park();
    if failure.is_none() && queue.is_changed(&destination) {
        return Turn::Over;
    }
    let retry_after = failure.and_then(|failure| failure.retry_after);
    Turn::Failed {
        again: Instant::now() + queue.failed(rand::random(), retry_after),
    }
}

/// How many shards so many pending samples ask for.
fn shards_for(pending: u64, config: &QueueConfig) -> usize {
    let of_a_shard = REQUESTS_FOR_A_SHARD.saturating_mul(config.max_samples_per_send);
    let wanted = usize::try_from(pending / of_a_shard.max(1)).unwrap_or(usize::MAX);
    let most = config.max_shards.clamp(1, MAX_SHARDS);
    wanted.clamp(config.min_shards.clamp(1, most), most)
}

async fn send(delivery: &Delivery<'_>, batch: ShardBatch) -> (ShardBatch, Result<bool, Failure>) {
    let result = delivery.deliver(&batch.batch).await;
    (batch, result)
}

/// Reads and encodes where it may block; `None` if that has panicked.
async fn fill(
    fillers: Arc<Semaphore>,
    mut filler: Filler,
    wanted: usize,
) -> Option<(Filler, io::Result<Filled>)> {
    // It is never closed.
    let permit = fillers.acquire_owned().await.ok();
    let filling = spawn_blocking(move || {
        let result = filler.fill(wanted);
        drop(permit);
        (filler, result)
    });
    filling.await.ok()
}

/// Waits for a filler, if one is at work.
async fn finished(filling: &mut Option<Filling>) -> Option<Option<(Filler, io::Result<Filled>)>> {
    match filling {
        Some(filling) => Some(filling.await),
        None => None,
    }
}

fn distribute(shards: &mut [Shard], batches: Vec<ShardBatch>) {
    for batch in batches {
        if let Some(shard) = shards.get_mut(batch.shard) {
            shard.waiting.push_back(batch);
        }
    }
}

fn conclude(turns: &Turns, queue: &Queue, batch: &ShardBatch, is_taken: bool) {
    let now_ms = turns.clock.unix_millis();
    queue.conclude(Concluded {
        shard: batch.shard,
        samples: batch.batch.samples,
        end: batch.end,
        newest_ms: is_taken.then_some(batch.batch.highest_timestamp_ms),
    });
    if is_taken && batch.pushed_ms > 0 {
        queue
            .metrics
            .delivery(now_ms.saturating_sub(batch.pushed_ms));
    }
    queue.measure(now_ms);
    if let Some(tenant) = queue.tenant.upgrade() {
        tenant.remove_delivered();
    }
}

fn disk_failure(queue: &Queue, error: &io::Error) -> Failure {
    queue.read_failed();
    let problem = telemetry::error_chain(error).to_string();
    tracing::error!(
        tenant = %queue.tenant_id(),
        problem,
        "cannot read the spool, it will be tried again"
    );
    Failure {
        problem,
        retry_after: Some(DISK_RETRY),
    }
}
