//! Whether this process stood still: stopped, starved, or its machine paused.
//!
//! The others take a node that stands still for dead, and give its spans to the next one.
//! When it goes on it finds pushes that it had got before, of which some may have been
//! applied elsewhere, and does not know the ring any more. So it takes nothing until it has
//! heard of the others again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::IsBack;

/// How often it looks.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// How long between two looks is standing still: below the time after which the others
/// take a node for dead, and above what a machine under load takes.
const STOOD_STILL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Freeze {
    begin: Instant,
    /// In milliseconds since `begin`.
    last_tick: AtomicU64,
    /// When it went on, in the same unit, until it is back in the ring; 0 if it is.
    went_on: AtomicU64,
}

impl Freeze {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            begin: now,
            last_tick: AtomicU64::new(0),
            went_on: AtomicU64::new(0),
        }
    }

    /// Notes that the process runs at a moment.
    pub(super) fn tick(&self, now: Instant) {
        let since = now.saturating_duration_since(self.begin);
        let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let last = self.last_tick.fetch_max(now, Ordering::AcqRel);
        let gap = Duration::from_millis(now.saturating_sub(last));
        if gap >= STOOD_STILL {
            self.went_on.store(now, Ordering::Release);
            tracing::warn!(
                ?gap,
                "this process stood still; distributors' pushes are refused until it is back in the ring"
            );
        }
    }

    /// Whether pushes are to be refused, for it stood still and is not back in the ring.
    pub(super) fn is_frozen(&self, now: Instant, is_back: &IsBack) -> bool {
        self.tick(now);
        let went_on = self.went_on.load(Ordering::Acquire);
        if went_on == 0 {
            return false;
        }
        if !is_back(self.begin + Duration::from_millis(went_on)) {
            return true;
        }
        // Another freeze may have been noted meanwhile, and stays.
        let _ = self
            .went_on
            .compare_exchange(went_on, 0, Ordering::AcqRel, Ordering::Acquire);
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn what_stood_still_takes_nothing_until_it_is_back_in_the_ring() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let heard = Arc::new(Mutex::new(begin));
        let last_heard = Arc::clone(&heard);
        let is_back: IsBack = Arc::new(move |since| *last_heard.lock() > since);
        let freeze = Freeze::new(begin);
        for millis in [100, 200, 1_000, 2_900] {
            freeze.tick(at(millis));
            assert!(!freeze.is_frozen(at(millis), &is_back), "{millis}");
        }
        // Heard before it went on, at 10 s.
        *heard.lock() = at(9_999);
        assert!(freeze.is_frozen(at(10_000), &is_back));
        freeze.tick(at(10_100));
        assert!(freeze.is_frozen(at(10_200), &is_back));
        *heard.lock() = at(10_250);
        assert!(!freeze.is_frozen(at(10_300), &is_back));
        // The watch may be the first to see the next one.
        freeze.tick(at(20_000));
        assert!(freeze.is_frozen(at(20_100), &is_back));
    }
}
