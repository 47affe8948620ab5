//! `POST /api/v1/tenants/{tenant}/delete`: a tenant leaves. For the admin listener only.
//!
//! The body must be JSON and name the tenant once more: what a browser sends across
//! origins without asking first is not that.

use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use model::TenantId;
use telemetry::error_chain;

use crate::deletion::{Deletion, DeletionError};
use crate::tenants_api::DeletionRequest;

/// The page as a route.
pub(crate) fn routes(deletion: Deletion) -> Router {
    Router::new()
        .route("/api/v1/tenants/{tenant}/delete", post(delete))
        .with_state(deletion)
}

async fn delete(
    State(deletion): State<Deletion>,
    Path(tenant): Path<String>,
    Json(request): Json<DeletionRequest>,
) -> Response {
    if request.tenant != tenant {
        let message = "the body must be {\"tenant\": ID} with the ID of the path\n";
        return (StatusCode::BAD_REQUEST, message).into_response();
    }
    let tenant = match TenantId::parse(&tenant) {
        Ok(tenant) => tenant,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    match deletion.delete(&tenant).await {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => {
            let status = status(&error);
            (status, format!("{}\n", error_chain(&error))).into_response()
        }
    }
}

fn status(error: &DeletionError) -> StatusCode {
    match error {
        DeletionError::Leave(_) => StatusCode::CONFLICT,
        DeletionError::Mark(_) => StatusCode::INTERNAL_SERVER_ERROR,
        DeletionError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    }
}
