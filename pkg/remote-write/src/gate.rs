//! Whether a receiver may be tried: by everybody, or, while it takes nothing from
//! anybody, by one now and then.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::retry::Backoff;

/// Queues whose requests fail, with nobody's answered meanwhile, after which it is the
/// receiver that fails and not they.
const FAILING: usize = 8;

/// The longest that one who tries a receiver which takes nothing keeps the next from it.
/// Requests that get no answer take longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// For each request that is answered, so many more may be sent, until that many have
/// been answered: twice as many each time as before.
const MORE: u64 = 2;
const ANSWERED: u64 = 64;

/// Whether a receiver may be tried.
#[derive(Debug)]
pub(crate) struct Gate {
    min_backoff: Duration,
    max_backoff: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Whose requests failed since one was answered.
    failing: Vec<usize>,
    closed: Option<Closed>,
}

#[derive(Debug)]
struct Closed {
    /// What began before says nothing new.
    since: Instant,
    /// How many may try it, whatever the time.
    credits: u64,
    /// How many were answered.
    answered: u64,
    /// When somebody may try it, anyway.
    next: Instant,
    backoff: Backoff,
    /// How many have tried it since one was answered.
    failures: u64,
}

/// What an attempt has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that anybody need know.
    None,
    /// Not everybody may try it any more.
    Closed,
    /// Everybody may.
    Opened,
}

impl Gate {
    /// One that is open. While it is closed, attempts are as far apart as those of a
    /// queue.
    pub(crate) fn new(min_backoff: Duration, max_backoff: Duration) -> Self {
        Self {
            min_backoff,
            max_backoff,
            state: Mutex::new(State {
                failing: Vec::new(),
                closed: None,
            }),
        }
    }

    /// Whether not everybody may try.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed.is_some()
    }

    /// How many have tried since it was closed, or since one was answered; 0 if it is
    /// open.
    pub(crate) fn failures(&self) -> u64 {
        let state = self.state.lock();
        state.closed.as_ref().map_or(0, |closed| closed.failures)
    }

    /// How many may try now, of so many.
    pub(crate) fn room(&self, now: Instant, wanted: usize) -> usize {
        match &self.state.lock().closed {
            None => wanted,
            Some(closed) if closed.credits > 0 => {
                let credits = usize::try_from(closed.credits).unwrap_or(usize::MAX);
                credits.min(wanted)
            }
            Some(closed) => usize::from(closed.next <= now).min(wanted),
        }
    }

    /// When somebody may try; `None` for now.
    pub(crate) fn next(&self) -> Option<Instant> {
        let state = self.state.lock();
        let closed = state.closed.as_ref()?;
        (closed.credits == 0).then_some(closed.next)
    }

    /// Whether one more may try.
    pub(crate) fn admit(&self, now: Instant) -> bool {
        match &mut self.state.lock().closed {
            None => true,
            Some(closed) if closed.credits > 0 => {
                closed.credits -= 1;
                true
            }
            Some(closed) if closed.next <= now => {
                closed.next = now + PATIENCE;
                true
            }
            Some(_) => false,
        }
    }

    /// Notes that a request was taken, or refused for what is in it.
    pub(crate) fn answered(&self) -> Change {
        let mut state = self.state.lock();
        state.failing.clear();
        let Some(closed) = &mut state.closed else {
            return Change::None;
        };
        closed.failures = 0;
        closed.backoff = Backoff::new(self.min_backoff, self.max_backoff);
        closed.credits += MORE;
        closed.answered += 1;
        if closed.answered < ANSWERED {
            return Change::None;
        }
        state.closed = None;
        Change::Opened
    }

    /// Notes that a request of a queue, which began at some time, was not answered, or
    /// that the receiver could do nothing with it. `jitter` is in `0..=1`.
    pub(crate) fn failed(&self, queue: usize, began: Instant, now: Instant, jitter: f64) -> Change {
        let mut state = self.state.lock();
        let State { failing, closed } = &mut *state;
        if closed.as_ref().is_some_and(|closed| began <= closed.since) {
            return Change::None;
        }
        if !failing.contains(&queue) {
            failing.push(queue);
        }
        let all_fail = failing.len() >= FAILING;
        if all_fail {
            failing.clear();
        }
        let change = match (&closed, all_fail) {
            (None, false) => return Change::None,
            (None, true) => Change::Closed,
            (Some(_), _) => Change::None,
        };
        let closed = closed.get_or_insert_with(|| Closed {
            since: now,
            credits: 0,
            answered: 0,
            next: now,
            backoff: Backoff::new(self.min_backoff, self.max_backoff),
            failures: 0,
        });
        if all_fail {
            closed.since = now;
            closed.credits = 0;
            closed.answered = 0;
        }
        if closed.credits == 0 {
            closed.failures += 1;
            closed.next = now + closed.backoff.delay(jitter, None);
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A gate whose attempts are 1, 2 and 4 seconds apart, closed by eight queues.
    fn closed(start: Instant) -> Gate {
        let gate = Gate::new(SECOND, 4 * SECOND);
        let changes: Vec<_> = (0..8)
            .map(|queue| gate.failed(queue, start, start, 1.0))
            .collect();
        assert_eq!(changes[..7], [Change::None; 7]);
        assert_eq!(changes[7], Change::Closed);
        gate
    }

    #[test]
    fn one_queue_that_fails_leaves_it_open() {
        let (gate, start) = (Gate::new(SECOND, SECOND), Instant::now());
        for _ in 0..100 {
            assert_eq!(gate.failed(1, start, start, 1.0), Change::None);
        }
        assert!(gate.admit(start) && gate.admit(start));
        assert_eq!((gate.failures(), gate.next()), (0, None));
    }

    #[test]
    fn queues_that_fail_while_others_are_answered_leave_it_open() {
        let (gate, start) = (Gate::new(SECOND, SECOND), Instant::now());
        for queue in 0..100 {
            assert_eq!(gate.failed(queue, start, start, 1.0), Change::None);
            if queue % 7 == 0 {
                assert_eq!(gate.answered(), Change::None);
            }
        }
        assert!(!gate.is_closed());
    }

    #[test]
    fn while_it_is_closed_one_tries_at_a_time_and_ever_later() {
        let start = Instant::now();
        let gate = closed(start);
        let mut now = start;
        for (failures, wait) in [(1, 1), (2, 2), (3, 4), (4, 4)] {
            assert_eq!(gate.failures(), failures);
            let next = now + wait * SECOND;
            assert!(!gate.admit(next - SECOND / 100));
            assert_eq!((gate.next(), gate.room(next, 5)), (Some(next), 1));
            assert!(gate.admit(next) && !gate.admit(next));
            // The answer comes half a second later.
            now = next + SECOND / 2;
            assert_eq!(gate.failed(failures as usize, next, now, 1.0), Change::None);
        }
    }

    #[test]
    fn one_that_is_not_answered_keeps_others_from_it_for_five_seconds() {
        let start = Instant::now();
        let gate = closed(start);
        let now = start + SECOND;
        assert!(gate.admit(now));
        assert!(!gate.admit(now + 4 * SECOND));
        assert!(gate.admit(now + 5 * SECOND));
    }

    #[test]
    fn what_was_under_way_when_it_closed_does_not_count() {
        let start = Instant::now();
        let gate = closed(start);
        for queue in 8..200 {
            gate.failed(queue, start, start + SECOND / 2, 1.0);
        }
        assert_eq!(gate.failures(), 1);
        assert!(gate.admit(start + SECOND));
    }

    #[test]
    fn each_answer_lets_two_more_try_and_the_64th_everybody() {
        let start = Instant::now();
        let gate = closed(start);
        let now = start + SECOND;
        assert!(gate.admit(now));
        let (mut under_way, mut rounds) = (1, Vec::new());
        while gate.is_closed() {
            let mut changes = (0..under_way).map(|_| gate.answered());
            let opened = changes.any(|change| change == Change::Opened);
            assert_eq!(opened, !gate.is_closed());
            rounds.push(under_way);
            under_way = (0..1_000).filter(|_| gate.admit(now)).count();
        }
        assert_eq!(rounds, [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(under_way, 1_000);
    }

    #[test]
    fn one_failure_among_answers_does_not_close_it_again_and_eight_do() {
        let start = Instant::now();
        let gate = closed(start);
        let now = start + SECOND;
        assert!(gate.admit(now));
        for _ in 0..8 {
            gate.answered();
        }
        gate.failed(1, now, now, 1.0);
        assert_eq!(gate.room(now, 100), 16);
        for queue in 2..9 {
            assert_eq!(gate.room(now, 100), 16);
            gate.failed(queue, now, now, 1.0);
        }
        assert_eq!(gate.room(now, 100), 0);
        assert_eq!(gate.next(), Some(now + SECOND));
    }
}
