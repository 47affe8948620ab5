//! The manifests in `operations/kubernetes` are of Kubernetes' schemas and hold together,
//! and their check finds what is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use spanmill_integration::python;
use tempfile::TempDir;

const CHECK: &str = "check_manifests.py";

#[tokio::test]
async fn every_overlay_is_of_the_schemas_and_names_what_is_there() -> anyhow::Result<()> {
    let manifests = manifests();
    let printed = python::run(CHECK, &[manifests.to_str().unwrap()]).await?;
    ensure!(printed.starts_with("3 kustomizations, "), "{printed}");
    Ok(())
}

/// File, what stands there, what stands there instead, what the check says.
const MISTAKES: [(&str, &str, &str, &str); 14] = [
    (
        "base/generator.yaml",
        "minReadySeconds: 15",
        "minReadySecond: 15",
        "Additional properties are not allowed ('minReadySecond' was unexpected)",
    ),
    (
        "base/generator.yaml",
        "replicas: 3",
        "replicas: three",
        "'three' is not of type 'integer'",
    ),
    (
        "base/generator.yaml",
        "serviceName: spanmill-generator",
        "serviceName: spanmill-distributor",
        "serviceName is not a headless service",
    ),
    (
        "base/generator.yaml",
        "terminationGracePeriodSeconds: 45",
        "terminationGracePeriodSeconds: 30",
        "is killed before a stop of 30 s can end",
    ),
    (
        "base/generator.yaml",
        "mountPath: /var/lib/spanmill",
        "mountPath: /data",
        "no volume at /var/lib/spanmill",
    ),
    (
        "base/generator.yaml",
        "secretRef: {name: spanmill-cluster}",
        "secretRef: {name: spanmill}",
        "${SPANMILL_GOSSIP_KEY} of /etc/spanmill/config/spanmill.yaml is not in its environment",
    ),
    (
        "base/distributor-service.yaml",
        "component: distributor\n  ports",
        "component: receiver\n  ports",
        "selects no pod",
    ),
    (
        "base/distributor-disruption.yaml",
        "      app.kubernetes.io/component: distributor",
        "      app.kubernetes.io/component: receiver",
        "selects no pod",
    ),
    (
        "base/gossip-network-policy.yaml",
        "protocol: UDP",
        "protocol: TCP",
        "no port gossip over TCP in a pod that it selects",
    ),
    (
        "base/spanmill.yaml",
        "spanmill-gossip:7946",
        "spanmill-gossip:7947",
        "spanmill-gossip:7947 is no service",
    ),
    (
        "base/spanmill.yaml",
        "0.0.0.0:4317",
        "0.0.0.0:4319",
        "nothing listens at its port otlp-grpc",
    ),
    (
        "base/kustomization.yaml",
        "  - gossip-service.yaml\n",
        "",
        "gossip-service.yaml: is in no kustomization",
    ),
    (
        "overlays/autoscaling/generator-autoscaler.yaml",
        "kind: StatefulSet",
        "kind: Deployment",
        "which does not exist",
    ),
    (
        "overlays/zones/kustomization.yaml",
        "topologySpreadConstraints/0/topologyKey",
        "topologySpreadConstraints/1/topologyKey",
        "'kubernetes.io/hostname' is there",
    ),
];

#[tokio::test]
async fn mistakes_in_manifests_are_found() -> anyhow::Result<()> {
    let copies = TempDir::new()?;
    let mut directories = vec![copy_to(&copies.path().join("right"))?];
    for (number, (file, from, to, _)) in MISTAKES.iter().enumerate() {
        let copy = copy_to(&copies.path().join(format!("wrong-{number}")))?;
        let path = Path::new(&copy).join(file);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{file}: {from:?} is not there");
        fs::write(&path, text.replace(from, to))?;
        directories.push(copy);
    }
    let directories: Vec<_> = directories.iter().map(String::as_str).collect();
    let checked = python::run(CHECK, &directories).await;
    let said = checked.err().context("everything passes")?.to_string();
    for (number, (file, _, to, want)) in MISTAKES.iter().enumerate() {
        let prefix = format!("wrong-{number}/");
        let mut lines = said.lines().filter(|line| line.contains(&prefix));
        let is_found = lines.any(|line| line.contains(want));
        ensure!(is_found, "{file}, {to:?}: {said}");
    }
    ensure!(!said.contains("right/"), "{said}");
    Ok(())
}

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../operations/kubernetes")
}

fn copy_to(directory: &Path) -> anyhow::Result<String> {
    fs::create_dir(directory)?;
    copy_directory(&manifests(), directory)?;
    Ok(directory.to_str().unwrap().to_owned())
}

fn copy_directory(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
