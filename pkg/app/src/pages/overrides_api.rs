//! The API by which tenants change settings of their own: `/api/overrides`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ::overrides::{
    Change, Changed, ChangedSetting, IfMatch, MAX_DOCUMENT_BYTES, UserOverrides,
    UserOverridesError, Version,
};
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH, RETRY_AFTER};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use model::TenantId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use server::body::BODY_READ_TIMEOUT;
use server::{PeerAddress, Tenancy, read_body};
use telemetry::LogThrottle;

const PATH: &str = "/api/overrides";

const NOT_ENABLED: &str = "tenants set no overrides here: \
                           overrides.user_configurable_overrides.enabled is false\n";

/// When a client may try again, in seconds.
const RETRY_SECONDS: &str = "5";

/// Bytes of a log line for what a change has changed.
const MAX_LOGGED_BYTES: usize = 4_096;

/// How often the log tells of a store that does not answer, at most: clients ask again.
const TELL_OF_FAILURES: Duration = Duration::from_secs(10);

/// What the handlers need.
#[derive(Clone, Debug)]
struct Api {
    overrides: UserOverrides,
    tenancy: Tenancy,
    failures: Arc<LogThrottle>,
}

/// The query of a request.
#[derive(Debug, Deserialize)]
struct ApiQuery {
    /// What to show: `api`, the default, for what the tenant has set; `merged` for what
    /// is in force; `explain` for that with the layer of each value.
    #[serde(default)]
    scope: String,
    /// Whether it may set what the runtime file sets.
    #[serde(default, rename = "skip-conflicting-overrides-check")]
    skip_conflicting_overrides_check: bool,
}

/// A header that comes twice or is no text.
#[derive(Debug)]
struct BadHeader;

/// The API below a prefix; without `overrides` it answers that there is none.
pub(crate) fn routes(prefix: &str, overrides: Option<UserOverrides>, tenancy: Tenancy) -> Router {
    let path = format!("{prefix}{PATH}");
    match overrides {
        None => Router::new().route(&path, any(async || (StatusCode::NOT_FOUND, NOT_ENABLED))),
        Some(overrides) => Router::new()
            .route(&path, get(show).post(change).patch(change).delete(change))
            .with_state(Api {
                overrides,
                tenancy,
                failures: Arc::new(LogThrottle::new(TELL_OF_FAILURES)),
            }),
    }
}

async fn show(
    State(api): State<Api>,
    Query(query): Query<ApiQuery>,
    headers: HeaderMap,
) -> Response {
    let tenant = match api.tenancy.tenant(&headers) {
        Ok(tenant) => tenant,
        Err(error) => return (error.http_status(), format!("{error}\n")).into_response(),
    };
    let shown = match query.scope.as_str() {
        "" | "api" => {
            return match api.overrides.stored(&tenant).await {
                Ok(stored) => document(Some(&stored.version), stored.document.as_json()),
                Err(error) => refusal(&api.failures, &tenant, &error),
            };
        }
        "merged" => api.overrides.merged(&tenant),
        "explain" => api.overrides.explained(&tenant).map(|(settings, version)| {
            let shown = json!({"tenant": tenant.as_str(), "settings": settings});
            (shown, version)
        }),
        _ => {
            let message = "scope is one of api, merged, explain\n";
            return (StatusCode::BAD_REQUEST, message).into_response();
        }
    };
    match shown {
        Ok((shown, version)) => document(version.as_ref(), &shown),
        Err(problems) => {
            let text = format!("{}\n", problems.summary());
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

async fn change(
    State(api): State<Api>,
    Query(query): Query<ApiQuery>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let tenant = match api.tenancy.tenant(&parts.headers) {
        Ok(tenant) => tenant,
        Err(error) => return (error.http_status(), format!("{error}\n")).into_response(),
    };
    let if_match = match if_match(&parts.headers) {
        Ok(if_match) => if_match,
        Err(BadHeader) => {
            let message = "If-Match is one header of printable ASCII\n";
            return (StatusCode::BAD_REQUEST, message).into_response();
        }
    };
    if if_match.is_none() && parts.method != Method::PATCH {
        return refusal(&api.failures, &tenant, &UserOverridesError::VersionRequired);
    }
    let change = if parts.method == Method::DELETE {
        Change::Delete
    } else {
        let headers = &parts.headers;
        match read_body(headers, body, MAX_DOCUMENT_BYTES, BODY_READ_TIMEOUT).await {
            Ok(body) if parts.method == Method::POST => Change::Replace(body),
            Ok(body) => Change::Patch(body),
            Err(error) => return (error.http_status(), format!("{error}\n")).into_response(),
        }
    };
    let with_conflicts = query.skip_conflicting_overrides_check;
    // A change goes on without its client, and so does its line in the log.
    let told = {
        let (tenant, method) = (tenant.clone(), parts.method.clone());
        let peer = parts.extensions.get::<PeerAddress>().cloned();
        move |changed: &Changed| log(&tenant, peer.as_ref(), &method, changed)
    };
    let changed = api
        .overrides
        .change(&tenant, change, if_match, with_conflicts, told);
    match changed.await {
        Ok(changed) => match changed.now {
            Some(now) => document(Some(&now.version), now.document.as_json()),
            None => StatusCode::OK.into_response(),
        },
        Err(error) => refusal(&api.failures, &tenant, &error),
    }
}

/// The header `If-Match`, if there is one.
fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>, BadHeader> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(IfMatch::parse(text))),
        _ => Err(BadHeader),
    }
}

fn document(version: Option<&Version>, shown: &impl Serialize) -> Response {
    let Ok(mut text) = serde_json::to_string_pretty(shown) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    text.push('\n');
    let tag = version.map(|version| [(ETAG, format!("\"{version}\""))]);
    (tag, [(CONTENT_TYPE, "application/json")], text).into_response()
}

fn refusal(failures: &LogThrottle, tenant: &TenantId, error: &UserOverridesError) -> Response {
    let status = error.http_status();
    let text = format!("{error}\n");
    if status != StatusCode::SERVICE_UNAVAILABLE {
        return (status, text).into_response();
    }
    if let Some(suppressed) = failures.admit() {
        tracing::warn!(
            %tenant,
            suppressed,
            error = error as &dyn Error,
            "cannot read or store what a tenant sets"
        );
    }
    (status, [(RETRY_AFTER, RETRY_SECONDS)], text).into_response()
}

/// Writes down who changed what.
fn log(tenant: &TenantId, peer: Option<&PeerAddress>, method: &Method, changed: &Changed) {
    let version = |version: Option<&Version>| version.map_or("none".to_owned(), Version::to_string);
    tracing::info!(
        %tenant,
        peer = peer.map_or("unknown".to_owned(), PeerAddress::to_string),
        %method,
        changes = told(&changed.changes),
        version_before = version(changed.before.as_ref()),
        version = version(changed.now.as_ref().map(|now| &now.version)),
        "a tenant has changed its overrides"
    );
}

/// The changes in a line of bounded length; text in values is quoted as in JSON.
fn told(changes: &[ChangedSetting]) -> String {
    let mut line = String::new();
    for (index, change) in changes.iter().enumerate() {
        if line.len() > MAX_LOGGED_BYTES {
            let left = changes.len() - index;
            line.push_str(&format!("; and {left} more"));
            break;
        }
        if index > 0 {
            line.push_str("; ");
        }
        let change = change.to_string();
        match change.get(..change.floor_char_boundary(MAX_LOGGED_BYTES)) {
            Some(cut) if cut.len() < change.len() => {
                line.push_str(cut);
                line.push_str("...");
            }
            _ => line.push_str(&change),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(path: &str, length: usize) -> ChangedSetting {
        ChangedSetting {
            path: path.to_owned(),
            before: None,
            after: Some("ü\n".repeat(length).into()),
        }
    }

    #[test]
    fn a_line_tells_changes_within_its_length_and_without_line_breaks() {
        assert_eq!(told(&[]), "");
        let changes = [setting("a", 1), setting("b", 1)];
        assert_eq!(told(&changes), r#"a: unset -> "ü\n"; b: unset -> "ü\n""#);
        let changes = vec![setting("a", 1 << 20); 5];
        let line = told(&changes);
        assert!(line.ends_with("...; and 4 more"), "{line}");
        assert!(line.len() < MAX_LOGGED_BYTES + 32, "{}", line.len());
        assert!(!line.contains('\n'));
    }

    #[tokio::test]
    async fn without_the_setting_the_api_says_that_it_is_off() {
        use tower::ServiceExt;

        let router = routes("/tempo", None, Tenancy::default());
        for method in [Method::GET, Method::POST, Method::PATCH, Method::DELETE] {
            let request = Request::builder()
                .method(method)
                .uri("/tempo/api/overrides");
            let request = request.body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 404);
            let body = axum::body::to_bytes(response.into_body(), 1 << 20)
                .await
                .unwrap();
            assert_eq!(body, NOT_ENABLED);
        }
    }
}
