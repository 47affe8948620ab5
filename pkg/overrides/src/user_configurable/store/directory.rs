//! A directory as a store: a file a tenant, changed under a lock that processes share.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::TenantId;

use crate::user_configurable::document::MAX_DOCUMENT_BYTES;
use crate::user_configurable::error::StoreError;
use crate::user_configurable::store::{PutError, Stored};
use crate::user_configurable::version::Version;

/// The file with a tenant's settings, in the tenant's directory.
const FILE: &str = "overrides.json";

/// The file that becomes it.
const NEXT: &str = "overrides.json.next";

/// The file whose lock a writer holds. It stays: a lock on a file that is removed
/// keeps nobody out.
const LOCK: &str = "lock";

/// How long a writer waits for the lock, and how long between two tries.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(2);

/// Longer files are none that were written here.
const MAX_FILE_BYTES: usize = MAX_DOCUMENT_BYTES + 1_024;

/// A directory as a store.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The store below a directory, which is made with the first write.
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// As [`super::Store::list`].
    pub(crate) fn list(&self) -> Result<Vec<(TenantId, String)>, StoreError> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed(&self.root))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed(&self.root))?;
            let name = entry.file_name();
            let Some(tenant) = name.to_str().and_then(TenantId::from_directory) else {
                continue;
            };
            let path = entry.path().join(FILE);
            match fs::metadata(&path) {
                Ok(file) => {
                    let (inode, length) = (file.ino(), file.len());
                    let (seconds, nanoseconds) = (file.mtime(), file.mtime_nsec());
                    let mark = format!("{inode}-{length}-{seconds}.{nanoseconds}");
                    found.push((tenant, mark));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path)(error)),
            }
        }
        Ok(found)
    }

    /// As [`super::Store::get`].
    pub(crate) fn get(&self, tenant: &TenantId) -> Result<Option<Stored>, StoreError> {
        let path = self.of(tenant).join(FILE);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed(&path))?,
        };
        let mut bytes = Vec::new();
        let most = MAX_FILE_BYTES as u64 + 1;
        file.take(most)
            .read_to_end(&mut bytes)
            .map_err(failed(&path))?;
        if bytes.len() > MAX_FILE_BYTES {
            return Err(StoreError::TooLong {
                length: bytes.len() as u64,
                limit: MAX_FILE_BYTES,
            });
        }
        Ok(Some(Stored::new(Bytes::from(bytes), None)))
    }

    /// As [`super::Store::put`]: what is there is compared and replaced under the
    /// lock, and on the disk when it returns.
    pub(crate) fn put(
        &self,
        tenant: &TenantId,
        before: Option<&Version>,
        bytes: &[u8],
    ) -> Result<(), PutError> {
        let directory = self.of(tenant);
        if !directory.exists() {
            fs::create_dir_all(&directory).map_err(failed(&directory))?;
            sync(&self.root)?;
        }
        // Its lock ends with the file handle.
        let _lock = lock(&directory.join(LOCK))?;
        let stored = self.get(tenant)?;
        if stored.as_ref().map(|stored| &stored.version) != before {
            return Err(PutError::Changed);
        }
        let next = directory.join(NEXT);
        let written = File::create(&next)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        written.map_err(failed(&next))?;
        let path = directory.join(FILE);
        fs::rename(&next, &path).map_err(failed(&path))?;
        Ok(sync(&directory)?)
    }

    /// A tenant's directory: its name is that of the tenant's other directories, so
    /// that it stays below the root, and differs from all others where the file system
    /// ignores case.
    fn of(&self, tenant: &TenantId) -> PathBuf {
        self.root.join(tenant.directory())
    }
}

/// Takes the lock, whoever in whichever process has it.
fn lock(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(failed(path))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(path)(error)),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_WAIT => sleep(LOCK_RETRY),
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    path: path.display().to_string(),
                });
            }
        }
    }
}

/// Makes the names in a directory durable.
fn sync(directory: &Path) -> Result<(), StoreError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed(directory))
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.display().to_string();
    |source| StoreError::File { path, source }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    #[test]
    fn a_write_replaces_only_the_version_that_it_names() {
        let root = tempfile::tempdir().unwrap();
        let store = Directory::new(&root.path().join("new"));
        let acme = tenant("acme");
        assert!(store.list().unwrap().is_empty());
        assert!(store.get(&acme).unwrap().is_none());

        store.put(&acme, None, b"1").unwrap();
        let first = store.get(&acme).unwrap().unwrap();
        assert_eq!(&first.bytes[..], b"1");
        let again = store.put(&acme, None, b"2");
        assert!(matches!(again, Err(PutError::Changed)), "{again:?}");
        let mark = store.list().unwrap();

        store.put(&acme, Some(&first.version), b"2").unwrap();
        let late = store.put(&acme, Some(&first.version), b"3");
        assert!(matches!(late, Err(PutError::Changed)), "{late:?}");
        assert_eq!(&store.get(&acme).unwrap().unwrap().bytes[..], b"2");
        assert_ne!(store.list().unwrap(), mark);
        assert_eq!(mark.len(), 1);
        assert_eq!(mark[0].0, acme);
    }

    #[test]
    fn of_many_writers_on_one_version_one_wins() {
        let root = tempfile::tempdir().unwrap();
        let store = Directory::new(root.path());
        let acme = tenant("acme");
        store.put(&acme, None, b"0").unwrap();
        for round in 0..10 {
            let before = store.get(&acme).unwrap().unwrap().version;
            let won = thread::scope(|scope| {
                let writers = (0..8).map(|writer| {
                    let (store, acme, before) = (&store, &acme, &before);
                    scope.spawn(move || {
                        let bytes = format!("{round} {writer}");
                        store.put(acme, Some(before), bytes.as_bytes()).is_ok()
                    })
                });
                let writers: Vec<_> = writers.collect();
                let won = writers.into_iter().map(|writer| writer.join().unwrap());
                won.filter(|won| *won).count()
            });
            assert_eq!(won, 1, "round {round}");
        }
    }

    #[test]
    fn hostile_and_similar_tenants_have_files_of_their_own_below_the_root() {
        let root = tempfile::tempdir().unwrap();
        let store = Directory::new(&root.path().join("overrides"));
        let ids = [
            "Team",
            "team",
            "TEAM",
            "...",
            "con",
            "a'()*!",
            "lock",
            "overrides.json",
        ];
        for id in ids {
            store.put(&tenant(id), None, id.as_bytes()).unwrap();
        }
        for id in ids {
            let stored = store.get(&tenant(id)).unwrap().unwrap();
            assert_eq!(&stored.bytes[..], id.as_bytes());
        }
        let mut listed: Vec<_> = store.list().unwrap();
        listed.sort();
        assert_eq!(listed.len(), ids.len());
        let names = fs::read_dir(root.path().join("overrides")).unwrap();
        for name in names {
            let name = name.unwrap().file_name().into_string().unwrap();
            assert_eq!(name, name.to_lowercase());
        }
        let outside = fs::read_dir(root.path()).unwrap().count();
        assert_eq!(outside, 1);
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let store = Directory::new(root.path());
        let acme = tenant("acme");
        store
            .put(&acme, None, &vec![b' '; MAX_FILE_BYTES + 1])
            .unwrap();
        let read = store.get(&acme);
        assert!(matches!(read, Err(StoreError::TooLong { .. })), "{read:?}");
    }
}
