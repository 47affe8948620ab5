//! A tenant is deleted on every node of the cluster: by an order to all that are there, and
//! by the nodes that were away, who ask the others when they are back.

use std::time::Duration;

use generator::LeaveError;
use lifecycle::Shutdown;
use model::TenantId;
use ring::Member;
use serde::{Deserialize, Serialize};
use telemetry::error_chain;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tonic::Status;

use super::marks::Order;
use super::records::is_in_time;
use super::{Deletion, DeletionError, OWN_SETTINGS, note, now_ms};
use crate::cluster::{Asked, Cluster};
use crate::node_calls::NodeCall;
use crate::tenants_api::{DeletionAnswer, LeftOver};

/// How long another node may take: what it waits for itself, and some more.
const WITHIN: Duration = Duration::from_secs(70);

/// How long it may take to say which tenants were deleted.
const ANSWER: Duration = Duration::from_secs(5);

/// How often a node asks one of the others what it has missed.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The same until somebody has answered for the first time.
const ASK_FIRST: Duration = Duration::from_millis(500);

/// How often it is looked whether a deletion that is under way has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// An order from one node to another, and what is told of those that are done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeletionOrder {
    /// Whom to delete.
    tenant: String,
    /// When it was given, in milliseconds since the Unix epoch.
    at_ms: u64,
}

impl Deletion {
    /// Deletes a tenant on every node of the cluster, this one among them. Nodes that are
    /// not there do it when they are back.
    ///
    /// Goes on to its end where it is cancelled; if the process ends first, the next one
    /// finishes it.
    ///
    /// # Errors
    ///
    /// [`DeletionError`], where nothing was deleted anywhere.
    pub(crate) async fn delete(&self, tenant: &TenantId) -> Result<DeletionAnswer, DeletionError> {
        let order = Order {
            at_ms: self.0.records.next(tenant, now_ms(&self.0.clock)),
            is_first: true,
        };
        let Some(cluster) = self.0.parts.cluster.clone() else {
            return self.delete_here(tenant, order).await;
        };
        let (tell, told) = oneshot::channel();
        let (deletion, tenant) = (self.clone(), tenant.clone());
        self.0.tasks.spawn("cluster-deletion", async move {
            // Nobody listens if the client has gone.
            let _ = tell.send(deletion.everywhere(&cluster, &tenant, order).await);
        });
        told.await.unwrap_or(Err(DeletionError::Stopping))
    }

    async fn everywhere(
        &self,
        cluster: &Cluster,
        tenant: &TenantId,
        order: Order,
    ) -> Result<DeletionAnswer, DeletionError> {
        let others = cluster.others();
        let question = DeletionOrder {
            tenant: tenant.to_string(),
            at_ms: order.at_ms,
        };
        let there = cluster.ask_all(&others, NodeCall::DeleteTenant, &question, WITHIN);
        let (here, there) = tokio::join!(self.delete_here(tenant, order), there);
        let own = &cluster.ring.identity().id;
        let mut answer = DeletionAnswer {
            tenant: tenant.to_string(),
            ..DeletionAnswer::default()
        };
        match here {
            Ok(here) => add(&mut answer, own, here),
            Err(error) if there.iter().all(|asked| asked.answer.is_err()) => return Err(error),
            Err(error) => {
                missing(&mut answer, own, &error_chain(&error).to_string());
                // No other node takes care of what they share.
                let shared = self.remove_overrides(tenant, order).await;
                note(&mut answer.removed, &mut answer.left, OWN_SETTINGS, shared);
            }
        }
        for Asked {
            node,
            answer: there,
        } in there
        {
            match there {
                Ok(there) => add(&mut answer, &node, there),
                Err(why) => missing(&mut answer, &node, &why),
            }
        }
        answer.nodes.sort_unstable();
        Ok(answer)
    }

    /// Deletes a tenant here as another node has ordered it.
    ///
    /// # Errors
    ///
    /// Why it is not deleted; then it is tried again, as with a node that was away.
    pub(crate) async fn obey(&self, order: &DeletionOrder) -> Result<DeletionAnswer, Status> {
        let tenant = TenantId::parse(&order.tenant);
        let tenant = tenant.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let begin = Instant::now();
        loop {
            if self.0.records.has(&tenant, order.at_ms) {
                return Ok(DeletionAnswer {
                    tenant: order.tenant.clone(),
                    ..DeletionAnswer::default()
                });
            }
            if !is_in_time(order.at_ms, now_ms(&self.0.clock)) {
                return Err(Status::failed_precondition(
                    "the order is older than 30 days, or of a clock that is ahead by more than a day",
                ));
            }
            let order = Order {
                at_ms: order.at_ms,
                is_first: false,
            };
            match self.delete_here(&tenant, order).await {
                // It has heard of the order from a third one.
                Err(DeletionError::Leave(LeaveError::UnderWay)) if begin.elapsed() < WITHIN => {
                    sleep(LOOK_AGAIN).await;
                }
                deleted => {
                    let deleted = deleted.map_err(|error| error_chain(&error).to_string());
                    return deleted.map_err(Status::aborted);
                }
            }
        }
    }

    /// What was deleted here.
    pub(crate) fn done(&self) -> Vec<DeletionOrder> {
        let done = self.0.records.told(now_ms(&self.0.clock)).into_iter();
        let orders = done.map(|(tenant, at_ms)| DeletionOrder {
            tenant: tenant.to_string(),
            at_ms,
        });
        orders.collect()
    }

    /// Asks other nodes which tenants were deleted while this one was not there, until
    /// shutdown. To be called once all is restored.
    pub(crate) fn catch_up(&self) {
        let Some(cluster) = self.0.parts.cluster.clone() else {
            return;
        };
        let (deletion, shutdown) = (self.clone(), self.0.shutdown.clone());
        self.0.tasks.spawn("deletion-catch-up", async move {
            deletion.ask_others(&cluster, &shutdown).await;
        });
    }

    async fn ask_others(&self, cluster: &Cluster, shutdown: &Shutdown) {
        let mut has_heard = false;
        loop {
            let pause = if has_heard { ASK_AGAIN } else { ASK_FIRST };
            tokio::select! {
                () = sleep(pause) => {}
                () = shutdown.requested() => return,
            }
            let mut others = cluster.others();
            others.retain(|other| other.is_alive);
            if has_heard {
                // What one does not know another does, and is asked soon.
                others = one_of(&others, rand::random())
                    .into_iter()
                    .cloned()
                    .collect();
            }
            let asked = cluster.ask_all(&others, NodeCall::Deletions, &(), ANSWER);
            let asked: Vec<Asked<Vec<DeletionOrder>>> = tokio::select! {
                asked = asked => asked,
                () = shutdown.requested() => return,
            };
            for answer in asked.into_iter().filter_map(|asked| asked.answer.ok()) {
                has_heard = true;
                for order in answer {
                    if shutdown.is_triggered() {
                        return;
                    }
                    self.make_up_for(&order).await;
                }
            }
            let deletion = self.clone();
            // It ends without an answer only where the process does.
            let _ = spawn_blocking(move || {
                let now_ms = now_ms(&deletion.0.clock);
                deletion.0.records.forget_old(now_ms);
            })
            .await;
        }
    }

    /// Deletes what was deleted elsewhere, if there is something of it from before.
    async fn make_up_for(&self, order: &DeletionOrder) {
        let Ok(tenant) = TenantId::parse(&order.tenant) else {
            return;
        };
        let inner = &self.0;
        let is_in_time = is_in_time(order.at_ms, now_ms(&inner.clock));
        if inner.records.has(&tenant, order.at_ms) || !is_in_time {
            return;
        }
        // One that is under way, or of which something cannot be removed, is finished by
        // this process or the next.
        let (marks, marked) = (inner.marks.clone(), tenant.clone());
        let mark = spawn_blocking(move || marks.of(&marked)).await;
        if let Ok(Some(mark)) = mark
            && mark.at_ms >= order.at_ms
        {
            return;
        }
        // What this node has of others began after the deletion, and is to stay.
        let is_of_before = order.at_ms >= inner.began_ms || inner.at_start.contains(&tenant);
        if is_of_before {
            let deleted = self.obey(order).await;
            match deleted {
                Ok(_) => {
                    tracing::info!(%tenant, "deleted as on the other nodes, which did it while this one was away")
                }
                Err(status) => {
                    let error = status.message();
                    tracing::warn!(%tenant, error, "not deleted yet, though the other nodes have done it");
                }
            }
            return;
        }
        let (deletion, at_ms) = (self.clone(), order.at_ms);
        let noted = spawn_blocking(move || deletion.0.records.note(&tenant, at_ms)).await;
        if let Ok(Err(error)) = noted {
            tracing::warn!(error = %error_chain(&error), "cannot note that a tenant was deleted");
        }
    }
}

fn one_of(members: &[Member], random: u64) -> Option<&Member> {
    let index = random.checked_rem(members.len() as u64)?;
    members.get(usize::try_from(index).ok()?)
}

/// Adds what a node has deleted.
fn add(answer: &mut DeletionAnswer, node: &str, here: DeletionAnswer) {
    answer.nodes.push(node.to_owned());
    answer.series_ended += here.series_ended;
    answer.undelivered_samples += here.undelivered_samples;
    answer.waited_seconds = answer.waited_seconds.max(here.waited_seconds);
    for removed in here.removed {
        if !answer.removed.contains(&removed) {
            answer.removed.push(removed);
        }
    }
    // All nodes read the same runtime file, mostly.
    for left in here.left {
        if !answer.left.contains(&left) {
            answer.left.push(left);
        }
    }
}

/// Adds that a node has not.
fn missing(answer: &mut DeletionAnswer, node: &str, why: &str) {
    answer.left.push(LeftOver {
        what: format!("what node {node} has of it"),
        why: format!(
            "{why}; a node that was away does it by itself once it is back, within 30 days and as \
             long as one of the nodes that have done it is there, too"
        ),
    });
}
