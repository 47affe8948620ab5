//! The service graph that spangen generated, and the series that must come of it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::exposition::{Exposition, Labels};

/// What `spangen --truth` writes.
#[derive(Clone, Debug, Deserialize)]
pub struct Truth {
    /// Traces that were sent.
    pub traces: u64,
    /// What became of their spans.
    pub spans: Spans,
    edges: Vec<Edge>,
    unpaired: Vec<Unpaired>,
}

/// Counts of spans: `generated = in_edges + unpaired + without_edge`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Spans {
    /// All of them, each once.
    pub generated: u64,
    /// Those that are a side of an edge.
    pub in_edges: u64,
    /// Those whose other side does not come in time.
    pub unpaired: u64,
    /// Those of a kind that has no edges.
    pub without_edge: u64,
    /// Those of requests that were sent twice.
    pub repeated: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Edge {
    client: String,
    server: String,
    connection_type: String,
    absent: Option<String>,
    requests: u64,
    failed: u64,
    client_nanoseconds: Vec<u64>,
    server_nanoseconds: Vec<u64>,
    messaging_nanoseconds: Vec<u64>,
}

#[derive(Clone, Debug, Deserialize)]
struct Unpaired {
    service: String,
    side: String,
    connection_type: String,
    spans: u64,
}

/// Series with their values; the bound of a bucket is a number, not text.
type Series = BTreeMap<(String, Labels, Option<u64>), f64>;

impl Truth {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{}", path.display()))
    }

    /// Compares every series of a scrape with what it must be, with histograms of
    /// these bounds, labels for virtual nodes, and all that can be switched on. Gives
    /// each difference in a line.
    ///
    /// # Errors
    ///
    /// When a bucket has no bound.
    pub fn differences(
        &self,
        generated: &Exposition,
        bounds: &[f64],
    ) -> anyhow::Result<Vec<String>> {
        let want = self.series(bounds);
        let mut got = Series::new();
        for sample in &generated.samples {
            let mut labels = sample.labels.clone();
            let bound = labels
                .remove("le")
                .map(|le| le.parse::<f64>())
                .transpose()?;
            // When a series began; OpenMetrics alone has it.
            if !sample.name.ends_with("_created") {
                let id = (sample.name.clone(), labels, bound.map(f64::to_bits));
                got.insert(id, sample.value);
            }
        }
        let mut differences = Vec::new();
        let ids = want
            .keys()
            .chain(got.keys().filter(|id| !want.contains_key(*id)));
        for id in ids {
            let is_right = match (want.get(id), got.get(id)) {
                // The last bits depend on the order of addition.
                (Some(want), Some(got)) if id.0.ends_with("_sum") => {
                    (want - got).abs() <= 1e-9 * want.abs()
                }
                (want, got) => want == got,
            };
            if !is_right {
                let (name, labels, bound) = id;
                let bound = bound.map(f64::from_bits);
                let (want, got) = (want.get(id), got.get(id));
                differences.push(format!(
                    "{name}{labels:?} le {bound:?}: {got:?}, but should be {want:?}"
                ));
            }
        }
        Ok(differences)
    }

    fn series(&self, bounds: &[f64]) -> Series {
        let mut series = Series::new();
        for edge in &self.edges {
            let virtual_node = match &edge.absent {
                Some(side) if edge.connection_type == "virtual_node" => side,
                _ => "",
            };
            let labels = labels(&[
                ("client", &edge.client),
                ("server", &edge.server),
                ("connection_type", &edge.connection_type),
                ("virtual_node", virtual_node),
            ]);
            for (metric, count) in [("total", edge.requests), ("failed_total", edge.failed)] {
                if count > 0 {
                    let name = format!("traces_service_graph_request_{metric}");
                    series.insert((name, labels.clone(), None), count as f64);
                }
            }
            for (side, durations) in [
                ("client", &edge.client_nanoseconds),
                ("server", &edge.server_nanoseconds),
                ("messaging_system", &edge.messaging_nanoseconds),
            ] {
                let name = format!("traces_service_graph_request_{side}_seconds");
                histogram(&mut series, &name, &labels, durations, bounds);
            }
        }
        for unpaired in &self.unpaired {
            let labels = labels(&[
                (&unpaired.side, &unpaired.service),
                ("connection_type", &unpaired.connection_type),
            ]);
            let name = "traces_service_graph_unpaired_spans_total".to_owned();
            series.insert((name, labels, None), unpaired.spans as f64);
        }
        series
    }
}

/// The series of a classic histogram; none if nothing was observed.
fn histogram(series: &mut Series, name: &str, labels: &Labels, durations: &[u64], bounds: &[f64]) {
    if durations.is_empty() {
        return;
    }
    let seconds = durations
        .iter()
        .map(|nanoseconds| *nanoseconds as f64 / 1e9);
    let seconds: Vec<f64> = seconds.collect();
    for bound in bounds.iter().chain([&f64::INFINITY]) {
        let within = seconds.iter().filter(|seconds| *seconds <= bound).count();
        let id = (
            format!("{name}_bucket"),
            labels.clone(),
            Some(bound.to_bits()),
        );
        series.insert(id, within as f64);
    }
    let count = durations.len() as f64;
    series.insert((format!("{name}_count"), labels.clone(), None), count);
    let sum = seconds.iter().sum();
    series.insert((format!("{name}_sum"), labels.clone(), None), sum);
}

/// Labels, without those that are empty.
fn labels(labels: &[(&str, &str)]) -> Labels {
    let present = labels.iter().filter(|(_, value)| !value.is_empty());
    present
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERATED: &str = "\
traces_service_graph_request_total{client=\"a\",server=\"b\"} 2
traces_service_graph_request_failed_total{client=\"a\",server=\"b\"} 1
traces_service_graph_request_client_seconds_bucket{client=\"a\",server=\"b\",le=\"1.0\"} 1
traces_service_graph_request_client_seconds_bucket{client=\"a\",server=\"b\",le=\"+Inf\"} 2
traces_service_graph_request_client_seconds_count{client=\"a\",server=\"b\"} 2
traces_service_graph_request_client_seconds_sum{client=\"a\",server=\"b\"} 3.0000000001
traces_service_graph_request_client_seconds_created{client=\"a\",server=\"b\"} 1.7e9
traces_service_graph_unpaired_spans_total{connection_type=\"messaging_system\",server=\"c\"} 4
";

    fn differences(generated: &str) -> Vec<String> {
        let truth = r#"{
            "traces": 2,
            "spans": {"generated": 8, "in_edges": 4, "unpaired": 4, "without_edge": 0, "repeated": 0},
            "edges": [{
                "client": "a", "server": "b", "connection_type": "", "absent": null,
                "requests": 2, "failed": 1, "client_nanoseconds": [1000000000, 2000000000],
                "server_nanoseconds": [], "messaging_nanoseconds": []
            }],
            "unpaired": [
                {"service": "c", "side": "server", "connection_type": "messaging_system", "spans": 4}
            ]
        }"#;
        let truth: Truth = serde_json::from_str(truth).unwrap();
        let generated = Exposition::parse(generated).unwrap();
        truth.differences(&generated, &[1.0]).unwrap()
    }

    #[test]
    fn series_that_are_right_have_no_difference() {
        assert_eq!(differences(GENERATED), [""; 0]);
    }

    #[test]
    fn every_missing_other_and_invented_series_is_a_difference() {
        for (at, line) in GENERATED.lines().enumerate() {
            let without: Vec<_> = GENERATED.lines().filter(|other| *other != line).collect();
            let right = usize::from(!line.contains("_created"));
            assert_eq!(differences(&without.join("\n")).len(), right, "{at}");
            let (series, _) = line.rsplit_once(' ').unwrap();
            let other = GENERATED.replace(line, &format!("{series} 3.1"));
            assert_eq!(differences(&other).len(), right, "{at}");
        }
        let invented = format!("{GENERATED}up 1\n");
        assert_eq!(
            differences(&invented),
            ["up{} le None: Some(1.0), but should be None"]
        );
    }
}
