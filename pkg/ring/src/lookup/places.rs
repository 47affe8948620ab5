//! The places of all members on the ring.

use model::Token;

use super::MemberIndex;
use crate::member::Member;
use crate::tokens;

/// The ring has 2^18 stretches, and who owns the first token of one owns all of it: then
/// a look-up is two loads and no search, at whatever number of members. Each of 64
/// generators has some 4,096 stretches, so that rounding moves its part by half a percent.
///
/// Part of what nodes of different versions agree on: it never changes.
const STRETCH_BITS: u32 = 18;

/// The places on the ring, and which is the first from each stretch on.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Whose they are, in the order of the ring; of members with the same place, the
    /// first by id is first.
    owners: Vec<MemberIndex>,
    /// By stretch, the index of the first place that is not before it; empty if there are
    /// no places.
    first: Vec<u32>,
}

impl Places {
    /// The places of members, which are in the order of their ids.
    pub(super) fn of(members: &[Member]) -> Self {
        // Each in one number, for those are sorted fastest: place, then index.
        let mut places = Vec::new();
        for (index, member) in (0..=u16::MAX).zip(members) {
            if member.owns_tokens() {
                let own = tokens::derive(member.token_seed, member.tokens);
                places.extend(own.map(|token| u64::from(token.0) << 16 | u64::from(index)));
            }
        }
        if places.is_empty() {
            return Self::default();
        }
        places.sort_unstable();
        let mut first = Vec::with_capacity(1 << STRETCH_BITS);
        for (index, place) in (0_u32..).zip(&places) {
            // The first stretch that does not begin after the place is the last one that
            // it may be the first of.
            first.resize((stretch((place >> 16) as u32) + 1).max(first.len()), index);
        }
        // Behind the last place comes the first.
        first.resize(1 << STRETCH_BITS, 0);
        let owners = places.iter().map(|place| MemberIndex(*place as u16));
        Self {
            owners: owners.collect(),
            first,
        }
    }

    /// The owners of the places from a token on, once around.
    pub(super) fn from(&self, token: Token) -> impl Iterator<Item = MemberIndex> + '_ {
        let first = self.first(token).unwrap_or_default();
        let (before, after) = self.owners.split_at_checked(first).unwrap_or_default();
        after.iter().chain(before).copied()
    }

    /// The owner of the first place from a token on.
    #[inline]
    pub(super) fn owner(&self, token: Token) -> Option<MemberIndex> {
        self.owners.get(self.first(token)?).copied()
    }

    /// The part of the ring that each member owns.
    pub(super) fn parts(&self, members: usize) -> Vec<f64> {
        let mut parts = vec![0.0; members];
        for first in &self.first {
            let owner = self.owners.get(*first as usize);
            if let Some(part) = owner.and_then(|owner| parts.get_mut(usize::from(owner.0))) {
                *part += 1.0 / f64::from(1 << STRETCH_BITS);
            }
        }
        parts
    }

    #[inline]
    fn first(&self, token: Token) -> Option<usize> {
        let first = self.first.get(stretch(token.0))?;
        Some(*first as usize)
    }
}

/// In which stretch a token is.
#[inline]
fn stretch(token: u32) -> usize {
    (token >> (u32::BITS - STRETCH_BITS)) as usize
}
