//! An open-addressing table from lane keys to slots.
//!
//! One probe touches one cache line of 24-byte entries, or two, and looking a
//! batch up in a tight loop lets the processor overlap the misses of different
//! keys.

use crate::fingerprint::LaneKey;
use crate::room::apart;

/// Where a lane's key leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// In halves, which need no padding.
    key: [u64; 2],
    /// The registry's slot; [`EMPTY`] if the entry is unused.
    pub(crate) slot: u32,
    /// The lane's row for it, if that row has this slot: merges take rows away
    /// without a look at the keys.
    pub(crate) row: u32,
}

const EMPTY: u32 = u32::MAX;
const VACANT: Entry = Entry {
    key: [0; 2],
    slot: EMPTY,
    row: 0,
};
/// Stands for "not in the table".
pub(crate) const MISSING: u32 = u32::MAX;
const FIRST_CAPACITY: usize = 64;

/// A table from lane keys to slots.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    entries: Vec<Entry>,
    len: usize,
}

impl KeyTable {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The position of a key, or [`MISSING`]. Valid until the next insertion.
    #[inline]
    pub(crate) fn find(&self, key: LaneKey) -> u32 {
        let mask = self.entries.len().wrapping_sub(1);
        let key = halves(key);
        let mut position = key[0] as usize & mask;
        while let Some(entry) = self.entries.get(position) {
            if entry.key == key && entry.slot != EMPTY {
                return position as u32;
            }
            if entry.slot == EMPTY {
                return MISSING;
            }
            position = (position + 1) & mask;
        }
        MISSING
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, position: u32) -> Option<&mut Entry> {
        self.entries.get_mut(position as usize)
    }

    /// Adds a key that is not in the table, and returns its position.
    pub(crate) fn insert(&mut self, key: LaneKey, slot: u32) -> u32 {
        // At most 7/8 full, so that a probe ends soon and always.
        if (self.len + 1) * 8 > self.entries.len() * 7 {
            self.resize((self.entries.len() * 2).max(FIRST_CAPACITY));
        }
        let entry = Entry {
            key: halves(key),
            slot,
            row: 0,
        };
        self.len += 1;
        self.place(entry)
    }

    fn place(&mut self, entry: Entry) -> u32 {
        let mask = self.entries.len().wrapping_sub(1);
        let mut position = entry.key[0] as usize & mask;
        while let Some(place) = self.entries.get_mut(position) {
            if place.slot == EMPTY {
                *place = entry;
                return position as u32;
            }
            position = (position + 1) & mask;
        }
        MISSING
    }

    fn resize(&mut self, capacity: usize) {
        let old = std::mem::replace(&mut self.entries, vacant(capacity));
        for entry in old {
            if entry.slot != EMPTY {
                self.place(entry);
            }
        }
    }

    /// Keeps the keys whose slot passes, and fits the table to them.
    pub(crate) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        let old = std::mem::take(&mut self.entries);
        let kept: Vec<Entry> = old
            .into_iter()
            .filter(|entry| entry.slot != EMPTY && keep(entry.slot))
            .collect();
        self.len = kept.len();
        if kept.is_empty() {
            return;
        }
        let capacity = (kept.len() * 8 / 7 + 1).next_power_of_two();
        self.entries = vacant(capacity.max(FIRST_CAPACITY));
        for entry in kept {
            self.place(entry);
        }
    }

    /// Forgets everything and gives the memory back.
    pub(crate) fn clear(&mut self) {
        self.entries = Vec::new();
        self.len = 0;
    }
}

fn vacant(capacity: usize) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(apart::<Entry>(capacity));
    entries.resize(capacity, VACANT);
    entries
}

fn halves(key: LaneKey) -> [u64; 2] {
    [key.0 as u64, (key.0 >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_after_growth_and_removal() {
        let mut table = KeyTable::default();
        assert_eq!(table.find(LaneKey(1)), MISSING);
        // Keys that all want the same place.
        let key = |n: u32| LaneKey(u128::from(n) << 64);
        for n in 0..1_000 {
            table.insert(key(n), n);
        }
        for n in 0..1_000 {
            let position = table.find(key(n));
            assert_eq!(table.entry_mut(position).unwrap().slot, n);
        }
        table.retain(|slot| slot % 2 == 0);
        assert_eq!(table.len(), 500);
        assert_eq!(table.find(key(1)), MISSING);
        let position = table.find(key(2));
        assert_eq!(table.entry_mut(position).unwrap().slot, 2);
        table.clear();
        assert_eq!(table.find(key(2)), MISSING);
    }

    #[test]
    fn long_table_has_room_apart() {
        let mut table = KeyTable::default();
        let mut insert = |keys: std::ops::Range<u32>| {
            for n in keys {
                table.insert(LaneKey(u128::from(n)), n);
            }
            (table.entries.len(), table.entries.capacity())
        };
        assert_eq!(insert(0..1_792), (2_048, 2_048));
        assert_eq!(insert(1_792..1_793), (4_096, 21_846));
        table.retain(|_| true);
        assert_eq!(table.entries.capacity(), 21_846);
    }
}
