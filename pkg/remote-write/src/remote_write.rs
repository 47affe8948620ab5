//! The handle to remote write: starts it, gives writers, ends it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use lifecycle::{TaskGroup, at_once};
use model::{Clock, TenantId};
use parking_lot::Mutex;
use telemetry::LogThrottle;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};

use crate::config::RemoteWriteConfig;
use crate::destination::Destinations;
use crate::error::StartError;
use crate::metrics::{DropReason, RemoteWriteMetrics};
use crate::sender::{self, Ready};
use crate::spool::{Appended, Bound, Recovered, SamplesWriter, Spool, SpoolAppend};
use crate::tenant::{Tenant, note_unreadable};
use crate::turn::Turns;
use crate::writer::{TenantDestinations, TenantWriter};

mod handing_over;
mod removal;
mod status;
mod taking_over;

pub use self::handing_over::{HandedChunk, Handover};
pub use self::status::{DestinationStatus, TenantStatus};
pub use self::taking_over::{TakeError, TakenOver};

/// Memory for records that is kept: one thread collects.
const MAX_KEPT_WRITERS: usize = 2;

/// Failures in a row after which a flush does not wait for a queue any more: what it
/// has is safe in the spool.
const FLUSH_FAILURES: u64 = 5;

/// How long a flush pauses before it looks again.
const MIN_FLUSH_PAUSE: Duration = Duration::from_millis(2);
const MAX_FLUSH_PAUSE: Duration = Duration::from_millis(250);

/// Shards that may be used at the same time besides one of each turn. Each holds a few
/// requests, some 400 KB.
const MAX_MORE_SHARDS: usize = 256;

/// Tenants whose segments are made durable at the same time: what the disk is given
/// together it writes together. 10,000 take 16 s one by one, and 3 s like this.
const SYNCED_AT_ONCE: usize = 64;

/// How often troubles of the spool are logged; every one is counted.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Sends the samples of all tenants to their destinations.
///
/// Clones share everything. Sending ends with [`RemoteWrite::stop`], or when
/// the last clone and the last writer are dropped.
#[derive(Clone, Debug)]
pub struct RemoteWrite(Arc<Handle>);

/// Ends the sending when the last one is dropped.
#[derive(Debug)]
struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    spool: Spool,
    tenants: Mutex<HashMap<TenantId, Arc<Tenant>>>,
    destinations: Destinations,
    metrics: RemoteWriteMetrics,
    clock: Clock,
    ready: Arc<Ready>,
    turns: Arc<Turns>,
    /// What earlier processes left, until somebody says where it goes.
    recovered: Mutex<Vec<Recovered>>,
    /// When a tenant was removed last, or its latest sample if that is later: it may begin
    /// anew, and receivers remember. In milliseconds since the Unix epoch; the least if none
    /// was.
    removed_ms: AtomicI64,
    /// Memory for records that is not in use.
    writers: Mutex<Vec<SamplesWriter>>,
    write_log: LogThrottle,
    bound_log: LogThrottle,
    /// Turns true when nothing is given a turn any more.
    has_ended: watch::Receiver<bool>,
    /// How many may read and encode at the same time.
    fillers: u32,
}

impl RemoteWrite {
    /// Opens the spool and starts to send, on the current Tokio runtime. What
    /// earlier processes left is sent from [`RemoteWrite::resume`] on.
    ///
    /// # Errors
    ///
    /// A spool that cannot be used, and the first endpoint of `config` that cannot,
    /// and why.
    pub fn start(
        config: RemoteWriteConfig,
        metrics: RemoteWriteMetrics,
        clock: Clock,
        tasks: &TaskGroup,
    ) -> Result<Self, StartError> {
        let destinations =
            Destinations::new(metrics.clone(), clock.clone(), config.add_org_id_header);
        for (index, endpoint) in config.endpoints.iter().enumerate() {
            destinations
                .get(endpoint, &endpoint.name)
                .map_err(|source| StartError::Endpoint {
                    index,
                    source: Box::new(source),
                })?;
        }
        let path = config.spool.directory.clone();
        let (spool, recovered) =
            Spool::open(config.spool).map_err(|source| StartError::Spool { path, source })?;
        for recovered in &recovered {
            note_unreadable(recovered, &metrics);
        }
        let fillers = available_parallelism().map_or(1, usize::from);
        let (tell_ended, has_ended) = watch::channel(false);
        let turns = Arc::new(Turns {
            clock: clock.clone(),
            fillers: Arc::new(Semaphore::new(fillers)),
            more_shards: Arc::new(Semaphore::new(MAX_MORE_SHARDS)),
            is_stopped: AtomicBool::new(false),
        });
        let shared = Arc::new(Shared {
            spool,
            tenants: Mutex::default(),
            destinations,
            metrics,
            clock,
            ready: Arc::default(),
            turns: Arc::clone(&turns),
            recovered: Mutex::new(recovered),
            removed_ms: AtomicI64::new(i64::MIN),
            writers: Mutex::default(),
            write_log: LogThrottle::new(LOG_INTERVAL),
            bound_log: LogThrottle::new(LOG_INTERVAL),
            has_ended,
            fillers: fillers as u32,
        });
        let (ready, swept) = (Arc::clone(&shared.ready), Arc::downgrade(&shared));
        tasks.spawn("remote-write-sender", async move {
            let sweep = move || {
                if let Some(shared) = swept.upgrade() {
                    shared.sweep();
                }
            };
            sender::run(turns, ready, sweep).await;
            let _ = tell_ended.send(true);
        });
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Goes on with what earlier processes have spooled and not sent, to where
    /// `destinations` says.
    pub fn resume(&self, destinations: impl Fn(&TenantId) -> TenantDestinations) {
        let recovered = std::mem::take(&mut *self.shared().recovered.lock());
        let (mut tenants, mut samples) = (0_u64, 0_u64);
        for recovered in recovered {
            let wanted = destinations(&recovered.tenant);
            let id = recovered.tenant.clone();
            let shared = self.shared();
            let tenant = shared.open(&id, Some(recovered), false);
            tenant.set_destinations(&wanted, &shared.destinations, &shared.metrics);
            let queues = tenant.queues();
            // Before anything is sent of it, so that it is all that was left.
            let pending: u64 = queues.iter().map(|queue| queue.pending()).sum();
            shared.wake(&tenant);
            tenants += u64::from(pending > 0);
            samples += pending;
            self.shared().enforce_bounds(&tenant);
            self.forget_if_unused(&tenant);
        }
        if tenants > 0 {
            tracing::info!(
                tenants,
                samples,
                "samples of an earlier process are in the spool and will be sent"
            );
        }
    }

    /// A writer of a tenant's samples; keep exactly one per tenant.
    pub fn writer(&self, tenant: &TenantId, destinations: &TenantDestinations) -> TenantWriter {
        let tenant = self.shared().open(tenant, None, true);
        let writer = TenantWriter::new(self.clone(), Arc::clone(&tenant));
        self.set_destinations(&tenant, destinations);
        writer
    }

    /// Waits until every sample is delivered or dropped, at most for the deadline, and
    /// not for receivers that fail again and again; returns how many, summed over the
    /// destinations, stay in the spool for the next process. Cancel-safe.
    pub async fn flush(&self, deadline: Duration) -> u64 {
        let shared = self.shared();
        shared.retry_kept();
        let end = Instant::now() + deadline;
        loop {
            let look = Instant::now();
            let mut pending = 0;
            let mut hopeful = false;
            for tenant in shared.all() {
                for queue in tenant.queues() {
                    let samples = queue.pending();
                    pending += samples;
                    hopeful |= samples > 0 && !queue.is_hopeless(FLUSH_FAILURES);
                }
            }
            if !hopeful || Instant::now() >= end {
                return pending;
            }
            // To look costs the more, the more tenants there are.
            let pause = look.elapsed().saturating_mul(10);
            sleep(pause.clamp(MIN_FLUSH_PAUSE, MAX_FLUSH_PAUSE)).await;
        }
    }

    /// Ends the sending; what is pending stays in the spool.
    ///
    /// Called after [`RemoteWrite::flush`], before the tasks are joined.
    pub fn stop(&self) {
        self.shared().stop();
    }

    /// Writes down how far everything is, and makes the spool durable as far as it is
    /// set; counts what the disk did not take. After [`RemoteWrite::stop`]. Blocks.
    pub fn sync(&self) {
        at_once(SYNCED_AT_ONCE, self.shared().all(), |tenant| {
            tenant.sync();
        });
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    pub(crate) fn set_destinations(&self, tenant: &Arc<Tenant>, wanted: &TenantDestinations) {
        let shared = self.shared();
        tenant.set_destinations(wanted, &shared.destinations, &shared.metrics);
        shared.wake(tenant);
    }

    /// Memory for records: such as was used before, if there is.
    pub(crate) fn take_samples_writer(&self) -> SamplesWriter {
        self.shared().writers.lock().pop().unwrap_or_default()
    }

    /// Keeps memory for the next append, if not enough is kept already.
    pub(crate) fn keep_samples_writer(&self, writer: SamplesWriter) {
        let mut kept = self.shared().writers.lock();
        if kept.len() < MAX_KEPT_WRITERS {
            kept.push(writer);
        }
    }

    /// Counts what an append has done, and has it sent.
    pub(crate) fn appended(&self, tenant: &Arc<Tenant>, appended: Appended) {
        self.shared().appended(tenant, appended);
    }

    /// Drops what is over the bounds of the spool.
    pub(crate) fn enforce_bounds(&self, tenant: &Arc<Tenant>) {
        self.shared().enforce_bounds(tenant);
    }

    /// Forgets a tenant that nobody writes and that has nothing pending, with its
    /// segments. Its cursors stay: they say where its samples go on.
    pub(crate) fn forget_if_unused(&self, tenant: &Arc<Tenant>) {
        self.shared().forget_if_unused(tenant);
    }
}

impl Shared {
    /// The tenant; for a writer, it cannot be forgotten from then on.
    fn open(&self, id: &TenantId, recovered: Option<Recovered>, writes: bool) -> Arc<Tenant> {
        // One that was forgotten since the start has left files behind.
        let is_known = self.tenants.lock().contains_key(id);
        let recovered = recovered.or_else(|| match is_known {
            true => None,
            false => self.spool.find(id),
        });
        let mut tenants = self.tenants.lock();
        let tenant = tenants
            .entry(id.clone())
            .or_insert_with(|| match recovered {
                Some(recovered) => {
                    let cursors = recovered.cursors.clone();
                    Tenant::new(self.spool.resume(recovered), &cursors, &self.metrics)
                }
                None => {
                    let spool = self.spool.start(id);
                    spool.raise(0, self.removed_ms.load(Ordering::Relaxed));
                    Tenant::new(spool, &[], &self.metrics)
                }
            });
        if writes {
            tenant.open();
        }
        Arc::clone(tenant)
    }

    /// Tries to write again what the disk did not take, for tenants whom no collection
    /// does it for.
    fn retry_kept(&self) {
        for tenant in self.all() {
            if let Some(append) = SpoolAppend::resume(Arc::clone(&tenant.spool)) {
                self.appended(&tenant, append.finish().0);
            }
        }
    }

    fn all(&self) -> Vec<Arc<Tenant>> {
        self.tenants.lock().values().cloned().collect()
    }

    fn wake(&self, tenant: &Tenant) {
        for queue in tenant.queues() {
            if queue.pending() > 0 {
                self.ready.wake(&queue);
            }
        }
    }

    fn appended(&self, tenant: &Arc<Tenant>, appended: Appended) {
        tenant.metrics.collected(appended.collected);
        let newest_ms = tenant.spool.extent().newest_ms;
        tenant.metrics.spooled(appended.samples, newest_ms);
        if appended.dropped > 0 {
            for queue in tenant.queues() {
                queue
                    .metrics
                    .dropped(DropReason::SpoolError, appended.dropped);
            }
        }
        if let Some(error) = appended.error {
            tenant.metrics.write_error();
            if let Some(suppressed) = self.write_log.admit() {
                tracing::error!(
                    tenant = %tenant.id(),
                    dropped = appended.dropped,
                    error = %telemetry::error_chain(&error),
                    suppressed,
                    "cannot write to the spool, it will be tried again at the next collection"
                );
            }
        }
        if appended.samples > 0 {
            for queue in tenant.queues() {
                self.ready.wake(&queue);
            }
        }
    }

    fn enforce_bounds(&self, tenant: &Arc<Tenant>) {
        let now_ms = self.clock.unix_millis();
        self.spool
            .enforce(&tenant.spool, now_ms, |id, position, bound| {
                let whose = if id == tenant.id() {
                    Some(Arc::clone(tenant))
                } else {
                    self.tenants.lock().get(id).cloned()
                };
                let Some(whose) = whose else {
                    return;
                };
                let reason = match bound {
                    Bound::Bytes => DropReason::SpoolFull,
                    Bound::Age => DropReason::SpoolAge,
                };
                let samples = whose.skip_to(position, reason);
                if samples > 0
                    && let Some(suppressed) = self.bound_log.admit()
                {
                    tracing::error!(
                        tenant = %id,
                        samples,
                        suppressed,
                        "spool is over its bound, the oldest samples are dropped"
                    );
                }
            });
        tenant.metrics.bytes(tenant.spool.extent().bytes);
        for queue in tenant.queues() {
            queue.measure(now_ms);
        }
    }

    fn forget_if_unused(&self, tenant: &Arc<Tenant>) {
        let mut tenants = self.tenants.lock();
        if !is_among(&tenants, tenant) {
            return;
        }
        if tenant.is_closed() && tenant.is_delivered() && tenant.spool.kept_samples() == 0 {
            for queue in tenant.queues() {
                queue.save();
            }
            tenant.spool.remove_all();
            tenants.remove(tenant.id());
            self.spool.forget(tenant.id());
        }
    }

    /// Looks after tenants whom no collection looks after.
    fn sweep(&self) {
        self.retry_kept();
        for tenant in self.all() {
            if !is_among(&self.tenants.lock(), &tenant) {
                // It was removed meanwhile.
                continue;
            }
            self.enforce_bounds(&tenant);
            if tenant.is_waiting() {
                let wanted = tenant.wanted();
                tenant.set_destinations(&wanted, &self.destinations, &self.metrics);
                self.wake(&tenant);
            }
            if tenant.is_closed() {
                self.wake(&tenant);
                self.forget_if_unused(&tenant);
            }
        }
    }

    fn stop(&self) {
        self.turns.is_stopped.store(true, Ordering::Relaxed);
        self.ready.stop();
    }
}

/// Whether it is this one that goes by the tenant's id.
fn is_among(tenants: &HashMap<TenantId, Arc<Tenant>>, tenant: &Arc<Tenant>) -> bool {
    tenants
        .get(tenant.id())
        .is_some_and(|known| Arc::ptr_eq(known, tenant))
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests;
