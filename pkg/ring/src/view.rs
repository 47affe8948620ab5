//! The ring as this node sees it now.

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::TenantId;
use tokio::sync::watch;

use crate::lookup::Placement;
use crate::member::Member;
use crate::shuffle_shard::Shard;

/// The ring as this node sees it now; clones share it.
#[derive(Clone, Debug)]
pub struct RingView {
    now: Arc<ArcSwap<Placement>>,
    changed: watch::Sender<()>,
}

impl Default for RingView {
    fn default() -> Self {
        Self {
            now: Arc::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl RingView {
    /// A ring of these members.
    pub fn new(members: Vec<Member>) -> Self {
        let ring = Self::default();
        ring.update(members);
        ring
    }

    /// Replaces the members, and wakes who waits for a change.
    pub fn update(&self, members: Vec<Member>) {
        let now = self.placement().with(members);
        self.now.store(Arc::new(now));
        self.changed.send_replace(());
    }

    /// The placement now.
    pub fn placement(&self) -> Arc<Placement> {
        self.now.load_full()
    }

    /// A tenant's part of the ring now; see [`Shard::new`].
    pub fn shard(&self, tenant: &TenantId, size: usize) -> Shard {
        Shard::new(self.placement(), tenant, size)
    }

    /// Says when the members have changed since it was made or last asked.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
