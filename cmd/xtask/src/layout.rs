//! The layout rules: which crate may know which, and how long a file may be.

use std::fmt;
use std::path::Path;

mod crates;
mod files;

/// One broken rule: where, which, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// The file, relative to the workspace.
    pub(crate) file: String,
    /// The rule's short name.
    pub(crate) rule: &'static str,
    /// What is wrong, with the figures.
    pub(crate) problem: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.rule, self.problem)
    }
}

/// Checks every rule on the workspace at `root`.
///
/// # Errors
///
/// When the tree or `cargo metadata` cannot be read.
pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let mut violations = crates::check(root)?;
    violations.extend(files::check(root)?);
    violations.sort();
    Ok(violations)
}

#[cfg(test)]
mod tests;
