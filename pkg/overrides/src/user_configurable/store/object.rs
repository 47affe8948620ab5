//! A bucket as a store: an object a tenant, changed by conditional writes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use model::TenantId;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, ObjectStore, PutMode, PutOptions, PutPayload, UpdateVersion,
};
use tokio::time::timeout;

use crate::user_configurable::document::MAX_DOCUMENT_BYTES;
use crate::user_configurable::error::StoreError;
use crate::user_configurable::store::{PutError, Stored};

/// What stands before the tenant in the name of an object, and after it. As in Tempo.
const BLOCK: &str = "overrides";
const FILE: &str = "overrides.json";

/// The object that is never there. No tenant has its name.
const TRIED: &str = "conditional-writes";

/// How long the trial may take; the first reading says that a store does not answer.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(5);

/// Longer objects are none that were written here.
const MAX_OBJECT_BYTES: usize = MAX_DOCUMENT_BYTES + 1_024;

/// How long a read or write of one object may take, tries again included.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long it may take to list them.
const LIST_PATIENCE: Duration = Duration::from_secs(60);

/// A bucket as a store.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    root: Path,
}

impl Objects {
    /// The store below a prefix of a bucket.
    ///
    /// # Errors
    ///
    /// A prefix that no object can have.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self, StoreError> {
        let prefix = prefix.trim_matches('/');
        let root = match prefix {
            "" => Path::parse(BLOCK),
            prefix => Path::parse(format!("{prefix}/{BLOCK}")),
        };
        let root = root.map_err(|source| StoreError::Object(Error::InvalidPath { source }))?;
        Ok(Self { store, root })
    }

    /// As [`super::Store::confirm`]: a version of an object that never is, and an object
    /// that is there made anew.
    pub(crate) async fn confirm(&self) -> Result<(), StoreError> {
        let never = UpdateVersion {
            e_tag: Some("\"0\"".to_owned()),
            version: Some("1".to_owned()),
        };
        let path = self.root.clone().join(TRIED);
        let put = async |mode| {
            let options = PutOptions::from(mode);
            let put = self.store.put_opts(&path, PutPayload::new(), options);
            put.await.is_ok()
        };
        let is_unconditional = async {
            put(PutMode::Update(never)).await
                || (put(PutMode::Create).await && put(PutMode::Create).await)
        };
        match timeout(CONFIRM_PATIENCE, is_unconditional).await {
            Ok(true) => Err(StoreError::Unconditional),
            Ok(false) | Err(_) => Ok(()),
        }
    }

    /// As [`super::Store::list`].
    pub(crate) async fn list(&self) -> Result<Vec<(TenantId, String)>, StoreError> {
        let listing = async {
            let mut objects = self.store.list(Some(&self.root));
            let mut found = Vec::new();
            while let Some(object) = objects.try_next().await.map_err(StoreError::Object)? {
                if let Some(tenant) = self.tenant_of(&object.location) {
                    let tag = object.e_tag.unwrap_or_default();
                    let version = object.version.unwrap_or_default();
                    let mark = format!("{tag} {version} {}", object.last_modified);
                    found.push((tenant, mark));
                }
            }
            Ok(found)
        };
        in_time(LIST_PATIENCE, listing).await
    }

    /// As [`super::Store::get`].
    pub(crate) async fn get(&self, tenant: &TenantId) -> Result<Option<Stored>, StoreError> {
        let path = self.path_of(tenant)?;
        let reading = async {
            let object = match self.store.get_opts(&path, GetOptions::default()).await {
                Err(Error::NotFound { .. }) => return Ok(None),
                object => object.map_err(StoreError::Object)?,
            };
            if object.meta.size > MAX_OBJECT_BYTES as u64 {
                return Err(StoreError::TooLong {
                    length: object.meta.size,
                    limit: MAX_OBJECT_BYTES,
                });
            }
            let revision = UpdateVersion {
                e_tag: object.meta.e_tag.clone(),
                version: object.meta.version.clone(),
            };
            let bytes = object.bytes().await.map_err(StoreError::Object)?;
            Ok(Some(Stored::new(bytes, Some(revision))))
        };
        in_time(PATIENCE, reading).await
    }

    /// As [`super::Store::put`].
    pub(crate) async fn put(
        &self,
        tenant: &TenantId,
        before: Option<&Stored>,
        bytes: Bytes,
    ) -> Result<(), PutError> {
        let path = self.path_of(tenant)?;
        let mode = match before.and_then(|before| before.revision.clone()) {
            Some(revision) => PutMode::Update(revision),
            None => PutMode::Create,
        };
        let options = PutOptions::from(mode);
        let payload = PutPayload::from_bytes(bytes.clone());
        let writing = async {
            let written = self.store.put_opts(&path, payload, options).await;
            written.map(drop).map_err(StoreError::Object)
        };
        let Err(error) = in_time(PATIENCE, writing).await else {
            return Ok(());
        };
        // A try that seemed to fail may have written, and the next one found its own
        // writing then.
        if let Ok(Some(stored)) = self.get(tenant).await
            && stored.bytes == bytes
        {
            return Ok(());
        }
        Err(match error {
            StoreError::Object(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                PutError::Changed
            }
            error => PutError::Store(error),
        })
    }

    /// The object of a tenant, whose id is a name that needs no escapes.
    fn path_of(&self, tenant: &TenantId) -> Result<Path, StoreError> {
        Path::parse(format!("{}/{tenant}/{FILE}", self.root))
            .map_err(|source| StoreError::Object(Error::InvalidPath { source }))
    }

    fn tenant_of(&self, path: &Path) -> Option<TenantId> {
        let rest = path.as_ref().strip_prefix(self.root.as_ref())?;
        let (tenant, file) = rest.strip_prefix('/')?.split_once('/')?;
        (file == FILE).then(|| TenantId::parse(tenant).ok())?
    }
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, work)
        .await
        .unwrap_or(Err(StoreError::TimedOut))
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    #[tokio::test]
    async fn a_write_replaces_only_the_version_that_it_names() {
        let objects = Objects::new(Arc::new(InMemory::new()), "/some/where/").unwrap();
        let acme = tenant("acme");
        assert!(objects.get(&acme).await.unwrap().is_none());
        objects.put(&acme, None, "1".into()).await.unwrap();
        let first = objects.get(&acme).await.unwrap().unwrap();
        let again = objects.put(&acme, None, "2".into()).await;
        assert!(matches!(again, Err(PutError::Changed)), "{again:?}");
        objects.put(&acme, Some(&first), "2".into()).await.unwrap();
        let late = objects.put(&acme, Some(&first), "3".into()).await;
        assert!(matches!(late, Err(PutError::Changed)), "{late:?}");
        let second = objects.get(&acme).await.unwrap().unwrap();
        assert_eq!(&second.bytes[..], b"2");
        objects.confirm().await.unwrap();
        // The same bytes are one's own: a try before has written them.
        objects.put(&acme, Some(&first), "2".into()).await.unwrap();
    }

    #[tokio::test]
    async fn objects_have_tempos_names_and_others_are_none_of_them() {
        let store = Arc::new(InMemory::new());
        let objects = Objects::new(store.clone(), "pre").unwrap();
        for id in ["Team", "team", "a'()*!", "..."] {
            objects.put(&tenant(id), None, "{}".into()).await.unwrap();
        }
        let path = Path::parse("pre/overrides/a'()*!/overrides.json").unwrap();
        assert!(store.get(&path).await.is_ok());
        for other in [
            "pre/overrides/overrides.json",
            "pre/overrides/a/b/overrides.json",
            "pre/overrides/b,c/overrides.json",
            "pre/overrides/a/index.json",
            "pre/overridesx/a/overrides.json",
        ] {
            let path = Path::parse(other).unwrap();
            store.put(&path, "x".into()).await.unwrap();
        }
        let mut listed = objects.list().await.unwrap();
        listed.sort();
        let ids: Vec<_> = listed.iter().map(|(tenant, _)| tenant.as_str()).collect();
        assert_eq!(ids, ["...", "Team", "a'()*!", "team"]);
    }
}
