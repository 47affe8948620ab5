//! The generator: takes pushes, collects, and ends without losing either.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifecycle::{Shutdown, TaskGroup};
use model::{Clock, Push, PushError, PushOutcome, PushSpans, TenantId};
use overrides::{Overrides, TenantConfig};
use parking_lot::RwLock;
use registry::{Registry, SnapshotHeader};
use remote_write::RemoteWrite;

use crate::collection;
use crate::instance::{Identity, Instance, InstanceLabel, destinations, limits};
use crate::metrics::GeneratorMetrics;
use crate::recognised::{Earlier, Recognised, Room};
use crate::state_dir::StateDir;
use crate::tenants::{IsLeaving, Tenants};

/// What a client is told to wait while the generator stops: as long as a
/// restart takes.
const RETRY_WHILE_STOPPING: Duration = Duration::from_secs(5);

/// Turns spans into series; clones share everything.
#[derive(Clone, Debug)]
pub struct Generator(Arc<Inner>);

/// What a generator needs.
#[derive(Clone, Debug)]
pub struct Dependencies {
    /// The settings of tenants.
    pub overrides: Overrides,
    /// Where samples go; `None` if nothing but scrapes takes them.
    pub remote_write: Option<RemoteWrite>,
    /// Where to count.
    pub metrics: GeneratorMetrics,
    /// The time.
    pub clock: Clock,
    /// How many pushes of one tenant are applied at the same time: the number
    /// of threads that push is right.
    pub max_lanes: usize,
    /// Whether a push that was applied within the last two minutes is recognised
    /// and not applied again.
    pub deduplicate_pushes: bool,
    /// The label that names this generator.
    pub instance_label: InstanceLabel,
    /// Where a planned stop keeps the series of tenants for the next start; `None`
    /// if it does not.
    pub state_dir: Option<PathBuf>,
    /// How long a tenant is idle until it gives its memory back, once all its series
    /// have ended and all its samples are delivered; zero if it never does.
    pub retire_after: Duration,
}

/// A push that was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The generator takes none any more.
    #[error("the generator is stopping")]
    Stopping,
    /// The tenant is being deleted.
    #[error("the tenant is being deleted")]
    TenantLeaves,
    /// Its instance did not take it.
    #[error(transparent)]
    Push(#[from] PushError),
}

/// Why nothing is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The generator takes nothing any more.
    Stopping,
    /// The tenant is being deleted.
    TenantLeaves,
}

impl From<Closed> for ApplyError {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Stopping => Self::Stopping,
            Closed::TenantLeaves => Self::TenantLeaves,
        }
    }
}

#[derive(Debug)]
struct Inner {
    dependencies: Dependencies,
    state_dir: Option<StateDir>,
    tenants: Tenants,
    room: Room,
    /// Whether pushes are refused. A push holds it while it is applied, so
    /// that the last collection comes after it.
    stopped: RwLock<bool>,
}

impl Generator {
    /// A generator without tenants; they start with their first push.
    pub fn new(dependencies: Dependencies) -> Self {
        Self(Arc::new(Inner {
            state_dir: dependencies.state_dir.clone().map(StateDir::new),
            dependencies,
            tenants: Tenants::default(),
            room: Room::default(),
            stopped: RwLock::new(false),
        }))
    }

    /// Starts the thread that collects all tenants until shutdown. A tenant that has
    /// been idle for long enough goes if `forget` says that others have forgotten it,
    /// too: then what they counted and what is counted here go together. No push of the
    /// tenant is under way here meanwhile, and none begins.
    pub fn start_collections(
        &self,
        tasks: &TaskGroup,
        shutdown: Shutdown,
        forget: impl Fn(&TenantId) -> bool + Send + 'static,
    ) {
        let generator = self.clone();
        tasks.spawn_thread("collections", move || {
            let Inner {
                tenants,
                dependencies,
                ..
            } = &*generator.0;
            collection::run(tenants, dependencies, &shutdown, forget);
        });
    }

    /// Refuses pushes from now on, waits for those that are being applied, and
    /// collects every tenant once more.
    ///
    /// Blocks for as long as a collection of all tenants takes.
    pub fn stop(&self) {
        *self.0.stopped.write() = true;
        for (tenant, instance) in self.0.tenants.all() {
            instance.collect_last();
            let is_saved = self.0.state_dir.is_some() && instance.is_kept();
            note_waiting_spans(&tenant, &instance, is_saved);
        }
    }

    /// The same for a generator that does not come back: after its last value every series
    /// ends with a staleness marker, because nobody goes on with it. Returns how many ended.
    /// [`save`](Self::save) is not to follow.
    pub fn stop_for_good(&self) -> u64 {
        *self.0.stopped.write() = true;
        let mut ended = 0;
        for (tenant, instance) in self.0.tenants.all() {
            ended += instance.end_series();
            note_waiting_spans(&tenant, &instance, false);
        }
        ended
    }

    /// Does something that is not to be done once the generator stops, which then waits
    /// for it; `None` if it has stopped.
    pub(crate) fn unless_stopped<T>(&self, what: impl FnOnce() -> T) -> Option<T> {
        let stopped = self.0.stopped.read();
        (!*stopped).then(what)
    }

    pub(crate) fn remote_write(&self) -> Option<&RemoteWrite> {
        self.0.dependencies.remote_write.as_ref()
    }

    /// The name of this generator, which no other of its cluster has.
    pub(crate) fn id(&self) -> &str {
        &self.0.dependencies.instance_label.value
    }

    pub(crate) fn instance(&self, tenant: &TenantId) -> Option<Arc<Instance>> {
        self.0.tenants.get(tenant)
    }

    /// The tenants that have sent spans, by name.
    pub fn tenants(&self) -> Vec<TenantId> {
        let all = self.0.tenants.all().into_iter();
        all.map(|(tenant, _)| tenant).collect()
    }

    /// Applies a push.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; then nothing was applied by this call.
    pub(crate) fn apply(&self, push: &Push) -> Result<PushOutcome, ApplyError> {
        Ok(self.take_in(&push.tenant, |instance| instance.push(push))??)
    }

    /// Lets a tenant take something in, started if there is no instance of it yet. A stop
    /// waits for it.
    ///
    /// # Errors
    ///
    /// [`Closed`]; then nothing was taken in.
    pub(crate) fn take_in<T>(
        &self,
        tenant: &TenantId,
        take: impl FnOnce(&Instance) -> T,
    ) -> Result<T, Closed> {
        let stopped = self.0.stopped.read();
        if *stopped {
            return Err(Closed::Stopping);
        }
        let tenants = &self.0.tenants;
        let instance = tenants
            .get_or_start(tenant, || self.start(tenant))
            .map_err(|IsLeaving| Closed::TenantLeaves)?;
        instance.update_unless_collecting(&self.0.dependencies.overrides);
        Ok(take(&instance))
    }

    /// What became of an earlier copy of a push, which itself is not applied.
    pub(crate) fn earlier(&self, push: &Push) -> Earlier {
        match self.instance(&push.tenant) {
            Some(instance) => instance.earlier(push),
            None => Earlier::None,
        }
    }

    pub(crate) fn state_dir(&self) -> Option<&StateDir> {
        self.0.state_dir.as_ref()
    }

    pub(crate) fn metrics(&self) -> &GeneratorMetrics {
        &self.0.dependencies.metrics
    }

    pub(crate) fn config_of(&self, tenant: &TenantId) -> Arc<TenantConfig> {
        self.0.dependencies.overrides.for_tenant(tenant)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.0.dependencies.clock.unix_millis()
    }

    pub(crate) fn max_lanes(&self) -> usize {
        self.0.dependencies.max_lanes
    }

    pub(crate) fn all_tenants(&self) -> &Tenants {
        &self.0.tenants
    }

    /// All tenants with their instances, by name.
    pub(crate) fn instances(&self) -> Vec<(TenantId, Arc<Instance>)> {
        self.0.tenants.all()
    }

    /// Starts a tenant with a registry that was saved.
    ///
    /// # Errors
    ///
    /// [`IsLeaving`]; then nothing starts.
    pub(crate) fn start_restored(
        &self,
        header: &SnapshotHeader,
        registry: Registry,
    ) -> Result<Arc<Instance>, IsLeaving> {
        self.0.tenants.get_or_start(&header.tenant, || {
            let instance = self.start_with(&header.tenant, registry);
            instance.resume(header);
            instance
        })
    }

    fn start(&self, tenant: &TenantId) -> Instance {
        let limits = limits(&self.config_of(tenant));
        self.start_with(tenant, Registry::new(limits, self.max_lanes()))
    }

    fn start_with(&self, tenant: &TenantId, registry: Registry) -> Instance {
        let Dependencies {
            overrides,
            remote_write,
            metrics,
            clock,
            deduplicate_pushes,
            instance_label,
            ..
        } = &self.0.dependencies;
        let config = overrides.for_tenant(tenant);
        let writer = remote_write
            .as_ref()
            .map(|remote_write| remote_write.writer(tenant, &destinations(&config)));
        Instance::new(
            Identity {
                tenant: tenant.clone(),
                instance_label: instance_label.clone(),
            },
            config,
            clock.clone(),
            metrics.for_tenant(tenant),
            deduplicate_pushes.then(|| Recognised::new(self.0.room.clone())),
            writer,
            registry,
        )
    }
}

fn note_waiting_spans(tenant: &TenantId, instance: &Instance, is_saved: bool) {
    let spans = instance.waiting_spans();
    if spans > 0 && !is_saved {
        tracing::info!(%tenant, spans, "spans without a counterpart yet are not in the service graph");
    }
}

impl PushSpans for Generator {
    async fn push(&self, push: Push) -> Result<PushOutcome, PushError> {
        Ok(self.apply(&push)?)
    }
}

impl From<ApplyError> for PushError {
    fn from(error: ApplyError) -> Self {
        let reason = match error {
            ApplyError::Stopping => "the generator is stopping",
            ApplyError::TenantLeaves => "the tenant is being deleted",
            ApplyError::Push(error) => return error,
        };
        Self::Unavailable {
            reason: reason.to_owned(),
            retry_after: RETRY_WHILE_STOPPING,
        }
    }
}
