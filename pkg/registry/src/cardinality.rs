//! How many different values there were, in a kilobyte: HyperLogLog.
//!
//! Estimates of demand count what limits refuse, so the values themselves
//! cannot be kept. Sources: Flajolet et al., "HyperLogLog" (2007), for the
//! sketch; Ertl, "New cardinality estimation algorithms for HyperLogLog
//! sketches" (2017), section 4, for an estimate without correction tables.

const INDEX_BITS: u32 = 10;
const REGISTERS: usize = 1 << INDEX_BITS;
/// What a register holds at most: all bits but the index are zero, and one.
const MAX_RANK: usize = (u64::BITS - INDEX_BITS + 1) as usize;

/// An estimate of how many different hashes were inserted.
///
/// It takes 1,024 bytes whatever it counts. Its standard error is 3.25 %, and
/// below a few hundred values less. Equal sets give equal sketches, whatever
/// the order, and sketches of different nodes can be merged as long as the
/// hashes are the same function of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cardinality {
    ranks: Box<[u8]>,
}

/// A [`Cardinality`] of the recent past.
///
/// Values go into the newest of some generations, and the estimate is over all
/// of them. The caller rotates: what was last inserted so many rotations ago
/// as there are generations no longer counts.
#[derive(Clone, Debug)]
pub struct RecentCardinality {
    /// Newest first; at least one.
    generations: Vec<Cardinality>,
}

impl Cardinality {
    /// Without values.
    pub fn new() -> Self {
        Self {
            ranks: vec![0; REGISTERS].into(),
        }
    }

    /// Adds a value by a hash of it, all of whose bits must depend on the value.
    #[inline]
    pub fn insert_hash(&mut self, hash: u64) {
        let index = hash >> (u64::BITS - INDEX_BITS);
        // The bit that ends the zeros if there is no other.
        let rest = (hash << INDEX_BITS) | (1 << (INDEX_BITS - 1));
        let rank = (rest.leading_zeros() + 1) as u8;
        if let Some(register) = self.ranks.get_mut(index as usize) {
            *register = rank.max(*register);
        }
    }

    /// Adds the values of another.
    pub fn merge(&mut self, other: &Self) {
        for (register, rank) in self.ranks.iter_mut().zip(&other.ranks) {
            *register = (*rank).max(*register);
        }
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.ranks.fill(0);
    }

    /// The registers, for who writes them down.
    pub(crate) fn ranks(&self) -> &[u8] {
        &self.ranks
    }

    /// Sets a register that was written down; `false` if there is none such.
    pub(crate) fn set_rank(&mut self, index: u64, rank: u8) -> bool {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        match self.ranks.get_mut(index) {
            Some(register) if usize::from(rank) <= MAX_RANK => {
                *register = rank;
                true
            }
            _ => false,
        }
    }

    /// How many different values there were, about.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate is not negative, and a cast saturates"
    )]
    pub fn estimate(&self) -> u64 {
        let mut registers_of = [0.0; MAX_RANK + 1];
        for rank in &self.ranks {
            if let Some(registers) = registers_of.get_mut(usize::from(*rank)) {
                *registers += 1.0;
            }
        }
        let [zero, ranked @ .., full] = registers_of;
        let all = REGISTERS as f64;
        let mut sum = all * tau(1.0 - full / all);
        for registers in ranked.iter().rev() {
            sum = 0.5 * (sum + registers);
        }
        sum += all * sigma(zero / all);
        (all * all / (2.0 * std::f64::consts::LN_2 * sum)).round() as u64
    }
}

impl Default for Cardinality {
    fn default() -> Self {
        Self::new()
    }
}

impl RecentCardinality {
    /// Without values. Rotated once in `period`, a value that is no longer
    /// inserted counts for between `generations - 1` and `generations` periods.
    /// At least one generation is kept, a kilobyte each.
    pub fn new(generations: usize) -> Self {
        Self {
            generations: vec![Cardinality::new(); generations.max(1)],
        }
    }

    /// Adds a value, as [`Cardinality::insert_hash`] does.
    #[inline]
    pub fn insert_hash(&mut self, hash: u64) {
        if let Some(newest) = self.generations.first_mut() {
            newest.insert_hash(hash);
        }
    }

    /// Starts a generation, and forgets the oldest.
    pub fn rotate(&mut self) {
        self.generations.rotate_right(1);
        if let Some(newest) = self.generations.first_mut() {
            newest.clear();
        }
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.generations.iter_mut().for_each(Cardinality::clear);
    }

    /// The values of all generations, to merge with others.
    pub fn union(&self) -> Cardinality {
        let mut union = Cardinality::new();
        for generation in &self.generations {
            union.merge(generation);
        }
        union
    }

    /// How many different values there were of late, about.
    pub fn estimate(&self) -> u64 {
        self.union().estimate()
    }
}

/// `x + x^2 + 2 x^4 + 4 x^8 + ...`, the share of registers that are still zero;
/// infinite for 1.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut factor, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * factor;
        factor += factor;
        if sum <= before {
            return sum;
        }
    }
}

/// The counterpart of [`sigma`] for registers that can grow no more.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut factor, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        factor *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * factor;
        if sum >= before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64_with_seed;

    use super::*;

    fn insert(sketch: &mut Cardinality, values: std::ops::Range<u64>, seed: u64) {
        for value in values {
            sketch.insert_hash(xxh3_64_with_seed(&value.to_le_bytes(), seed));
        }
    }

    /// The root of the mean squared error over so many independent sketches.
    fn relative_error(values: u64, sketches: u64) -> f64 {
        let squares: f64 = (0..sketches)
            .map(|seed| {
                let mut sketch = Cardinality::new();
                insert(&mut sketch, 0..values, seed);
                (sketch.estimate() as f64 / values as f64 - 1.0).powi(2)
            })
            .sum();
        (squares / sketches as f64).sqrt()
    }

    #[test]
    fn nothing_and_few_values_are_counted_exactly() {
        for values in [0, 1, 2, 5, 10] {
            let mut sketch = Cardinality::new();
            insert(&mut sketch, 0..values, 0);
            insert(&mut sketch, 0..values, 0);
            assert_eq!(sketch.estimate(), values);
        }
    }

    #[test]
    fn standard_error_is_that_of_a_thousand_registers() {
        for (values, sketches) in [
            (100, 400),
            (1_000, 400),
            (3_000, 400),
            (10_000, 400),
            (100_000, 200),
            (1_000_000, 60),
        ] {
            let error = relative_error(values, sketches);
            assert!(error < 0.035, "{values} values: {error}");
        }
    }

    #[test]
    fn a_full_sketch_estimates_more_than_any_count() {
        let mut sketch = Cardinality::new();
        for index in 0..REGISTERS as u64 {
            sketch.insert_hash(index << (u64::BITS - INDEX_BITS));
        }
        assert_eq!(sketch.estimate(), u64::MAX);
    }

    #[test]
    fn merged_sketches_are_the_sketch_of_all_values() {
        let mut both = Cardinality::new();
        insert(&mut both, 0..3_000, 7);
        let (mut one, mut other) = (Cardinality::new(), Cardinality::default());
        insert(&mut one, 0..2_000, 7);
        insert(&mut other, 1_000..3_000, 7);
        one.merge(&other);
        assert_eq!(one, both);
        one.clear();
        assert_eq!(one, Cardinality::new());
    }

    #[test]
    fn values_age_out_after_as_many_rotations_as_generations() {
        let mut recent = RecentCardinality::new(3);
        let count = |recent: &mut RecentCardinality, value: u64| {
            recent.insert_hash(xxh3_64_with_seed(&value.to_le_bytes(), 1));
        };
        count(&mut recent, 1);
        count(&mut recent, 2);
        recent.rotate();
        count(&mut recent, 2);
        assert_eq!(recent.estimate(), 2);
        recent.rotate();
        assert_eq!(recent.estimate(), 2);
        recent.rotate();
        assert_eq!(recent.estimate(), 1, "1 was last seen three rotations ago");
        recent.rotate();
        assert_eq!(recent.estimate(), 0);
        count(&mut recent, 3);
        assert_eq!(recent.union().estimate(), 1);
        recent.clear();
        assert_eq!(recent.estimate(), 0);
    }

    #[test]
    fn at_least_one_generation_is_kept() {
        let mut recent = RecentCardinality::new(0);
        recent.insert_hash(1);
        assert_eq!(recent.estimate(), 1);
    }
}
