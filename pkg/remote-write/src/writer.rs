//! From a collection to the spool: one tenant's side of remote write.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Exemplar, HistogramSample, LabelSet, Metadata, Point, SampleSink, Series};
use settings::Secret;

use crate::RemoteWrite;
use crate::config::EndpointConfig;
use crate::spool::SpoolAppend;
use crate::tenant::Tenant;

/// Where a tenant's samples go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TenantDestinations {
    /// Receivers; each gets all samples.
    pub endpoints: Arc<[EndpointConfig]>,
    /// Headers of all requests, over the endpoints'. Those that the protocol sets
    /// itself are left out, with a warning.
    pub headers: BTreeMap<String, Secret>,
}

/// Writes one tenant's samples.
///
/// When it is dropped, what is pending is still sent; then the tenant's metrics go.
#[derive(Debug)]
pub struct TenantWriter(OpenTenant);

/// A tenant that is kept until this is dropped.
#[derive(Debug)]
struct OpenTenant {
    remote_write: RemoteWrite,
    tenant: Arc<Tenant>,
}

/// The samples of one collection on their way to the spool.
///
/// They are sent as soon as they are there, the last of them after
/// [`Append::commit`], without which they are lost. Writes files, on the caller's
/// thread; waits for nothing else.
#[derive(Debug)]
#[must_use = "the last samples are spooled when this is committed"]
pub struct Append {
    remote_write: RemoteWrite,
    tenant: Arc<Tenant>,
    /// `None` if the samples go nowhere.
    spool: Option<SpoolAppend>,
}

impl TenantWriter {
    pub(crate) fn new(remote_write: RemoteWrite, tenant: Arc<Tenant>) -> Self {
        Self(OpenTenant {
            remote_write,
            tenant,
        })
    }

    /// Whose it is.
    pub(crate) fn tenant(&self) -> &Arc<Tenant> {
        &self.0.tenant
    }

    /// Starts taking the samples of one collection; one at a time.
    ///
    /// The external labels are added to every series that has no label of that
    /// name; exemplars get `trace_id_label`.
    pub fn append(&self, external_labels: &[(String, String)], trace_id_label: &str) -> Append {
        let OpenTenant {
            remote_write,
            tenant,
        } = &self.0;
        let external: BTreeMap<_, _> = external_labels
            .iter()
            .rev()
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let external: Vec<_> = external.into_iter().collect();
        let spool = tenant.wants_samples().then(|| {
            SpoolAppend::new(
                Arc::clone(&tenant.spool),
                &external,
                trace_id_label,
                remote_write.take_samples_writer(),
                tenant.is_delivered(),
            )
        });
        Append {
            remote_write: remote_write.clone(),
            tenant: Arc::clone(tenant),
            spool,
        }
    }

    /// The time of the latest sample that was ever spooled, in milliseconds since the
    /// Unix epoch, also by earlier processes: later ones must be later. `None` if
    /// there is none.
    pub fn newest_ms(&self) -> Option<i64> {
        let newest_ms = self.0.tenant.spool.extent().newest_ms;
        (newest_ms > i64::MIN).then_some(newest_ms)
    }

    /// Whether every sample is delivered or dropped, at every destination.
    pub fn is_delivered(&self) -> bool {
        let tenant = &self.0.tenant;
        tenant.is_delivered() && tenant.spool.kept_samples() == 0
    }

    /// Changes where samples go, from the next request on. What was spooled before
    /// is not lost: see `docs/remote-write.md`.
    pub fn set_destinations(&self, destinations: &TenantDestinations) {
        let tenant = &self.0.tenant;
        self.0.remote_write.set_destinations(tenant, destinations);
    }
}

impl Drop for OpenTenant {
    fn drop(&mut self) {
        if self.tenant.close() {
            self.remote_write.forget_if_unused(&self.tenant);
        }
    }
}

impl Append {
    /// Says when the earliest span was received whose samples follow, in milliseconds
    /// since the Unix epoch.
    pub fn pushed_since(&mut self, pushed_ms: i64) {
        if let Some(spool) = &mut self.spool {
            spool.pushed_since(pushed_ms);
        }
    }

    /// Puts what is left of the samples into the spool, from where they are sent at
    /// once.
    pub fn commit(mut self) {
        if let Some(spool) = self.spool.take() {
            let (appended, memory) = spool.finish();
            self.remote_write.keep_samples_writer(memory);
            self.remote_write.appended(&self.tenant, appended);
            self.remote_write.enforce_bounds(&self.tenant);
        }
    }
}

impl SampleSink for Append {
    fn label_set(&mut self, labels: LabelSet<'_>) {
        if let Some(spool) = &mut self.spool {
            spool.label_set(labels);
            if spool.has_outcome() {
                let appended = spool.take_outcome();
                self.remote_write.appended(&self.tenant, appended);
            }
        }
    }

    fn started(&mut self, timestamp_ms: i64) {
        if let Some(spool) = &mut self.spool {
            spool.started(timestamp_ms);
        }
    }

    fn metric(&mut self, metadata: Metadata<'_>) {
        if let Some(spool) = &mut self.spool {
            spool.metric(metadata);
        }
    }

    fn series(&mut self, series: Series<'_>, points: &[Point], exemplar: Option<Exemplar>) {
        if let Some(spool) = &mut self.spool {
            spool.series(series, points, exemplar);
        }
    }

    fn histogram(
        &mut self,
        name: &str,
        samples: &[HistogramSample<'_>],
        exemplar: Option<Exemplar>,
    ) {
        if let Some(spool) = &mut self.spool {
            spool.histogram(name, samples, exemplar);
        }
    }
}
