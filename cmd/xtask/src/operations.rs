//! What is under `operations/` holds together with the rest: queries name metrics that
//! there are, and each alert has its section in the runbook.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::layout::Violation;

mod promql;

/// Where metrics are listed, each in backquotes in the first column, with its type.
const LISTED: &str = "docs/reference/metrics.md";
const RUNBOOK: &str = "docs/runbook.md";

/// What the names of generated series begin with.
const GENERATED: &str = "traces_";
/// What Prometheus itself adds.
const OF_PROMETHEUS: [&str; 2] = ["up", "ALERTS"];

/// Keys whose text is a query.
const QUERIES: [&str; 4] = ["expr", "query", "series", "definition"];

/// Checks every YAML and JSON file under `operations` of the workspace at `root`.
///
/// # Errors
///
/// Where a file cannot be read.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let mut documents = Vec::new();
    read_directory(root, &root.join("operations"), &mut documents)?;
    let mut known = listed(&read(&root.join(LISTED))?);
    let mut found = Found::default();
    for (file, document) in &documents {
        found.collect(file, document);
    }
    known.extend(OF_PROMETHEUS.map(str::to_owned));
    known.extend(found.recorded);
    let runbook = read(&root.join(RUNBOOK))?;
    let sections: BTreeSet<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let mut violations = Vec::new();
    for (file, query) in found.queries {
        for name in promql::metric_names(&query) {
            if !name.starts_with(GENERATED) && !known.contains(&name) {
                violations.push(Violation {
                    file: file.clone(),
                    rule: "metric-names",
                    problem: format!("{name} is not in {LISTED}"),
                });
            }
        }
    }
    for (file, alert) in found.alerts {
        if !sections.contains(alert.as_str()) {
            violations.push(Violation {
                file,
                rule: "runbook",
                problem: format!("{alert} has no section in {RUNBOOK}"),
            });
        }
    }
    violations.sort();
    violations.dedup();
    Ok(violations)
}

/// What matters in files, each with the file.
#[derive(Default)]
struct Found {
    queries: Vec<(String, String)>,
    alerts: Vec<(String, String)>,
    /// Names that rules record.
    recorded: Vec<String>,
}

impl Found {
    fn collect(&mut self, file: &str, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    self.field(file, key, value);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect(file, item)),
            _ => {}
        }
    }

    fn field(&mut self, file: &str, key: &str, value: &Value) {
        let Value::String(text) = value else {
            return self.collect(file, value);
        };
        let entry = (file.to_owned(), text.clone());
        match key {
            "alert" => self.alerts.push(entry),
            "record" => self.recorded.push(text.clone()),
            _ if QUERIES.contains(&key) => self.queries.push(entry),
            _ => {}
        }
    }
}

/// The names of samples in the page of metrics.
fn listed(page: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in page.lines() {
        let mut cells = line.strip_prefix("| `").unwrap_or_default().split("` | ");
        let (Some(name), Some(rest)) = (cells.next(), cells.next()) else {
            continue;
        };
        if rest.starts_with("histogram ") {
            let parts = ["_bucket", "_sum", "_count"];
            names.extend(parts.map(|part| format!("{name}{part}")));
        } else {
            names.insert(name.to_owned());
        }
    }
    names
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_directory(
    root: &Path,
    directory: &Path,
    documents: &mut Vec<(String, Value)>,
) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", directory.display());
    for entry in std::fs::read_dir(directory).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            read_directory(root, &path, documents)?;
        } else if matches!(extension, Some("yaml" | "yml" | "json")) {
            let text = read(&path)?;
            // JSON is YAML, too.
            let of_file: Vec<Value> = serde_saphyr::from_multiple(&text)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let file = path.strip_prefix(root).unwrap_or(&path);
            let file = file.to_string_lossy();
            documents.extend(of_file.into_iter().map(|value| (file.to_string(), value)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(alerts: &str) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for directory in ["operations/prometheus", "docs/reference"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let write = |file: &str, text: &str| std::fs::write(root.path().join(file), text).unwrap();
        let page =
            "| `a_total` | counter | A |\n| `b_seconds` | histogram | B |\n\n| c_total | why |\n";
        write("docs/reference/metrics.md", page);
        write("docs/runbook.md", "# Runbook\n\n## Known\n");
        write("operations/prometheus/alerts.yaml", alerts);
        let found = check(root.path()).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_listed_generated_or_recorded_may_be_asked_for() {
        let alerts = "groups: [{rules: [
            {alert: Known, expr: 'sum(a_total) + b_seconds_count > up'},
            {record: job:a, expr: traces_x},
            {alert: Known, expr: 'job:a'}]}]";
        assert_eq!(violations(alerts), [""; 0]);
    }

    #[test]
    fn other_names_and_alerts_without_a_section_are_found() {
        let alerts = "groups: [{rules: [
            {alert: Known, expr: 'b_seconds > c_total'},
            {alert: Unknown, expr: a_total}]}]\n---\n{panels: [{query: {query: 'label_values(d, e)'}}]}";
        let file = "operations/prometheus/alerts.yaml";
        let page = "is not in docs/reference/metrics.md";
        assert_eq!(
            violations(alerts),
            [
                format!("{file}: metric-names: b_seconds {page}"),
                format!("{file}: metric-names: c_total {page}"),
                format!("{file}: metric-names: d {page}"),
                format!("{file}: runbook: Unknown has no section in docs/runbook.md"),
            ]
        );
    }
}
