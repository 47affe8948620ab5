use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;

use super::*;
use crate::trace::{Kind, Value};

fn text<'a>(attributes: &'a crate::trace::Attributes, key: &str) -> Option<&'a Value> {
    attributes.iter().find(|(k, _)| *k == key).map(|(_, v)| v)
}

fn shop_traces(count: usize) -> (Topology, Vec<Trace>) {
    let topology = Topology::parse(WEB_SHOP).unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let traces = (0..count).map(|_| topology.trace(&mut random)).collect();
    (topology, traces)
}

#[test]
fn children_lie_within_their_parents_except_consumers() {
    let (_, traces) = shop_traces(500);
    for trace in &traces {
        for span in trace {
            assert!(span.start < span.end, "{span:?}");
            let Some(parent) = span.parent.and_then(|parent| trace.get(parent)) else {
                continue;
            };
            match span.kind {
                Kind::Consumer => assert!(span.start >= parent.end, "{span:?}"),
                _ => assert!(
                    parent.start <= span.start && span.end <= parent.end,
                    "{span:?}"
                ),
            }
        }
    }
}

#[test]
fn calls_are_client_and_server_pairs() {
    let (topology, traces) = shop_traces(500);
    let mut pairs = BTreeSet::new();
    for trace in &traces {
        for span in trace {
            let parent = span.parent.and_then(|parent| trace.get(parent));
            let parent = parent.map(|parent| (parent.kind, parent.resource == span.resource));
            match (span.kind, parent) {
                (Kind::Server, Some((kind, same))) => {
                    assert_eq!((kind, same), (Kind::Client, false))
                }
                (Kind::Consumer, Some((kind, _))) => assert_eq!(kind, Kind::Producer),
                (Kind::Client | Kind::Producer | Kind::Internal, Some((_, same))) => assert!(same),
                (Kind::Server, None) => {}
                (kind, None) => panic!("a {kind:?} span without a parent"),
            }
            let service = topology.resources().get(span.resource).unwrap();
            let service = text(&service.attributes, "service.name").unwrap().clone();
            pairs.insert((format!("{service:?}"), span.kind));
        }
    }
    let services: BTreeSet<_> = pairs.iter().map(|(service, _)| service).collect();
    assert_eq!(services.len(), 6);
    let kinds: BTreeSet<_> = pairs.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds.len(), 5);
}

#[test]
fn failed_requests_say_so_in_status_and_attributes() {
    let (_, traces) = shop_traces(3_000);
    let mut failed = BTreeMap::new();
    for span in traces.iter().flatten() {
        if let Some(Value::Int(status)) = text(&span.attributes, "http.response.status_code") {
            assert_eq!(span.failure.is_some(), *status == 500, "{span:?}");
            assert_eq!(
                text(&span.attributes, "error.type").is_some(),
                *status == 500
            );
            let seen = failed.entry(span.name.clone()).or_insert((0, 0));
            seen.0 += 1;
            seen.1 += i32::from(span.failure.is_some());
        }
    }
    let (charges, failures) = failed["POST /charges"];
    assert!(
        failures > 0 && failures * 10 < charges,
        "{failures} of {charges}"
    );
}

#[test]
fn a_seed_gives_the_same_traces_again() {
    assert_eq!(shop_traces(5).1, shop_traces(5).1);
}

#[test]
fn median_of_a_log_normal_is_what_was_asked_for() {
    let mut random = StdRng::seed_from_u64(3);
    let median = Duration::from_millis(10);
    let mut nanos: Vec<_> = (0..10_001)
        .map(|_| log_normal(median, 0.5, &mut random))
        .collect();
    nanos.sort_unstable();
    let (middle, high) = (nanos[5_000], nanos[8_413]);
    assert!((9_700_000..10_300_000).contains(&middle), "{middle}");
    // One sigma above the median lies 84.13 %.
    assert!((15_900_000..17_100_000).contains(&high), "{high}");
}

#[test]
fn mistakes_are_named_with_their_place() {
    let service = |operations: &str| format!("services: [{{name: a, operations: [{operations}]}}]");
    let cases = [
        ("services: []".to_owned(), "no operation has a weight"),
        ("sevices: []".to_owned(), "sevices"),
        (service("{http: /x, weight: 1}"), "METHOD /route"),
        (
            service("{work: x, http: GET /, weight: 1}"),
            "exactly one of",
        ),
        (service("{consumes: q}"), "no queue is named q"),
        (service("{http: GET /, latency: 5}"), "not a duration"),
        (
            service("{http: GET /, weight: 1, calls: [{to: b, operation: c}]}"),
            "service a, GET /: no service, database or queue is named b",
        ),
        (
            service("{http: GET /, weight: 1, calls: [{to: a, operation: GET /}]}"),
            "a GET / > a GET /",
        ),
    ];
    for (yaml, want) in cases {
        let problem = Topology::parse(&yaml).unwrap_err().to_string();
        assert!(problem.contains(want), "{yaml}\n{problem}");
    }
}
