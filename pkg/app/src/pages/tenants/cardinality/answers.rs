//! From surveys to answers.

use generator::{MetricSurvey, Survey, WouldAdd, series_of};
use model::TenantId;
use overrides::Processor;

use crate::tenants_api::{
    CardinalityAnswer, DropAnswer, DropFamily, EnableAnswer, FamilyAnswer, LabelAnswer,
    MetricAnswer, TrialAnswer, ValueAnswer,
};

/// Of HyperLogLog with 1,024 registers.
const STANDARD_ERROR: f64 = 0.0325;

/// What a tenant's series are made of.
pub(super) fn cardinality(tenant: &TenantId, survey: &Survey, limit: usize) -> CardinalityAnswer {
    let families = families(survey, limit);
    let all = families.iter().flat_map(|family| &family.metrics);
    let mut metrics: Vec<_> = all.cloned().collect();
    metrics.sort_by(|a, b| b.series.cmp(&a.series).then(a.name.cmp(&b.name)));
    metrics.truncate(limit);
    CardinalityAnswer {
        tenant: tenant.to_string(),
        series: survey.series(),
        nodes: survey.nodes,
        label_sets: families.iter().map(|family| family.label_sets).sum(),
        standard_error: STANDARD_ERROR,
        metrics,
        families,
        ..CardinalityAnswer::default()
    }
}

/// The families, those with the most series first.
fn families(survey: &Survey, limit: usize) -> Vec<FamilyAnswer> {
    let families = survey.families.iter().map(|(metrics, family)| {
        let per_label_set = series_of(metrics);
        let labels = family.labels.iter().map(|(name, label)| {
            let top = label.top.top(limit).into_iter();
            LabelAnswer {
                name: name.clone(),
                values: label.distinct_values(),
                series: label.label_sets * per_label_set,
                top: top
                    .map(|(value, label_sets)| ValueAnswer {
                        value: value.to_owned(),
                        series: label_sets * per_label_set,
                    })
                    .collect(),
                top_error: label.top.error() * per_label_set,
            }
        });
        let mut labels: Vec<_> = labels.collect();
        labels.sort_by(|a, b| b.values.cmp(&a.values).then(a.name.cmp(&b.name)));
        labels.truncate(limit);
        FamilyAnswer {
            metrics: described(metrics, family.label_sets),
            label_sets: family.label_sets,
            series: family.label_sets * per_label_set,
            refused_label_sets: family.refused,
            labels,
        }
    });
    let mut families: Vec<_> = families.collect();
    families.sort_by_key(|family| std::cmp::Reverse(family.series));
    families
}

fn described(metrics: &[MetricSurvey], label_sets: u64) -> Vec<MetricAnswer> {
    let metrics = metrics.iter().map(|metric| MetricAnswer {
        name: metric.name.clone(),
        series: metric.series * label_sets,
        series_per_label_set: metric.series,
    });
    metrics.collect()
}

/// What there would be without the labels that the survey leaves out.
pub(super) fn without(survey: &Survey) -> DropAnswer {
    let dropped = &survey.dropped;
    let mut answer = DropAnswer {
        labels: dropped.clone(),
        unknown_labels: dropped.clone(),
        ..DropAnswer::default()
    };
    for (metrics, family) in &survey.families {
        let label_sets_without = family.label_sets_without(dropped);
        answer.series += family.label_sets * series_of(metrics);
        answer.series_without += label_sets_without * series_of(metrics);
        let is_known = |name: &String| family.labels.contains_key(name);
        if dropped.iter().any(is_known) {
            let names = metrics.iter().map(|metric| metric.name.clone());
            answer.families.push(DropFamily {
                metrics: names.collect(),
                label_sets: family.label_sets,
                label_sets_without,
            });
        }
        answer.unknown_labels.retain(|name| !is_known(name));
    }
    answer
}

/// What a processor would add, where that follows from what there is.
pub(in crate::pages::tenants) fn known(processor: Processor, known: &WouldAdd) -> EnableAnswer {
    let series = known.label_sets * series_of(&known.metrics);
    EnableAnswer {
        processor: processor.to_string(),
        series,
        label_sets: known.label_sets,
        known: true,
        trial: None,
        families: vec![FamilyAnswer {
            metrics: described(&known.metrics, known.label_sets),
            label_sets: known.label_sets,
            series,
            ..FamilyAnswer::default()
        }],
    }
}

/// What a processor has made of the spans of a trial.
pub(in crate::pages::tenants) fn tried(
    processor: Processor,
    survey: &Survey,
    trial: TrialAnswer,
    limit: usize,
) -> EnableAnswer {
    let mut answer = EnableAnswer {
        processor: processor.to_string(),
        trial: Some(trial),
        families: families(survey, limit),
        ..EnableAnswer::default()
    };
    for (metrics, family) in &survey.families {
        let label_sets = family.label_sets + family.refused;
        answer.label_sets += label_sets;
        answer.series += label_sets * series_of(metrics);
    }
    answer
}
