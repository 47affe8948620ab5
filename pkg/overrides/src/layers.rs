//! Layers: documents that are merged key by key, and read once.

use settings::{Content, Entry, Node, Problem, Problems};

use crate::document::Document;
use crate::legacy;
use crate::tenant_config::TenantConfig;
use crate::validate::validate;

/// Keys of which 0 and empty text mean what they mean in Tempo: that the layer
/// says nothing.
const EMPTY_INHERITS: [&[&str]; 11] = [
    &["ingestion", "rate_strategy"],
    &["ingestion", "max_attribute_bytes"],
    &["metrics_generator", "collection_interval"],
    &["metrics_generator", "ingestion_time_range_slack"],
    &["metrics_generator", "trace_id_label_name"],
    &["metrics_generator", "generate_native_histograms"],
    &["metrics_generator", "native_histogram_bucket_factor"],
    &["metrics_generator", "limiter_type"],
    &["metrics_generator", "processor", "host_info", "metric_name"],
    &[
        "metrics_generator",
        "processor",
        "service_graphs",
        "span_multiplier_key",
    ],
    &[
        "metrics_generator",
        "processor",
        "span_metrics",
        "span_multiplier_key",
    ],
];

/// Another name of a key: where it stands, the name, the key.
const ALIASES: [(&[&str], &str, &str); 2] = [
    (
        &["metrics_generator", "processor", "span_metrics"],
        "dimension_mapings",
        "dimension_mappings",
    ),
    (
        &["metrics_generator", "processor", "host_info"],
        "host_identifies",
        "host_identifiers",
    ),
];

/// One document of settings of tenants, checked alone, in overrides' layout.
#[derive(Clone, Debug)]
pub(crate) struct Layer(Node);

impl Layer {
    /// Takes a document of overrides that stands below `path`.
    ///
    /// # Errors
    ///
    /// Every problem that it has by itself.
    pub(crate) fn from_overrides(document: &Node, path: &str) -> Result<Self, Problems> {
        let mut document = document.clone();
        let mut problems = Problems::new();
        problems.extend(legacy::take_flat_keys(&mut document, path));
        let mut node = canonical(&document);
        // One that stands beside the block as well has been left in it.
        if let Some(entry) = node
            .get_path(&["metrics_generator", "registry"])
            .and_then(|registry| registry.entry("collection_interval"))
        {
            let path = format!("{path}.metrics_generator.registry.collection_interval");
            let message = "is set twice: here and beside registry; keep one";
            problems.push(Problem::new(path, message).at(entry.place().clone()));
        }
        for path in EMPTY_INHERITS {
            remove_empty(&mut node, path);
        }
        problems.extend(check(&node, path, str::to_owned));
        problems.or(Self(node))
    }

    /// Takes what the `metrics_generator` block of the process says of tenants.
    ///
    /// # Errors
    ///
    /// Every problem in that part of the block.
    pub(crate) fn from_process(block: &Node) -> Result<Self, Problems> {
        let mut generator = Node::empty(block.place().clone());
        for (from, to) in [
            ("processor", "processor"),
            ("registry", "registry"),
            ("limiter_type", "limiter_type"),
            (
                "metrics_ingestion_time_range_slack",
                "ingestion_time_range_slack",
            ),
        ] {
            if let Some(entry) = block.entry(from) {
                generator.insert(entry.clone().renamed(to));
            }
        }
        let node = Node::empty(block.place().clone()).with("metrics_generator", generator);
        let node = canonical(&node);
        let written = |path: &str| match path {
            "metrics_generator.collection_interval" => {
                "metrics_generator.registry.collection_interval".to_owned()
            }
            "metrics_generator.ingestion_time_range_slack" => {
                "metrics_generator.metrics_ingestion_time_range_slack".to_owned()
            }
            path => path.to_owned(),
        };
        check(&node, "", written).or(Self(node))
    }

    /// Leaves out what only the process may say.
    pub(crate) fn without(mut self, path: &[&str]) -> Self {
        remove(&mut self.0, path);
        self
    }

    /// Whether the layer says something at a path.
    pub(crate) fn entry(&self, path: &[&str]) -> Option<&Entry> {
        let (last, above) = path.split_last()?;
        self.0.get_path(above)?.entry(last)
    }
}

/// Resolves a tenant from its layers, weakest first.
///
/// Mappings merge key by key; any other value replaces the one below it, so a
/// list is replaced and never appended to. A key that a layer leaves out is
/// inherited; one that is null returns to the built-in default.
///
/// # Errors
///
/// A value that does not fit; none if each layer was checked.
pub(crate) fn resolve<'a>(
    layers: impl IntoIterator<Item = &'a Layer>,
) -> Result<TenantConfig, Problems> {
    let mut layers = layers.into_iter();
    let Some(first) = layers.next() else {
        return Ok(TenantConfig::default());
    };
    let mut merged = Node::empty(first.0.place().clone());
    merge(&mut merged, &first.0);
    for layer in layers {
        merge(&mut merged, &layer.0);
    }
    Ok(TenantConfig::from(settings::decode::<Document>(&merged)?))
}

fn merge(base: &mut Node, over: &Node) {
    for entry in over.entries() {
        if entry.value().is_null() {
            base.remove(entry.key());
            continue;
        }
        if !entry.value().is_mapping() {
            base.insert(entry.clone());
            continue;
        }
        if !base.get(entry.key()).is_some_and(Node::is_mapping) {
            // Merged into nothing rather than cloned, so that a null inside
            // means "default" here too.
            base.insert(entry.clone().emptied());
        }
        if let Some(below) = base.get_mut(entry.key()) {
            merge(below, entry.value());
        }
    }
}

/// The problems of a document by itself; `written` gives a path as the user wrote it.
fn check(node: &Node, prefix: &str, written: impl Fn(&str) -> String) -> Problems {
    let document = match settings::decode_at::<Document>(node, prefix) {
        Ok(document) => document,
        Err(found) => {
            let mut problems = Problems::new();
            problems.extend(found.into_iter().map(|mut problem| {
                problem.path = written(&problem.path);
                problem
            }));
            return problems;
        }
    };
    let mut problems = Problems::new();
    for mut problem in validate(&TenantConfig::from(document)) {
        let place = node.locate(&problem.path).clone();
        problem.path = match prefix {
            "" => written(&problem.path),
            prefix => format!("{prefix}.{}", problem.path),
        };
        problems.push(problem.at(place));
    }
    problems
}

/// The document with each key under its one name, in its one place.
fn canonical(document: &Node) -> Node {
    let mut node = document.clone();
    for (above, alias, key) in ALIASES {
        if let Some(block) = node.get_path_mut(above)
            && block.get(key).is_none()
            && let Some(entry) = block.remove(alias)
        {
            block.insert(entry.renamed(key));
        }
    }
    // Overrides have the interval beside the registry block; the block of the
    // process has it inside.
    if let Some(generator) = node.get_mut("metrics_generator")
        && generator.get("collection_interval").is_none()
        && let Some(registry) = generator.get_mut("registry")
        && let Some(entry) = registry.remove("collection_interval")
    {
        generator.insert(entry);
    }
    node
}

fn remove_empty(node: &mut Node, path: &[&str]) {
    if node.get_path(path).is_some_and(is_empty) {
        remove(node, path);
    }
}

fn remove(node: &mut Node, path: &[&str]) {
    if let Some((last, above)) = path.split_last()
        && let Some(block) = node.get_path_mut(above)
    {
        block.remove(last);
    }
}

fn is_empty(node: &Node) -> bool {
    match node.content() {
        Content::Integer(value) => *value == 0,
        Content::Float(value) => *value == 0.0,
        Content::Text(text) => {
            text.is_empty() || settings::duration::parse(text).is_ok_and(|value| value.is_zero())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
