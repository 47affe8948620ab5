//! Who owns a token.

use model::Token;

use crate::member::Member;
use crate::tokens;

/// The place of a member in [`Placement::members`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberIndex(pub u16);

/// Which member owns which token: immutable, and the same for the same members.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// By id.
    members: Vec<Member>,
    /// By token.
    tokens: Vec<(Token, MemberIndex)>,
}

impl Placement {
    /// The placement of a list of members, in any order. Those that own no tokens
    /// ([`Member::owns_tokens`]) are listed, and get none.
    pub fn new(mut members: Vec<Member>) -> Self {
        members.sort_by(|a, b| a.id.cmp(&b.id));
        let mut tokens = Vec::new();
        for (index, member) in (0_u16..).zip(&members) {
            if member.owns_tokens() {
                let own = tokens::derive(member.token_seed, member.tokens);
                tokens.extend(own.map(|token| (token, MemberIndex(index))));
            }
        }
        tokens.sort_unstable();
        // Of two members with the same token the first by id has it.
        tokens.dedup_by_key(|(token, _)| *token);
        Self { members, tokens }
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
    /// then who would be it without those before.
    pub fn from(&self, token: Token) -> impl Iterator<Item = MemberIndex> + '_ {
        let start = self.tokens.partition_point(|(own, _)| *own < token);
        let (before, after) = self.tokens.split_at(start);
        after.iter().chain(before).map(|(_, index)| *index)
    }

    /// Who owns a token; none if nobody owns any.
    pub fn owner(&self, token: Token) -> Option<MemberIndex> {
        self.from(token).next()
    }
}
