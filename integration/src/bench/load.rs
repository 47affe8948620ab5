//! Runs spangen and reads its report.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Command;

/// One run of spangen.
#[derive(Clone, Debug)]
pub(crate) struct Load<'a> {
    /// The binary.
    pub(crate) binary: &'a Path,
    /// Where to send.
    pub(crate) endpoint: &'a str,
    /// Series that it makes.
    pub(crate) series: u64,
    /// Percent of series replaced in a minute.
    pub(crate) churn: f64,
    /// Spans a second; `None` is as fast as possible.
    pub(crate) rate: Option<u64>,
    /// Requests in flight.
    pub(crate) in_flight: usize,
    /// Tenants that it sends as, in turn; `None` for no header.
    pub(crate) tenants: Option<u32>,
    /// How long.
    pub(crate) duration: Duration,
    /// Where latencies go.
    pub(crate) latency_log: Option<&'a Path>,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Spans accepted.
    pub(crate) accepted: u64,
    /// Spans refused, or of an unknown fate.
    pub(crate) lost: u64,
    /// Spans accepted a second.
    pub(crate) per_second: f64,
    /// 99 % of pushes took at most so many seconds.
    pub(crate) p99: f64,
}

impl Load<'_> {
    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// When it cannot run, fails, or nothing is accepted.
    pub(crate) async fn run(&self) -> anyhow::Result<Outcome> {
        /// Beyond its duration: making templates, and answers at the end.
        const MARGIN: Duration = Duration::from_secs(60);
        let mut command = Command::new(self.binary);
        let rate = self
            .rate
            .map_or_else(|| "max".to_owned(), |rate| rate.to_string());
        command
            .args(["--profile", "reference", "--json", "--quiet", "--endpoint"])
            .arg(self.endpoint)
            .arg(format!("--series={}", self.series))
            .arg(format!("--churn={}", self.churn))
            .arg(format!("--rate={rate}"))
            .arg(format!("--in-flight={}", self.in_flight))
            .arg(format!("--duration={}ms", self.duration.as_millis()))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        if let Some(tenants) = self.tenants {
            command.arg(format!("--tenants={tenants}"));
        }
        if let Some(path) = self.latency_log {
            command.arg("--latency-log").arg(path);
        }
        let output = tokio::time::timeout(self.duration + MARGIN, command.output())
            .await
            .context("spangen does not end")?
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        let outcome = parse(&String::from_utf8_lossy(&output.stdout))?;
        ensure!(outcome.accepted > 0, "no span was accepted");
        Ok(outcome)
    }
}

fn parse(report: &str) -> anyhow::Result<Outcome> {
    let report: Value = serde_json::from_str(report).context("spangen gave no report")?;
    let number = |path: &str| {
        let value = report.pointer(path).and_then(Value::as_f64);
        value.with_context(|| format!("spangen's report has no {path}"))
    };
    Ok(Outcome {
        accepted: number("/spans/accepted")? as u64,
        lost: (number("/spans/refused")? + number("/spans/unknown")?) as u64,
        per_second: number("/accepted_per_second")?,
        p99: number("/push_seconds/p99")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_of_spangen_is_read() {
        let outcome = parse(
            r#"{"spans":{"sent":10,"accepted":7,"refused":2,"unknown":1},
                "accepted_per_second":3.5,"push_seconds":{"p50":0.1,"p99":0.25,"max":1}}"#,
        )
        .unwrap();
        assert_eq!((outcome.accepted, outcome.lost), (7, 3));
        assert_eq!((outcome.per_second, outcome.p99), (3.5, 0.25));
        assert!(parse("{}").is_err());
    }
}
