//! How many label sets there would be without limits.
//!
//! Those that are live are known. Those that a limit refused come by again and
//! again, and are estimated: within 3.3 % (HyperLogLog of 1,024 registers).

use crate::cardinality::RecentCardinality;

/// Generations of refused label sets: rotated twice within the time after which
/// an idle series ends, one counts for that time and up to half of it more.
pub(crate) const GENERATIONS: usize = 3;

/// Label sets of one table that a limit refused lately.
#[derive(Debug, Default)]
pub(crate) struct Refused(Option<RecentCardinality>);

impl Refused {
    /// Notes a label set by its hash.
    pub(crate) fn insert(&mut self, hash: u64) {
        self.0
            .get_or_insert_with(|| RecentCardinality::new(GENERATIONS))
            .insert_hash(hash);
    }

    /// Lets them age.
    pub(crate) fn rotate(&mut self) {
        if let Some(refused) = &mut self.0 {
            refused.rotate();
            if refused.estimate() == 0 {
                self.0 = None;
            }
        }
    }

    /// How many there were, about.
    pub(crate) fn estimate(&self) -> u64 {
        self.0.as_ref().map_or(0, RecentCardinality::estimate)
    }

    /// Forgets them: the limits have changed, and who is refused with them.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}
