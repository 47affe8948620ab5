//! What this node says that it takes: nothing until it is ready, then more in steps.

use std::time::{Duration, Instant};

use crate::member::{MemberState, Role};
use crate::tokens::TOKENS;

/// How much more a generator that has become active takes in each step: a quarter of its
/// tokens. Its first series and connections are made under a part of the load, and who
/// has just taken the trace of a waiting edge is not asked for all of them at once.
const STEP: u16 = TOKENS / 4;
/// How long a step takes.
const STEP_TIME: Duration = Duration::from_secs(1);

/// What this node says that it takes.
#[derive(Clone, Debug)]
pub struct Lifecycler {
    role: Role,
    /// What it was told to be.
    state: MemberState,
    /// When that began.
    since: Instant,
    /// The most tokens it takes.
    most: u16,
    /// Whether another node was there before with its id.
    is_duplicate: bool,
}

impl Lifecycler {
    /// A node that joins.
    pub fn new(role: Role, now: Instant) -> Self {
        Self {
            role,
            state: MemberState::Joining,
            since: now,
            most: TOKENS,
            is_duplicate: false,
        }
    }

    /// Tells it what it is to be; as what it is already it goes on.
    pub fn set_state(&mut self, state: MemberState, now: Instant) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }

    /// Tells it how many of its tokens it may take traffic for,
    /// [`TOKENS`] at most.
    pub fn set_most(&mut self, tokens: u16) {
        self.most = tokens.min(TOKENS);
    }

    /// Tells it whether another node with its id was there before. As long as that is so,
    /// it stays joining, whatever it was told.
    pub fn set_duplicate(&mut self, is_duplicate: bool, now: Instant) {
        if self.is_duplicate && !is_duplicate {
            self.since = now;
        }
        self.is_duplicate = is_duplicate;
    }

    /// Its state, and how many of its tokens it takes traffic for.
    pub fn at(&self, now: Instant) -> (MemberState, u16) {
        if self.is_duplicate {
            return (MemberState::Joining, 0);
        }
        let tokens = match self.state {
            _ if !self.role.generates() => 0,
            MemberState::Joining => 0,
            MemberState::Active => {
                let steps =
                    now.saturating_duration_since(self.since).as_nanos() / STEP_TIME.as_nanos();
                let steps = u16::try_from(steps).unwrap_or(u16::MAX).saturating_add(1);
                STEP.saturating_mul(steps).min(self.most)
            }
            MemberState::Leaving | MemberState::ReadOnly | MemberState::Unknown => self.most,
        };
        (self.state, tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_takes_tokens_in_steps_once_it_is_active() {
        let start = Instant::now();
        let mut node = Lifecycler::new(Role::Generator, start);
        let at =
            |node: &Lifecycler, seconds: f64| node.at(start + Duration::from_secs_f64(seconds));
        assert_eq!(at(&node, 60.0), (MemberState::Joining, 0));
        node.set_state(MemberState::Active, start + Duration::from_secs(60));
        for (seconds, tokens) in [
            (60.0, 128),
            (60.999, 128),
            (61.0, 256),
            (62.0, 384),
            (63.0, 512),
            (1e6, 512),
        ] {
            assert_eq!(
                at(&node, seconds),
                (MemberState::Active, tokens),
                "{seconds}"
            );
        }
        node.set_state(MemberState::Active, start + Duration::from_secs(70));
        assert_eq!(at(&node, 70.0), (MemberState::Active, 512), "it was active");
        node.set_state(MemberState::Leaving, start + Duration::from_secs(80));
        assert_eq!(at(&node, 80.0), (MemberState::Leaving, 512));
        node.set_state(MemberState::Active, start + Duration::from_secs(90));
        assert_eq!(at(&node, 90.0), (MemberState::Active, 128), "it comes back");
    }

    #[test]
    fn tokens_stay_below_what_was_allowed() {
        let start = Instant::now();
        let mut node = Lifecycler::new(Role::All, start);
        node.set_most(60_000);
        node.set_state(MemberState::Active, start);
        let later = start + Duration::from_secs(10);
        assert_eq!(node.at(later).1, 512);
        node.set_most(100);
        assert_eq!(node.at(later).1, 100);
    }

    #[test]
    fn distributor_has_no_tokens() {
        let start = Instant::now();
        let mut node = Lifecycler::new(Role::Distributor, start);
        node.set_state(MemberState::Active, start);
        assert_eq!(node.at(start), (MemberState::Active, 0));
    }

    #[test]
    fn later_of_two_with_the_same_id_is_not_active_until_it_is_alone() {
        let start = Instant::now();
        let mut node = Lifecycler::new(Role::Generator, start);
        node.set_duplicate(true, start);
        node.set_state(MemberState::Active, start);
        let later = start + Duration::from_secs(10);
        assert_eq!(node.at(later), (MemberState::Joining, 0));
        node.set_duplicate(false, later);
        assert_eq!(node.at(later), (MemberState::Active, 128));
    }
}
