//! Where layers come from: the process's configuration and the runtime file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use settings::{Node, Problems};

use crate::config::OverridesConfig;
use crate::layers::Layer;
use crate::legacy;
use crate::tenant_config::remote_write::Author;
use crate::tenant_config::remote_write::addresses::AllowedAddresses;

/// The layers of the process, and the runtime file over them.
#[derive(Clone, Debug)]
pub struct OverridesSources {
    pub(crate) process: Layer,
    pub(crate) defaults: Layer,
    pub(crate) runtime_file: Option<PathBuf>,
    pub(crate) period: Duration,
    pub(crate) allowed_addresses: Arc<AllowedAddresses>,
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
            process,
            defaults,
            runtime_file: (!file.as_os_str().is_empty()).then(|| file.clone()),
            period: config.per_tenant_override_period,
            allowed_addresses: Arc::new(config.remote_write_allowed_addresses.clone()),
        })
    }

    /// What these parts say without effect, in words for a log.
    pub fn warnings(&self) -> impl Iterator<Item = &String> {
        self.process
            .warnings()
            .iter()
            .chain(self.defaults.warnings())
    }

    /// The keys of Tempo's flat overrides directly in the `overrides` block, with
    /// what to write instead; they are taken out, so that they are told of once.
    pub fn take_flat_keys(root: &mut Node) -> Problems {
        let mut problems = Problems::new();
        for path in [&["overrides"][..], &["overrides", "defaults"]] {
            if let Some(block) = root.get_path_mut(path) {
                problems.extend(legacy::take_flat_keys(block, &path.join(".")));
            }
        }
        problems
    }
}
