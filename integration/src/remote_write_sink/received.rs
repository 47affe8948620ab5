//! What a sink has been sent.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Method, StatusCode};
use proto::remote_write::{TimeSeries, WriteRequest, v2};

use super::answer::Answer;
use super::history::Refusals;
use super::protocol::{self, Version};
use super::second_version::{self, ReceivedMetadata};
use crate::exposition::Labels;
use crate::native_histogram::NativeHistogram;

/// Everything that came, by tenant.
#[derive(Debug, Default)]
pub struct Received {
    /// Every request, in order, whatever it was answered.
    pub requests: Vec<ReceivedRequest>,
    /// What the sender did that the protocol forbids.
    pub violations: Vec<String>,
    tenants: BTreeMap<String, BTreeMap<SeriesKey, ReceivedSeries>>,
    refusals: Refusals,
    /// Requests that have arrived, answered or not.
    arrived: usize,
    pub(super) takes_any_metric: bool,
    pub(super) tenant_label: Option<String>,
}

/// A request that has been read and not been answered.
#[derive(Debug)]
pub(super) struct Arrival {
    /// From 1 on.
    pub(super) number: usize,
    pub(super) tenant: String,
    pub(super) version: Version,
    /// Of its body, as it was sent.
    pub(super) bytes: usize,
    pub(super) series: Vec<(TimeSeries, Option<ReceivedMetadata>)>,
    headers: HeaderMap,
}

impl Arrival {
    /// The names of its metrics, once for each series.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let labels = self.series.iter().flat_map(|(series, _)| &series.labels);
        let names = labels.filter(|label| label.name == "__name__");
        names.map(|label| label.value.as_str())
    }

    /// How many samples, native histograms and exemplars it has.
    pub(super) fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for (series, _) in &self.series {
            let [samples, histograms, exemplars] = &mut counts;
            *samples += series.samples.len();
            *histograms += series.histograms.len();
            *exemplars += series.exemplars.len();
        }
        counts
    }
}

/// A metric's name and its labels.
type SeriesKey = (String, Labels);

/// One request.
#[derive(Debug)]
pub struct ReceivedRequest {
    /// Its headers.
    pub headers: HeaderMap,
    /// The version of the protocol.
    pub version: Version,
    /// What it was answered.
    pub status: StatusCode,
    /// Samples in it, without native histograms.
    pub samples: usize,
    /// Native histograms in it.
    pub histograms: usize,
    /// Exemplars in it.
    pub exemplars: usize,
}

/// One series with all that came of it in requests answered with a 2xx.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceivedSeries {
    /// The metric's name.
    pub name: String,
    /// Its labels, the name not among them.
    pub labels: Labels,
    /// Milliseconds since 1970, and the value, in the order of arrival.
    pub points: Vec<(i64, f64)>,
    /// The same of native histograms.
    pub histograms: Vec<(i64, NativeHistogram)>,
    /// In the order of arrival.
    pub exemplars: Vec<ReceivedExemplar>,
    /// What the latest request in 2.0 said of it.
    pub metadata: Option<ReceivedMetadata>,
}

/// An exemplar of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedExemplar {
    /// The trace id, as a rule.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl ReceivedSeries {
    /// Its latest value.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.points.last().map(|(_, value)| *value)
    }

    /// Whether it has ended with a staleness marker.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let histogram = self.histograms.last().map(|(_, histogram)| histogram.sum);
        let is_stale = |value: f64| value.to_bits() == protocol::STALE;
        self.last().or(histogram).is_some_and(is_stale)
    }
}

impl Received {
    /// The tenants that sent something, by `X-Scope-OrgID`, empty without one.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.keys().map(String::as_str)
    }

    /// All series of a tenant, sorted by name and labels.
    pub fn all_series(&self, tenant: &str) -> impl Iterator<Item = &ReceivedSeries> {
        self.tenants
            .get(tenant)
            .into_iter()
            .flat_map(|t| t.values())
    }

    /// The series of one metric of a tenant that have all of these labels.
    pub fn series<'a>(
        &'a self,
        tenant: &str,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a ReceivedSeries> {
        self.all_series(tenant).filter(move |series| {
            series.name == name
                && labels
                    .iter()
                    .all(|(name, value)| series.labels.get(*name).is_some_and(|v| v == value))
        })
    }

    /// The sum of the latest values of what [`Received::series`] gives.
    #[must_use]
    pub fn sum(&self, tenant: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(tenant, name, labels)
            .filter_map(ReceivedSeries::last)
            .sum()
    }

    /// Reads a request and checks it.
    pub(super) fn arrive(&mut self, method: &Method, headers: HeaderMap, body: &[u8]) -> Arrival {
        self.arrived += 1;
        let mut violations = protocol::check_headers(method, &headers);
        let version = Version::of(&headers);
        let read = match version {
            Version::V1 => protocol::decode::<WriteRequest>(body).map(|request| {
                let series = request.timeseries.into_iter();
                series.map(|series| (series, None)).collect::<Vec<_>>()
            }),
            Version::V2 => protocol::decode::<v2::Request>(body).map(|request| {
                let (series, problems) = second_version::read(request, self.takes_any_metric);
                violations.extend(problems);
                let series = series.into_iter();
                series.map(|(series, said)| (series, Some(said))).collect()
            }),
        };
        let series = read.unwrap_or_else(|problem| {
            violations.push(problem);
            Vec::new()
        });
        let all = series.iter().map(|(series, _)| series);
        violations.extend(protocol::check_series(all.clone(), self.takes_any_metric));
        let tenant = headers.get("x-scope-orgid").map_or(String::new(), |value| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        });
        if let Some(name) = &self.tenant_label {
            violations.extend(protocol::check_tenant_label(all, name, &tenant));
        }
        let arrival = Arrival {
            number: self.arrived,
            tenant,
            version,
            bytes: body.len(),
            series,
            headers,
        };
        violations.extend(self.refusals.check(&arrival));
        self.blame(arrival.number, violations);
        arrival
    }

    /// Keeps a request's samples if it is answered with a 2xx and the sink
    /// speaks its version.
    pub(super) fn settle(&mut self, arrival: Arrival, answer: &Answer) {
        let status = answer.status;
        self.refusals.note(&arrival, status);
        let [samples, histograms, exemplars] = arrival.counts();
        let mut violations = Vec::new();
        if status.is_success() && (answer.speaks_v2 || arrival.version == Version::V1) {
            let of_tenant = self.tenants.entry(arrival.tenant).or_default();
            for (series, said) in arrival.series {
                violations.extend(keep(of_tenant, series, said));
            }
        }
        self.blame(arrival.number, violations);
        self.requests.push(ReceivedRequest {
            headers: arrival.headers,
            version: arrival.version,
            status,
            samples,
            histograms,
            exemplars,
        });
    }

    /// Notes what is wrong with a request.
    pub(super) fn blame(&mut self, number: usize, violations: Vec<String>) {
        let say = |violation| format!("request {number}: {violation}");
        self.violations.extend(violations.into_iter().map(say));
    }
}

/// Adds a series' points to what is there; gives those that are out of order.
fn keep(
    series: &mut BTreeMap<SeriesKey, ReceivedSeries>,
    new: TimeSeries,
    said: Option<ReceivedMetadata>,
) -> Vec<String> {
    let mut labels = labels(new.labels);
    let name = labels.remove("__name__").unwrap_or_default();
    let kept = series
        .entry((name.clone(), labels.clone()))
        .or_insert_with(|| ReceivedSeries {
            name,
            labels,
            ..ReceivedSeries::default()
        });
    kept.metadata = said;
    let mut violations = Vec::new();
    for sample in new.samples {
        let point = (sample.timestamp, sample.value);
        let is_it =
            |(time, value): &(i64, f64)| *time == point.0 && value.to_bits() == point.1.to_bits();
        match kept.points.last() {
            // A request that was sent again because its answer was lost.
            Some(last) if last.0 >= point.0 && kept.points.iter().any(is_it) => {
                continue;
            }
            Some(last) if last.0 >= point.0 => violations.push(format!(
                "{}{:?}: {point:?} after {last:?}",
                kept.name, kept.labels
            )),
            _ => {}
        }
        kept.points.push(point);
    }
    for histogram in &new.histograms {
        let sample = (histogram.timestamp, NativeHistogram::from(histogram));
        match kept.histograms.last() {
            Some(last) if last.0 >= sample.0 && kept.histograms.contains(&sample) => continue,
            Some(last) if last.0 >= sample.0 => violations.push(format!(
                "{}{:?}: {sample:?} after {last:?}",
                kept.name, kept.labels
            )),
            _ => {}
        }
        kept.histograms.push(sample);
    }
    kept.exemplars
        .extend(new.exemplars.into_iter().map(|exemplar| ReceivedExemplar {
            labels: self::labels(exemplar.labels),
            value: exemplar.value,
            timestamp_ms: exemplar.timestamp,
        }));
    violations
}

fn labels(labels: Vec<proto::remote_write::Label>) -> Labels {
    labels.into_iter().map(|l| (l.name, l.value)).collect()
}
