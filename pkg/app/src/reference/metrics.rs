//! The page that lists every metric of our own.

use std::fmt::Write;

use telemetry::{MetricDescription, new_metrics_registry};

use crate::own_metrics::OwnMetrics;
use crate::tempo_names;

const HEAD: &str = "\
# Metrics

<!-- Made by `cargo run -p xtask -- reference` from what is registered; do not edit. -->

What spanmill says about itself at `/metrics`, in OpenMetrics text. A metric by tenant is there while the tenant is, and one by a cause
from the first time on. The series that are made of spans are at `/metrics/generated` and are none of these.

| Metric | Type | |
|---|---|---|
";

const TEMPO_HEAD: &str = "
## Under Tempo's names

For dashboards and alerts that are made for Tempo, `/metrics` has the same values under the names that these ask for, unless
`tempo_metric_names` is `false`. Where several samples come to the same labels, they are summed.

| Metric | Type | |
|---|---|---|
";

const LEFT_OUT_HEAD: &str = "
Left out, since their meaning could not be given exactly:

| Metric | Why |
|---|---|
";

/// The page `docs/reference/metrics.md`.
pub fn metrics_page() -> String {
    let mut page = HEAD.to_owned();
    write_rows(&described(), &mut page);
    page.push_str(TEMPO_HEAD);
    write_rows(&tempo_names::describe(), &mut page);
    page.push_str(LEFT_OUT_HEAD);
    for (name, why) in tempo_names::LEFT_OUT {
        // Writing to a string does not fail.
        let _ = writeln!(page, "| {name} | {why} |");
    }
    page
}

fn write_rows(metrics: &[MetricDescription], page: &mut String) {
    for MetricDescription { name, kind, help } in metrics {
        let _ = writeln!(page, "| `{name}` | {kind} | {} |", help.replace('|', "\\|"));
    }
}

/// Every metric, by name.
pub(super) fn described() -> Vec<MetricDescription> {
    let mut registry = new_metrics_registry();
    OwnMetrics::register(&mut registry);
    let mut described = registry.describe();
    described.sort_by(|a, b| a.name.cmp(&b.name));
    described
}
