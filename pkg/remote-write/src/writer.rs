//! From a collection to the buffer: one tenant's side of remote write.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Exemplar, LabelSet, Point, SampleSink, Series, TenantId};
use settings::Secret;

use crate::RemoteWrite;
use crate::encode::v1::{SharedLabels, merge, write_labelled_series};
use crate::encode::{Batch, Batcher};
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
    /// The canonical bytes of the current label set, if a relabeller needs it.
    label_set: Vec<u8>,
    shared: SharedLabels,
    edited: EditedLabels,
    batchers: Vec<Batcher>,
}

/// Endpoints that send the same requests: they are encoded once.
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
        let remote_write = &self.0.remote_write;
        let encodings = remote_write.encodings();
        Append {
            open: self.0.clone(),
            external_labels: external.into_iter().collect(),
            trace_id_label: trace_id_label.to_owned(),
            label_set: Vec::new(),
            shared: SharedLabels::default(),
            edited: EditedLabels::default(),
            batchers: encodings
                .iter()
                .map(|encoding| Batcher::new(encoding.max_samples, remote_write.take_scratch()))
                .collect(),
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
        let remote_write = &self.open.remote_write;
        for (encoding, batcher) in remote_write.encodings().iter().zip(self.batchers) {
            let (batch, scratch) = batcher.finish();
            remote_write.keep_scratch(scratch);
            if let Some(batch) = batch {
                self.open.push(encoding, &batch);
            }
        }
    }
}

impl OpenTenant {
    fn push(&self, encoding: &Encoding, batch: &Batch) {
        for endpoint in &encoding.endpoints {
            self.remote_write.push(&self.tenant, *endpoint, batch);
        }
    }
}

impl SampleSink for Append {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        let encodings = self.open.remote_write.encodings();
        if encodings
            .iter()
            .any(|encoding| encoding.relabeller.is_empty())
        {
            self.shared.set(labels, &self.external_labels);
        }
        if encodings
            .iter()
            .any(|encoding| !encoding.relabeller.is_empty())
        {
            self.label_set.clear();
            self.label_set.extend_from_slice(labels.as_bytes());
        }
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        if points.is_empty() {
            return;
        }
        let labelled = exemplar.map(|exemplar| (self.trace_id_label.as_str(), exemplar));
        let encodings = self.open.remote_write.encodings();
        for (encoding, batcher) in encodings.iter().zip(&mut self.batchers) {
            if encoding.relabeller.is_empty() {
                let full = batcher.add(points, exemplar, |raw| {
                    self.shared.write_series(raw, series, points, labelled);
                });
                if let Some(batch) = full {
                    self.open.push(encoding, &batch);
                }
                continue;
            }
            let own = LabelSet::from_canonical(&self.label_set);
            self.edited.set_all(merge(own, &self.external_labels));
            self.edited
                .set("__name__".to_owned(), series.name.to_owned());
            if let Some(le) = series.le {
                self.edited.set("le".to_owned(), le.to_owned());
            }
            if encoding.relabeller.apply(&mut self.edited) {
                let full = batcher.add(points, exemplar, |raw| {
                    write_labelled_series(raw, self.edited.iter(), points, labelled);
                });
                if let Some(batch) = full {
                    self.open.push(encoding, &batch);
                }
            }
        }
    }
}
