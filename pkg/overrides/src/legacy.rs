//! Tempo's flat overrides of before 2.3: each key is put where the nested layout has it.

use settings::{Entry, Node, Problem};

/// Beginnings of flat keys, the longer first, and the blocks that they stand for.
const PREFIXES: [(&str, &[&str]); 7] = [
    (
        "metrics_generator_processor_service_graphs_",
        &["metrics_generator", "processor", "service_graphs"],
    ),
    (
        "metrics_generator_processor_span_metrics_",
        &["metrics_generator", "processor", "span_metrics"],
    ),
    (
        "metrics_generator_processor_local_blocks_",
        &["metrics_generator", "processor", "local_blocks"],
    ),
    (
        "metrics_generator_processor_host_info_",
        &["metrics_generator", "processor", "host_info"],
    ),
    (
        "metrics_generator_forwarder_",
        &["metrics_generator", "forwarder"],
    ),
    ("metrics_generator_", &["metrics_generator"]),
    ("ingestion_", &["ingestion"]),
];

/// Flat keys whose whole name is the key of a block.
const KEYS: [(&str, &str); 12] = [
    ("block_retention", "compaction"),
    ("compaction_disabled", "compaction"),
    ("compaction_window", "compaction"),
    ("max_blocks_per_tag_values_query", "read"),
    ("max_bytes_per_tag_values_query", "read"),
    ("max_bytes_per_trace", "global"),
    ("max_global_traces_per_user", "ingestion"),
    ("max_metrics_duration", "read"),
    ("max_search_duration", "read"),
    ("max_traces_per_user", "ingestion"),
    ("parquet_dedicated_columns", "storage"),
    ("unsafe_query_hints", "read"),
];

/// Takes the flat keys out of a document, as the path of blocks and the key in the
/// last of them.
pub(crate) fn take_flat_keys(document: &mut Node) -> Vec<(Vec<&'static str>, Entry)> {
    let mut taken = Vec::new();
    document.retain(|entry| {
        let Some((blocks, key)) = nested_key(entry.key()) else {
            return true;
        };
        taken.push((blocks, entry.clone().renamed(key)));
        false
    });
    taken
}

/// Puts the keys where the nested layout has them, in a document that stands below
/// `path`; one that is there already is set twice.
pub(crate) fn nest(
    document: &mut Node,
    taken: Vec<(Vec<&'static str>, Entry)>,
    path: &str,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (blocks, entry) in taken {
        // A block that is none is told of where the document is read.
        let is_refused = |count| {
            let block = document.get_path(blocks.get(..count).unwrap_or_default());
            block.is_some_and(|block| !block.is_mapping() && !block.is_null())
        };
        if (0..=blocks.len()).any(is_refused) {
            continue;
        }
        let block = document.get_path(&blocks);
        if block.is_some_and(|block| block.get(entry.key()).is_some()) {
            let path = format!("{path}.{}.{}", blocks.join("."), entry.key());
            let message = "is set twice: in the flat format here, and in the nested one; keep one";
            problems.push(Problem::new(path, message).at(entry.key_place().clone()));
            continue;
        }
        document.insert_below(&blocks, entry);
    }
    problems
}

fn nested_key(flat: &str) -> Option<(Vec<&'static str>, &str)> {
    let whole = KEYS.iter().find(|(key, _)| *key == flat);
    if let Some((_, block)) = whole {
        return Some((vec![block], flat));
    }
    PREFIXES.iter().find_map(|(prefix, blocks)| {
        let key = flat.strip_prefix(prefix)?;
        Some((blocks.to_vec(), key))
    })
}
