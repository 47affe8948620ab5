//! The label bytes of all slots of a table, in a few large blocks.

/// Bytes of a block; a longer label set gets a block of its own.
const BLOCK: usize = 64 * 1024;

/// Where a label set lies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LabelRef {
    block: u32,
    start: u32,
    length: u32,
}

/// Holds label sets without an allocation for each.
#[derive(Debug, Default)]
pub(crate) struct LabelArena {
    blocks: Vec<Vec<u8>>,
    live: usize,
    dead: usize,
}

impl LabelArena {
    pub(crate) fn get(&self, at: LabelRef) -> &[u8] {
        let start = at.start as usize;
        self.blocks
            .get(at.block as usize)
            .and_then(|block| block.get(start..start + at.length as usize))
            .unwrap_or_default()
    }

    pub(crate) fn add(&mut self, labels: &[u8]) -> LabelRef {
        let fits = |block: &Vec<u8>| block.len() + labels.len() <= BLOCK;
        if !self.blocks.last().is_some_and(fits) {
            // Blocks grow as they fill, so a small tenant does not take 64 KiB.
            self.blocks.push(Vec::new());
        }
        let block = self.blocks.len().saturating_sub(1);
        let mut at = LabelRef {
            block: block as u32,
            start: 0,
            length: labels.len() as u32,
        };
        if let Some(bytes) = self.blocks.last_mut() {
            at.start = bytes.len() as u32;
            bytes.extend_from_slice(labels);
        }
        self.live += labels.len();
        at
    }

    pub(crate) fn remove(&mut self, at: LabelRef) {
        self.live -= at.length as usize;
        self.dead += at.length as usize;
    }

    /// Whether more than half of the bytes are of removed label sets.
    pub(crate) fn wants_compaction(&self) -> bool {
        self.dead > self.live + BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_of_any_length_come_back() {
        let mut arena = LabelArena::default();
        let sets = [
            vec![1; 10],
            vec![2; BLOCK + 1],
            vec![],
            vec![3; BLOCK],
            vec![4; 9],
        ];
        let places: Vec<_> = sets.iter().map(|set| arena.add(set)).collect();
        for (set, place) in sets.iter().zip(places) {
            assert_eq!(arena.get(place), set);
        }
    }
}
