//! From rows of the spool to requests of one destination.

use std::sync::Arc;

use model::{Exemplar, HistogramSample, LabelSet, Metadata, MetricType, Point, SampleSink, Series};

use crate::encode::v1::{SharedLabels, write_labelled_series};
use crate::encode::v2::{Content, Labels};
use crate::encode::{Batch, Batcher, EncodedHistograms, Samples};
use crate::protocol::Protocol;
use crate::relabel::{EditedLabels, Relabeller};
use crate::spool::DefinedLabelSet;

/// Fills requests with rows, by the rules of a destination.
#[derive(Debug)]
pub(crate) struct RequestWriter {
    relabeller: Arc<Relabeller>,
    batcher: Batcher,
    trace_id_label: String,
    /// The canonical bytes of the current label set, if someone needs it again.
    label_set: Vec<u8>,
    /// How many label sets there have been.
    label_sets: u64,
    /// Since when the current label set has counted.
    started_ms: Option<i64>,
    /// What is told of the current metric.
    kind: Option<MetricType>,
    help: String,
    unit: String,
    shared: SharedLabels,
    edited: EditedLabels,
    histograms: EncodedHistograms,
    /// Requests that were full before the end of a row.
    full: Vec<Batch>,
}

impl RequestWriter {
    /// A writer of requests of so many samples at most.
    pub(crate) fn new(protocol: Protocol, max_samples: u64, relabeller: Arc<Relabeller>) -> Self {
        Self {
            relabeller,
            batcher: Batcher::new(protocol, max_samples),
            trace_id_label: String::new(),
            label_set: Vec::new(),
            label_sets: 0,
            started_ms: None,
            kind: None,
            help: String::new(),
            unit: String::new(),
            shared: SharedLabels::default(),
            edited: EditedLabels::default(),
            histograms: EncodedHistograms::default(),
            full: Vec::new(),
        }
    }

    /// Sets the name of the label of the exemplars that follow.
    pub(crate) fn set_trace_id_label(&mut self, label: &str) {
        if self.trace_id_label != label {
            self.trace_id_label.clear();
            self.trace_id_label.push_str(label);
        }
    }

    /// Makes room for a row of so many series, so that it need not be cut; returns
    /// the request before, if that is full.
    pub(crate) fn make_room_for_row(&mut self, series: usize) -> Option<Batch> {
        // Each may come with a zero before.
        self.batcher.make_room_for(2 * series as u64)
    }

    /// Begins a row.
    pub(crate) fn begin(&mut self, label_set: DefinedLabelSet<'_>) {
        self.label_set(label_set.labels);
        if let Some(started_ms) = label_set.started_ms {
            self.started(started_ms);
        }
    }

    /// Requests that became full within a row.
    pub(crate) fn take_full(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.full)
    }

    /// Samples in the current request and the full ones.
    pub(crate) fn samples(&self) -> u64 {
        let full: u64 = self.full.iter().map(|batch| batch.samples).sum();
        full + self.batcher.samples()
    }

    /// Closes the current request, if it has samples.
    pub(crate) fn close(&mut self) -> Option<Batch> {
        self.batcher.close()
    }

    /// Writes a series into the current request.
    fn write(&mut self, series: Series<'_>, samples: Samples<'_>, exemplar: Option<Exemplar>) {
        let label = self.trace_id_label.as_str();
        let labelled = exemplar.map(|exemplar| (label, exemplar));
        let content = Content {
            samples,
            started_ms: self
                .started_ms
                .filter(|_| self.kind != Some(MetricType::Gauge)),
            metadata: self.kind.map(|kind| Metadata {
                kind,
                help: &self.help,
                unit: &self.unit,
            }),
            exemplar: labelled,
        };
        let own = LabelSet::from_canonical(&self.label_set);
        let is_plain = self.relabeller.is_empty();
        if !is_plain {
            self.edited.set_all(own.iter());
            self.edited
                .set("__name__".to_owned(), series.name.to_owned());
            if let Some(le) = series.le {
                self.edited.set("le".to_owned(), le.to_owned());
            }
            if !self.relabeller.apply(&mut self.edited) {
                return;
            }
        }
        let (shared, edited) = (&self.shared, &self.edited);
        let number = self.label_sets;
        let batcher = &mut self.batcher;
        let full = match (batcher.protocol(), is_plain) {
            (Protocol::V1, true) => batcher.add(samples, exemplar, |raw| {
                shared.write_series(raw, series, samples, labelled);
            }),
            (Protocol::V1, false) => batcher.add(samples, exemplar, |raw| {
                write_labelled_series(raw, edited.iter(), samples, labelled);
            }),
            (Protocol::V2, true) => batcher.add_v2(samples, exemplar, |encoder, out| {
                let labels = Labels { number, own };
                encoder.write_series(out, labels, series, content)
            }),
            (Protocol::V2, false) => batcher.add_v2(samples, exemplar, |encoder, out| {
                encoder.write_labelled_series(out, edited.iter(), content)
            }),
        };
        self.full.extend(full);
    }
}

impl SampleSink for RequestWriter {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        if self.relabeller.is_empty() && self.batcher.protocol() == Protocol::V1 {
            self.shared.set(labels);
        } else {
            self.label_set.clear();
            self.label_set.extend_from_slice(labels.as_bytes());
        }
        self.label_sets += 1;
        self.started_ms = None;
        self.kind = None;
    }

    fn started(&mut self, timestamp_ms: i64) {
        self.started_ms = Some(timestamp_ms);
    }

    fn metric(&mut self, metadata: Metadata<'_>) {
        self.kind = Some(metadata.kind);
        if self.help != metadata.help {
            self.help.clear();
            self.help.push_str(metadata.help);
        }
        if self.unit != metadata.unit {
            self.unit.clear();
            self.unit.push_str(metadata.unit);
        }
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        if !points.is_empty() {
            self.write(series, Samples::Points(points), exemplar);
        }
    }

    fn histogram(
        &mut self,
        name: &str,
        samples: &[HistogramSample<'_>],
        exemplar: Option<Exemplar>,
    ) {
        if samples.is_empty() {
            return;
        }
        let mut histograms = std::mem::take(&mut self.histograms);
        histograms.set(samples);
        let series = Series { name, le: None };
        self.write(series, Samples::Histograms(&histograms), exemplar);
        self.histograms = histograms;
    }
}
