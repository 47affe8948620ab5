//! A tenant leaves: its series end, and nothing of it stays here.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use model::TenantId;

use crate::generator::Generator;
use crate::instance::Instance;
use crate::tenants::IsLeaving;

/// How often it looks whether somebody still uses the instance.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A tenant that is being deleted. No span of it is taken as long as this lives; then
/// a new instance starts with its next span.
///
/// Dropped before [`end_series`](Self::end_series), the tenant goes on as it was.
#[derive(Debug)]
#[must_use = "the tenant goes on when this is dropped"]
pub struct Leaving {
    generator: Generator,
    tenant: TenantId,
    instance: Option<Arc<Instance>>,
}

/// A tenant that cannot be deleted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaveError {
    /// Somebody else is doing it.
    #[error("the tenant is being deleted")]
    UnderWay,
    /// A scrape of it, or another walk over its series, takes too long.
    #[error("the tenant's series are in use: is a scrape under way?")]
    InUse,
}

impl Generator {
    /// Takes no more spans of a tenant, with or without an instance.
    ///
    /// # Errors
    ///
    /// [`LeaveError::UnderWay`].
    pub fn leave(&self, tenant: &TenantId) -> Result<Leaving, LeaveError> {
        match self.all_tenants().leave(tenant) {
            Ok(instance) => Ok(Leaving {
                generator: self.clone(),
                tenant: tenant.clone(),
                instance,
            }),
            Err(IsLeaving) => Err(LeaveError::UnderWay),
        }
    }
}

impl Leaving {
    /// The tenant.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Waits for pushes and scrapes that are under way, at most for `patience`, ends
    /// every series with a staleness marker, and gives the memory back. Says how many
    /// series ended; `None` if there was no instance. Blocks.
    ///
    /// # Errors
    ///
    /// [`LeaveError::InUse`]; then nothing has changed.
    pub fn end_series(&mut self, patience: Duration) -> Result<Option<u64>, LeaveError> {
        let begin = Instant::now();
        let Some(mut shared) = self.instance.take() else {
            return Ok(None);
        };
        loop {
            // Others find no instance any more, and those who had it let go of it.
            match Arc::try_unwrap(shared) {
                Ok(instance) => return Ok(Some(instance.end_series())),
                Err(used) if begin.elapsed() < patience => {
                    shared = used;
                    thread::sleep(LOOK_AGAIN);
                }
                Err(used) => {
                    self.instance = Some(used);
                    return Err(LeaveError::InUse);
                }
            }
        }
    }

    /// Removes what a planned stop has kept of the tenant. Blocks.
    ///
    /// # Errors
    ///
    /// That of the system; then files may still be there.
    pub fn remove_state(&self) -> io::Result<()> {
        match self.generator.state_dir() {
            Some(state_dir) => state_dir.of(&self.tenant).remove(),
            None => Ok(()),
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let tenants = self.generator.all_tenants();
        tenants.stay_or_come(&self.tenant, self.instance.take());
    }
}
