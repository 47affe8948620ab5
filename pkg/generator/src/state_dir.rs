//! Where what a planned stop keeps of tenants lies: `<tenant's directory>/registry`
//! and `<tenant's directory>/edges` for each.
//!
//! A file is there whole or not at all, and is gone before its tenant takes the
//! first push: a crash later must not bring an old state back.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

use model::TenantId;
use registry::RestoreError;

/// A file of a tenant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StateFile {
    /// Its series.
    Registry,
    /// Spans that wait for their counterpart in the service graph.
    Edges,
}

impl StateFile {
    const ALL: [Self; 2] = [Self::Registry, Self::Edges];

    fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Edges => "edges",
        }
    }

    /// Its name while it is written.
    fn unfinished(self) -> String {
        format!("{}.unfinished", self.name())
    }
}

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
    fn file(&self, file: StateFile) -> PathBuf {
        self.0.join(file.name())
    }

    /// Writes a file, to the disk itself: once [`StateDir::sync`] has made the
    /// directory last, it does. There is none if `write` gives `None`: nothing is
    /// worth it.
    ///
    /// # Errors
    ///
    /// [`SaveError`]; then there is no file.
    pub(crate) fn save<T>(
        &self,
        file: StateFile,
        write: impl FnOnce(BufWriter<&File>) -> io::Result<Option<T>>,
    ) -> Result<Option<T>, SaveError> {
        let path = self.0.join(file.unfinished());
        let saved = self.save_as(&path, file, write);
        if !matches!(&saved, Ok(Some(_))) {
            // What is left over goes at the next start.
            let _ = fs::remove_file(&path);
            let _ = fs::remove_dir(&self.0);
        }
        saved.map_err(|source| SaveError { path, source })
    }

    fn save_as<T>(
        &self,
        path: &Path,
        file: StateFile,
        write: impl FnOnce(BufWriter<&File>) -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        fs::create_dir_all(&self.0)?;
        let unfinished = File::create(path)?;
        let saved = write(BufWriter::new(&unfinished))?;
        if saved.is_some() {
            unfinished.sync_all()?;
            fs::rename(path, self.file(file))?;
            File::open(&self.0)?.sync_all()?;
        }
        Ok(saved)
    }

    /// Opens a file; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`LoadError::Open`].
    pub(crate) fn open(&self, file: StateFile) -> Result<Option<BufReader<File>>, LoadError> {
        let path = self.file(file);
        match File::open(&path) {
            Ok(file) => Ok(Some(BufReader::new(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LoadError::Open { path, source }),
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
            path: self.0.clone(),
            tenant: tenant.clone(),
        })
    }

    /// Says of which file an error is.
    pub(crate) fn cannot_restore(&self, file: StateFile, source: RestoreError) -> LoadError {
        LoadError::Restore {
            path: self.file(file),
            source,
        }
    }

    /// Removes the files, whatever was left half-written, and the directory with
    /// them: what [`StateDir::sync`] then makes last.
    ///
    /// # Errors
    ///
    /// That of the system; then files may still be there.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for file in StateFile::ALL {
            for path in [self.file(file), self.0.join(file.unfinished())] {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        // Other files of the tenant may be there.
        if fs::remove_dir(&self.0).is_err() {
            return File::open(&self.0)?.sync_all();
        }
        Ok(())
    }

    /// Removes the directory with all that is in it, for good.
    ///
    /// # Errors
    ///
    /// That of the system; then files may still be there.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => match self.0.parent() {
                Some(parent) => File::open(parent)?.sync_all(),
                None => Ok(()),
            },
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}
