//! Pages on tenants: what each has, sends and is behind with, and what its series
//! are made of.

mod cardinality;
mod describe;
mod order;

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

use self::order::{After, Sort};
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
    generator: Generator,
    remote_write: Option<RemoteWrite>,
    distributor: DistributorMetrics,
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
}

impl Tenants {
    /// Pages on the tenants of these parts.
    pub(crate) fn new(
        overrides: Overrides,
        generator: Generator,
        remote_write: Option<RemoteWrite>,
        distributor: DistributorMetrics,
    ) -> Self {
        Self {
            overrides,
            generator,
            remote_write,
            distributor,
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

    fn list(&self, sort: Sort, after: &After, limit: usize) -> TenantsAnswer {
        let ordered = sort.order(self);
        let total = ordered.len() as u64;
        let mut page = ordered
            .into_iter()
            .skip_while(|place| !after.is_before(place));
        let tenants: Vec<_> = page.by_ref().take(limit).collect();
        let next = tenants.last().filter(|_| page.next().is_some());
        TenantsAnswer {
            total,
            next: next.map(|place| place.to_string()),
            tenants: tenants
                .iter()
                .filter_map(|place| self.describe(&place.tenant))
                .collect(),
        }
    }
}

async fn list(State(tenants): State<Tenants>, Query(query): Query<ListQuery>) -> Response {
    let Some(sort) = Sort::parse(&query.sort) else {
        return refuse(Sort::ACCEPTED);
    };
    let Some(after) = After::parse(&query.after) else {
        return refuse("after is what the page before has as next");
    };
    let limit = query.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    // Ten thousand tenants take a while.
    match spawn_blocking(move || Json(tenants.list(sort, &after, limit)).into_response()).await {
        Ok(answer) => answer,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn one(State(tenants): State<Tenants>, Path(tenant): Path<String>) -> Response {
    match TenantId::parse(&tenant) {
        Ok(tenant) => match tenants.describe(&tenant) {
            Some(answer) => Json(answer).into_response(),
            None => unknown(),
        },
        Err(error) => refuse(&error.to_string()),
    }
}

fn unknown() -> Response {
    let message = "the tenant has not sent anything since the start\n";
    (StatusCode::NOT_FOUND, message).into_response()
}

fn refuse(message: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{message}\n")).into_response()
}

#[cfg(test)]
pub(super) mod tests;
