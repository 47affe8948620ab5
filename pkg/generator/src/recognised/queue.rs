//! Applied pushes in their order, in blocks that never move: a queue in one
//! piece leaves as much memory behind when it grows as it takes.

use std::collections::{BTreeMap, VecDeque};

use model::PushOutcome;

use super::{Applied, PushKey};

/// Pushes of a block: 16 KiB.
pub(super) const BLOCK: usize = 1 << 10;

/// Applied pushes, the oldest first, each with a number by which it is found.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// All but the last are full.
    blocks: VecDeque<Vec<Applied>>,
    /// How many of the first block are gone.
    gone: usize,
    /// The number of the oldest; numbers wrap around.
    pub(super) first: u32,
    /// When they were applied.
    seconds: VecDeque<Second>,
    /// What the answer to a number had besides, which is rare.
    pub(super) rejected: BTreeMap<u32, (u64, String)>,
}

/// The pushes that were applied within one second.
#[derive(Debug)]
struct Second {
    /// Since the Unix epoch.
    at: u32,
    /// At least one.
    pushes: u32,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        let last = self.blocks.back().map_or(0, Vec::len);
        self.blocks.len().saturating_sub(1) * BLOCK + last - self.gone
    }

    pub(super) fn get(&self, number: u32) -> Option<Applied> {
        let at = self.gone + self.place(number);
        self.blocks.get(at / BLOCK)?.get(at % BLOCK).copied()
    }

    /// The second of a push, by a walk over those of the window.
    pub(super) fn at(&self, number: u32) -> Option<u32> {
        let mut place = self.place(number);
        for second in &self.seconds {
            match place.checked_sub(second.pushes as usize) {
                None => return Some(second.at),
                Some(rest) => place = rest,
            }
        }
        None
    }

    /// What a push was answered.
    pub(super) fn outcome(&self, number: u32) -> Option<PushOutcome> {
        let (rejected_spans, message) = self.rejected.get(&number).cloned().unwrap_or_default();
        Some(PushOutcome {
            spans: u64::from(self.get(number)?.spans),
            rejected_spans,
            message,
        })
    }

    /// Takes a push in and gives its number.
    pub(super) fn push(&mut self, key: PushKey, at: u32, outcome: &PushOutcome) -> u32 {
        let number = self.first.wrapping_add(self.len() as u32);
        let applied = Applied {
            key,
            spans: u32::try_from(outcome.spans).unwrap_or(u32::MAX),
        };
        match self.blocks.back_mut() {
            Some(last) if last.len() < BLOCK => last.push(applied),
            _ => self.blocks.push_back(vec![applied]),
        }
        match self.seconds.back_mut() {
            // A clock that was set back only makes it recognised for longer.
            Some(last) if last.at >= at => last.pushes += 1,
            _ => self.seconds.push_back(Second { at, pushes: 1 }),
        }
        if outcome.rejected_spans > 0 {
            let rejected = (outcome.rejected_spans, outcome.message.clone());
            self.rejected.insert(number, rejected);
        }
        number
    }

    /// Drops the oldest.
    pub(super) fn pop(&mut self) {
        let (Some(block), Some(second)) = (self.blocks.front(), self.seconds.front_mut()) else {
            return;
        };
        self.rejected.remove(&self.first);
        self.gone += 1;
        self.first = self.first.wrapping_add(1);
        if self.gone == block.len() {
            self.blocks.pop_front();
            self.gone = 0;
        }
        second.pushes -= 1;
        if second.pushes == 0 {
            self.seconds.pop_front();
        }
    }

    /// How far a push is behind the oldest.
    fn place(&self, number: u32) -> usize {
        number.wrapping_sub(self.first) as usize
    }
}
