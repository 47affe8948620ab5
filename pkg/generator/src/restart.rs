//! From one process to the next: saving all tenants, and restoring them (D34).

use std::io;
use std::path::Path;

use lifecycle::at_once;
use model::TenantId;
use parking_lot::Mutex;
use registry::{Registry, Snapshot, SnapshotHeader, SnapshotStats};
use telemetry::error_chain;

use crate::generator::Generator;
use crate::instance::{Instance, limits};
use crate::state_dir::{LoadError, SaveError, StateDir, StateFile, TenantDir};

/// Tenants that are saved, or whose states are removed, at the same time. Most of it is
/// waiting for the disk, and what is written together is waited for together: 2,000 take
/// 1.8 s eight at a time, and 1.0 s like this.
const AT_ONCE: usize = 64;

/// Tenants that are restored at the same time: that is work, and memory.
const READ_AT_ONCE: usize = 4;

/// The states that have been read and are still on disk, to be removed before the
/// first push.
#[derive(Debug)]
#[must_use = "states that are not removed are restored again after a crash"]
pub struct ReadStates {
    state_dir: Option<StateDir>,
    tenants: Vec<TenantDir>,
}

impl ReadStates {
    /// Removes them: from here on they are in memory alone.
    pub fn remove(self) {
        at_once(
            AT_ONCE,
            self.tenants.iter().collect(),
            |directory: &TenantDir| {
                if let Err(error) = directory.clear() {
                    not_removed(directory.path(), &error);
                }
            },
        );
        if let Some(state_dir) = self.state_dir
            && !self.tenants.is_empty()
            && let Err(error) = state_dir.sync()
        {
            not_removed(state_dir.path(), &error);
        }
    }
}

fn not_removed(path: &Path, error: &io::Error) {
    tracing::error!(
        path = %path.display(),
        error = %error_chain(error),
        "cannot remove what was restored; after a crash counters would go back to it"
    );
}

impl Generator {
    /// Starts the tenants that a planned stop has saved, with their series. One
    /// whose state cannot be used starts from 0, with a warning.
    ///
    /// To be called before the first push. Blocks for as long as reading takes.
    pub fn restore(&self) -> ReadStates {
        let mut read = ReadStates {
            state_dir: self.state_dir().cloned(),
            tenants: Vec::new(),
        };
        let Some(state_dir) = &read.state_dir else {
            return read;
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
                return read;
            }
        };
        let restored = Mutex::new((0_u64, SnapshotStats::default()));
        at_once(
            READ_AT_ONCE,
            directories.iter().collect(),
            |directory| match self.restore_tenant(directory) {
                Ok(None) => {}
                Ok(Some(stats)) => {
                    let (tenants, total) = &mut *restored.lock();
                    *tenants += 1;
                    total.series += stats.series;
                    total.entities += stats.entities;
                }
                Err(error) => {
                    self.metrics().restore_failed();
                    let error = error_chain(&error);
                    tracing::warn!(%error, "cannot restore series, their counters begin at 0");
                }
            },
        );
        read.tenants = directories;
        let (tenants, total) = restored.into_inner();
        if tenants > 0 {
            self.metrics().restored(tenants, total.series);
            let (series, label_sets) = (total.series, total.entities);
            tracing::info!(tenants, series, label_sets, "series restored");
        }
        read
    }

    fn restore_tenant(&self, directory: &TenantDir) -> Result<Option<SnapshotStats>, LoadError> {
        let Some(file) = directory.open(StateFile::Registry)? else {
            return Ok(None);
        };
        let damaged = |error| directory.cannot_restore(StateFile::Registry, error);
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
        let Ok(instance) = self.start_restored(&header, registry) else {
            // A stop came before its deletion had ended.
            return Ok(None);
        };
        if let Err(error) = restore_edges(directory, &instance) {
            self.metrics().restore_failed();
            let (tenant, error) = (&header.tenant, error_chain(&error));
            tracing::warn!(%tenant, %error, "cannot restore spans without a counterpart, they are not in the service graph");
        }
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
        let saved = Mutex::new((0_u64, SnapshotStats::default()));
        let mut kept = self.instances();
        kept.retain(|(_, instance)| instance.is_kept());
        at_once(AT_ONCE, kept, |(tenant, instance)| {
            match save_tenant(&state_dir.of(&tenant), &instance) {
                Ok(None) => {}
                Ok(Some(stats)) => {
                    let (tenants, total) = &mut *saved.lock();
                    *tenants += 1;
                    total.series += stats.series;
                    total.bytes += stats.bytes;
                }
                Err(error) => not_saved(&tenant, &error),
            }
        });
        let (tenants, SnapshotStats { series, bytes, .. }) = saved.into_inner();
        if tenants > 0 {
            if let Err(error) = state_dir.sync() {
                let (path, error) = (state_dir.path().display(), error_chain(&error));
                tracing::warn!(%path, %error, "what was saved may not survive a loss of power");
            }
            tracing::info!(tenants, series, bytes, "series saved for the next start");
        }
    }
}

/// Saves a tenant; `None` if it has no series.
fn save_tenant(
    directory: &TenantDir,
    instance: &Instance,
) -> Result<Option<SnapshotStats>, SaveError> {
    let saved = directory.save(StateFile::Registry, |out| {
        let stats = instance.save(out)?;
        Ok((stats.entities > 0).then_some(stats))
    })?;
    if saved.is_some() && instance.has_edges() {
        directory.save(StateFile::Edges, |out| {
            let items = instance.save_edges(out)?;
            Ok((items > 0).then_some(items))
        })?;
    }
    Ok(saved)
}

fn restore_edges(directory: &TenantDir, instance: &Instance) -> Result<(), LoadError> {
    match directory.open(StateFile::Edges)? {
        Some(file) => instance
            .restore_edges(file)
            .map_err(|error| directory.cannot_restore(StateFile::Edges, error)),
        None => Ok(()),
    }
}

fn not_saved(tenant: &TenantId, error: &SaveError) {
    let error = error_chain(error);
    tracing::error!(%tenant, %error, "cannot save all of a tenant, what is not begins anew at the next start");
}

/// How much of the time since a tenant was saved does not count as idle: all of it,
/// but no more than a series may be idle.
fn pause_ms(header: &SnapshotHeader, now_ms: i64, stale_ms: u128) -> i64 {
    let stale_ms = i64::try_from(stale_ms).unwrap_or(i64::MAX);
    now_ms.saturating_sub(header.saved_ms).clamp(0, stale_ms)
}
