//! One tenant's side of remote write: its spool, and a queue for each destination.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use http::HeaderMap;
use model::TenantId;
use parking_lot::{Mutex, RwLock};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::EndpointConfig;
use crate::destination::{Destination, Destinations, names};
use crate::handover::Outstanding;
use crate::handover::ledger::Ledger;
use crate::handover::mark::Mark;
use crate::metrics::{DropReason, RemoteWriteMetrics, SpoolMetrics};
use crate::progress::{GivenAway, Progress};
use crate::queue::Queue;
use crate::spool::cursor::{self, Cursor, Found};
use crate::spool::{Recovered, TenantSpool};
use crate::writer::TenantDestinations;

/// One tenant's side of remote write.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) spool: Arc<TenantSpool>,
    pub(crate) metrics: SpoolMetrics,
    queues: RwLock<Vec<Arc<Queue>>>,
    /// Cursors that were found and have no destination yet, by their keys; or one that
    /// cannot be used.
    found: Mutex<Vec<(u64, Progress)>>,
    /// Up to where an earlier process has handed samples over.
    handed_over: u64,
    /// What was taken over, once somebody has asked.
    pub(crate) taken_over: Mutex<Option<Ledger>>,
    /// The destinations that were asked for last.
    wanted: Mutex<TenantDestinations>,
    /// Whether it has ever had a destination.
    had_destinations: AtomicBool,
    /// Writers that exist; without any, the tenant goes when all is sent.
    writers: Mutex<usize>,
    me: Weak<Self>,
}

impl Tenant {
    /// A tenant whose spool is new, or as it was found.
    pub(crate) fn new(
        spool: Arc<TenantSpool>,
        cursors: &[u64],
        metrics: &RemoteWriteMetrics,
    ) -> Arc<Self> {
        let extent = spool.extent();
        let mark = Mark::read(spool.directory());
        let handed_over = mark.map_or(0, |mark| mark.position);
        spool.raise(handed_over, i64::MIN);
        let mut found = Vec::new();
        for key in cursors {
            let path = cursor::path(spool.directory(), *key);
            match Cursor::read(&path) {
                Found::Cursor(cursor) => {
                    spool.raise(cursor.frontier, cursor.newest_ms);
                    let mut progress = Progress::resume(cursor);
                    // Whoever handed them over may have had no time to write it here.
                    progress.give_away(handed_over, GivenAway::default());
                    found.push((*key, progress));
                }
                Found::Nothing => {}
                unreadable @ (Found::Damaged | Found::Other { .. }) => {
                    let version = match unreadable {
                        Found::Other { version } => Some(version),
                        _ => None,
                    };
                    metrics.unreadable_file();
                    tracing::error!(
                        tenant = %spool.tenant(),
                        cursor = %path.display(),
                        of_another_version = version,
                        "cannot read up to where samples were sent; all that are in the spool are sent again"
                    );
                    found.push((*key, Progress::at(extent.first.max(handed_over))));
                }
            }
        }
        let spool_metrics = metrics.for_spool(spool.tenant());
        Arc::new_cyclic(|me| Self {
            spool,
            metrics: spool_metrics,
            queues: RwLock::default(),
            had_destinations: AtomicBool::new(!found.is_empty()),
            found: Mutex::new(found),
            handed_over,
            taken_over: Mutex::default(),
            wanted: Mutex::default(),
            writers: Mutex::new(0),
            me: Weak::clone(me),
        })
    }

    /// Whose it is.
    pub(crate) fn id(&self) -> &TenantId {
        self.spool.tenant()
    }

    /// Its queues.
    pub(crate) fn queues(&self) -> Vec<Arc<Queue>> {
        self.queues.read().clone()
    }

    /// Whether everything has been delivered.
    pub(crate) fn is_delivered(&self) -> bool {
        self.queues.read().iter().all(|queue| queue.pending() == 0) && !self.is_waiting()
    }

    /// Whether a destination cannot be used for now, for which samples are kept.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.found.lock().is_empty()
    }

    /// Samples that are kept for destinations that cannot be used for now.
    pub(crate) fn waiting_samples(&self) -> u64 {
        let end = self.spool.extent().end;
        let found = self.found.lock();
        let pending = found.iter().map(|(_, progress)| progress.pending(end));
        pending.sum()
    }

    /// Takes all queues out of use. Returns how many samples they will not send.
    pub(crate) fn remove_queues(&self) -> u64 {
        let waiting = self.waiting_samples();
        self.found.lock().clear();
        let queues = std::mem::take(&mut *self.queues.write());
        let unsent: u64 = queues.iter().map(|queue| queue.remove()).sum();
        unsent + waiting
    }

    /// Whether somebody wants samples. What is left of an earlier process waits for a
    /// destination without more being added.
    pub(crate) fn wants_samples(&self) -> bool {
        let is_asked_for = || !self.wanted.lock().endpoints.is_empty();
        !self.queues.read().is_empty() || self.is_waiting() && is_asked_for()
    }

    /// The destinations that were asked for last.
    pub(crate) fn wanted(&self) -> TenantDestinations {
        self.wanted.lock().clone()
    }

    /// Removes what every destination has from the spool.
    pub(crate) fn remove_delivered(&self) {
        if let Some(low) = self.low() {
            self.spool.remove_before(low);
        }
    }

    /// The position before which every destination has everything; none if there is no
    /// destination.
    fn low(&self) -> Option<u64> {
        let queues = self.queues.read();
        let found = self.found.lock();
        let lows = queues.iter().map(|queue| queue.low());
        lows.chain(found.iter().map(|(_, progress)| progress.low()))
            .min()
    }

    /// What each destination is still to get, once nothing is sent any more; also those
    /// that cannot be used for now.
    pub(crate) fn outstanding(&self) -> Vec<Outstanding> {
        let queues = self.queues.read();
        let found = self.found.lock();
        let of_queues = queues.iter().map(|queue| queue.outstanding());
        let of_others = found
            .iter()
            .map(|(key, progress)| Outstanding::of(*key, progress));
        of_queues.chain(of_others).collect()
    }

    /// Notes that somebody else is to deliver what was pending up to a position.
    /// Returns how many samples these are, summed over the destinations.
    pub(crate) fn give_away(&self, end: u64, found: &[(u64, GivenAway)]) -> u64 {
        let of = |key: u64| {
            let own = found.iter().find(|(known, _)| *known == key);
            own.map(|(_, given)| *given).unwrap_or_default()
        };
        let queues = self.queues.read();
        let given = queues
            .iter()
            .map(|queue| queue.give_away(end, of(queue.key)));
        let mut given: u64 = given.sum();
        drop(queues);
        for (key, progress) in self.found.lock().iter_mut() {
            given += progress.give_away(end, of(*key)).0;
            let path = cursor::path(self.spool.directory(), *key);
            if let Err(error) = progress.cursor().write(&path) {
                tracing::warn!(
                    tenant = %self.id(),
                    path = %path.display(),
                    error = %telemetry::error_chain(&error),
                    "cannot write down what was handed over"
                );
            }
        }
        self.remove_delivered();
        given
    }

    /// Writes down how far everything is, and makes its last segment durable as far as
    /// it is set, or removes it if every destination has all of it; counts what the disk
    /// did not take.
    pub(crate) fn sync(&self) {
        let samples = self.spool.kept_samples();
        for queue in self.queues() {
            queue.save();
            queue.metrics.dropped(DropReason::SpoolError, samples);
        }
        if samples > 0 {
            tracing::error!(
                tenant = %self.id(),
                samples,
                "the disk did not take the last samples, they are lost"
            );
        }
        if self
            .low()
            .is_some_and(|low| self.spool.remove_if_before(low))
        {
            return;
        }
        if let Err(error) = self.spool.sync() {
            tracing::warn!(
                tenant = %self.id(),
                error = %telemetry::error_chain(&error),
                "cannot make the spool durable; a loss of power now may cost samples"
            );
        }
    }

    /// Adds a writer.
    pub(crate) fn open(&self) {
        *self.writers.lock() += 1;
    }

    /// Removes a writer; returns whether that was the last.
    pub(crate) fn close(&self) -> bool {
        let mut writers = self.writers.lock();
        *writers = writers.saturating_sub(1);
        *writers == 0
    }

    /// Whether nobody writes.
    pub(crate) fn is_closed(&self) -> bool {
        *self.writers.lock() == 0
    }

    /// Skips what has been removed from the spool, at every destination.
    pub(crate) fn skip_to(&self, position: u64, reason: DropReason) -> u64 {
        let mut all = 0;
        for queue in self.queues.read().iter() {
            let lost = queue.skip_to(position);
            if lost > 0 {
                queue.metrics.dropped(reason, lost);
                all += lost;
            }
        }
        all
    }

    /// Changes the destinations. A queue goes on with the destination of its name or
    /// address; what then has no destination goes on with one that has no queue, in
    /// their order, so that a changed address loses nothing. Queues that are left
    /// over end, and what they had yet to send is dropped. Without any destination,
    /// what an earlier process left waits for one.
    pub(crate) fn set_destinations(
        &self,
        wanted: &TenantDestinations,
        destinations: &Destinations,
        metrics: &RemoteWriteMetrics,
    ) {
        let mut queues = self.queues.write();
        let mut before = std::mem::take(&mut *queues);
        let mut found = std::mem::take(&mut *self.found.lock());
        let has_any = !wanted.endpoints.is_empty();
        let is_first = has_any && !self.had_destinations.swap(true, Ordering::Relaxed);
        *self.wanted.lock() = wanted.clone();
        let mut places: Vec<Option<Arc<Queue>>> = Vec::new();
        let names = names(&wanted.endpoints);
        let keys = keys(&wanted.endpoints);
        for key in &keys {
            let place = before.iter().position(|queue| queue.key == *key);
            places.push(place.map(|place| before.remove(place)));
        }
        let mut resumed: Vec<Option<Progress>> = Vec::new();
        for (key, queue) in keys.iter().zip(&places) {
            let place = found.iter().position(|(found, _)| found == key);
            let place = place.filter(|_| queue.is_none());
            resumed.push(place.map(|place| found.remove(place).1));
        }
        let mut before = before.into_iter();
        let mut found = found.into_iter();
        let endpoints = wanted.endpoints.iter().zip(names).zip(keys);
        for (((endpoint, name), key), (queue, progress)) in
            endpoints.zip(places.into_iter().zip(resumed))
        {
            let prepared = destinations.get(endpoint, &name);
            let destination = match prepared {
                Ok(destination) => destination,
                Err(error) => {
                    tracing::error!(
                        tenant = %self.id(),
                        endpoint = name,
                        error = %telemetry::error_chain(&error),
                        "destination of remote write cannot be used"
                    );
                    // What it has yet to send stays, for when it can be used again: a
                    // queue goes on as it is, and without one nothing is removed.
                    match queue.or_else(|| before.next()) {
                        Some(queue) => queues.push(queue),
                        None => {
                            let progress = progress.unwrap_or_else(|| self.begin(is_first));
                            self.found.lock().push((key, progress));
                        }
                    }
                    continue;
                }
            };
            let headers = destinations.headers(self.id(), &destination, &wanted.headers);
            if let Some(queue) = queue {
                queue.set_destination(destination, headers);
                queues.push(queue);
                continue;
            }
            let taken_over = match progress.is_none() {
                true => before.next(),
                false => None,
            };
            let mut replaced = taken_over.as_ref().map(|queue| queue.key);
            let progress = progress
                .or_else(|| taken_over.map(|queue| queue.take_over()))
                .or_else(|| {
                    let (key, progress) = found.next()?;
                    replaced = Some(key);
                    Some(progress)
                })
                .unwrap_or_else(|| self.begin(is_first));
            let queue = self.queue(key, progress, (destination, headers), &name, metrics);
            // Written down before anything else: a crash must find the one or the other.
            queue.save();
            if let Some(replaced) = replaced {
                let _ = std::fs::remove_file(cursor::path(self.spool.directory(), replaced));
            }
            queues.push(queue);
        }
        for queue in before {
            let lost = queue.remove();
            queue.metrics.dropped(DropReason::DestinationRemoved, lost);
            if lost > 0 {
                tracing::warn!(
                    tenant = %self.id(),
                    samples = lost,
                    "destination was removed, what was still to be sent there is dropped"
                );
            }
        }
        if !has_any {
            // Maybe the settings cannot be read just now.
            *self.found.lock() = found.collect();
            return;
        }
        for (key, progress) in found {
            let samples = progress.pending(self.spool.extent().end);
            let _ = std::fs::remove_file(cursor::path(self.spool.directory(), key));
            if samples > 0 {
                tracing::warn!(
                    tenant = %self.id(),
                    samples,
                    "destination of an earlier process is gone, what was still to be sent there is dropped"
                );
            }
        }
    }

    /// Where a new destination begins: at the end, unless nothing tells what of the
    /// spool has been sent.
    fn begin(&self, is_first: bool) -> Progress {
        let extent = self.spool.extent();
        let position = if is_first { extent.first } else { extent.end };
        Progress::at(position.max(self.handed_over))
    }

    fn queue(
        &self,
        key: u64,
        progress: Progress,
        destination: (Arc<Destination>, Arc<HeaderMap>),
        name: &str,
        metrics: &RemoteWriteMetrics,
    ) -> Arc<Queue> {
        Arc::new(Queue::new(
            Weak::clone(&self.me),
            Arc::clone(&self.spool),
            key,
            progress,
            destination,
            metrics.for_tenant(self.id(), name),
        ))
    }
}

/// What tells each destination from the tenant's others, across restarts: its name,
/// or else its address, and how many before it have the same.
fn keys(endpoints: &[EndpointConfig]) -> Vec<u64> {
    let mut keys = Vec::new();
    for endpoint in endpoints {
        let text = match endpoint.name.is_empty() {
            true => endpoint.url.expose(),
            false => &endpoint.name,
        };
        let mut key = xxh3_64(text.as_bytes());
        while keys.contains(&key) {
            key = key.wrapping_add(1);
        }
        keys.push(key);
    }
    keys
}

/// Notes what a start found of a tenant that cannot be read.
pub(crate) fn note_unreadable(recovered: &Recovered, metrics: &RemoteWriteMetrics) {
    for _ in 0..recovered.unreadable {
        metrics.unreadable_file();
    }
}
