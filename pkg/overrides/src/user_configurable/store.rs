//! Where tenants' own settings are stored, one object a tenant.

mod clients;
mod directory;
mod object;

use std::path::Path;

use bytes::Bytes;
use model::TenantId;
use object_store::UpdateVersion;
use tokio::task::spawn_blocking;

use crate::user_configurable::config::{Backend, StoreConfig};
use crate::user_configurable::error::StoreError;
use crate::user_configurable::version::Version;

use self::directory::Directory;
use self::object::Objects;

/// A store in which a write succeeds only on the version that it names.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// A directory of this host.
    Directory(Directory),
    /// A bucket.
    Objects(Objects),
}

/// What is stored for a tenant.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) bytes: Bytes,
    pub(crate) version: Version,
    /// The version in the words of the object store.
    revision: Option<UpdateVersion>,
}

/// A write that was not done.
#[derive(Debug)]
pub(crate) enum PutError {
    /// What is stored is no longer what the write began with.
    Changed,
    /// The store cannot, or it is not known whether it has.
    Store(StoreError),
}

impl From<StoreError> for PutError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Stored {
    fn new(bytes: Bytes, revision: Option<UpdateVersion>) -> Self {
        Self {
            version: Version::of(&bytes),
            bytes,
            revision,
        }
    }
}

impl Store {
    /// Makes the store; it is not asked yet. `default_directory` is for a local one
    /// without a path.
    ///
    /// # Errors
    ///
    /// Settings that cannot be used.
    pub(crate) fn new(config: &StoreConfig, default_directory: &Path) -> Result<Self, StoreError> {
        let (store, prefix) = match config.backend {
            Backend::Local => {
                let path = match config.local.path.as_os_str().is_empty() {
                    true => default_directory,
                    false => &config.local.path,
                };
                return Ok(Self::Directory(Directory::new(path)));
            }
            Backend::Gcs => (clients::gcs(&config.gcs), &config.gcs.prefix),
            Backend::S3 => (clients::s3(&config.s3), &config.s3.prefix),
            Backend::Azure => (clients::azure(&config.azure), &config.azure.prefix),
        };
        let objects = Objects::new(store.map_err(StoreError::Object)?, prefix)?;
        Ok(Self::Objects(objects))
    }

    /// Tries whether it keeps from writing where the condition does not hold. One that
    /// does not answer is given the benefit of the doubt.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unconditional`], if it writes.
    pub(crate) async fn confirm(&self) -> Result<(), StoreError> {
        match self {
            Self::Directory(_) => Ok(()),
            Self::Objects(objects) => objects.confirm().await,
        }
    }

    /// The tenants for which something is stored, each with a mark that changes with it.
    ///
    /// # Errors
    ///
    /// Where the store cannot be read.
    pub(crate) async fn list(&self) -> Result<Vec<(TenantId, String)>, StoreError> {
        match self {
            Self::Directory(directory) => {
                let directory = directory.clone();
                blocking(move || directory.list()).await
            }
            Self::Objects(objects) => objects.list().await,
        }
    }

    /// What is stored for a tenant.
    ///
    /// # Errors
    ///
    /// Where the store cannot be read.
    pub(crate) async fn get(&self, tenant: &TenantId) -> Result<Option<Stored>, StoreError> {
        match self {
            Self::Directory(directory) => {
                let (directory, tenant) = (directory.clone(), tenant.clone());
                blocking(move || directory.get(&tenant)).await
            }
            Self::Objects(objects) => objects.get(tenant).await,
        }
    }

    /// Stores bytes for a tenant in place of what was stored `before`. The bytes must
    /// be none that were ever stored.
    ///
    /// Cancelled, it may have stored them or not.
    ///
    /// # Errors
    ///
    /// [`PutError::Changed`], if something else is stored by now.
    pub(crate) async fn put(
        &self,
        tenant: &TenantId,
        before: Option<&Stored>,
        bytes: Bytes,
    ) -> Result<(), PutError> {
        match self {
            Self::Directory(directory) => {
                let (directory, tenant) = (directory.clone(), tenant.clone());
                let before = before.map(|before| before.version.clone());
                blocking(move || Ok(directory.put(&tenant, before.as_ref(), &bytes))).await?
            }
            Self::Objects(objects) => objects.put(tenant, before, bytes).await,
        }
    }
}

/// Runs what waits for files on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        // It panicked, or the process ends.
        Err(error) => Err(StoreError::File {
            path: "store of overrides".to_owned(),
            source: std::io::Error::other(error),
        }),
    }
}
