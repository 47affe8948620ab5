//! Tempo's flat overrides of before 2.3, which are refused with the key to
//! write instead.

use settings::{Node, Problem};

/// Beginnings of flat keys, the longer first, and what stands for them.
const PREFIXES: [(&str, &str); 9] = [
    (
        "metrics_generator_processor_service_graphs_",
        "metrics_generator.processor.service_graphs.",
    ),
    (
        "metrics_generator_processor_span_metrics_",
        "metrics_generator.processor.span_metrics.",
    ),
    (
        "metrics_generator_processor_local_blocks_",
        "metrics_generator.processor.local_blocks.",
    ),
    (
        "metrics_generator_processor_host_info_",
        "metrics_generator.processor.host_info.",
    ),
    (
        "metrics_generator_forwarder_",
        "metrics_generator.forwarder.",
    ),
    ("metrics_generator_", "metrics_generator."),
    ("ingestion_", "ingestion."),
    ("max_traces_per_user", "ingestion.max_traces_per_user"),
    ("max_bytes_per_trace", "global.max_bytes_per_trace"),
];

/// Takes the flat keys out of a document that stands below `path`, and says
/// what to write instead of each.
pub(crate) fn take_flat_keys(document: &mut Node, path: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    document.retain(|entry| {
        let Some(nested) = nested_key(entry.key()) else {
            return true;
        };
        let message = format!(
            "a key of the flat overrides format, which is not supported; write {nested} instead"
        );
        problems.push(
            Problem::new(format!("{path}.{}", entry.key()), message).at(entry.key_place().clone()),
        );
        false
    });
    problems
}

fn nested_key(key: &str) -> Option<String> {
    PREFIXES.iter().find_map(|(flat, nested)| {
        let rest = key.strip_prefix(flat)?;
        Some(format!("{nested}{rest}"))
    })
}
