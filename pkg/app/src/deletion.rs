//! A tenant leaves: what every part has of it is removed, once its series have ended at
//! the receivers.

mod everywhere;
mod marks;
mod records;

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use distributor::DistributorMetrics;
use generator::{LeaveError, Leaving};
use lifecycle::{Shutdown, TaskGroup};
use model::{Clock, TenantId};
use overrides::{Change, IfMatch, LayerName, Overrides, UserOverrides, UserOverridesError};
use server::Authentication;
use telemetry::error_chain;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use self::marks::{MarkError, Marks, Order};
use self::records::Records;
use crate::cluster::Cluster;
use crate::process::Generating;
use crate::tenants_api::{DeletionAnswer, LeftOver};

/// How long pushes and scrapes that are under way are waited for, and after them that
/// the receivers take the last samples: both within a minute.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What is removed where tenants have settings.
const OWN_SETTINGS: &str = "settings that it set itself";
/// How often it is tried to forget a tenant of whom pushes are being refused.
const FORGETS: u32 = 50;

/// Deletes tenants; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Deletion(Arc<Inner>);

/// Who has something of a tenant.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) overrides: Overrides,
    pub(crate) user_overrides: Option<UserOverrides>,
    /// None where no series are made; then nothing is on disk, either.
    pub(crate) generating: Option<Generating>,
    pub(crate) distributor: DistributorMetrics,
    /// None where there is no authentication.
    pub(crate) authentication: Option<Authentication>,
    /// None where the process is alone.
    pub(crate) cluster: Option<Cluster>,
    /// Whether nodes show each other who they are.
    pub(crate) has_node_authentication: bool,
}

/// Directories.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Where it is marked who is being deleted.
    pub(crate) marks: PathBuf,
    /// Where it is kept who was deleted, for nodes that were away.
    pub(crate) records: PathBuf,
    /// Where settings of tenants are that they set while they could.
    pub(crate) overrides: PathBuf,
    /// Whether settings that tenants set now are there, and of no other node.
    pub(crate) has_own_overrides: bool,
    /// Where else directories of tenants are.
    pub(crate) of_tenants: [PathBuf; 2],
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    marks: Marks,
    records: Records,
    overrides_dir: PathBuf,
    has_own_overrides: bool,
    tasks: TaskGroup,
    shutdown: Shutdown,
    clock: Clock,
    /// When this began, in milliseconds since the Unix epoch.
    began_ms: u64,
    /// Of whom there was something on disk then.
    at_start: HashSet<TenantId>,
}

/// A tenant that was not deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeletionError {
    /// It cannot leave now.
    #[error(transparent)]
    Leave(LeaveError),
    /// It cannot be written down that it is to be deleted.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The process stops.
    #[error("spanmill is stopping; the tenant is deleted after the next start")]
    Stopping,
}

impl Deletion {
    /// Deletes nobody yet. Blocks for a moment, and is to be made before anything is
    /// restored.
    pub(crate) fn new(
        parts: Parts,
        places: Places,
        clock: Clock,
        tasks: &TaskGroup,
        shutdown: Shutdown,
    ) -> Self {
        let now_ms = now_ms(&clock);
        let has_own_overrides = parts.user_overrides.is_some() && places.has_own_overrides;
        // Whoever has nothing of a tenant on disk has nothing of before a deletion, either.
        let has_disk = parts.generating.is_some() || has_own_overrides;
        let keeps = has_disk && parts.trusted().is_some();
        let at_start = match keeps {
            true => places.tenants(),
            false => HashSet::new(),
        };
        Self(Arc::new(Inner {
            marks: Marks::new(places.marks),
            records: Records::open(keeps.then_some(places.records), now_ms),
            at_start,
            parts,
            overrides_dir: places.overrides,
            has_own_overrides: places.has_own_overrides,
            tasks: tasks.clone(),
            shutdown,
            began_ms: now_ms,
            clock,
        }))
    }

    /// Deletes what this node has of a tenant: takes no spans of it, ends its series,
    /// waits until receivers know it, and removes what there is. From then on its spans
    /// start a new instance.
    ///
    /// Goes on to its end where it is cancelled; if the process ends first, the next
    /// one finishes it.
    ///
    /// # Errors
    ///
    /// [`DeletionError`].
    async fn delete_here(
        &self,
        tenant: &TenantId,
        order: Order,
    ) -> Result<DeletionAnswer, DeletionError> {
        let Some(generating) = &self.0.parts.generating else {
            return self.without_series(tenant, order).await;
        };
        let leaving = generating.generator.leave(tenant);
        let leaving = leaving.map_err(DeletionError::Leave)?;
        let (tell, told) = oneshot::channel();
        let deletion = self.clone();
        let generating = generating.clone();
        self.0.tasks.spawn("tenant-deletion", async move {
            // Nobody listens if the client has gone.
            let _ = tell.send(deletion.to_the_end(&generating, leaving, order).await);
        });
        told.await.unwrap_or(Err(DeletionError::Stopping))
    }

    /// Goes on with what earlier processes began, in the background. To be called
    /// before anything is restored.
    pub(crate) fn finish_all(&self) {
        let Some(generating) = &self.0.parts.generating else {
            return;
        };
        for (tenant, order) in self.0.marks.all() {
            let Ok(leaving) = generating.generator.leave(&tenant) else {
                continue;
            };
            let (deletion, generating) = (self.clone(), generating.clone());
            self.0.tasks.spawn("tenant-deletion", async move {
                let ended = deletion.to_the_end(&generating, leaving, order).await;
                if let Err(error) = ended {
                    let error = error_chain(&error);
                    tracing::warn!(%tenant, %error, "a deletion that an earlier process began is not finished");
                }
            });
        }
    }

    /// Deletes what a node that makes no series has of a tenant.
    async fn without_series(
        &self,
        tenant: &TenantId,
        order: Order,
    ) -> Result<DeletionAnswer, DeletionError> {
        let mut answer = DeletionAnswer {
            tenant: tenant.to_string(),
            ..DeletionAnswer::default()
        };
        if self.0.parts.user_overrides.is_some() {
            let (removed, left) = (&mut answer.removed, &mut answer.left);
            let own = self.remove_overrides(tenant, order).await;
            note(removed, left, OWN_SETTINGS, own);
        }
        if answer.left.is_empty() && self.0.parts.trusted().is_some() {
            let (deletion, noted) = (self.clone(), tenant.clone());
            let noted = spawn_blocking(move || deletion.0.records.note(&noted, order.at_ms));
            noted.await.map_err(|_| DeletionError::Stopping)??;
        }
        answer.left.extend(self.of_the_operator(tenant));
        self.forget_metrics(tenant).await;
        tracing::info!(%tenant, "tenant deleted");
        Ok(answer)
    }

    async fn to_the_end(
        &self,
        generating: &Generating,
        mut leaving: Leaving,
        order: Order,
    ) -> Result<DeletionAnswer, DeletionError> {
        let deletion = self.clone();
        let tenant = leaving.tenant().clone();
        let mut answer = DeletionAnswer {
            tenant: tenant.to_string(),
            ..DeletionAnswer::default()
        };
        let marked = tenant.clone();
        let ended = spawn_blocking(move || {
            let marks = &deletion.0.marks;
            // One that was not finished may have had more to do.
            let earlier = marks.of(&marked);
            let order = earlier.map_or(order, |earlier| order.and(earlier));
            marks.set(&marked, order)?;
            let ended = leaving.end_series(PATIENCE);
            if ended.is_err() && earlier.is_none() {
                // It goes on as it was.
                marks.clear(&marked)?;
            }
            Ok((leaving, order, ended.map_err(DeletionError::Leave)?))
        });
        let (leaving, order, ended) = ended.await.unwrap_or(Err(DeletionError::Stopping))?;
        if let Some(ended) = ended {
            answer.series_ended = ended;
            answer.removed.push("series and waiting spans".to_owned());
        }
        answer.waited_seconds = self.delivered(generating, &tenant).await?;

        let mut left = Vec::new();
        let remote_write = generating.remote_write.clone();
        let removed = spawn_blocking(move || {
            let spool = remote_write.remove(leaving.tenant());
            let state = leaving.remove_state();
            (leaving, spool, state)
        });
        // It ends without an answer only where the process does.
        let (leaving, spool, state) = removed.await.map_err(|_| DeletionError::Stopping)?;
        answer.undelivered_samples = *spool.as_ref().unwrap_or(&0);
        note(&mut answer.removed, &mut left, "spool", spool.map(drop));
        note(&mut answer.removed, &mut left, "saved state", state);
        let own = self.remove_overrides(&tenant, order).await;
        note(&mut answer.removed, &mut left, OWN_SETTINGS, own);
        let is_all = left.is_empty();
        answer.left = left;
        answer.left.extend(self.of_the_operator(&tenant));
        if is_all {
            let (deletion, marked) = (self.clone(), tenant.clone());
            let cleared = spawn_blocking(move || {
                if deletion.0.parts.trusted().is_some() {
                    deletion.0.records.note(&marked, order.at_ms)?;
                }
                deletion.0.marks.clear(&marked)
            });
            cleared.await.map_err(|_| DeletionError::Stopping)??;
        }
        self.forget_metrics(&tenant).await;
        // Its next span starts it anew from here on.
        drop(leaving);
        tracing::info!(
            %tenant,
            series = answer.series_ended,
            undelivered = answer.undelivered_samples,
            left = answer.left.len(),
            "tenant deleted"
        );
        Ok(answer)
    }

    /// Waits until receivers have all samples, at most for [`PATIENCE`]; says how long.
    async fn delivered(
        &self,
        generating: &Generating,
        tenant: &TenantId,
    ) -> Result<f64, DeletionError> {
        let begin = Instant::now();
        let remote_write = &generating.remote_write;
        let wait = async {
            while remote_write.unsent_samples(tenant) > 0 && begin.elapsed() < PATIENCE {
                sleep(LOOK_AGAIN).await;
            }
        };
        tokio::select! {
            () = wait => Ok(begin.elapsed().as_secs_f64()),
            () = self.0.shutdown.requested() => Err(DeletionError::Stopping),
        }
    }

    /// Removes what the tenant set itself: what is stored for all nodes only where the
    /// order was given, since it may have set something new until it comes to the others.
    async fn remove_overrides(&self, tenant: &TenantId, order: Order) -> Result<(), String> {
        if let Some(overrides) = &self.0.parts.user_overrides {
            if !order.is_first && !self.0.has_own_overrides {
                return Ok(());
            }
            let changed =
                overrides.change(tenant, Change::Delete, Some(IfMatch::Any), true, |_| {});
            return match changed.await {
                // There were none, then or ever.
                Ok(_) | Err(UserOverridesError::NotFound | UserOverridesError::VersionMismatch) => {
                    Ok(())
                }
                Err(error) => Err(error_chain(&error).to_string()),
            };
        }
        let directory = self.0.overrides_dir.join(tenant.directory());
        let removed = spawn_blocking(move || std::fs::remove_dir_all(directory)).await;
        match removed {
            Ok(Err(error)) if error.kind() != ErrorKind::NotFound => Err(error.to_string()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What only the operator can remove.
    fn of_the_operator(&self, tenant: &TenantId) -> Vec<LeftOver> {
        let Parts {
            overrides,
            authentication,
            ..
        } = &self.0.parts;
        let settings = overrides.explain(tenant).unwrap_or_default();
        let mut of_tenant = settings.iter();
        let entry = of_tenant.find(|setting| setting.layer == LayerName::Tenant);
        let entry = entry.map(|first| {
            let place = first.place.as_deref().unwrap_or("the file");
            LeftOver {
                what: format!("its entry in the runtime file of overrides, {place}"),
                why: "spanmill does not write that file: remove the entry there".to_owned(),
            }
        });
        let credentials = authentication.iter();
        let credentials = credentials.flat_map(|known| known.credentials_of(tenant));
        let credentials = credentials.map(|(name, is_its_own)| LeftOver {
            what: format!("its credential {name}"),
            why: match is_its_own {
                true => {
                    "spanmill does not write credentials: remove it where it stands, or \
                         spans sent with it start the tenant anew"
                }
                false => {
                    "other tenants use it, too: take the tenant out of it, or spans sent \
                          with it start the tenant anew"
                }
            }
            .to_owned(),
        });
        entry.into_iter().chain(credentials).collect()
    }

    async fn forget_metrics(&self, tenant: &TenantId) {
        for _ in 0..FORGETS {
            if self.0.parts.distributor.forget(tenant) {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl Parts {
    /// The cluster, if this node follows the orders of the others, and tells them what it has
    /// deleted: nobody does that for somebody who has shown nothing.
    fn trusted(&self) -> Option<&Cluster> {
        let cluster = self.cluster.as_ref();
        cluster.filter(|_| self.has_node_authentication)
    }
}

impl Places {
    /// Of whom there is something on disk.
    fn tenants(&self) -> HashSet<TenantId> {
        let directories = self.of_tenants.iter().chain([&self.overrides]);
        directories.flat_map(|path| tenants_in(path)).collect()
    }
}

/// Who has a directory in this one.
fn tenants_in(directory: &Path) -> Vec<TenantId> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| TenantId::from_directory(&name))
        .collect()
}

fn now_ms(clock: &Clock) -> u64 {
    clock.unix_millis().unsigned_abs()
}

/// Notes what was removed, and what not.
fn note<E: ToString>(
    removed: &mut Vec<String>,
    left: &mut Vec<LeftOver>,
    what: &str,
    result: Result<(), E>,
) {
    match result {
        Ok(()) => removed.push(what.to_owned()),
        Err(error) => left.push(LeftOver {
            what: what.to_owned(),
            why: format!(
                "{}; it is tried again at the next start, or delete the tenant once more",
                error.to_string()
            ),
        }),
    }
}
