//! The pages that tell operators how the process is.

use std::fmt::Write;
use std::sync::Arc;

use ::overrides::Overrides;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use server::gzip;
use settings::Problems;
use telemetry::{METRICS_CONTENT_TYPE, MetricsRegistry, encode_metrics_with};

use self::tenants::Tenants;
use crate::config::AppConfig;
use crate::readiness::{Readiness, Stage};
use crate::{tempo_names, version};

pub(crate) mod deletion;
pub(crate) mod not_offered;
mod overrides;
pub(crate) mod overrides_api;
pub(crate) mod prepare_downscale;
pub(crate) mod ring;
pub(crate) mod tenants;

/// What the pages show.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    pub(crate) readiness: Readiness,
    pub(crate) registry: Arc<MetricsRegistry>,
    /// Whether they are there under Tempo's names, too.
    pub(crate) has_tempo_names: bool,
    pub(crate) config: Arc<ShownConfig>,
    pub(crate) overrides: Overrides,
    /// The parts of this process.
    pub(crate) services: &'static [&'static str],
    /// What is shown of all tenants; `None` where clients of one look.
    pub(crate) tenants: Option<Tenants>,
}

/// Settings as YAML, without secrets.
#[derive(Debug)]
pub(crate) struct ShownConfig {
    in_force: String,
    defaults: String,
    difference: String,
}

/// The query of `/status/config`.
#[derive(Debug, Deserialize)]
struct ConfigQuery {
    /// Which settings to show.
    #[serde(default)]
    mode: String,
}

/// What it lists besides, where all tenants are shown.
const TENANTS_LINK: (&str, &str) = (
    "/api/v1/tenants",
    "what each tenant has and sends; /api/v1/tenants/{tenant}/cardinality has what its series are made of",
);

/// What `/status` lists: path, and what is there.
const LINKS: [(&str, &str); 10] = [
    ("/ready", "whether this process takes work"),
    ("/metrics", "metrics about spanmill itself"),
    ("/status/config", "settings in force"),
    (
        "/status/config?mode=diff",
        "settings that differ from their defaults",
    ),
    ("/status/config?mode=defaults", "defaults"),
    (
        "/status/overrides",
        "tenants with settings of their own; /status/overrides/{tenant} has each value with its layer",
    ),
    ("/status/runtime_config", "settings of tenants in force"),
    (
        "/status/runtime_config?mode=diff",
        "what the runtime file changes of them",
    ),
    ("/status/services", "parts of this process and their state"),
    ("/status/version", "version and commit"),
];

impl ShownConfig {
    /// Writes the settings down.
    ///
    /// # Errors
    ///
    /// Where something cannot be written as YAML.
    pub(crate) fn new(config: &AppConfig) -> Result<Self, Problems> {
        Ok(Self {
            in_force: config.to_yaml()?,
            defaults: AppConfig::default().to_yaml()?,
            difference: config.difference_to_yaml()?,
        })
    }
}

impl Pages {
    /// The pages as routes; all of them only read.
    pub(crate) fn routes(self) -> Router {
        Router::new()
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .route("/status", get(index))
            .route("/status/config", get(config))
            .route("/status/services", get(services))
            .route("/status/version", get(version_line))
            .with_state(self.clone())
            .merge(overrides::routes(self.overrides))
            .merge(self.tenants.map(Tenants::routes).unwrap_or_default())
    }
}

async fn ready(State(pages): State<Pages>) -> impl IntoResponse {
    match pages.readiness.stage() {
        Stage::Running => (StatusCode::OK, "ready\n".to_owned()),
        stage @ (Stage::Starting | Stage::Stopping) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{stage}\n"))
        }
    }
}

async fn metrics(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    // Thousands of tenants make megabytes of it.
    let write = move || {
        encode_metrics_with(&pages.registry, |text| {
            if pages.has_tempo_names {
                tempo_names::append(text, &pages.overrides);
            }
        })
    };
    gzip::text_page(&headers, METRICS_CONTENT_TYPE, write).await
}

async fn index(State(pages): State<Pages>) -> Html<String> {
    let mut page = String::from("<!doctype html>\n<title>spanmill</title>\n<ul>\n");
    let tenants = pages.tenants.map(|_| TENANTS_LINK);
    for (path, what) in LINKS.into_iter().chain(tenants) {
        // Writing to a string does not fail.
        let _ = writeln!(page, "<li><a href=\"{path}\">{path}</a> {what}</li>");
    }
    page.push_str("</ul>\n");
    Html(page)
}

async fn config(State(pages): State<Pages>, Query(query): Query<ConfigQuery>) -> Response {
    let text = match query.mode.as_str() {
        "" => &pages.config.in_force,
        "defaults" => &pages.config.defaults,
        "diff" => &pages.config.difference,
        _ => {
            let message = "mode is one of defaults, diff\n";
            return (StatusCode::BAD_REQUEST, message).into_response();
        }
    };
    let content_type = [(CONTENT_TYPE, "text/yaml; charset=utf-8")];
    (content_type, text.clone()).into_response()
}

async fn services(State(pages): State<Pages>) -> String {
    let stage = pages.readiness.stage();
    let mut text = String::new();
    for service in pages.services {
        let _ = writeln!(text, "{service}: {stage}");
    }
    text
}

async fn version_line() -> String {
    version::describe() + "\n"
}

#[cfg(test)]
mod tests;
