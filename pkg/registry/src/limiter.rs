//! How many series, and label sets, a tenant may have.

/// Limits of one tenant's registry; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Series that may be active at once, the overflow series not counted.
    pub max_active_series: u64,
    /// Label sets that may be active at once, the overflow's not counted.
    pub max_active_entities: u64,
    /// Values that one label may have at once; further ones are replaced by
    /// [`LABEL_OVERFLOW`](crate::LABEL_OVERFLOW).
    pub max_cardinality_per_label: u64,
}

/// Counts active series and label sets against the limits.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    pub(crate) limits: Limits,
    active: Counts,
    added: Counts,
}

/// A number of series, and of the label sets that have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Series: a counter or gauge is 1, a classic histogram its buckets, sum
    /// and count.
    pub series: u64,
    /// Label sets.
    pub entities: u64,
}

impl Limiter {
    /// What is active now.
    pub(crate) fn active(&self) -> Counts {
        self.active
    }

    /// What has ever been admitted.
    pub(crate) fn added(&self) -> Counts {
        self.added
    }

    /// Admits a label set with all its series, or none of them.
    pub(crate) fn admit(&mut self, series: u64) -> bool {
        let has_room = |active: u64, more: u64, max: u64| max == 0 || active + more <= max;
        let Limits {
            max_active_series,
            max_active_entities,
            ..
        } = self.limits;
        if !has_room(self.active.series, series, max_active_series)
            || !has_room(self.active.entities, 1, max_active_entities)
        {
            return false;
        }
        self.readmit(series);
        true
    }

    /// Admits a label set that had its place already, whatever the limits are now.
    pub(crate) fn readmit(&mut self, series: u64) {
        for counts in [&mut self.active, &mut self.added] {
            counts.series += series;
            counts.entities += 1;
        }
    }

    /// A label set has gone.
    pub(crate) fn release(&mut self, series: u64) {
        self.active.series = self.active.series.saturating_sub(series);
        self.active.entities = self.active.entities.saturating_sub(1);
    }

    /// A label set moves: it will be admitted again, and is nothing new.
    pub(crate) fn move_out(&mut self, series: u64) {
        self.release(series);
        self.added.series = self.added.series.saturating_sub(series);
        self.added.entities = self.added.entities.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_are_admitted_whole() {
        let mut limiter = Limiter::default();
        limiter.limits.max_active_series = 20;
        assert!(limiter.admit(19));
        assert!(!limiter.admit(2));
        assert!(limiter.admit(1));
        limiter.release(19);
        let counts = |series, entities| Counts { series, entities };
        assert_eq!(limiter.active(), counts(1, 1));
        assert_eq!(limiter.added(), counts(20, 2));
    }

    #[test]
    fn label_sets_themselves_can_be_limited() {
        let mut limiter = Limiter::default();
        limiter.limits.max_active_entities = 2;
        assert!(limiter.admit(1_000) && limiter.admit(1));
        assert!(!limiter.admit(1));
        limiter.release(1);
        assert!(limiter.admit(1));
    }
}
