use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{Violation, check};

const WITH_LINTS: &str = "[lints]\nworkspace = true\n";

/// A workspace of empty crates: directory, text below `[package]`.
fn workspace(crates: &[(&str, &str)]) -> TempDir {
    let root = TempDir::new().unwrap();
    let members: Vec<&str> = crates.iter().map(|(directory, _)| *directory).collect();
    write(
        root.path(),
        "Cargo.toml",
        &format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n[workspace.lints.rust]\n"),
    );
    for (directory, below) in crates {
        let name = directory.rsplit('/').next().unwrap();
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{below}"
        );
        write(root.path(), &format!("{directory}/Cargo.toml"), &manifest);
        write(root.path(), &format!("{directory}/src/lib.rs"), "");
    }
    root
}

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn violation(file: &str, rule: &'static str, problem: &str) -> Violation {
    Violation {
        file: file.into(),
        rule,
        problem: problem.into(),
    }
}

fn only_model() -> TempDir {
    workspace(&[("pkg/model", WITH_LINTS)])
}

#[test]
fn tree_that_keeps_the_rules_has_no_violations() {
    let depends = format!("{WITH_LINTS}[dependencies]\nmodel = {{ path = \"../../pkg/model\" }}\n");
    let root = workspace(&[
        ("pkg/model", WITH_LINTS),
        ("pkg/server", &depends),
        ("cmd/tool", &depends),
    ]);
    assert_eq!(check(root.path()).unwrap(), []);
}

#[test]
fn upward_and_sideways_dependencies_are_named_with_both_levels() {
    let root = workspace(&[
        (
            "pkg/model",
            &format!("{WITH_LINTS}[dev-dependencies]\nserver = {{ path = \"../server\" }}\n"),
        ),
        ("pkg/server", WITH_LINTS),
        (
            "pkg/overrides",
            &format!("{WITH_LINTS}[build-dependencies]\nserver = {{ path = \"../server\" }}\n"),
        ),
    ]);
    assert_eq!(
        check(root.path()).unwrap(),
        [
            violation(
                "pkg/model/Cargo.toml",
                "levels",
                "pkg/model (level 0) has a dev-dependency upward on pkg/server (level 2)",
            ),
            violation(
                "pkg/overrides/Cargo.toml",
                "levels",
                "pkg/overrides (level 2) has a dependency sideways on pkg/server (level 2)",
            ),
        ]
    );
}

#[test]
fn dev_dependency_within_a_level_is_allowed() {
    let root = workspace(&[
        ("pkg/proto", WITH_LINTS),
        (
            "pkg/otlp",
            &format!("{WITH_LINTS}[dev-dependencies]\nproto = {{ path = \"../proto\" }}\n"),
        ),
    ]);
    assert_eq!(check(root.path()).unwrap(), []);
}

#[test]
fn crate_without_a_level_is_reported() {
    let root = workspace(&[("pkg/util", WITH_LINTS)]);
    assert_eq!(
        check(root.path()).unwrap(),
        [violation(
            "pkg/util/Cargo.toml",
            "levels",
            "pkg/util has no level: add it to the table in cmd/xtask/src/layout/crates.rs and in \
             ARCHITECTURE.md",
        )]
    );
}

#[test]
fn crate_without_the_workspace_lints_is_reported() {
    let root = workspace(&[("pkg/model", "[dependencies]\n")]);
    assert_eq!(
        check(root.path()).unwrap(),
        [violation(
            "pkg/model/Cargo.toml",
            "lints",
            "add `[lints]` with `workspace = true`",
        )]
    );
}

#[test]
fn mod_rs_is_reported_even_among_tests() {
    let root = only_model();
    write(root.path(), "pkg/model/tests/common/mod.rs", "");
    assert_eq!(
        check(root.path()).unwrap(),
        [violation(
            "pkg/model/tests/common/mod.rs",
            "no mod.rs",
            "name it after its directory, beside it: foo.rs, not foo/mod.rs",
        )]
    );
}

#[test]
fn file_may_have_500_lines_before_its_tests_and_150_of_tests() {
    let root = only_model();
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(147));
    let longest = "\n".repeat(500) + &tests;
    write(root.path(), "pkg/model/src/labels.rs", &longest);
    assert_eq!(check(root.path()).unwrap(), []);

    let longer = "\n".repeat(501) + &tests.replace("}\n", "\n}\n");
    write(root.path(), "pkg/model/src/labels.rs", &longer);
    assert_eq!(
        check(root.path()).unwrap(),
        [
            violation(
                "pkg/model/src/labels.rs",
                "length",
                "501 lines before its tests, at most 500: split it",
            ),
            violation(
                "pkg/model/src/labels.rs",
                "tests",
                "151 lines of tests, at most 150: move them to pkg/model/src/labels/tests.rs",
            ),
        ]
    );
}

#[test]
fn files_of_tests_may_be_of_any_length_and_build_output_is_not_read() {
    let root = only_model();
    let long = "\n".repeat(2000);
    for file in [
        "pkg/model/src/labels/tests.rs",
        "pkg/model/tests/behaviour.rs",
        "pkg/model/fuzz/target/generated.rs",
    ] {
        write(root.path(), file, &long);
    }
    assert_eq!(check(root.path()).unwrap(), []);
}

/// `#[cfg(test)]` above a helper or `mod tests;` does not start the tests.
#[test]
fn item_for_tests_only_does_not_hide_the_lines_after_it() {
    let root = only_model();
    let text =
        "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nfn helper() {}\n".to_owned() + &"\n".repeat(497);
    write(root.path(), "pkg/model/src/labels.rs", &text);
    assert_eq!(
        check(root.path()).unwrap(),
        [violation(
            "pkg/model/src/labels.rs",
            "length",
            "501 lines before its tests, at most 500: split it",
        )]
    );
}
