//! A survey says of a registry what counting by hand says, alone and merged.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use spanmill_registry::{
    DecodeSurveyError, FamilySurvey, KeyHasher, Limits, MAX_METRICS, Metric, MetricKind, Registry,
    Schema, Survey, TableId, Update, series_of,
};

type Labels = BTreeMap<String, String>;

fn registry(limits: Limits) -> (Registry, TableId) {
    let registry = Registry::new(limits, 1);
    let metric = |name: &str, kind| Metric {
        name: name.to_owned(),
        help: "help",
        unit: "",
        kind,
        sparse: false,
    };
    let bounds = vec![0.5, 1.0];
    let table = registry.add_table(Schema::new([
        metric("calls_total", MetricKind::Counter),
        metric("latency", MetricKind::ClassicHistogram { bounds }),
    ]));
    (registry, table)
}

fn push(registry: &Registry, table: &TableId, label_sets: &[Labels]) {
    let update = |labels: &Labels| {
        let mut values = [f64::NAN; MAX_METRICS];
        values[..2].fill(1.0);
        Update {
            key: KeyHasher::new().key(format!("{labels:?}").as_bytes()),
            weight: 1.0,
            spans: 1,
            is_sampled: false,
            order: 0,
            values,
            trace_id: [0; 16],
            timestamp_ms: 5,
        }
    };
    let updates: Vec<Update> = label_sets.iter().map(update).collect();
    registry.apply(table, &updates, 5, |index, buffer| {
        for (name, value) in &label_sets[index] {
            buffer.push(name, value);
        }
        Ok(())
    });
}

fn surveyed(label_sets: &[Labels], dropped: &[String]) -> Survey {
    let (registry, table) = registry(Limits::default());
    push(&registry, &table, label_sets);
    registry.survey(dropped)
}

/// The only family of a survey.
fn family(survey: &Survey) -> &FamilySurvey {
    assert_eq!(survey.families.len(), 1);
    survey.families.values().next().unwrap()
}

fn labels(pairs: &[(&str, String)]) -> Labels {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn few_labels() -> impl Strategy<Value = Vec<Labels>> {
    let labels = prop::collection::btree_map("[a-c]", "[v-z]{1,2}", 0..4);
    prop::collection::vec(labels, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// forall label sets: a survey counts them, each label and each value as by hand.
    #[test]
    fn survey_counts_as_by_hand(label_sets in few_labels()) {
        let dropped = ["a".to_owned()];
        let survey = surveyed(&label_sets, &dropped);
        let truth: BTreeSet<&Labels> = label_sets.iter().collect();
        let family = family(&survey);
        prop_assert_eq!(family.label_sets, truth.len() as u64);
        prop_assert_eq!(survey.series(), truth.len() as u64 * 6);
        let mut values: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for labels in &truth {
            for (name, value) in *labels {
                *values.entry(name).or_default().entry(value).or_default() += 1;
            }
        }
        prop_assert_eq!(family.labels.len(), values.len());
        for (name, counts) in values {
            let label = &family.labels[name];
            prop_assert_eq!(label.label_sets, counts.values().sum::<u64>());
            prop_assert_eq!(label.distinct_values(), counts.len() as u64);
            let found: BTreeMap<_, _> = label.top.top(usize::MAX).into_iter().collect();
            prop_assert_eq!(found, counts);
        }
        let without: BTreeSet<Labels> = truth
            .iter()
            .map(|labels| {
                let mut labels = (*labels).clone();
                labels.remove("a");
                labels
            })
            .collect();
        let estimate = family.label_sets_without(&dropped);
        let error = estimate.abs_diff(without.len() as u64);
        prop_assert!(error <= 2 + without.len() as u64 / 8, "{} of {}", estimate, without.len());
    }

    /// forall label sets on two nodes: the sketches merged are those of one registry
    /// that has all, and whatever both have is counted for each.
    #[test]
    fn merged_survey_is_that_of_all(one in few_labels(), other in few_labels()) {
        let dropped = ["b".to_owned()];
        let mut merged = surveyed(&one, &dropped);
        merged.merge(&surveyed(&other, &dropped)).unwrap();
        let all: Vec<Labels> = one.iter().chain(&other).cloned().collect();
        let union = surveyed(&all, &dropped);
        let (merged_family, union_family) = (family(&merged), family(&union));
        prop_assert_eq!(&merged_family.distinct, &union_family.distinct);
        prop_assert_eq!(&merged_family.without, &union_family.without);
        for (name, label) in &union_family.labels {
            prop_assert_eq!(&merged_family.labels[name].values, &label.values);
        }
        let one: BTreeSet<_> = one.iter().collect();
        if other.iter().all(|labels| !one.contains(labels)) {
            prop_assert_eq!(&merged.families, &union.families);
        }
        prop_assert_eq!(merged.nodes, 2);
    }

    /// forall surveys: what is read is what was written, and no part of it is taken
    /// for a whole one.
    #[test]
    fn encoded_survey_comes_back(label_sets in few_labels(), cut in 0_usize..400) {
        let survey = surveyed(&label_sets, &["a".to_owned()]);
        let bytes = survey.encode();
        prop_assert_eq!(&Survey::decode(&bytes).unwrap(), &survey);
        let part = &bytes[..cut.min(bytes.len() - 1)];
        prop_assert!(Survey::decode(part).is_err());
    }

    /// forall bytes: reading them as a survey ends.
    #[test]
    fn any_bytes_can_be_read_as_a_survey(mut bytes in prop::collection::vec(any::<u8>(), 1..200)) {
        bytes[0] = 1;
        let _ = Survey::decode(&bytes);
        bytes[0] = 2;
        let unknown = matches!(Survey::decode(&bytes), Err(DecodeSurveyError::Version { version: 2 }));
        prop_assert!(unknown);
    }
}

#[test]
fn many_values_are_estimated_and_the_frequent_ones_found() {
    let label_sets: Vec<Labels> = (0..20_000)
        .map(|number| {
            let route = if number % 4 == 0 { 0 } else { number };
            labels(&[
                ("route", format!("/r/{route}")),
                ("user", format!("u{}", number % 2_500)),
            ])
        })
        .collect();
    let dropped = ["route".to_owned()];
    let survey = surveyed(&label_sets, &dropped);
    let truth: BTreeSet<&Labels> = label_sets.iter().collect();
    let family = family(&survey);
    assert_eq!(family.label_sets, truth.len() as u64);
    let near = |estimate: u64, truth: u64| {
        let error = estimate.abs_diff(truth) as f64 / truth as f64;
        assert!(error < 0.1, "{estimate} for {truth}");
    };
    near(family.label_sets_without(&dropped), 2_500);
    near(family.distinct.estimate(), truth.len() as u64);
    near(family.labels["route"].distinct_values(), 15_001);
    let top = family.labels["route"].top.top(1);
    let routes = truth.iter().filter(|labels| labels["route"] == "/r/0");
    let zeros = routes.count() as u64;
    assert!(top[0].0 == "/r/0" && top[0].1 <= zeros, "{top:?}");
    assert!(zeros <= top[0].1 + family.labels["route"].top.error());
}

#[test]
fn label_that_no_series_has_saves_nothing() {
    let label_sets: Vec<Labels> = (0..3_000)
        .map(|number| labels(&[("user", number.to_string())]))
        .collect();
    let dropped = ["route".to_owned()];
    let survey = surveyed(&label_sets, &dropped);
    assert_eq!(family(&survey).label_sets_without(&dropped), 3_000);
}

#[test]
fn overflow_and_ended_label_sets_are_no_part_of_it_and_refused_ones_are_told() {
    let limits = Limits {
        max_active_entities: 10,
        ..Limits::default()
    };
    let (registry, table) = registry(limits);
    let label_sets: Vec<Labels> = (0..15)
        .map(|number| labels(&[("user", number.to_string())]))
        .collect();
    push(&registry, &table, &label_sets);
    let survey = registry.survey(&[]);
    assert_eq!(family(&survey).label_sets, 10);
    assert_eq!(family(&survey).refused, 5);
    assert_eq!(survey.series(), registry.stats().active.series);
    assert_eq!(registry.label_sets(&table), 10);
    registry.retire_table(&table);
    assert!(registry.survey(&[]).families.is_empty());
}

#[test]
fn family_beyond_its_labels_counts_the_rest() {
    let pairs: Labels = (0..300)
        .map(|number| (format!("l{number:03}"), "v".to_owned()))
        .collect();
    let mut survey = surveyed(std::slice::from_ref(&pairs), &[]);
    assert_eq!(family(&survey).labels.len(), 256);
    assert_eq!(family(&survey).other_labels, 44);
    survey.merge(&surveyed(&[pairs], &[])).unwrap();
    assert_eq!(family(&survey).other_labels, 88);
}

#[test]
fn surveys_without_different_labels_are_not_merged() {
    let mut survey = surveyed(&[labels(&[("a", "1".to_owned())])], &["a".to_owned()]);
    let before = survey.clone();
    let error = survey.merge(&surveyed(&[], &[])).unwrap_err();
    assert_eq!(error.one, ["a"]);
    assert_eq!(survey, before);
    let metrics = survey.families.keys().next().unwrap();
    assert_eq!(series_of(metrics), 6);
}
