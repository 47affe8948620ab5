//! Whether the spans of a push are this generator's.
//!
//! The distributor says by which placement it split. If ours is the same, its split is
//! right, and no span is looked at. If not, one of the two knows less, and we do not know
//! which. A span counted by its second owner costs at most half an edge; a span refused by
//! everyone is lost. So in doubt it is taken: for as long as our own view has not stood for
//! [`AGREED`], and after that by every generator that is near the trace on the ring, which
//! would be its owner if one or two others were gone. What is left is a distributor that
//! splits by another seed or by a ring of long ago.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{ClusterSeed, Push, TraceTokens};
use otlp::{Request, Span};
use parking_lot::Mutex;
use ring::{MemberIndex, MemberState, Placement, RingView, Shard, agreement};
use server::nodes::NotApplied;

use super::NodePushDependencies;

/// How long a view has to stand until a distributor with another one is taken to be wrong:
/// several times what gossip needs to reach everyone.
const AGREED: Duration = Duration::from_secs(10);

/// How many of a trace's first owners take it from a distributor that sees another ring.
const NEAR: usize = 3;

#[derive(Debug)]
pub(super) struct Ownership {
    ring: RingView,
    id: Arc<str>,
    seed: ClusterSeed,
    view: Mutex<View>,
}

/// Our placement, and since when it stands.
#[derive(Clone, Copy, Debug)]
struct View {
    placement: u64,
    since: Instant,
}

/// What a push is to this generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Both place alike.
    Agreed,
    /// They do not, but it may well be ours.
    Disputed,
    /// It is not ours.
    Wrong,
    /// Nothing is.
    TakesNothing(NotApplied),
}

impl Ownership {
    pub(super) fn new(dependencies: &NodePushDependencies, now: Instant) -> Self {
        Self {
            ring: dependencies.ring.clone(),
            id: Arc::clone(&dependencies.id),
            seed: dependencies.seed,
            view: Mutex::new(View {
                placement: 0,
                since: now,
            }),
        }
    }

    /// What a push is that was split by a placement.
    pub(super) fn standing(
        &self,
        placement_of_sender: u64,
        push: &Push,
        ring_size: u64,
        now: Instant,
    ) -> Standing {
        let placement = self.ring.placement();
        let own = placement
            .members()
            .iter()
            .zip(0_u16..)
            .find(|(member, _)| member.id == self.id);
        match own.map(|(member, _)| member.state) {
            Some(MemberState::Leaving | MemberState::ReadOnly | MemberState::Unknown) => {
                return Standing::TakesNothing(NotApplied::Leaving);
            }
            Some(MemberState::Joining) => return Standing::TakesNothing(NotApplied::NotOwner),
            // Who does not see itself sees no ring yet.
            Some(MemberState::Active) | None => {}
        }
        let hash = agreement::hash(&placement);
        let stands = self.stands_for(hash, now);
        if hash == placement_of_sender {
            return Standing::Agreed;
        }
        let Some((_, index)) = own.filter(|_| stands >= AGREED) else {
            return Standing::Disputed;
        };
        let index = MemberIndex(index);
        if self.is_near(placement, index, push, ring_size) {
            Standing::Disputed
        } else {
            Standing::Wrong
        }
    }

    /// Notes our placement, and says for how long it stands. Where nobody has asked for a
    /// while that is too short, which only takes a push more.
    fn stands_for(&self, placement: u64, now: Instant) -> Duration {
        let mut view = self.view.lock();
        if view.placement != placement {
            *view = View {
                placement,
                since: now,
            };
        }
        now.saturating_duration_since(view.since)
    }

    /// Whether every trace of a push has this generator among its first owners.
    fn is_near(
        &self,
        placement: Arc<Placement>,
        own: MemberIndex,
        push: &Push,
        ring_size: u64,
    ) -> bool {
        let size = usize::try_from(ring_size).unwrap_or(usize::MAX);
        let shard = Shard::new(placement, &push.tenant, size);
        let tokens = TraceTokens::new(self.seed, &push.tenant);
        let mut passed = Vec::with_capacity(NEAR);
        let is_ours = |trace_id: &[u8]| {
            let token = tokens.of(trace_id);
            passed.clear();
            while passed.len() < NEAR {
                match shard.next_owner(token, &passed) {
                    Some(owner) if owner == own => return true,
                    Some(owner) => passed.push(owner),
                    None => return false,
                }
            }
            false
        };
        every_trace(&push.request, is_ours)
    }
}

/// Whether something holds for the trace of every span that can be read: what cannot is
/// refused by whoever applies it.
fn every_trace(request: &[u8], mut holds: impl FnMut(&[u8]) -> bool) -> bool {
    let resources = Request::new(request).resource_spans().flatten();
    let mut spans = resources
        .flat_map(|resource| resource.scope_spans().flatten())
        .flat_map(|scope| scope.spans().flatten());
    spans.all(|span| {
        let span = Span::parse(span).ok();
        span.is_none_or(|span| holds(span.trace_id))
    })
}
