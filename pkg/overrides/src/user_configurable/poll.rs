//! What other processes have stored: found by listing, fetched where it has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use model::TenantId;
use parking_lot::Mutex;
use settings::Problems;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::layers::Layer;
use crate::user_configurable::UserOverrides;
use crate::user_configurable::document::UserDocument;
use crate::user_configurable::error::StoreError;
use crate::user_configurable::store::Stored;
use crate::user_configurable::version::Version;

/// How long a start waits for the store.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How soon it is asked again where it was never listed.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// Documents that are fetched at a time, and put in force at a time.
const FETCHES: usize = 16;
const BATCH: usize = 256;

/// What is known of what is stored.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    tenants: BTreeMap<TenantId, Seen>,
    /// Counts what was put in force, to tell what came during a poll.
    sequence: u64,
}

/// What is known of one tenant.
#[derive(Debug, Default)]
struct Seen {
    /// The mark in the listing of what was fetched; none for what was written here, so
    /// that the next poll looks again.
    mark: Option<String>,
    /// The version in force; none where nothing is.
    version: Option<Version>,
    /// Whether what is stored is wrong.
    is_refused: bool,
    /// When it was written here.
    written: u64,
}

/// What a fetch has found.
pub(super) struct Found {
    tenant: TenantId,
    mark: String,
    /// None where it is gone by now.
    stored: Option<Stored>,
}

/// Whether listing has ever worked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Yes,
    No,
}

impl Known {
    /// The version of a tenant's settings that is in force.
    pub(super) fn version(&self, tenant: &TenantId) -> Option<Version> {
        let state = self.0.lock();
        state.tenants.get(tenant)?.version.clone()
    }

    /// Tenants for whom something is stored.
    pub(super) fn tenants(&self) -> usize {
        self.0.lock().tenants.len()
    }
}

impl UserOverrides {
    /// Reads everything once, if the store answers in time.
    pub(super) async fn poll_at_start(&self) {
        let polled = timeout(START_PATIENCE, self.poll()).await;
        if let Err(error) = polled.unwrap_or(Err(StoreError::TimedOut)) {
            self.0.metrics.list_failures.inc();
            tracing::warn!(
                error = &error as &dyn Error,
                "cannot read what tenants set themselves; they have what the operator set until \
                 the store answers"
            );
        }
    }

    /// Looks for changes, for ever. Cancel-safe.
    pub(super) async fn poll_forever(&self, interval: Duration) {
        let mut listed = match self.0.metrics.list_failures.get() {
            0 => Listed::Yes,
            _ => Listed::No,
        };
        let mut is_failing = listed == Listed::No;
        loop {
            sleep(match listed {
                Listed::Yes => interval,
                Listed::No => interval.min(FIRST_RETRY),
            })
            .await;
            match self.poll().await {
                Ok(()) => {
                    if is_failing {
                        tracing::info!("the store of overrides answers again");
                    }
                    listed = Listed::Yes;
                    is_failing = false;
                }
                Err(error) => {
                    self.0.metrics.list_failures.inc();
                    if !is_failing {
                        tracing::warn!(
                            error = &error as &dyn Error,
                            "cannot look for overrides that tenants set themselves; those in \
                             force stay"
                        );
                    }
                    is_failing = true;
                }
            }
        }
    }

    /// Puts in force what has changed in the store.
    ///
    /// # Errors
    ///
    /// Where it cannot be listed. What cannot be fetched is left to the next poll.
    pub(super) async fn poll(&self) -> Result<(), StoreError> {
        self.0.metrics.lists.inc();
        let since = self.0.known.0.lock().sequence;
        let listed = self.0.store.list().await?;
        let names: BTreeSet<_> = listed.iter().map(|(tenant, _)| tenant.clone()).collect();
        let changed: Vec<_> = {
            let known = self.0.known.0.lock();
            let is_new = |tenant: &TenantId, mark: &String| {
                let seen = known.tenants.get(tenant);
                seen.and_then(|seen| seen.mark.as_ref()) != Some(mark)
            };
            let changed = listed.into_iter();
            changed
                .filter(|(tenant, mark)| is_new(tenant, mark))
                .collect()
        };
        self.forget_all_but(&names, since);
        let fetches = stream::iter(changed).map(|(tenant, mark)| self.find(tenant, mark));
        let mut batches = fetches.buffer_unordered(FETCHES).chunks(BATCH);
        let mut failed: Option<(usize, TenantId, StoreError)> = None;
        while let Some(batch) = batches.next().await {
            let mut found = Vec::new();
            for fetched in batch {
                match (fetched, &mut failed) {
                    (Ok(one), _) => found.push(one),
                    (Err(_), Some((count, ..))) => *count += 1,
                    (Err((tenant, error)), failed) => *failed = Some((1, tenant, error)),
                }
            }
            let overrides = self.clone();
            // Documents may be long, and their regular expressions take a while.
            let put = spawn_blocking(move || overrides.put_found_in_force(found, since));
            // It fails only by a panic, which is logged; the next poll looks again.
            let _ = put.await;
        }
        if let Some((count, tenant, error)) = failed {
            tracing::warn!(
                count,
                first = %tenant,
                error = &error as &dyn Error,
                "cannot fetch what tenants set themselves; what is in force stays"
            );
        }
        Ok(())
    }

    /// Fetches what is stored for a tenant, which is listed with a mark.
    ///
    /// # Errors
    ///
    /// Where the store does not give it, with the tenant.
    pub(super) async fn find(
        &self,
        tenant: TenantId,
        mark: String,
    ) -> Result<Found, (TenantId, StoreError)> {
        self.0.metrics.fetches.inc();
        match self.0.store.get(&tenant).await {
            Ok(stored) => Ok(Found {
                tenant,
                mark,
                stored,
            }),
            Err(error) => {
                self.0.metrics.fetch_failures.inc();
                Err((tenant, error))
            }
        }
    }

    /// Takes away the settings of tenants for which nothing is stored any more.
    fn forget_all_but(&self, listed: &BTreeSet<TenantId>, since: u64) {
        let mut known = self.0.known.0.lock();
        let mut gone = Vec::new();
        known.tenants.retain(|tenant, seen| {
            let stays = listed.contains(tenant) || seen.written > since;
            if !stays {
                gone.push((tenant.clone(), None));
            }
            stays
        });
        self.0.overrides.set_api_layers(gone);
        self.count(&known);
    }

    /// Puts documents in force that were fetched after `since`, but for tenants that
    /// have written here meanwhile.
    pub(super) fn put_found_in_force(&self, found: Vec<Found>, since: u64) {
        let read = found.into_iter().map(|one| {
            let layer = one.stored.as_ref().map(layer_of).transpose();
            (one, layer.map(Option::flatten))
        });
        // Before the lock: a document may be long.
        let read: Vec<_> = read.collect();
        let mut known = self.0.known.0.lock();
        let mut layers = Vec::new();
        for (one, layer) in read {
            let seen = known.tenants.entry(one.tenant.clone()).or_default();
            if seen.written > since {
                continue;
            }
            seen.mark = Some(one.mark);
            match layer {
                Ok(layer) => {
                    let stored = one.stored.filter(|_| layer.is_some());
                    seen.version = stored.map(|stored| stored.version);
                    seen.is_refused = false;
                    layers.push((one.tenant, layer.map(Arc::new)));
                }
                Err(problems) => {
                    seen.is_refused = true;
                    tracing::warn!(
                        tenant = %one.tenant,
                        problems = problems.summary(),
                        "cannot use the overrides that are stored for this tenant; its last good \
                         ones stay in force"
                    );
                }
            }
        }
        self.0.overrides.set_api_layers(layers);
        self.count(&known);
    }

    /// Puts in force what was stored here just now.
    pub(super) async fn put_in_force(
        &self,
        tenant: &TenantId,
        document: Option<UserDocument>,
        version: Version,
    ) {
        let (overrides, tenant) = (self.clone(), tenant.clone());
        let put = spawn_blocking(move || overrides.put_document(&tenant, document, version));
        // It fails only by a panic, which is logged; the next poll looks again.
        let _ = put.await;
    }

    fn put_document(&self, tenant: &TenantId, document: Option<UserDocument>, version: Version) {
        // It was checked before it was stored.
        let layer = document.as_ref().map(UserDocument::layer).transpose();
        let Ok(layer) = layer else { return };
        let mut known = self.0.known.0.lock();
        known.sequence += 1;
        let seen = Seen {
            mark: None,
            version: document.map(|_| version),
            is_refused: false,
            written: known.sequence,
        };
        known.tenants.insert(tenant.clone(), seen);
        let layers = vec![(tenant.clone(), layer.map(Arc::new))];
        self.0.overrides.set_api_layers(layers);
        self.count(&known);
    }

    fn count(&self, known: &State) {
        let count = |is: fn(&Seen) -> bool| {
            let count = known.tenants.values().filter(|seen| is(seen)).count();
            i64::try_from(count).unwrap_or(i64::MAX)
        };
        let metrics = &self.0.metrics;
        metrics.documents.set(count(|seen| seen.version.is_some()));
        metrics.refused_documents.set(count(|seen| seen.is_refused));
    }
}

/// The layer that stored bytes are; none where they stand for settings that were
/// deleted.
fn layer_of(stored: &Stored) -> Result<Option<Layer>, Problems> {
    let document = UserDocument::from_stored(&stored.bytes)?;
    document.as_ref().map(UserDocument::layer).transpose()
}
