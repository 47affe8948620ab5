//! How many values each label may have.
//!
//! The values of live label sets are counted exactly, by how many have them;
//! those that the limit replaced are estimated. So a value has its place until
//! the last series with it ends, whatever comes meanwhile.

use std::collections::{BTreeMap, HashMap};

use model::{LabelSet, LabelSetBuf};

use crate::cardinality::RecentCardinality;
use crate::demand::GENERATIONS;
use crate::fingerprint::hash_labels;

/// What a label value becomes that a limit refuses.
pub const LABEL_OVERFLOW: &str = "__cardinality_overflow__";

/// What one label's limit does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelStats {
    /// The label.
    pub name: String,
    /// Different values that it has, or would have without a limit.
    pub demand: u64,
    /// Label sets in which its value was replaced.
    pub limited: u64,
}

/// The values of all labels.
#[derive(Debug, Default)]
pub(crate) struct LabelLimiter {
    /// 0 is no limit: then nothing is counted.
    max: u64,
    labels: BTreeMap<String, Values>,
}

/// The values of one label.
#[derive(Debug)]
struct Values {
    /// By hash, how many label sets have it.
    live: HashMap<u64, u32>,
    refused: RecentCardinality,
    limited: u64,
}

impl LabelLimiter {
    /// Sets the limit. Returns whether what is live must be counted anew, by
    /// [`add`](Self::add).
    pub(crate) fn set_max(&mut self, max: u64) -> bool {
        let starts = self.max == 0 && max != 0;
        if self.max != max {
            // What is refused under the new limit comes again, and counts again.
            for values in self.labels.values_mut() {
                values.refused = RecentCardinality::new(GENERATIONS);
            }
        }
        self.max = max;
        if max == 0 {
            self.labels.clear();
        }
        starts
    }

    pub(crate) fn is_off(&self) -> bool {
        self.max == 0
    }

    /// Replaces the values that may not be, of a label set that is new.
    pub(crate) fn limit<'b>(
        &mut self,
        labels: LabelSet<'_>,
        limited: &'b mut LabelSetBuf,
    ) -> Option<LabelSet<'b>> {
        let mut is_limited = false;
        limited.clear();
        for (name, value) in labels {
            let is_refused = self.is_refused(name, value);
            is_limited |= is_refused;
            limited.push(name, if is_refused { LABEL_OVERFLOW } else { value });
        }
        is_limited.then(|| limited.finish())
    }

    fn is_refused(&mut self, name: &str, value: &str) -> bool {
        let Some(values) = self.labels.get_mut(name) else {
            return false;
        };
        let hash = hash_labels(value.as_bytes());
        if (values.live.len() as u64) < self.max || values.live.contains_key(&hash) {
            return false;
        }
        values.refused.insert_hash(hash);
        values.limited += 1;
        true
    }

    /// A label set begins.
    pub(crate) fn add(&mut self, labels: LabelSet<'_>) {
        if self.is_off() {
            return;
        }
        for (name, value) in labels.iter().filter(|(_, value)| *value != LABEL_OVERFLOW) {
            if !self.labels.contains_key(name) {
                self.labels.insert(name.to_owned(), Values::new());
            }
            if let Some(values) = self.labels.get_mut(name) {
                let hash = hash_labels(value.as_bytes());
                *values.live.entry(hash).or_default() += 1;
            }
        }
    }

    /// A label set has ended. Returns whether a value is free that the limit
    /// had refused to others.
    pub(crate) fn remove(&mut self, labels: LabelSet<'_>) -> bool {
        let mut is_free = false;
        for (name, value) in labels {
            let Some(values) = self.labels.get_mut(name) else {
                continue;
            };
            let hash = hash_labels(value.as_bytes());
            let was_full = values.live.len() as u64 >= self.max;
            if let Some(label_sets) = values.live.get_mut(&hash) {
                *label_sets -= 1;
                if *label_sets == 0 {
                    values.live.remove(&hash);
                    is_free |= was_full;
                }
            }
        }
        is_free
    }

    /// Lets refused values age.
    pub(crate) fn rotate(&mut self) {
        self.labels
            .values_mut()
            .for_each(|values| values.refused.rotate());
    }

    pub(crate) fn stats(&self) -> Vec<LabelStats> {
        let stats = |(name, values): (&String, &Values)| LabelStats {
            name: name.clone(),
            demand: values.live.len() as u64 + values.refused.estimate(),
            limited: values.limited,
        };
        self.labels.iter().map(stats).collect()
    }
}

impl Values {
    fn new() -> Self {
        Self {
            live: HashMap::new(),
            refused: RecentCardinality::new(GENERATIONS),
            limited: 0,
        }
    }
}
