//! Who is alive: whose heartbeat was heard to go up lately.
//!
//! A heartbeat is a number that its node raises with each round of gossip and that the
//! others pass on. chitchat has a detector of its own, which adapts to how often it
//! hears; this one has a fixed patience instead, so that one can say when a dead node is
//! noticed, and nothing that is busy for a second is taken for dead.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a heartbeat has to go up before its node is taken for alive. The first value
/// heard says nothing, and the second may be what two others remember of a dead node.
const RISES: u32 = 2;

/// One life of a node at one address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LifeId {
    /// The node's name.
    pub(crate) node: Arc<str>,
    /// Higher after each start.
    pub(crate) incarnation: u64,
    /// Where it gossips.
    pub(crate) gossip_address: SocketAddr,
}

/// The heartbeats heard.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    /// How long a node may be silent.
    patience: Duration,
    lives: BTreeMap<LifeId, Heard>,
    last_round: Option<Instant>,
    /// Until when what comes in may have waited while this node was frozen.
    doubted_until: Option<Instant>,
    last_heard: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    heartbeat: u64,
    rises: u32,
    first: Instant,
    last: Instant,
}

impl Heartbeats {
    /// Nothing heard yet. Who is silent for `patience` is dead.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            lives: BTreeMap::new(),
            last_round: None,
            doubted_until: None,
            last_heard: None,
        }
    }

    /// Takes the heartbeats of all others that are known now; who is not among them is
    /// forgotten.
    pub(crate) fn round(
        &mut self,
        heartbeats: impl IntoIterator<Item = (LifeId, u64)>,
        now: Instant,
    ) {
        let is_thawed = self
            .last_round
            .is_some_and(|last| now.saturating_duration_since(last) > self.patience / 2);
        if is_thawed {
            self.doubted_until = now.checked_add(self.patience / 4);
        }
        self.last_round = Some(now);
        let is_doubted = self.doubted_until.is_some_and(|until| now < until);
        let mut known = BTreeSet::new();
        for (id, heartbeat) in heartbeats {
            let new = Heard {
                heartbeat,
                rises: 0,
                first: now,
                last: now,
            };
            let heard = self.lives.entry(id.clone()).or_insert(new);
            if heartbeat > heard.heartbeat {
                heard.heartbeat = heartbeat;
                if !is_doubted {
                    heard.rises = heard.rises.saturating_add(1);
                    heard.last = now;
                    self.last_heard = Some(now);
                }
            }
            known.insert(id);
        }
        self.lives.retain(|id, _| known.contains(id));
    }

    /// Whether a life goes on.
    pub(crate) fn is_alive(&self, id: &LifeId, now: Instant) -> bool {
        self.lives.get(id).is_some_and(|heard| {
            heard.rises >= RISES && now.saturating_duration_since(heard.last) <= self.patience
        })
    }

    /// Whether a life has gone on for longer than news of a dead one can go round.
    pub(crate) fn has_lasted(&self, id: &LifeId) -> bool {
        self.lives
            .get(id)
            .is_some_and(|heard| heard.last.saturating_duration_since(heard.first) > self.patience)
    }

    /// How long ago a life was heard of; zero if it is not known.
    pub(crate) fn age(&self, id: &LifeId, now: Instant) -> Duration {
        self.lives.get(id).map_or(Duration::ZERO, |heard| {
            now.saturating_duration_since(heard.last)
        })
    }

    /// When any other node was last heard of; none if none ever was. What waited in a
    /// socket while this node was frozen does not count.
    pub(crate) fn last_heard(&self) -> Option<Instant> {
        self.last_heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn life(node: &str) -> LifeId {
        LifeId {
            node: node.into(),
            incarnation: 1,
            gossip_address: ([127, 0, 0, 1], 7946).into(),
        }
    }

    /// Rounds each 100 ms with one more heartbeat each.
    fn beat(heartbeats: &mut Heartbeats, from: Instant, rounds: u32, first: u64) -> Instant {
        let mut now = from;
        for round in 0..rounds {
            now = from + Duration::from_millis(100) * round;
            heartbeats.round([(life("a"), first + u64::from(round))], now);
        }
        now
    }

    #[test]
    fn node_is_alive_from_the_second_rise_until_it_was_silent_for_long() {
        let (mut heartbeats, start) = (Heartbeats::new(PATIENCE), Instant::now());
        let second = beat(&mut heartbeats, start, 2, 100);
        assert!(!heartbeats.is_alive(&life("a"), second));
        let third = beat(&mut heartbeats, second, 1, 102);
        assert!(heartbeats.is_alive(&life("a"), third));
        assert!(heartbeats.is_alive(&life("a"), third + PATIENCE));
        let later = third + PATIENCE + Duration::from_millis(1);
        assert!(!heartbeats.is_alive(&life("a"), later));
        assert_eq!(heartbeats.age(&life("a"), later), later - third);
    }

    #[test]
    fn node_that_is_known_of_and_not_heard_is_dead() {
        let (mut heartbeats, start) = (Heartbeats::new(PATIENCE), Instant::now());
        for round in 0..10 {
            heartbeats.round([(life("a"), 5)], start + Duration::from_millis(100) * round);
        }
        assert!(!heartbeats.is_alive(&life("a"), start + Duration::from_secs(1)));
        assert_eq!(heartbeats.last_heard(), None);
    }

    #[test]
    fn what_waited_while_this_node_was_frozen_is_not_news() {
        let (mut heartbeats, start) = (Heartbeats::new(PATIENCE), Instant::now());
        let before = beat(&mut heartbeats, start, 5, 100);
        let thawed = before + Duration::from_secs(60);
        heartbeats.round([(life("a"), 106)], thawed);
        heartbeats.round([(life("a"), 107)], thawed + Duration::from_millis(100));
        assert_eq!(heartbeats.last_heard(), Some(before));
        assert!(!heartbeats.is_alive(&life("a"), thawed));
        let believed = thawed + Duration::from_millis(500);
        heartbeats.round([(life("a"), 108)], believed);
        assert_eq!(heartbeats.last_heard(), Some(believed));
        assert!(heartbeats.is_alive(&life("a"), believed));
    }

    #[test]
    fn life_has_lasted_when_it_outlives_the_news_of_it() {
        let (mut heartbeats, start) = (Heartbeats::new(PATIENCE), Instant::now());
        beat(&mut heartbeats, start, 21, 100);
        assert!(!heartbeats.has_lasted(&life("a")));
        beat(&mut heartbeats, start + Duration::from_millis(2100), 1, 200);
        assert!(heartbeats.has_lasted(&life("a")));
    }

    #[test]
    fn who_is_not_named_any_more_is_forgotten() {
        let (mut heartbeats, start) = (Heartbeats::new(PATIENCE), Instant::now());
        let last = beat(&mut heartbeats, start, 5, 100);
        heartbeats.round([], last);
        assert!(!heartbeats.is_alive(&life("a"), last));
    }
}
