//! The generators that one tenant uses.

use std::sync::Arc;

use model::{TenantId, Token};

use crate::lookup::{MemberIndex, Placement};

/// A tenant's part of the ring.
#[derive(Clone, Debug)]
pub struct Shard {
    placement: Arc<Placement>,
    /// Whose tokens count, by index; `None` for everyone's.
    chosen: Option<Vec<bool>>,
}

impl Shard {
    /// The part of a tenant with `size` generators; all of them if `size` is 0 or there
    /// are no more.
    pub fn new(placement: Arc<Placement>, _tenant: &TenantId, _size: usize) -> Self {
        Self {
            placement,
            chosen: None,
        }
    }

    /// The placement that this is a part of.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Who owns a token for this tenant; none if nobody can take spans.
    pub fn owner(&self, token: Token) -> Option<MemberIndex> {
        self.next_owner(token, &[])
    }

    /// Who owns a token if those `without` do not; none if that leaves nobody.
    pub fn next_owner(&self, token: Token, without: &[MemberIndex]) -> Option<MemberIndex> {
        self.placement
            .from(token)
            .find(|index| self.has(*index) && !without.contains(index))
    }

    fn has(&self, index: MemberIndex) -> bool {
        let chosen = self.chosen.as_ref();
        chosen.is_none_or(|chosen| chosen.get(usize::from(index.0)) == Some(&true))
    }
}
