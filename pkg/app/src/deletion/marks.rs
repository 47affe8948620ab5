//! Who is being deleted, on disk: a deletion that a process does not finish is finished
//! by the next.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use model::TenantId;
use telemetry::error_chain;

/// A directory with an empty file for each tenant.
#[derive(Clone, Debug)]
pub(crate) struct Marks(PathBuf);

/// A mark that cannot be set or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot mark in {} that the tenant is being deleted", path.display())]
pub(crate) struct MarkError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Marks {
    /// Those in a directory, which is made with the first.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Marks a tenant; the mark lasts when this returns. Blocks.
    ///
    /// # Errors
    ///
    /// [`MarkError`]; then the tenant may be marked or not.
    pub(crate) fn set(&self, tenant: &TenantId) -> Result<(), MarkError> {
        let set = fs::create_dir_all(&self.0)
            .and_then(|()| File::create(self.of(tenant)))
            .and_then(|file| file.sync_all())
            .and_then(|()| sync(&self.0));
        self.checked(set)
    }

    /// Removes the mark of a tenant, if there is one. Blocks.
    ///
    /// # Errors
    ///
    /// [`MarkError`]; then the tenant may be marked or not.
    pub(crate) fn clear(&self, tenant: &TenantId) -> Result<(), MarkError> {
        let cleared = match fs::remove_file(self.of(tenant)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync(&self.0),
        };
        self.checked(cleared)
    }

    /// Everybody who is marked. Blocks.
    pub(crate) fn all(&self) -> Vec<TenantId> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    let (path, error) = (self.0.display(), error_chain(&error));
                    tracing::warn!(%path, %error, "cannot look for tenants that are being deleted");
                }
                return Vec::new();
            }
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names
            .filter_map(|name| TenantId::from_directory(&name))
            .collect()
    }

    fn of(&self, tenant: &TenantId) -> PathBuf {
        self.0.join(tenant.directory())
    }

    fn checked(&self, result: io::Result<()>) -> Result<(), MarkError> {
        result.map_err(|source| MarkError {
            path: self.0.clone(),
            source,
        })
    }
}

/// Makes the names in a directory last.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_last_until_they_are_cleared() {
        let root = tempfile::tempdir().unwrap();
        let marks = Marks::new(root.path().join("deletions"));
        let (acme, globex) = (TenantId::parse("acme"), TenantId::parse("Globex"));
        let (acme, globex) = (acme.unwrap(), globex.unwrap());
        assert_eq!(marks.all(), []);
        marks.clear(&acme).unwrap();
        marks.set(&acme).unwrap();
        marks.set(&globex).unwrap();
        marks.clear(&acme).unwrap();
        let again = Marks::new(root.path().join("deletions"));
        assert_eq!(again.all(), [globex]);
    }
}
