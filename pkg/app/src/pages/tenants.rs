//! Pages on tenants: what each has, sends and is behind with, and what its series
//! are made of.

mod cardinality;
mod describe;
mod everywhere;
mod order;
mod sum;
pub(crate) mod trial;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use distributor::DistributorMetrics;
use generator::Generator;
use model::TenantId;
use overrides::Overrides;
use remote_write::RemoteWrite;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use self::order::{After, Place, Sort};
use crate::cluster::Cluster;
use crate::process::Generating;
use crate::tenants_api::TenantsAnswer;

/// Tenants on a page unless more are asked for.
const LIMIT: usize = 100;
/// Tenants on a page at most: some 10 MB.
const MAX_LIMIT: usize = 10_000;

/// Processors that are tried at the same time, of all tenants: each is as much work as
/// that processor.
const MAX_TRIALS: usize = 4;

/// Where the pages look.
#[derive(Clone, Debug)]
pub(crate) struct Tenants {
    overrides: Overrides,
    /// None where no series are made.
    generator: Option<Generator>,
    remote_write: Option<RemoteWrite>,
    distributor: DistributorMetrics,
    /// None where the process is alone.
    cluster: Option<Cluster>,
    /// Who walks over all label sets of a tenant: one at a time.
    surveys: Arc<Semaphore>,
    trials: Arc<Semaphore>,
}

/// The query of the list.
#[derive(Debug, Deserialize)]
struct ListQuery {
    #[serde(default)]
    sort: String,
    #[serde(default)]
    after: String,
    limit: Option<usize>,
    #[serde(default)]
    scope: Scope,
}

/// The query of the page on one tenant.
#[derive(Debug, Deserialize)]
struct OneQuery {
    #[serde(default)]
    scope: Scope,
}

/// Of whom an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    /// Of all nodes.
    #[default]
    Cluster,
    /// Of the node that is asked.
    Node,
}

impl Tenants {
    /// Pages on the tenants of these parts, and of the cluster, if there is one.
    pub(crate) fn new(
        overrides: Overrides,
        generating: Option<Generating>,
        distributor: DistributorMetrics,
        cluster: Option<Cluster>,
    ) -> Self {
        let (generator, remote_write) = generating
            .map(|parts| (parts.generator, parts.remote_write))
            .unzip();
        Self {
            overrides,
            generator,
            remote_write,
            distributor,
            cluster,
            surveys: Arc::new(Semaphore::new(1)),
            trials: Arc::new(Semaphore::new(MAX_TRIALS)),
        }
    }

    /// The pages as routes; all of them only read.
    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/api/v1/tenants", get(list))
            .route("/api/v1/tenants/{tenant}", get(one))
            .route(
                "/api/v1/tenants/{tenant}/cardinality",
                get(cardinality::page),
            )
            .with_state(self)
    }

    /// The cluster, if it is asked for and there is one.
    fn cluster_of(&self, scope: Scope) -> Option<Cluster> {
        self.cluster.clone().filter(|_| scope == Scope::Cluster)
    }

    fn list(&self, sort: Sort, after: &After, limit: usize) -> TenantsAnswer {
        let (mut answer, page) = paged(sort.order(self), after, limit);
        let tenants = page.iter();
        answer.tenants = tenants
            .filter_map(|place| self.describe(&place.tenant))
            .collect();
        answer
    }
}

/// A page of a list, with its tenants yet to be described.
fn paged(ordered: Vec<Place>, after: &After, limit: usize) -> (TenantsAnswer, Vec<Place>) {
    let total = ordered.len() as u64;
    let mut page = ordered
        .into_iter()
        .skip_while(|place| !after.is_before(place));
    let tenants: Vec<_> = page.by_ref().take(limit).collect();
    let next = tenants.last().filter(|_| page.next().is_some());
    let answer = TenantsAnswer {
        total,
        next: next.map(|place| place.to_string()),
        ..TenantsAnswer::default()
    };
    (answer, tenants)
}

async fn list(State(tenants): State<Tenants>, Query(query): Query<ListQuery>) -> Response {
    let Some(sort) = Sort::parse(&query.sort) else {
        return refuse(Sort::ACCEPTED);
    };
    let Some(after) = After::parse(&query.after) else {
        return refuse("after is what the page before has as next");
    };
    let limit = query.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    if let Some(cluster) = tenants.cluster_of(query.scope) {
        let answer = tenants.list_everywhere(&cluster, sort, &after, limit);
        return Json(answer.await).into_response();
    }
    // Ten thousand tenants take a while.
    match spawn_blocking(move || Json(tenants.list(sort, &after, limit)).into_response()).await {
        Ok(answer) => answer,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn one(
    State(tenants): State<Tenants>,
    Path(tenant): Path<String>,
    Query(query): Query<OneQuery>,
) -> Response {
    let tenant = match TenantId::parse(&tenant) {
        Ok(tenant) => tenant,
        Err(error) => return refuse(&error.to_string()),
    };
    let answer = match tenants.cluster_of(query.scope) {
        Some(cluster) => tenants.describe_everywhere(&cluster, &tenant).await,
        None => tenants.describe(&tenant),
    };
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => unknown(),
    }
}

/// What is said of a tenant of which there is nothing.
const UNKNOWN: &str = "the tenant has not sent anything since the start";

fn unknown() -> Response {
    (StatusCode::NOT_FOUND, format!("{UNKNOWN}\n")).into_response()
}

fn refuse(message: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{message}\n")).into_response()
}

#[cfg(test)]
pub(super) mod tests;
