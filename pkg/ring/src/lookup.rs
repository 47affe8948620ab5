//! Who owns a token.

mod places;

use std::sync::Arc;

use model::Token;

use crate::member::Member;
use crate::shuffle_shard::Candidates;
use places::Places;

/// The place of a member in [`Placement::members`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberIndex(pub u16);

/// Which member owns which token: immutable, and the same for the same members.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// By id.
    members: Vec<Member>,
    /// What follows from the ids, zones and tokens of those that own some.
    owners: Arc<Owners>,
}

#[derive(Debug, Default)]
struct Owners {
    places: Places,
    candidates: Candidates,
}

impl Placement {
    /// The placement of a list of members, in any order. Those that own no tokens
    /// ([`Member::owns_tokens`]) are listed, and get none.
    ///
    /// No more than 65,536 members are seen.
    pub fn new(members: Vec<Member>) -> Self {
        Self::default().with(members)
    }

    /// The placement of other members. What is the same stays: a change that moves no
    /// token costs no more than the comparison.
    pub fn with(&self, mut members: Vec<Member>) -> Self {
        members.sort_by(|a, b| a.id.cmp(&b.id));
        let owners = if is_placed_alike(&self.members, &members) {
            self.owners.clone()
        } else {
            Arc::new(Owners {
                places: Places::of(&members),
                candidates: Candidates::of(&members),
            })
        };
        Self { members, owners }
    }

    /// All members, by id.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// A member; none if the index is not of this placement.
    pub fn member(&self, index: MemberIndex) -> Option<&Member> {
        self.members.get(usize::from(index.0))
    }

    /// The members met on the ring from a token on, with repetitions: the owner first,
    /// then who would be it without those before. Of those that stand on one place, the
    /// first by id comes first.
    pub fn from(&self, token: Token) -> impl Iterator<Item = MemberIndex> + '_ {
        self.owners.places.from(token)
    }

    /// Who owns a token; none if nobody owns any.
    #[inline]
    pub fn owner(&self, token: Token) -> Option<MemberIndex> {
        self.owners.places.owner(token)
    }

    /// Each member's part of all tokens, by index, in `0.0..=1.0`.
    pub fn parts(&self) -> Vec<f64> {
        self.owners.places.parts(self.members.len())
    }

    /// Who may be chosen for a tenant's part of the ring.
    pub(crate) fn candidates(&self) -> &Candidates {
        &self.owners.candidates
    }
}

/// Whether two lists, both by id, lead to the same places under the same indexes.
fn is_placed_alike(some: &[Member], others: &[Member]) -> bool {
    let places = |member: &Member| {
        member
            .owns_tokens()
            .then_some((member.token_seed, member.tokens))
    };
    some.len() == others.len()
        && some.iter().zip(others).all(|(a, b)| {
            a.id == b.id && places(a) == places(b) && (a.zone == b.zone || !a.owns_tokens())
        })
}

#[cfg(test)]
mod tests;
