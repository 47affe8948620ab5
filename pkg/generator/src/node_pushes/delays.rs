//! Which pushes come too late, whatever the clocks of the nodes say.
//!
//! A distributor says when it sent a push by a clock of its own, of which nobody knows
//! where it begins, but which is never set. Arrival here minus sending there is the
//! difference of the two clocks and the time that the push took. The smallest of late is
//! the difference and the shortest way there is; what a push has more than that, it spent
//! waiting: in a queue, or while one of the two nodes stood still.
//!
//! The first push of a distributor's life says nothing by itself and is never late. Two
//! clocks go apart by some 50 µs a second, so that an old smallest is worth nothing: it is
//! forgotten within ten minutes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use server::nodes::PushMetadata;

/// How long a smallest difference holds, at least; twice as long at most.
const WINDOW: Duration = Duration::from_secs(5 * 60);

/// Distributors that are known at once: more than a cluster has.
const MAX_SENDERS: usize = 1_024;

/// The differences of our clock to those of distributors.
#[derive(Debug)]
pub(super) struct Delays {
    begin: Instant,
    senders: Mutex<HashMap<(Arc<str>, u64), Smallest>>,
}

/// The smallest differences, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Smallest {
    /// Of the window that ended last.
    before: i128,
    /// Of this window.
    now: i128,
    window_began: Instant,
    last_push: Instant,
}

impl Delays {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            begin: now,
            senders: Mutex::default(),
        }
    }

    /// Whether a push that arrives now has taken longer than its sender waits.
    pub(super) fn is_expired(&self, push: &PushMetadata, now: Instant) -> bool {
        let arrived = now.saturating_duration_since(self.begin);
        let difference = nanos(arrived) - nanos(push.sent_at);
        let mut senders = self.senders.lock();
        let key = (Arc::clone(&push.sender), push.incarnation);
        if senders.len() >= MAX_SENDERS && !senders.contains_key(&key) {
            forget_one(&mut senders);
        }
        let new = Smallest {
            before: difference,
            now: difference,
            window_began: now,
            last_push: now,
        };
        let smallest = senders.entry(key).or_insert(new);
        if now.saturating_duration_since(smallest.window_began) >= 2 * WINDOW {
            *smallest = new;
        }
        smallest.add(difference, now);
        difference - smallest.before.min(smallest.now) > nanos(push.expires_in)
    }
}

impl Smallest {
    fn add(&mut self, difference: i128, now: Instant) {
        self.last_push = now;
        if now.saturating_duration_since(self.window_began) >= WINDOW {
            self.before = self.now;
            self.now = difference;
            self.window_began = now;
        }
        self.now = self.now.min(difference);
    }
}

/// Forgets whoever has been silent for longest.
fn forget_one(senders: &mut HashMap<(Arc<str>, u64), Smallest>) {
    let silent = senders
        .iter()
        .min_by_key(|(_, smallest)| smallest.last_push);
    if let Some(key) = silent.map(|(key, _)| key.clone()) {
        senders.remove(&key);
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX / 4)
}

#[cfg(test)]
mod tests {
    use model::TenantId;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What a distributor sends at a time of its clock.
    fn push(incarnation: u64, sent_at: Duration) -> PushMetadata {
        PushMetadata {
            tenant: TenantId::single(),
            sender: "d-1".into(),
            incarnation,
            sent_at,
            expires_in: 5 * SECOND,
            placement: 0,
            skip_metrics: false,
        }
    }

    #[test]
    fn lateness_is_told_whatever_the_clocks_say() {
        let day = 86_400 * SECOND;
        for (name, ours, theirs) in [
            ("alike", SECOND, SECOND),
            ("theirs ahead", SECOND, day),
            ("theirs behind", day, SECOND),
        ] {
            let begin = Instant::now();
            let delays = Delays::new(begin);
            // The first took one second, which nobody can know.
            let first = delays.is_expired(&push(1, theirs), begin + ours + SECOND);
            assert!(!first, "{name}");
            for (took, want) in [(0, false), (5, false), (6, true), (60, true), (2, false)] {
                let sent = 100 * SECOND;
                let arrives = begin + ours + sent + took * SECOND;
                let found = delays.is_expired(&push(1, theirs + sent), arrives);
                assert_eq!(found, want, "{name} {took}");
            }
        }
    }

    #[test]
    fn each_life_of_a_distributor_has_a_clock_of_its_own() {
        let begin = Instant::now();
        let delays = Delays::new(begin);
        assert!(!delays.is_expired(&push(1, 50 * SECOND), begin + 50 * SECOND));
        // Its clock begins anew.
        assert!(!delays.is_expired(&push(2, SECOND), begin + 61 * SECOND));
        assert!(!delays.is_expired(&push(2, 2 * SECOND), begin + 62 * SECOND));
        assert!(delays.is_expired(&push(1, 50 * SECOND), begin + 63 * SECOND));
    }

    #[test]
    fn clocks_that_go_apart_make_nothing_late() {
        let begin = Instant::now();
        let delays = Delays::new(begin);
        // Theirs loses a tenth of a percent: six seconds in a hundred minutes.
        for minute in 1..=1_000_u32 {
            let ours = minute * 60 * SECOND;
            let theirs = ours - ours / 1_000;
            assert!(
                !delays.is_expired(&push(1, theirs), begin + ours),
                "{minute}"
            );
        }
        // Nor does one that was silent for days.
        let ours = 10_000_000 * SECOND;
        assert!(!delays.is_expired(&push(1, ours - ours / 1_000), begin + ours));
        assert!(!delays.is_expired(&push(1, ours - ours / 1_000), begin + ours));
    }

    #[test]
    fn only_so_many_distributors_are_known() {
        let begin = Instant::now();
        let delays = Delays::new(begin);
        for life in 0..2 * MAX_SENDERS as u64 {
            delays.is_expired(&push(life, SECOND), begin + Duration::from_millis(life));
        }
        let senders = delays.senders.lock();
        assert_eq!(senders.len(), MAX_SENDERS);
        let oldest = senders.keys().map(|(_, life)| *life).min();
        assert_eq!(oldest, Some(MAX_SENDERS as u64));
    }
}
