//! The generators that one tenant uses.
//!
//! Every tenant ranks the generators of each zone by a hash of its own. It uses the first
//! of each zone in turn until it has as many as it should: whoever comes or goes, at most
//! one other takes or loses a place, and no span moves between two that stay.

mod candidates;

use std::sync::Arc;

use model::{TenantId, Token};
use xxhash_rust::xxh3::xxh3_64;

use crate::lookup::{MemberIndex, Placement};

pub(crate) use candidates::{Candidates, Chosen};

/// A tenant's part of the ring.
#[derive(Clone, Debug)]
pub struct Shard {
    placement: Arc<Placement>,
    tenant: u64,
    size: usize,
    /// Who is left out although the placement has them.
    without: Vec<MemberIndex>,
    chosen: Chosen,
}

impl Shard {
    /// The part of a tenant with `size` generators; all of them if `size` is 0 or there
    /// are no more. Zones have equally many as far as they have them.
    ///
    /// A generator that has not all its tokens yet is there besides the `size` others: it
    /// takes their spans step by step, and only when it has all does it take a place.
    pub fn new(placement: Arc<Placement>, tenant: &TenantId, size: usize) -> Self {
        Self::choose(
            placement,
            xxh3_64(tenant.as_str().as_bytes()),
            size,
            Vec::new(),
        )
    }

    /// The part of the tenant if these were gone as well: what the ring will be once all
    /// know that they are.
    #[must_use]
    pub fn without(&self, gone: &[MemberIndex]) -> Self {
        let mut without = self.without.clone();
        without.extend_from_slice(gone);
        Self::choose(self.placement.clone(), self.tenant, self.size, without)
    }

    fn choose(
        placement: Arc<Placement>,
        tenant: u64,
        size: usize,
        without: Vec<MemberIndex>,
    ) -> Self {
        let chosen = placement.candidates().choose(tenant, size, &without);
        Self {
            placement,
            tenant,
            size,
            without,
            chosen,
        }
    }

    /// The placement that this is a part of.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The generators of this part, by index.
    pub fn members(&self) -> impl Iterator<Item = MemberIndex> + '_ {
        let all = self.placement.candidates().all();
        all.filter(|index| self.chosen.has(*index))
    }

    /// Who owns a token for this tenant; none if nobody can take spans.
    #[inline]
    pub fn owner(&self, token: Token) -> Option<MemberIndex> {
        match &self.chosen {
            Chosen::All => self.placement.owner(token),
            Chosen::None => None,
            Chosen::Some(chosen) => {
                let mut from = self.placement.from(token);
                from.find(|index| chosen.has(*index))
            }
        }
    }

    /// Who owns a token if those `without` are gone; none if that leaves nobody. For many
    /// tokens, ask the part [`without`](Self::without) them.
    pub fn next_owner(&self, token: Token, without: &[MemberIndex]) -> Option<MemberIndex> {
        self.without(without).owner(token)
    }
}

#[cfg(test)]
mod tests;
