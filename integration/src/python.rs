//! Runs the scripts in `integration/python` with the packages of `requirements.txt`.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::patience::patience;

/// Runs a script to its end and gives what it printed.
///
/// # Errors
///
/// When it fails, with what it wrote to standard error; when it does not end;
/// when the Python environment is missing.
pub async fn run(script: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = here.join("../.venv/bin/python");
    ensure!(
        python.exists(),
        "{} is missing: `make test` makes it",
        python.display()
    );
    let ended = Command::new(python)
        .arg(here.join("python").join(script))
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
