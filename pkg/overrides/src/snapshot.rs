//! The settings of all tenants at one time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use model::TenantId;
use settings::{Node, Problems};

use crate::layers::{self, Layer};
use crate::runtime_file::RuntimeFile;
use crate::sources::OverridesSources;
use crate::tenant_config::TenantConfig;
use crate::validate::doubtful;

/// Tenants that are warned of by name; a mistake in a layer below is in all of them.
const MAX_WARNINGS: usize = 10;

/// The settings of all tenants at one time.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Tenants with an entry of their own.
    pub(crate) tenants: HashMap<TenantId, Arc<TenantConfig>>,
    /// All others.
    pub(crate) default: Arc<TenantConfig>,
    /// What was left out of the runtime file, in words for a log.
    pub(crate) warnings: Vec<String>,
}

impl Snapshot {
    /// Resolves every tenant from the layers.
    ///
    /// # Errors
    ///
    /// Every problem in the runtime file.
    pub(crate) fn resolve(
        sources: &OverridesSources,
        runtime: Option<&Node>,
    ) -> Result<Self, Problems> {
        let file = match runtime {
            Some(root) => RuntimeFile::from_node(root, &sources.allowed_addresses)?,
            None => RuntimeFile::none(),
        };
        let below: Vec<&Layer> = [&sources.process, &sources.defaults]
            .into_iter()
            .chain(&file.everyone)
            .collect();
        let mut problems = Problems::new();
        let default = match layers::resolve(below.iter().copied()) {
            Ok(config) => Arc::new(config),
            Err(found) => return Err(found),
        };
        let mut tenants = HashMap::with_capacity(file.tenants.len());
        for (tenant, layer) in &file.tenants {
            match layers::resolve(below.iter().copied().chain([layer])) {
                Ok(mut config) => {
                    // One list for the many that have no destinations of their own.
                    if config.remote_write == default.remote_write {
                        config.remote_write = Arc::clone(&default.remote_write);
                    }
                    tenants.insert(tenant.clone(), Arc::new(config));
                }
                Err(found) => problems.extend(found.into_iter().map(|mut problem| {
                    problem.path = format!("overrides.{tenant}.{}", problem.path);
                    problem
                })),
            }
        }
        let mut warnings = file.warnings;
        if let Some(warning) = doubtful(&default) {
            warnings.push(warning);
        }
        let of_tenants = tenants
            .iter()
            .filter_map(|(tenant, config)| Some(format!("tenant {tenant}: {}", doubtful(config)?)));
        warnings.extend(of_tenants.take(MAX_WARNINGS));
        problems.or(Self {
            tenants,
            default,
            warnings,
        })
    }

    /// The settings of a tenant.
    pub(crate) fn for_tenant(&self, tenant: &TenantId) -> &Arc<TenantConfig> {
        self.tenants.get(tenant).unwrap_or(&self.default)
    }

    /// Keeps the `Arc` of each tenant whose settings are what they were, so that
    /// whoever compares pointers sees no change.
    pub(crate) fn keep_unchanged(&mut self, old: &Self) {
        let keep = |new: &mut Arc<TenantConfig>, old: &Arc<TenantConfig>| {
            if new == old {
                *new = Arc::clone(old);
            }
        };
        keep(&mut self.default, &old.default);
        for (tenant, config) in &mut self.tenants {
            keep(config, old.for_tenant(tenant));
        }
        for (tenant, config) in &old.tenants {
            if !self.tenants.contains_key(tenant) && *config == self.default {
                self.tenants.insert(tenant.clone(), Arc::clone(config));
            }
        }
    }

    /// The settings in force, each once or more often.
    pub(crate) fn configs(&self) -> impl Iterator<Item = &TenantConfig> {
        self.tenants
            .values()
            .chain([&self.default])
            .map(AsRef::as_ref)
    }

    /// What is asked for and not in this version.
    pub(crate) fn unavailable(&self) -> BTreeSet<&'static str> {
        let mut names = BTreeSet::new();
        for config in self.configs() {
            names.extend(
                config
                    .processors
                    .iter()
                    .filter(|processor| !processor.is_available())
                    .map(|processor| processor.name()),
            );
        }
        names
    }
}
