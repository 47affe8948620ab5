//! How state is saved: records in blocks with checksums.
//!
//! Nothing that is read is trusted: lengths are checked, and whatever the bytes are,
//! reading them ends without a panic.

mod blocks;
mod bytes;

use std::io;

pub use self::blocks::{BlockReader, BlockWriter};
pub use self::bytes::{Cursor, put_bytes, put_number, put_signed, put_varint};

/// Why a saved state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The system does not let it be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It does not begin as a saved state does.
    #[error("it is not a saved state of spanmill")]
    Foreign,
    /// Another version of spanmill wrote it.
    #[error("its version {version} is not known")]
    Version {
        /// The version of the format.
        version: u32,
    },
    /// It is not what was written.
    #[error("it is damaged: {problem}")]
    Damaged {
        /// What was found.
        problem: &'static str,
    },
}

impl RestoreError {
    /// It is not what was written.
    pub const fn damaged(problem: &'static str) -> Self {
        Self::Damaged { problem }
    }
}
