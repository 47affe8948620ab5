//! What is asked of a tenant's own settings besides the rules of a runtime file.
//!
//! Source: tempo-2.10, user-configurable overrides, validation.

use std::collections::HashMap;
use std::time::Duration;

use regex::RegexBuilder;
use serde_json::Value;
use settings::{Problem, Problems, duration};

const HOUR: Duration = Duration::from_secs(3_600);

/// Durations with a range: the key, the least and the most.
const RANGES: [(&str, Duration, Duration); 2] = [
    (
        "collection_interval",
        Duration::from_secs(15),
        Duration::from_secs(300),
    ),
    (
        "ingestion_time_range_slack",
        Duration::ZERO,
        HOUR.saturating_mul(12),
    ),
];

/// Buckets of a native histogram that a tenant may ask for: the limit of its series
/// does not count them.
const MAX_NATIVE_BUCKETS: u64 = 1_000;

/// Labels of span metrics that a dimension may not take: its own gets `__` in front.
const INTRINSIC_LABELS: [&str; 5] = [
    "service",
    "span_name",
    "span_kind",
    "status_code",
    "status_message",
];

/// The path of the block of span metrics.
const SPAN_METRICS: &str = "metrics_generator.processor.span_metrics";

/// Regular expressions that a tenant may have, and bytes that each may take compiled:
/// those of all tenants are held in memory.
const MAX_EXPRESSIONS: usize = 32;
const MAX_EXPRESSION_BYTES: usize = 1 << 20;

/// Regular expressions of filters that are too many or too large. Looked for before
/// anything else compiles them.
pub(crate) fn of_expressions(document: &Value) -> Problems {
    let mut problems = Problems::new();
    let mut count = 0;
    for processor in ["span_metrics", "service_graphs"] {
        let path = format!("/metrics_generator/processor/{processor}/filter_policies");
        let policies = document.pointer(&path).and_then(Value::as_array);
        for (index, policy) in policies.into_iter().flatten().enumerate() {
            for side in ["include", "exclude"] {
                let is_regex = policy.pointer(&format!("/{side}/match_type"));
                if is_regex.and_then(Value::as_str) != Some("regex") {
                    continue;
                }
                let attributes = policy.pointer(&format!("/{side}/attributes"));
                let attributes = attributes.and_then(Value::as_array).into_iter().flatten();
                for (at, attribute) in attributes.enumerate() {
                    count += 1;
                    let text = attribute.get("value").and_then(Value::as_str);
                    if count <= MAX_EXPRESSIONS && text.is_some_and(is_too_large) {
                        problems.push(Problem::new(
                            format!(
                                "metrics_generator.processor.{processor}.filter_policies[{index}]\
                                 .{side}.attributes[{at}].value"
                            ),
                            "is too large a regular expression",
                        ));
                    }
                }
            }
        }
    }
    if count > MAX_EXPRESSIONS {
        let message =
            format!("has {count} regular expressions; at most {MAX_EXPRESSIONS} are accepted");
        problems.push(Problem::new("", message));
    }
    problems
}

/// Whether it is one that would take too much; whether it is one at all is for others.
fn is_too_large(expression: &str) -> bool {
    let compiled = RegexBuilder::new(expression)
        .size_limit(MAX_EXPRESSION_BYTES)
        .build();
    matches!(compiled, Err(regex::Error::CompiledTooBig(_)))
}

/// Problems for which a document is not used, wherever it comes from.
pub(crate) fn of_stored(document: &Value) -> Problems {
    let mut problems = Problems::new();
    let name = document.pointer("/metrics_generator/processor/host_info/metric_name");
    if let Some(name) = name.and_then(Value::as_str)
        && !name.is_empty()
        && !is_metric_name(name)
    {
        problems.push(Problem::new(
            "metrics_generator.processor.host_info.metric_name",
            format!(
                "{name:?} is not a metric name: letters, digits, _ and : are accepted, and no \
                 digit first"
            ),
        ));
    }
    problems
}

/// Problems for which a request is refused.
pub(crate) fn of_request(document: &Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, least, most) in RANGES {
        let value = document.pointer(&format!("/metrics_generator/{key}"));
        let value = value.and_then(Value::as_str);
        if let Some(value) = value.and_then(|text| duration::parse(text).ok())
            && !(least..=most).contains(&value)
        {
            problems.push(Problem::new(
                format!("metrics_generator.{key}"),
                format!(
                    "{} is not accepted; expected {} to {}",
                    duration::format(value),
                    duration::format(least),
                    duration::format(most)
                ),
            ));
        }
    }
    let factor = document.pointer("/metrics_generator/native_histogram_bucket_factor");
    if let Some(factor) = factor.and_then(Value::as_f64)
        && factor <= 1.0
    {
        problems.push(Problem::new(
            "metrics_generator.native_histogram_bucket_factor",
            format!("{factor} is not accepted; expected a number above 1"),
        ));
    }
    let buckets = document.pointer("/metrics_generator/native_histogram_max_bucket_number");
    if let Some(buckets) = buckets.and_then(Value::as_u64)
        && !(1..=MAX_NATIVE_BUCKETS).contains(&buckets)
    {
        problems.push(Problem::new(
            "metrics_generator.native_histogram_max_bucket_number",
            format!("{buckets} is not accepted; expected 1 to {MAX_NATIVE_BUCKETS}"),
        ));
    }
    problems.extend(same_labels(document));
    problems
}

/// Dimensions of span metrics that would give one label.
fn same_labels(document: &Value) -> Vec<Problem> {
    let list = |key: &str| {
        let path = format!("/metrics_generator/processor/span_metrics/{key}");
        let items = document.pointer(&path).and_then(Value::as_array);
        items.cloned().unwrap_or_default()
    };
    let dimensions = list("dimensions").into_iter().enumerate();
    let dimensions = dimensions.map(|(index, name)| (format!("dimensions[{index}]"), name));
    let mappings = list("dimension_mappings").into_iter().enumerate();
    let mappings = mappings.map(|(index, mut mapping)| {
        let name = mapping.get_mut("name").map(Value::take);
        (
            format!("dimension_mappings[{index}].name"),
            name.unwrap_or_default(),
        )
    });
    let mut first: HashMap<String, String> = HashMap::new();
    let mut problems = Vec::new();
    for (key, name) in dimensions.chain(mappings) {
        let Some(name) = name.as_str() else { continue };
        let label = label_name(name);
        match first.get(&label) {
            Some(other) => problems.push(Problem::new(
                format!("{SPAN_METRICS}.{key}"),
                format!("gives the label {label}, which {other} gives as well"),
            )),
            None => {
                first.insert(label, key);
            }
        }
    }
    problems
}

/// The label that the generator makes of a dimension.
fn label_name(dimension: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut name: String = dimension
        .chars()
        .map(|c| if is_word(c) { c } else { '_' })
        .collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if INTRINSIC_LABELS.contains(&name.as_str()) {
        name.insert_str(0, "__");
    }
    name
}

fn is_metric_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !name.starts_with(|first: char| first.is_ascii_digit()) && name.chars().all(is_part)
}
