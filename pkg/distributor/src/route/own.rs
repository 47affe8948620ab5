//! The generator in the process of a distributor: what it owns goes to it without a connection.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use model::PushOutcome;
use server::nodes::PushMetadata;
use tonic::Status;

/// The generator in this process; clones are the same one.
#[derive(Clone)]
pub struct OwnGenerator(Arc<Take>);

type Take = dyn Fn(PushMetadata, Bytes) -> Result<PushOutcome, Status> + Send + Sync;

impl OwnGenerator {
    /// One that takes pushes by a function, which is to judge them as it does those that come
    /// over the wire, and to say what it would say there. The memory of their bytes is
    /// accounted for already.
    pub fn new(
        take: impl Fn(PushMetadata, Bytes) -> Result<PushOutcome, Status> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(take))
    }

    /// Hands it a push.
    ///
    /// # Errors
    ///
    /// What it would answer over the wire.
    pub(super) fn take(
        &self,
        metadata: PushMetadata,
        request: Bytes,
    ) -> Result<PushOutcome, Status> {
        (self.0)(metadata, request)
    }
}

impl fmt::Debug for OwnGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnGenerator").finish_non_exhaustive()
    }
}
