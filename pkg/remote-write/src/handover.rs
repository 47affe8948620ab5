//! Samples of a node that goes for good, on their way to another one.
//!
//! They go in chunks, each of which can be read on its own and says where in the
//! source's spool it is from. The source marks on disk up to where it has given samples
//! away, the target up to where it has taken them: `docs/adr/0023-handover.md`.

pub(crate) mod chunk;
pub(crate) mod export;
pub(crate) mod ledger;
pub(crate) mod mark;
mod stored;

use crate::progress::Progress;

pub use self::chunk::ChunkError;

/// What one destination is still to get, once nothing is sent any more.
#[derive(Clone, Debug)]
pub(crate) struct Outstanding {
    /// The destination.
    pub(crate) key: u64,
    /// For each shard, up to where its samples are delivered or dropped.
    done: Vec<u64>,
    /// Up to where samples have been read, ever.
    frontier: u64,
    /// The position before which everything is delivered or dropped.
    pub(crate) low: u64,
}

impl Outstanding {
    /// What a destination that is so far is still to get.
    pub(crate) fn of(key: u64, progress: &Progress) -> Self {
        let shards = 0..progress.shards();
        Self {
            key,
            done: shards.map(|shard| progress.done(shard)).collect(),
            frontier: progress.frontier(),
            low: progress.low(),
        }
    }

    /// Whether it is to get the row at a position, of a label set with this hash.
    fn wants(&self, position: u64, hash: u32) -> bool {
        let shard = hash as usize % self.done.len().max(1);
        let done = self.done.get(shard).copied();
        position >= done.unwrap_or(self.low)
    }
}
