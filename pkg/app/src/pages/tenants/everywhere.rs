//! The pages on tenants where there is a cluster: what all nodes have, summed up by the one
//! that is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use generator::Survey;
use model::TenantId;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::order::{After, Sort, in_order};
use super::sum::Sum;
use super::{Tenants, paged};
use crate::cluster::{Asked, Cluster};
use crate::node_calls::NodeCall;
use crate::tenants_api::{MissingNode, TenantAnswer, TenantsAnswer};

/// How long another node may take for a part of a page.
const WITHIN: Duration = Duration::from_secs(10);

/// How long it may take to look at all label sets of a tenant: three seconds a million.
const SURVEY: Duration = Duration::from_secs(30);

/// Asks by what each tenant is where it is in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StandingsQuestion {
    /// What the list is sorted by.
    sort: String,
}

/// Asks what the series of a tenant are made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SurveyQuestion {
    tenant: String,
    dropped: Vec<String>,
}

/// What one node has of a tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Described {
    pub(super) answer: TenantAnswer,
    /// Whether it makes series of it, so that its limits count.
    pub(super) has_series: bool,
}

/// Keys by tenant, as nodes send them.
type Standings = BTreeMap<String, u64>;

impl Tenants {
    /// Answers another node's [`NodeCall::Standings`].
    pub(crate) async fn standings(&self, question: StandingsQuestion) -> Standings {
        let tenants = self.clone();
        let keys = spawn_blocking(move || {
            let sort = Sort::parse(&question.sort).unwrap_or(Sort::Name);
            sort.keys(&tenants)
        });
        // It ends without an answer only by a panic, which is logged.
        let keys = keys.await.unwrap_or_default().into_iter();
        keys.map(|(tenant, key)| (tenant.to_string(), key))
            .collect()
    }

    /// Answers another node's [`NodeCall::Tenants`].
    pub(crate) async fn described(&self, names: Vec<String>) -> Vec<Described> {
        let tenants = self.clone();
        let described = spawn_blocking(move || {
            let ids = names.iter().filter_map(|name| TenantId::parse(name).ok());
            let described = ids.filter_map(|id| {
                Some(Described {
                    answer: tenants.describe(&id)?,
                    has_series: tenants.has_series(&id),
                })
            });
            described.collect()
        });
        described.await.unwrap_or_default()
    }

    /// Answers another node's [`NodeCall::Survey`]; in base64.
    pub(crate) async fn surveyed(&self, question: SurveyQuestion) -> Option<String> {
        let tenant = TenantId::parse(&question.tenant).ok()?;
        let survey = self.survey(&tenant, &question.dropped).await?;
        // Megabytes of it may be.
        let encoded = spawn_blocking(move || STANDARD.encode(survey.encode()));
        encoded.await.ok()
    }

    /// A page of the list.
    pub(super) async fn list_everywhere(
        &self,
        cluster: &Cluster,
        sort: Sort,
        after: &After,
        limit: usize,
    ) -> TenantsAnswer {
        let others = cluster.others();
        let question = StandingsQuestion {
            sort: sort.name().to_owned(),
        };
        let theirs = cluster.ask_all(&others, NodeCall::Standings, &question, WITHIN);
        let (ours, theirs) = tokio::join!(self.standings(question.clone()), theirs);
        let mut missing = Vec::new();
        let mut keys: BTreeMap<TenantId, u64> = BTreeMap::new();
        for standings in answered(theirs, &mut missing).into_iter().chain([ours]) {
            for (tenant, key) in standings {
                if let Ok(tenant) = TenantId::parse(&tenant) {
                    let sum = keys.entry(tenant).or_default();
                    *sum = sort.both(*sum, key);
                }
            }
        }
        let (mut answer, page) = paged(in_order(keys), after, limit);
        let names: Vec<_> = page.iter().map(|place| place.tenant.to_string()).collect();
        let (mut described, more_missing) = self.describe_all(cluster, &names).await;
        answer.tenants = names
            .iter()
            .filter_map(|name| described.remove(name))
            .collect();
        MissingNode::add(&mut missing, more_missing);
        answer.missing = missing;
        answer
    }

    /// All that the cluster knows of a tenant; `None` if that is nothing.
    pub(super) async fn describe_everywhere(
        &self,
        cluster: &Cluster,
        tenant: &TenantId,
    ) -> Option<TenantAnswer> {
        let name = tenant.to_string();
        let (mut described, missing) = self
            .describe_all(cluster, std::slice::from_ref(&name))
            .await;
        let mut answer = described.remove(&name)?;
        answer.missing = missing;
        Some(answer)
    }

    async fn describe_all(
        &self,
        cluster: &Cluster,
        names: &[String],
    ) -> (BTreeMap<String, TenantAnswer>, Vec<MissingNode>) {
        let others = cluster.others();
        let theirs = cluster.ask_all(&others, NodeCall::Tenants, &names, WITHIN);
        let (ours, theirs) = tokio::join!(self.described(names.to_vec()), theirs);
        let ours = Asked {
            node: cluster.ring.identity().id.clone(),
            answer: Ok(ours),
        };
        let mut missing = Vec::new();
        let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
        for Asked { node, answer } in theirs.into_iter().chain([ours]) {
            match answer {
                Ok(described) => {
                    for part in described {
                        let name = part.answer.tenant.clone();
                        sums.entry(name).or_default().add(&node, part);
                    }
                }
                Err(why) => missing.push(MissingNode {
                    node: node.to_string(),
                    why,
                }),
            }
        }
        let sums = sums.into_iter();
        let answers = sums.map(|(name, sum)| (name, sum.finish()));
        (answers.collect(), missing)
    }

    /// What the series of a tenant are made of on all nodes; `None` if there are none.
    pub(super) async fn survey_everywhere(
        &self,
        cluster: &Cluster,
        tenant: &TenantId,
        dropped: &[String],
    ) -> (Option<Survey>, Vec<MissingNode>) {
        let question = SurveyQuestion {
            tenant: tenant.to_string(),
            dropped: dropped.to_vec(),
        };
        let mut others = cluster.others();
        others.retain(|other| other.role.generates());
        let theirs = cluster.ask_all(&others, NodeCall::Survey, &question, SURVEY);
        let (ours, theirs) = tokio::join!(self.survey(tenant, dropped), theirs);
        let summed = spawn_blocking(move || sum_of(ours, theirs));
        // It ends without an answer only by a panic, which is logged.
        summed.await.unwrap_or_default()
    }
}

/// The surveys of all nodes as one.
fn sum_of(
    ours: Option<Survey>,
    theirs: Vec<Asked<Option<String>>>,
) -> (Option<Survey>, Vec<MissingNode>) {
    let (mut sum, mut missing) = (ours, Vec::new());
    for Asked { node, answer } in theirs {
        let added = answer.and_then(|survey| match survey {
            Some(survey) => add(&mut sum, &survey),
            None => Ok(()),
        });
        if let Err(why) = added {
            missing.push(MissingNode {
                node: node.to_string(),
                why,
            });
        }
    }
    (sum, missing)
}

/// Adds the survey of another node.
pub(super) fn add(sum: &mut Option<Survey>, survey: &str) -> Result<(), String> {
    let bytes = STANDARD.decode(survey).map_err(|error| error.to_string())?;
    let survey = Survey::decode(&bytes).map_err(|error| error.to_string())?;
    match sum {
        Some(sum) => sum.merge(&survey).map_err(|error| error.to_string()),
        None => {
            *sum = Some(survey);
            Ok(())
        }
    }
}

/// What nodes answered; those that did not are noted.
fn answered<T>(asked: Vec<Asked<T>>, missing: &mut Vec<MissingNode>) -> Vec<T> {
    let answers = asked.into_iter().filter_map(|asked| match asked.answer {
        Ok(answer) => Some(answer),
        Err(why) => {
            missing.push(MissingNode {
                node: asked.node.to_string(),
                why,
            });
            None
        }
    });
    answers.collect()
}
