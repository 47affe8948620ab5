//! What another node gives away is sent by this one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::TenantId;

use super::{RemoteWrite, Shared};
use crate::handover::ChunkError;
use crate::handover::chunk::Chunk;
use crate::handover::ledger::Ledger;
use crate::spool::{Fsync, TakeOver};
use crate::tenant::Tenant;
use crate::writer::TenantDestinations;

/// What was done with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenOver {
    /// Samples that are in the spool now and were not before; 0 if the chunk had been
    /// taken over already.
    pub samples: u64,
}

/// A chunk that was not taken over; nothing of it is here.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// It cannot be read.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// It is of another tenant than its sender says.
    #[error("chunk is of tenant {tenant}")]
    OtherTenant {
        /// That of the chunk.
        tenant: TenantId,
    },
    /// This node does not know where to send it.
    #[error("the tenant has no destination here")]
    NoDestination,
    /// A bound of the spool does not leave room for it.
    #[error("the spool has no room for {bytes} bytes more")]
    Full {
        /// How many it could take.
        bytes: u64,
    },
    /// The disk does not take it.
    #[error("cannot write to the spool")]
    Disk(#[source] io::Error),
    /// This node ends, too.
    #[error("remote write is stopping")]
    Stopping,
}

/// Bytes of the spool that a byte of a chunk can take: definitions are there twice.
const MAX_GROWTH: u64 = 2;

impl RemoteWrite {
    /// Takes over a chunk that another node has made of a tenant's samples, and sends
    /// them to the destinations, in order beside its own. What was taken over before is
    /// left out. When it returns they are as durable as the spool is set to be, at the
    /// end of the process and, unless `fsync` is `never`, at a loss of power.
    ///
    /// Blocks; one at a time of a tenant.
    ///
    /// # Errors
    ///
    /// [`TakeError`].
    pub fn take_over(
        &self,
        tenant: &TenantId,
        chunk: &[u8],
        destinations: &TenantDestinations,
    ) -> Result<TakenOver, TakeError> {
        let read = Chunk::read(chunk)?;
        if read.origin.tenant != *tenant {
            return Err(TakeError::OtherTenant {
                tenant: read.origin.tenant,
            });
        }
        let shared = self.shared();
        if shared.turns.is_stopped.load(Ordering::Relaxed) {
            return Err(TakeError::Stopping);
        }
        // It is not forgotten meanwhile, though nobody collects it.
        let writer = self.writer(tenant, destinations);
        let open = writer.tenant();
        if !open.wants_samples() {
            return Err(TakeError::NoDestination);
        }
        let bytes = (chunk.len() as u64).saturating_mul(MAX_GROWTH);
        shared.take_over(open, &read, bytes)
    }
}

impl Shared {
    fn take_over(
        &self,
        tenant: &Arc<Tenant>,
        chunk: &Chunk<'_>,
        bytes: u64,
    ) -> Result<TakenOver, TakeError> {
        let spool = &tenant.spool;
        let mut ledger = tenant.taken_over.lock();
        let ledger = ledger.get_or_insert_with(|| Ledger::read(spool.directory()));
        let origin = &chunk.origin;
        let known = ledger.position(&origin.source, origin.generation);
        if origin.end <= known {
            return Ok(TakenOver { samples: 0 });
        }
        if !self.spool.has_room(spool, bytes) {
            return Err(TakeError::Full { bytes });
        }
        let mut taking = TakeOver::begin(Arc::clone(spool)).map_err(TakeError::Disk)?;
        chunk.replay(known, &mut taking);
        let appended = taking.commit().map_err(TakeError::Disk)?;
        let samples = appended.samples;
        ledger.note(&origin.source, origin.generation, origin.end);
        let syncs = spool.config().fsync != Fsync::Never;
        if let Err(error) = ledger.write(spool.directory(), syncs) {
            // They are here, and this process knows it.
            tracing::warn!(
                tenant = %tenant.id(),
                error = %telemetry::error_chain(&error),
                "cannot write down what was taken over; if it comes again after a restart it is sent twice"
            );
        }
        tenant.metrics.taken_over(samples);
        self.appended(tenant, appended);
        self.enforce_bounds(tenant);
        Ok(TakenOver { samples })
    }
}
