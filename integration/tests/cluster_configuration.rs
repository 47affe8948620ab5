//! The configuration files for clusters can be used: `config/cluster.yaml` and that of the
//! manifests in `operations/kubernetes`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use spanmill_integration::binaries::binary;
use tempfile::TempDir;
use tokio::process::Command;

/// What the files take from the environment; a key has 32 bytes in base64.
const ENVIRONMENT: [(&str, &str); 7] = [
    (
        "SPANMILL_GOSSIP_KEY",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ),
    ("SPANMILL_CLUSTER_SEED", "seed"),
    ("SPANMILL_NODE_TOKEN", "token-of-the-cluster"),
    ("POD_NAME", "spanmill-generator-0"),
    ("POD_IP", "10.0.0.5"),
    ("ZONE", "a"),
    ("SHUTDOWN_DELAY", "5s"),
];

#[tokio::test]
async fn the_file_for_all_nodes_can_be_used() -> anyhow::Result<()> {
    can_be_used(&root().join("config/cluster.yaml")).await
}

#[tokio::test]
async fn the_files_of_the_manifests_can_be_used() -> anyhow::Result<()> {
    let directory = TempDir::new()?;
    let base = root().join("operations/kubernetes/base");
    let mounted = "/etc/spanmill/overrides/overrides.yaml";
    let text = fs::read_to_string(base.join("spanmill.yaml"))?;
    let here = base.join("overrides.yaml").display().to_string();
    ensure!(text.contains(mounted), "{mounted} is not named");
    let file = directory.path().join("spanmill.yaml");
    fs::write(&file, text.replace(mounted, &here))?;
    can_be_used(&file).await
}

/// Without a warning, too.
async fn can_be_used(file: &Path) -> anyhow::Result<()> {
    let output = Command::new(binary("spanmillctl")?)
        .args(["check-config", "--config.expand-env"])
        .arg(file)
        .envs(ENVIRONMENT)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{error}");
    ensure!(said.contains("0 warnings"), "{said}");
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
