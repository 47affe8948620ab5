//! What one span, or one edge, adds to a label set.

use crate::fingerprint::LaneKey;

/// The most metrics that one label set can have.
pub const MAX_METRICS: usize = 5;

/// What one span adds to the metrics of one label set.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Names the label set by its raw values.
    pub key: LaneKey,
    /// How many spans this one stands for; finite and above 0.
    pub weight: f64,
    /// Spans that are counted with it, weights aside: 1, or 2 for an edge.
    pub spans: u8,
    /// Whether somebody keeps the trace: of the updates between two collections,
    /// such a one gives the exemplar if there is any.
    pub is_sampled: bool,
    /// The place of its span in the push: of the updates of one push, the last
    /// gives the exemplar.
    pub order: u32,
    /// For each metric of the schema: what a counter grows by, what a gauge is
    /// set to, or the value that a histogram observes `weight` times. `NaN`
    /// leaves the metric as it is.
    pub values: [f64; MAX_METRICS],
    /// The trace, for exemplars; all zero for none.
    pub trace_id: [u8; 16],
    /// The time of the exemplar in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

impl Update {
    /// Sets the only metric of a label set, a gauge, to 1: the label set is all
    /// that there is to say.
    pub fn info(key: LaneKey) -> Self {
        let mut values = [f64::NAN; MAX_METRICS];
        if let Some(value) = values.first_mut() {
            *value = 1.0;
        }
        Self {
            key,
            weight: 1.0,
            spans: 1,
            is_sampled: false,
            order: 0,
            values,
            trace_id: [0; 16],
            timestamp_ms: 0,
        }
    }
}

/// What became of the spans of a batch of updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Spans that a lane took, those of the overflow series included.
    pub counted: u64,
    /// Spans without a valid label set.
    pub invalid: u64,
    /// Of the spans counted, how many went to the overflow series.
    pub overflowed: u64,
}

/// A label set that cannot be: a value is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a label value is not valid UTF-8")]
pub struct InvalidLabels;
