//! The runtime file: settings by tenant, read again while the process runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::TenantId;
use serde::Deserialize;
use serde::de::IgnoredAny;
use settings::{Node, Problem, Problems};

use crate::layers::Layer;
use crate::tenant_config::remote_write::Author;
use crate::tenant_config::remote_write::addresses::AllowedAddresses;

/// The entry that holds for every tenant.
const EVERYONE: &str = "*";

/// What the runtime file says.
#[derive(Debug)]
pub(crate) struct RuntimeFile {
    /// What holds for every tenant, below its own entry.
    pub(crate) everyone: Option<Layer>,
    /// What tenants have of their own.
    pub(crate) tenants: BTreeMap<TenantId, Layer>,
    /// What was left out, in words for a log.
    pub(crate) warnings: Vec<String>,
}

/// The keys of the file.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    #[serde(rename = "overrides")]
    _overrides: BTreeMap<String, IgnoredAny>,
}

impl RuntimeFile {
    /// No file.
    pub(crate) fn none() -> Self {
        Self {
            everyone: None,
            tenants: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }

    /// Takes the file's document. What it names must have allowed addresses.
    ///
    /// # Errors
    ///
    /// Every problem of every tenant.
    pub(crate) fn from_node(
        root: &Node,
        allowed: &Arc<AllowedAddresses>,
    ) -> Result<Self, Problems> {
        settings::decode::<Keys>(root)?;
        let mut file = Self::none();
        let mut problems = Problems::new();
        let author = Author::Admin(Arc::clone(allowed));
        for entry in root.get("overrides").map_or(&[][..], Node::entries) {
            let path = format!("overrides.{}", entry.key());
            let layer = match Layer::from_overrides(entry.value(), &path, author.clone()) {
                Ok(layer) => layer,
                Err(found) => {
                    problems.extend(found);
                    continue;
                }
            };
            file.warnings.extend_from_slice(layer.warnings());
            let strategy = ["ingestion", "rate_strategy"];
            if let Some(entry) = layer.entry(&strategy) {
                file.warnings.push(format!(
                    "{}: {path}.ingestion.rate_strategy is ignored: it is the same for all \
                     tenants, and set in overrides.defaults",
                    entry.place()
                ));
            }
            let layer = layer.without(&strategy);
            if entry.key() == EVERYONE {
                file.everyone = Some(layer);
                continue;
            }
            match TenantId::parse(entry.key()) {
                Ok(tenant) => {
                    file.tenants.insert(tenant, layer);
                }
                Err(error) => problems
                    .push(Problem::new(path, error.to_string()).at(entry.key_place().clone())),
            }
        }
        problems.or(file)
    }
}
