use std::collections::BTreeSet;

use overrides::OverridesMetrics;
use telemetry::new_metrics_registry;

use super::*;
use crate::config::Loaded;
use crate::own_metrics::OwnMetrics;

#[test]
fn every_name_is_made_of_metrics_that_there_are_and_none_is_there_twice() {
    let mut registry = new_metrics_registry();
    OwnMetrics::register(&mut registry);
    let ours: BTreeSet<String> = registry
        .describe()
        .into_iter()
        .map(|ours| ours.name)
        .collect();
    for name in NAMES {
        for of in name.of {
            assert!(ours.contains(of.metric), "{}: {}", name.name, of.metric);
        }
    }
    let described = describe();
    let names: BTreeSet<_> = described.iter().map(|metric| &metric.name).collect();
    assert_eq!(names.len(), described.len());
}

#[test]
fn limits_are_those_in_force_of_tenants_with_an_entry_and_of_all_others() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = directory.path().join("runtime.yaml");
    let entry = "overrides: {acme: {metrics_generator: {max_active_series: 7}}, b: {}}";
    std::fs::write(&runtime, entry).unwrap();
    let defaults = "defaults: {metrics_generator: {max_active_series: 5}}";
    let config = format!(
        "overrides: {{{defaults}, per_tenant_override_config: {}}}",
        runtime.display()
    );
    let loaded = Loaded::from_text("test", config).unwrap();
    let (tasks, shutdown) = (
        lifecycle::TaskGroup::default(),
        lifecycle::Shutdown::default(),
    );
    let metrics = OverridesMetrics::default();
    let overrides = Overrides::start(loaded.overrides, metrics, &tasks, &shutdown).unwrap();
    let mut text = String::new();
    append(&mut text, &overrides);
    let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.sort_unstable();
    let limit = "limit_name=\"metrics_generator_max_active_series\"";
    assert_eq!(
        lines,
        [
            format!("tempo_limits_defaults{{{limit}}} 5"),
            format!("tempo_limits_overrides{{{limit},user=\"acme\"}} 7"),
            format!("tempo_limits_overrides{{{limit},user=\"b\"}} 5"),
        ]
    );
}
