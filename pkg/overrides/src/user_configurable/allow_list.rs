//! What tenants may set themselves: one list of paths.

use serde_json::{Map, Value};

use crate::provenance::leaves;

/// Settings that a tenant may change, by their paths in overrides' layout; what is
/// below one may be changed as well.
///
/// Source: tempo-2.10, user-configurable overrides. No limit and no destination is
/// among them.
const ALLOWED: [&[&str]; 33] = [
    &["cost_attribution", "dimensions"],
    &["forwarders"],
    &["metrics_generator", "collection_interval"],
    &["metrics_generator", "disable_collection"],
    &["metrics_generator", "generate_native_histograms"],
    &["metrics_generator", "ingestion_time_range_slack"],
    &["metrics_generator", "native_histogram_bucket_factor"],
    &["metrics_generator", "native_histogram_max_bucket_number"],
    &["metrics_generator", "native_histogram_min_reset_duration"],
    &["metrics_generator", "processors"],
    &["metrics_generator", "span_name_sanitization"],
    &["metrics_generator", "trace_id_label_name"],
    &[
        "metrics_generator",
        "processor",
        "host_info",
        "host_identifiers",
    ],
    &["metrics_generator", "processor", "host_info", "metric_name"],
    &[
        "metrics_generator",
        "processor",
        "service_graphs",
        "dimensions",
    ],
    &[
        "metrics_generator",
        "processor",
        "service_graphs",
        "enable_client_server_prefix",
    ],
    &[
        "metrics_generator",
        "processor",
        "service_graphs",
        "enable_messaging_system_latency_histogram",
    ],
    &[
        "metrics_generator",
        "processor",
        "service_graphs",
        "enable_tracestate_span_multiplier",
    ],
    &[
        "metrics_generator",
        "processor",
        "service_graphs",
        "enable_virtual_node_label",
    ],
    &[
        "metrics_generator",
        "processor",
        "service_graphs",
        "filter_policies",
    ],
    &[
        "metrics_generator",
        "processor",
        "service_graphs",
        "histogram_buckets",
    ],
    &[
        "metrics_generator",
        "processor",
        "service_graphs",
        "peer_attributes",
    ],
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
        "dimension_mappings",
    ],
    &[
        "metrics_generator",
        "processor",
        "span_metrics",
        "dimensions",
    ],
    &[
        "metrics_generator",
        "processor",
        "span_metrics",
        "enable_instance_label",
    ],
    &[
        "metrics_generator",
        "processor",
        "span_metrics",
        "enable_target_info",
    ],
    &[
        "metrics_generator",
        "processor",
        "span_metrics",
        "enable_tracestate_span_multiplier",
    ],
    &[
        "metrics_generator",
        "processor",
        "span_metrics",
        "filter_policies",
    ],
    &[
        "metrics_generator",
        "processor",
        "span_metrics",
        "histogram_buckets",
    ],
    &[
        "metrics_generator",
        "processor",
        "span_metrics",
        "intrinsic_dimensions",
    ],
    &[
        "metrics_generator",
        "processor",
        "span_metrics",
        "span_multiplier_key",
    ],
    &[
        "metrics_generator",
        "processor",
        "span_metrics",
        "target_info_excluded_dimensions",
    ],
];

/// The dotted paths of what a document says that no tenant may say, null included. A
/// block around what it may set is no such path, whatever stands there: that is for
/// whoever reads it.
pub(crate) fn refused(document: &Value) -> Vec<String> {
    let mut refused = Vec::new();
    leaves(document, &mut Vec::new(), &mut |keys, _| {
        let is_around = ALLOWED.iter().any(|allowed| allowed.starts_with(keys));
        if !is_around && !is_allowed(keys) {
            refused.push(keys.join("."));
        }
    });
    refused
}

/// Whether a tenant may set what stands at a path.
pub(crate) fn is_allowed(keys: &[&str]) -> bool {
    ALLOWED.iter().any(|allowed| keys.starts_with(allowed))
}

/// The part of a document that tenants may set.
pub(crate) fn allowed_part(document: &Value) -> Value {
    let mut part = Value::Object(Map::new());
    for path in ALLOWED {
        let value = path.iter().try_fold(document, |value, key| value.get(key));
        let Some((value, (last, blocks))) = value.zip(path.split_last()) else {
            continue;
        };
        let block = blocks.iter().try_fold(&mut part, |block, key| {
            let entries = block.as_object_mut()?;
            Some(
                entries
                    .entry(*key)
                    .or_insert_with(|| Value::Object(Map::new())),
            )
        });
        if let Some(entries) = block.and_then(Value::as_object_mut) {
            entries.insert((*last).to_owned(), value.clone());
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::document::Document;

    #[test]
    fn every_allowed_path_is_one_of_the_layout() {
        for path in ALLOWED {
            let mut document = Value::Null;
            for key in path.iter().rev() {
                document = json!({ *key: document });
            }
            let place = settings::Place::start_of(&settings::Source::new("test", ""));
            let node = settings::Node::from_json(&document, &place);
            let (_, problems) = settings::decode_partly::<Document>(&node, "");
            // Nothing is checked in a block that has no effect.
            assert_eq!(problems.summary(), "", "{path:?}");
            assert_eq!(refused(&document), Vec::<String>::new());
        }
    }

    #[test]
    fn limits_and_destinations_are_refused_as_values_and_as_null() {
        for key in [
            "max_active_series",
            "max_active_entities",
            "limiter_type",
            "max_cardinality_per_label",
            "remote_write",
            "remote_write_headers",
            "ring_size",
            "registry",
            "stale_on_shutdown",
        ] {
            for value in [
                json!(1),
                json!([]),
                json!({}),
                json!({"a": null}),
                Value::Null,
            ] {
                let document = json!({"metrics_generator": {key: value}});
                assert_eq!(refused(&document).len(), 1, "{document}");
            }
        }
        for document in [
            json!({"ingestion": null}),
            json!({"metrics_generator_max_active_series": 1}),
            json!({"metrics_generator": {"processor": {"service_graphs": {"max_items": null}}}}),
            json!({"metrics_generator": {"processor": {"service_graphs": {"wait": "1h"}}}}),
        ] {
            assert_eq!(refused(&document).len(), 1, "{document}");
        }
    }

    #[test]
    fn a_block_around_settings_may_be_null_or_empty() {
        for document in [
            json!({}),
            json!({"metrics_generator": null}),
            json!({"metrics_generator": {"processor": {}}}),
            json!({"metrics_generator": {"processor": {"span_metrics": null}}}),
            json!({"cost_attribution": {"dimensions": {"a.b": "c"}}}),
            json!({"metrics_generator": {"processor": {"span_metrics": {
                "intrinsic_dimensions": {"service": false}}}}}),
        ] {
            assert_eq!(refused(&document), Vec::<String>::new());
        }
    }

    #[test]
    fn only_what_tenants_may_set_is_in_their_part() {
        let document = json!({"ingestion": {"rate_limit_bytes": 1}, "metrics_generator": {
            "max_active_series": 1, "collection_interval": "15s",
            "processor": {"service_graphs": {"wait": "1s", "dimensions": ["a"]}},
        }});
        let want = json!({"metrics_generator": {
            "collection_interval": "15s",
            "processor": {"service_graphs": {"dimensions": ["a"]}},
        }});
        assert_eq!(allowed_part(&document), want);
    }
}
