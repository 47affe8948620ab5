//! Pages on the settings of tenants: who has some, and where each value comes from.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::TenantId;
use overrides::{Explained, Overrides};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use settings::Problems;
use tokio::task::spawn_blocking;

/// The query of these pages.
#[derive(Debug, Deserialize)]
struct PageQuery {
    /// `diff` for what differs from the settings without the runtime file.
    #[serde(default)]
    mode: String,
    /// `json` or `text`, whatever the `Accept` header says.
    #[serde(default)]
    format: String,
}

/// What one tenant has, in a line.
#[derive(Debug, Serialize)]
struct Summary {
    /// `*` for all that have no entry.
    tenant: String,
    processors: Value,
    max_active_series: Value,
}

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// The pages as routes; all of them only read.
pub(super) fn routes(overrides: Overrides) -> Router {
    Router::new()
        .route("/status/overrides", get(list))
        .route("/status/overrides/{tenant}", get(explain))
        .route("/status/runtime_config", get(runtime_config))
        .with_state(overrides)
}

async fn list(
    State(overrides): State<Overrides>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Response {
    answer(&query, &headers, &[""], move |format| {
        let mut summaries = vec![summary("*", &overrides.document(None)?)];
        for tenant in overrides.tenants() {
            let document = overrides.document(Some(&tenant))?;
            summaries.push(summary(&tenant.to_string(), &document));
        }
        match format {
            Format::Json => Ok(json(&json!({ "tenants": summaries }))),
            Format::Text => {
                let lines = summaries.iter().map(|found| {
                    format!(
                        "{}: processors {}, max_active_series {}\n",
                        found.tenant, found.processors, found.max_active_series
                    )
                });
                Ok(lines.collect())
            }
        }
    })
    .await
}

async fn explain(
    State(overrides): State<Overrides>,
    Path(tenant): Path<String>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Response {
    let tenant = match TenantId::parse(&tenant) {
        Ok(tenant) => tenant,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    answer(&query, &headers, &[""], move |format| {
        let settings = overrides.explain(&tenant)?;
        Ok(match format {
            Format::Json => json(&json!({"tenant": tenant.to_string(), "settings": settings})),
            Format::Text => settings.iter().map(line).collect(),
        })
    })
    .await
}

async fn runtime_config(
    State(overrides): State<Overrides>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Response {
    let is_difference = query.mode == "diff";
    answer(&query, &headers, &["", "all", "diff"], move |format| {
        let without = match is_difference {
            true => Some(overrides.document_without_runtime_file()?),
            false => None,
        };
        let shown = |document: Value| match &without {
            Some(without) => settings::differing(document, without).unwrap_or_else(|| json!({})),
            None => document,
        };
        let mut tenants = Map::new();
        tenants.insert("*".to_owned(), shown(overrides.document(None)?));
        for tenant in overrides.tenants() {
            let document = overrides.document(Some(&tenant))?;
            tenants.insert(tenant.to_string(), shown(document));
        }
        let file = json!({ "overrides": tenants });
        match format {
            Format::Json => Ok(json(&file)),
            Format::Text => settings::to_yaml(&file),
        }
    })
    .await
}

/// Answers in the format that is asked for; what is written may be megabytes.
async fn answer(
    query: &PageQuery,
    headers: &HeaderMap,
    modes: &[&str],
    write: impl FnOnce(Format) -> Result<String, Problems> + Send + 'static,
) -> Response {
    let Some(format) = format(query, headers) else {
        let message = "format is one of text, json\n";
        return (StatusCode::BAD_REQUEST, message).into_response();
    };
    if !modes.contains(&query.mode.as_str()) {
        let modes = match modes {
            [_] => "no mode here\n",
            _ => "mode is one of all, diff\n",
        };
        return (StatusCode::BAD_REQUEST, modes).into_response();
    }
    match spawn_blocking(move || write(format)).await {
        Ok(Ok(text)) => {
            let content_type = match format {
                Format::Text => "text/plain; charset=utf-8",
                Format::Json => "application/json",
            };
            ([(CONTENT_TYPE, content_type)], text).into_response()
        }
        Ok(Err(problems)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, problems.summary()).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn format(query: &PageQuery, headers: &HeaderMap) -> Option<Format> {
    match query.format.as_str() {
        "text" => Some(Format::Text),
        "json" => Some(Format::Json),
        "" => {
            let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let takes_json = accept.is_some_and(|accept| accept.contains("application/json"));
            Some(if takes_json {
                Format::Json
            } else {
                Format::Text
            })
        }
        _ => None,
    }
}

fn summary(tenant: &str, document: &Value) -> Summary {
    let of = |key: &str| {
        let value = document.pointer(&format!("/metrics_generator/{key}"));
        value.cloned().unwrap_or_default()
    };
    Summary {
        tenant: tenant.to_owned(),
        processors: of("processors"),
        max_active_series: of("max_active_series"),
    }
}

/// A setting, its value, and the layer that decides.
fn line(setting: &Explained) -> String {
    let Explained {
        path,
        value,
        layer,
        place,
    } = setting;
    match place {
        Some(place) => format!("{path}: {value}  # {layer}, {place}\n"),
        None => format!("{path}: {value}  # {layer}\n"),
    }
}

fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests;
