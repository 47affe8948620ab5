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
    arguments: Vec<String>,
    port: Port,
    directory: TempDir,
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

#[derive(Deserialize)]
struct Answer {
    data: AnswerData,
}

#[derive(Deserialize)]
struct AnswerData {
    result: Vec<AnswerSeries>,
}

#[derive(Deserialize)]
struct AnswerSeries {
    /// Seconds since 1970, and the value as text.
    value: (f64, String),
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
        let process = run(&arguments, &directory)?;
        let started = Self {
            process,
            arguments: arguments.into(),
            port,
            directory,
        };
        started.ready().await?;
        Ok(started)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let ready = self.url("/health");
        eventually("victoria-metrics to be ready", || {
            text_of(client().get(&ready))
        })
        .await?;
        Ok(())
    }

    /// Stops it, until [`VictoriaMetrics::bring_up`].
    ///
    /// # Errors
    ///
    /// When it does not end well.
    pub async fn take_down(&mut self) -> anyhow::Result<()> {
        let status = self.process.stop().await?;
        ensure!(status.success(), "victoria-metrics ended with {status}");
        Ok(())
    }

    /// Starts it again, on the same port and with the same data.
    ///
    /// # Errors
    ///
    /// When it does not get ready.
    pub async fn bring_up(&mut self) -> anyhow::Result<()> {
        self.process = run(&self.arguments, &self.directory)?;
        self.ready().await
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

    /// The value of a MetricsQL expression at a time in seconds, or now, that must give
    /// exactly one series.
    ///
    /// # Errors
    ///
    /// What it has against the expression, and when there is none or more than one.
    pub async fn value(&self, expression: &str, time: Option<f64>) -> anyhow::Result<f64> {
        text_of(client().get(self.url("/internal/force_flush"))).await?;
        let mut url = reqwest::Url::parse(&self.url("/api/v1/query"))?;
        // Its answers leave out what came just now otherwise.
        let mut parameters = vec![("query", expression.to_owned()), ("nocache", "1".into())];
        parameters.extend(time.map(|time| ("time", time.to_string())));
        url.query_pairs_mut().extend_pairs(parameters);
        let answer: Answer = serde_json::from_str(&text_of(client().get(url)).await?)?;
        match answer.data.result.as_slice() {
            [one] => Ok(one.value.1.parse()?),
            other => anyhow::bail!("{expression} gives {} series", other.len()),
        }
    }

    /// Stops it and waits for its end.
    ///
    /// # Errors
    ///
    /// When it does not end well.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.take_down().await
    }
}

fn run(arguments: &[String], directory: &TempDir) -> anyhow::Result<Process> {
    // `make test` says where it is; otherwise it is looked up on the `PATH`.
    let program = std::env::var_os("SPANMILL_VICTORIA_METRICS")
        .map_or_else(|| "victoria-metrics".into(), PathBuf::from);
    Process::start("victoria-metrics", &program, arguments, directory.path())
        .context("`make test` fetches victoria-metrics")
}
