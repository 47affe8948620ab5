//! Remote write 1.0 on the wire: `prometheus.WriteRequest`, written straight
//! from label bytes that are made once per label set.
//!
//! Source: `prometheus/prompb`, `remote.proto` and `types.proto`; checked
//! against generated messages by the tests of [`crate::encode`].

use model::{Exemplar, LabelSet, Point, Series};

use super::Samples;

/// Field 1 of `WriteRequest`, `TimeSeries` and `Label`, length-delimited.
const FIELD_1_BYTES: u8 = 0x0a;
/// Field 2 of `TimeSeries` (a sample) and `Label` (the value), length-delimited.
const FIELD_2_BYTES: u8 = 0x12;
/// Field 3 of `TimeSeries` (an exemplar), length-delimited.
const FIELD_3_BYTES: u8 = 0x1a;
/// Field 1 of `Sample`, a double.
const FIELD_1_DOUBLE: u8 = 0x09;
/// Field 2 of `Sample`, a varint.
const FIELD_2_VARINT: u8 = 0x10;
/// Field 2 of `Exemplar`, a double.
const FIELD_2_DOUBLE: u8 = 0x11;
/// Field 3 of `Exemplar`, a varint.
const FIELD_3_VARINT: u8 = 0x18;

/// A tag and eight bytes of a double.
pub(super) const DOUBLE_FIELD_LENGTH: usize = 9;
/// A trace id as hexadecimal digits.
pub(super) const TRACE_ID_DIGITS: usize = 32;

/// Label names that are not part of a label set: they come with each series.
pub(super) const NAME: &str = "__name__";
pub(super) const LE: &str = "le";

/// The labels that all series of a label set share, as protobuf, with the
/// places known where `__name__` and `le` go.
#[derive(Debug, Default)]
pub(crate) struct SharedLabels {
    encoded: Vec<u8>,
    name_at: usize,
    le_at: usize,
    /// Where a label `le` of the label set's own ends; `le_at` if it has none.
    le_end: usize,
}

impl SharedLabels {
    /// Takes the labels of a label set.
    pub(crate) fn set(&mut self, own: LabelSet<'_>) {
        self.set_by(own, put_label);
    }

    /// The same in another encoding: `put` appends one label.
    pub(crate) fn set_by(
        &mut self,
        own: LabelSet<'_>,
        mut put: impl FnMut(&mut Vec<u8>, &str, &str),
    ) {
        self.encoded.clear();
        let mut name_at = None;
        let mut le_at = None;
        self.le_end = 0;
        for (name, value) in own {
            if name >= NAME {
                name_at.get_or_insert(self.encoded.len());
                if name == NAME {
                    continue;
                }
            }
            if name >= LE {
                le_at.get_or_insert(self.encoded.len());
            }
            put(&mut self.encoded, name, value);
            if name == LE {
                self.le_end = self.encoded.len();
            }
        }
        self.name_at = name_at.unwrap_or(self.encoded.len());
        self.le_at = le_at.unwrap_or(self.encoded.len());
        self.le_end = self.le_end.max(self.le_at);
    }

    /// Appends one series with its samples and at most one exemplar, whose
    /// label has the name given.
    pub(crate) fn write_series(
        &self,
        out: &mut Vec<u8>,
        series: Series<'_>,
        samples: Samples<'_>,
        exemplar: Option<(&str, Exemplar)>,
    ) {
        let [before_name, before_le, after_le] = self.around(series);
        let length = before_name.len()
            + label_length(NAME, series.name)
            + before_le.len()
            + series.le.map_or(0, |le| label_length(LE, le))
            + after_le.len()
            + samples_length(samples)
            + exemplar.map_or(0, |(label, exemplar)| exemplar_length(label, exemplar));

        // The tag and length of the series come on top.
        out.reserve(length + 11);
        out.push(FIELD_1_BYTES);
        put_varint(out, length as u64);
        out.extend_from_slice(before_name);
        put_label(out, NAME, series.name);
        out.extend_from_slice(before_le);
        if let Some(le) = series.le {
            put_label(out, LE, le);
        }
        out.extend_from_slice(after_le);
        put_samples(out, samples, exemplar);
    }

    /// What comes before a series' name, between that and `le`, and after.
    pub(crate) fn around(&self, series: Series<'_>) -> [&[u8]; 3] {
        let encoded = self.encoded.as_slice();
        let (before_name, rest) = encoded
            .split_at_checked(self.name_at)
            .unwrap_or((encoded, &[]));
        let (before_le, rest) = rest
            .split_at_checked(self.le_at - self.name_at)
            .unwrap_or((rest, &[]));
        let after_le = match series.le {
            // The bucket's bound replaces a label of that name.
            Some(_) => rest.get(self.le_end - self.le_at..).unwrap_or(&[]),
            None => rest,
        };
        [before_name, before_le, after_le]
    }
}

/// Appends one series whose labels are given in full, sorted by name.
pub(crate) fn write_labelled_series<'a>(
    out: &mut Vec<u8>,
    labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    samples: Samples<'_>,
    exemplar: Option<(&str, Exemplar)>,
) {
    let length = labels
        .clone()
        .map(|(name, value)| label_length(name, value))
        .sum::<usize>()
        + samples_length(samples)
        + exemplar.map_or(0, |(label, exemplar)| exemplar_length(label, exemplar));
    out.push(FIELD_1_BYTES);
    put_varint(out, length as u64);
    for (name, value) in labels {
        put_label(out, name, value);
    }
    put_samples(out, samples, exemplar);
}

/// Appends samples and an exemplar, by the numbers of their fields.
#[inline]
fn put_samples(out: &mut Vec<u8>, samples: Samples<'_>, exemplar: Option<(&str, Exemplar)>) {
    if let Samples::Points(points) = samples {
        put_points(out, points);
    }
    if let Some((label, exemplar)) = exemplar {
        put_exemplar(out, label, exemplar);
    }
    if let Samples::Histograms(histograms) = samples {
        histograms.put(out);
    }
}

#[inline]
fn samples_length(samples: Samples<'_>) -> usize {
    match samples {
        Samples::Points(points) => points_length(points),
        Samples::Histograms(histograms) => histograms.length(),
    }
}

#[inline]
fn put_points(out: &mut Vec<u8>, points: &[Point]) {
    for point in points {
        // At most 20 bytes, so its length is one byte.
        let length = point_length(*point) as u8;
        let value = point.value.to_bits().to_le_bytes();
        let [a, b, c, d, e, f, g, h] = value;
        let head = [
            FIELD_2_BYTES,
            length,
            FIELD_1_DOUBLE,
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
            FIELD_2_VARINT,
        ];
        out.extend_from_slice(&head);
        put_varint(out, point.timestamp_ms as u64);
    }
}

#[inline]
fn points_length(points: &[Point]) -> usize {
    points.iter().map(|point| 2 + point_length(*point)).sum()
}

#[inline]
fn point_length(point: Point) -> usize {
    DOUBLE_FIELD_LENGTH + 1 + varint_length(point.timestamp_ms as u64)
}

fn put_exemplar(out: &mut Vec<u8>, label: &str, exemplar: Exemplar) {
    let body = exemplar_body_length(label, exemplar);
    out.push(FIELD_3_BYTES);
    put_varint(out, body as u64);
    out.push(FIELD_1_BYTES);
    put_varint(out, (string_length(label) + 2 + TRACE_ID_DIGITS) as u64);
    put_string(out, FIELD_1_BYTES, label);
    out.push(FIELD_2_BYTES);
    out.push(TRACE_ID_DIGITS as u8);
    for byte in exemplar.trace_id {
        out.push(hex_digit(byte >> 4));
        out.push(hex_digit(byte & 15));
    }
    out.push(FIELD_2_DOUBLE);
    out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    out.push(FIELD_3_VARINT);
    put_varint(out, exemplar.timestamp_ms as u64);
}

fn exemplar_length(label: &str, exemplar: Exemplar) -> usize {
    let body = exemplar_body_length(label, exemplar);
    1 + varint_length(body as u64) + body
}

fn exemplar_body_length(label: &str, exemplar: Exemplar) -> usize {
    let pair = string_length(label) + 2 + TRACE_ID_DIGITS;
    1 + varint_length(pair as u64)
        + pair
        + DOUBLE_FIELD_LENGTH
        + 1
        + varint_length(exemplar.timestamp_ms as u64)
}

pub(super) fn hex_digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + nibble - 10,
    }
}

#[inline]
fn put_label(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(FIELD_1_BYTES);
    put_varint(out, (string_length(name) + string_length(value)) as u64);
    put_string(out, FIELD_1_BYTES, name);
    put_string(out, FIELD_2_BYTES, value);
}

#[inline]
fn label_length(name: &str, value: &str) -> usize {
    let body = string_length(name) + string_length(value);
    1 + varint_length(body as u64) + body
}

#[inline]
fn put_string(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[inline]
fn string_length(text: &str) -> usize {
    1 + varint_length(text.len() as u64) + text.len()
}

#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(crate) fn varint_length(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}
