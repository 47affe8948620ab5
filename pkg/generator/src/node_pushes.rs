//! `spanmill.v1.Generator/Push` and `PushAll`: spans from the distributors of the cluster.
//!
//! A push is refused only before any of its spans is applied, and a refusal says so: then
//! the distributor takes them elsewhere at once. Whatever else goes wrong leaves it in
//! doubt, and it sends the same bytes here again, where they are recognised. That holds for
//! refusals, too: what was applied before is answered so, whatever has happened since.

mod delays;
mod edges;
mod freeze;
mod metrics;
mod ownership;
mod together;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use lifecycle::{Shutdown, TaskGroup};
use model::{ClusterSeed, Push, PushError, PushOutcome};
use prost::Message as _;
use proto::cluster;
use ring::RingView;
use server::authentication::PeerIdentity;
use server::budget::UNKNOWN_LENGTH;
use server::grpc::{MessageBody, calls, unary};
use server::nodes::{NODE_PUSH, NODE_PUSH_ALL, NODE_TAKE_EDGES, NotApplied, PushMetadata};
use server::{Budget, NodeAuthentication, RequestMemory};
use tonic::Status;

pub use self::metrics::NodePushMetrics;

use self::delays::Delays;
use self::freeze::Freeze;
use self::ownership::{Ownership, Standing};
use crate::Generator;
use crate::generator::ApplyError;
use crate::recognised::Earlier;

/// Says whether this node has been back in the ring since a moment: whether others have
/// spoken to it since.
pub type IsBack = Arc<dyn Fn(Instant) -> bool + Send + Sync>;

/// What a generator of a cluster needs to take pushes from distributors.
#[derive(Clone)]
pub struct NodePushDependencies {
    /// The generator.
    pub generator: Generator,
    /// The cluster.
    pub ring: RingView,
    /// The id of this node in the ring.
    pub id: Arc<str>,
    /// What the cluster's tokens are hashed with.
    pub seed: ClusterSeed,
    /// Who may push.
    pub authentication: NodeAuthentication,
    /// Asked after this node has stood still.
    pub is_back: IsBack,
    /// The memory that pushes in flight share, with all others of the process.
    pub budget: Budget,
    /// Where to count.
    pub metrics: NodePushMetrics,
}

/// Takes pushes from distributors of the cluster; clones share everything.
#[derive(Clone, Debug)]
pub struct NodePushes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dependencies: NodePushDependencies,
    ownership: Ownership,
    delays: Delays,
    freeze: Freeze,
}

impl NodePushes {
    /// Begins to watch whether this process stands still, until shutdown.
    pub fn start(
        dependencies: NodePushDependencies,
        tasks: &TaskGroup,
        shutdown: &Shutdown,
    ) -> Self {
        let pushes = Self::new(dependencies, Instant::now());
        let (watching, shutdown) = (pushes.clone(), shutdown.clone());
        tasks.spawn_thread("freeze-watch", move || {
            while !shutdown.wait_blocking(freeze::TICK) {
                watching.runs_at(Instant::now());
            }
        });
        pushes
    }

    /// Takes pushes from a moment on, and does not watch by itself: [`runs_at`](Self::runs_at)
    /// has to be called. So time may be simulated.
    pub fn new(dependencies: NodePushDependencies, now: Instant) -> Self {
        Self(Arc::new(Inner {
            ownership: Ownership::new(&dependencies, now),
            delays: Delays::new(now),
            freeze: Freeze::new(now),
            dependencies,
        }))
    }

    /// Notes that this process runs at a moment. To be called every 100 ms.
    pub fn runs_at(&self, now: Instant) {
        self.0.freeze.tick(now);
    }

    /// The gRPC service, as routes for the internal listener. They tell nodes from others
    /// themselves: whatever else guards that listener is to let their path through.
    pub fn routes(&self, max_message_bytes: usize) -> axum::Router {
        let pushes = self.clone();
        let paths = [NODE_PUSH, NODE_PUSH_ALL, NODE_TAKE_EDGES];
        calls(paths, max_message_bytes, move |parts, body| {
            pushes.clone().call(parts, body)
        })
    }

    async fn call(
        self,
        parts: Parts,
        body: MessageBody<axum::body::Body>,
    ) -> Response<tonic::body::Body> {
        // Before the body, so that strangers cost us little.
        if let Err(status) = self.admit(&parts) {
            return status.into_http();
        }
        let path = parts.uri.path();
        let takes_edges = path == NODE_TAKE_EDGES;
        // Kept until the push has ended, and raised by what reads the body.
        let memory = parts.extensions.get::<RequestMemory>().cloned();
        let memory = memory.unwrap_or_default();
        let metadata = PushMetadata::read(&parts.headers);
        if !takes_edges && let Ok(metadata) = &metadata {
            // Where there is none, reading throws the message away and fails.
            let budget = &self.0.dependencies.budget;
            let _ = memory.take(budget, &metadata.tenant, UNKNOWN_LENGTH);
        }
        let answer = unary(body, async |message| {
            if takes_edges {
                return self.take_edges(&parts.headers, &message);
            }
            // Of another version: it may know another generator that reads it.
            let metadata = metadata.map_err(|error| Status::unimplemented(error.to_string()))?;
            // Of the runtime, whose time may be simulated.
            let now = tokio::time::Instant::now().into_std();
            if path == NODE_PUSH_ALL {
                return self.push_all(&metadata, message, now);
            }
            let outcome = self.push(&metadata, message, now)?;
            Ok(Bytes::from(outcome_message(outcome).encode_to_vec()))
        });
        let answer = answer.await;
        if memory.refusal().is_some() {
            self.0.dependencies.metrics.refused(NotApplied::Overloaded);
            return NotApplied::Overloaded.grpc_status().into_http();
        }
        answer
    }

    /// Lets nodes of the cluster in.
    fn admit(&self, parts: &Parts) -> Result<(), Status> {
        let dependencies = &self.0.dependencies;
        let peer = parts.extensions.get::<Arc<PeerIdentity>>();
        let admitted = dependencies
            .authentication
            .admit(&parts.headers, peer.map(|peer| &**peer));
        admitted.map_err(|error| {
            dependencies.metrics.not_a_node();
            error.grpc_status()
        })
    }

    /// Takes a push of the distributor in this process, and judges it as one that comes over
    /// the wire. Its memory is accounted for by whoever took it in.
    ///
    /// # Errors
    ///
    /// What is answered over the wire.
    pub fn take(&self, metadata: PushMetadata, request: Bytes) -> Result<PushOutcome, Status> {
        let now = tokio::time::Instant::now().into_std();
        self.push(&metadata, request, now)
    }

    fn push(
        &self,
        metadata: &PushMetadata,
        request: Bytes,
        now: Instant,
    ) -> Result<PushOutcome, Status> {
        let generator = &self.0.dependencies.generator;
        let push = Push {
            tenant: metadata.tenant.clone(),
            request,
            skip_metrics: metadata.skip_metrics,
        };
        let applied = match self.refusal(metadata, &push, now) {
            None => generator.apply(&push),
            Some(why) => return self.refuse(why, &push),
        };
        match applied {
            Ok(outcome) => Ok(outcome),
            Err(ApplyError::Stopping) => self.refuse(NotApplied::Stopping, &push),
            Err(ApplyError::TenantLeaves) => self.refuse(NotApplied::TenantLeaves, &push),
            Err(ApplyError::Push(error @ PushError::Malformed { .. })) => {
                Err(Status::invalid_argument(error.to_string()))
            }
            // Not marked: a copy is being applied.
            Err(ApplyError::Push(error)) => Err(Status::unavailable(error.to_string())),
        }
    }

    /// Why a push is not to be applied here now, if so.
    fn refusal(&self, metadata: &PushMetadata, push: &Push, now: Instant) -> Option<NotApplied> {
        let Inner {
            dependencies,
            ownership,
            delays,
            freeze,
        } = &*self.0;
        // Before all else, so that each one makes the next one's judgement better.
        let is_expired = delays.is_expired(metadata, now);
        if freeze.is_frozen(now, &dependencies.is_back) {
            return Some(NotApplied::Frozen);
        }
        if is_expired {
            return Some(NotApplied::Expired);
        }
        let ring_size = dependencies.generator.config_of(&push.tenant).ring_size;
        match ownership.standing(metadata.placement, push, ring_size, now) {
            Standing::Agreed => None,
            Standing::Disputed => {
                dependencies.metrics.not_owned();
                None
            }
            Standing::Wrong => Some(NotApplied::NotOwner),
            Standing::TakesNothing(why) => Some(why),
        }
    }

    fn refuse(&self, why: NotApplied, push: &Push) -> Result<PushOutcome, Status> {
        match self.0.dependencies.generator.earlier(push) {
            Earlier::Applied(outcome) => Ok(outcome),
            Earlier::BeingApplied => Err(Status::unavailable("a copy of it is being applied")),
            Earlier::None => {
                self.0.dependencies.metrics.refused(why);
                Err(why.grpc_status())
            }
        }
    }
}

fn outcome_message(outcome: PushOutcome) -> cluster::PushOutcome {
    cluster::PushOutcome {
        spans: outcome.spans,
        rejected_spans: outcome.rejected_spans,
        message: outcome.message,
    }
}

impl fmt::Debug for NodePushDependencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodePushDependencies")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
