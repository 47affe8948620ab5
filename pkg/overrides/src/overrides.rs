//! The settings in force, for whoever asks by tenant.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use lifecycle::{Shutdown, TaskGroup};
use model::TenantId;
use settings::{Node, Problems};

use crate::metrics::OverridesMetrics;
use crate::snapshot::Snapshot;
use crate::sources::OverridesSources;
use crate::tenant_config::TenantConfig;

/// The settings of every tenant, as they are now. Cloning is cheap and shares them.
#[derive(Clone, Debug)]
pub struct Overrides(Arc<ArcSwap<Snapshot>>);

impl Overrides {
    /// The same settings for every tenant, for ever.
    pub fn fixed(config: TenantConfig) -> Self {
        Self::from_snapshot(Snapshot {
            default: Arc::new(config),
            ..Snapshot::default()
        })
    }

    /// Resolves the layers, and reads the runtime file again each period until
    /// shutdown.
    ///
    /// A runtime file that becomes unusable later changes nothing: its last good state
    /// holds, `spanmill_overrides_reload_failed` is 1, and a warning names the line.
    ///
    /// # Errors
    ///
    /// Every problem of the runtime file; it must be good at the start.
    pub fn start(
        sources: OverridesSources,
        metrics: OverridesMetrics,
        tasks: &TaskGroup,
        shutdown: &Shutdown,
    ) -> Result<Self, Problems> {
        let text = match &sources.runtime_file {
            Some(path) => Some(settings::read_text(path)?),
            None => None,
        };
        let snapshot = resolve(&sources, text.as_deref())?;
        let overrides = Self::from_snapshot(Snapshot::default());
        let mut reloader = Reloader {
            overrides: overrides.clone(),
            sources,
            metrics,
            seen: Seen::Good(text),
            unavailable: BTreeSet::new(),
        };
        reloader.put(snapshot);
        if reloader.sources.runtime_file.is_some() {
            let shutdown = shutdown.clone();
            tasks.spawn_thread("overrides-reload", move || {
                while !shutdown.wait_blocking(reloader.sources.period) {
                    reloader.reload();
                }
            });
        }
        Ok(overrides)
    }

    /// The settings of a tenant: the same `Arc` until they change.
    ///
    /// Does not allocate and takes no lock.
    pub fn for_tenant(&self, tenant: &TenantId) -> Arc<TenantConfig> {
        Arc::clone(self.0.load().for_tenant(tenant))
    }

    /// Whether any tenant has a processor; without one nothing is generated.
    pub fn any_processor_configured(&self) -> bool {
        self.0
            .load()
            .configs()
            .any(|config| !config.processors.is_empty())
    }

    fn from_snapshot(snapshot: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(snapshot)))
    }
}

/// Reads the runtime file again and puts what it says in force.
struct Reloader {
    overrides: Overrides,
    sources: OverridesSources,
    metrics: OverridesMetrics,
    seen: Seen,
    unavailable: BTreeSet<&'static str>,
}

/// The last state of the file, so that nothing is done or said twice.
#[derive(PartialEq)]
enum Seen {
    Good(Option<String>),
    /// What was said about it.
    Bad(String),
}

impl Reloader {
    fn reload(&mut self) {
        let Some(path) = self.sources.runtime_file.clone() else {
            return;
        };
        let result = settings::read_text(&path).and_then(|text| {
            if matches!(&self.seen, Seen::Good(Some(seen)) if *seen == text) {
                return Ok(None);
            }
            resolve(&self.sources, Some(&text)).map(|snapshot| Some((text, snapshot)))
        });
        match result {
            Ok(None) => {}
            Ok(Some((text, snapshot))) => {
                let tenants = snapshot.tenants.len();
                self.put(snapshot);
                self.seen = Seen::Good(Some(text));
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

    fn put(&mut self, mut snapshot: Snapshot) {
        for warning in &snapshot.warnings {
            tracing::warn!(warning, "part of the overrides is ignored");
        }
        let unavailable = snapshot.unavailable();
        if !unavailable.is_empty() && unavailable != self.unavailable {
            let names: Vec<_> = unavailable.iter().copied().collect();
            tracing::warn!(
                names = names.join(", "),
                "overrides ask for what this version does not have yet; it is left out"
            );
        }
        self.unavailable = unavailable;
        self.metrics.reloaded(snapshot.tenants.len());
        snapshot.keep_unchanged(&self.overrides.0.load());
        self.overrides.0.store(Arc::new(snapshot));
    }
}

fn resolve(sources: &OverridesSources, text: Option<&str>) -> Result<Snapshot, Problems> {
    let node: Option<Node> = match (text, &sources.runtime_file) {
        (Some(text), Some(path)) => Some(settings::read_str(path.display().to_string(), text)?),
        _ => None,
    };
    Snapshot::resolve(sources, node.as_ref())
}

#[cfg(test)]
mod tests;
