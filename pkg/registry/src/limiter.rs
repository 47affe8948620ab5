//! How many series a tenant may have.

/// Limits of one tenant's registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Series that may be active at once, the overflow series not counted; 0
    /// is no limit.
    pub max_active_series: u64,
}

/// Counts active series against the limits.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    pub(crate) limits: Limits,
    active_series: u64,
}

impl Limiter {
    pub(crate) fn active_series(&self) -> u64 {
        self.active_series
    }

    /// Admits a label set with all its series, or none of them.
    pub(crate) fn admit(&mut self, series: u64) -> bool {
        let max = self.limits.max_active_series;
        if max != 0 && self.active_series + series > max {
            return false;
        }
        self.active_series += series;
        true
    }

    /// A label set has gone.
    pub(crate) fn release(&mut self, series: u64) {
        self.active_series = self.active_series.saturating_sub(series);
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
        assert_eq!(limiter.active_series(), 1);
    }
}
