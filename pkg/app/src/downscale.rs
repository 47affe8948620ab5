//! Whether the next stop of this node is for good.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The file that says so, below the data directory.
const FILE: &str = "prepared-for-downscale";

/// Whether the next stop of this node is for good, which a restart does not change.
#[derive(Clone, Debug)]
pub(crate) struct Downscale {
    directory: PathBuf,
}

impl Downscale {
    /// As it is written in a data directory.
    pub(crate) fn new(storage: &Path) -> Self {
        Self {
            directory: storage.to_owned(),
        }
    }

    /// Whether it is.
    ///
    /// # Errors
    ///
    /// That of the system.
    pub(crate) fn is_prepared(&self) -> io::Result<bool> {
        self.file().try_exists()
    }

    /// Makes the next stop one for good. It lasts when this returns. Blocks.
    ///
    /// # Errors
    ///
    /// That of the system; then it may be or not.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        File::create(self.file())?.sync_all()?;
        self.sync()
    }

    /// Makes the next stop one like others, also after one for good has done its work.
    /// It lasts when this returns. Blocks.
    ///
    /// # Errors
    ///
    /// That of the system; then it may be or not.
    pub(crate) fn cancel(&self) -> io::Result<()> {
        match fs::remove_file(self.file()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync(),
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}
