//! Remote write 2.0 on the wire: `io.prometheus.write.v2.Request`, in which
//! every text stands once and is referred to by number.
//!
//! Source: `prometheus/prompb/io/prometheus/write/v2`, `types.proto`; checked
//! against generated messages by the tests of [`crate::encode`].

use model::{Exemplar, LabelSet, Metadata, MetricType, Point, Series};

use super::Samples;
use super::symbols::Symbols;
use super::v1::{
    DOUBLE_FIELD_LENGTH, LE, NAME, SharedLabels, TRACE_ID_DIGITS, hex_digit, put_varint,
    varint_length,
};

/// Field 4 of `Request` (a symbol), length-delimited; of `TimeSeries` (an
/// exemplar), too.
const FIELD_4_BYTES: u8 = 0x22;
/// Field 5 of `Request` (a series) and `TimeSeries` (metadata), length-delimited.
const FIELD_5_BYTES: u8 = 0x2a;
/// Field 1 of `TimeSeries` and `Exemplar`: packed references to labels.
const FIELD_1_BYTES: u8 = 0x0a;
/// Field 2 of `TimeSeries` (a sample), length-delimited.
const FIELD_2_BYTES: u8 = 0x12;
/// Field 1 of `Sample`, a double.
const FIELD_1_DOUBLE: u8 = 0x09;
/// Field 2 of `Exemplar`, a double.
const FIELD_2_DOUBLE: u8 = 0x11;
/// Field 1 of `Metadata`, a varint.
const FIELD_1_VARINT: u8 = 0x08;
/// Field 2 of `Sample`, a varint.
const FIELD_2_VARINT: u8 = 0x10;
/// Field 3 of `Sample`, `Exemplar` and `Metadata`, a varint.
const FIELD_3_VARINT: u8 = 0x18;
/// Field 4 of `Metadata`, a varint.
const FIELD_4_VARINT: u8 = 0x20;

/// About what a label takes in remote write 1.0 besides its text, and a series
/// besides its labels.
const LABEL_OVERHEAD: usize = 6;
const SERIES_OVERHEAD: usize = 64;

/// Writes the series of one request after the other. Allocates only for texts
/// that are longer or more than ever before.
#[derive(Default)]
pub(crate) struct Encoder {
    symbols: Symbols,
    /// References of the labels that the series of a label set share.
    shared: SharedLabels,
    /// Of which label set, in this request.
    shared_of: Option<u64>,
    /// About the bytes of these labels in remote write 1.0.
    shared_bytes: usize,
    /// The series being written, before its length is known.
    series: Vec<u8>,
    references: Vec<u8>,
    /// References that are probably right again.
    last: Recent,
}

/// References of the series before.
#[derive(Clone, Copy, Default)]
struct Recent {
    name: u32,
    le: u32,
    help: u32,
    unit: u32,
}

/// What all series of a label set share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels<'a> {
    /// Tells the label set from those before and after it.
    pub(crate) number: u64,
    /// Its labels.
    pub(crate) own: LabelSet<'a>,
}

/// What a series has besides its labels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'a> {
    /// Its samples.
    pub(crate) samples: Samples<'a>,
    /// Since when it has counted, in milliseconds since the Unix epoch; `None`
    /// if it does not count.
    pub(crate) started_ms: Option<i64>,
    /// What its metric is.
    pub(crate) metadata: Option<Metadata<'a>>,
    /// The name of the exemplar's label, and the exemplar.
    pub(crate) exemplar: Option<(&'a str, Exemplar)>,
}

impl Encoder {
    /// Begins a new request.
    pub(crate) fn clear(&mut self) {
        self.symbols.clear();
        self.shared_of = None;
    }

    /// Appends one series: new symbols to `head`, the rest to `body`. Returns
    /// about the bytes that it takes in remote write 1.0.
    pub(crate) fn write_series(
        &mut self,
        (head, body): (&mut Vec<u8>, &mut Vec<u8>),
        labels: Labels<'_>,
        series: Series<'_>,
        content: Content<'_>,
    ) -> usize {
        self.begin(head);
        self.share(head, labels);
        let name = self.intern(head, series.name, self.last.name);
        self.last.name = name;
        let le = series.le.map(|le| {
            // The bounds of a histogram come one after the other, again and again.
            let reference = self.intern(head, le, self.last.le.wrapping_add(1));
            self.last.le = reference;
            reference
        });
        let [before_name, before_le, after_le] = self.shared.around(series);
        self.references.clear();
        self.references.extend_from_slice(before_name);
        put_varint(&mut self.references, NAME_REFERENCE.into());
        put_varint(&mut self.references, name.into());
        self.references.extend_from_slice(before_le);
        if let Some(le) = le {
            put_varint(&mut self.references, LE_REFERENCE.into());
            put_varint(&mut self.references, le.into());
        }
        self.references.extend_from_slice(after_le);
        self.finish(head, body, content);
        let le = series
            .le
            .map_or(0, |le| LE.len() + le.len() + LABEL_OVERHEAD);
        let name = NAME.len() + series.name.len() + LABEL_OVERHEAD;
        self.shared_bytes + name + le + SERIES_OVERHEAD + content.samples.histogram_bytes()
    }

    /// The same for a series whose labels are given in full, sorted by name.
    pub(crate) fn write_labelled_series<'a>(
        &mut self,
        (head, body): (&mut Vec<u8>, &mut Vec<u8>),
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        content: Content<'_>,
    ) -> usize {
        self.begin(head);
        self.references.clear();
        let mut bytes = SERIES_OVERHEAD + content.samples.histogram_bytes();
        for (name, value) in labels {
            for text in [name, value] {
                let reference = intern(&mut self.symbols, head, text);
                put_varint(&mut self.references, reference.into());
            }
            bytes += name.len() + value.len() + LABEL_OVERHEAD;
        }
        self.finish(head, body, content);
        bytes
    }

    /// Begins a request with the texts that have fixed references.
    fn begin(&mut self, head: &mut Vec<u8>) {
        if self.symbols.is_empty() {
            put_symbol(head, "");
            intern(&mut self.symbols, head, NAME);
            intern(&mut self.symbols, head, LE);
        }
    }

    /// Prepares the labels of a label set, unless they are.
    fn share(&mut self, head: &mut Vec<u8>, labels: Labels<'_>) {
        if self.shared_of == Some(labels.number) {
            return;
        }
        let mut bytes = 0;
        let symbols = &mut self.symbols;
        self.shared.set_by(labels.own, |references, name, value| {
            for text in [name, value] {
                put_varint(references, intern(symbols, head, text).into());
            }
            bytes += name.len() + value.len() + LABEL_OVERHEAD;
        });
        self.shared_bytes = bytes;
        self.shared_of = Some(labels.number);
    }

    /// The reference of a text, which is probably the one given.
    #[inline]
    fn intern(&mut self, head: &mut Vec<u8>, text: &str, probably: u32) -> u32 {
        if self.symbols.is(probably, text) {
            return probably;
        }
        intern(&mut self.symbols, head, text)
    }

    /// Appends the series with the labels in `references`.
    fn finish(&mut self, head: &mut Vec<u8>, body: &mut Vec<u8>, content: Content<'_>) {
        let mut series = std::mem::take(&mut self.series);
        series.clear();
        put_bytes(&mut series, FIELD_1_BYTES, &self.references);
        match content.samples {
            Samples::Points(points) => {
                for point in points {
                    put_sample(&mut series, *point, content.started_ms);
                }
            }
            Samples::Histograms(histograms) => {
                histograms.put_v2(&mut series, content.started_ms);
            }
        }
        if let Some((label, exemplar)) = content.exemplar {
            self.put_exemplar(head, &mut series, label, exemplar);
        }
        if let Some(metadata) = content.metadata {
            self.put_metadata(head, &mut series, metadata);
        }
        put_bytes(body, FIELD_5_BYTES, &series);
        self.series = series;
    }

    fn put_exemplar(
        &mut self,
        head: &mut Vec<u8>,
        out: &mut Vec<u8>,
        label: &str,
        exemplar: Exemplar,
    ) {
        let mut digits = [0; TRACE_ID_DIGITS];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(exemplar.trace_id) {
            pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
        let label = intern(&mut self.symbols, head, label).into();
        let trace_id = std::str::from_utf8(&digits).unwrap_or_default();
        let trace_id = intern(&mut self.symbols, head, trace_id).into();
        let references = varint_length(label) + varint_length(trace_id);
        let timestamp = exemplar.timestamp_ms as u64;
        out.push(FIELD_4_BYTES);
        // At most 5 for each reference and 10 for the time, so one byte each.
        out.push((2 + references + DOUBLE_FIELD_LENGTH + 1 + varint_length(timestamp)) as u8);
        out.push(FIELD_1_BYTES);
        out.push(references as u8);
        put_varint(out, label);
        put_varint(out, trace_id);
        out.push(FIELD_2_DOUBLE);
        out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
        out.push(FIELD_3_VARINT);
        put_varint(out, timestamp);
    }

    fn put_metadata(&mut self, head: &mut Vec<u8>, out: &mut Vec<u8>, metadata: Metadata<'_>) {
        self.last.help = self.intern(head, metadata.help, self.last.help);
        self.last.unit = self.intern(head, metadata.unit, self.last.unit);
        let fields = [
            (FIELD_1_VARINT, metric_type(metadata.kind)),
            (FIELD_3_VARINT, self.last.help),
            (FIELD_4_VARINT, self.last.unit),
        ];
        let fields = fields.iter().filter(|(_, value)| *value != 0);
        let length = fields
            .clone()
            .map(|(_, value)| 1 + varint_length(u64::from(*value)));
        out.push(FIELD_5_BYTES);
        // At most 6 for each field, so one byte.
        out.push(length.sum::<usize>() as u8);
        for (tag, value) in fields {
            out.push(*tag);
            put_varint(out, u64::from(*value));
        }
    }
}

/// `__name__` and `le` are the first texts of every request after the empty one.
const NAME_REFERENCE: u32 = 1;
const LE_REFERENCE: u32 = 2;

fn intern(symbols: &mut Symbols, head: &mut Vec<u8>, text: &str) -> u32 {
    let (reference, is_new) = symbols.intern(text);
    if is_new {
        put_symbol(head, text);
    }
    reference
}

fn put_symbol(head: &mut Vec<u8>, text: &str) {
    put_bytes(head, FIELD_4_BYTES, text.as_bytes());
}

#[inline]
fn put_sample(out: &mut Vec<u8>, point: Point, started_ms: Option<i64>) {
    let started = start(started_ms, point.timestamp_ms);
    let timestamp = point.timestamp_ms as u64;
    let start_length = started.map_or(0, |started| 1 + varint_length(started as u64));
    out.push(FIELD_2_BYTES);
    // At most 31 bytes, so its length is one byte.
    out.push((DOUBLE_FIELD_LENGTH + 1 + varint_length(timestamp) + start_length) as u8);
    out.push(FIELD_1_DOUBLE);
    out.extend_from_slice(&point.value.to_bits().to_le_bytes());
    out.push(FIELD_2_VARINT);
    put_varint(out, timestamp);
    if let Some(started) = started {
        out.push(FIELD_3_VARINT);
        put_varint(out, started as u64);
    }
}

/// The start timestamp of a sample. It must not be later than the sample: a zero
/// before the first value has none.
#[inline]
pub(super) fn start(started_ms: Option<i64>, timestamp_ms: i64) -> Option<i64> {
    started_ms.filter(|started| *started <= timestamp_ms && *started != 0)
}

#[inline]
fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// `Metadata.MetricType`.
fn metric_type(kind: MetricType) -> u32 {
    match kind {
        MetricType::Unknown => 0,
        MetricType::Counter => 1,
        MetricType::Gauge => 2,
        MetricType::Histogram => 3,
        MetricType::GaugeHistogram => 4,
        MetricType::Summary => 5,
        MetricType::Info => 6,
        MetricType::StateSet => 7,
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}
