//! A real Prometheus: scrapes, takes remote write, answers queries.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::exposition::Labels;
use crate::http::{client, text_of};
use crate::patience::eventually;
use crate::ports::Port;
use crate::process::Process;

/// A running Prometheus with a data directory of its own.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    arguments: Vec<String>,
    port: Port,
    directory: TempDir,
}

/// One series of an answer, with its values by time in seconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, the metric's name among them as `__name__`.
    pub labels: Labels,
    /// Timestamp and value, oldest first; of an instant's native histogram, its
    /// count.
    pub values: Vec<(f64, f64)>,
}

/// An exemplar that Prometheus stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredExemplar {
    /// The labels of its series.
    pub series: Labels,
    /// Its own labels, such as the trace id.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// Seconds since 1970.
    pub timestamp: f64,
}

impl Prometheus {
    /// Starts one with this configuration, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When there is no `prometheus`, or it does not get ready.
    pub async fn start(config: &str) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let port = Port::reserve()?;
        let config_file = directory.path().join("prometheus.yaml");
        std::fs::write(&config_file, config)?;
        let arguments = [
            format!("--config.file={}", config_file.display()),
            format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ),
            format!("--web.listen-address={}", port.address()),
            "--web.enable-remote-write-receiver".into(),
            "--enable-feature=exemplar-storage,native-histograms".into(),
            "--log.level=warn".into(),
        ];
        let process = run(&arguments, &directory)?;
        let prometheus = Self {
            process,
            arguments: arguments.into(),
            port,
            directory,
        };
        prometheus.ready().await?;
        Ok(prometheus)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let ready = self.url("/-/ready");
        eventually("prometheus to be ready", || text_of(client().get(&ready))).await?;
        Ok(())
    }

    /// Stops it, until [`Prometheus::bring_up`].
    ///
    /// # Errors
    ///
    /// When it does not end well.
    pub async fn take_down(&mut self) -> anyhow::Result<()> {
        let status = self.process.stop().await?;
        ensure!(status.success(), "prometheus ended with {status}");
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

    /// The instant value of an expression at `time`, or now.
    ///
    /// # Errors
    ///
    /// What Prometheus has against the expression.
    pub async fn query(&self, expression: &str, time: Option<f64>) -> anyhow::Result<Vec<Series>> {
        let mut parameters = vec![("query", expression.to_owned())];
        parameters.extend(time.map(|time| ("time", time.to_string())));
        let data = self.api("query", &parameters).await?;
        read_series(&data)
    }

    /// The value of an expression that must give exactly one series.
    ///
    /// # Errors
    ///
    /// As [`Prometheus::query`], and when there is none or more than one.
    pub async fn value(&self, expression: &str, time: Option<f64>) -> anyhow::Result<f64> {
        let series = self.query(expression, time).await?;
        match series.as_slice() {
            [one] => one
                .values
                .last()
                .map(|(_, value)| *value)
                .context("no value"),
            other => anyhow::bail!("{expression} gives {} series: {other:?}", other.len()),
        }
    }

    /// The values of an expression between two times, a step apart, all in seconds.
    ///
    /// # Errors
    ///
    /// As [`Prometheus::query`].
    pub async fn query_range(
        &self,
        expression: &str,
        (start, end): (f64, f64),
        step: f64,
    ) -> anyhow::Result<Vec<Series>> {
        let parameters = [
            ("query", expression.to_owned()),
            ("start", start.to_string()),
            ("end", end.to_string()),
            ("step", step.to_string()),
        ];
        let data = self.api("query_range", &parameters).await?;
        read_series(&data)
    }

    /// The exemplars of a selector between two times in seconds.
    ///
    /// # Errors
    ///
    /// As [`Prometheus::query`].
    pub async fn query_exemplars(
        &self,
        selector: &str,
        (start, end): (f64, f64),
    ) -> anyhow::Result<Vec<StoredExemplar>> {
        let parameters = [
            ("query", selector.to_owned()),
            ("start", start.to_string()),
            ("end", end.to_string()),
        ];
        let data = self.api("query_exemplars", &parameters).await?;
        let mut found = Vec::new();
        for series in list(&data)? {
            let labels = read_labels(field(series, "seriesLabels")?)?;
            for exemplar in list(field(series, "exemplars")?)? {
                found.push(StoredExemplar {
                    series: labels.clone(),
                    labels: read_labels(field(exemplar, "labels")?)?,
                    value: number(field(exemplar, "value")?)?,
                    timestamp: number(field(exemplar, "timestamp")?)?,
                });
            }
        }
        Ok(found)
    }

    /// Stops it and waits for its end.
    ///
    /// # Errors
    ///
    /// When it does not end well.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.take_down().await
    }

    async fn api(&self, path: &str, parameters: &[(&str, String)]) -> anyhow::Result<Value> {
        let mut url = reqwest::Url::parse(&self.url(&format!("/api/v1/{path}")))?;
        url.query_pairs_mut().extend_pairs(parameters);
        let answer: Value = serde_json::from_str(&text_of(client().get(url)).await?)?;
        Ok(field(&answer, "data")?.clone())
    }
}

fn run(arguments: &[String], directory: &TempDir) -> anyhow::Result<Process> {
    Process::start("prometheus", &program(), arguments, directory.path())
        .context("`make test` fetches prometheus")
}

/// `make test` says where it is; otherwise it is looked up on the `PATH`.
fn program() -> PathBuf {
    std::env::var_os("SPANMILL_PROMETHEUS").map_or_else(|| "prometheus".into(), PathBuf::from)
}

/// Runs `promtool`, which comes with Prometheus, in a directory.
///
/// # Errors
///
/// What it finds wrong.
pub async fn promtool(directory: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = tokio::process::Command::new(program().with_file_name("promtool"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .await
        .context("`make test` fetches promtool with prometheus")?;
    ensure!(
        output.status.success(),
        "promtool {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn read_series(data: &Value) -> anyhow::Result<Vec<Series>> {
    list(field(data, "result")?)?
        .iter()
        .map(|series| {
            let values = match (series.get("value"), series.get("histogram")) {
                (Some(value), _) => vec![read_value(value)?],
                (None, Some(histogram)) => vec![read_count(histogram)?],
                (None, None) => list(field(series, "values")?)?
                    .iter()
                    .map(read_value)
                    .collect::<Result<_, _>>()?,
            };
            Ok(Series {
                labels: read_labels(field(series, "metric")?)?,
                values,
            })
        })
        .collect()
}

fn read_value(pair: &Value) -> anyhow::Result<(f64, f64)> {
    match list(pair)?.as_slice() {
        [time, value] => Ok((number(time)?, number(value)?)),
        other => anyhow::bail!("{other:?} is no pair of time and value"),
    }
}

fn read_count(pair: &Value) -> anyhow::Result<(f64, f64)> {
    match list(pair)?.as_slice() {
        [time, histogram] => Ok((number(time)?, number(field(histogram, "count")?)?)),
        other => anyhow::bail!("{other:?} is no pair of time and histogram"),
    }
}

fn read_labels(object: &Value) -> anyhow::Result<Labels> {
    let labels: BTreeMap<String, String> = serde_json::from_value(object.clone())?;
    Ok(labels)
}

/// Prometheus writes times as numbers and values as text.
fn number(value: &Value) -> anyhow::Result<f64> {
    match value {
        Value::String(text) => Ok(text.parse()?),
        other => other
            .as_f64()
            .with_context(|| format!("{other} is no number")),
    }
}

fn field<'a>(value: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    value
        .get(name)
        .with_context(|| format!("no {name} in {value}"))
}

fn list(value: &Value) -> anyhow::Result<&Vec<Value>> {
    value
        .as_array()
        .with_context(|| format!("{value} is no list"))
}
