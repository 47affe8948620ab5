//! Rules on crates: levels, and the workspace's lints.
//!
//! - A dependency, or a build dependency, points to a lower level.
//! - A dev-dependency points to a lower or the same level, so that a test may
//!   hold two crates of one level against each other, but never upward.
//! - Every crate of the workspace has a level.
//! - Every crate takes the workspace's lints.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Violation;

/// The crates by level, lowest first, as in `ARCHITECTURE.md`.
///
/// A row ending in `*` stands for every crate of that directory.
const LEVELS: [&[&str]; 7] = [
    &["pkg/fixtures", "pkg/model", "pkg/otlp", "pkg/proto"],
    &["pkg/lifecycle", "pkg/telemetry", "pkg/settings"],
    &["pkg/server", "pkg/overrides"],
    &["pkg/registry", "pkg/remote-write", "pkg/ring"],
    &["pkg/distributor", "pkg/generator"],
    &["pkg/app"],
    &["cmd/*", "integration"],
];

struct Crate {
    /// Its directory, relative to the workspace.
    directory: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    directory: String,
    dev: bool,
}

/// Checks the crates of the workspace at `root`.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for member in members(root)? {
        let manifest = format!("{}/Cargo.toml", member.directory);
        let text = std::fs::read_to_string(root.join(&manifest))
            .with_context(|| format!("cannot read {manifest}"))?;
        if !takes_workspace_lints(&text) {
            violations.push(Violation {
                file: manifest.clone(),
                rule: "lints",
                problem: "add `[lints]` with `workspace = true`".into(),
            });
        }
        let Some(level) = level_of(&member.directory) else {
            violations.push(Violation {
                file: manifest,
                rule: "levels",
                problem: format!(
                    "{} has no level: add it to the table in cmd/xtask/src/layout/crates.rs and \
                     in ARCHITECTURE.md",
                    member.directory
                ),
            });
            continue;
        };
        violations.extend(
            member
                .dependencies
                .iter()
                .filter_map(|dependency| judge(&member.directory, level, dependency))
                .map(|problem| Violation {
                    file: manifest.clone(),
                    rule: "levels",
                    problem,
                }),
        );
    }
    Ok(violations)
}

/// What is wrong with one dependency of a crate on `level`, if anything.
fn judge(from: &str, level: usize, dependency: &Dependency) -> Option<String> {
    let to = &dependency.directory;
    // A crate without a level is reported by itself.
    let target = level_of(to)?;
    if target < level || (dependency.dev && target == level) {
        return None;
    }
    let direction = if target == level {
        "sideways"
    } else {
        "upward"
    };
    let dev = if dependency.dev { "dev-" } else { "" };
    Some(format!(
        "{from} (level {level}) has a {dev}dependency {direction} on {to} (level {target})"
    ))
}

fn level_of(directory: &str) -> Option<usize> {
    LEVELS.iter().position(|rows| {
        rows.iter().any(|row| match row.strip_suffix('*') {
            Some(parent) => directory.starts_with(parent),
            None => *row == directory,
        })
    })
}

/// Whether a manifest has `workspace = true` in its `[lints]` table.
fn takes_workspace_lints(manifest: &str) -> bool {
    let mut table = "";
    manifest.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            table = line;
        }
        table == "[lints]" && line.replace(' ', "") == "workspace=true"
    })
}

/// The workspace's crates, as `cargo metadata` tells them.
fn members(root: &Path) -> anyhow::Result<Vec<Crate>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    let root = text(&metadata, "workspace_root")?;
    list(&metadata, "packages")?
        .iter()
        .map(|package| read_package(Path::new(root), package))
        .collect()
}

fn read_package(root: &Path, package: &Value) -> anyhow::Result<Crate> {
    let manifest = Path::new(text(package, "manifest_path")?);
    let dependencies = list(package, "dependencies")?
        .iter()
        .filter_map(|dependency| {
            // Only crates of this workspace are given by a path.
            let path = dependency.get("path")?.as_str()?;
            Some(Dependency {
                directory: relative(root, Path::new(path)),
                dev: dependency.get("kind").is_some_and(|kind| kind == "dev"),
            })
        })
        .collect();
    Ok(Crate {
        directory: relative(root, manifest.parent().unwrap_or(root)),
        dependencies,
    })
}

fn text<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    value
        .get(key)
        .and_then(Value::as_str)
        .with_context(|| format!("cargo metadata has no text {key}"))
}

fn list<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a Vec<Value>> {
    value
        .get(key)
        .and_then(Value::as_array)
        .with_context(|| format!("cargo metadata has no list {key}"))
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned()
}
