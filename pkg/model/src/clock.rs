//! Where the time comes from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A source of wall-clock time that tests can set.
///
/// Cloning is cheap; clones of a manual clock share its time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::set`] moves it.
    pub fn manual(unix_nanos: u64) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(unix_nanos))))
    }

    /// Nanoseconds since the Unix epoch; 0 if the machine's clock is before it.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    pub fn unix_nanos(&self) -> u64 {
        match &self.0 {
            Source::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| {
                    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
                }),
            Source::Manual(nanos) => nanos.load(Ordering::Relaxed),
        }
    }

    /// Milliseconds since the Unix epoch, the unit of sample timestamps.
    pub fn unix_millis(&self) -> i64 {
        i64::try_from(self.unix_nanos() / 1_000_000).unwrap_or(i64::MAX)
    }

    /// Moves a manual clock; does nothing to the machine's.
    pub fn set(&self, unix_nanos: u64) {
        if let Source::Manual(nanos) = &self.0 {
            nanos.store(unix_nanos, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_manual_clock_share_its_time() {
        let clock = Clock::manual(5_000_000);
        let other = clock.clone();
        clock.set(7_000_000);
        assert_eq!((other.unix_nanos(), other.unix_millis()), (7_000_000, 7));
    }
}
