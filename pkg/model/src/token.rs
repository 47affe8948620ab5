//! Positions on the ring.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::tenant::TenantId;

/// A position on the ring, in `0..=u32::MAX`.
///
/// Tokens order the ring; they do not identify a trace: with 32 bits, two traces share
/// one often enough that nothing may be keyed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u32);

/// What the tokens of a cluster are hashed with. Every node of a cluster has the same;
/// who does not know it cannot make traces that all fall to one generator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClusterSeed(u64);

impl ClusterSeed {
    /// The seed that a text stands for: a secret, or the cluster's label where there is
    /// none.
    pub fn from_text(text: &str) -> Self {
        Self(xxh3_64_with_seed(text.as_bytes(), 0))
    }
}

/// Hides what is a secret.
impl std::fmt::Debug for ClusterSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterSeed(<secret>)")
    }
}

/// The tokens of one tenant's traces.
///
/// Every span of a trace gets the same token, so that one generator sees the whole
/// trace; service graphs depend on it. The tenant is hashed first, so that equal trace
/// ids of two tenants do not pile up on one generator.
#[derive(Clone, Copy, Debug)]
pub struct TraceTokens {
    tenant_seed: u64,
}

impl TraceTokens {
    /// The tokens of a tenant in a cluster.
    pub fn new(seed: ClusterSeed, tenant: &TenantId) -> Self {
        Self {
            tenant_seed: xxh3_64_with_seed(tenant.as_str().as_bytes(), seed.0),
        }
    }

    /// The token of a trace: the high half of the 64-bit hash of its id.
    pub fn of(&self, trace_id: &[u8]) -> Token {
        Token((xxh3_64_with_seed(trace_id, self.tenant_seed) >> 32) as u32)
    }
}
