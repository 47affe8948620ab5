//! Orders to delete tenants, on disk: those that a process does not finish are finished
//! by the next, and those that are done are known to it.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use model::TenantId;
use serde::{Deserialize, Serialize};
use telemetry::error_chain;

/// An order to delete a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// When it was given, in milliseconds since the Unix epoch: a later one of the same
    /// tenant has a higher number.
    pub(crate) at_ms: u64,
    /// Whether an operator gave it here: of what all nodes share, such as a bucket with
    /// settings, this node takes care, and no other.
    pub(crate) is_first: bool,
}

impl Order {
    /// What a mark without a word means: that of a version which had no clusters.
    const ALONE: Self = Self {
        at_ms: 0,
        is_first: true,
    };

    /// One that does what both ask for: what was not finished may have had more to do, and
    /// one that is told late is not done by less than what came before it.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            at_ms: self.at_ms.max(other.at_ms),
            is_first: self.is_first || other.is_first,
        }
    }
}

/// The version of what is written.
const FORMAT: u32 = 1;

/// An order as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u32,
    #[serde(flatten)]
    order: Order,
}

/// A directory with a file for each tenant.
#[derive(Clone, Debug)]
pub(crate) struct Marks(PathBuf);

/// A mark that cannot be set or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write in {} that the tenant is deleted", path.display())]
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
    pub(crate) fn set(&self, tenant: &TenantId, order: Order) -> Result<(), MarkError> {
        let write = || {
            fs::create_dir_all(&self.0)?;
            // Under a name that is no tenant's: a mark is whole or not there.
            let path = self.path_of(tenant);
            let unfinished = path.with_extension("new");
            let mut file = File::create(&unfinished)?;
            file.write_all(&to_bytes(order)?)?;
            file.sync_all()?;
            fs::rename(&unfinished, path)?;
            sync(&self.0)
        };
        self.checked(write())
    }

    /// The order that a tenant is marked with, if it is. One that a later version wrote, or
    /// that is damaged, is left where it is and logged. Blocks.
    pub(crate) fn of(&self, tenant: &TenantId) -> Option<Order> {
        let path = self.path_of(tenant);
        match from_bytes(&fs::read(&path).ok()?) {
            Ok(order) => Some(order),
            Err(problem) => {
                let path = path.display();
                tracing::warn!(%path, problem, "cannot read which tenant was to be deleted");
                None
            }
        }
    }

    /// Removes the mark of a tenant, if there is one. Blocks.
    ///
    /// # Errors
    ///
    /// [`MarkError`]; then the tenant may be marked or not.
    pub(crate) fn clear(&self, tenant: &TenantId) -> Result<(), MarkError> {
        let cleared = match fs::remove_file(self.path_of(tenant)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync(&self.0),
        };
        self.checked(cleared)
    }

    /// Everybody who is marked. Blocks.
    pub(crate) fn all(&self) -> Vec<(TenantId, Order)> {
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
        let tenants = names.filter_map(|name| TenantId::from_directory(&name));
        tenants
            .filter_map(|tenant| self.of(&tenant).map(|order| (tenant, order)))
            .collect()
    }

    fn path_of(&self, tenant: &TenantId) -> PathBuf {
        self.0.join(tenant.directory())
    }

    fn checked(&self, result: io::Result<()>) -> Result<(), MarkError> {
        result.map_err(|source| MarkError {
            path: self.0.clone(),
            source,
        })
    }
}

fn to_bytes(order: Order) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Written {
        format: FORMAT,
        order,
    })
}

fn from_bytes(bytes: &[u8]) -> Result<Order, String> {
    if bytes.is_empty() {
        return Ok(Order::ALONE);
    }
    let written: Written = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match written.format {
        FORMAT => Ok(written.order),
        other => Err(format!(
            "it is of format {other}, and this version knows {FORMAT}"
        )),
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
        let order = |at_ms| Order {
            at_ms,
            is_first: false,
        };
        marks.set(&acme, order(1)).unwrap();
        marks.set(&globex, order(2)).unwrap();
        marks.clear(&acme).unwrap();
        let again = Marks::new(root.path().join("deletions"));
        assert_eq!(again.all(), [(globex, order(2))]);
        assert_eq!(again.of(&acme), None);
        // As a version without clusters wrote it.
        File::create(again.path_of(&acme)).unwrap();
        assert_eq!(again.of(&acme), Some(Order::ALONE));
        // As a later version may, or a disk that is damaged.
        for text in [r#"{"format":2,"at_ms":1,"is_first":true}"#, "{"] {
            fs::write(again.path_of(&acme), text).unwrap();
            assert_eq!(again.of(&acme), None, "{text}");
        }
    }

    #[test]
    fn order_that_is_told_late_takes_nothing_from_one_that_is_not_finished() {
        let order = |at_ms, is_first| Order { at_ms, is_first };
        assert_eq!(order(5, false).and(order(7, true)), order(7, true));
        assert_eq!(order(7, true).and(order(5, false)), order(7, true));
        assert_eq!(order(7, false).and(order(5, false)), order(7, false));
    }

    #[test]
    fn format_is_that_of_its_version() {
        let format = fixtures::Format::new(env!("CARGO_MANIFEST_DIR"), "deletion-order");
        let order = Order {
            at_ms: 1_700_000_000_000,
            is_first: true,
        };
        let written = to_bytes(order).unwrap();
        format.check(FORMAT.into(), &written).unwrap();
        for (version, bytes) in format.kept().unwrap() {
            assert_eq!(from_bytes(&bytes), Ok(order), "{version}");
        }
    }
}
