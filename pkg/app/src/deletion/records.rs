//! Which tenants were deleted here, and when: nodes that were away ask for it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::TenantId;
use parking_lot::Mutex;
use telemetry::error_chain;

use super::marks::{MarkError, Marks, Order};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// How long others are told of it: a node that is away for longer brings back what it has.
const TOLD_MS: u64 = 30 * DAY_MS;

/// How long it is remembered: what one node has forgotten is told by no other, though their
/// clocks differ.
const REMEMBERED_MS: u64 = TOLD_MS + DAY_MS;

/// Whether an order is followed. One that is older is known by now, or the tenant has begun
/// anew since; one that is of another day to come is of a clock that is wrong.
pub(crate) fn is_in_time(at_ms: u64, now_ms: u64) -> bool {
    at_ms.saturating_add(TOLD_MS) >= now_ms && at_ms <= now_ms.saturating_add(DAY_MS)
}

/// The deletions that are done; on disk, where there is one.
#[derive(Debug)]
pub(crate) struct Records {
    disk: Option<Marks>,
    known: Mutex<BTreeMap<TenantId, u64>>,
    /// Held by whoever changes what is known, until it is on disk: of two orders for a tenant
    /// the later stays. Not held to look, which waits for no disk.
    change: Mutex<()>,
}

impl Records {
    /// What was written down in a directory, but for what is too long ago. Blocks.
    pub(crate) fn open(directory: Option<PathBuf>, now_ms: u64) -> Self {
        let disk = directory.map(Marks::new);
        let mut known = BTreeMap::new();
        let written = disk.iter().flat_map(|disk| disk.all().into_iter());
        for (tenant, order) in written {
            known.insert(tenant, order.at_ms);
        }
        let records = Self {
            disk,
            known: Mutex::new(known),
            change: Mutex::default(),
        };
        records.forget_old(now_ms);
        records
    }

    /// The number of an order that is given now.
    pub(crate) fn next(&self, tenant: &TenantId, now_ms: u64) -> u64 {
        let last = self.known.lock().get(tenant).copied();
        last.map_or(now_ms, |last| now_ms.max(last.saturating_add(1)))
    }

    /// Whether a tenant was deleted here since an order was given.
    pub(crate) fn has(&self, tenant: &TenantId, at_ms: u64) -> bool {
        let known = self.known.lock();
        known.get(tenant).is_some_and(|last| *last >= at_ms)
    }

    /// Notes that a tenant is deleted here; it lasts when this returns. Blocks.
    ///
    /// # Errors
    ///
    /// [`MarkError`]; then it may be noted or not.
    pub(crate) fn note(&self, tenant: &TenantId, at_ms: u64) -> Result<(), MarkError> {
        let _change = self.change.lock();
        if self.has(tenant, at_ms) {
            return Ok(());
        }
        if let Some(disk) = &self.disk {
            let order = Order {
                at_ms,
                is_first: false,
            };
            disk.set(tenant, order)?;
        }
        self.known.lock().insert(tenant.clone(), at_ms);
        Ok(())
    }

    /// Those that others are told of, by tenant.
    pub(crate) fn told(&self, now_ms: u64) -> Vec<(TenantId, u64)> {
        let mut told = self.all();
        told.retain(|(_, at_ms)| is_in_time(*at_ms, now_ms));
        told
    }

    /// All of them, by tenant.
    fn all(&self) -> Vec<(TenantId, u64)> {
        let known = self.known.lock();
        let all = known.iter();
        all.map(|(tenant, at_ms)| (tenant.clone(), *at_ms))
            .collect()
    }

    /// Forgets what is too long ago. Blocks.
    pub(crate) fn forget_old(&self, now_ms: u64) {
        let is_old = |at_ms: u64| at_ms.saturating_add(REMEMBERED_MS) < now_ms;
        let _change = self.change.lock();
        let old = self.all().into_iter();
        for (tenant, _) in old.filter(|(_, at_ms)| is_old(*at_ms)) {
            let cleared = self
                .disk
                .as_ref()
                .map_or(Ok(()), |disk| disk.clear(&tenant));
            if let Err(error) = cleared {
                let error = error_chain(&error);
                tracing::warn!(%tenant, %error, "cannot forget that the tenant was deleted long ago");
            }
            self.known.lock().remove(&tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn deletions_are_known_after_a_start_for_a_day_longer_than_they_are_told() {
        let root = tempfile::tempdir().unwrap();
        let open = |now_ms| Records::open(Some(root.path().join("deleted")), now_ms);
        let acme = TenantId::parse("acme").unwrap();
        let records = open(5);
        assert_eq!((records.next(&acme, 7), records.has(&acme, 7)), (7, false));
        records.note(&acme, 7).unwrap();
        // An order that comes late changes nothing, and one by a clock that is behind counts.
        records.note(&acme, 6).unwrap();
        assert_eq!(records.next(&acme, 3), 8);
        let later = open(7 + REMEMBERED_MS);
        assert_eq!(later.all(), [(acme.clone(), 7)]);
        assert!(later.has(&acme, 7) && !later.has(&acme, 8));
        assert_eq!(later.told(7 + TOLD_MS), [(acme.clone(), 7)]);
        assert_eq!(later.told(8 + TOLD_MS), []);
        assert_eq!(open(8 + REMEMBERED_MS).all(), []);
        assert_eq!(open(0).all(), [], "it is gone from the disk");
    }

    #[test]
    fn of_orders_that_are_noted_at_once_the_latest_stays() {
        let root = tempfile::tempdir().unwrap();
        let open = || Records::open(Some(root.path().join("deleted")), 0);
        let acme = TenantId::parse("acme").unwrap();
        let records = open();
        thread::scope(|scope| {
            for first in 1..=8 {
                let (records, acme) = (&records, &acme);
                scope.spawn(move || {
                    for at_ms in (first..=64).step_by(8) {
                        records.note(acme, at_ms).unwrap();
                    }
                });
            }
        });
        assert_eq!(records.all(), [(acme.clone(), 64)]);
        assert_eq!(open().all(), [(acme, 64)]);
    }

    #[test]
    fn orders_are_followed_for_as_long_as_they_are_told_and_not_before_their_time() {
        let now = 100 * DAY_MS;
        for (at_ms, is_followed) in [
            (now, true),
            (now - TOLD_MS, true),
            (now - TOLD_MS - 1, false),
            (now + DAY_MS, true),
            (now + DAY_MS + 1, false),
            (0, false),
            (u64::MAX, false),
        ] {
            assert_eq!(is_in_time(at_ms, now), is_followed, "{at_ms}");
        }
    }
}
