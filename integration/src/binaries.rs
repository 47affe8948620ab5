//! Finds the programs that the tests start.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, ensure};

/// The built binary of one of our programs.
///
/// They lie in `SPANMILL_BIN_DIR` when that is set, as `make test` does.
/// Otherwise cargo builds them first, so that a test never runs an old one;
/// cargo's own lock keeps test processes from building at once.
///
/// # Errors
///
/// When the build fails or the binary is not there.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let directory = DIRECTORY
        .get_or_init(|| match std::env::var_os("SPANMILL_BIN_DIR") {
            Some(directory) => Ok(directory.into()),
            None => build().map_err(|error| format!("{error:#}")),
        })
        .clone()
        .map_err(anyhow::Error::msg)?;
    let binary = directory.join(name);
    ensure!(binary.exists(), "{} does not exist", binary.display());
    Ok(binary)
}

/// The directory of the libraries that were unpacked beside a tool.
#[must_use]
pub fn libraries(tool: &Path) -> PathBuf {
    let usr = tool.ancestors().nth(2).unwrap_or(Path::new("/usr"));
    usr.join("lib")
        .join(format!("{}-linux-gnu", std::env::consts::ARCH))
}

/// Builds our programs into the directory where this test lies.
fn build() -> anyhow::Result<PathBuf> {
    // <target>/<profile>/deps/<test>
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("test lies too high")?;
    let target = profile.parent().context("test lies too high")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--bins"])
        .args(["-p", "spanmill", "-p", "spanmillctl", "-p", "spangen"])
        .args(["-p", "rw-sender-harness"])
        .arg("--target-dir")
        .arg(target)
        .args(if profile.ends_with("release") {
            &["--release"][..]
        } else {
            &[]
        })
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .output()
        .context("cannot run cargo build")?;
    ensure!(
        output.status.success(),
        "cargo build failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(profile.to_owned())
}
