//! Short pushes of a tenant to one generator that go together.
//!
//! A call costs both ends more than what is in a short push, and where a request is split
//! among many generators all pushes are short. So those that come while a call of their
//! tenant is under way wait for its end, and go in one call: the busier both are the more
//! go together, and where nothing is under way nobody waits. Tenants do not wait for each
//! other, and what is long waits for nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::TenantId;
use parking_lot::Mutex;
use server::nodes::PushMetadata;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::sent::Sent;
use super::{Answer, InFlight};

/// Calls of a tenant that may be under way before others wait.
const UNDER_WAY: usize = 1;

/// Bytes that are sent whatever is under way, so that one call does not keep one thread of
/// the generator busy while others have nothing to do. No more go together.
const FULL: usize = 128 << 10;

/// Pushes to one generator.
#[derive(Debug, Default)]
pub(super) struct Together(Mutex<HashMap<TenantId, OfTenant>>);

/// Pushes of one tenant; there is none without any.
#[derive(Debug, Default)]
struct OfTenant {
    under_way: usize,
    waiting: VecDeque<Waiting>,
    /// Bytes of what waits.
    bytes: usize,
    /// Whether somebody is about to send what has waited for too long.
    is_late: bool,
}

/// A push that waits to be sent.
#[derive(Debug)]
pub(super) struct Waiting {
    /// As if it were sent when it came.
    pub(super) metadata: PushMetadata,
    pub(super) request: Bytes,
    pub(super) since: Instant,
    pub(super) sent: Arc<Sent>,
    pub(super) answer: oneshot::Sender<Answer>,
    /// As long as its bytes are there, whoever waits for it.
    pub(super) _in_flight: InFlight,
}

/// What comes of a push that wants to be sent.
#[derive(Debug)]
pub(super) enum Entered {
    /// It goes alone, at once; [`Together::leave`] is to be called at its end.
    Alone,
    /// It waits, and has to be put there by [`Together::wait`].
    Waits,
}

impl Together {
    /// Lets a push of so many bytes go, unless it is to wait.
    pub(super) fn enter(&self, tenant: &TenantId, bytes: usize) -> Entered {
        let mut tenants = self.0.lock();
        let of_tenant = match tenants.get_mut(tenant) {
            Some(of_tenant) => of_tenant,
            None => tenants.entry(tenant.clone()).or_default(),
        };
        if of_tenant.under_way >= UNDER_WAY && bytes < FULL {
            return Entered::Waits;
        }
        of_tenant.under_way += 1;
        Entered::Alone
    }

    /// Lets a push wait; returns whether somebody is to send what waits. Whoever does calls
    /// [`take`](Self::take) until there is nothing.
    #[must_use]
    pub(super) fn wait(&self, waiting: Waiting) -> bool {
        let mut tenants = self.0.lock();
        let tenant = waiting.metadata.tenant.clone();
        let of_tenant = tenants.entry(tenant).or_default();
        of_tenant.bytes += waiting.request.len();
        of_tenant.waiting.push_back(waiting);
        let sends = of_tenant.under_way < UNDER_WAY || of_tenant.bytes >= FULL;
        of_tenant.under_way += usize::from(sends);
        sends
    }

    /// Notes that a push has waited for too long: what is under way may never be answered.
    /// Returns whether somebody is to send what waits.
    #[must_use]
    pub(super) fn is_late(&self, tenant: &TenantId) -> bool {
        let mut tenants = self.0.lock();
        let Some(of_tenant) = tenants.get_mut(tenant) else {
            return false;
        };
        let sends = !of_tenant.waiting.is_empty() && !of_tenant.is_late;
        of_tenant.is_late |= sends;
        of_tenant.under_way += usize::from(sends);
        sends
    }

    /// Notes the end of a push that went alone; returns whether somebody is to send what
    /// waits.
    #[must_use]
    pub(super) fn leave(&self, tenant: &TenantId) -> bool {
        let mut tenants = self.0.lock();
        let Some(of_tenant) = tenants.get_mut(tenant) else {
            return false;
        };
        let sends = !of_tenant.waiting.is_empty() && of_tenant.under_way <= UNDER_WAY;
        if !sends {
            of_tenant.under_way -= 1;
            if of_tenant.is_idle() {
                tenants.remove(tenant);
            }
        }
        sends
    }

    /// Takes pushes that go together: the first that waits, and what follows it and fits.
    /// They are sent from now on. Nothing if nothing waits, or enough others are under way;
    /// then whoever asks ends.
    pub(super) fn take(&self, tenant: &TenantId) -> Vec<Waiting> {
        let mut tenants = self.0.lock();
        let mut taken: Vec<Waiting> = Vec::new();
        let Some(of_tenant) = tenants.get_mut(tenant) else {
            return taken;
        };
        let goes_on =
            of_tenant.under_way <= UNDER_WAY || of_tenant.bytes >= FULL || of_tenant.is_late;
        of_tenant.is_late = false;
        let mut bytes = 0;
        while goes_on && let Some(next) = of_tenant.waiting.pop_front() {
            let is_one_more = taken
                .first()
                .is_none_or(|first| first.fits(&next) && bytes + next.request.len() <= FULL);
            if !is_one_more {
                of_tenant.waiting.push_front(next);
                break;
            }
            of_tenant.bytes -= next.request.len();
            if !next.answer.is_closed() && next.sent.begin() {
                bytes += next.request.len();
                taken.push(next);
            }
        }
        if taken.is_empty() {
            of_tenant.under_way -= 1;
            if of_tenant.is_idle() {
                tenants.remove(tenant);
            }
        }
        taken
    }
}

impl OfTenant {
    fn is_idle(&self) -> bool {
        self.under_way == 0 && self.waiting.is_empty()
    }
}

impl Waiting {
    /// Whether another can go with it: neither expires much sooner than it would alone.
    fn fits(&self, other: &Self) -> bool {
        let (one, another) = (&self.metadata, &other.metadata);
        let (end, other_end) = (self.end(), other.end());
        let apart = end.max(other_end) - end.min(other_end);
        one.placement == another.placement
            && one.skip_metrics == another.skip_metrics
            && apart < one.expires_in / 4
    }

    /// Until when somebody cares for an answer.
    fn end(&self) -> Instant {
        self.since + self.metadata.expires_in
    }
}

/// The metadata of pushes that go together now: what is theirs alone of the one that has
/// the least time.
pub(super) fn metadata(pushes: &[Waiting]) -> Option<PushMetadata> {
    let now = Instant::now();
    let left = |push: &Waiting| push.end().saturating_duration_since(now);
    let expires_in = pushes.iter().map(left).min().unwrap_or(Duration::ZERO);
    let first = pushes.first()?;
    Some(PushMetadata {
        sent_at: first.metadata.sent_at + now.saturating_duration_since(first.since),
        expires_in,
        ..first.metadata.clone()
    })
}
