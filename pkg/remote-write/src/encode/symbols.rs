//! The texts of one request, each once.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Texts and the references that stand for them, from 0, which is the empty
/// text. Keeps its memory from one request to the next.
pub(super) struct Symbols {
    /// All texts, one after the other.
    text: Vec<u8>,
    /// Where each text ends; its place is its reference.
    ends: Vec<usize>,
    by_text: HashTable<u32>,
    /// Drawn at random, so that nobody can choose texts whose hashes collide.
    seed: u64,
}

impl Default for Symbols {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            ends: vec![0],
            by_text: HashTable::new(),
            seed: rand::random(),
        }
    }
}

impl Symbols {
    /// Forgets all but the empty text.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.ends.truncate(1);
        self.by_text.clear();
    }

    /// Whether there is none but the empty text.
    pub(super) fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    /// The reference of a text, and whether it is new.
    pub(super) fn intern(&mut self, text: &str) -> (u32, bool) {
        if text.is_empty() {
            return (0, false);
        }
        let (seed, bytes, ends) = (self.seed, &self.text, &self.ends);
        let hash = xxh3_64_with_seed(text.as_bytes(), seed);
        let is_text = |known: &u32| get(bytes, ends, *known) == text.as_bytes();
        if let Some(known) = self.by_text.find(hash, is_text) {
            return (*known, false);
        }
        // A request is closed long before it has 2^32 texts.
        let new = self.ends.len() as u32;
        self.by_text.insert_unique(hash, new, |known| {
            xxh3_64_with_seed(get(bytes, ends, *known), seed)
        });
        self.text.extend_from_slice(text.as_bytes());
        self.ends.push(self.text.len());
        (new, true)
    }

    /// Whether a reference stands for a text that is not empty.
    pub(super) fn is(&self, reference: u32, text: &str) -> bool {
        !text.is_empty() && get(&self.text, &self.ends, reference) == text.as_bytes()
    }
}

fn get<'a>(text: &'a [u8], ends: &[usize], reference: u32) -> &'a [u8] {
    let reference = reference as usize;
    let end = ends.get(reference).copied().unwrap_or(0);
    let start = reference
        .checked_sub(1)
        .and_then(|before| ends.get(before))
        .copied()
        .unwrap_or(0);
    text.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_one_reference_until_all_are_forgotten() {
        let mut symbols = Symbols::default();
        let mut intern = |text: &str| symbols.intern(text);
        assert_eq!(intern("a"), (1, true));
        assert_eq!(intern(""), (0, false));
        assert_eq!(intern("bc"), (2, true));
        assert_eq!(intern("a"), (1, false));
        // Far more than there is room for at first.
        for number in 3..5_000 {
            assert_eq!(intern(&number.to_string()), (number, true));
        }
        assert_eq!(intern("bc"), (2, false));
        assert_eq!(intern("4321"), (4321, false));
        assert!(symbols.is(2, "bc") && !symbols.is(1, "bc"));
        assert!(!symbols.is(5_000, "a") && !symbols.is(5_000, ""));
        symbols.clear();
        assert!(symbols.is_empty() && !symbols.is(1, "a"));
        assert_eq!(symbols.intern("bc"), (1, true));
    }
}
