//! The settings of all tenants at one time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use model::TenantId;
use settings::{Node, Problem, Problems};

use crate::layers::{self, Layer};
use crate::provenance::Layers;
use crate::runtime_file::RuntimeFile;
use crate::sources::OverridesSources;
use crate::tenant_config::TenantConfig;
use crate::validate::doubtful;

/// Tenants that are warned of by name; a mistake in a layer below is in all of them.
const MAX_WARNINGS: usize = 10;

/// The settings of all tenants at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Tenants with an entry of their own.
    pub(crate) tenants: HashMap<TenantId, Arc<TenantConfig>>,
    /// All others.
    pub(crate) default: Arc<TenantConfig>,
    /// What all of it is made of.
    pub(crate) layers: Layers,
    /// The forwarders that there are.
    pub(crate) forwarders: Arc<BTreeSet<String>>,
    /// What was left out of the runtime file, in words for a log.
    pub(crate) warnings: Vec<String>,
    /// Why entries of the runtime file are not in force as they are.
    pub(crate) refused: Problems,
    /// How many tenants' entries that concerns.
    pub(crate) refused_entries: usize,
}

impl Snapshot {
    /// Resolves every tenant from the layers. A tenant whose entry is wrong keeps the
    /// one that it has in the snapshot `before`, or has none.
    ///
    /// # Errors
    ///
    /// Every problem of the runtime file that concerns more than single tenants.
    pub(crate) fn resolve(
        sources: &OverridesSources,
        runtime: Option<&Node>,
        before: Option<&Self>,
    ) -> Result<Self, Problems> {
        let mut file = match runtime {
            Some(root) => RuntimeFile::from_node(root, &sources.allowed_addresses)?,
            None => RuntimeFile::none(),
        };
        for tenant in &file.refused {
            if let Some(layer) = before.and_then(|before| before.layers.of_tenants.get(tenant)) {
                file.tenants.insert(tenant.clone(), Arc::clone(layer));
            }
        }
        let layers = Layers {
            process: Some(Arc::clone(&sources.process)),
            defaults: Some(Arc::clone(&sources.defaults)),
            everyone: file.everyone,
            of_tenants: file.tenants,
            of_api: before.map_or_else(BTreeMap::new, |before| before.layers.of_api.clone()),
        };
        let forwarders = &sources.forwarders;
        let default = Arc::new(layers::resolve(layers.below())?);
        let mut unknown = Problems::new();
        unknown.extend(unknown_forwarders(&default.forwarders, forwarders));
        unknown.or(())?;
        let mut refused = file.problems;
        let mut refused_entries = file.refused.len();
        let mut tenants = HashMap::with_capacity(layers.of_tenants.len());
        for tenant in layers.tenants() {
            let resolved = of_tenant(&layers, tenant, &default).and_then(|config| {
                let mut unknown = Problems::new();
                if !layers.of_api.contains_key(tenant) {
                    unknown.extend(unknown_forwarders(&config.forwarders, forwarders));
                }
                unknown.or(config)
            });
            match resolved {
                Ok(config) => {
                    tenants.insert(tenant.clone(), config);
                }
                Err(found) => {
                    refused_entries += 1;
                    refused.extend(found.into_iter().map(|mut problem| {
                        problem.path = format!("overrides.{tenant}.{}", problem.path);
                        problem
                    }));
                }
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
        Ok(Self {
            tenants,
            default,
            layers,
            forwarders: Arc::clone(forwarders),
            warnings,
            refused,
            refused_entries,
        })
    }

    /// The same with other layers that tenants set themselves; `None` takes a
    /// tenant's away.
    pub(crate) fn with_api_layers(
        &self,
        changes: impl IntoIterator<Item = (TenantId, Option<Arc<Layer>>)>,
    ) -> Self {
        let mut changed = self.clone();
        for (tenant, layer) in changes {
            match layer {
                Some(layer) => changed.layers.of_api.insert(tenant.clone(), layer),
                None => changed.layers.of_api.remove(&tenant),
            };
            let config = match changed.layers.has_own(&tenant) {
                true => of_tenant(&changed.layers, &tenant, &changed.default),
                false => Ok(Arc::clone(&changed.default)),
            };
            // Each layer was read by itself, so together they can be read.
            let Ok(mut config) = config else { continue };
            if config == *self.for_tenant(&tenant) {
                config = Arc::clone(self.for_tenant(&tenant));
            }
            changed.tenants.insert(tenant, config);
        }
        changed
    }

    /// The same with the layers that tenants have set themselves by now.
    pub(crate) fn with_api_layers_of(self, now: &Self) -> Self {
        let (own, new) = (&self.layers.of_api, &now.layers.of_api);
        let mut changes = Vec::new();
        for (tenant, layer) in new {
            if own.get(tenant).is_none_or(|old| !Arc::ptr_eq(old, layer)) {
                changes.push((tenant.clone(), Some(Arc::clone(layer))));
            }
        }
        let gone = own.keys().filter(|tenant| !new.contains_key(tenant));
        changes.extend(gone.map(|tenant| (tenant.clone(), None)));
        match changes.is_empty() {
            true => self,
            false => self.with_api_layers(changes),
        }
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

    /// The processors that are asked for and not in this version, each with the number
    /// of entries that ask for it, the defaults among them.
    pub(crate) fn unavailable(&self) -> BTreeMap<&'static str, usize> {
        let mut names = BTreeMap::new();
        let asked = self.configs().flat_map(|config| config.processors.iter());
        for processor in asked.filter(|processor| !processor.is_available()) {
            *names.entry(processor.name()).or_default() += 1;
        }
        names
    }
}

/// A problem for each name of a forwarder that there is not.
pub(crate) fn unknown_forwarders(
    names: &[String],
    known: &BTreeSet<String>,
) -> impl Iterator<Item = Problem> {
    let named = names.iter().enumerate();
    let unknown = named.filter(|(_, name)| !known.contains(*name));
    unknown.map(|(index, name)| {
        let message = format!("there is no forwarder {name:?} in distributor.forwarders");
        Problem::new(format!("forwarders[{index}]"), message)
    })
}

/// Resolves one tenant, which shares with the default what is the same.
///
/// # Errors
///
/// As [`layers::resolve`].
fn of_tenant(
    layers: &Layers,
    tenant: &TenantId,
    default: &TenantConfig,
) -> Result<Arc<TenantConfig>, Problems> {
    let mut config = layers::resolve(layers.of(tenant))?;
    // One list for the many that have no destinations of their own.
    if config.remote_write == default.remote_write {
        config.remote_write = Arc::clone(&default.remote_write);
    }
    Ok(Arc::new(config))
}
