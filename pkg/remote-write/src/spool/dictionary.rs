//! What a segment calls label sets and series while it is written: small numbers.
//!
//! A segment defines what its samples refer to, so that each can be read, kept and
//! removed without any other.

use std::hash::Hasher as _;

use hashbrown::HashTable;
use model::{LabelSet, LabelSetBuf, Metadata, MetricType, Series};
use rand::RngCore as _;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::record::HEADER_BYTES;
use super::wire::{put_signed, put_slice};
use crate::encode::v1::put_varint;

/// Numbers for everything that was defined in the current segment.
pub(crate) struct Dictionary {
    /// Secret, so that nobody outside can choose label sets that are taken for
    /// one another.
    keys: (u64, u64),
    external: Vec<(String, String)>,
    label_sets: HashTable<(u128, u32)>,
    metadata: Vec<OwnedMetadata>,
    series: Vec<(Definition, u32)>,
    by_name: HashTable<u32>,
    shapes: Vec<Vec<u32>>,
    new: NewDefinitions,
    merged: LabelSetBuf,
}

/// A series of a label set: all but the label set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) le: Option<String>,
    pub(crate) metadata: Option<OwnedMetadata>,
}

/// [`Metadata`] with its own texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedMetadata {
    pub(crate) kind: MetricType,
    pub(crate) help: String,
    pub(crate) unit: String,
}

impl OwnedMetadata {
    pub(crate) fn as_metadata(&self) -> Metadata<'_> {
        Metadata {
            kind: self.kind,
            help: &self.help,
            unit: &self.unit,
        }
    }
}

impl Definition {
    fn is(&self, series: Series<'_>) -> bool {
        self.name == series.name && self.le.as_deref() == series.le
    }
}

/// Stands for a metric of which nothing is told.
pub(crate) const NO_METADATA: u32 = u32::MAX;

/// What was defined since the last record of definitions.
#[derive(Debug, Default)]
struct NewDefinitions {
    label_sets: Part,
    series: Part,
    shapes: Part,
}

/// Definitions of one kind, numbered one after the other.
#[derive(Debug, Default)]
struct Part {
    first: u32,
    count: u32,
    bytes: Vec<u8>,
}

impl Part {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn take_into(&mut self, out: &mut Vec<u8>) {
        put_varint(out, self.first.into());
        put_varint(out, self.count.into());
        out.extend_from_slice(&self.bytes);
        self.first += self.count;
        self.count = 0;
        self.bytes.clear();
    }
}

impl Default for Dictionary {
    fn default() -> Self {
        let mut random = rand::rng();
        Self {
            keys: (random.next_u64(), random.next_u64()),
            external: Vec::new(),
            label_sets: HashTable::new(),
            metadata: Vec::new(),
            series: Vec::new(),
            by_name: HashTable::new(),
            shapes: Vec::new(),
            new: NewDefinitions::default(),
            merged: LabelSetBuf::new(),
        }
    }
}

impl Dictionary {
    /// Sets the labels that label sets get from now on, sorted by name, each once,
    /// none empty.
    pub(crate) fn set_external(&mut self, external: &[(String, String)]) {
        if self.external != external {
            self.external = external.to_vec();
            // Their numbers stand for what they were defined as.
            self.label_sets.clear();
        }
    }

    /// The labels that label sets get, to be taken over into the next segment.
    pub(crate) fn into_external(self) -> Vec<(String, String)> {
        self.external
    }

    /// The number of a label set that has counted since `started_ms`, and gets the
    /// external labels.
    pub(crate) fn label_set(&mut self, labels: LabelSet<'_>, started_ms: Option<i64>) -> u32 {
        let is_complete = self.external.is_empty();
        self.number_of(labels, started_ms, is_complete)
    }

    /// The number of a label set that has all its labels.
    pub(crate) fn complete_label_set(
        &mut self,
        labels: LabelSet<'_>,
        started_ms: Option<i64>,
    ) -> u32 {
        self.number_of(labels, started_ms, true)
    }

    fn number_of(
        &mut self,
        labels: LabelSet<'_>,
        started_ms: Option<i64>,
        is_complete: bool,
    ) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        hasher.write(labels.as_bytes());
        hasher.write_i64(started_ms.unwrap_or(i64::MIN));
        hasher.write_u8(is_complete.into());
        let hash = hasher.finish128().as_u128();
        let found = self
            .label_sets
            .find(hash as u64, |(known, _)| *known == hash);
        if let Some((_, number)) = found {
            return *number;
        }
        let part = &mut self.new.label_sets;
        let number = part.first + part.count;
        part.count += 1;
        match started_ms {
            Some(started_ms) => {
                part.bytes.push(1);
                put_signed(&mut part.bytes, started_ms);
            }
            None => part.bytes.push(0),
        }
        if is_complete {
            put_slice(&mut part.bytes, labels.as_bytes());
        } else {
            self.merged.clear();
            for (name, value) in merge(labels, &self.external) {
                self.merged.push(name, value);
            }
            put_slice(&mut part.bytes, self.merged.finish().as_bytes());
        }
        self.label_sets
            .insert_unique(hash as u64, (hash, number), |(hash, _)| *hash as u64);
        number
    }

    /// The number of what is told of a metric.
    #[inline]
    pub(crate) fn metadata(&mut self, metadata: Metadata<'_>) -> u32 {
        let mut known = self.metadata.iter();
        let found = known.position(|known| known.as_metadata() == metadata);
        let number = found.unwrap_or_else(|| {
            self.metadata.push(OwnedMetadata {
                kind: metadata.kind,
                help: metadata.help.to_owned(),
                unit: metadata.unit.to_owned(),
            });
            self.metadata.len() - 1
        });
        number as u32
    }

    /// The number of a series, which is probably `guess`.
    #[inline]
    pub(crate) fn series(&mut self, series: Series<'_>, metadata: u32, guess: u32) -> u32 {
        let is =
            |(definition, told): &(Definition, u32)| *told == metadata && definition.is(series);
        if self.series.get(guess as usize).is_some_and(is) {
            return guess;
        }
        let hash = hash_series(series.name, series.le);
        let all = &self.series;
        let found = self
            .by_name
            .find(hash, |number| all.get(*number as usize).is_some_and(is));
        match found {
            Some(number) => *number,
            None => self.define_series(series, metadata, hash),
        }
    }

    fn define_series(&mut self, series: Series<'_>, metadata: u32, hash: u64) -> u32 {
        let number = self.series.len() as u32;
        let definition = Definition {
            name: series.name.to_owned(),
            le: series.le.map(str::to_owned),
            metadata: self.metadata.get(metadata as usize).cloned(),
        };
        let part = &mut self.new.series;
        part.count += 1;
        put_slice(&mut part.bytes, series.name.as_bytes());
        part.bytes.push(u8::from(series.le.is_some()));
        put_slice(&mut part.bytes, series.le.unwrap_or_default().as_bytes());
        let told = definition.metadata.as_ref();
        part.bytes.push(told.map_or(0, |told| kind_code(told.kind)));
        if let Some(told) = told {
            put_slice(&mut part.bytes, told.help.as_bytes());
            put_slice(&mut part.bytes, told.unit.as_bytes());
        }
        self.series.push((definition, metadata));
        let all = &self.series;
        self.by_name.insert_unique(hash, number, |number| {
            all.get(*number as usize).map_or(0, |(definition, _)| {
                hash_series(&definition.name, definition.le.as_deref())
            })
        });
        number
    }

    /// The number of a shape, the series that a label set has; probably `guess`.
    #[inline]
    pub(crate) fn shape(&mut self, series: &[u32], guess: u32) -> u32 {
        if self
            .shapes
            .get(guess as usize)
            .is_some_and(|shape| shape == series)
        {
            return guess;
        }
        let found = self.shapes.iter().position(|shape| shape == series);
        if let Some(number) = found {
            return number as u32;
        }
        let part = &mut self.new.shapes;
        part.count += 1;
        put_varint(&mut part.bytes, series.len() as u64);
        for number in series {
            put_varint(&mut part.bytes, (*number).into());
        }
        self.shapes.push(series.to_vec());
        self.shapes.len() as u32 - 1
    }

    /// The first series of a shape.
    pub(crate) fn first_of(&self, shape: u32) -> u32 {
        let shape = self.shapes.get(shape as usize);
        shape.and_then(|shape| shape.first()).copied().unwrap_or(0)
    }

    /// Bytes of what is new since the last record of definitions.
    pub(crate) fn new_bytes(&self) -> usize {
        self.new.label_sets.bytes.len()
    }

    /// A record, not sealed yet, of what is new since the last; `None` if nothing is.
    pub(crate) fn take_new(&mut self) -> Option<Vec<u8>> {
        let new = &mut self.new;
        if new.label_sets.is_empty() && new.series.is_empty() && new.shapes.is_empty() {
            return None;
        }
        let mut record = vec![0; HEADER_BYTES];
        for part in [&mut new.label_sets, &mut new.series, &mut new.shapes] {
            part.take_into(&mut record);
        }
        // What grew with the first collection is not needed again.
        new.label_sets.bytes.shrink_to(1 << 10);
        Some(record)
    }
}

/// The labels of a set and the external ones, sorted by name, each once. Of two with
/// one name the series' own stays (differences, D26).
fn merge<'a>(
    own: LabelSet<'a>,
    external: &'a [(String, String)],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut own = own.iter().peekable();
    let mut external = external
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .peekable();
    std::iter::from_fn(move || match (own.peek(), external.peek()) {
        (Some((ours, _)), Some((theirs, _))) => {
            if theirs < ours {
                external.next()
            } else {
                if theirs == ours {
                    external.next();
                }
                own.next()
            }
        }
        (Some(_), None) => own.next(),
        (None, _) => external.next(),
    })
}

fn hash_series(name: &str, le: Option<&str>) -> u64 {
    let le = le.unwrap_or_default();
    xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), xxhash_rust::xxh3::xxh3_64(le.as_bytes()))
}

/// The metric types by their numbers in the spool, which begin with 1.
const KINDS: [MetricType; 8] = [
    MetricType::Counter,
    MetricType::Gauge,
    MetricType::Histogram,
    MetricType::Summary,
    MetricType::GaugeHistogram,
    MetricType::Info,
    MetricType::StateSet,
    MetricType::Unknown,
];

/// The number of a metric type in the spool.
fn kind_code(kind: MetricType) -> u8 {
    let place = KINDS.iter().position(|known| *known == kind);
    place.map_or(0, |place| place as u8 + 1)
}

/// The metric type of a number.
pub(crate) fn kind_of(code: u8) -> Option<MetricType> {
    KINDS.get(usize::from(code).checked_sub(1)?).copied()
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionary")
            .field("label_sets", &self.label_sets.len())
            .field("series", &self.series.len())
            .finish_non_exhaustive()
    }
}
