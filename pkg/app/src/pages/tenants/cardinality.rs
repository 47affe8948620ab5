//! What a tenant's series are made of, and what they would be.

pub(super) mod answers;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use generator::Survey;
use model::TenantId;
use overrides::Processor;
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::trial::TrialQuestion;
use super::{Scope, Tenants, refuse, unknown};
use crate::tenants_api::MissingNode;

/// Metrics, labels of a family and values of a label unless more are asked for.
const LIMIT: usize = 20;
/// The same at most: as many values as sketches keep.
const MAX_LIMIT: usize = 256;

/// How long a processor is tried unless it is asked for.
const TRIAL: Duration = Duration::from_secs(30);
/// The same at most.
const MAX_TRIAL: Duration = Duration::from_secs(300);

/// The query of the page.
#[derive(Debug, Deserialize)]
pub(super) struct CardinalityQuery {
    limit: Option<usize>,
    /// Labels, with commas between.
    #[serde(default)]
    drop: String,
    /// A processor.
    #[serde(default)]
    enable: String,
    /// For how long to try it.
    #[serde(default, rename = "for")]
    duration: String,
    #[serde(default)]
    sketches: bool,
    #[serde(default)]
    scope: Scope,
}

pub(super) async fn page(
    State(tenants): State<Tenants>,
    Path(tenant): Path<String>,
    Query(query): Query<CardinalityQuery>,
) -> Response {
    let tenant = match TenantId::parse(&tenant) {
        Ok(tenant) => tenant,
        Err(error) => return refuse(&error.to_string()),
    };
    let duration = match query.duration.as_str() {
        "" => TRIAL,
        text => match settings::duration::parse(text) {
            Ok(duration) if !duration.is_zero() && duration <= MAX_TRIAL => duration,
            Ok(_) => return refuse("for is between 1ms and 5m"),
            Err(error) => return refuse(&format!("for: {error}")),
        },
    };
    let limit = query.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    let cluster = tenants.cluster_of(query.scope);
    let mut missing = Vec::new();
    let enable = match query.enable.as_str() {
        "" => None,
        name => {
            let mut processors = Processor::ALL.into_iter();
            let Some(processor) = processors.find(|processor| processor.name() == name) else {
                let names = Processor::ALL.map(Processor::name).join(", ");
                return refuse(&format!("enable is one of {names}"));
            };
            let question = TrialQuestion::new(&tenant, processor, duration);
            let added = tenants.would_add(cluster.as_ref(), &question, limit);
            let (added, without) = added.await;
            missing = without;
            match added {
                Ok(answer) => Some(answer),
                Err(refusal) => return refusal.into_response(),
            }
        }
    };
    let names = query.drop.split(',').map(str::trim);
    let dropped: Vec<_> = names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let (survey, without) = match cluster {
        Some(cluster) => tenants.survey_everywhere(&cluster, &tenant, &dropped).await,
        None => (tenants.survey(&tenant, &dropped).await, Vec::new()),
    };
    MissingNode::add(&mut missing, without);
    let Some(survey) = survey else {
        return unknown();
    };
    let answered = spawn_blocking(move || {
        let mut answer = answers::cardinality(&tenant, &survey, limit);
        answer.drop = (!dropped.is_empty()).then(|| answers::without(&survey));
        answer.enable = enable;
        answer.sketches = query.sketches.then(|| STANDARD.encode(survey.encode()));
        answer.missing = missing;
        Json(answer).into_response()
    });
    match answered.await {
        Ok(answer) => answer,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Tenants {
    /// What the series of a tenant are made of on this node; `None` if it has none.
    ///
    /// Waits for other surveys; what it then does is some milliseconds of work for most.
    pub(super) async fn survey(&self, tenant: &TenantId, dropped: &[String]) -> Option<Survey> {
        let generator = self.generator.clone()?;
        let permit = Arc::clone(&self.surveys).acquire_owned().await.ok()?;
        let (tenant, dropped) = (tenant.clone(), dropped.to_vec());
        let surveyed = spawn_blocking(move || {
            // It goes on without its client.
            let _permit = permit;
            generator.survey(&tenant, &dropped)
        });
        // It ends without an answer only by a panic, which is logged.
        surveyed.await.ok().flatten()
    }
}
