//! Every sample that was collected arrives, or is counted as dropped: what the two
//! ends say of it.

use anyhow::{Context as _, bail, ensure};

use crate::exposition::Exposition;
use crate::patience::eventually;
use crate::remote_write_sink::{Received, ReceivedSeries};
use crate::spanmill::Spanmill;

/// What is logged of the samples that a process finds in the spool.
const LEFT: &str = "samples of an earlier process are in the spool";

/// What a process says of the samples of one tenant, or of all of them, at one
/// destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// Written to the spool by this process.
    pub spooled: u64,
    /// Acknowledged by the receiver.
    pub sent: u64,
    /// Never to be delivered.
    pub dropped: u64,
    /// In the spool, neither sent nor dropped.
    pub pending: u64,
}

impl Deliveries {
    /// Reads a scrape of spanmill's own metrics, of the series with these labels.
    #[must_use]
    pub fn read(metrics: &Exposition, labels: &[(&str, &str)]) -> Self {
        let of = |name: &str, labels| {
            let name = format!("spanmill_remote_write_samples_{name}");
            metrics.sum(&name, labels) as u64
        };
        // What is spooled goes to every destination.
        let of_spool: Vec<_> = labels
            .iter()
            .filter(|(name, _)| *name == "tenant")
            .collect();
        let of_spool: Vec<_> = of_spool.into_iter().copied().collect();
        Self {
            spooled: of("spooled_total", &of_spool),
            sent: of("sent_total", labels),
            dropped: of("dropped_total", labels),
            pending: of("pending", labels),
        }
    }

    /// Waits until all is sent or dropped that this process has spooled, and what
    /// was `left` by others.
    ///
    /// # Errors
    ///
    /// What they still are when the patience is out.
    pub async fn settled(
        spanmill: &Spanmill,
        labels: &[(&str, &str)],
        left: u64,
    ) -> anyhow::Result<Self> {
        eventually("samples to be delivered", || async {
            let now = Self::read(&spanmill.metrics().await?, labels);
            let (all, settled) = (left + now.spooled, now.sent + now.dropped);
            ensure!(
                now.pending == 0 && settled == all,
                "{now:?}, and {left} that were left"
            );
            Ok(now)
        })
        .await
    }
}

/// How many samples a process has found in the spool, by its log; 0 if it says
/// nothing of them.
///
/// # Errors
///
/// When the log cannot be read.
pub fn left_in_spool(log: &str) -> anyhow::Result<u64> {
    let Some(line) = log.lines().find(|line| line.contains(LEFT)) else {
        return Ok(0);
    };
    let mut fields = line.split(' ');
    let samples = fields.find_map(|field| field.strip_prefix("samples="));
    Ok(samples.context("no number of samples")?.parse()?)
}

impl Received {
    /// All series of all tenants.
    pub fn every_series(&self) -> impl Iterator<Item = &ReceivedSeries> {
        self.tenants().flat_map(|tenant| self.all_series(tenant))
    }

    /// How many samples were acknowledged, those that came twice counted once.
    #[must_use]
    pub fn distinct_samples(&self) -> u64 {
        let samples = |series: &ReceivedSeries| series.points.len() + series.histograms.len();
        self.every_series().map(samples).sum::<usize>() as u64
    }

    /// How many samples were acknowledged, each as often as it came.
    #[must_use]
    pub fn acknowledged_samples(&self) -> u64 {
        let requests = self.requests.iter();
        let acknowledged = requests.filter(|request| request.status.is_success());
        let samples = acknowledged.map(|request| request.samples + request.histograms);
        samples.sum::<usize>() as u64
    }

    /// Checks that all series of a tenant have samples of the same times: none of a
    /// collection is missing. They must have begun together, and not have ended.
    ///
    /// # Errors
    ///
    /// The first that has others than the first series.
    pub fn check_every_collection_is_whole(&self, tenant: &str) -> anyhow::Result<()> {
        let times = |series: &ReceivedSeries| -> Vec<i64> {
            series.points.iter().map(|(time, _)| *time).collect()
        };
        let mut all = self.all_series(tenant);
        let Some(first) = all.next() else {
            bail!("no series of {tenant}");
        };
        let want = times(first);
        for series in all {
            let got = times(series);
            let name = &series.name;
            ensure!(got == want, "{name} has {got:?}, the first series {want:?}");
        }
        Ok(())
    }
}

/// How often a counter has begun anew.
#[must_use]
pub fn resets(series: &ReceivedSeries) -> usize {
    let pairs = series.points.windows(2);
    pairs
        .filter(|pair| matches!(pair, [a, b] if b.1 < a.1))
        .count()
}
