//! A survey as bytes, for another node to merge.
//!
//! Version 1, in the numbers and texts of `records`: the byte 1; nodes; labels
//! dropped (how many, then each); families (how many, then each). A family: metrics
//! (how many, then name and series of each), label sets, refused, other labels, the
//! sketches `distinct` and `without`, labels (how many, then each). A label: name,
//! label sets, sketch of its values, error, values (how many, then text and count of
//! each). A sketch: how many of its 1,024 registers are not zero; of each, how many
//! zeros come before it, and its rank in one byte. Hashes are XXH3-64 without a seed:
//! of a value; of a canonical label set; and of names and values in turn, each after
//! its length in 8 bytes, little endian, of what is not dropped.

use hashbrown::HashMap;

use super::{FamilySurvey, LabelSurvey, MAX_LABELS, MetricSurvey, Survey};
use crate::cardinality::Cardinality;
use crate::records::{Cursor, RestoreError, put_bytes, put_varint};
use crate::top_values::TopValues;

const VERSION: u8 = 1;

/// Families, dropped labels and metrics of one family that are read at most: far
/// more than there can be.
const MAX_ITEMS: u64 = 1_024;
/// Values of a label that are read at most: all that a sketch keeps.
const MAX_VALUES: u64 = 512;

/// Bytes that are no survey.
#[derive(Debug, thiserror::Error)]
pub enum DecodeSurveyError {
    /// Another version of spanmill wrote them.
    #[error("version {version} of a survey is not known")]
    Version {
        /// What they begin with.
        version: u8,
    },
    /// They are not what was written.
    #[error("the survey is damaged")]
    Damaged(#[source] RestoreError),
}

impl From<RestoreError> for DecodeSurveyError {
    fn from(error: RestoreError) -> Self {
        Self::Damaged(error)
    }
}

impl Survey {
    /// The survey as bytes: a few kilobytes for each label.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_varint(&mut out, self.nodes);
        put_varint(&mut out, self.dropped.len() as u64);
        for name in &self.dropped {
            put_bytes(&mut out, name.as_bytes());
        }
        put_varint(&mut out, self.families.len() as u64);
        for (metrics, family) in &self.families {
            put_varint(&mut out, metrics.len() as u64);
            for metric in metrics {
                put_bytes(&mut out, metric.name.as_bytes());
                put_varint(&mut out, metric.series);
            }
            put_family(&mut out, family);
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote; other bytes do no harm.
    ///
    /// # Errors
    ///
    /// [`DecodeSurveyError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeSurveyError> {
        let mut cursor = Cursor::new(bytes);
        let version = cursor.byte()?;
        if version != VERSION {
            return Err(DecodeSurveyError::Version { version });
        }
        let mut survey = Self {
            nodes: cursor.varint()?,
            ..Self::default()
        };
        for _ in 0..count(&mut cursor, MAX_ITEMS)? {
            survey.dropped.push(cursor.text()?.to_owned());
        }
        for _ in 0..count(&mut cursor, MAX_ITEMS)? {
            let mut metrics = Vec::new();
            for _ in 0..count(&mut cursor, MAX_ITEMS)? {
                metrics.push(MetricSurvey {
                    name: cursor.text()?.to_owned(),
                    series: cursor.varint()?,
                });
            }
            let family = read_family(&mut cursor)?;
            survey.families.insert(metrics, family);
        }
        match cursor.is_empty() {
            true => Ok(survey),
            false => Err(RestoreError::damaged("something follows its end").into()),
        }
    }
}

fn put_family(out: &mut Vec<u8>, family: &FamilySurvey) {
    for number in [family.label_sets, family.refused, family.other_labels] {
        put_varint(out, number);
    }
    put_sketch(out, &family.distinct);
    put_sketch(out, &family.without);
    put_varint(out, family.labels.len() as u64);
    for (name, label) in &family.labels {
        put_bytes(out, name.as_bytes());
        put_varint(out, label.label_sets);
        put_sketch(out, &label.values);
        put_varint(out, label.top.error());
        let values = label.top.top(usize::MAX);
        put_varint(out, values.len() as u64);
        for (value, times) in values {
            put_bytes(out, value.as_bytes());
            put_varint(out, times);
        }
    }
}

fn read_family(cursor: &mut Cursor<'_>) -> Result<FamilySurvey, RestoreError> {
    let mut family = FamilySurvey {
        label_sets: cursor.varint()?,
        refused: cursor.varint()?,
        other_labels: cursor.varint()?,
        distinct: read_sketch(cursor)?,
        without: read_sketch(cursor)?,
        ..FamilySurvey::default()
    };
    for _ in 0..count(cursor, MAX_LABELS as u64)? {
        let name = cursor.text()?.to_owned();
        let label_sets = cursor.varint()?;
        let values = read_sketch(cursor)?;
        let error = cursor.varint()?;
        let mut counts = HashMap::new();
        for _ in 0..count(cursor, MAX_VALUES)? {
            counts.insert(cursor.text()?.into(), cursor.varint()?);
        }
        family.labels.insert(
            name,
            LabelSurvey {
                label_sets,
                values,
                top: TopValues::restore(counts, error),
            },
        );
    }
    Ok(family)
}

fn put_sketch(out: &mut Vec<u8>, sketch: &Cardinality) {
    let ranks = sketch.ranks();
    let set = ranks.iter().filter(|rank| **rank > 0).count();
    put_varint(out, set as u64);
    let mut zeros = 0;
    for rank in ranks {
        match rank {
            0 => zeros += 1,
            rank => {
                put_varint(out, zeros);
                out.push(*rank);
                zeros = 0;
            }
        }
    }
}

fn read_sketch(cursor: &mut Cursor<'_>) -> Result<Cardinality, RestoreError> {
    let mut sketch = Cardinality::new();
    let mut place = 0_u64;
    for _ in 0..count(cursor, sketch.ranks().len() as u64)? {
        place = place.saturating_add(cursor.varint()?);
        let rank = cursor.byte()?;
        if !sketch.set_rank(place, rank) {
            return Err(RestoreError::damaged("a sketch has no such register"));
        }
        place += 1;
    }
    Ok(sketch)
}

fn count(cursor: &mut Cursor<'_>, max: u64) -> Result<u64, RestoreError> {
    match cursor.varint()? {
        count if count <= max => Ok(count),
        _ => Err(RestoreError::damaged("a number is too large")),
    }
}
