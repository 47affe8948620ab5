//! Runs spangen and reads its report.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
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
    /// How long it ran, from the first request to the last answer.
    pub seconds: f64,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
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

impl Spans {
    /// Those of several runs.
    #[must_use]
    pub fn sum(reports: &[Report]) -> Self {
        reports.iter().fold(Self::default(), |sum, report| Self {
            sent: sum.sent + report.spans.sent,
            accepted: sum.accepted + report.spans.accepted,
            refused: sum.refused + report.spans.refused,
            unknown: sum.unknown + report.spans.unknown,
        })
    }

    /// How many the server may have counted: what it did not answer it may have taken.
    #[must_use]
    pub fn counted(self) -> RangeInclusive<u64> {
        self.accepted..=self.accepted + self.unknown
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_without_an_answer_may_have_been_counted_and_refused_ones_not() {
        let report = |[sent, accepted, refused, unknown]: [u64; 4]| Report {
            seconds: 1.0,
            spans: Spans {
                sent,
                accepted,
                refused,
                unknown,
            },
            accepted_per_second: accepted as f64,
            retries: 0,
            push_seconds: Quantiles {
                p50: 0.0,
                p99: 0.0,
                max: 0.0,
            },
            reasons: BTreeMap::new(),
        };
        let sum = Spans::sum(&[report([10, 5, 3, 2]), report([7, 4, 2, 1])]);
        assert_eq!((sum.sent, sum.refused), (17, 5));
        assert_eq!(sum.counted(), 9..=12);
    }
}
