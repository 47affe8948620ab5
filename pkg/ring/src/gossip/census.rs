//! Of all that was heard, who is a member.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::heartbeats::{Heartbeats, LifeId};
use super::keys::Told;
use crate::member::Member;
use crate::protocols::Protocols;

/// A member and what only people look at.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberStatus {
    /// As the ring has it.
    pub member: Member,
    /// Where it gossips.
    pub gossip_address: SocketAddr,
    /// How long ago its heartbeat last went up.
    pub heartbeat_age: Duration,
    /// How much of what it can do it does; 1 is all.
    pub load: f64,
    /// Whether it hashes traces as we do; if not, the two do not agree on owners.
    pub has_our_cluster_seed: bool,
    /// What it speaks; none if it says that in a way that is not known here.
    pub protocols: Option<Protocols>,
    /// Whether it is this node.
    pub is_self: bool,
}

/// Who is a member now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Census {
    /// By id, one each.
    pub(crate) members: Vec<MemberStatus>,
    /// Where another node with our id gossips, if there is one.
    pub(crate) duplicate: Option<Duplicate>,
}

/// Another node with our id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duplicate {
    /// Where it gossips.
    pub(crate) gossip_address: SocketAddr,
    /// Whether it was there before us, so that it is us who stand back.
    pub(crate) is_earlier: bool,
}

/// Counts the members: of those lives that were heard of (with what they say; ours among
/// them) the one of each id that counts.
///
/// After a restart at the same address the later life counts at once. At another address
/// the earlier one counts as long as it is alive: it may be another node with the same
/// id, and that must not take over what is the earlier one's. Who has left, and who is
/// dead and was asked to be forgotten (`forgotten`: up to which incarnation, by id), does
/// not count at all.
pub(crate) fn take(
    lives: Vec<(LifeId, Told)>,
    own: &LifeId,
    heartbeats: &Heartbeats,
    forgotten: &BTreeMap<String, u64>,
    now: Instant,
) -> Census {
    let is_alive = |id: &LifeId| id == own || heartbeats.is_alive(id, now);
    let own_seed = lives
        .iter()
        .find(|(id, _)| id == own)
        .map(|(_, told)| told.cluster_seed.clone());
    // The latest life at each address.
    let mut latest: BTreeMap<_, (LifeId, Told)> = BTreeMap::new();
    for (id, told) in lives {
        let place = (id.node.clone(), id.gossip_address);
        let is_later = latest
            .get(&place)
            .is_none_or(|(known, _)| known.incarnation < id.incarnation);
        if is_later {
            latest.insert(place, (id, told));
        }
    }
    let duplicate = latest
        .values()
        .map(|(id, _)| id)
        .find(|id| id.node == own.node && *id != own && is_alive(id) && heartbeats.has_lasted(id))
        .map(|id| Duplicate {
            gossip_address: id.gossip_address,
            is_earlier: id < own,
        });
    let mut members: BTreeMap<_, (LifeId, Told)> = BTreeMap::new();
    for (id, told) in latest.into_values() {
        let until = forgotten.get(&*id.node);
        let is_forgotten = until.is_some_and(|until| id.incarnation <= *until);
        if told.has_left || (is_forgotten && !is_alive(&id)) {
            continue;
        }
        let counts =
            members
                .get(&id.node)
                .is_none_or(|(known, _)| match (is_alive(known), is_alive(&id)) {
                    (true, true) => id < *known,
                    (false, false) => id > *known,
                    (known_is_alive, _) => !known_is_alive,
                });
        if counts {
            members.insert(id.node.clone(), (id, told));
        }
    }
    let members = members.into_values().map(|(id, told)| {
        let mut member = told.member;
        member.is_alive = is_alive(&id);
        MemberStatus {
            member,
            gossip_address: id.gossip_address,
            heartbeat_age: heartbeats.age(&id, now),
            load: told.load,
            has_our_cluster_seed: Some(&told.cluster_seed) == own_seed.as_ref(),
            protocols: told.protocols,
            is_self: id == *own,
        }
    });
    Census {
        members: members.collect(),
        duplicate,
    }
}

#[cfg(test)]
mod tests;
