//! Halves of edges go where the other halves will go: to the owner of their trace.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use generator::{Generator, HandedOver};
use model::{TenantId, TraceTokens};
use overrides::Overrides;
use ring::{Member, MemberIndex};
use server::nodes::NODE_TAKE_EDGES;
use server::tenancy::TENANT_HEADER;
use telemetry::error_chain;
use tokio::time::{sleep, timeout};

use super::Cluster;
use crate::process::Part;

/// How long the ring has to stand until halves follow it: a node that joins takes its
/// tokens in steps of a second.
const SETTLED: Duration = Duration::from_millis(500);

/// How often halves are brought of which it is not known whether they arrived: they are
/// taken in once.
const TRIES: u32 = 3;

/// Moves halves of edges to other generators.
#[derive(Clone, Debug)]
pub(crate) struct EdgeMoves {
    cluster: Cluster,
    generator: Generator,
    overrides: Overrides,
}

impl EdgeMoves {
    /// Moves nothing yet.
    pub(crate) fn new(cluster: Cluster, generator: Generator, overrides: Overrides) -> Self {
        Self {
            cluster,
            generator,
            overrides,
        }
    }

    /// Moves what others own after each change of the ring, until shutdown.
    pub(crate) fn follow_the_ring(&self, background: &Part) {
        let (moves, shutdown) = (self.clone(), background.shutdown.clone());
        background.tasks.spawn("edge-moves", async move {
            let mut changes = moves.cluster.ring.view().changes();
            loop {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    () = shutdown.requested() => return,
                }
                sleep(SETTLED).await;
                changes.mark_unchanged();
                moves.move_those_of_others().await;
            }
        });
    }

    /// Moves what others own, at most for so long.
    pub(crate) async fn move_all(&self, within: Duration) {
        if timeout(within, self.move_those_of_others()).await.is_err() {
            tracing::warn!(
                "not all spans that wait for their counterpart went to another generator in \
                 time; those may be missing in service graphs"
            );
        }
    }

    async fn move_those_of_others(&self) {
        for tenant in self.generator.tenants() {
            self.move_tenant(&tenant).await;
        }
    }

    async fn move_tenant(&self, tenant: &TenantId) {
        let size = self.overrides.for_tenant(tenant).ring_size;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let shard = self.cluster.ring.view().shard(tenant, size);
        let own = &self.cluster.ring.identity().id;
        let tokens = TraceTokens::new(self.cluster.seed, tenant);
        let is_other = |owner: &MemberIndex| {
            let member = shard.placement().member(*owner);
            member.is_some_and(|member| member.id != *own)
        };
        let owner_of = |trace_id: &[u8; 16]| {
            let owner = shard.owner(tokens.of(trace_id)).filter(is_other);
            owner.map(|owner| owner.0)
        };
        let parts = match self.generator.take_edges(tenant, owner_of) {
            Ok(parts) => parts,
            Err(error) => {
                let error = error_chain(&error);
                tracing::warn!(%tenant, %error, "cannot move spans that wait for their counterpart");
                return;
            }
        };
        for part in parts {
            match shard.placement().member(MemberIndex(part.owner)) {
                Some(owner) => self.bring(tenant, owner, part).await,
                None => self.keep(tenant, &part),
            }
        }
    }

    /// Brings halves to their owner, or keeps them.
    async fn bring(&self, tenant: &TenantId, owner: &Member, part: HandedOver) {
        let mut headers = HeaderMap::new();
        // A tenant's id came in such a header.
        let Ok(id) = HeaderValue::from_str(tenant.as_str()) else {
            return self.keep(tenant, &part);
        };
        headers.insert(TENANT_HEADER, id);
        let halves = bytes::Bytes::from(part.halves.clone());
        for attempt in 1..=TRIES {
            let clients = &self.cluster.clients;
            let taken = clients.call(owner, NODE_TAKE_EDGES, headers.clone(), halves.clone());
            let error = match taken.await {
                Ok(_) => return,
                Err(error) => error,
            };
            if !error.is_in_doubt || attempt == TRIES {
                let owner = Arc::clone(&owner.id);
                tracing::warn!(
                    %tenant, %owner, %error, spans = part.spans,
                    "a generator does not take spans that wait for their counterpart; they wait here"
                );
                break;
            }
        }
        self.keep(tenant, &part);
    }

    fn keep(&self, tenant: &TenantId, part: &HandedOver) {
        if let Err(error) = self.generator.take_back_edges(tenant, part) {
            let error = error_chain(&error);
            tracing::warn!(
                %tenant, %error, spans = part.spans,
                "spans that waited for their counterpart are in no service graph"
            );
        }
    }
}
