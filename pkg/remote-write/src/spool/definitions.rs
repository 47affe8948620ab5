//! What the numbers in a segment stand for, as its reader knows it.

use model::LabelSet;
use xxhash_rust::xxh3::xxh3_64;

use super::dictionary::{Definition, OwnedMetadata, kind_of};
use super::wire::Fields;

/// What was read of the definitions of one segment.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    /// The records in which label sets are.
    records: Vec<Box<[u8]>>,
    /// In blocks, which are never moved: what grows leaves holes behind.
    label_sets: Vec<Vec<LabelSetPlace>>,
    series: Vec<Option<Definition>>,
    shapes: Vec<Option<Vec<u32>>>,
}

/// Where a label set is.
#[derive(Clone, Copy, Debug)]
struct LabelSetPlace {
    record: u32,
    start: u32,
    length: u32,
    hash: u32,
    /// [`NOT_STARTED`] if nobody has said.
    started_ms: i64,
}

/// Label sets of a block.
const BLOCK: usize = 256;

const NOT_STARTED: i64 = i64::MIN;

impl LabelSetPlace {
    /// Stands for a label set that is not defined.
    const NONE: Self = Self {
        record: u32::MAX,
        start: 0,
        length: 0,
        hash: 0,
        started_ms: NOT_STARTED,
    };
}

/// A label set of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DefinedLabelSet<'a> {
    pub(crate) labels: LabelSet<'a>,
    pub(crate) started_ms: Option<i64>,
    /// The same for the same labels, in every segment and process: it chooses the
    /// shard.
    pub(crate) hash: u32,
}

impl Definitions {
    /// Takes the payload of a record of definitions. What was read of one that is
    /// not whole stays.
    pub(crate) fn add(&mut self, payload: &[u8]) -> Option<()> {
        let mut fields = Fields::new(payload);
        let record = self.records.len() as u32;
        let mut is_needed = false;
        for number in numbers(&mut fields)? {
            let started_ms = match fields.byte()? {
                0 => NOT_STARTED,
                _ => fields.signed()?,
            };
            let labels = fields.slice()?;
            let place = self.place(number)?;
            if place.record == u32::MAX {
                let end = payload.len() - fields.rest().len();
                *place = LabelSetPlace {
                    record,
                    start: (end - labels.len()) as u32,
                    length: labels.len() as u32,
                    hash: xxh3_64(labels) as u32,
                    started_ms,
                };
                is_needed = true;
            }
        }
        if is_needed {
            self.records.push(payload.into());
        }
        for number in numbers(&mut fields)? {
            let name = fields.text()?;
            let has_le = fields.byte()? != 0;
            let le = fields.text()?;
            let metadata = match fields.byte()? {
                0 => None,
                code => Some(OwnedMetadata {
                    kind: kind_of(code)?,
                    help: fields.text()?.to_owned(),
                    unit: fields.text()?.to_owned(),
                }),
            };
            if !is_known(&self.series, number) {
                let definition = Definition {
                    name: name.to_owned(),
                    le: has_le.then(|| le.to_owned()),
                    metadata,
                };
                set(&mut self.series, number, definition);
            }
        }
        for number in numbers(&mut fields)? {
            let length = fields.index()?;
            // Each takes a byte at least.
            if length > fields.rest().len() {
                return None;
            }
            let series = (0..length).map(|_| u32::try_from(fields.varint()?).ok());
            let shape = series.collect::<Option<Vec<_>>>()?;
            if !is_known(&self.shapes, number) {
                set(&mut self.shapes, number, shape);
            }
        }
        Some(())
    }

    /// The place of a label set, made if there is none.
    fn place(&mut self, number: usize) -> Option<&mut LabelSetPlace> {
        while self.label_sets.len() <= number / BLOCK {
            self.label_sets.push(vec![LabelSetPlace::NONE; BLOCK]);
        }
        self.label_sets
            .get_mut(number / BLOCK)?
            .get_mut(number % BLOCK)
    }

    #[inline]
    pub(crate) fn label_set(&self, number: usize) -> Option<DefinedLabelSet<'_>> {
        let place = self.label_sets.get(number / BLOCK)?.get(number % BLOCK)?;
        let (start, length) = (place.start as usize, place.length as usize);
        let record = self.records.get(place.record as usize)?;
        let bytes = record.get(start..start + length)?;
        Some(DefinedLabelSet {
            labels: LabelSet::from_canonical(bytes),
            started_ms: (place.started_ms != NOT_STARTED).then_some(place.started_ms),
            hash: place.hash,
        })
    }

    #[inline]
    pub(crate) fn series(&self, number: u32) -> Option<&Definition> {
        self.series.get(number as usize)?.as_ref()
    }

    #[inline]
    pub(crate) fn shape(&self, number: usize) -> Option<&[u32]> {
        self.shapes.get(number)?.as_deref()
    }
}

/// The numbers of the definitions that follow.
fn numbers(fields: &mut Fields<'_>) -> Option<std::ops::Range<usize>> {
    let first = fields.index()?;
    let count = fields.index()?;
    // Each takes two bytes at least; what says more is not ours, and must not make
    // us take memory.
    if count > fields.rest().len() || first > MAX_NUMBER {
        return None;
    }
    Some(first..first.checked_add(count)?)
}

/// More definitions than any segment has room for.
const MAX_NUMBER: usize = 1 << 20;

fn is_known<T>(all: &[Option<T>], number: usize) -> bool {
    all.get(number).is_some_and(Option::is_some)
}

fn set<T>(all: &mut Vec<Option<T>>, number: usize, definition: T) {
    if all.len() <= number {
        all.resize_with(number + 1, || None);
    }
    if let Some(place) = all.get_mut(number) {
        *place = Some(definition);
    }
}
