use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::arrival::{Late, Scatter};
use crate::template::Churn;
use crate::template::tests::{NOW, decoded, otlp};
use crate::topology::{Topology, WEB_SHOP};
use crate::trace::{Attributes, Kind, Resource, Span, Trace};
use crate::workload::{Sizes, Source, Workload};

const WAIT: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

fn resources() -> Vec<Resource> {
    let resource = |name: &'static str| Resource {
        attributes: vec![("service.name", name.into())],
    };
    ["shop", "cart", "mailer"].map(resource).into()
}

fn span(resource: usize, parent: Option<usize>, kind: Kind, start: u64, end: u64) -> Span {
    Span {
        resource,
        parent,
        scope: "test",
        name: "work".to_owned(),
        churn: None,
        kind,
        failure: None,
        start,
        end,
        attributes: Attributes::new(),
    }
}

fn stamp(seed: u64) -> Stamp {
    Stamp {
        seed,
        now: NOW,
        churn: Churn::default(),
    }
}

/// A trace with everything: a user's request to `shop`, which calls `cart`, asks
/// a database, and sends `mailer` a message.
fn trace() -> Trace {
    let mut call = span(0, Some(0), Kind::Client, 10, 60);
    call.attributes = vec![("peer.service", "cart-peer".into())];
    let mut query = span(0, Some(0), Kind::Client, 61, 63);
    query.attributes = vec![
        ("db.name", "orders".into()),
        ("server.address", "db-1".into()),
    ];
    query.failure = Some("no");
    let mut handled = span(2, Some(4), Kind::Consumer, 90, 200);
    handled.failure = Some("no");
    vec![
        span(0, None, Kind::Server, 0, 100),
        call,
        span(1, Some(1), Kind::Server, 20, 50),
        query,
        span(0, Some(0), Kind::Producer, 70, 80),
        handled,
        span(0, Some(0), Kind::Internal, 81, 82),
    ]
}

/// The edges without their durations, and what is unpaired.
fn truth_of(trace: &Trace, delays: &[Duration]) -> (Value, Value, Value) {
    let mut graph = Graph::default();
    graph.add(trace, &resources(), delays, WAIT);
    let mut truth = Truth::default();
    truth.add(&graph, &stamp(1), 3);
    let mut json: Value = serde_json::from_slice(&truth.json().unwrap()).unwrap();
    let edges = json["edges"].as_array_mut().unwrap();
    for edge in &mut *edges {
        let sides = ["client", "server", "messaging"].map(|side| {
            let name = format!("{side}_nanoseconds");
            edge.as_object_mut().unwrap().remove(&name).unwrap()
        });
        let counts = sides.map(|side| side.as_array().unwrap().len());
        edge["observed"] = json!(counts);
    }
    (
        json["edges"].take(),
        json["unpaired"].take(),
        json["spans"].take(),
    )
}

#[test]
fn each_kind_of_edge_has_its_names_and_sides() {
    let (edges, unpaired, spans) = truth_of(&trace(), &[]);
    let edge = |client, server, kind, absent: Value, failed, observed: [u64; 3]| {
        json!({
            "client": client, "server": server, "connection_type": kind, "absent": absent,
            "requests": 1, "failed": failed, "observed": observed,
        })
    };
    let absent = |side| json!(side);
    assert_eq!(
        edges,
        json!([
            edge("shop", "cart", "", Value::Null, 0, [1, 1, 0]),
            edge("shop", "db-1", "database", absent("server"), 1, [1, 1, 0]),
            edge(
                "shop",
                "mailer",
                "messaging_system",
                Value::Null,
                1,
                [1, 1, 1]
            ),
            edge(
                "user",
                "shop",
                "virtual_node",
                absent("client"),
                0,
                [0, 1, 0]
            ),
        ])
    );
    assert_eq!(unpaired, json!([]));
    assert_eq!(
        spans,
        json!({"generated": 7, "in_edges": 6, "unpaired": 0, "without_edge": 1, "repeated": 3})
    );
}

#[test]
fn sides_that_come_too_far_apart_are_virtual_edges_or_unpaired() {
    let mut delays = [Duration::ZERO; 7];
    // All as late as each other, or not late enough: they pair.
    for (client, server) in [(1, 9), (20, 20), (20, 11)] {
        delays[1] = SECOND * client;
        delays[2] = SECOND * server;
        assert_eq!(truth_of(&trace(), &delays).1, json!([]));
    }
    for (client, server) in [(0, 20), (20, 1), (0, 10)] {
        delays[1] = SECOND * client;
        delays[2] = SECOND * server;
        let (edges, unpaired, spans) = truth_of(&trace(), &delays);
        // The client names its peer, the server's client is not known.
        assert_eq!(
            edges[0],
            json!({
                "client": "shop", "server": "cart-peer", "connection_type": "virtual_node",
                "absent": "server", "requests": 1, "failed": 0, "observed": [1, 0, 0],
            })
        );
        assert_eq!(
            unpaired,
            json!([{"service": "cart", "side": "server", "connection_type": "", "spans": 1}])
        );
        assert_eq!(
            (&spans["in_edges"], &spans["unpaired"]),
            (&json!(5), &json!(1))
        );
    }
    // The producer names nothing. How late a root or a query comes does not matter.
    let mut delays = [SECOND * 20; 7];
    delays[4] = Duration::ZERO;
    let (edges, unpaired, _) = truth_of(&trace(), &delays);
    assert_eq!(edges.as_array().unwrap().len(), 3);
    assert_eq!(
        unpaired,
        json!([
            {"service": "mailer", "side": "server", "connection_type": "messaging_system", "spans": 1},
            {"service": "shop", "side": "client", "connection_type": "messaging_system", "spans": 1},
        ])
    );
}

/// From the bytes alone, by ids: who called whom, and how long it took either.
fn pairs_on_the_wire(requests: &[otlp::Request]) -> Vec<(String, String, u64, u64)> {
    let spans: Vec<_> = requests.iter().flat_map(otlp::Request::spans).collect();
    let by_id: HashMap<_, _> = spans.iter().map(|of| (&of.1.span_id, of)).collect();
    let length = |span: &otlp::Span| span.end - span.start;
    let servers = spans.iter().filter(|(_, span)| [2, 5].contains(&span.kind));
    let pairs = servers.filter_map(|(service, server)| {
        let (client_service, client) = by_id.get(&server.parent_span_id)?;
        let names = (client_service.clone(), service.clone());
        Some((names.0, names.1, length(client), length(server)))
    });
    pairs.collect()
}

#[test]
fn truth_is_what_the_bytes_of_all_requests_say() {
    let scatter = Scatter {
        split: 3,
        late: vec![Late {
            percent: 10.0,
            by: SECOND,
        }],
    };
    let source = Source::Topology(Topology::parse(WEB_SHOP).unwrap());
    let sizes = Sizes {
        spans_per_request: 200,
        pool: 2_000,
    };
    let workload = Workload::new(source, sizes, 5, 0.0, scatter, Some(WAIT));
    let (mut truth, mut requests) = (Truth::default(), Vec::new());
    for number in 0..25 {
        let batch = workload.batch(number).unwrap();
        assert_eq!(batch.parts.len(), 4);
        truth.add(&batch.graph, &stamp(number), 0);
        let parts = batch.parts.iter();
        requests.extend(parts.map(|part| decoded(&part.template, number, Churn::default())));
    }
    let spans: usize = requests.iter().map(|request| request.spans().count()).sum();
    assert_eq!(truth.spans.generated, spans as u64);
    assert_eq!(truth.spans.unpaired, 0);

    let mut wire: BTreeMap<(String, String), [Vec<u64>; 2]> = BTreeMap::new();
    for (client, server, of_client, of_server) in pairs_on_the_wire(&requests) {
        let durations = wire.entry((client, server)).or_default();
        durations[0].push(of_client);
        durations[1].push(of_server);
    }
    assert_eq!(wire.len(), 7);
    let paired = truth
        .edges
        .iter_mut()
        .filter(|(key, _)| key.absent.is_none());
    let told: BTreeMap<_, _> = paired
        .map(|(key, requests)| {
            requests.client_nanoseconds.sort_unstable();
            requests.server_nanoseconds.sort_unstable();
            assert_eq!(requests.client_nanoseconds.len() as u64, requests.requests);
            let durations = [
                requests.client_nanoseconds.clone(),
                requests.server_nanoseconds.clone(),
            ];
            ((key.client.clone(), key.server.clone()), durations)
        })
        .collect();
    for durations in wire.values_mut().flatten() {
        durations.sort_unstable();
    }
    assert_eq!(told, wire);
}
