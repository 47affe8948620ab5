//! What is left of a tenant is removed, whether it has been sent or not.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::Ordering;

use model::TenantId;

use super::RemoteWrite;

const MINUTE_MS: i64 = 60_000;

impl RemoteWrite {
    /// Samples of a tenant that a destination does not have yet, summed over the
    /// destinations, and those that the disk has not taken; without a destination, of
    /// which none is in use for now, all that is kept for it.
    pub fn unsent_samples(&self, tenant: &TenantId) -> u64 {
        let tenant = self.shared().tenants.lock().get(tenant).cloned();
        let Some(tenant) = tenant else { return 0 };
        let queues = tenant.queues();
        let pending: u64 = queues.iter().map(|queue| queue.pending()).sum();
        pending + tenant.waiting_samples() + tenant.spool.kept_samples()
    }

    /// Removes all of a tenant, sent or not: its queues, its spool and where its
    /// destinations were. Returns how many samples nobody gets any more, summed over
    /// the destinations. Nobody may have a writer of the tenant. Blocks.
    ///
    /// # Errors
    ///
    /// That of the system; then files may still be there, and nothing is sent of them
    /// before the next start.
    pub fn remove(&self, tenant: &TenantId) -> io::Result<u64> {
        let shared = self.shared();
        // Whoever comes back finds either all or nothing.
        let mut tenants = shared.tenants.lock();
        let now_ms = shared.clock.unix_millis();
        let unsent = tenants.remove(tenant).map_or(0, |tenant| {
            let unsent = tenant.remove_queues() + tenant.spool.kept_samples();
            // A clock that was wrong is not to hold up others.
            let newest_ms = tenant.spool.extent().newest_ms.min(now_ms + MINUTE_MS);
            shared.removed_ms.fetch_max(newest_ms, Ordering::Relaxed);
            tenant.spool.remove_all();
            unsent
        });
        // It may have been forgotten before, with all delivered.
        shared.removed_ms.fetch_max(now_ms, Ordering::Relaxed);
        shared.spool.forget(tenant);
        remove_directory(&shared.spool.directory(tenant))?;
        Ok(unsent)
    }
}

fn remove_directory(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => match directory.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        },
    }
}
