//! Settings that tenants change themselves: stored, polled, and put in force.

mod allow_list;
mod checks;
pub mod config;
pub mod document;
pub mod error;
pub(crate) mod metrics;
mod poll;
mod store;
pub mod version;

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lifecycle::{Shutdown, TaskGroup};
use model::TenantId;
use serde_json::Value;
use settings::Problems;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::metrics::OverridesMetrics;
use crate::overrides::Overrides;
use crate::provenance::Explained;

use self::config::UserConfigurableConfig;
use self::document::{ChangedSetting, UserDocument};
use self::error::{StoreError, UserOverridesError};
use self::metrics::UserConfigurableMetrics;
use self::poll::Known;
use self::store::{PutError, Store, Stored};
use self::version::{IfMatch, Version};

/// How often a patch without a version is tried on what others have stored meanwhile.
const ATTEMPTS: u32 = 32;

/// Locks that writers of this process take, by tenant, before they go to the store.
const LOCKS: usize = 64;

/// KiB of changes that wait or are under way, in all and at one lock, so that no tenant
/// takes all.
const ROOM_KIB: usize = 64 << 10;
const TURN_KIB: usize = 8 << 10;

/// How long a change waits for those before it: about as long as one of them that the
/// store does not answer.
const TURN_PATIENCE: Duration = Duration::from_secs(30);

/// The settings that tenants change themselves. Cloning is cheap and shares them.
#[derive(Clone, Debug)]
pub struct UserOverrides(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    overrides: Overrides,
    metrics: UserConfigurableMetrics,
    refuses_conflicts: bool,
    /// 0 is no limit.
    max_tenants: usize,
    tasks: TaskGroup,
    known: Known,
    turns: [Turn; LOCKS],
    /// KiB that changes under way may hold, those that wait for their turn among them.
    room: Arc<Semaphore>,
    hasher: RandomState,
}

/// What a request wants to do with a tenant's settings.
#[derive(Clone, Debug)]
pub enum Change {
    /// Set these and no others; JSON.
    Replace(bytes::Bytes),
    /// Apply a merge patch by RFC 7386.
    Patch(bytes::Bytes),
    /// Set none.
    Delete,
}

/// What a tenant has set, and its version.
#[derive(Clone, Debug)]
pub struct StoredOverrides {
    /// The settings.
    pub document: UserDocument,
    /// Their version.
    pub version: Version,
}

/// What a request has done.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What the tenant has set now; none after a deletion.
    pub now: Option<StoredOverrides>,
    /// The version before; none where there was none.
    pub before: Option<Version>,
    /// Which settings it made others.
    pub changes: Vec<ChangedSetting>,
}

/// The writers of this process that are at one of some tenants, or wait for that.
#[derive(Debug)]
struct Turn {
    lock: Arc<Mutex<()>>,
    /// KiB that they may hold.
    room: Arc<Semaphore>,
}

/// The turn of one writer.
#[derive(Debug)]
struct Held {
    _lock: OwnedMutexGuard<()>,
    _room: [OwnedSemaphorePermit; 2],
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            lock: Arc::default(),
            room: Arc::new(Semaphore::new(TURN_KIB)),
        }
    }
}

impl Change {
    /// Bytes that it holds.
    fn length(&self) -> usize {
        match self {
            Self::Replace(body) | Self::Patch(body) => body.len(),
            Self::Delete => 0,
        }
    }
}

impl UserOverrides {
    /// Reads what is stored, puts it in force, and looks for changes each
    /// `poll_interval` until shutdown. A store that does not answer delays the start for
    /// seconds, and then only a warning says so: the settings come when it does.
    /// `default_directory` is for a local store without a path.
    ///
    /// Cancelled, nothing runs.
    ///
    /// # Errors
    ///
    /// Settings of the store that cannot be used, or a store that writes whatever the
    /// condition.
    pub async fn start(
        config: &UserConfigurableConfig,
        default_directory: &Path,
        overrides: Overrides,
        metrics: &OverridesMetrics,
        tasks: &TaskGroup,
        shutdown: &Shutdown,
    ) -> Result<Self, StoreError> {
        let store = Store::new(&config.client, default_directory)?;
        if config.client.confirm_versioning {
            store.confirm().await?;
        }
        let started = Self(Arc::new(Inner {
            store,
            overrides,
            metrics: metrics.user_configurable.clone(),
            refuses_conflicts: config.api.check_for_conflicting_runtime_overrides,
            max_tenants: config.api.max_tenants,
            tasks: tasks.clone(),
            known: Known::default(),
            turns: std::array::from_fn(|_| Turn::default()),
            room: Arc::new(Semaphore::new(ROOM_KIB)),
            hasher: RandomState::new(),
        }));
        started.poll_at_start().await;
        let (polling, interval, shutdown) =
            (started.clone(), config.poll_interval, shutdown.clone());
        tasks.spawn("overrides-poll", async move {
            tokio::select! {
                () = polling.poll_forever(interval) => {}
                () = shutdown.requested() => {}
            }
        });
        Ok(started)
    }

    /// What a tenant has set, as it is stored now. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`UserOverridesError::NotFound`]; where the store does not answer, that.
    pub async fn stored(&self, tenant: &TenantId) -> Result<StoredOverrides, UserOverridesError> {
        let stored = self.fetch(tenant).await?;
        let (document, version) = match &stored {
            Some(stored) => (read(stored)?, &stored.version),
            None => return Err(UserOverridesError::NotFound),
        };
        Ok(StoredOverrides {
            document: document.ok_or(UserOverridesError::NotFound)?,
            version: version.clone(),
        })
    }

    /// What is in force of that which tenants may set, in overrides' layout; and the
    /// version of what the tenant has set itself, if it has.
    ///
    /// # Errors
    ///
    /// Where something cannot be written.
    pub fn merged(&self, tenant: &TenantId) -> Result<(Value, Option<Version>), Problems> {
        let document = self.0.overrides.document(Some(tenant))?;
        let version = self.0.known.version(tenant);
        Ok((allow_list::allowed_part(&document), version))
    }

    /// The same, each setting with the layer that it comes from and without places in
    /// the operator's files.
    ///
    /// # Errors
    ///
    /// Where something cannot be written.
    pub fn explained(
        &self,
        tenant: &TenantId,
    ) -> Result<(Vec<Explained>, Option<Version>), Problems> {
        let mut settings = self.0.overrides.explain(tenant)?;
        settings.retain(|setting| {
            let keys: Vec<_> = setting.path.split('.').collect();
            allow_list::is_allowed(&keys)
        });
        for setting in &mut settings {
            setting.place = None;
        }
        Ok((settings, self.0.known.version(tenant)))
    }

    /// Changes what a tenant has set, stores it, and puts it in force in this process.
    /// To replace and to delete need the version that is stored.
    ///
    /// `told` is called once it is done, whether or not anybody still waits for it.
    ///
    /// Cancelled while others have their turn, it is not done; later, it goes on to its
    /// end.
    ///
    /// # Errors
    ///
    /// [`UserOverridesError`]. If the store does not answer, the change may be stored
    /// nevertheless; it is then in force after the next poll.
    pub async fn change(
        &self,
        tenant: &TenantId,
        change: Change,
        if_match: Option<IfMatch>,
        with_conflicts: bool,
        told: impl FnOnce(&Changed) + Send + 'static,
    ) -> Result<Changed, UserOverridesError> {
        if if_match.is_none() && !matches!(change, Change::Patch(_)) {
            return Err(UserOverridesError::VersionRequired);
        }
        let turn = self.turn(tenant, change.length()).await?;
        let (tell, answer) = oneshot::channel();
        let (overrides, tenant) = (self.clone(), tenant.clone());
        self.0.tasks.spawn("overrides-change", async move {
            let _turn = turn;
            let changed = overrides
                .change_to_the_end(&tenant, &change, if_match.as_ref(), with_conflicts)
                .await;
            if let Ok(changed) = &changed {
                told(changed);
            }
            // Nobody listens if the client has gone.
            let _ = tell.send(changed);
        });
        answer.await.unwrap_or(Err(UserOverridesError::Stopping))
    }

    async fn change_to_the_end(
        &self,
        tenant: &TenantId,
        change: &Change,
        if_match: Option<&IfMatch>,
        with_conflicts: bool,
    ) -> Result<Changed, UserOverridesError> {
        for _ in 0..ATTEMPTS {
            let before = self.fetch(tenant).await?;
            let old = match (before.as_ref().map(read), change) {
                (None, _) => None,
                (Some(Ok(old)), _) => old,
                (Some(Err(broken)), Change::Patch(_)) => return Err(broken),
                // Something is there, whatever it says, and it can go.
                (Some(Err(_)), _) => Some(UserDocument::empty()),
            };
            let old_version = before.as_ref().filter(|_| old.is_some());
            let old_version = old_version.map(|stored| stored.version.clone());
            if if_match.is_some_and(|if_match| !if_match.holds_for(old_version.as_ref())) {
                self.0.metrics.conflicts.inc();
                return Err(UserOverridesError::VersionMismatch);
            }
            if before.is_none() {
                self.refuse_one_too_many()?;
            }
            let (old, new) = apply(old, change.clone()).await?;
            if let Some(new) = &new {
                self.refuse_unknown_forwarders(new)?;
            }
            let changes = UserDocument::changes(old.as_ref(), new.as_ref());
            if self.0.refuses_conflicts && !with_conflicts {
                self.refuse_conflicts(tenant, old.as_ref(), new.as_ref())?;
            }
            let bytes = UserDocument::to_stored(new.as_ref(), rand::random());
            let version = Version::of(&bytes);
            let written = self.0.store.put(tenant, before.as_ref(), bytes).await;
            match written {
                Ok(()) => {
                    self.0.metrics.writes.inc();
                    self.put_in_force(tenant, new.clone(), version.clone())
                        .await;
                    return Ok(Changed {
                        now: new.map(|document| StoredOverrides { document, version }),
                        before: old_version,
                        changes,
                    });
                }
                Err(PutError::Changed) => {
                    self.0.metrics.conflicts.inc();
                    if if_match.is_some() {
                        return Err(UserOverridesError::VersionMismatch);
                    }
                }
                Err(PutError::Store(error)) => {
                    self.0.metrics.write_failures.inc();
                    return Err(UserOverridesError::Unavailable(error));
                }
            }
        }
        Err(UserOverridesError::Contended { attempts: ATTEMPTS })
    }

    /// Waits until no other writer of this process is at a tenant.
    ///
    /// # Errors
    ///
    /// [`UserOverridesError::Busy`], where too many wait, or for too long.
    async fn turn(&self, tenant: &TenantId, length: usize) -> Result<Held, UserOverridesError> {
        let index = self.0.hasher.hash_one(tenant) as usize % LOCKS;
        let turn = self.0.turns.get(index).ok_or(UserOverridesError::Busy)?;
        // What waits is also the smallest change's task and answer.
        let kib = u32::try_from(length / 1024 + 4).unwrap_or(u32::MAX);
        let take = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_many_owned(kib);
        let room = [take(&self.0.room), take(&turn.room)];
        let [Ok(all), Ok(own)] = room else {
            return Err(UserOverridesError::Busy);
        };
        let lock = timeout(TURN_PATIENCE, Arc::clone(&turn.lock).lock_owned()).await;
        Ok(Held {
            _lock: lock.map_err(|_| UserOverridesError::Busy)?,
            _room: [all, own],
        })
    }

    async fn fetch(&self, tenant: &TenantId) -> Result<Option<Stored>, UserOverridesError> {
        self.0.metrics.fetches.inc();
        self.0.store.get(tenant).await.map_err(|error| {
            self.0.metrics.fetch_failures.inc();
            UserOverridesError::Unavailable(error)
        })
    }

    /// Refuses a tenant for whom nothing is stored yet where enough is stored for others.
    /// Changes that are under way at the same time may all be let through.
    fn refuse_one_too_many(&self) -> Result<(), UserOverridesError> {
        let limit = self.0.max_tenants;
        match limit > 0 && self.0.known.tenants() >= limit {
            true => Err(UserOverridesError::TooManyTenants { limit }),
            false => Ok(()),
        }
    }

    /// Refuses names of forwarders that there are not.
    fn refuse_unknown_forwarders(&self, new: &UserDocument) -> Result<(), UserOverridesError> {
        let mut problems = Problems::new();
        problems.extend(self.0.overrides.unknown_forwarders(&new.forwarders()));
        problems.or(()).map_err(UserOverridesError::Invalid)
    }

    /// Refuses what the tenant sets anew although the runtime file sets it. Processors
    /// of both are added up, so they do not conflict.
    fn refuse_conflicts(
        &self,
        tenant: &TenantId,
        old: Option<&UserDocument>,
        new: Option<&UserDocument>,
    ) -> Result<(), UserOverridesError> {
        let Some(new) = new else { return Ok(()) };
        let changed: Vec<_> = UserDocument::changes(old, Some(new))
            .into_iter()
            .map(|change| change.path)
            .collect();
        let mut conflicting = Vec::new();
        for keys in new.paths() {
            let path = keys.join(".");
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            if changed.contains(&path)
                && path != "metrics_generator.processors"
                && self.0.overrides.runtime_file_sets(tenant, &keys)
            {
                conflicting.push(path);
            }
        }
        match conflicting.is_empty() {
            true => Ok(()),
            false => Err(UserOverridesError::Conflicting(conflicting)),
        }
    }
}

/// Makes of what was set what a change wants, and gives both. On a thread of its own:
/// regular expressions may take a while.
async fn apply(
    old: Option<UserDocument>,
    change: Change,
) -> Result<(Option<UserDocument>, Option<UserDocument>), UserOverridesError> {
    let applied = spawn_blocking(move || {
        let new = match &change {
            Change::Replace(body) => Some(UserDocument::from_request(body)?),
            Change::Patch(body) => {
                let empty = UserDocument::empty();
                Some(old.as_ref().unwrap_or(&empty).patched(body)?)
            }
            Change::Delete if old.is_none() => return Err(UserOverridesError::NotFound),
            Change::Delete => None,
        };
        Ok((old, new))
    });
    // It ends without an answer only by a panic, which is logged.
    applied.await.unwrap_or(Err(UserOverridesError::Stopping))
}

/// What stored bytes say: none where they stand for settings that were deleted.
///
/// # Errors
///
/// Where they are no document: whoever wrote them must mend or remove them.
fn read(stored: &Stored) -> Result<Option<UserDocument>, UserOverridesError> {
    UserDocument::from_stored(&stored.bytes)
        .map_err(|problems| UserOverridesError::Broken(problems.summary()))
}

#[cfg(test)]
mod tests;
