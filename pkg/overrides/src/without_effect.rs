//! Keys that are accepted because Tempo has them, and do nothing.

use std::collections::BTreeMap;

use serde_json::Value;
use settings::{Node, Place};

/// The keys, each by its path in overrides' layout.
const KEYS: [&[&str]; 12] = [
    &["compaction"],
    &["global"],
    &["ingestion", "artificial_delay"],
    &["ingestion", "max_global_traces_per_user"],
    &["ingestion", "max_traces_per_user"],
    &["ingestion", "tenant_shard_size"],
    &["metrics_generator", "forwarder"],
    &["metrics_generator", "processor", "local_blocks"],
    &[
        "metrics_generator",
        "processor",
        "service_graphs",
        "workers",
    ],
    &["metrics_generator", "ring_size"],
    &["read"],
    &["storage"],
];

/// Takes them out of a document that is shown.
pub(crate) fn remove(document: &mut Value) {
    for path in KEYS {
        let Some((key, blocks)) = path.split_last() else {
            continue;
        };
        let block = blocks
            .iter()
            .try_fold(&mut *document, |value, key| value.get_mut(*key));
        if let Some(block) = block.and_then(Value::as_object_mut) {
            block.shift_remove(*key);
        }
    }
    if let Some(blocks) = document.as_object_mut() {
        blocks.retain(|_, block| block.as_object().is_none_or(|keys| !keys.is_empty()));
    }
}

/// A key without effect that a document has.
#[derive(Clone, Debug)]
pub(crate) struct Ignored {
    /// Its dotted path in overrides' layout.
    pub(crate) path: String,
    place: Place,
}

impl Ignored {
    /// Those that a document has.
    pub(crate) fn of(document: &Node) -> Vec<Self> {
        let found = |path: &&[&str]| {
            let (key, blocks) = path.split_last()?;
            let entry = document.get_path(blocks)?.entry(key)?;
            (!entry.value().is_null()).then(|| Self {
                path: path.join("."),
                place: entry.key_place().clone(),
            })
        };
        KEYS.iter().filter_map(found).collect()
    }

    /// The warning, for a document that stands below `prefix`.
    pub(crate) fn warning(&self, prefix: &str) -> String {
        let dot = if prefix.is_empty() { "" } else { "." };
        let Self { path, place } = self;
        format!("{place}: {prefix}{dot}{path} has no effect here and is ignored")
    }
}

/// The same keys in many entries of a file, told once each.
#[derive(Debug, Default)]
pub(crate) struct IgnoredInEntries(BTreeMap<String, (String, usize)>);

impl IgnoredInEntries {
    /// Adds those of the entry that stands below `prefix`.
    pub(crate) fn add(&mut self, ignored: &[Ignored], prefix: &str) {
        for key in ignored {
            let first = || (key.warning(prefix), 0);
            let (_, count) = self.0.entry(key.path.clone()).or_insert_with(first);
            *count += 1;
        }
    }

    /// A warning for each key: its first place, and how many entries have it.
    pub(crate) fn warnings(self) -> impl Iterator<Item = String> {
        self.0.into_values().map(|(warning, count)| match count {
            1 => warning,
            count => format!("{warning}, in {count} entries"),
        })
    }
}
