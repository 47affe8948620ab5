//! Halves of edges go where their traces go.
//!
//! When a ring changes, the spans to come of some traces go to another generator, while
//! the spans that wait for them are here. The ring says whose they are; whoever carries
//! the bytes from one generator to the other is no business of this crate.

use std::io;

use model::TenantId;
use registry::RestoreError;

use crate::generator::{Closed, Generator};
use crate::instance::{Acceptance, Instance};

/// Halves of edges of one tenant on their way to another generator.
///
/// Nobody has them but who holds this: the generator that they were taken from counts
/// them as handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the spans are in no service graph unless a generator accepts them"]
pub struct HandedOver {
    /// To whom they go, as the caller counts owners.
    pub owner: u16,
    /// What [`Generator::accept_edges`] takes: some hundred KiB at most.
    pub halves: Vec<u8>,
    /// Spans among them that the ledger has; not those that only bridge others.
    pub spans: u64,
}

/// Halves of edges that were not taken in; whoever brought them still has them.
#[derive(Debug, thiserror::Error)]
pub enum AcceptEdgesError {
    /// They are not what [`Generator::take_edges`] gives, or of a version that is not known.
    #[error("cannot read halves of edges")]
    Unreadable {
        /// What is wrong with them.
        source: RestoreError,
    },
    /// The tenant has no service graphs here.
    #[error("the tenant has no service graphs")]
    ProcessorOff,
    /// The generator cannot take them now; they may be brought again.
    #[error("cannot take in halves of edges now: {reason}")]
    Unavailable {
        /// Why not.
        reason: &'static str,
    },
}

impl Generator {
    /// Takes out the halves of a tenant's edges whose traces `owner_of` gives to somebody
    /// else, in parts of some thousands; all together may be more than one for each owner.
    /// What it gives to nobody stays. Also after [`stop`](Self::stop).
    ///
    /// Spans of these traces that come while it runs may still wait here. They are found
    /// if it is called again.
    ///
    /// # Errors
    ///
    /// None but that of a write to memory.
    pub fn take_edges(
        &self,
        tenant: &TenantId,
        owner_of: impl Fn(&[u8; 16]) -> Option<u16>,
    ) -> io::Result<Vec<HandedOver>> {
        let Some(instance) = self.instance(tenant) else {
            return Ok(Vec::new());
        };
        let moved = instance.take_edges(owner_of)?.into_iter();
        let handed_over = moved.map(|moved| HandedOver {
            owner: moved.owner,
            halves: moved.bytes,
            spans: moved.spans,
        });
        Ok(handed_over.collect())
    }

    /// Takes in halves of edges from another generator: they meet their counterparts, or
    /// wait for what is left of their time. Says how many spans they are. The same bytes
    /// are taken in once, if pushes are recognised here; so they may be brought again when
    /// it is not known whether they arrived.
    ///
    /// # Errors
    ///
    /// [`AcceptEdgesError`]; then nothing was taken in.
    pub fn accept_edges(&self, tenant: &TenantId, halves: &[u8]) -> Result<u64, AcceptEdgesError> {
        self.take_in(tenant, |instance| accept(instance, halves))
            .unwrap_or_else(|closed| {
                Err(unavailable(match closed {
                    Closed::Stopping => "the generator is stopping",
                    Closed::TenantLeaves => "the tenant is being deleted",
                }))
            })
    }

    /// Takes halves back that nobody else has accepted. Also after [`stop`](Self::stop):
    /// then they wait for the next start.
    ///
    /// # Errors
    ///
    /// [`AcceptEdgesError`]; then nothing was taken back.
    pub fn take_back_edges(
        &self,
        tenant: &TenantId,
        handed_over: &HandedOver,
    ) -> Result<u64, AcceptEdgesError> {
        match self.instance(tenant) {
            Some(instance) => accept(&instance, &handed_over.halves),
            None => Err(unavailable("the tenant has gone")),
        }
    }
}

fn accept(instance: &Instance, halves: &[u8]) -> Result<u64, AcceptEdgesError> {
    let acceptance = instance.accept_edges(halves);
    match acceptance.map_err(|source| AcceptEdgesError::Unreadable { source })? {
        Acceptance::Spans(spans) => Ok(spans),
        Acceptance::ProcessorOff => Err(AcceptEdgesError::ProcessorOff),
        Acceptance::UnderWay => Err(unavailable("a copy is being taken in")),
    }
}

fn unavailable(reason: &'static str) -> AcceptEdgesError {
    AcceptEdgesError::Unavailable { reason }
}
