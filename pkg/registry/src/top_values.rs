//! Which values come most often, in bounded memory.
//!
//! Few values are counted exactly. Beyond, all counts are lowered now and then and
//! the smallest go, so what is left is a lower bound, and the error is known.
//! Source: Misra and Gries, "Finding repeated elements" (1982); Agarwal et al.,
//! "Mergeable summaries" (2012), section 2.

use hashbrown::HashMap;

/// Values that are kept when some have to go.
const KEPT: usize = 256;
/// Values from which on some have to go.
const MAX_VALUES: usize = 2 * KEPT;

/// Counts of the values that come most often.
///
/// A value came between its count and its count plus [`error`](Self::error)
/// times, and one that is not here at most `error` times. Up to 512 different
/// values the error is 0; beyond, it is at most a 257th of all that was added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopValues {
    counts: HashMap<Box<str>, u64>,
    error: u64,
}

impl TopValues {
    /// Adds a value so many times.
    pub fn add(&mut self, value: &str, times: u64) {
        match self.counts.get_mut(value) {
            Some(count) => *count = count.saturating_add(times),
            None => {
                self.counts.insert(value.into(), times);
            }
        }
        if self.counts.len() > MAX_VALUES {
            self.lower();
        }
    }

    /// Adds what another counted; the errors add up, too.
    pub fn merge(&mut self, other: &Self) {
        self.error = self.error.saturating_add(other.error);
        for (value, times) in &other.counts {
            self.add(value, *times);
        }
    }

    /// How many times more than its count a value may have come, at most.
    pub fn error(&self) -> u64 {
        self.error
    }

    /// How many values are here: all of them while the error is 0.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether no value is here.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The values with their counts, those with the highest first, at most so many.
    pub fn top(&self, limit: usize) -> Vec<(&str, u64)> {
        let counts = self.counts.iter();
        let mut top: Vec<_> = counts.map(|(value, count)| (&**value, *count)).collect();
        top.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        top.truncate(limit);
        top
    }

    /// What [`top`](Self::top) gave and how large the error was, read back.
    pub(crate) fn restore(counts: HashMap<Box<str>, u64>, error: u64) -> Self {
        let mut restored = Self { counts, error };
        if restored.counts.len() > MAX_VALUES {
            restored.lower();
        }
        restored
    }

    /// Lowers all counts by the largest that does not make it.
    fn lower(&mut self) {
        let mut counts: Vec<_> = self.counts.values().copied().collect();
        let place = counts.len().saturating_sub(KEPT + 1);
        let (_, by, _) = counts.select_nth_unstable(place);
        let by = *by;
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(by);
            *count > 0
        });
        self.error = self.error.saturating_add(by);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn counted(values: &[u16]) -> TopValues {
        let mut top = TopValues::default();
        values
            .iter()
            .for_each(|value| top.add(&value.to_string(), 1));
        top
    }

    /// Small numbers far more often than large ones.
    fn value() -> impl Strategy<Value = u16> {
        (any::<u16>(), 0_u32..14).prop_map(|(value, bits)| value >> bits)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// forall values on two sides: what the merged counts say of each is true,
        /// and the error is as small as promised.
        #[test]
        fn counts_and_their_error_enclose_the_truth(
            one in prop::collection::vec(value(), 0..4_000),
            other in prop::collection::vec(value(), 0..4_000),
        ) {
            let mut truth: HashMap<String, u64> = HashMap::new();
            for value in one.iter().chain(&other) {
                *truth.entry(value.to_string()).or_default() += 1;
            }
            let mut merged = counted(&one);
            merged.merge(&counted(&other));
            let all = (one.len() + other.len()) as u64;
            prop_assert!(merged.error() <= all / 257);
            prop_assert!(merged.len() <= MAX_VALUES);
            prop_assert!(merged.error() > 0 || merged.len() == truth.len());
            let counts: HashMap<_, _> = merged.top(usize::MAX).into_iter().collect();
            for (value, times) in &truth {
                let count = counts.get(value.as_str()).copied().unwrap_or(0);
                prop_assert!(count <= *times && *times <= count + merged.error());
            }
        }
    }

    #[test]
    fn few_values_are_exact_and_in_order() {
        let top = counted(&[7, 3, 7, 9, 3, 7]);
        assert_eq!(top.top(2), [("7", 3), ("3", 2)]);
        assert_eq!((top.len(), top.error()), (3, 0));
        assert!(TopValues::default().is_empty() && !top.is_empty());
    }

    #[test]
    fn one_value_in_a_hundred_is_found_among_many() {
        let mut top = TopValues::default();
        for number in 0..100_000_u64 {
            top.add(&format!("rare-{number}"), 1);
            if number % 100 == 0 {
                top.add("often", 1);
            }
        }
        let first = top.top(1);
        assert!(first.len() == 1 && first[0].0 == "often", "{first:?}");
        assert!(first[0].1 <= 1_000 && 1_000 <= first[0].1 + top.error());
    }
}
