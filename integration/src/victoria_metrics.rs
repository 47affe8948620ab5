//! A real VictoriaMetrics: takes remote write and gives back what it stored.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::exposition::Labels;
use crate::http::{client, text_of};
use crate::patience::eventually;
use crate::ports::Port;
use crate::process::Process;

/// A running VictoriaMetrics with a data directory of its own.
#[derive(Debug)]
pub struct VictoriaMetrics {
    process: Process,
    port: Port,
    _directory: TempDir,
}

/// One series with all that is stored of it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct StoredSeries {
    /// Its labels, the metric's name among them as `__name__`.
    #[serde(rename = "metric")]
    pub labels: Labels,
    /// Oldest first.
    pub values: Vec<f64>,
    /// Milliseconds since 1970, one for each value.
    pub timestamps: Vec<i64>,
}

impl VictoriaMetrics {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When there is no `victoria-metrics`, or it does not get ready.
    pub async fn start() -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let port = Port::reserve()?;
        let data = directory.path().join("data");
        let arguments = [
            format!("-httpListenAddr={}", port.address()),
            format!("-storageDataPath={}", data.display()),
            "-memory.allowedBytes=64MB".into(),
            "-loggerLevel=WARN".into(),
        ];
        // `make test` says where it is; otherwise it is looked up on the `PATH`.
        let program = std::env::var_os("SPANMILL_VICTORIA_METRICS")
            .map_or_else(|| "victoria-metrics".into(), PathBuf::from);
        let process = Process::start("victoria-metrics", &program, &arguments, directory.path())
            .context("`make test` fetches victoria-metrics")?;
        let started = Self {
            process,
            port,
            _directory: directory,
        };
        let ready = started.url("/health");
        eventually("victoria-metrics to be ready", || {
            text_of(client().get(&ready))
        })
        .await?;
        Ok(started)
    }

    /// The address of one of its pages.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.port.address())
    }

    /// All that is stored of the series of a selector, as it came.
    ///
    /// # Errors
    ///
    /// What it has against the selector.
    pub async fn stored(&self, selector: &str) -> anyhow::Result<Vec<StoredSeries>> {
        // What has just come is not seen otherwise.
        text_of(client().get(self.url("/internal/force_flush"))).await?;
        let mut url = reqwest::Url::parse(&self.url("/api/v1/export"))?;
        url.query_pairs_mut().append_pair("match[]", selector);
        let text = text_of(client().get(url)).await?;
        let lines = text.lines().map(serde_json::from_str);
        Ok(lines.collect::<Result<_, _>>()?)
    }

    /// Stops it and waits for its end.
    ///
    /// # Errors
    ///
    /// When it does not end well.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let status = self.process.stop().await?;
        ensure!(status.success(), "victoria-metrics ended with {status}");
        Ok(())
    }
}
