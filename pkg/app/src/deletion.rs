//! A tenant leaves: what every part has of it is removed, once its series have ended at
//! the receivers.

mod marks;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use distributor::DistributorMetrics;
use generator::{Generator, LeaveError, Leaving};
use lifecycle::{Shutdown, TaskGroup};
use model::TenantId;
use overrides::{Change, IfMatch, LayerName, Overrides, UserOverrides, UserOverridesError};
use remote_write::RemoteWrite;
use server::Authentication;
use telemetry::error_chain;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use self::marks::{MarkError, Marks};
use crate::tenants_api::{DeletionAnswer, LeftOver};

/// How long pushes and scrapes that are under way are waited for, and after them that
/// the receivers take the last samples: both within a minute.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks whether they have.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
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
    pub(crate) generator: Generator,
    pub(crate) remote_write: RemoteWrite,
    pub(crate) distributor: DistributorMetrics,
    /// None where there is no authentication.
    pub(crate) authentication: Option<Authentication>,
}

/// Directories.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Where it is marked who is being deleted.
    pub(crate) marks: PathBuf,
    /// Where settings of tenants are that they set while they could.
    pub(crate) overrides: PathBuf,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    marks: Marks,
    overrides_dir: PathBuf,
    tasks: TaskGroup,
    shutdown: Shutdown,
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
    /// Deletes nobody yet.
    pub(crate) fn new(parts: Parts, places: Places, tasks: &TaskGroup, shutdown: Shutdown) -> Self {
        Self(Arc::new(Inner {
            parts,
            marks: Marks::new(places.marks),
            overrides_dir: places.overrides,
            tasks: tasks.clone(),
            shutdown,
        }))
    }

    /// Deletes a tenant: takes no spans of it, ends its series, waits until receivers
    /// know it, and removes what there is. From then on its spans start a new instance.
    ///
    /// Goes on to its end where it is cancelled; if the process ends first, the next
    /// one finishes it.
    ///
    /// # Errors
    ///
    /// [`DeletionError`].
    pub(crate) async fn delete(&self, tenant: &TenantId) -> Result<DeletionAnswer, DeletionError> {
        let leaving = self.0.parts.generator.leave(tenant);
        let leaving = leaving.map_err(DeletionError::Leave)?;
        let (tell, told) = oneshot::channel();
        let deletion = self.clone();
        self.0.tasks.spawn("tenant-deletion", async move {
            // Nobody listens if the client has gone.
            let _ = tell.send(deletion.to_the_end(leaving).await);
        });
        told.await.unwrap_or(Err(DeletionError::Stopping))
    }

    /// Goes on with what earlier processes began, in the background. To be called
    /// before anything is restored.
    pub(crate) fn finish_all(&self) {
        for tenant in self.0.marks.all() {
            let Ok(leaving) = self.0.parts.generator.leave(&tenant) else {
                continue;
            };
            let deletion = self.clone();
            self.0.tasks.spawn("tenant-deletion", async move {
                if let Err(error) = deletion.to_the_end(leaving).await {
                    let error = error_chain(&error);
                    tracing::warn!(%tenant, %error, "a deletion that an earlier process began is not finished");
                }
            });
        }
    }

    async fn to_the_end(&self, mut leaving: Leaving) -> Result<DeletionAnswer, DeletionError> {
        let Inner { parts, marks, .. } = &*self.0;
        let tenant = leaving.tenant().clone();
        let mut answer = DeletionAnswer {
            tenant: tenant.to_string(),
            ..DeletionAnswer::default()
        };
        let (marks_too, marked) = (marks.clone(), tenant.clone());
        let ended = spawn_blocking(move || {
            marks_too.set(&marked)?;
            let ended = leaving.end_series(PATIENCE);
            if ended.is_err() {
                // It goes on as it was.
                marks_too.clear(&marked)?;
            }
            Ok((leaving, ended.map_err(DeletionError::Leave)?))
        });
        let (leaving, ended) = ended.await.unwrap_or(Err(DeletionError::Stopping))?;
        if let Some(ended) = ended {
            answer.series_ended = ended;
            answer.removed.push("series and waiting spans".to_owned());
        }
        answer.waited_seconds = self.delivered(&tenant).await?;

        let mut left = Vec::new();
        let remote_write = parts.remote_write.clone();
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
        let own = self.remove_overrides(&tenant).await;
        note(
            &mut answer.removed,
            &mut left,
            "settings that it set itself",
            own,
        );
        let is_all = left.is_empty();
        answer.left = left;
        answer.left.extend(self.of_the_operator(&tenant));
        if is_all {
            let (marks, marked) = (marks.clone(), tenant.clone());
            let cleared = spawn_blocking(move || marks.clear(&marked));
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
    async fn delivered(&self, tenant: &TenantId) -> Result<f64, DeletionError> {
        let begin = Instant::now();
        let wait = async {
            while self.0.parts.remote_write.unsent_samples(tenant) > 0 && begin.elapsed() < PATIENCE
            {
                sleep(LOOK_AGAIN).await;
            }
        };
        tokio::select! {
            () = wait => Ok(begin.elapsed().as_secs_f64()),
            () = self.0.shutdown.requested() => Err(DeletionError::Stopping),
        }
    }

    /// Removes what the tenant set itself, wherever it is stored.
    async fn remove_overrides(&self, tenant: &TenantId) -> Result<(), String> {
        if let Some(overrides) = &self.0.parts.user_overrides {
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
