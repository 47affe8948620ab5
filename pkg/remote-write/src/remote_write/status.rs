//! How far tenants are behind, for pages that show them.

use model::TenantId;

use super::RemoteWrite;
use crate::queue::Queue;

/// What of a tenant's samples has yet to be sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TenantStatus {
    /// Bytes of its spool on disk.
    pub spool_bytes: u64,
    /// Samples that the disk has not taken yet, in memory.
    pub unwritten_samples: u64,
    /// Its destinations, in the order of its settings.
    pub destinations: Vec<DestinationStatus>,
}

/// How far one destination of a tenant is.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationStatus {
    /// Its name, as the `endpoint` label of metrics has it.
    pub name: String,
    /// Samples in the spool that are neither acknowledged nor dropped.
    pub pending_samples: u64,
    /// How long the oldest of these has been there, in milliseconds; that of its
    /// segment, so maybe a little more. 0 if nothing is pending.
    pub lag_ms: u64,
    /// Attempts that failed since something was delivered.
    pub failures: u64,
    /// Samples that were acknowledged since the start.
    pub sent_samples: u64,
    /// Samples that will never be delivered, by reason, since the start.
    pub dropped_samples: Vec<(&'static str, u64)>,
}

impl RemoteWrite {
    /// How far a tenant is; `None` if it has nothing to do with remote write.
    pub fn status(&self, tenant: &TenantId) -> Option<TenantStatus> {
        let tenant = self.shared().tenants.lock().get(tenant).cloned()?;
        let now_ms = self.shared().clock.unix_millis();
        let status = |queue: &Queue| {
            let (pending_samples, lag_ms) = queue.backlog(now_ms);
            DestinationStatus {
                name: queue.destination().0.name.clone(),
                pending_samples,
                lag_ms,
                failures: queue.failures(),
                sent_samples: queue.metrics.samples_sent(),
                dropped_samples: queue.metrics.samples_dropped(),
            }
        };
        Some(TenantStatus {
            spool_bytes: tenant.spool.extent().bytes,
            unwritten_samples: tenant.spool.kept_samples(),
            destinations: tenant.queues().iter().map(|queue| status(queue)).collect(),
        })
    }

    /// Every tenant, and how long the oldest sample has been there that any of its
    /// destinations does not have, in milliseconds.
    pub fn lags(&self) -> Vec<(TenantId, u64)> {
        let now_ms = self.shared().clock.unix_millis();
        let tenants = self.shared().all().into_iter();
        let lags = tenants.map(|tenant| {
            let queues = tenant.queues();
            let lags = queues.iter().map(|queue| queue.backlog(now_ms).1);
            (tenant.id().clone(), lags.max().unwrap_or(0))
        });
        lags.collect()
    }
}
