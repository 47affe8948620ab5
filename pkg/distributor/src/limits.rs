//! What a tenant may send, and what becomes of a push that is over it.

mod bucket;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use model::TenantId;
use overrides::{IngestionConfig, Overrides, RateStrategy, TenantConfig};
use parking_lot::{Mutex, RwLock};
use server::Budget;

use self::bucket::{Bucket, Full};
use crate::config::DistributorConfig;

/// Tenants with a bucket of their own. Ids are free to choose unless something in front
/// checks them, so without a bound a stranger could fill our memory.
const MAX_TENANTS: usize = 20_000;

/// The longest time that a client is told to wait. Limits may change before a bucket
/// of a very low rate has room.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The limits of all tenants. Cloning is cheap and shares them.
#[derive(Clone, Debug)]
pub struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    overrides: Overrides,
    budget: Budget,
    /// What clients over their rate are told; `None` for as long as it takes.
    retry_after: Option<Duration>,
    /// What a global rate is divided by.
    live_distributors: AtomicU64,
    /// Where a tenant has none of its own.
    max_attribute_bytes: u64,
    tenants: RwLock<Tenants>,
}

/// A push that is over a limit of its tenant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The tenant has sent too much in a short time; the same push may be sent later.
    #[error(
        "RATE_LIMITED: a push of {bytes} bytes is over the tenant's limit of {rate} bytes a second \
         (ingestion.rate_limit_bytes, with a burst of {burst})"
    )]
    RateLimited {
        /// Length of the push, decompressed.
        bytes: u64,
        /// Bytes a second that this distributor takes from the tenant.
        rate: u64,
        /// Bytes that it takes at once.
        burst: u64,
        /// When it fits; `None` if the tenant's clients are not to be told.
        retry_after: Option<Duration>,
    },
    /// The push is longer than all that is taken at once: it never fits.
    #[error(
        "RATE_LIMITED: a push of {bytes} bytes is longer than what is ever taken at once, {burst} \
         bytes: send fewer spans in a request, or raise the tenant's ingestion.burst_size_bytes"
    )]
    LargerThanBurst {
        /// Length of the push, decompressed.
        bytes: u64,
        /// Bytes that are taken at once.
        burst: u64,
    },
}

/// Buckets by tenant.
#[derive(Debug)]
struct Tenants {
    by_id: HashMap<TenantId, Arc<Mutex<Bucket>>>,
    /// That of all tenants beyond the capacity.
    other: Arc<Mutex<Bucket>>,
    capacity: usize,
    swept: Instant,
}

impl Limits {
    /// Limits as the tenants' settings have them, at any time, and the memory that
    /// requests in flight share.
    pub fn new(overrides: Overrides, budget: Budget, config: &DistributorConfig) -> Self {
        Self::with_capacity(overrides, budget, config, MAX_TENANTS, Instant::now())
    }

    fn with_capacity(
        overrides: Overrides,
        budget: Budget,
        config: &DistributorConfig,
        capacity: usize,
        now: Instant,
    ) -> Self {
        let retry_after = config.retry_after_on_resource_exhausted;
        Self(Arc::new(Inner {
            overrides,
            budget,
            retry_after: (!retry_after.is_zero()).then_some(retry_after),
            live_distributors: AtomicU64::new(1),
            max_attribute_bytes: config.max_attribute_bytes(),
            tenants: RwLock::new(Tenants {
                by_id: HashMap::new(),
                other: Arc::new(Mutex::new(Bucket::new(now))),
                capacity,
                swept: now,
            }),
        }))
    }

    /// Divides global rates by so many distributors from now on, by 1 at least: how many
    /// are alive in the cluster. Default: 1, for a process by itself.
    pub fn set_live_distributors(&self, count: u64) {
        let count = count.max(1);
        self.0.live_distributors.store(count, Ordering::Relaxed);
    }

    /// The settings of a tenant as they are now.
    pub(crate) fn of(&self, tenant: &TenantId) -> Arc<TenantConfig> {
        self.0.overrides.for_tenant(tenant)
    }

    /// The memory that requests in flight share.
    pub(crate) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// The longest key and text value of an attribute of the tenant, in bytes.
    pub(crate) fn max_attribute_bytes(&self, limits: &IngestionConfig) -> usize {
        let max = match limits.max_attribute_bytes {
            0 => self.0.max_attribute_bytes,
            own => own,
        };
        usize::try_from(max).unwrap_or(usize::MAX)
    }

    /// Takes a push of so many bytes out of the tenant's rate.
    ///
    /// # Errors
    ///
    /// [`LimitError`]; then nothing is taken.
    pub(crate) fn admit(
        &self,
        tenant: &TenantId,
        limits: &IngestionConfig,
        bytes: u64,
        now: Instant,
    ) -> Result<(), LimitError> {
        let burst = limits.burst_size_bytes;
        let rate = of_each(
            limits.rate_strategy,
            limits.rate_limit_bytes,
            self.0.live_distributors.load(Ordering::Relaxed),
        );
        if bytes > burst {
            return Err(LimitError::LargerThanBurst { bytes, burst });
        }
        let bucket = self.0.bucket(tenant, now);
        let taken = bucket.lock().take(now, bytes, rate, burst);
        taken.map_err(|Full { wait }| LimitError::RateLimited {
            bytes,
            rate,
            burst,
            retry_after: limits
                .retry_info_enabled
                .then(|| self.0.retry_after.unwrap_or(wait.min(MAX_RETRY_AFTER))),
        })
    }
}

/// The rate that each of several distributors takes. The burst is never divided: as in
/// Tempo.
fn of_each(strategy: RateStrategy, rate: u64, live_distributors: u64) -> u64 {
    match strategy {
        RateStrategy::Local => rate,
        RateStrategy::Global => rate / live_distributors,
    }
}

impl Inner {
    fn bucket(&self, tenant: &TenantId, now: Instant) -> Arc<Mutex<Bucket>> {
        if let Some(known) = self.tenants.read().by_id.get(tenant) {
            return Arc::clone(known);
        }
        let mut tenants = self.tenants.write();
        if tenants.by_id.len() >= tenants.capacity {
            tenants.sweep(now);
        }
        if tenants.by_id.len() >= tenants.capacity && !tenants.by_id.contains_key(tenant) {
            return Arc::clone(&tenants.other);
        }
        let made = tenants
            .by_id
            .entry(tenant.clone())
            .or_insert_with(|| Arc::new(Mutex::new(Bucket::new(now))));
        Arc::clone(made)
    }
}

impl Tenants {
    /// Forgets empty buckets: they are as new ones. At most once a second.
    ///
    /// Whoever is about to take from one holds a clone, and no clone can be made while
    /// the map is locked.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < Duration::from_secs(1) {
            return;
        }
        self.swept = now;
        self.by_id
            .retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.lock().is_empty(now));
    }
}

#[cfg(test)]
mod tests;
