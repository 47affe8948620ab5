//! Which layer each value of a tenant comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use model::TenantId;
use serde::Serialize;
use serde_json::Value;
use settings::{Node, Problems};

use crate::document::shown;
use crate::layers::{self, Layer};

/// A layer, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LayerName {
    /// What holds where nothing is set, or a key is null.
    #[serde(rename = "built-in")]
    BuiltIn,
    /// The `metrics_generator` block of the process.
    #[serde(rename = "metrics_generator")]
    Process,
    /// `overrides.defaults` of the process.
    #[serde(rename = "overrides.defaults")]
    Defaults,
    /// The entry `"*"` of the runtime file.
    #[serde(rename = "*")]
    Everyone,
    /// The tenant's own entry of the runtime file.
    #[serde(rename = "tenant")]
    Tenant,
    /// What the tenant set itself, through the API.
    #[serde(rename = "api")]
    Api,
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "built-in",
            Self::Process => "metrics_generator",
            Self::Defaults => "overrides.defaults",
            Self::Everyone => "*",
            Self::Tenant => "tenant",
            Self::Api => "api",
        })
    }
}

/// A setting that is in force, and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// Its dotted path in overrides' layout.
    pub path: String,
    /// Its value, without secrets.
    pub value: Value,
    /// The layer that decides.
    pub layer: LayerName,
    /// File, line and column, where the layer has the key; for a value that is
    /// built in because a layer says null, the place of that. None for the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// What settings are made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    pub(crate) process: Option<Arc<Layer>>,
    pub(crate) defaults: Option<Arc<Layer>>,
    pub(crate) everyone: Option<Arc<Layer>>,
    pub(crate) of_tenants: BTreeMap<TenantId, Arc<Layer>>,
    /// What tenants set themselves.
    pub(crate) of_api: BTreeMap<TenantId, Arc<Layer>>,
}

impl Layers {
    /// What holds for a tenant without an entry, weakest first.
    pub(crate) fn below(&self) -> impl Iterator<Item = &Layer> {
        [&self.process, &self.defaults, &self.everyone]
            .into_iter()
            .flatten()
            .map(AsRef::as_ref)
    }

    /// What holds for a tenant, weakest first.
    pub(crate) fn of(&self, tenant: &TenantId) -> impl Iterator<Item = &Layer> {
        let own = self.of_tenants.get(tenant).map(AsRef::as_ref);
        let api = self.of_api.get(tenant).map(AsRef::as_ref);
        self.below().chain(own).chain(api)
    }

    /// Tenants that have a layer of their own, in their order, each once.
    pub(crate) fn tenants(&self) -> BTreeSet<&TenantId> {
        self.of_tenants.keys().chain(self.of_api.keys()).collect()
    }

    /// Whether a tenant has a layer of its own.
    pub(crate) fn has_own(&self, tenant: &TenantId) -> bool {
        self.of_tenants.contains_key(tenant) || self.of_api.contains_key(tenant)
    }

    /// Whether the tenant's own entry of the runtime file sets a key.
    pub(crate) fn runtime_file_sets(&self, tenant: &TenantId, keys: &[&str]) -> bool {
        self.of_tenants
            .get(tenant)
            .is_some_and(|layer| matches!(said(layer.node(), keys), Said::Value(_)))
    }

    /// The settings of a tenant in overrides' layout, without secrets; of all others
    /// where there is none.
    pub(crate) fn document(&self, tenant: Option<&TenantId>) -> Result<Value, Problems> {
        shown(&match tenant {
            Some(tenant) => layers::document(self.of(tenant))?,
            None => layers::document(self.below())?,
        })
    }

    /// What would hold for everyone without the runtime file.
    pub(crate) fn document_without_runtime_file(&self) -> Result<Value, Problems> {
        let layers = [&self.process, &self.defaults];
        shown(&layers::document(
            layers.into_iter().flatten().map(AsRef::as_ref),
        )?)
    }

    /// Every setting of a tenant, in the order of the layout.
    pub(crate) fn explain(&self, tenant: &TenantId) -> Result<Vec<Explained>, Problems> {
        let document = self.document(Some(tenant))?;
        let mut found = Vec::new();
        leaves(&document, &mut Vec::new(), &mut |keys, value| {
            let (layer, place) = self.decides(tenant, keys);
            found.push(Explained {
                path: keys.join("."),
                value: value.clone(),
                layer,
                place,
            });
        });
        Ok(found)
    }

    /// The strongest layer that says something about a key.
    fn decides(&self, tenant: &TenantId, keys: &[&str]) -> (LayerName, Option<String>) {
        if let Some(layer) = self.of_api.get(tenant)
            && let Said::Value(_) = said(layer.node(), keys)
        {
            return (LayerName::Api, None);
        }
        let layers = [
            (LayerName::Tenant, self.of_tenants.get(tenant)),
            (LayerName::Everyone, self.everyone.as_ref()),
            (LayerName::Defaults, self.defaults.as_ref()),
            (LayerName::Process, self.process.as_ref()),
        ];
        for (name, layer) in layers {
            match layer.map(|layer| said(layer.node(), keys)) {
                Some(Said::Value(place)) => return (name, Some(place)),
                Some(Said::Null(place)) => return (LayerName::BuiltIn, Some(place)),
                Some(Said::Nothing) | None => {}
            }
        }
        (LayerName::BuiltIn, None)
    }
}

/// What a document says about a key.
enum Said {
    Nothing,
    /// That it, or a block around it, is null, at a place.
    Null(String),
    /// A value, at a place.
    Value(String),
}

fn said(document: &Node, keys: &[&str]) -> Said {
    let mut node = document;
    for key in keys {
        let Some(entry) = node.entry(key) else {
            return Said::Nothing;
        };
        node = entry.value();
        let place = || entry.key_place().to_string();
        if node.is_null() {
            return Said::Null(place());
        }
        if !node.is_mapping() {
            return Said::Value(place());
        }
    }
    Said::Nothing
}

/// Visits every value that is no mapping with keys, with its path.
pub(crate) fn leaves<'a>(
    value: &'a Value,
    keys: &mut Vec<&'a str>,
    visit: &mut impl FnMut(&[&str], &Value),
) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                keys.push(key);
                leaves(value, keys, visit);
                keys.pop();
            }
        }
        value => visit(keys, value),
    }
}
