//! The data directory, for one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The file whose lock says that a process uses the directory.
const LOCK_FILE: &str = "lock";

/// A data directory that no other process uses while this lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    _lock: File,
}

/// A data directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written to.
    #[error("storage.path: cannot use {}", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process uses it.
    #[error("storage.path: {} is in use by another spanmill process ({holder})", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What that process wrote about itself.
        holder: String,
    },
}

impl DataDir {
    /// Makes the directory where it is missing, and locks it.
    ///
    /// The system lets go of the lock however the process ends.
    ///
    /// # Errors
    ///
    /// [`DataDirError`], which names the setting.
    pub(crate) fn lock(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable {
            path: path.to_owned(),
            source,
        };
        std::fs::create_dir_all(path).map_err(unusable)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK_FILE))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // For the message only.
                let _ = file.read_to_string(&mut holder);
                return Err(DataDirError::InUse {
                    path: path.to_owned(),
                    holder: holder.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        file.set_len(0).map_err(unusable)?;
        writeln!(file, "pid {}", std::process::id()).map_err(unusable)?;
        Ok(Self { _lock: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_process_is_told_who_has_the_directory() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/data");
        let first = DataDir::lock(&path).unwrap();
        let error = DataDir::lock(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "storage.path: {} is in use by another spanmill process (pid {})",
                path.display(),
                std::process::id()
            )
        );
        drop(first);
        assert!(DataDir::lock(&path).is_ok());
    }

    #[test]
    fn directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::lock(&file.path().join("data")).unwrap_err();
        assert!(
            error.to_string().starts_with("storage.path: cannot use "),
            "{error}"
        );
    }
}
