//! From a collection to the buffer: one tenant's side of remote write.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Exemplar, HistogramSample, LabelSet, Metadata, MetricType, Point, SampleSink, Series, TenantId,
};
use settings::Secret;

use crate::RemoteWrite;
use crate::encode::v1::{SharedLabels, merge, write_labelled_series};
use crate::encode::v2::{Content, Labels};
use crate::encode::{Batch, Batcher, EncodedHistograms, Samples};
use crate::protocol::Protocol;
use crate::relabel::{EditedLabels, Relabeller};

/// Writes one tenant's samples.
///
/// When it is dropped, what waits is still sent; then the tenant's metrics go.
#[derive(Debug)]
pub struct TenantWriter(Arc<OpenTenant>);

/// A tenant that is kept in the buffer until this is dropped.
#[derive(Debug)]
struct OpenTenant {
    remote_write: RemoteWrite,
    tenant: TenantId,
}

/// The samples of one collection on their way into the buffer.
///
/// Encodes and compresses as samples come, on the caller's thread; waits for
/// nothing. Each request is sent as soon as it is full, so that a collection
/// is never held as a whole; the last one by [`Append::commit`], without which
/// its samples are lost.
#[derive(Debug)]
#[must_use = "the last request is sent when this is committed"]
pub struct Append {
    open: Arc<OpenTenant>,
    external_labels: Vec<(String, String)>,
    trace_id_label: String,
    /// The canonical bytes of the current label set, if someone needs it again.
    label_set: Vec<u8>,
    /// How many label sets there have been.
    label_sets: u64,
    /// Since when the current label set has counted.
    started_ms: Option<i64>,
    /// The current metric.
    metadata: Option<Metadata>,
    shared: SharedLabels,
    edited: EditedLabels,
    histograms: EncodedHistograms,
    streams: Vec<Stream>,
}

/// Requests that are made for some endpoints.
#[derive(Debug)]
struct Stream {
    /// The place of its [`Encoding`].
    encoding: usize,
    /// Those of its endpoints that speak the protocol.
    endpoints: Vec<usize>,
    batcher: Batcher,
}

/// Endpoints that send the same requests, if they speak the same protocol: they
/// are encoded once.
#[derive(Debug)]
pub(crate) struct Encoding {
    pub(crate) relabeller: Relabeller,
    pub(crate) max_samples: u64,
    pub(crate) endpoints: Vec<usize>,
}

impl TenantWriter {
    /// A writer of a tenant that has just been opened in the buffer.
    pub(crate) fn new(remote_write: RemoteWrite, tenant: TenantId) -> Self {
        Self(Arc::new(OpenTenant {
            remote_write,
            tenant,
        }))
    }

    /// Starts taking the samples of one collection.
    ///
    /// The external labels are added to every series that has no label of that
    /// name; exemplars get `trace_id_label`.
    pub fn append(&self, external_labels: &[(String, String)], trace_id_label: &str) -> Append {
        let external: BTreeMap<_, _> = external_labels
            .iter()
            .rev()
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Append {
            open: self.0.clone(),
            external_labels: external.into_iter().collect(),
            trace_id_label: trace_id_label.to_owned(),
            label_set: Vec::new(),
            label_sets: 0,
            started_ms: None,
            metadata: None,
            shared: SharedLabels::default(),
            edited: EditedLabels::default(),
            histograms: EncodedHistograms::default(),
            streams: self.0.streams(),
        }
    }

    /// Changes the tenant's own headers, from the next request on.
    pub fn set_headers(&self, headers: &BTreeMap<String, Secret>) {
        self.0.remote_write.set_headers(&self.0.tenant, headers);
    }
}

impl Drop for OpenTenant {
    fn drop(&mut self) {
        self.remote_write.close(&self.tenant);
    }
}

impl Append {
    /// Puts what is left of the samples into the buffer, from where they are
    /// sent at once.
    pub fn commit(self) {
        for stream in self.streams {
            let (batch, scratch) = stream.batcher.finish();
            self.open.remote_write.keep_scratch(scratch);
            if let Some(batch) = batch {
                self.open.push(&stream.endpoints, &batch);
            }
        }
    }
}

impl OpenTenant {
    /// A stream for each encoding and each protocol that its endpoints speak.
    fn streams(&self) -> Vec<Stream> {
        let mut streams = Vec::new();
        for (place, encoding) in self.remote_write.encodings().iter().enumerate() {
            let endpoints = encoding.endpoints.iter().copied();
            let (v1, v2): (Vec<_>, Vec<_>) = endpoints
                .partition(|endpoint| self.remote_write.protocol(*endpoint) == Protocol::V1);
            for (protocol, endpoints) in [(Protocol::V1, v1), (Protocol::V2, v2)] {
                if endpoints.is_empty() {
                    continue;
                }
                let scratch = self.remote_write.take_scratch();
                streams.push(Stream {
                    encoding: place,
                    endpoints,
                    batcher: Batcher::new(protocol, encoding.max_samples, scratch),
                });
            }
        }
        streams
    }

    fn push(&self, endpoints: &[usize], batch: &Batch) {
        for endpoint in endpoints {
            self.remote_write.push(&self.tenant, *endpoint, batch);
        }
    }
}

impl Stream {
    /// Whether its series have the labels as they are.
    fn is_plain(&self, encodings: &[Encoding]) -> bool {
        encodings
            .get(self.encoding)
            .is_some_and(|encoding| encoding.relabeller.is_empty())
    }
}

impl SampleSink for Append {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        let encodings = self.open.remote_write.encodings();
        let is_shared = |stream: &Stream| {
            stream.is_plain(encodings) && stream.batcher.protocol() == Protocol::V1
        };
        if self.streams.iter().any(is_shared) {
            self.shared.set(labels, &self.external_labels);
        }
        if !self.streams.iter().all(is_shared) {
            self.label_set.clear();
            self.label_set.extend_from_slice(labels.as_bytes());
        }
        self.label_sets += 1;
        self.started_ms = None;
        self.metadata = None;
    }

    fn started(&mut self, timestamp_ms: i64) {
        self.started_ms = Some(timestamp_ms);
    }

    fn metric(&mut self, metadata: Metadata) {
        self.metadata = Some(metadata);
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

impl Append {
    /// Writes a series into the requests of every endpoint.
    fn write(&mut self, series: Series<'_>, samples: Samples<'_>, exemplar: Option<Exemplar>) {
        let labelled = exemplar.map(|exemplar| (self.trace_id_label.as_str(), exemplar));
        let is_gauge = |metadata: Metadata| metadata.kind == MetricType::Gauge;
        let content = Content {
            samples,
            started_ms: self
                .started_ms
                .filter(|_| !self.metadata.is_some_and(is_gauge)),
            metadata: self.metadata,
            exemplar: labelled,
        };
        let own = LabelSet::from_canonical(&self.label_set);
        let encodings = self.open.remote_write.encodings();
        for stream in &mut self.streams {
            let is_plain = stream.is_plain(encodings);
            if !is_plain {
                self.edited.set_all(merge(own, &self.external_labels));
                self.edited
                    .set("__name__".to_owned(), series.name.to_owned());
                if let Some(le) = series.le {
                    self.edited.set("le".to_owned(), le.to_owned());
                }
                let encoding = encodings.get(stream.encoding);
                if !encoding.is_some_and(|encoding| encoding.relabeller.apply(&mut self.edited)) {
                    continue;
                }
            }
            let batcher = &mut stream.batcher;
            let full = match (batcher.protocol(), is_plain) {
                (Protocol::V1, true) => batcher.add(samples, exemplar, |raw| {
                    self.shared.write_series(raw, series, samples, labelled);
                }),
                (Protocol::V1, false) => batcher.add(samples, exemplar, |raw| {
                    write_labelled_series(raw, self.edited.iter(), samples, labelled);
                }),
                (Protocol::V2, true) => batcher.add_v2(samples, exemplar, |encoder, out| {
                    let labels = Labels {
                        number: self.label_sets,
                        own,
                        external: &self.external_labels,
                    };
                    encoder.write_series(out, labels, series, content)
                }),
                (Protocol::V2, false) => batcher.add_v2(samples, exemplar, |encoder, out| {
                    encoder.write_labelled_series(out, self.edited.iter(), content)
                }),
            };
            if let Some(batch) = full {
                self.open.push(&stream.endpoints, &batch);
            }
        }
    }
}
