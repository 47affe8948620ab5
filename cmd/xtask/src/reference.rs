//! The generated pages in `docs/reference`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The pages, by the names of their files, for which `spanmillctl reference` is asked.
const PAGES: [&str; 4] = [
    "configuration.md",
    "configuration.schema.json",
    "metrics.md",
    "overrides.schema.json",
];

/// What is to be done with the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// They are written.
    Write,
    /// They are compared with what would be written.
    Check,
}

/// Makes the pages of the workspace at `root`, by the `spanmillctl` in `bin_dir`, or by
/// one that is built. Gives the names of those that were not as they should be.
///
/// # Errors
///
/// Where `spanmillctl` fails, or a page cannot be written.
pub(crate) fn make(
    root: &Path,
    bin_dir: Option<PathBuf>,
    task: Task,
) -> anyhow::Result<Vec<&'static str>> {
    let mut stale = Vec::new();
    for page in PAGES {
        let path = root.join("docs/reference").join(page);
        let made = ask(root, bin_dir.as_deref(), page)?;
        if std::fs::read(&path).is_ok_and(|there| there == made) {
            continue;
        }
        stale.push(page);
        if task == Task::Write {
            std::fs::write(&path, made)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(stale)
}

fn ask(root: &Path, bin_dir: Option<&Path>, page: &str) -> anyhow::Result<Vec<u8>> {
    let mut command = match bin_dir {
        Some(directory) => Command::new(directory.join("spanmillctl")),
        None => {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut command = Command::new(cargo);
            command.args(["run", "--quiet", "-p", "spanmillctl", "--"]);
            command
        }
    };
    let output = command
        .args(["reference", page])
        .current_dir(root)
        .output()
        .context("cannot run spanmillctl")?;
    ensure!(
        output.status.success(),
        "spanmillctl failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_page_that_differs_is_found_and_mended() {
        let root = tempfile::tempdir().unwrap();
        let pages = root.path().join("docs/reference");
        std::fs::create_dir_all(&pages).unwrap();
        let program = root.path().join("spanmillctl");
        std::fs::write(&program, "#!/bin/sh\necho page $2\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(pages.join(PAGES[1]), format!("page {}\n", PAGES[1])).unwrap();

        let make = |task| make(root.path(), Some(root.path().to_owned()), task).unwrap();
        let stale = [PAGES[0], PAGES[2], PAGES[3]];
        assert_eq!(make(Task::Check), stale);
        assert_eq!(make(Task::Write), stale);
        assert_eq!(make(Task::Check), [""; 0]);
        let page = std::fs::read_to_string(pages.join(PAGES[0])).unwrap();
        assert_eq!(page, "page configuration.md\n");
    }
}
