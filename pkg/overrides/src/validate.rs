//! What the types of a [`TenantConfig`] cannot say.
//!
//! Problems bear the paths of overrides' layout, from the tenant down.

use std::time::Duration;

use regex::Regex;
use settings::{Problem, duration};

use crate::tenant_config::TenantConfig;
use crate::tenant_config::registry::RegistryConfig;
use crate::tenant_config::remote_write::validate_list;
use crate::tenant_config::span_metrics::{
    DimensionMapping, FilterPolicy, MatchType, PolicyAttribute, PolicyMatch,
};

const MIN_COLLECTION_INTERVAL: Duration = Duration::from_secs(1);

/// Buckets that a histogram may have: each is a series for every label set.
const MAX_BUCKETS: usize = 1_000;

/// Filter keys that are span fields; others name an attribute.
const FILTER_FIELDS: [&str; 3] = ["kind", "name", "status"];

/// Every problem that a layer has by itself.
pub(crate) fn validate(config: &TenantConfig) -> Vec<Problem> {
    let mut problems = Found(Vec::new());
    problems.registry(&config.registry);
    problems.positive(
        "metrics_generator.ingestion_time_range_slack",
        config.ingestion_time_range_slack,
    );
    for (key, problem) in validate_list(&config.remote_write) {
        problems.add(format!("metrics_generator.remote_write{key}"), problem);
    }
    for (name, value) in &config.remote_write_headers {
        let path = format!("metrics_generator.remote_write_headers.{name}");
        if !is_header_name(name) {
            problems.add(path, "is not a header name");
        } else if !value.expose().chars().all(|c| c == '\t' || !c.is_control()) {
            problems.add(path, "may not have line breaks or other control characters");
        }
    }

    let path = "metrics_generator.processor.span_metrics";
    let span_metrics = &config.span_metrics;
    problems.buckets(path, &span_metrics.histogram_buckets);
    problems.names(&format!("{path}.dimensions"), &span_metrics.dimensions);
    problems.mappings(path, &span_metrics.dimension_mappings);
    problems.filters(path, &span_metrics.filter_policies);

    let path = "metrics_generator.processor.service_graphs";
    let graphs = &config.service_graphs;
    problems.buckets(path, &graphs.histogram_buckets);
    problems.names(&format!("{path}.dimensions"), &graphs.dimensions);
    problems.filters(path, &graphs.filter_policies);
    problems.positive(&format!("{path}.wait"), graphs.wait);
    if graphs.max_items == 0 {
        problems.add(format!("{path}.max_items"), "must be above 0");
    }

    let path = "metrics_generator.processor.host_info";
    if config.host_info.host_identifiers.is_empty() {
        problems.add(
            format!("{path}.host_identifiers"),
            "needs at least one attribute",
        );
    }
    problems.names(
        &format!("{path}.host_identifiers"),
        &config.host_info.host_identifiers,
    );
    if config.host_info.metric_name.is_empty() {
        problems.add(format!("{path}.metric_name"), "may not be empty");
    }
    problems.0
}

/// What may be meant, but hardly is, once the layers are together.
pub(crate) fn doubtful(config: &TenantConfig) -> Option<String> {
    let registry = &config.registry;
    (registry.stale_duration < registry.collection_interval).then(|| {
        format!(
            "registry.stale_duration ({}) is shorter than collection_interval ({}): series that \
             get no span in time end uncollected",
            duration::format(registry.stale_duration),
            duration::format(registry.collection_interval)
        )
    })
}

struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(path, message));
    }

    fn registry(&mut self, registry: &RegistryConfig) {
        if registry.collection_interval < MIN_COLLECTION_INTERVAL {
            self.add(
                "metrics_generator.collection_interval",
                format!(
                    "{} is below the minimum of 1s",
                    duration::format(registry.collection_interval)
                ),
            );
        }
        let path = "metrics_generator.registry";
        self.positive(&format!("{path}.stale_duration"), registry.stale_duration);
        for (key, length) in [
            ("max_label_name_length", registry.max_label_name_length),
            ("max_label_value_length", registry.max_label_value_length),
        ] {
            if length == 0 {
                self.add(format!("{path}.{key}"), "must be above 0");
            }
        }
        for name in registry.external_labels.keys() {
            let label = format!("{path}.external_labels.{name}");
            self.label_name(label, name);
        }
        for (key, name) in [
            ("inject_tenant_id_as", &registry.inject_tenant_id_as),
            ("instance_label_name", &registry.instance_label_name),
        ] {
            if !name.is_empty() {
                self.label_name(format!("{path}.{key}"), name);
            }
        }
        self.label_name(
            "metrics_generator.trace_id_label_name".to_owned(),
            &registry.trace_id_label_name,
        );
        let factor = registry.native_histogram_bucket_factor;
        if !(factor > 1.0 && factor.is_finite()) {
            self.add(
                "metrics_generator.native_histogram_bucket_factor",
                format!("{factor} is not accepted; expected a number above 1"),
            );
        }
    }

    fn positive(&mut self, path: &str, value: Duration) {
        if value.is_zero() {
            self.add(path, "must be longer than 0s");
        }
    }

    fn label_name(&mut self, path: String, name: &str) {
        let mut characters = name.chars();
        let starts = characters
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !starts || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.add(
                path,
                format!(
                    "{name:?} is not a label name: letters, digits and _ are accepted, and no digit \
                     first"
                ),
            );
        } else if name == "__name__" {
            self.add(path, "the label \"__name__\" is the name of the metric");
        }
    }

    fn names(&mut self, path: &str, names: &[String]) {
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() {
                self.add(format!("{path}[{index}]"), "may not be empty");
            }
        }
    }

    fn buckets(&mut self, path: &str, buckets: &[f64]) {
        let path = format!("{path}.histogram_buckets");
        if buckets.is_empty() {
            self.add(path, "needs at least one bound");
            return;
        }
        if buckets.len() > MAX_BUCKETS {
            self.add(
                path,
                format!(
                    "has {} bounds; at most {MAX_BUCKETS} are accepted",
                    buckets.len()
                ),
            );
            return;
        }
        let mut below = None;
        for (index, bound) in buckets.iter().enumerate() {
            if !bound.is_finite() {
                self.add(
                    format!("{path}[{index}]"),
                    "must be a finite number; the bucket +Inf is always there",
                );
                return;
            }
            if let Some(below) = below
                && *bound <= below
            {
                self.add(
                    format!("{path}[{index}]"),
                    format!("{bound} is not above the bound before it ({below})"),
                );
                return;
            }
            below = Some(*bound);
        }
    }

    fn mappings(&mut self, path: &str, mappings: &[DimensionMapping]) {
        for (index, mapping) in mappings.iter().enumerate() {
            let path = format!("{path}.dimension_mappings[{index}]");
            if mapping.name.is_empty() {
                self.add(format!("{path}.name"), "may not be empty");
            }
            if mapping.source_labels.is_empty() {
                self.add(
                    format!("{path}.source_labels"),
                    "needs at least one attribute",
                );
            }
            self.names(&format!("{path}.source_labels"), &mapping.source_labels);
        }
    }

    fn filters(&mut self, path: &str, policies: &[FilterPolicy]) {
        for (index, policy) in policies.iter().enumerate() {
            let path = format!("{path}.filter_policies[{index}]");
            if policy.include.is_none() && policy.exclude.is_none() {
                self.add(path, "needs include or exclude");
                continue;
            }
            for (side, spans) in [("include", &policy.include), ("exclude", &policy.exclude)] {
                if let Some(spans) = spans {
                    self.policy_match(&format!("{path}.{side}"), spans);
                }
            }
        }
    }

    fn policy_match(&mut self, path: &str, spans: &PolicyMatch) {
        for (index, PolicyAttribute { key, value }) in spans.attributes.iter().enumerate() {
            let path = format!("{path}.attributes[{index}]");
            let attribute = key
                .strip_prefix("span.")
                .or_else(|| key.strip_prefix("resource."));
            if attribute.is_none_or(str::is_empty) && !FILTER_FIELDS.contains(&key.as_str()) {
                self.add(
                    format!("{path}.key"),
                    format!(
                        "{key:?} is not accepted; expected span. or resource. before an attribute, \
                         or one of kind, name, status"
                    ),
                );
            }
            if spans.match_type == MatchType::Regex
                && let Err(error) = Regex::new(&value.to_string())
            {
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default().trim();
                self.add(
                    format!("{path}.value"),
                    format!(
                        "is not a regular expression: {}",
                        reason.trim_start_matches("error: ")
                    ),
                );
            }
        }
    }
}

/// Source: RFC 9110, 5.6.2, `token`.
fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c))
}
