//! The last trace of each bucket, for those buckets that had one.
//!
//! A row's exemplars are a short list in an arena, so a series without spans
//! costs nothing.

use model::Exemplar;

/// Ends a list.
pub(crate) const NONE: u32 = u32::MAX;

/// The bit of a sequence that says that the trace is sampled.
pub(crate) const SAMPLED: u64 = 1 << 63;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) exemplar: Exemplar,
    /// Which push brought it, and where in it: a later one replaces an earlier one.
    /// Above that, [`SAMPLED`]: one that somebody keeps stays until it has been
    /// handed out.
    pub(crate) sequence: u64,
    /// The bucket's cell in the row.
    pub(crate) cell: u16,
    /// Consumers that have had it, one bit each.
    pub(crate) taken: u8,
    /// The next of the row, or the next that is free.
    next: u32,
}

/// Entries of a block. Blocks are never moved, so growing copies nothing and
/// leaves no half-used memory behind.
const BLOCK: usize = 512;

/// The exemplars of many rows.
#[derive(Debug)]
pub(crate) struct Exemplars {
    blocks: Vec<Vec<Entry>>,
    /// Entries in use or free; they fill the blocks in order.
    len: usize,
    /// How many of them are free, and the first of those.
    free: usize,
    first_free: u32,
}

impl Exemplars {
    fn get(&self, at: u32) -> Option<&Entry> {
        let at = at as usize;
        self.blocks.get(at / BLOCK)?.get(at % BLOCK)
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut Entry> {
        let at = at as usize;
        self.blocks.get_mut(at / BLOCK)?.get_mut(at % BLOCK)
    }

    /// Sets the exemplar of a cell, unless a later push already has, or a sampled
    /// trace is there that nobody has had yet.
    #[inline]
    pub(crate) fn set(&mut self, head: &mut u32, cell: u16, exemplar: Exemplar, sequence: u64) {
        let mut at = *head;
        while let Some(entry) = self.get_mut(at) {
            if entry.cell == cell {
                let had = if entry.taken == 0 { 0 } else { SAMPLED };
                if sequence | had >= entry.sequence | had {
                    entry.exemplar = exemplar;
                    entry.sequence = sequence;
                    entry.taken = 0;
                }
                return;
            }
            at = entry.next;
        }
        let entry = Entry {
            exemplar,
            sequence,
            cell,
            taken: 0,
            next: *head,
        };
        *head = self.add(entry);
    }

    /// Sets an exemplar of a saved registry, which these consumers have had.
    pub(crate) fn restore(
        &mut self,
        head: &mut u32,
        (cell, exemplar): (u16, Exemplar),
        sequence: u64,
        taken: u8,
    ) {
        let entry = Entry {
            exemplar,
            sequence,
            cell,
            taken,
            next: *head,
        };
        *head = self.add(entry);
    }

    fn add(&mut self, entry: Entry) -> u32 {
        let at = self.first_free;
        if let Some(place) = self.get_mut(at) {
            let next = std::mem::replace(place, entry).next;
            self.first_free = next;
            self.free -= 1;
            return at;
        }
        let block = self.len / BLOCK;
        if self.blocks.len() <= block {
            self.blocks.push(Vec::new());
        }
        if let Some(block) = self.blocks.get_mut(block) {
            block.push(entry);
        }
        self.len += 1;
        (self.len - 1) as u32
    }

    /// The exemplars of one row.
    pub(crate) fn list(&self, head: u32) -> impl Iterator<Item = &Entry> {
        let mut at = head;
        std::iter::from_fn(move || {
            let entry = self.get(at)?;
            at = entry.next;
            Some(entry)
        })
    }

    /// Takes the exemplar of a cell for a consumer, if it has not had it.
    pub(crate) fn take(&mut self, head: u32, cell: u16, consumer: u8) -> Option<Exemplar> {
        let mut at = head;
        while let Some(entry) = self.get_mut(at) {
            if entry.cell == cell {
                let had = entry.taken & consumer != 0;
                entry.taken |= consumer;
                return (!had).then_some(entry.exemplar);
            }
            at = entry.next;
        }
        None
    }

    /// Frees the exemplars of a row that every one of `consumers` has had.
    pub(crate) fn release_taken(&mut self, head: &mut u32, consumers: u8) {
        let mut kept = NONE;
        let mut at = *head;
        let mut first_free = self.first_free;
        let mut freed = 0;
        while let Some(entry) = self.get_mut(at) {
            let list = if entry.taken & consumers == consumers {
                freed += 1;
                &mut first_free
            } else {
                &mut kept
            };
            let next = std::mem::replace(&mut entry.next, *list);
            *list = at;
            at = next;
        }
        *head = kept;
        self.first_free = first_free;
        self.free += freed;
        if self.free == self.len {
            self.clear();
        }
    }

    /// Forgets all and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.blocks.iter_mut().for_each(Vec::clear);
        self.len = 0;
        self.free = 0;
        self.first_free = NONE;
    }

    /// Gives the memory back, and forgets all.
    pub(crate) fn shrink(&mut self) {
        *self = Self::default();
    }
}

impl Default for Exemplars {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            len: 0,
            free: 0,
            first_free: NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(value: f64) -> Exemplar {
        Exemplar {
            trace_id: [1; 16],
            value,
            timestamp_ms: 1,
        }
    }

    #[test]
    fn many_rows_keep_their_own() {
        let mut exemplars = Exemplars::default();
        let mut heads = vec![NONE; 3 * BLOCK];
        for _ in 0..2 {
            for (row, head) in heads.iter_mut().enumerate() {
                exemplars.set(head, 1, exemplar(row as f64), 1);
            }
            for (row, head) in heads.iter_mut().enumerate() {
                assert_eq!(exemplars.take(*head, 1, 1), Some(exemplar(row as f64)));
                exemplars.release_taken(head, 1);
                assert_eq!(*head, NONE);
            }
            assert_eq!((exemplars.len, exemplars.blocks.len()), (0, 3));
        }
    }

    #[test]
    fn sampled_trace_stays_until_a_consumer_has_had_it() {
        let mut exemplars = Exemplars::default();
        let mut head = NONE;
        exemplars.set(&mut head, 1, exemplar(1.0), 1);
        exemplars.set(&mut head, 1, exemplar(2.0), 2 | SAMPLED);
        exemplars.set(&mut head, 1, exemplar(3.0), 3);
        assert_eq!(exemplars.take(head, 1, 1), Some(exemplar(2.0)));
        exemplars.set(&mut head, 1, exemplar(1.5), 1);
        assert_eq!(exemplars.take(head, 1, 1), None, "it came before");
        exemplars.set(&mut head, 1, exemplar(4.0), 4);
        assert_eq!(exemplars.take(head, 1, 1), Some(exemplar(4.0)));
        exemplars.set(&mut head, 1, exemplar(6.0), 6 | SAMPLED);
        exemplars.set(&mut head, 1, exemplar(7.0), 7 | SAMPLED);
        exemplars.set(&mut head, 1, exemplar(5.0), 5 | SAMPLED); // Merged late.
        assert_eq!(exemplars.take(head, 1, 1), Some(exemplar(7.0)));
    }

    #[test]
    fn each_consumer_gets_the_last_one_once() {
        let mut exemplars = Exemplars::default();
        let mut head = NONE;
        exemplars.set(&mut head, 3, exemplar(1.0), 1);
        exemplars.set(&mut head, 4, exemplar(9.0), 1);
        exemplars.set(&mut head, 3, exemplar(2.0), 3);
        exemplars.set(&mut head, 3, exemplar(3.0), 2); // Merged late, came earlier.
        assert_eq!(exemplars.take(head, 3, 1), Some(exemplar(2.0)));
        assert_eq!(exemplars.take(head, 3, 1), None);
        assert_eq!(exemplars.take(head, 3, 2), Some(exemplar(2.0)));
        exemplars.release_taken(&mut head, 3);
        assert_eq!(exemplars.take(head, 3, 1), None);
        assert_eq!(exemplars.take(head, 4, 1), Some(exemplar(9.0)));
        exemplars.set(&mut head, 3, exemplar(4.0), 4);
        assert_eq!(exemplars.take(head, 3, 1), Some(exemplar(4.0)));
        assert_eq!(exemplars.len, 2);
    }
}
