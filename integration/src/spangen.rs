//! Runs spangen and reads its report.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::process::{Child, Command};

use crate::binaries::binary;

/// A spangen that runs, killed when dropped.
#[derive(Debug)]
pub struct Spangen(Child);

/// What it said at its end.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Spans by what became of them.
    pub spans: Spans,
    /// Spans accepted, over the length of the run.
    pub accepted_per_second: f64,
    /// Sendings of requests beyond the first.
    pub retries: u64,
    /// How long requests took.
    pub push_seconds: Quantiles,
    /// Spans refused or of an unknown fate, by reason.
    pub reasons: BTreeMap<String, u64>,
}

/// Counts of spans.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Spans {
    /// All.
    pub sent: u64,
    /// Those that the server took.
    pub accepted: u64,
    /// Those that it did not, for good or until the client gave up.
    pub refused: u64,
    /// Those without an answer.
    pub unknown: u64,
}

/// Quantiles in seconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// 99 % took at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Spangen {
    /// Starts to send as a tenant, with spangen's arguments.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(endpoint: &str, tenant: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let child = Command::new(binary("spangen")?)
            .args(["--json", "--quiet", "--endpoint", endpoint])
            .args(["--tenant", tenant])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start spangen")?;
        Ok(Self(child))
    }

    /// Waits for its end, which its arguments must bring.
    ///
    /// # Errors
    ///
    /// When it says nothing that can be read.
    pub async fn report(self) -> anyhow::Result<Report> {
        let output = self.0.wait_with_output().await?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(!text.is_empty(), "spangen ended with {}", output.status);
        serde_json::from_str(&text).context("spangen gave no report")
    }
}
