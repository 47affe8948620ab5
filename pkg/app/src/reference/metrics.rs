//! The page that lists every metric of our own.

use std::fmt::Write;

use telemetry::{MetricDescription, new_metrics_registry};

use crate::own_metrics::OwnMetrics;

const HEAD: &str = "\
# Metrics

<!-- Made by `cargo run -p xtask -- reference` from what is registered; do not edit. -->

What spanmill says about itself at `/metrics`, in OpenMetrics text. A metric by tenant is there while the tenant is, and one by a cause
from the first time on. The series that are made of spans are at `/metrics/generated` and are none of these.

| Metric | Type | |
|---|---|---|
";

/// The page `docs/reference/metrics.md`.
pub fn metrics_page() -> String {
    let mut page = HEAD.to_owned();
    for MetricDescription { name, kind, help } in described() {
        // Writing to a string does not fail.
        let _ = writeln!(page, "| `{name}` | {kind} | {} |", help.replace('|', "\\|"));
    }
    page
}

/// Every metric, by name.
pub(super) fn described() -> Vec<MetricDescription> {
    let mut registry = new_metrics_registry();
    OwnMetrics::register(&mut registry);
    let mut described = registry.describe();
    described.sort_by(|a, b| a.name.cmp(&b.name));
    described
}
