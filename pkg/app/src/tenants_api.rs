//! What `/api/v1/tenants` answers, for who writes it and who reads it.
//!
//! Fields may come in addition; none changes its meaning. Counts are since the
//! start of the process, summed over all nodes of a cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `/api/v1/tenants`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TenantsAnswer {
    /// Tenants that there are, also those on other pages.
    pub total: u64,
    /// Those of this page.
    pub tenants: Vec<TenantAnswer>,
    /// What `after` must be for the next page; none if this is the last.
    pub next: Option<String>,
    /// Nodes of the cluster of which nothing is in it.
    #[serde(default)]
    pub missing: Vec<MissingNode>,
}

/// A node of the cluster that did not answer: what it has is not in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingNode {
    /// Its id.
    pub node: String,
    /// Why.
    pub why: String,
}

impl MissingNode {
    /// Adds those that are not named yet.
    pub(crate) fn add(missing: &mut Vec<Self>, more: Vec<Self>) {
        for node in more {
            if missing.iter().all(|known| known.node != node.node) {
                missing.push(node);
            }
        }
    }
}

/// What one node of a cluster has of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TenantNode {
    /// Its id.
    pub node: String,
    /// Series that it has.
    pub series: u64,
    /// Spans that it gets in a second, of late.
    pub spans_per_second: f64,
}

/// `/api/v1/tenants/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TenantAnswer {
    /// Its id.
    pub tenant: String,
    /// Processors that are on, by name.
    pub processors: Vec<String>,
    /// Series.
    pub series: Level,
    /// Label sets.
    pub label_sets: Level,
    /// Values that a label may have; 0 is no limit.
    pub values_per_label_limit: u64,
    /// What that limit does, by label; empty without it.
    pub limited_labels: Vec<LimitedLabel>,
    /// Spans that reached the generator.
    pub spans: Flow,
    /// Bytes of the pushes that brought them.
    pub bytes: Flow,
    /// Seconds over which `per_second` is the average.
    pub rate_over_seconds: f64,
    /// Spans that a limit sent to an overflow series.
    pub overflowed_spans: u64,
    /// Spans that wait for their counterpart in the service graph.
    pub waiting_spans: u64,
    /// Spans that were discarded.
    pub discards: Vec<Discarded>,
    /// What of its samples has yet to be sent; none without remote write.
    pub remote_write: Option<RemoteWriteAnswer>,
    /// When its series were last collected, in milliseconds since the Unix epoch.
    pub last_collection_ms: Option<i64>,
    /// The generators that have it, by id; none where the answer is of one node.
    #[serde(default)]
    pub nodes: Vec<TenantNode>,
    /// Nodes of the cluster of which nothing is in it.
    #[serde(default)]
    pub missing: Vec<MissingNode>,
}

/// How many there are, and may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// How many there are.
    pub active: u64,
    /// How many there may be; 0 is no limit.
    pub limit: u64,
    /// How many there would be without limits: what they refused is estimated,
    /// within 3.3 %.
    pub demand: u64,
}

/// A label that has more values than it may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitedLabel {
    /// Its name.
    pub name: String,
    /// Values that it has, or would have without a limit.
    pub demand: u64,
    /// Label sets in which its value was replaced.
    pub limited_label_sets: u64,
}

/// How much has come, and comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Since the start of the process.
    pub total: u64,
    /// In a second, of late.
    pub per_second: f64,
}

/// Spans that were discarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// `distributor`, `all` if no processor saw them, or the processor.
    pub stage: String,
    /// Why, as in metrics.
    pub reason: String,
    /// How many.
    pub spans: u64,
}

/// What of a tenant's samples has yet to be sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoteWriteAnswer {
    /// Bytes of its spool on disk.
    pub spool_bytes: u64,
    /// Samples in memory that the disk has not taken.
    pub unwritten_samples: u64,
    /// Where they go.
    pub destinations: Vec<DestinationAnswer>,
}

/// How far one destination is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DestinationAnswer {
    /// Its name.
    pub name: String,
    /// Samples that are neither acknowledged nor dropped.
    pub pending_samples: u64,
    /// How long the oldest of these has been there.
    pub lag_seconds: f64,
    /// Attempts that failed since something was delivered.
    pub failures: u64,
    /// Samples that were acknowledged.
    pub sent_samples: u64,
    /// Samples that will never be delivered, by reason.
    pub dropped_samples: BTreeMap<String, u64>,
}

/// `/api/v1/tenants/{id}/cardinality`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CardinalityAnswer {
    /// The tenant.
    pub tenant: String,
    /// Series that count against the limit: exact.
    pub series: u64,
    /// Label sets that do: exact.
    pub label_sets: u64,
    /// Standard error of what is called an estimate here, as a share of it.
    pub standard_error: f64,
    /// The metrics with the most series.
    pub metrics: Vec<MetricAnswer>,
    /// Metrics by the label sets that they share.
    pub families: Vec<FamilyAnswer>,
    /// What it would be without the labels that were asked for.
    pub drop: Option<DropAnswer>,
    /// What the processor that was asked for would add.
    pub enable: Option<EnableAnswer>,
    /// The sketches behind it, in base64, if they were asked for.
    pub sketches: Option<String>,
    /// Nodes whose series are in it.
    #[serde(default)]
    pub nodes: u64,
    /// Nodes of the cluster of which nothing is in it.
    #[serde(default)]
    pub missing: Vec<MissingNode>,
}

/// A metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricAnswer {
    /// Its name, without the suffixes of a histogram's series.
    pub name: String,
    /// Its series: exact.
    pub series: u64,
    /// Of these, how many each label set has.
    pub series_per_label_set: u64,
}

/// Metrics that share their label sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyAnswer {
    /// The metrics.
    pub metrics: Vec<MetricAnswer>,
    /// Label sets that have them: exact.
    pub label_sets: u64,
    /// Series of all of them: exact.
    pub series: u64,
    /// Label sets that a limit refused lately: an estimate.
    pub refused_label_sets: u64,
    /// The labels with the most values.
    pub labels: Vec<LabelAnswer>,
}

/// A label of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelAnswer {
    /// Its name.
    pub name: String,
    /// Different values: exact up to 512, an estimate beyond.
    pub values: u64,
    /// Series that have it: exact.
    pub series: u64,
    /// The values that most series have.
    pub top: Vec<ValueAnswer>,
    /// Series that a value may have more than it says, at most.
    pub top_error: u64,
}

/// A value of a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueAnswer {
    /// The value.
    pub value: String,
    /// Series that have it, at least.
    pub series: u64,
}

/// What there would be without some labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropAnswer {
    /// The labels.
    pub labels: Vec<String>,
    /// Of these, such as no series has.
    pub unknown_labels: Vec<String>,
    /// Series now: exact.
    pub series: u64,
    /// Series without the labels: an estimate where a family has one of them.
    pub series_without: u64,
    /// The families that have one of them.
    pub families: Vec<DropFamily>,
}

/// What of a family there would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropFamily {
    /// Its metrics.
    pub metrics: Vec<String>,
    /// Label sets now: exact.
    pub label_sets: u64,
    /// Label sets without the labels: an estimate.
    pub label_sets_without: u64,
}

/// What a processor would add.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnableAnswer {
    /// The processor.
    pub processor: String,
    /// Series that would come. `known` ones are exact: metrics of label sets that are
    /// there. Else they are what was made of the spans that came during a trial.
    pub series: u64,
    /// Label sets that would come.
    pub label_sets: u64,
    /// Whether it follows from the series that there are.
    pub known: bool,
    /// How it was tried, if it was.
    pub trial: Option<TrialAnswer>,
    /// What they are made of.
    pub families: Vec<FamilyAnswer>,
}

/// How a processor was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialAnswer {
    /// For how long.
    pub seconds: f64,
    /// Spans of the tenant that came meanwhile.
    pub spans: u64,
    /// Series that there were at half time: as long as they still become more, there
    /// will be more than `series`.
    pub series_at_half_time: u64,
    /// Spans that still waited for their counterpart.
    pub waiting_spans: u64,
}

/// What must be posted to `/api/v1/tenants/{id}/delete`, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionRequest {
    /// The id of the path, once more.
    pub tenant: String,
}

/// What `/api/v1/tenants/{id}/delete` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeletionAnswer {
    /// Its id.
    pub tenant: String,
    /// The nodes of the cluster that have deleted it; none where the process is alone.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Series that ended with a staleness marker.
    pub series_ended: u64,
    /// How long the last samples were waited for, in seconds.
    pub waited_seconds: f64,
    /// Samples that receivers did not take within that time, summed over them: nobody
    /// gets them any more.
    pub undelivered_samples: u64,
    /// What was removed.
    pub removed: Vec<String>,
    /// What was not.
    pub left: Vec<LeftOver>,
}

/// What is left of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOver {
    /// What it is.
    pub what: String,
    /// Why it is there, and what to do.
    pub why: String,
}
