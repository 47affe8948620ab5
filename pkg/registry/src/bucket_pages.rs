//! Counts of native buckets, a few neighbours at a time.
//!
//! The buckets of one row are a sorted list of pages, one after the other in
//! memory: to find a bucket in a row that no cache knows takes few misses.

/// No list.
pub(crate) const NO_PAGES: u32 = u32::MAX;

/// Neighbouring buckets in a page. Durations of one operation take some ten
/// pages, and those of a few spans one or two.
const BUCKETS: usize = 4;
/// Bits of a bucket's key within its page.
const BITS: u32 = BUCKETS.trailing_zeros();
/// Pages for which a list that is emptied keeps its memory.
const KEPT_PAGES: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Page {
    /// Whose buckets, and which of them; see [`tag`].
    tag: u64,
    counts: [f64; BUCKETS],
}

/// The buckets of many rows.
#[derive(Debug, Default)]
pub(crate) struct BucketPages {
    lists: Vec<Vec<Page>>,
    /// Lists before this have been given to rows.
    len: usize,
    /// Those of them that have been given back.
    free: Vec<u32>,
}

/// The page of a key. Tags of one place are in the order of their keys.
fn tag(place: u8, key: i32) -> u64 {
    u64::from(place) << 32 | u64::from((key >> BITS) as u32 ^ 1 << 31)
}

impl BucketPages {
    /// Adds to the count of a bucket. `place` tells the histograms of a row apart. Whether the
    /// bucket was empty before.
    #[inline]
    pub(crate) fn add(&mut self, head: &mut u32, place: u8, key: i32, weight: f64) -> bool {
        if *head == NO_PAGES {
            *head = self.new_list();
        }
        let Some(list) = self.lists.get_mut(*head as usize) else {
            return false;
        };
        let tag = tag(place, key);
        let at = list.partition_point(|page| page.tag < tag);
        if list.get(at).is_none_or(|page| page.tag != tag) {
            if list.len() == list.capacity() {
                list.reserve_exact(list.len() / 2 + 1);
            }
            let counts = [0.0; BUCKETS];
            list.insert(at, Page { tag, counts });
        }
        let page = list.get_mut(at);
        let Some(count) = page.and_then(|page| page.counts.get_mut(key as usize % BUCKETS)) else {
            return false;
        };
        let was_empty = *count == 0.0;
        *count += weight;
        was_empty
    }

    fn new_list(&mut self) -> u32 {
        if let Some(free) = self.free.pop() {
            return free;
        }
        if self.lists.len() == self.len {
            self.lists.push(Vec::new());
        }
        self.len += 1;
        (self.len - 1) as u32
    }

    /// The occupied buckets of one histogram of a row and their counts, by key.
    pub(crate) fn occupied(
        &self,
        head: u32,
        place: u8,
    ) -> impl Iterator<Item = (i32, f64)> + Clone + '_ {
        let list = self.lists.get(head as usize).map_or(&[][..], Vec::as_slice);
        let of_place = list
            .iter()
            .filter(move |page| page.tag >> 32 == u64::from(place));
        of_place
            .flat_map(|page| {
                let first = ((page.tag as u32 ^ 1 << 31) as i32) << BITS;
                (first..).zip(page.counts)
            })
            .filter(|(_, count)| *count != 0.0)
    }

    /// Whether a row with one histogram may have more than so many occupied buckets.
    pub(crate) fn may_exceed(&self, head: u32, max: usize) -> bool {
        let list = self.lists.get(head as usize);
        list.is_some_and(|list| list.len() * BUCKETS > max && self.occupied(head, 0).count() > max)
    }

    /// Frees the pages of a row.
    pub(crate) fn release(&mut self, head: &mut u32) {
        if let Some(list) = self.lists.get_mut(*head as usize) {
            *list = Vec::new();
            self.free.push(*head);
        }
        *head = NO_PAGES;
    }

    /// Forgets all and keeps the memory of lists of usual length.
    pub(crate) fn clear(&mut self) {
        for list in self.lists.iter_mut().take(self.len) {
            list.clear();
            list.shrink_to(KEPT_PAGES);
        }
        self.len = 0;
        self.free.clear();
    }

    /// Gives the memory of all but so many lists back. There must be no row.
    pub(crate) fn shrink_to(&mut self, lists: usize) {
        self.lists.truncate(lists);
        self.lists.shrink_to(lists);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn counts(pages: &BucketPages, head: u32, place: u8) -> BTreeMap<i32, f64> {
        pages.occupied(head, place).collect()
    }

    proptest! {
        /// forall rows, histograms and keys: counts are those of a map, whatever else shares the
        /// pages, and after rows have come and gone.
        #[test]
        fn counts_are_those_of_a_map(
            adds in prop::collection::vec((0_usize..3, 0_u8..2, -20_i32..20, 1_u8..5), 0..400),
            gone in 0_usize..3,
        ) {
            let mut pages = BucketPages::default();
            let mut heads = [NO_PAGES; 3];
            let mut want = [(); 3].map(|()| [BTreeMap::new(), BTreeMap::new()]);
            for half in adds.chunks(adds.len() / 2 + 1) {
                for (row, place, key, weight) in half {
                    let was_empty = pages.add(&mut heads[*row], *place, *key, f64::from(*weight));
                    let count = want[*row][usize::from(*place)].entry(*key).or_insert(0.0);
                    prop_assert_eq!(was_empty, *count == 0.0);
                    *count += f64::from(*weight);
                }
                for (head, want) in heads.iter().zip(&want) {
                    prop_assert_eq!(&counts(&pages, *head, 0), &want[0]);
                    prop_assert_eq!(&counts(&pages, *head, 1), &want[1]);
                }
                pages.release(&mut heads[gone]);
                want[gone] = [BTreeMap::new(), BTreeMap::new()];
            }
        }
    }

    #[test]
    fn lists_are_used_again_and_memory_goes_back() {
        let mut pages = BucketPages::default();
        for _ in 0..10 {
            let mut head = NO_PAGES;
            for key in 0..100 {
                pages.add(&mut head, 0, key, 1.0);
            }
            assert_eq!((head, pages.lists[0].len()), (0, 25));
            pages.release(&mut head);
            assert_eq!(pages.lists[0].capacity(), 0);
        }
        let mut heads = [NO_PAGES; 3];
        for head in &mut heads {
            pages.add(head, 0, 1, 1.0);
        }
        pages.clear();
        assert_eq!(pages.lists.iter().map(Vec::capacity).sum::<usize>(), 3);
        pages.shrink_to(0);
        assert_eq!(pages.lists.capacity(), 0);
    }

    #[test]
    fn buckets_come_by_key() {
        let mut pages = BucketPages::default();
        let mut head = NO_PAGES;
        for key in [5, -1, 70_000, -70_000, 0, 4, -5] {
            pages.add(&mut head, 1, key, 1.0);
            pages.add(&mut head, 0, key, 2.0);
        }
        let keys: Vec<i32> = pages.occupied(head, 1).map(|(key, _)| key).collect();
        assert_eq!(keys, [-70_000, -5, -1, 0, 4, 5, 70_000]);
    }
}
