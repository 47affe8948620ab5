//! Up to where a tenant's samples have been given away, on the disk of the source.

use std::io;
use std::path::Path;

use super::stored;
use crate::spool::wire::Fields;

const MAGIC: [u8; 8] = *b"spangave";
const FILE: &str = "handed-over";

/// Up to where a tenant's samples have been given away.
///
/// What is before is never sent by this node any more, whatever its cursors say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Tells this spool of the tenant from others that the same node had or will have,
    /// whose positions begin anew.
    pub(crate) generation: u64,
    /// The position after the last sample that was given away.
    pub(crate) position: u64,
}

impl Mark {
    /// The mark in a tenant's directory; `None` if nothing was ever given away, or
    /// nobody can tell.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        match stored::read(&directory.join(FILE), &MAGIC) {
            Ok(payload) => Self::of(&payload?),
            Err(error) => {
                tracing::error!(
                    error = %telemetry::error_chain(&error),
                    "cannot read up to where samples were handed over; some may be sent again"
                );
                None
            }
        }
    }

    /// Writes it down, so that it lasts.
    ///
    /// # Errors
    ///
    /// What the system says; then the one before is still there.
    pub(crate) fn write(self, directory: &Path) -> io::Result<()> {
        let mut payload = self.generation.to_le_bytes().to_vec();
        payload.extend_from_slice(&self.position.to_le_bytes());
        stored::write(&directory.join(FILE), &MAGIC, &payload, true)
    }

    fn of(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(payload);
        Some(Self {
            generation: fields.u64()?,
            position: fields.u64()?,
        })
    }
}
