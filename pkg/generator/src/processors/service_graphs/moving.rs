//! Halves that go to the generator that owns their trace now.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use registry::RestoreError;

use super::edge_store::{EdgeStore, Edges, Rules};
use super::pending::Pending;
use super::saving::{Batch, HalfWriter, read};

/// Halves that go at once: some hundred KiB, for which a message has room.
const MOST: usize = 4_096;

/// Halves that were taken out, as a planned stop writes them.
#[derive(Debug)]
pub(crate) struct Moved {
    /// To whom.
    pub(crate) owner: u16,
    pub(crate) bytes: Vec<u8>,
    /// Spans of the ledger among them.
    pub(crate) spans: u64,
}

/// Halves that have come from elsewhere, all of them read.
#[derive(Debug, Default)]
pub(crate) struct Arrived(Vec<Batch>);

impl EdgeStore {
    /// Takes out what is to go to somebody else; each one's in the order of arrival.
    ///
    /// # Errors
    ///
    /// None but that of a write to memory.
    pub(crate) fn take_moved(
        &self,
        now_ms: i64,
        owner_of: impl Fn(&[u8; 16]) -> Option<u16>,
    ) -> io::Result<Vec<Moved>> {
        let mut taken = BTreeMap::<u16, Vec<Pending>>::new();
        for place in self.places() {
            if let Some((owner, pending)) =
                self.take(place, |pending| owner_of(&pending.key.trace_id))
            {
                taken.entry(owner).or_default().push(pending);
            }
        }
        let mut moved = Vec::new();
        for (owner, taken) in taken {
            for taken in taken.chunks(MOST) {
                let mut bytes = Vec::new();
                let mut writer = HalfWriter::new(now_ms, &mut bytes)?;
                for pending in taken {
                    writer.put(pending);
                    writer.write_if_full()?;
                }
                writer.finish()?;
                let spans = taken.iter().map(Pending::spans).sum();
                moved.push(Moved {
                    owner,
                    bytes,
                    spans,
                });
            }
        }
        Ok(moved)
    }

    /// Lets halves that have come wait on, or meet what waits here. They do not wait
    /// longer than they would have, but for as long as those that were here before them.
    pub(crate) fn take_in(&self, arrived: &Arrived, rules: &Rules, mut settle: impl FnMut(&Edges)) {
        for batch in &arrived.0 {
            settle(&batch.offer(self, rules));
        }
    }
}

impl Arrived {
    /// Reads all of what [`EdgeStore::take_moved`] wrote.
    ///
    /// # Errors
    ///
    /// [`RestoreError`], if it is not that.
    pub(crate) fn read(input: impl BufRead, now_ms: i64) -> Result<Self, RestoreError> {
        let mut batches = Vec::new();
        read(input, now_ms, |batch| batches.push(std::mem::take(batch)))?;
        Ok(Self(batches))
    }

    /// Spans of the ledger among them.
    pub(crate) fn spans(&self) -> u64 {
        self.0.iter().map(Batch::spans).sum()
    }
}
