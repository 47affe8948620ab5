//! When the next request is due.

use std::time::Duration;

/// Spreads spans evenly over time.
///
/// The schedule does not wait for slow answers (an open loop), but at most
/// [`Pace::CATCH_UP`] of missed sending is made good afterwards.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Spans a second; `None` is as fast as possible.
    rate: Option<f64>,
    /// When the next request is due, since the start of the run.
    due: Duration,
}

impl Pace {
    /// How far behind the schedule may be.
    pub(crate) const CATCH_UP: Duration = Duration::from_secs(1);

    /// A schedule that begins now.
    pub(crate) fn new(rate: Option<f64>) -> Self {
        Self {
            rate,
            due: Duration::ZERO,
        }
    }

    /// When the next request will be due, as [`Pace::reserve`] would say.
    pub(crate) fn next(&self, elapsed: Duration) -> Duration {
        match self.rate {
            Some(_) => self.due.max(elapsed.saturating_sub(Self::CATCH_UP)),
            None => Duration::ZERO,
        }
    }

    /// Reserves room for a request: when it is due, since the start of the run.
    pub(crate) fn reserve(&mut self, elapsed: Duration, spans: u64) -> Duration {
        let due = self.next(elapsed);
        if let Some(rate) = self.rate {
            self.due = due + Duration::from_secs_f64(spans as f64 / rate);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn requests_are_spread_by_their_spans() {
        let mut pace = Pace::new(Some(100.0));
        assert_eq!(pace.reserve(Duration::ZERO, 50), Duration::ZERO);
        assert_eq!(pace.reserve(Duration::ZERO, 100), SECOND / 2);
        assert_eq!(pace.reserve(SECOND, 10), SECOND * 3 / 2);
    }

    #[test]
    fn one_second_of_missed_sending_is_made_good() {
        let mut pace = Pace::new(Some(100.0));
        assert_eq!(pace.reserve(SECOND * 60, 100), SECOND * 59);
        assert_eq!(pace.reserve(SECOND * 60, 100), SECOND * 60);
        assert_eq!(pace.reserve(SECOND * 60, 100), SECOND * 61);
    }

    #[test]
    fn without_a_rate_everything_is_due_at_once() {
        let mut pace = Pace::new(None);
        assert_eq!(pace.reserve(SECOND, 1_000_000), Duration::ZERO);
        assert_eq!(pace.reserve(SECOND, 1), Duration::ZERO);
    }
}
