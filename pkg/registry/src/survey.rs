//! What a registry's series are made of: which metrics, labels and values.
//!
//! Asked for, and never kept: a walk over the label sets copies a few of them at a
//! time, so that pushes do not wait (D30), and sketches of bounded size take them
//! in. Surveys of several nodes can be merged.

mod encoding;

use std::collections::BTreeMap;

use model::LabelSet;
use parking_lot::MutexGuard;
use xxhash_rust::xxh3::xxh3_64;

use crate::cardinality::Cardinality;
use crate::schema::Schema;
use crate::state::{Registry, TableId};
use crate::table::Table;
use crate::top_values::TopValues;

pub use self::encoding::DecodeSurveyError;

/// Label sets that are copied before pushes or scrapes that wait get their turn.
const STEP_SLOTS: u32 = 64;
/// The same of label sets that are only counted.
const COUNTED_SLOTS: usize = 4_096;

/// Labels of which one family has sketches, a few kilobytes each: a resource may
/// have any number of attributes.
const MAX_LABELS: usize = 256;

/// What the series of one tenant are made of, on one node or on several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Nodes whose series are in it.
    pub nodes: u64,
    /// The labels that [`FamilySurvey::without`] leaves out, sorted.
    pub dropped: Vec<String>,
    /// By the metrics that share label sets.
    pub families: BTreeMap<Vec<MetricSurvey>, FamilySurvey>,
}

/// A metric of a family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricSurvey {
    /// Its name, without the suffixes of a histogram's series.
    pub name: String,
    /// Series of one label set, as limits count them.
    pub series: u64,
}

/// Metrics that share their label sets, such as those of span metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilySurvey {
    /// Label sets that count against the limits, summed over the nodes: exact.
    pub label_sets: u64,
    /// Label sets that a limit refused lately, about, summed over the nodes.
    pub refused: u64,
    /// Different label sets: fewer than the sum where nodes have the same ones.
    pub distinct: Cardinality,
    /// Different label sets without the labels that are dropped.
    pub without: Cardinality,
    /// By the label's name.
    pub labels: BTreeMap<String, LabelSurvey>,
    /// Labels that label sets had beyond the first 256 names, summed.
    pub other_labels: u64,
}

/// One label of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSurvey {
    /// Label sets that have it, summed over the nodes: exact.
    pub label_sets: u64,
    /// Different values.
    pub values: Cardinality,
    /// The values that most label sets have, counted in label sets.
    pub top: TopValues,
}

/// Surveys that cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("one survey is without {one:?}, the other without {other:?}")]
pub struct MergeSurveysError {
    /// Labels that the one leaves out.
    pub one: Vec<String>,
    /// Labels that the other leaves out.
    pub other: Vec<String>,
}

impl Registry {
    /// Looks at every label set that counts against the limits.
    ///
    /// Takes some 3 us for a label set; pushes go on meanwhile, and what they bring
    /// may be in it or not. [`FamilySurvey::without`] counts label
    /// sets without the labels `dropped`.
    pub fn survey(&self, dropped: &[String]) -> Survey {
        let mut dropped = dropped.to_vec();
        dropped.sort_unstable();
        dropped.dedup();
        let mut survey = Survey {
            nodes: 1,
            dropped,
            families: BTreeMap::new(),
        };
        let tables = self.state.lock().tables.len();
        let mut copied = Copied::default();
        let mut kept = Vec::new();
        for index in 0..tables {
            let (metrics, slots, refused) = {
                let state = self.state.lock();
                let Some(table) = state.tables.get(index).filter(|table| !table.retired) else {
                    continue;
                };
                let refused = table.refused.estimate();
                (MetricSurvey::of(&table.schema), table.len(), refused)
            };
            let family = survey.families.entry(metrics).or_default();
            family.refused += refused;
            for first in (0..slots).step_by(STEP_SLOTS as usize) {
                let state = self.state.lock();
                if let Some(table) = state.tables.get(index) {
                    copied.take(table, first..slots.min(first + STEP_SLOTS));
                }
                MutexGuard::unlock_fair(state);
                for labels in copied.label_sets() {
                    family.add(labels, &survey.dropped, &mut kept);
                }
            }
        }
        survey
    }

    /// Label sets of a table that count against the limits.
    pub fn label_sets(&self, table: &TableId) -> u64 {
        let slots = self
            .state
            .lock()
            .tables
            .get(table.index)
            .map_or(0, Table::len);
        let mut label_sets = 0;
        for first in (0..slots).step_by(COUNTED_SLOTS) {
            let state = self.state.lock();
            if let Some(table) = state.tables.get(table.index) {
                let step = first..table.len().min(first + COUNTED_SLOTS as u32);
                label_sets += step.filter(|slot| table.counts(*slot)).count() as u64;
            }
            MutexGuard::unlock_fair(state);
        }
        label_sets
    }
}

impl MetricSurvey {
    /// The metrics of a table.
    pub fn of(schema: &Schema) -> Vec<Self> {
        let columns = schema.columns().iter();
        let metrics = columns.map(|column| Self {
            name: column.metric.name.clone(),
            series: column.series,
        });
        metrics.collect()
    }
}

impl Survey {
    /// Adds what another node has.
    ///
    /// # Errors
    ///
    /// Surveys without different labels; then nothing is added.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeSurveysError> {
        if self.dropped != other.dropped {
            return Err(MergeSurveysError {
                one: self.dropped.clone(),
                other: other.dropped.clone(),
            });
        }
        self.nodes = self.nodes.saturating_add(other.nodes);
        for (metrics, family) in &other.families {
            let own = self.families.entry(metrics.clone()).or_default();
            own.merge(family);
        }
        Ok(())
    }

    /// Series as limits count them, summed over the nodes.
    pub fn series(&self) -> u64 {
        let families = self.families.iter();
        families
            .map(|(metrics, family)| family.label_sets.saturating_mul(series_of(metrics)))
            .fold(0, u64::saturating_add)
    }
}

/// Series of one label set with these metrics.
pub fn series_of(metrics: &[MetricSurvey]) -> u64 {
    let series = metrics.iter().map(|metric| metric.series);
    series.fold(0, u64::saturating_add)
}

impl FamilySurvey {
    /// Takes a label set in; `kept` is memory for it without those that are dropped.
    fn add(&mut self, labels: LabelSet<'_>, dropped: &[String], kept: &mut Vec<u8>) {
        self.label_sets += 1;
        self.distinct.insert_hash(xxh3_64(labels.as_bytes()));
        if !dropped.is_empty() {
            kept.clear();
            for (name, value) in labels {
                if dropped.iter().any(|dropped| dropped == name) {
                    continue;
                }
                for text in [name, value] {
                    kept.extend_from_slice(&(text.len() as u64).to_le_bytes());
                    kept.extend_from_slice(text.as_bytes());
                }
            }
            self.without.insert_hash(xxh3_64(kept));
        }
        for (name, value) in labels {
            if !self.labels.contains_key(name) {
                if self.labels.len() >= MAX_LABELS {
                    self.other_labels += 1;
                    continue;
                }
                self.labels.insert(name.to_owned(), LabelSurvey::default());
            }
            if let Some(label) = self.labels.get_mut(name) {
                label.label_sets += 1;
                label.values.insert_hash(xxh3_64(value.as_bytes()));
                label.top.add(value, 1);
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.label_sets = self.label_sets.saturating_add(other.label_sets);
        self.refused = self.refused.saturating_add(other.refused);
        self.distinct.merge(&other.distinct);
        self.without.merge(&other.without);
        self.other_labels = self.other_labels.saturating_add(other.other_labels);
        for (name, label) in &other.labels {
            if self.labels.len() >= MAX_LABELS && !self.labels.contains_key(name) {
                self.other_labels = self.other_labels.saturating_add(label.label_sets);
                continue;
            }
            let own = self.labels.entry(name.clone()).or_default();
            own.label_sets = own.label_sets.saturating_add(label.label_sets);
            own.values.merge(&label.values);
            own.top.merge(&label.top);
        }
    }

    /// Different label sets without those that are dropped: about, and no more than
    /// there are label sets. Exact if none of them has such a label.
    pub fn label_sets_without(&self, dropped: &[String]) -> u64 {
        let has_any = dropped.iter().any(|name| self.labels.contains_key(name));
        match has_any {
            true => self.without.estimate().min(self.label_sets),
            false => self.label_sets,
        }
    }
}

impl LabelSurvey {
    /// How many different values it has: exact up to 512, about beyond.
    pub fn distinct_values(&self) -> u64 {
        match self.top.error() {
            0 => self.top.len() as u64,
            _ => self.values.estimate(),
        }
    }
}

/// Label sets on their way from a table to sketches.
#[derive(Debug, Default)]
struct Copied {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Copied {
    fn take(&mut self, table: &Table, slots: std::ops::Range<u32>) {
        self.bytes.clear();
        self.ends.clear();
        for number in slots.filter(|number| table.counts(*number)) {
            if let Some(slot) = table.slot(number) {
                let labels = table.label_set(slot);
                self.bytes.extend_from_slice(labels.as_bytes());
                self.ends.push(self.bytes.len());
            }
        }
    }

    fn label_sets(&self) -> impl Iterator<Item = LabelSet<'_>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let labels = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            LabelSet::from_canonical(labels)
        })
    }
}
