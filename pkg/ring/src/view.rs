//! The ring as this node sees it now.

use std::sync::Arc;

use arc_swap::ArcSwap;
use model::{TenantId, Token};
use tokio::sync::{Notify, watch};

use crate::lookup::Placement;
use crate::member::Member;
use crate::shuffle_shard::Shard;

/// How many places of the ring are looked at to say who has which share of it: a share
/// is right within a fiftieth of a percent.
const PLACES: u32 = 1 << 16;

/// The ring as this node sees it now; clones share it.
#[derive(Clone, Debug)]
pub struct RingView {
    now: Arc<ArcSwap<Placement>>,
    changed: watch::Sender<()>,
    /// Wakes all in the order in which they began to wait, which `changed` does not.
    in_order: Arc<Notify>,
}

impl Default for RingView {
    fn default() -> Self {
        Self {
            now: Arc::default(),
            changed: watch::Sender::new(()),
            in_order: Arc::default(),
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
        self.in_order.notify_waiters();
    }

    /// The placement now.
    pub fn placement(&self) -> Arc<Placement> {
        self.now.load_full()
    }

    /// A tenant's part of the ring now; see [`Shard::new`].
    pub fn shard(&self, tenant: &TenantId, size: usize) -> Shard {
        Shard::new(self.placement(), tenant, size)
    }

    /// Waits until something holds of the placement. Of several who wait for the same change
    /// the first is woken first, so that what is simulated is repeatable.
    ///
    /// Cancel-safe.
    pub async fn until(&self, holds: impl Fn(&Placement) -> bool) {
        loop {
            // Before it is looked at: what changes from here on wakes it.
            let changed = self.in_order.notified();
            if holds(&self.placement()) {
                return;
            }
            changed.await;
        }
    }

    /// Says when the members have changed since it was made or last asked.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// Which part of all traces each member of a placement owns, from 0 to 1, in the order of
/// [`Placement::members`]. It looks at 65,536 places, which takes milliseconds.
pub fn shares(placement: &Placement) -> Vec<f64> {
    let mut places = vec![0_u32; placement.members().len()];
    for place in 0..PLACES {
        let owner = placement.owner(Token(place * (u32::MAX / PLACES + 1)));
        let count = owner.and_then(|owner| places.get_mut(usize::from(owner.0)));
        if let Some(count) = count {
            *count += 1;
        }
    }
    let share = |count: u32| f64::from(count) / f64::from(PLACES);
    places.into_iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{MemberState, Role};

    fn member(id: &str, token_seed: u64, state: MemberState) -> Member {
        Member {
            id: id.into(),
            incarnation: 1,
            role: Role::Generator,
            state,
            zone: "".into(),
            address: ([127, 0, 0, 1], 9095).into(),
            token_seed,
            tokens: 512,
            version: "".into(),
            is_alive: true,
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_placement_is_woken_in_turn_once_it_is_there() {
        let ring = RingView::new(vec![member("a", 1, MemberState::Active)]);
        let (woken, mut order) = tokio::sync::mpsc::channel(8);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 1..=8 {
            let (ring, woken) = (ring.clone(), woken.clone());
            tasks.spawn(async move {
                ring.until(|placement| placement.members().is_empty()).await;
                woken.try_send(number).unwrap();
            });
        }
        tokio::task::yield_now().await;
        ring.update(vec![member("b", 1, MemberState::Active)]);
        tokio::task::yield_now().await;
        assert!(order.is_empty());
        ring.update(Vec::new());
        for number in 1..=8 {
            assert_eq!(order.recv().await, Some(number));
        }
        ring.until(|placement| placement.members().is_empty()).await;
    }

    #[test]
    fn shares_of_those_that_take_spans_are_all_of_the_ring() {
        let ring = RingView::new(vec![
            member("a", 1, MemberState::Active),
            member("b", 2, MemberState::Leaving),
            member("c", 3, MemberState::Active),
        ]);
        let [a, b, c] = shares(&ring.placement()).try_into().unwrap();
        assert_eq!((a + c, b), (1.0, 0.0));
        assert!(a > 0.4 && c > 0.4, "{a} {c}");
        assert!(shares(&Placement::default()).is_empty());
    }
}
