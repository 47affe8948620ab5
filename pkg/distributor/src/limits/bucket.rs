//! A bucket that fills with what is sent and drains at the rate that is allowed.

use std::time::{Duration, Instant};

/// What one tenant has sent and not yet been forgiven.
///
/// It knows how full it is instead of how much room there is, so that a changed burst
/// or rate holds at once and nothing that was sent is forgotten.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Bytes, as of `at`.
    level: f64,
    /// Bytes a second, as of the last take.
    rate: f64,
    at: Instant,
}

/// There is no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// How long until there is; [`Duration::MAX`] at a rate of 0.
    pub(super) wait: Duration,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            level: 0.0,
            rate: 0.0,
            at: now,
        }
    }

    /// Puts so many bytes in, if they fit below `burst` after draining at `rate` bytes a
    /// second.
    ///
    /// Time that passed since the last call drains at the rate of now.
    pub(super) fn take(
        &mut self,
        now: Instant,
        bytes: u64,
        rate: u64,
        burst: u64,
    ) -> Result<(), Full> {
        self.rate = rate as f64;
        self.level = self.level_at(now);
        // Never backwards: threads come in any order.
        self.at = self.at.max(now);
        let over = self.level + bytes as f64 - burst as f64;
        if over > 0.0 {
            let wait = Duration::try_from_secs_f64(over / self.rate).unwrap_or(Duration::MAX);
            return Err(Full { wait });
        }
        self.level += bytes as f64;
        Ok(())
    }

    /// Whether it is as a new one.
    pub(super) fn is_empty(&self, now: Instant) -> bool {
        self.level_at(now) <= 0.0
    }

    fn level_at(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level - self.rate * passed).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn burst_is_taken_at_once_and_comes_back_at_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        assert_eq!(bucket.take(start, 60, 10, 100), Ok(()));
        assert_eq!(bucket.take(start, 40, 10, 100), Ok(()));
        assert_eq!(
            bucket.take(start, 1, 10, 100),
            Err(Full { wait: SECOND / 10 })
        );
        // What was refused costs nothing.
        let later = start + 2 * SECOND;
        assert_eq!(bucket.take(later, 20, 10, 100), Ok(()));
        assert_eq!(
            bucket.take(later, 20, 10, 100),
            Err(Full { wait: 2 * SECOND })
        );
    }

    #[test]
    fn waiting_as_long_as_told_is_enough_and_less_is_not() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        bucket.take(start, 100, 8, 100).unwrap();
        let Full { wait } = bucket.take(start, 30, 8, 100).unwrap_err();
        assert_eq!(wait, Duration::from_millis(3_750));
        let early = start + wait - Duration::from_millis(1);
        assert!(bucket.take(early, 30, 8, 100).is_err());
        assert_eq!(bucket.take(start + wait, 30, 8, 100), Ok(()));
    }

    #[test]
    fn changed_rate_and_burst_hold_at_once_and_forget_nothing() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        bucket.take(start, 100, 10, 100).unwrap();
        assert_eq!(bucket.take(start, 50, 10, 150), Ok(()));
        assert_eq!(bucket.take(start, 1, 50, 101), Err(Full { wait: SECOND }));
        assert!(!bucket.is_empty(start + 2 * SECOND));
        assert!(bucket.is_empty(start + 3 * SECOND));
    }

    #[test]
    fn at_a_rate_of_zero_nothing_comes_back() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        assert_eq!(bucket.take(start, 5, 0, 5), Ok(()));
        let later = start + Duration::from_secs(1_000_000);
        assert_eq!(
            bucket.take(later, 1, 0, 5),
            Err(Full {
                wait: Duration::MAX
            })
        );
    }
}
