//! A generator that goes for good gives away what receivers have not got.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use model::TenantId;
use remote_write::{HandedChunk, Handover, RemoteWrite};
use telemetry::{LogThrottle, error_chain};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use xxhash_rust::xxh3::xxh3_64;

use super::target::HandoverTarget;
use crate::Generator;

/// Tenants whose samples are given away at the same time. Most of it is waiting for the
/// disks of both sides; a target takes as many calls at once.
const TENANTS: usize = 8;

/// How often progress is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(2);

/// What came of giving samples away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandedSamples {
    /// Tenants of whom nothing is left.
    pub tenants: u64,
    /// Samples that others have now, summed over the destinations.
    pub samples: u64,
    /// Tenants of whom something is left, because nobody takes it or there was no time.
    pub left_tenants: u64,
    /// Samples of theirs, summed over the destinations. They are still on disk.
    pub left_samples: u64,
}

/// What all tenants share.
struct Giving<'a> {
    targets: &'a [HandoverTarget],
    samples: AtomicU64,
    log: LogThrottle,
}

impl Generator {
    /// Gives what receivers have not got to other generators, tenant by tenant and each
    /// in order, at most for as long as `patience`. To one as long as it takes them, and
    /// to the next when it refuses. Sending ends with it.
    ///
    /// To be called after [`stop_for_good`](Self::stop_for_good). Cancelled, or at the end
    /// of its patience, it leaves on disk what nobody has; a chunk whose answer was
    /// outstanding may be in both places.
    pub async fn hand_over_samples(
        &self,
        targets: &[HandoverTarget],
        patience: Duration,
    ) -> HandedSamples {
        let deadline = Instant::now() + patience;
        let Some(remote_write) = self.remote_write() else {
            return HandedSamples::default();
        };
        remote_write.settle().await;
        let tenants = remote_write.undelivered_tenants();
        let giving = Giving {
            targets,
            samples: AtomicU64::new(0),
            log: LogThrottle::new(LOG_INTERVAL),
        };
        let all = tenants.len();
        let mut done = 0_usize;
        let mut given = stream::iter(&tenants)
            .map(|tenant| giving.tenant(remote_write, tenant, self.id()))
            .buffer_unordered(TENANTS);
        while let Ok(Some(())) = timeout_at(deadline, given.next()).await {
            done += 1;
            giving.log_progress(done, all);
        }
        drop(given);
        let left = tenants
            .iter()
            .map(|tenant| remote_write.unsent_samples(tenant));
        let left: Vec<u64> = left.filter(|samples| *samples > 0).collect();
        let outcome = HandedSamples {
            tenants: all.saturating_sub(left.len()) as u64,
            samples: giving.samples.into_inner(),
            left_tenants: left.len() as u64,
            left_samples: left.iter().sum(),
        };
        outcome.log();
        outcome
    }
}

impl HandedSamples {
    fn log(&self) {
        let Self {
            tenants,
            samples,
            left_tenants,
            left_samples,
        } = *self;
        if left_samples > 0 {
            tracing::error!(
                tenants,
                samples,
                left_tenants,
                left_samples,
                "not everything was handed over to other generators, the rest stays in the spool"
            );
        } else if samples > 0 {
            tracing::info!(tenants, samples, "handed over to other generators");
        }
    }
}

impl Giving<'_> {
    /// Gives away what is undelivered of one tenant, as far as somebody takes it.
    async fn tenant(&self, remote_write: &RemoteWrite, tenant: &TenantId, source: &str) {
        let (begun, whose) = (remote_write.clone(), tenant.clone());
        let source = source.to_owned();
        let begun = spawn_blocking(move || begun.hand_over(&whose, &source)).await;
        let mut handover = match begun {
            Ok(Ok(Some(handover))) => handover,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                let error = error_chain(&error);
                tracing::error!(%tenant, %error, "cannot begin to hand samples over");
                return;
            }
        };
        // Not all tenants to the same, and all of one to one.
        let mut order: Vec<&HandoverTarget> = self.targets.iter().collect();
        let first = xxh3_64(tenant.as_str().as_bytes()) as usize % order.len().max(1);
        order.rotate_left(first);
        loop {
            let Some((same, chunk)) = next_chunk(handover, tenant).await else {
                return;
            };
            if !self.give(tenant, &chunk, &mut order).await {
                return;
            }
            let written = spawn_blocking(move || {
                let mut handover = same;
                let samples = handover.taken();
                (handover, samples)
            });
            // It ends without an answer only by a panic, which is logged.
            let Ok((same, samples)) = written.await else {
                return;
            };
            handover = same;
            self.samples.fetch_add(samples, Ordering::Relaxed);
        }
    }

    /// Gives a chunk to the first who takes it, who is asked first from then on; `false`
    /// if nobody does.
    async fn give(
        &self,
        tenant: &TenantId,
        chunk: &HandedChunk,
        order: &mut Vec<&HandoverTarget>,
    ) -> bool {
        while let Some(target) = order.first() {
            let refused = match target.is_out() {
                true => Err(Status::unavailable("it has not taken others")),
                false => target.give(tenant, &chunk.bytes).await,
            };
            match refused {
                Ok(()) => return true,
                Err(status) if self.log.admit().is_some() => {
                    let (target, error) = (target.name(), error_chain(&status));
                    tracing::warn!(%tenant, target, %error, "generator does not take samples over, the next is asked");
                }
                Err(_) => {}
            }
            // It is not asked again, so that samples stay in order.
            order.remove(0);
        }
        let samples = chunk.samples;
        tracing::error!(%tenant, samples, "no generator takes samples over");
        false
    }

    fn log_progress(&self, tenants: usize, of: usize) {
        if tenants < of && self.log.admit().is_some() {
            let samples = self.samples.load(Ordering::Relaxed);
            tracing::info!(tenants, of, samples, "handing over to other generators");
        }
    }
}

/// What is to be given away next; `None` at the end, or if it cannot be read.
async fn next_chunk(mut handover: Handover, tenant: &TenantId) -> Option<(Handover, HandedChunk)> {
    let read = spawn_blocking(move || {
        let chunk = handover.next_chunk();
        (handover, chunk)
    });
    match read.await.ok()? {
        (handover, Ok(Some(chunk))) => Some((handover, chunk)),
        (_, Ok(None)) => None,
        (_, Err(error)) => {
            let error = error_chain(&error);
            tracing::error!(%tenant, %error, "cannot read what is to be handed over");
            None
        }
    }
}
