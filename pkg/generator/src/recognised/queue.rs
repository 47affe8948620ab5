//! Applied pushes in their order, in blocks that never move: a queue in one
//! piece leaves as much memory behind when it grows as it takes.

use std::collections::VecDeque;

use super::Applied;

/// Pushes of a block: 32 KiB.
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
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        let last = self.blocks.back().map_or(0, Vec::len);
        self.blocks.len().saturating_sub(1) * BLOCK + last - self.gone
    }

    pub(super) fn get(&self, number: u32) -> Option<&Applied> {
        let at = self.gone + number.wrapping_sub(self.first) as usize;
        self.blocks.get(at / BLOCK)?.get(at % BLOCK)
    }

    pub(super) fn oldest(&self) -> Option<&Applied> {
        self.get(self.first)
    }

    /// Takes a push in and gives its number.
    pub(super) fn push(&mut self, applied: Applied) -> u32 {
        let number = self.first.wrapping_add(self.len() as u32);
        match self.blocks.back_mut() {
            Some(last) if last.len() < BLOCK => last.push(applied),
            _ => self.blocks.push_back(vec![applied]),
        }
        number
    }

    /// Drops the oldest.
    pub(super) fn pop(&mut self) {
        let Some(oldest) = self.blocks.front_mut() else {
            return;
        };
        if let Some(applied) = oldest.get_mut(self.gone) {
            applied.rejected = None;
        }
        self.gone += 1;
        self.first = self.first.wrapping_add(1);
        if self.gone == oldest.len() {
            self.blocks.pop_front();
            self.gone = 0;
        }
    }
}
