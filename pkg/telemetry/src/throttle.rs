//! Log lines that an outsider could cause without end.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets one event through per interval and counts the rest.
///
/// ```
/// let throttle = spanmill_telemetry::LogThrottle::new(std::time::Duration::from_secs(10));
/// if let Some(suppressed) = throttle.admit() {
///     tracing::warn!(suppressed, "connection refused");
/// }
/// ```
#[derive(Debug)]
pub struct LogThrottle {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl LogThrottle {
    /// A throttle that has let nothing through yet.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            state: Mutex::default(),
        }
    }

    /// Whether to log now, and how many events went unlogged since the last.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        match state.last {
            Some(last) if now.saturating_duration_since(last) < self.interval => {
                state.suppressed += 1;
                None
            }
            _ => {
                state.last = Some(now);
                Some(std::mem::take(&mut state.suppressed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_per_interval_passes_with_the_count_of_the_others() {
        let throttle = LogThrottle::new(Duration::from_secs(10));
        let start = Instant::now();
        let passed: Vec<_> = [0, 1, 9, 10, 11, 30]
            .map(|second| throttle.admit_at(start + Duration::from_secs(second)))
            .into();
        assert_eq!(passed, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
