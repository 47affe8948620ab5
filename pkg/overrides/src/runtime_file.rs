//! The runtime file: settings by tenant, read again while the process runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::TenantId;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use settings::{Node, Problem, Problems};

use crate::document::Document;
use crate::layers::Layer;
use crate::tenant_config::remote_write::Author;
use crate::tenant_config::remote_write::addresses::AllowedAddresses;
use crate::without_effect::IgnoredInEntries;

/// The entry that holds for every tenant.
const EVERYONE: &str = "*";

/// What the runtime file says.
#[derive(Debug)]
pub(crate) struct RuntimeFile {
    /// What holds for every tenant, below its own entry.
    pub(crate) everyone: Option<Arc<Layer>>,
    /// What tenants have of their own.
    pub(crate) tenants: BTreeMap<TenantId, Arc<Layer>>,
    /// Tenants whose entry cannot be used.
    pub(crate) refused: BTreeSet<TenantId>,
    /// Why, and what else concerns single entries only.
    pub(crate) problems: Problems,
    /// What was left out, in words for a log.
    pub(crate) warnings: Vec<String>,
}

/// The runtime file as it is written: settings by tenant.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "RuntimeFile")]
pub struct RuntimeFileDocument {
    /// Settings by tenant; those of `"*"` hold for every tenant, below its own.
    #[serde(rename = "overrides")]
    #[schemars(with = "BTreeMap<String, Document>")]
    _overrides: BTreeMap<String, IgnoredAny>,
}

impl RuntimeFile {
    /// No file.
    pub(crate) fn none() -> Self {
        Self {
            everyone: None,
            tenants: BTreeMap::new(),
            refused: BTreeSet::new(),
            problems: Problems::new(),
            warnings: Vec::new(),
        }
    }

    /// Takes the file's document. What it names must have allowed addresses. The
    /// problems of a tenant's entry are that tenant's alone.
    ///
    /// # Errors
    ///
    /// Every problem of the document itself, and of what holds for everyone.
    pub(crate) fn from_node(
        root: &Node,
        allowed: &Arc<AllowedAddresses>,
    ) -> Result<Self, Problems> {
        settings::decode::<RuntimeFileDocument>(root)?;
        let mut file = Self::none();
        let mut ignored = IgnoredInEntries::default();
        let author = Author::Admin(Arc::clone(allowed));
        for entry in root.get("overrides").map_or(&[][..], Node::entries) {
            let path = format!("overrides.{}", entry.key());
            let layer = Layer::from_overrides(entry.value(), &path, author.clone());
            if entry.key() == EVERYONE {
                file.everyone = Some(file.take(layer?, &path, &mut ignored));
                continue;
            }
            let tenant = match TenantId::parse(entry.key()) {
                Ok(tenant) => tenant,
                Err(error) => {
                    let problem = Problem::new(path, error.to_string());
                    file.problems.push(problem.at(entry.key_place().clone()));
                    continue;
                }
            };
            match layer {
                Ok(layer) => {
                    let layer = file.take(layer, &path, &mut ignored);
                    file.tenants.insert(tenant, layer);
                }
                Err(found) => {
                    file.problems.extend(found);
                    file.refused.insert(tenant);
                }
            }
        }
        file.warnings.extend(ignored.warnings());
        Ok(file)
    }

    /// Takes a layer, and notes what it says in vain.
    fn take(&mut self, layer: Layer, path: &str, ignored: &mut IgnoredInEntries) -> Arc<Layer> {
        self.warnings.extend_from_slice(layer.warnings());
        let strategy = ["ingestion", "rate_strategy"];
        if let Some(entry) = layer.entry(&strategy) {
            self.warnings.push(format!(
                "{}: {path}.ingestion.rate_strategy is ignored: it is the same for all tenants, \
                 and set in overrides.defaults",
                entry.place()
            ));
        }
        let layer = layer.without(&strategy);
        ignored.add(layer.ignored(), path);
        Arc::new(layer)
    }
}
