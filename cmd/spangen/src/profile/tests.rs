use std::collections::{HashMap, HashSet};

use rand::SeedableRng;

use super::*;
use crate::template::Template;
use crate::template::tests::{decoded, otlp};

/// All requests that it takes to see every label set, as templates.
fn requests(profile: &mut Reference) -> Vec<Template> {
    let mut random = StdRng::seed_from_u64(7);
    let count = profile.traces_to_see_all().div_ceil(TRACES_PER_REQUEST);
    (0..count)
        .map(|_| {
            let traces: Vec<_> = (0..TRACES_PER_REQUEST)
                .map(|_| profile.trace(&mut random))
                .collect();
            Template::encode(&traces, profile.resources(), |_| true)
        })
        .collect()
}

fn label_sets(request: &otlp::Request) -> impl Iterator<Item = (String, String, i32, bool)> {
    request.spans().map(|(service, span)| {
        let failed = span.status.is_some();
        (service, span.name.clone(), span.kind, failed)
    })
}

#[test]
fn spans_have_the_size_and_the_attributes_of_the_reference() {
    let mut profile = Reference::new(SERIES);
    let templates = requests(&mut profile);
    let bytes: usize = templates.iter().map(Template::length).sum();
    let spans: u64 = templates.iter().map(Template::spans).sum();
    let mean = bytes as f64 / spans as f64;
    assert!((598.5..661.5).contains(&mean), "{mean} bytes a span");

    let mut resources = 0;
    for template in &templates {
        assert_eq!(template.spans(), 315);
        let request = decoded(template, 1, Churn::default());
        resources += request.resource_spans.len();
        for group in &request.resource_spans {
            let resource = group.resource.as_ref().unwrap();
            assert_eq!(resource.attributes.len(), 11);
        }
        for (_, span) in request.spans() {
            assert_eq!(span.attributes.len(), 13, "{}", span.name);
        }
    }
    let mean = resources as f64 / templates.len() as f64;
    assert!((57.0..=60.0).contains(&mean), "{mean} resources a request");
}

#[test]
fn label_sets_are_as_many_as_the_series_need() {
    for (series, want) in [
        (SERIES, 2_740),
        (100_000, 5_263),
        (1_000_000, 52_631),
        (1_000, 52),
        (0, 6),
    ] {
        let mut profile = Reference::new(series);
        let mut seen = HashSet::new();
        for template in requests(&mut profile) {
            seen.extend(label_sets(&decoded(&template, 1, Churn::default())));
        }
        assert_eq!(seen.len(), want, "{series} series");
    }
}

#[test]
fn one_percent_of_the_label_sets_is_replaced_in_a_minute() {
    let mut profile = Reference::new(SERIES);
    let templates = requests(&mut profile);
    let at = |profile: &Reference, minutes: u64| -> HashSet<_> {
        let churn = profile.churn(1.0, Duration::from_secs(60 * minutes));
        let sets = templates
            .iter()
            .flat_map(|template| label_sets(&decoded(template, 1, churn)).collect::<Vec<_>>());
        sets.collect()
    };
    let (first, second) = (at(&profile, 10), at(&profile, 11));
    assert_eq!((first.len(), second.len()), (2_740, 2_740));
    let replaced = second.difference(&first).count();
    assert!((26..=29).contains(&replaced), "{replaced}");
}

#[test]
fn children_lie_within_their_parents_and_calls_are_pairs() {
    let mut profile = Reference::new(SERIES);
    let mut random = StdRng::seed_from_u64(1);
    let mut edges = HashMap::new();
    for _ in 0..600 {
        let trace = profile.trace(&mut random);
        assert_eq!(trace.len(), SPANS_PER_TRACE);
        for span in &trace {
            let Some(parent) = span.parent.and_then(|parent| trace.get(parent)) else {
                continue;
            };
            assert!(parent.start <= span.start && span.end <= parent.end);
            let same = parent.resource == span.resource;
            match (parent.kind, span.kind) {
                (Kind::Client, Kind::Server) => {
                    assert!(!same);
                    *edges.entry((parent.resource, span.resource)).or_insert(0) += 1;
                }
                (Kind::Server, Kind::Client | Kind::Internal) => assert!(same),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(edges.len(), 600);
}
