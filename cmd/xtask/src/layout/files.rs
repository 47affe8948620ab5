//! Rules on source files: their length, and where tests and modules lie.

use std::path::Path;

use anyhow::Context;

use super::Violation;

/// Lines that a file may have before its tests.
const MAX_LINES: usize = 500;
/// Lines of tests that a file may hold itself.
const MAX_TEST_LINES: usize = 150;

/// Checks every `.rs` file under `cmd`, `pkg` and `integration`.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for top in ["cmd", "pkg", "integration"] {
        let directory = root.join(top);
        if directory.is_dir() {
            check_directory(root, &directory, &mut violations)?;
        }
    }
    Ok(violations)
}

fn check_directory(
    root: &Path,
    directory: &Path,
    violations: &mut Vec<Violation>,
) -> anyhow::Result<()> {
    let unreadable = || format!("cannot read {}", directory.display());
    for entry in std::fs::read_dir(directory).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.is_dir() {
            // Build output of crates outside the workspace, such as fuzz targets.
            if !path.ends_with("target") {
                check_directory(root, &path, violations)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let file = path.strip_prefix(root).unwrap_or(&path);
            violations.extend(check_file(file, &text));
        }
    }
    Ok(())
}

/// The rules that one file breaks.
fn check_file(file: &Path, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut report = |rule, problem| {
        violations.push(Violation {
            file: file.to_string_lossy().into_owned(),
            rule,
            problem,
        });
    };
    if file.ends_with("mod.rs") {
        report(
            "no mod.rs",
            "name it after its directory, beside it: foo.rs, not foo/mod.rs".into(),
        );
    }
    if is_tests_only(file) {
        return violations;
    }
    let lines: Vec<&str> = text.lines().collect();
    let code = first_line_of_tests(&lines).unwrap_or(lines.len());
    let tests = lines.len() - code;
    if code > MAX_LINES {
        report(
            "length",
            format!("{code} lines before its tests, at most {MAX_LINES}: split it"),
        );
    }
    if tests > MAX_TEST_LINES {
        report(
            "tests",
            format!(
                "{tests} lines of tests, at most {MAX_TEST_LINES}: move them to {}",
                file.with_extension("").join("tests.rs").display()
            ),
        );
    }
    violations
}

/// `tests.rs`, and what lies in a `tests` directory, may be as long as it likes.
fn is_tests_only(file: &Path) -> bool {
    file.ends_with("tests.rs")
        || file
            .parent()
            .is_some_and(|p| p.iter().any(|n| n == "tests"))
}

/// Where the test module starts: `#[cfg(test)]` above a `mod name {`, with nothing
/// but other attributes between. The attribute above another item, `mod tests;`
/// among them, hides nothing.
fn first_line_of_tests(lines: &[&str]) -> Option<usize> {
    lines.iter().enumerate().position(|(number, line)| {
        *line == "#[cfg(test)]"
            && lines
                .iter()
                .skip(number + 1)
                .find(|next| !next.starts_with("#["))
                .is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
    })
}
