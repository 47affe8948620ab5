//! What a processor would add, on all generators of a cluster at the same time.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use generator::{MetricSurvey, Survey, Trial, WhatIf, WhatIfError, WouldAdd};
use model::TenantId;
use overrides::Processor;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::cardinality::answers;
use super::everywhere::add;
use super::{Tenants, UNKNOWN};
use crate::cluster::{Asked, Cluster};
use crate::node_calls::NodeCall;
use crate::tenants_api::{EnableAnswer, MissingNode, TrialAnswer};

/// How long another node may take beside what it tries for.
const WITHIN: Duration = Duration::from_secs(10);

/// Asks what a processor would add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrialQuestion {
    tenant: String,
    processor: Processor,
    /// For how long it is tried, if need be, in milliseconds.
    for_ms: u64,
}

/// What a node says of a processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Found {
    /// It follows from the series that there are.
    Known {
        label_sets: u64,
        /// Names, and series of one label set.
        metrics: Vec<(String, u64)>,
    },
    /// It was tried.
    Tried {
        trial: TrialAnswer,
        /// Of its series, in base64.
        survey: String,
    },
    /// It was not.
    Refused(Refusal),
}

/// Why there is no answer on a processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// An HTTP status.
    status: u16,
    why: String,
}

/// What nodes have found, summed up.
#[derive(Debug, Default)]
struct Sum {
    known: Vec<WouldAdd>,
    trial: Option<TrialAnswer>,
    survey: Option<Survey>,
    /// What the first said that has the tenant and refused.
    refusal: Option<Refusal>,
    missing: Vec<MissingNode>,
}

impl TrialQuestion {
    /// What a processor would add for a tenant, tried for so long if need be.
    pub(super) fn new(tenant: &TenantId, processor: Processor, duration: Duration) -> Self {
        Self {
            tenant: tenant.to_string(),
            processor,
            for_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn duration(&self) -> Duration {
        Duration::from_millis(self.for_ms)
    }
}

impl Tenants {
    /// Answers another node's [`NodeCall::Trial`]. Cancel-safe: a trial ends with it.
    pub(crate) async fn tried(&self, question: TrialQuestion) -> Found {
        let found = self.try_here(&question).await;
        found.unwrap_or_else(Found::Refused)
    }

    /// What a processor would add on this node, or on all of a cluster. Cancel-safe: trials
    /// end with it.
    pub(super) async fn would_add(
        &self,
        cluster: Option<&Cluster>,
        question: &TrialQuestion,
        limit: usize,
    ) -> (Result<EnableAnswer, Refusal>, Vec<MissingNode>) {
        let found = match cluster {
            Some(cluster) => self.try_everywhere(cluster, question).await,
            None => vec![Asked {
                node: "".into(),
                answer: Ok(self.tried(question.clone()).await),
            }],
        };
        let processor = question.processor;
        let summed = spawn_blocking(move || Sum::of(found).finish(processor, limit));
        // It ends without an answer only by a panic, which is logged.
        let panicked = |_| (Err(Refusal::panicked()), Vec::new());
        summed.await.unwrap_or_else(panicked)
    }

    async fn try_everywhere(
        &self,
        cluster: &Cluster,
        question: &TrialQuestion,
    ) -> Vec<Asked<Found>> {
        let mut others = cluster.others();
        others.retain(|other| other.role.generates());
        let within = question.duration().saturating_add(WITHIN);
        let theirs = cluster.ask_all(&others, NodeCall::Trial, question, within);
        if self.generator.is_none() {
            return theirs.await;
        }
        let (ours, mut theirs) = tokio::join!(self.tried(question.clone()), theirs);
        theirs.insert(
            0,
            Asked {
                node: cluster.ring.identity().id.clone(),
                answer: Ok(ours),
            },
        );
        theirs
    }

    async fn try_here(&self, question: &TrialQuestion) -> Result<Found, Refusal> {
        let Ok(_permit) = self.trials.try_acquire() else {
            return Err(Refusal::too_many());
        };
        let generator = self.generator.as_ref().ok_or_else(Refusal::no_generator)?;
        let tenant = TenantId::parse(&question.tenant);
        let tenant =
            tenant.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        match generator.what_if(&tenant, question.processor)? {
            WhatIf::Known(WouldAdd {
                metrics,
                label_sets,
            }) => {
                let metrics = metrics.into_iter();
                Ok(Found::Known {
                    label_sets,
                    metrics: metrics.map(|metric| (metric.name, metric.series)).collect(),
                })
            }
            WhatIf::Trial(trial) => finish(trial, question.duration()).await,
        }
    }
}

async fn finish(trial: Trial, duration: Duration) -> Result<Found, Refusal> {
    sleep(duration / 2).await;
    let half = trial.so_far();
    sleep(duration / 2).await;
    let tried = spawn_blocking(move || {
        let tried = trial.finish();
        Found::Tried {
            trial: TrialAnswer {
                seconds: duration.as_secs_f64(),
                spans: tried.spans,
                series_at_half_time: half.series,
                waiting_spans: tried.waiting_spans,
            },
            survey: STANDARD.encode(tried.survey.encode()),
        }
    });
    tried.await.map_err(|_| Refusal::panicked())
}

impl Sum {
    /// Of what nodes have found. Some milliseconds of work.
    fn of(found: Vec<Asked<Found>>) -> Self {
        let mut sum = Self::default();
        for Asked { node, answer } in found {
            if let Err(why) = answer.and_then(|found| sum.add(found)) {
                let node = node.to_string();
                sum.missing.push(MissingNode { node, why });
            }
        }
        sum
    }

    fn add(&mut self, found: Found) -> Result<(), String> {
        match found {
            Found::Known {
                label_sets,
                metrics,
            } => {
                let metrics = metrics.into_iter();
                let metrics = metrics.map(|(name, series)| MetricSurvey { name, series });
                let metrics: Vec<_> = metrics.collect();
                let mut known = self.known.iter_mut();
                match known.find(|known| known.metrics == metrics) {
                    Some(known) => known.label_sets += label_sets,
                    None => self.known.push(WouldAdd {
                        metrics,
                        label_sets,
                    }),
                }
            }
            Found::Tried { trial, survey } => {
                add(&mut self.survey, &survey)?;
                let sum = self.trial.get_or_insert_default();
                sum.seconds = sum.seconds.max(trial.seconds);
                sum.spans += trial.spans;
                sum.series_at_half_time += trial.series_at_half_time;
                sum.waiting_spans += trial.waiting_spans;
            }
            // It has nothing of the tenant that could be missing.
            Found::Refused(Refusal { status: 404, .. }) => {}
            Found::Refused(refusal) => {
                let why = refusal.why.clone();
                self.refusal.get_or_insert(refusal);
                return Err(why);
            }
        }
        Ok(())
    }

    /// The answer, and the nodes that are not in it.
    fn finish(
        self,
        processor: Processor,
        limit: usize,
    ) -> (Result<EnableAnswer, Refusal>, Vec<MissingNode>) {
        let mut answer = match (self.trial, &self.survey) {
            (Some(trial), Some(survey)) => answers::tried(processor, survey, trial, limit),
            _ if self.known.is_empty() => {
                let refusal = self.refusal.unwrap_or_else(Refusal::unknown);
                return (Err(refusal), self.missing);
            }
            _ => EnableAnswer {
                processor: processor.to_string(),
                known: true,
                ..EnableAnswer::default()
            },
        };
        for known in &self.known {
            let known = answers::known(processor, known);
            answer.series += known.series;
            answer.label_sets += known.label_sets;
            answer.families.extend(known.families);
        }
        (Ok(answer), self.missing)
    }
}

impl Refusal {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            why: why.into(),
        }
    }

    fn unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, UNKNOWN)
    }

    fn too_many() -> Self {
        let why = "too many processors are being tried; ask again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    fn no_generator() -> Self {
        let why = "a processor is tried where series are made: ask a generator, or the cluster";
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    fn panicked() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the trial has failed")
    }
}

impl From<WhatIfError> for Refusal {
    fn from(error: WhatIfError) -> Self {
        let status = match error {
            WhatIfError::UnknownTenant => return Self::unknown(),
            WhatIfError::On { .. } | WhatIfError::Unavailable { .. } => StatusCode::BAD_REQUEST,
            WhatIfError::Busy => StatusCode::CONFLICT,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, format!("{}\n", self.why)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(node: &str, answer: Result<Found, &str>) -> Asked<Found> {
        Asked {
            node: node.into(),
            answer: answer.map_err(str::to_owned),
        }
    }

    fn known(label_sets: u64) -> Found {
        Found::Known {
            label_sets,
            metrics: vec![("a_total".to_owned(), 1), ("a_seconds".to_owned(), 4)],
        }
    }

    fn tried(spans: u64) -> Found {
        let survey = Survey {
            nodes: 1,
            ..Survey::default()
        };
        Found::Tried {
            trial: TrialAnswer {
                seconds: 0.5,
                spans,
                series_at_half_time: 2 * spans,
                waiting_spans: 3,
            },
            survey: STANDARD.encode(survey.encode()),
        }
    }

    fn refused(status: StatusCode, why: &str) -> Found {
        Found::Refused(Refusal::new(status, why))
    }

    #[test]
    fn nodes_are_summed_up_and_those_that_are_not_in_it_are_named() {
        let found = vec![
            asked("g1", Ok(known(2))),
            asked("g2", Ok(known(3))),
            asked("g3", Err("it is silent")),
            asked("g4", Ok(refused(StatusCode::CONFLICT, "busy"))),
            asked("g5", Ok(Found::Refused(Refusal::unknown()))),
            asked("g6", Ok(tried(5))),
            asked("g7", Ok(tried(6))),
        ];
        let (answer, missing) = Sum::of(found).finish(Processor::HostInfo, 20);
        let answer = answer.unwrap();
        assert_eq!((answer.label_sets, answer.series), (5, 25));
        assert!(!answer.known);
        let trial = TrialAnswer {
            seconds: 0.5,
            spans: 11,
            series_at_half_time: 22,
            waiting_spans: 6,
        };
        assert_eq!(answer.trial, Some(trial));
        let missing: Vec<_> = missing.into_iter().map(|one| (one.node, one.why)).collect();
        let named = |node: &str, why: &str| (node.to_owned(), why.to_owned());
        assert_eq!(missing, [named("g3", "it is silent"), named("g4", "busy")]);
    }

    #[test]
    fn where_nobody_found_anything_the_first_refusal_is_the_answer() {
        let on = refused(StatusCode::BAD_REQUEST, "it is on");
        for (found, want) in [
            (vec![], 404),
            (
                vec![asked("g1", Ok(Found::Refused(Refusal::unknown())))],
                404,
            ),
            (
                vec![asked("g1", Ok(on.clone())), asked("g2", Err("silent"))],
                400,
            ),
        ] {
            let (answer, _) = Sum::of(found).finish(Processor::HostInfo, 20);
            assert_eq!(answer.unwrap_err().status, want);
        }
    }
}
