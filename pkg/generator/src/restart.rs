//! From one process to the next: saving all tenants, and restoring them (D34).

use model::TenantId;
use registry::{Registry, Snapshot, SnapshotHeader, SnapshotStats};
use telemetry::error_chain;

use crate::generator::Generator;
use crate::instance::limits;
use crate::state_dir::{LoadError, TenantDir};

/// The states that have been read and are still on disk, to be removed before the
/// first push.
#[derive(Debug)]
#[must_use = "states that are not removed are restored again after a crash"]
pub struct ReadStates(Vec<TenantDir>);

impl ReadStates {
    /// Removes them: from here on they are in memory alone.
    pub fn remove(self) {
        for directory in self.0 {
            if let Err(error) = directory.clear() {
                tracing::error!(
                    path = %directory.path().display(),
                    error = %error_chain(&error),
                    "cannot remove what was restored; after a crash counters would go back to it"
                );
            }
        }
    }
}

impl Generator {
    /// Starts the tenants that a planned stop has saved, with their series. One
    /// whose state cannot be used starts from 0, with a warning.
    ///
    /// To be called before the first push. Blocks for as long as reading takes.
    pub fn restore(&self) -> ReadStates {
        let mut read = Vec::new();
        let Some(state_dir) = self.state_dir() else {
            return ReadStates(read);
        };
        let directories = match state_dir.tenants() {
            Ok(directories) => directories,
            Err(error) => {
                self.metrics().restore_failed();
                tracing::warn!(
                    path = %state_dir.path().display(),
                    error = %error_chain(&error),
                    "cannot look for saved series, counters begin at 0"
                );
                return ReadStates(read);
            }
        };
        let mut total = SnapshotStats::default();
        let mut tenants = 0_u64;
        for directory in directories {
            match self.restore_tenant(&directory) {
                Ok(None) => {}
                Ok(Some(stats)) => {
                    tenants += 1;
                    total.series += stats.series;
                    total.entities += stats.entities;
                }
                Err(error) => {
                    self.metrics().restore_failed();
                    let error = error_chain(&error);
                    tracing::warn!(%error, "cannot restore series, their counters begin at 0");
                }
            }
            read.push(directory);
        }
        if tenants > 0 {
            self.metrics().restored(tenants, total.series);
            let (series, label_sets) = (total.series, total.entities);
            tracing::info!(tenants, series, label_sets, "series restored");
        }
        ReadStates(read)
    }

    fn restore_tenant(&self, directory: &TenantDir) -> Result<Option<SnapshotStats>, LoadError> {
        let Some(file) = directory.open()? else {
            return Ok(None);
        };
        let damaged = |error| directory.cannot_restore(error);
        let snapshot = Snapshot::open(file).map_err(damaged)?;
        let header = snapshot.header().clone();
        directory.is_of(&header.tenant)?;
        let config = self.config_of(&header.tenant);
        let pause_ms = pause_ms(
            &header,
            self.now_ms(),
            config.registry.stale_duration.as_millis(),
        );
        let lanes = self.max_lanes();
        let (registry, stats) =
            Registry::restore(limits(&config), lanes, snapshot, pause_ms).map_err(damaged)?;
        self.start_restored(&header, registry);
        Ok(Some(stats))
    }

    /// Saves every tenant's series, but for those that ended at the last
    /// collection.
    ///
    /// To be called after [`stop`](Self::stop). Blocks for as long as writing
    /// takes.
    pub fn save(&self) {
        let Some(state_dir) = self.state_dir() else {
            return;
        };
        let mut total = SnapshotStats::default();
        let mut tenants = 0_u64;
        for (tenant, instance) in self.instances() {
            if !instance.is_kept() {
                continue;
            }
            match state_dir.of(&tenant).save(|out| instance.save(out)) {
                Ok(stats) => {
                    tenants += u64::from(stats.entities > 0);
                    total.series += stats.series;
                    total.bytes += stats.bytes;
                }
                Err(error) => not_saved(&tenant, &error),
            }
        }
        if tenants > 0 {
            let SnapshotStats { series, bytes, .. } = total;
            tracing::info!(tenants, series, bytes, "series saved for the next start");
        }
    }
}

fn not_saved(tenant: &TenantId, error: &crate::state_dir::SaveError) {
    let error = error_chain(error);
    tracing::error!(%tenant, %error, "cannot save series, their counters begin at 0 after the next start");
}

/// How much of the time since a tenant was saved does not count as idle: all of it,
/// but no more than a series may be idle.
fn pause_ms(header: &SnapshotHeader, now_ms: i64, stale_ms: u128) -> i64 {
    let stale_ms = i64::try_from(stale_ms).unwrap_or(i64::MAX);
    now_ms.saturating_sub(header.saved_ms).clamp(0, stale_ms)
}
