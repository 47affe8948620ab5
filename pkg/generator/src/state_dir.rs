//! Where what a planned stop keeps of tenants lies: `<tenant's directory>/registry`
//! for each.
//!
//! A file is there whole or not at all, and is gone before its tenant takes the
//! first push: a crash later must not bring an old state back.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

use model::TenantId;
use registry::{RestoreError, SnapshotStats};

/// The file of a tenant.
const FILE: &str = "registry";
/// The same while it is written.
const UNFINISHED: &str = "registry.unfinished";

/// The state directory of a process.
#[derive(Clone, Debug)]
pub(crate) struct StateDir(PathBuf);

/// A saved state that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub(crate) struct SaveError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A saved state that could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The system does not let it be opened.
    #[error("cannot open {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It cannot be restored.
    #[error("cannot use {}", path.display())]
    Restore {
        path: PathBuf,
        #[source]
        source: RestoreError,
    },
    /// It lies in the directory of another tenant.
    #[error("{} is of tenant {tenant}", path.display())]
    Misplaced { path: PathBuf, tenant: TenantId },
}

impl StateDir {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The directories of tenants.
    ///
    /// # Errors
    ///
    /// That of the system; none if there is no state directory yet.
    pub(crate) fn tenants(&self) -> io::Result<Vec<TenantDir>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut tenants = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                tenants.push(TenantDir(entry.path()));
            }
        }
        tenants.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(tenants)
    }

    /// Makes it last that directories of tenants have come and gone.
    ///
    /// # Errors
    ///
    /// That of the system.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    pub(crate) fn of(&self, tenant: &TenantId) -> TenantDir {
        TenantDir(self.0.join(tenant.directory()))
    }
}

/// The directory of a tenant.
#[derive(Clone, Debug)]
pub(crate) struct TenantDir(PathBuf);

impl TenantDir {
    fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }

    /// Writes the file, to the disk itself: once [`StateDir::sync`] has made the
    /// directory last, it does. There is none if nothing was saved in it.
    ///
    /// # Errors
    ///
    /// [`SaveError`]; then there is no file.
    pub(crate) fn save(
        &self,
        write: impl FnOnce(BufWriter<&File>) -> io::Result<SnapshotStats>,
    ) -> Result<SnapshotStats, SaveError> {
        let path = self.0.join(UNFINISHED);
        let saved = self.save_as(&path, write);
        if !matches!(&saved, Ok(stats) if stats.entities > 0) {
            // What is left over goes at the next start.
            let _ = self.clear();
        }
        saved.map_err(|source| SaveError { path, source })
    }

    fn save_as(
        &self,
        path: &Path,
        write: impl FnOnce(BufWriter<&File>) -> io::Result<SnapshotStats>,
    ) -> io::Result<SnapshotStats> {
        fs::create_dir_all(&self.0)?;
        let file = File::create(path)?;
        let stats = write(BufWriter::new(&file))?;
        if stats.entities > 0 {
            file.sync_all()?;
            fs::rename(path, self.file())?;
            File::open(&self.0)?.sync_all()?;
        }
        Ok(stats)
    }

    /// Opens the file; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`LoadError::Open`].
    pub(crate) fn open(&self) -> Result<Option<BufReader<File>>, LoadError> {
        match File::open(self.file()) {
            Ok(file) => Ok(Some(BufReader::new(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LoadError::Open {
                path: self.file(),
                source,
            }),
        }
    }

    /// Checks that the directory is that of a tenant.
    ///
    /// # Errors
    ///
    /// [`LoadError::Misplaced`].
    pub(crate) fn is_of(&self, tenant: &TenantId) -> Result<(), LoadError> {
        if self.0.ends_with(tenant.directory()) {
            return Ok(());
        }
        Err(LoadError::Misplaced {
            path: self.file(),
            tenant: tenant.clone(),
        })
    }

    /// Says of which file an error is.
    pub(crate) fn cannot_restore(&self, source: RestoreError) -> LoadError {
        LoadError::Restore {
            path: self.file(),
            source,
        }
    }

    /// Removes the file, whatever was left half-written, and the directory with
    /// them: what [`StateDir::sync`] then makes last.
    ///
    /// # Errors
    ///
    /// That of the system; then the file may still be there.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for path in [self.file(), self.0.join(UNFINISHED)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // Other files of the tenant may be there.
        if fs::remove_dir(&self.0).is_err() {
            return File::open(&self.0)?.sync_all();
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}
