//! `/ring`: the cluster as this node sees it, as a page and as JSON.

mod html;

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use ring::{ForgetError, MemberStatus, Ring, shares};
use serde::Deserialize;

use crate::ring_api::{ForgetRequest, MemberAnswer, RingAnswer};

/// The query of the page.
#[derive(Debug, Deserialize)]
struct RingQuery {
    /// `json`, or nothing for a page.
    #[serde(default)]
    format: String,
}

/// The page as routes, also by the name under which Tempo has it; they only read.
pub(crate) fn routes(ring: Ring) -> Router {
    Router::new()
        .route("/ring", get(page))
        .route("/memberlist", get(page))
        .with_state(ring)
}

/// What changes the ring. For the admin listener only.
///
/// The body must be JSON: what a browser sends across origins without asking first is
/// not that.
pub(crate) fn admin_routes(ring: Ring) -> Router {
    Router::new()
        .route("/ring/forget", post(forget))
        .with_state(ring)
}

async fn page(
    State(ring): State<Ring>,
    Query(query): Query<RingQuery>,
    headers: HeaderMap,
) -> Response {
    let accepted = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let answer = describe(&ring);
    match (query.format.as_str(), accepted) {
        ("json", _) | ("", Some("application/json")) => Json(answer).into_response(),
        ("", _) => Html(html::page(&answer)).into_response(),
        _ => (StatusCode::BAD_REQUEST, "format is json or nothing\n").into_response(),
    }
}

async fn forget(State(ring): State<Ring>, Json(request): Json<ForgetRequest>) -> Response {
    match ring.forget(&request.id) {
        Ok(()) => Json(request).into_response(),
        Err(error) => (status(error), format!("{error}\n")).into_response(),
    }
}

fn status(error: ForgetError) -> StatusCode {
    match error {
        ForgetError::Unknown => StatusCode::NOT_FOUND,
        ForgetError::Alive => StatusCode::CONFLICT,
    }
}

fn describe(ring: &Ring) -> RingAnswer {
    let placement = ring.view().placement();
    let shares = shares(&placement);
    let share = |id: &str| {
        let all = placement.members().iter().zip(&shares);
        let mut found = all.filter(|(member, _)| &*member.id == id);
        found.next().map_or(0.0, |(_, share)| *share)
    };
    let members = ring.members();
    RingAnswer {
        id: ring.identity().id.to_string(),
        has_duplicate_id: ring.has_duplicate(),
        last_heard_seconds: ring.last_heard().map(|age| age.as_secs_f64()),
        live_distributors: ring.live_distributors() as u64,
        desired_generators: ring.desired_generators(),
        members: members
            .iter()
            .map(|status| member(status, share(&status.member.id)))
            .collect(),
    }
}

fn member(status: &MemberStatus, share: f64) -> MemberAnswer {
    let member = &status.member;
    let role: &str = member.role.into();
    let state = match member.is_alive {
        true => member.state.into(),
        false => "dead",
    };
    MemberAnswer {
        id: member.id.to_string(),
        incarnation: member.incarnation,
        role: role.to_owned(),
        state: state.to_owned(),
        zone: member.zone.to_string(),
        address: member.address.to_string(),
        gossip_address: status.gossip_address.to_string(),
        tokens: member.tokens,
        share,
        load: status.load,
        heartbeat_age_seconds: status.heartbeat_age.as_secs_f64(),
        version: member.version.to_string(),
        has_same_cluster_seed: status.has_our_cluster_seed,
    }
}

#[cfg(test)]
mod tests;
