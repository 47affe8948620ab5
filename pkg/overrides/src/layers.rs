//! Layers: documents that are merged key by key, and read once.

use settings::{Content, Entry, Node, Problem, Problems};

use crate::document::Document;
use crate::legacy;
use crate::tenant_config::TenantConfig;
use crate::tenant_config::processors::Processors;
use crate::tenant_config::remote_write::Author;
use crate::validate::validate;
use crate::without_effect::Ignored;

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
pub(crate) struct Layer {
    node: Node,
    author: Author,
    /// What it says without effect, in words for a log.
    warnings: Vec<String>,
    /// Keys that never have an effect.
    ignored: Vec<Ignored>,
    /// Where it stands, for those keys.
    prefix: String,
}

/// The key of a tenant's processors.
const PROCESSORS: &[&str] = &["metrics_generator", "processors"];

/// The key of a tenant's destinations.
const REMOTE_WRITE: &[&str] = &["metrics_generator", "remote_write"];

impl Layer {
    /// Takes a document of overrides that stands below `path` and is the
    /// author's.
    ///
    /// # Errors
    ///
    /// Every problem that it has by itself.
    pub(crate) fn from_overrides(
        document: &Node,
        path: &str,
        author: Author,
    ) -> Result<Self, Problems> {
        let mut document = document.clone();
        let mut problems = Problems::new();
        let flat = legacy::take_flat_keys(&mut document);
        problems.extend(legacy::nest(&mut document, flat, path));
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
        let checked = check(&node, path, &author, str::to_owned);
        let warnings = checked.unwrap_or_else(|found| {
            problems.extend(found);
            Vec::new()
        });
        problems.or(Self {
            ignored: Ignored::of(&node),
            prefix: path.to_owned(),
            node,
            author,
            warnings,
        })
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
        let storage = block.get("storage");
        if let Some(entry) = storage.and_then(|storage| storage.entry("remote_write")) {
            generator.insert(entry.clone());
        }
        let node = Node::empty(block.place().clone()).with("metrics_generator", generator);
        let node = canonical(&node);
        let author = Author::Operator;
        let written = |path: &str| match path {
            "metrics_generator.collection_interval" => {
                "metrics_generator.registry.collection_interval".to_owned()
            }
            "metrics_generator.ingestion_time_range_slack" => {
                "metrics_generator.metrics_ingestion_time_range_slack".to_owned()
            }
            path => match path.strip_prefix("metrics_generator.remote_write") {
                Some(below) => format!("metrics_generator.storage.remote_write{below}"),
                None => path.to_owned(),
            },
        };
        let warnings = check(&node, "", &author, written)?;
        Ok(Self {
            ignored: Ignored::of(&node),
            prefix: String::new(),
            node,
            author,
            warnings,
        })
    }

    /// Leaves out what only the process may say.
    pub(crate) fn without(mut self, path: &[&str]) -> Self {
        remove(&mut self.node, path);
        self.ignored = Ignored::of(&self.node);
        self
    }

    /// Whether its tenant wrote it, through the API.
    pub(crate) fn is_of_tenant(&self) -> bool {
        matches!(self.author, Author::Tenant(_))
    }

    /// What it says without effect in this place, in words for a log.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Keys that it has and that never have an effect.
    pub(crate) fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// Both, in words for a log.
    pub(crate) fn all_warnings(&self) -> impl Iterator<Item = String> {
        let ignored = self.ignored.iter().map(|key| key.warning(&self.prefix));
        self.warnings.iter().cloned().chain(ignored)
    }

    /// What it says, each key in its one place.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// Whether the layer says something at a path.
    pub(crate) fn entry(&self, path: &[&str]) -> Option<&Entry> {
        let (last, above) = path.split_last()?;
        self.node.get_path(above)?.entry(last)
    }
}

/// Resolves a tenant from its layers, weakest first.
///
/// Mappings merge key by key; any other value replaces the one below it, so a
/// list is replaced and never appended to. A key that a layer leaves out is
/// inherited; one that is null returns to the built-in default. Processors that a
/// tenant sets itself are added to those that it has otherwise, as in Tempo 2.10.
///
/// # Errors
///
/// A value that does not fit; none if each layer was checked.
pub(crate) fn resolve<'a>(
    layers: impl IntoIterator<Item = &'a Layer>,
) -> Result<TenantConfig, Problems> {
    Ok(document(layers)?.into())
}

/// As [`resolve`], in overrides' layout.
///
/// # Errors
///
/// As [`resolve`].
pub(crate) fn document<'a>(
    layers: impl IntoIterator<Item = &'a Layer>,
) -> Result<Document, Problems> {
    let mut layers = layers.into_iter().peekable();
    let Some(first) = layers.peek() else {
        return Ok(Document::default());
    };
    let mut merged = Node::empty(first.node.place().clone());
    let mut author = Author::default();
    let mut inherited = Processors::default();
    for layer in layers {
        if layer.is_of_tenant() {
            inherited = match merged.get_path(PROCESSORS) {
                Some(processors) => settings::decode(processors)?,
                None => Processors::default(),
            };
        }
        merge(&mut merged, &layer.node);
        if layer.entry(REMOTE_WRITE).is_some() {
            author = layer.author.clone();
        }
    }
    let mut document = settings::decode::<Document>(&merged)?.written_by(&author);
    let generator = &mut document.metrics_generator;
    generator.processors = generator.processors.union(inherited);
    Ok(document)
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

/// What a document by itself says without effect, in words for a log; `written`
/// gives a path as the user wrote it.
///
/// # Errors
///
/// Every problem that the document has by itself.
fn check(
    node: &Node,
    prefix: &str,
    author: &Author,
    written: impl Fn(&str) -> String,
) -> Result<Vec<String>, Problems> {
    let (document, found) = settings::decode_partly::<Document>(node, prefix);
    let mut problems = Problems::new();
    problems.extend(found.into_iter().map(|mut problem| {
        problem.path = written(&problem.path);
        problem
    }));
    let document = document.unwrap_or_default();
    let config = TenantConfig::from(document.written_by(author));
    let full = |path: &str| match prefix {
        "" => written(path),
        prefix => format!("{prefix}.{path}"),
    };
    problems.add_further(validate(&config).into_iter().map(|mut problem| {
        let place = node.locate(&problem.path).clone();
        problem.path = full(&problem.path);
        problem.at(place)
    }));
    let mut warnings = Vec::new();
    for (index, endpoint) in config.remote_write.iter().enumerate() {
        for (key, instead) in endpoint.without_effect() {
            let path = format!("metrics_generator.remote_write[{index}].{key}");
            let (place, path) = (node.locate(&path), full(&path));
            warnings.push(format!("{place}: {path} has no effect: {instead}"));
        }
    }
    problems.or(warnings)
}

/// The document with each key under its one name, in its one place.
fn canonical(document: &Node) -> Node {
    let mut node = document.clone();
    rename_aliases(&mut node);
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

/// Gives each key its one name; one that has it already keeps its other as well.
pub(crate) fn rename_aliases(node: &mut Node) {
    for (above, alias, key) in ALIASES {
        if let Some(block) = node.get_path_mut(above)
            && block.get(key).is_none()
            && let Some(entry) = block.remove(alias)
        {
            block.insert(entry.renamed(key));
        }
    }
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
