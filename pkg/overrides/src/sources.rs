//! Where layers come from: the process's configuration and the runtime file.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::TenantId;
use settings::{Node, Problems};

use crate::config::OverridesConfig;
use crate::layers::Layer;
use crate::legacy;
use crate::snapshot::Snapshot;
use crate::tenant_config::TenantConfig;
use crate::tenant_config::remote_write::Author;
use crate::tenant_config::remote_write::addresses::AllowedAddresses;
use crate::user_configurable::document::UserDocument;

/// Where the settings of all tenants stand that have none of their own.
const DEFAULTS: &[&str] = &["overrides", "defaults"];

/// Keys of the flat format that the nested one has at its top, too.
const SAME_IN_BOTH: [&str; 2] = ["cost_attribution", "forwarders"];

/// The layers of the process, and the runtime file over them.
#[derive(Clone, Debug)]
pub struct OverridesSources {
    pub(crate) process: Arc<Layer>,
    pub(crate) defaults: Arc<Layer>,
    pub(crate) runtime_file: Option<PathBuf>,
    pub(crate) period: Duration,
    pub(crate) allowed_addresses: Arc<AllowedAddresses>,
    pub(crate) forwarders: Arc<BTreeSet<String>>,
    expand_env: bool,
}

impl OverridesSources {
    /// Takes what the whole configuration of the process says of tenants: parts of
    /// its `metrics_generator` block, and `overrides`.
    ///
    /// # Errors
    ///
    /// Every problem in these parts.
    pub fn from_config(root: &Node, config: &OverridesConfig) -> Result<Self, Problems> {
        let nothing = Node::empty(root.place().clone());
        let block = |keys: &[&str]| {
            root.get_path(keys)
                .filter(|node| node.is_mapping())
                .unwrap_or(&nothing)
        };
        let process = Layer::from_process(block(&["metrics_generator"]));
        let defaults = Layer::from_overrides(
            block(&["overrides", "defaults"]),
            "overrides.defaults",
            Author::Operator,
        );
        let (process, defaults) = match (process, defaults) {
            (Ok(process), Ok(defaults)) => (process, defaults),
            (process, defaults) => {
                let mut problems = Problems::new();
                problems.extend(process.err().into_iter().flatten());
                problems.extend(defaults.err().into_iter().flatten());
                return problems.or(()).and(Err(Problems::new()));
            }
        };
        let file = &config.per_tenant_override_config;
        Ok(Self {
            process: Arc::new(process),
            defaults: Arc::new(defaults),
            runtime_file: (!file.as_os_str().is_empty()).then(|| file.clone()),
            period: config.per_tenant_override_period,
            allowed_addresses: Arc::new(config.remote_write_allowed_addresses.clone()),
            forwarders: Arc::default(),
            expand_env: false,
        })
    }

    /// What these parts say without effect, in words for a log.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        [&self.process, &self.defaults]
            .into_iter()
            .flat_map(|layer| layer.all_warnings())
    }

    /// Puts keys of Tempo's flat overrides, in the `overrides` block or in its
    /// `defaults`, where `defaults` of the nested layout has them.
    ///
    /// What it gives are the keys that are set in both formats.
    pub fn nest_flat_keys(root: &mut Node) -> Problems {
        let mut problems = Problems::new();
        for (block, below) in [(&["overrides"][..], Some("defaults")), (DEFAULTS, None)] {
            let Some(node) = root.get_path_mut(block) else {
                continue;
            };
            let mut taken = legacy::take_flat_keys(node);
            if below.is_some() {
                let both = SAME_IN_BOTH.into_iter();
                taken.extend(both.filter_map(|key| Some((Vec::new(), node.remove(key)?))));
            }
            for (blocks, _) in &mut taken {
                blocks.splice(0..0, below);
            }
            problems.extend(legacy::nest(node, taken, &block.join(".")));
        }
        problems
    }

    /// Which forwarders there are; others may not be named. Default: none.
    pub fn set_forwarders(&mut self, names: impl IntoIterator<Item = String>) {
        self.forwarders = Arc::new(names.into_iter().collect());
    }

    /// Whether `${NAME}` in the runtime file stands for an environment variable.
    /// Default: false.
    pub fn expand_env(&mut self, expand: bool) {
        self.expand_env = expand;
    }

    /// Checks the layers together with the runtime file, as it is now.
    ///
    /// # Errors
    ///
    /// Every problem of the file, those of single entries among them.
    pub fn check(&self) -> Result<Vec<String>, Problems> {
        self.check_text(self.read()?.as_deref())
    }

    /// Checks the layers together with a text in place of what the runtime file says; none
    /// where no file is named.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn check_text(&self, text: Option<&str>) -> Result<Vec<String>, Problems> {
        let snapshot = self.resolve(text, None)?;
        let unavailable = snapshot.unavailable();
        let mut warnings = snapshot.warnings;
        warnings.extend(unavailable.keys().map(|processor| {
            format!("the processor {processor} is not in this version, and is left out")
        }));
        snapshot.refused.or(warnings)
    }

    /// The settings of a tenant, by the runtime file as it is now and by what the tenant
    /// has set itself: JSON, as `/api/overrides` gives it.
    ///
    /// # Errors
    ///
    /// Every problem of the file, those of single entries among them, and of what the
    /// tenant has set.
    pub fn tenant_config(
        &self,
        tenant: &TenantId,
        own_settings: Option<&[u8]>,
    ) -> Result<Arc<TenantConfig>, Problems> {
        let mut snapshot = self.resolve(self.read()?.as_deref(), None)?;
        if let Some(own) = own_settings
            && let Some(document) = UserDocument::from_stored(own)?
        {
            let layer = Arc::new(document.layer()?);
            snapshot = snapshot.with_api_layers([(tenant.clone(), Some(layer))]);
        }
        let config = Arc::clone(snapshot.for_tenant(tenant));
        snapshot.refused.or(config)
    }

    /// The text of the runtime file, if there is one.
    pub(crate) fn read(&self) -> Result<Option<String>, Problems> {
        let Some(path) = &self.runtime_file else {
            return Ok(None);
        };
        let text = settings::read_text(path)?;
        Ok(Some(match self.expand_env {
            true => settings::expand_env::expand(&text, |name| std::env::var(name).ok()),
            false => text,
        }))
    }

    /// The settings of all tenants, by the text of the runtime file; an entry that is
    /// wrong stays what it was in the snapshot before.
    pub(crate) fn resolve(
        &self,
        text: Option<&str>,
        before: Option<&Snapshot>,
    ) -> Result<Snapshot, Problems> {
        let node = match (text, &self.runtime_file) {
            (Some(text), Some(path)) => Some(settings::read_str(path.display().to_string(), text)?),
            _ => None,
        };
        Snapshot::resolve(self, node.as_ref(), before)
    }
}
