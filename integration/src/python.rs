//! Runs the scripts in `integration/python` with the packages of `requirements.txt`, or
//! of `requirements-older.txt`, and those in `integration/node`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::patience::patience;
use crate::process::Process;

const PYTHON: &str = "../.venv/bin/python";
const OLDER_PYTHON: &str = "../.venv-older/bin/python";
const NODE: &str = "../.venv/bin/node";

/// A script that serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    _directory: TempDir,
}

impl Server {
    /// Starts a script, which takes a moment until it serves.
    ///
    /// # Errors
    ///
    /// When it cannot be started; when the Python environment is missing.
    pub fn start(script: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let script = here().join("python").join(script).display().to_string();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let arguments: Vec<_> = std::iter::once(script).chain(arguments).collect();
        Ok(Self {
            process: Process::start("python", &installed(PYTHON)?, &arguments, directory.path())?,
            _directory: directory,
        })
    }

    /// What it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// Runs a script with the packages of `requirements.txt` to its end and gives what it
/// printed.
///
/// # Errors
///
/// When it fails, with what it wrote to standard error; when it does not end;
/// when the Python environment is missing.
pub async fn run(script: &str, arguments: &[&str]) -> anyhow::Result<String> {
    run_with(PYTHON, &format!("python/{script}"), arguments).await
}

/// As [`run`], with the packages of `requirements-older.txt`.
///
/// # Errors
///
/// As [`run`].
pub async fn run_older(script: &str, arguments: &[&str]) -> anyhow::Result<String> {
    run_with(OLDER_PYTHON, &format!("python/{script}"), arguments).await
}

/// As [`run`], with Node and the packages of `node/package-lock.json`.
///
/// # Errors
///
/// As [`run`].
pub async fn run_node(script: &str, arguments: &[&str]) -> anyhow::Result<String> {
    run_with(NODE, &format!("node/{script}"), arguments).await
}

async fn run_with(program: &str, script: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let ended = Command::new(installed(program)?)
        .arg(here().join(script))
        .args(arguments)
        // Python's requests would trust these in place of the authority of a test.
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(patience(), ended)
        .await
        .with_context(|| format!("{script} does not end"))??;
    ensure!(
        output.status.success(),
        "{script} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// A program of the environments that `make test-tools` makes.
fn installed(program: &str) -> anyhow::Result<PathBuf> {
    let path = here().join(program);
    ensure!(
        path.exists(),
        "{} is missing: `make test` makes it",
        path.display()
    );
    Ok(path)
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
