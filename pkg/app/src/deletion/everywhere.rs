//! A tenant is deleted on every node of the cluster: by an order to all that are there, and
//! by the nodes that were away, who ask the others when they are back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
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

/// The first pause until somebody has answered for the first time; each is twice the one
/// before, up to [`ASK_AGAIN`].
const ASK_FIRST: Duration = Duration::from_millis(500);

/// How many of the deletions that it has missed a node makes up for at once: each waits for
/// receivers, mostly.
const AT_ONCE: usize = 16;

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
        let stopping = || self.0.shutdown.requested();
        let here = async {
            tokio::select! {
                here = self.delete_here(tenant, order) => here,
                () = stopping() => Err(DeletionError::Stopping),
            }
        };
        let there = join_all(others.iter().map(|other| async {
            let call = NodeCall::DeleteTenant;
            tokio::select! {
                asked = cluster.ask(other, call, &question, WITHIN) => asked,
                () = stopping() => Asked {
                    node: Arc::clone(&other.id),
                    answer: Err("this node stops before it has answered".to_owned()),
                },
            }
        }));
        let (here, there): (_, Vec<Asked<DeletionAnswer>>) = tokio::join!(here, there);
        let own = &cluster.ring.identity().id;
        let mut answer = DeletionAnswer {
            tenant: tenant.to_string(),
            ..DeletionAnswer::default()
        };
        match here {
            Ok(here) => add(&mut answer, own, here),
            Err(error) if there.iter().all(|asked| asked.answer.is_err()) => return Err(error),
            Err(error) => {
                self.missing(&mut answer, own, &error_chain(&error).to_string());
                // No other node takes care of what they share.
                let shared = tokio::select! {
                    shared = self.remove_overrides(tenant, order) => shared,
                    () = stopping() => Err("this node stops".to_owned()),
                };
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
                Err(why) => self.missing(&mut answer, &node, &why),
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
                    tokio::select! {
                        () = sleep(LOOK_AGAIN) => {}
                        () = self.0.shutdown.requested() => {
                            return Err(Status::aborted(error_chain(&DeletionError::Stopping).to_string()));
                        }
                    }
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
    /// shutdown; nobody where nodes do not show each other who they are. To be called once all
    /// is restored.
    pub(crate) fn catch_up(&self) {
        let Some(cluster) = self.0.parts.trusted().cloned() else {
            return;
        };
        let (deletion, shutdown) = (self.clone(), self.0.shutdown.clone());
        self.0.tasks.spawn("deletion-catch-up", async move {
            deletion.ask_others(&cluster, &shutdown).await;
        });
    }

    async fn ask_others(&self, cluster: &Cluster, shutdown: &Shutdown) {
        let mut has_heard = false;
        let mut pause = ASK_FIRST;
        loop {
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
            let answers: Vec<_> = asked
                .into_iter()
                .filter_map(|asked| asked.answer.ok())
                .collect();
            has_heard |= !answers.is_empty();
            pause = if has_heard { ASK_AGAIN } else { longer(pause) };
            let orders = stream::iter(latest(answers.into_iter().flatten()));
            let follow = orders.for_each_concurrent(AT_ONCE, |(tenant, at_ms)| {
                let deletion = self.clone();
                async move { deletion.make_up_for(tenant, at_ms).await }
            });
            tokio::select! {
                () = follow => {}
                // What it has begun ends by itself.
                () = shutdown.requested() => return,
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
    async fn make_up_for(&self, tenant: TenantId, at_ms: u64) {
        let inner = &self.0;
        let is_in_time = is_in_time(at_ms, now_ms(&inner.clock));
        if inner.records.has(&tenant, at_ms) || !is_in_time {
            return;
        }
        // One that is under way, or of which something cannot be removed, is finished by
        // this process or the next.
        let (marks, marked) = (inner.marks.clone(), tenant.clone());
        let mark = spawn_blocking(move || marks.of(&marked)).await;
        if let Ok(Some(mark)) = mark
            && mark.at_ms >= at_ms
        {
            return;
        }
        // What this node has of others began after the deletion, and is to stay.
        let is_of_before = at_ms >= inner.began_ms || inner.at_start.contains(&tenant);
        if is_of_before {
            let order = DeletionOrder {
                tenant: tenant.to_string(),
                at_ms,
            };
            let deleted = self.obey(&order).await;
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
        let deletion = self.clone();
        let noted = spawn_blocking(move || deletion.0.records.note(&tenant, at_ms)).await;
        if let Ok(Err(error)) = noted {
            tracing::warn!(error = %error_chain(&error), "cannot note that a tenant was deleted");
        }
    }

    /// Adds that a node has not deleted the tenant.
    fn missing(&self, answer: &mut DeletionAnswer, node: &str, why: &str) {
        let then = match self.0.parts.trusted() {
            Some(_) => {
                "a node that was away does it by itself once it is back, within 30 days and as \
                 long as one of the nodes that have done it is there, too"
            }
            None => "without node_authentication delete the tenant on that node, too",
        };
        answer.left.push(LeftOver {
            what: format!("what node {node} has of it"),
            why: format!("{why}; {then}"),
        });
    }
}

/// The pause after this one, while nobody has answered.
fn longer(pause: Duration) -> Duration {
    (2 * pause).min(ASK_AGAIN)
}

/// The latest order for each tenant: it is enough to follow that.
fn latest(orders: impl Iterator<Item = DeletionOrder>) -> BTreeMap<TenantId, u64> {
    let mut latest = BTreeMap::new();
    for order in orders {
        if let Ok(tenant) = TenantId::parse(&order.tenant) {
            let at_ms = latest.entry(tenant).or_default();
            *at_ms = order.at_ms.max(*at_ms);
        }
    }
    latest
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_asked_less_and_less_often_until_one_has_answered() {
        let pauses = std::iter::successors(Some(ASK_FIRST), |pause| Some(longer(*pause)));
        let millis: Vec<_> = pauses.take(7).map(|pause| pause.as_millis()).collect();
        assert_eq!(millis, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    }

    #[test]
    fn of_several_orders_for_a_tenant_the_latest_is_followed() {
        let order = |tenant: &str, at_ms| DeletionOrder {
            tenant: tenant.to_owned(),
            at_ms,
        };
        let told = [
            order("acme", 7),
            order("globex", 1),
            order("acme", 8),
            order("acme", 6),
            order("", 9),
        ];
        let (acme, globex) = (TenantId::parse("acme"), TenantId::parse("globex"));
        let want = [(acme.unwrap(), 8), (globex.unwrap(), 1)];
        assert_eq!(latest(told.into_iter()), BTreeMap::from(want));
    }
}
