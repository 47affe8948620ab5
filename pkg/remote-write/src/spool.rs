//! The spool: every tenant's samples on disk, from the collection until they are
//! delivered.
//!
//! A tenant has a directory with segments, which only grow at the end of the last,
//! and a cursor for each destination. Samples have positions: how many of the
//! tenant were spooled before. A segment is a sequence of checked records; it
//! defines the label sets that its samples refer to, so it can be read and removed
//! on its own. `docs/adr` has the format's reasons and figures.

mod append;
mod config;
pub(crate) mod cursor;
mod definitions;
mod dictionary;
pub(crate) mod record;
mod recovery;
pub(crate) mod row;
mod samples;
mod segment;
pub(crate) mod tailer;
mod take_over;
mod tenant;
pub(crate) mod wire;
mod writer;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use model::TenantId;
use parking_lot::Mutex;

pub(crate) use self::append::{Appended, SpoolAppend};
pub use self::config::{Fsync, SpoolConfig};
pub(crate) use self::definitions::{DefinedLabelSet, Definitions};
pub(crate) use self::dictionary::{Dictionary, NO_METADATA};
pub(crate) use self::recovery::{Recovered, recover_tenant};
pub(crate) use self::samples::{Head, RowSamples, SamplesReader, SamplesWriter};
pub(crate) use self::take_over::TakeOver;
pub(crate) use self::tenant::{Shared, TenantSpool};

/// The spool of all tenants.
#[derive(Debug)]
pub(crate) struct Spool {
    shared: Arc<Shared>,
    sizes: Mutex<Sizes>,
}

/// How much there is of whom.
#[derive(Debug, Default)]
struct Sizes {
    of: HashMap<TenantId, (u64, Arc<TenantSpool>)>,
    largest: BTreeSet<(u64, TenantId)>,
    total: u64,
    /// Until when nobody need look for segments to remove, because there were none.
    nothing_until_ms: i64,
}

impl Spool {
    /// Opens a spool, and says what is in it.
    ///
    /// # Errors
    ///
    /// What the system says of its directory.
    pub(crate) fn open(config: SpoolConfig) -> io::Result<(Self, Vec<Recovered>)> {
        let recovered = recovery::recover(&config.directory)?;
        let spool = Self {
            shared: Arc::new(Shared::new(config)),
            sizes: Mutex::default(),
        };
        Ok((spool, recovered))
    }

    /// What is on disk of one tenant; `None` if nothing is, or it cannot be read.
    pub(crate) fn find(&self, tenant: &TenantId) -> Option<Recovered> {
        let directory = self.directory(tenant);
        match recovery::recover_tenant(tenant.clone(), &directory) {
            Ok(recovered) => Some(recovered),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                recovery::log_unreadable(&directory, &error);
                None
            }
        }
    }

    /// Where what is on disk of a tenant lies.
    pub(crate) fn directory(&self, tenant: &TenantId) -> PathBuf {
        self.shared.config.directory.join(tenant.directory())
    }

    /// The part of a tenant of which nothing is on disk.
    pub(crate) fn start(&self, tenant: &TenantId) -> Arc<TenantSpool> {
        self.tenant(tenant, Vec::new(), 0)
    }

    /// The part of a tenant as it was found.
    pub(crate) fn resume(&self, recovered: Recovered) -> Arc<TenantSpool> {
        let Recovered {
            tenant,
            segments,
            next_segment,
            ..
        } = recovered;
        let spool = self.tenant(&tenant, segments, next_segment);
        self.measure(&spool);
        spool
    }

    fn tenant(
        &self,
        tenant: &TenantId,
        segments: Vec<tenant::Segment>,
        next_segment: u64,
    ) -> Arc<TenantSpool> {
        Arc::new(TenantSpool::new(
            tenant.clone(),
            self.directory(tenant),
            Arc::clone(&self.shared),
            segments,
            next_segment,
        ))
    }

    /// Forgets the size of a tenant's part.
    pub(crate) fn forget(&self, tenant: &TenantId) {
        self.sizes.lock().set(tenant, None);
    }

    /// Notes the size of a tenant's part, which has changed.
    pub(crate) fn measure(&self, spool: &Arc<TenantSpool>) -> u64 {
        let bytes = spool.extent().bytes;
        let tenant = spool.tenant();
        self.sizes
            .lock()
            .set(tenant, Some((bytes, Arc::clone(spool))));
        bytes
    }

    /// Whether there is room for so many bytes more of a tenant, within its bound and
    /// that of all.
    pub(crate) fn has_room(&self, spool: &Arc<TenantSpool>, bytes: u64) -> bool {
        let config = &self.shared.config;
        let of_tenant = self.measure(spool);
        let total = self.sizes.lock().total;
        of_tenant.saturating_add(bytes) <= config.max_bytes_per_tenant
            && total.saturating_add(bytes) <= config.max_bytes
    }

    /// Removes the oldest segments of a tenant that is over its bound, or that are
    /// too old, and of whoever has most while all together are over theirs.
    /// `removed` is told whose, and the position of what is now first.
    pub(crate) fn enforce(
        &self,
        spool: &Arc<TenantSpool>,
        now_ms: i64,
        mut removed: impl FnMut(&TenantId, u64, Bound),
    ) {
        let tenant = spool.tenant();
        let config = &self.shared.config;
        let max_age_ms = i64::try_from(config.max_age.as_millis()).unwrap_or(i64::MAX);
        let is_too_old =
            |newest_ms: i64| max_age_ms > 0 && newest_ms.saturating_add(max_age_ms) < now_ms;
        while spool.oldest_segment_ms().is_some_and(is_too_old) {
            let Some(first) = spool.remove_oldest() else {
                break;
            };
            removed(tenant, first, Bound::Age);
        }
        while self.measure(spool) > config.max_bytes_per_tenant {
            let Some(first) = spool.remove_oldest() else {
                break;
            };
            removed(tenant, first, Bound::Bytes);
        }
        while let Some((largest, first)) = self.remove_of_largest(now_ms) {
            removed(&largest, first, Bound::Bytes);
        }
    }

    /// Removes the oldest segment of the tenant that has most, of those that have
    /// several, if all together are over their bound.
    fn remove_of_largest(&self, now_ms: i64) -> Option<(TenantId, u64)> {
        let mut sizes = self.sizes.lock();
        if sizes.total <= self.shared.config.max_bytes || now_ms < sizes.nothing_until_ms {
            return None;
        }
        let found = sizes.largest.iter().rev().find_map(|(_, tenant)| {
            let (_, spool) = sizes.of.get(tenant)?;
            Some((Arc::clone(spool), spool.remove_oldest()?))
        });
        let Some((spool, first)) = found else {
            // Everybody has but one; to look again costs the more, the more they are.
            sizes.nothing_until_ms = now_ms.saturating_add(NOTHING_TO_REMOVE_MS);
            return None;
        };
        let bytes = spool.extent().bytes;
        let tenant = spool.tenant().clone();
        sizes.set(&tenant, Some((bytes, spool)));
        Some((tenant, first))
    }
}

/// How long nobody looks for segments to remove after there were none.
const NOTHING_TO_REMOVE_MS: i64 = 5_000;

/// Which bound samples were removed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Bytes,
    Age,
}

impl Sizes {
    fn set(&mut self, tenant: &TenantId, size: Option<(u64, Arc<TenantSpool>)>) {
        let bytes = size.as_ref().map_or(0, |(bytes, _)| *bytes);
        let before = match size {
            Some(size) => self.of.insert(tenant.clone(), size),
            None => self.of.remove(tenant),
        };
        if let Some((before, _)) = before {
            self.largest.remove(&(before, tenant.clone()));
            self.total -= before;
        }
        if bytes > 0 {
            self.largest.insert((bytes, tenant.clone()));
            self.total += bytes;
        }
    }
}

#[cfg(test)]
mod tests;
