//! The settings in force, for whoever asks by tenant.

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use lifecycle::{Shutdown, TaskGroup};
use model::TenantId;
use parking_lot::Mutex;
use serde_json::Value;
use settings::{Problem, Problems};

use crate::layers::Layer;
use crate::metrics::OverridesMetrics;
use crate::provenance::Explained;
use crate::snapshot::{Snapshot, unknown_forwarders};
use crate::sources::OverridesSources;
use crate::tenant_config::TenantConfig;

/// The settings of every tenant, as they are now. Cloning is cheap and shares them.
#[derive(Clone, Debug)]
pub struct Overrides(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    /// Held by whoever puts a snapshot in place of another.
    change: Mutex<()>,
}

impl Overrides {
    /// The same settings for every tenant, for ever.
    pub fn fixed(config: TenantConfig) -> Self {
        Self::from_snapshot(Snapshot {
            default: Arc::new(config),
            ..Snapshot::default()
        })
    }

    /// Resolves the layers, and reads the runtime file again when it changes and each
    /// period, until shutdown.
    ///
    /// A runtime file that becomes unusable later changes nothing: its last good state
    /// holds, `spanmill_overrides_reload_failed` is 1, and a warning names the line. So
    /// it is with a single tenant's entry, whatever the others say; where there is no
    /// last good one, as at the start, the tenant has none.
    ///
    /// # Errors
    ///
    /// Every problem of the runtime file itself and of what holds for everyone, which
    /// must be good at the start.
    pub fn start(
        sources: OverridesSources,
        metrics: OverridesMetrics,
        tasks: &TaskGroup,
        shutdown: &Shutdown,
    ) -> Result<Self, Problems> {
        let mut reloader = Reloader::new(sources, metrics);
        // Before the text, so that a change in between is seen.
        reloader.stamp = reloader.stamp();
        let text = reloader.sources.read()?;
        let snapshot = reloader.sources.resolve(text.as_deref(), None)?;
        reloader.seen = Seen::Good(text);
        reloader.put(snapshot);
        let overrides = reloader.overrides.clone();
        if reloader.sources.runtime_file.is_some() {
            let shutdown = shutdown.clone();
            tasks.spawn_thread("overrides-reload", move || {
                let wait = reloader.sources.period.min(LOOK);
                while !shutdown.wait_blocking(wait) {
                    reloader.look(wait);
                }
            });
        }
        Ok(overrides)
    }

    /// The settings of a tenant: the same `Arc` until they change.
    ///
    /// Does not allocate and takes no lock.
    pub fn for_tenant(&self, tenant: &TenantId) -> Arc<TenantConfig> {
        Arc::clone(self.0.snapshot.load().for_tenant(tenant))
    }

    /// The settings of every tenant that has no entry of its own.
    pub fn defaults(&self) -> Arc<TenantConfig> {
        Arc::clone(&self.0.snapshot.load().default)
    }

    /// Whether any tenant has a processor; without one nothing is generated.
    pub fn any_processor_configured(&self) -> bool {
        self.0
            .snapshot
            .load()
            .configs()
            .any(|config| !config.processors.is_empty())
    }

    fn from_snapshot(snapshot: Snapshot) -> Self {
        Self(Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(snapshot),
            change: Mutex::new(()),
        }))
    }
}

/// What is shown of them.
impl Overrides {
    /// Tenants that have an entry in the runtime file or settings that they set
    /// themselves, in their order.
    pub fn tenants(&self) -> Vec<TenantId> {
        let snapshot = self.0.snapshot.load();
        snapshot.layers.tenants().into_iter().cloned().collect()
    }

    /// The settings of a tenant in overrides' layout, without secrets; with `None`,
    /// those of every tenant that has no entry. Of [`Overrides::fixed`] there are only
    /// the built-in ones.
    ///
    /// # Errors
    ///
    /// Where something cannot be written.
    pub fn document(&self, tenant: Option<&TenantId>) -> Result<Value, Problems> {
        self.0.snapshot.load().layers.document(tenant)
    }

    /// What would hold for everyone without the runtime file, as
    /// [`Overrides::document`].
    ///
    /// # Errors
    ///
    /// Where something cannot be written.
    pub fn document_without_runtime_file(&self) -> Result<Value, Problems> {
        self.0
            .snapshot
            .load()
            .layers
            .document_without_runtime_file()
    }

    /// Every setting of a tenant, with the layer that it comes from.
    ///
    /// # Errors
    ///
    /// Where something cannot be written.
    pub fn explain(&self, tenant: &TenantId) -> Result<Vec<Explained>, Problems> {
        self.0.snapshot.load().layers.explain(tenant)
    }
}

/// What tenants set themselves.
impl Overrides {
    /// Puts layers of tenants in force; `None` takes a tenant's away.
    pub(crate) fn set_api_layers(&self, changes: Vec<(TenantId, Option<Arc<Layer>>)>) {
        if changes.is_empty() {
            return;
        }
        let _change = self.0.change.lock();
        let changed = self.0.snapshot.load().with_api_layers(changes);
        self.0.snapshot.store(Arc::new(changed));
    }

    /// A problem for each name of a forwarder that there is not.
    pub(crate) fn unknown_forwarders(&self, names: &[String]) -> Vec<Problem> {
        let snapshot = self.0.snapshot.load();
        unknown_forwarders(names, &snapshot.forwarders).collect()
    }

    /// Whether the tenant's own entry of the runtime file sets a key.
    pub(crate) fn runtime_file_sets(&self, tenant: &TenantId, keys: &[&str]) -> bool {
        let snapshot = self.0.snapshot.load();
        snapshot.layers.runtime_file_sets(tenant, keys)
    }
}

/// How often the runtime file is looked at for a change, without reading it.
const LOOK: Duration = Duration::from_secs(1);

/// Reads the runtime file again and puts what it says in force.
struct Reloader {
    overrides: Overrides,
    sources: OverridesSources,
    metrics: OverridesMetrics,
    seen: Seen,
    unavailable: Vec<&'static str>,
    /// What was said about entries that are refused.
    refused: String,
    stamp: Option<Stamp>,
    /// How long ago the file was read, at least.
    unread: Duration,
}

/// The last state of the file, so that nothing is done or said twice.
#[derive(PartialEq)]
enum Seen {
    Good(Option<String>),
    /// What was said about it.
    Bad(String),
}

/// What changes with a file: which one it is, its length, when it was written.
#[derive(PartialEq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl Reloader {
    fn new(sources: OverridesSources, metrics: OverridesMetrics) -> Self {
        Self {
            overrides: Overrides::from_snapshot(Snapshot::default()),
            sources,
            metrics,
            seen: Seen::Good(None),
            unavailable: Vec::new(),
            refused: String::new(),
            stamp: None,
            unread: Duration::ZERO,
        }
    }

    /// Reads the file if it looks changed, or was not read for a period; `waited` since
    /// the last look.
    fn look(&mut self, waited: Duration) {
        self.unread += waited;
        let stamp = self.stamp();
        if stamp == self.stamp && self.unread < self.sources.period {
            return;
        }
        self.stamp = stamp;
        self.unread = Duration::ZERO;
        self.reload();
    }

    fn stamp(&self) -> Option<Stamp> {
        let metadata = std::fs::metadata(self.sources.runtime_file.as_ref()?).ok()?;
        Some(Stamp {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }

    fn reload(&mut self) {
        let Some(path) = self.sources.runtime_file.clone() else {
            return;
        };
        let result = self.sources.read().and_then(|text| {
            if matches!(&self.seen, Seen::Good(seen) if seen.is_some() && *seen == text) {
                return Ok(None);
            }
            let before = self.overrides.0.snapshot.load();
            let snapshot = self.sources.resolve(text.as_deref(), Some(&before))?;
            Ok(Some((text, snapshot)))
        });
        match result {
            Ok(None) => {}
            Ok(Some((text, snapshot))) => {
                let tenants = snapshot.layers.of_tenants.len();
                self.put(snapshot);
                self.seen = Seen::Good(text);
                tracing::info!(file = %path.display(), tenants, "overrides reloaded");
            }
            Err(problems) => {
                self.metrics.reload_failed();
                let problems = Seen::Bad(problems.summary());
                if problems != self.seen {
                    if let Seen::Bad(problems) = &problems {
                        tracing::warn!(
                            file = %path.display(),
                            problems,
                            "cannot use the overrides file; its last good state stays in force"
                        );
                    }
                    self.seen = problems;
                }
            }
        }
    }

    fn put(&mut self, snapshot: Snapshot) {
        for warning in &snapshot.warnings {
            tracing::warn!(warning, "part of the overrides is ignored");
        }
        let refused = snapshot.refused.summary();
        if !refused.is_empty() && refused != self.refused {
            tracing::warn!(
                problems = refused,
                "cannot use the overrides file as a whole; the last good entries of these tenants \
                 stay in force"
            );
        }
        self.refused = refused;
        let unavailable: Vec<_> = snapshot.unavailable().into_keys().collect();
        if !unavailable.is_empty() && unavailable != self.unavailable {
            tracing::warn!(
                names = unavailable.join(", "),
                "overrides ask for what this version does not have yet; it is left out"
            );
        }
        self.unavailable = unavailable;
        self.metrics.reloaded(&snapshot);
        let shared = &self.overrides.0;
        let _change = shared.change.lock();
        let now = shared.snapshot.load();
        let mut snapshot = snapshot.with_api_layers_of(&now);
        snapshot.keep_unchanged(&now);
        shared.snapshot.store(Arc::new(snapshot));
    }
}

#[cfg(test)]
mod tests;
