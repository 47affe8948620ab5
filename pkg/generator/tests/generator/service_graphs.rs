//! Spans in, edges between services out, through the scrape endpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Push, TenantId};
use overrides::{
    FilterPolicy, MatchType, PolicyAttribute, PolicyMatch, PolicyValue, Processor, Processors,
    ServiceGraphsConfig, TenantConfig,
};
use prost::Message;
use proto::otlp::trace::{Span, Status, span::Link};

use crate::harness::{Harness, MILLISECOND, NOW, SECOND, attributes, request};

const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

fn graphs(change: impl FnOnce(&mut ServiceGraphsConfig)) -> Harness {
    let mut config = TenantConfig {
        processors: Processors::from_iter([Processor::ServiceGraphs]),
        ..TenantConfig::default()
    };
    change(&mut config.service_graphs);
    Harness::with(config, false)
}

impl Harness {
    /// Pushes spans one by one, each in a request of its own.
    fn push_each(&self, spans: impl IntoIterator<Item = (&'static str, Span)>) {
        for (service, span) in spans {
            let request = request(&[("service.name", service)], vec![span]);
            let pushed = self.push(Push {
                tenant: TenantId::single(),
                request: request.encode_to_vec().into(),
                skip_metrics: false,
            });
            pushed.unwrap();
        }
        self.balanced();
    }

    /// Series of service graphs by what follows `traces_service_graph_`.
    async fn graph_series(&self) -> BTreeMap<String, f64> {
        let samples = self.scrape().await.into_iter();
        self.balanced();
        let samples = samples.filter_map(|(series, value)| {
            let name = series.strip_prefix("traces_service_graph_")?;
            Some((name.to_owned(), value))
        });
        samples.collect()
    }

    fn own_of(&self, series: &str) -> u64 {
        self.own().get(series).copied().unwrap_or(0)
    }

    /// Every span received is counted, discarded for a reason, or waits.
    fn balanced(&self) {
        let own = self.own();
        let sum = |name: &str| -> u64 {
            let of_name = own.iter().filter(|(series, _)| series.starts_with(name));
            of_name.map(|(_, value)| value).sum()
        };
        let received = sum("spans_received_total{");
        let settled = sum("spans_counted_total{") + sum("spans_discarded_total{");
        assert_eq!(received, settled + self.waiting(), "{own:?}");
    }

    /// Lets all that waits expire.
    fn expire(&self) {
        self.clock.set(NOW + 11 * SECOND);
    }

    /// The edges, as `client->server connection_type`, with their requests.
    async fn edges(&self) -> BTreeMap<String, f64> {
        let samples = self.graph_series().await.into_iter();
        let edges = samples.filter_map(|(series, value)| {
            let labels = series.strip_prefix("request_total")?;
            let of = |name: &str| {
                let start = labels.split_once(&format!("{name}=\""));
                start.map_or("", |(_, rest)| rest.split_once('"').unwrap().0)
            };
            let edge = format!(
                "{}->{} {}",
                of("client"),
                of("server"),
                of("connection_type")
            );
            Some((edge.trim().to_owned(), value))
        });
        edges.collect()
    }

    fn discarded(&self, reason: &str) -> u64 {
        self.own_of(&format!(
            "spans_discarded_total{{tenant=\"single-tenant\",processor=\"service-graphs\",reason=\"{reason}\"}}"
        ))
    }

    fn waiting(&self) -> u64 {
        self.own_of("processor_service_graphs_waiting_spans{tenant=\"single-tenant\"}")
    }
}

fn id(number: u8) -> Vec<u8> {
    if number == 0 {
        Vec::new()
    } else {
        vec![number; 8]
    }
}

/// A span of trace 1, which took `milliseconds` and ended now.
fn span(kind: i32, span_id: u8, parent: u8, milliseconds: u64) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: id(span_id),
        parent_span_id: id(parent),
        kind,
        start_time_unix_nano: NOW - milliseconds * MILLISECOND,
        end_time_unix_nano: NOW,
        ..Span::default()
    }
}

fn with(mut span: Span, pairs: &[(&str, &str)]) -> Span {
    span.attributes = attributes(pairs);
    span
}

fn failed(mut span: Span) -> Span {
    span.status = Some(Status {
        code: 2,
        ..Status::default()
    });
    span
}

fn edges(edges: &[(&str, f64)]) -> BTreeMap<String, f64> {
    edges
        .iter()
        .map(|(edge, requests)| ((*edge).to_owned(), *requests))
        .collect()
}

#[tokio::test]
async fn halves_meet_in_either_order() {
    let harness = graphs(|_| ());
    let (client, server) = (span(CLIENT, 1, 9, 300), span(SERVER, 2, 1, 200));
    harness.push_each([("a", client.clone()), ("b", server.clone())]);
    harness.push_each([("b", server), ("a", client)]);
    let series = harness.graph_series().await;
    let of = |name: &str| series.get(&format!("request_{name}{{client=\"a\",server=\"b\"}}"));
    assert_eq!(of("total"), Some(&2.0));
    assert_eq!(of("client_seconds_sum"), Some(&0.6));
    assert_eq!(of("server_seconds_sum"), Some(&0.4));
    assert_eq!(of("server_seconds_count"), Some(&2.0));
    let bucket = "request_server_seconds_bucket{client=\"a\",server=\"b\",le=\"0.2\"}";
    assert_eq!(series[bucket], 2.0);
    assert_eq!(of("failed_total"), None);
    assert_eq!(harness.waiting(), 0);

    harness.push_each([
        ("a", span(CLIENT, 1, 9, 1)),
        ("b", failed(span(SERVER, 2, 1, 1))),
    ]);
    let series = harness.graph_series().await;
    assert_eq!(
        series["request_failed_total{client=\"a\",server=\"b\"}"],
        1.0
    );
}

#[tokio::test]
async fn what_finds_no_counterpart_is_a_virtual_node_or_unpaired() {
    let harness = graphs(|_| ());
    let peer = |peer: &'static str| [("peer.service", peer)];
    harness.push_each([
        ("shop", with(span(CLIENT, 1, 9, 100), &peer("stripe"))),
        ("shop", span(CLIENT, 2, 9, 100)),
        ("shop", span(SERVER, 3, 8, 100)),
    ]);
    assert!(harness.edges().await.is_empty());
    assert_eq!(harness.waiting(), 3);
    harness.clock.set(NOW + 9 * SECOND);
    assert!(harness.edges().await.is_empty());
    harness.expire();
    let want = edges(&[("shop->stripe virtual_node", 1.0)]);
    assert_eq!(harness.edges().await, want);
    assert_eq!((harness.waiting(), harness.discarded("unpaired")), (0, 2));
}

/// D22, D6.
#[tokio::test]
async fn every_root_counts_at_once_and_its_absent_client_took_no_time() {
    for observe_absent_side in [false, true] {
        let harness = graphs(|config| config.observe_absent_side = observe_absent_side);
        let mobile = [("peer.service", "mobile")];
        harness.push_each([
            ("web", span(SERVER, 1, 0, 100)),
            ("web", span(SERVER, 2, 0, 100)),
            ("web", with(span(SERVER, 3, 0, 100), &mobile)),
            ("", span(SERVER, 4, 0, 100)),
        ]);
        let want = [
            ("user->web virtual_node", 2.0),
            ("mobile->web virtual_node", 1.0),
        ];
        assert_eq!(harness.edges().await, edges(&want));
        assert_eq!(harness.discarded("no_service_name"), 1);
        let series = harness.graph_series().await;
        let labels = "{client=\"user\",connection_type=\"virtual_node\",server=\"web\"}";
        let count = |side: &str| series.get(&format!("request_{side}_seconds_count{labels}"));
        assert_eq!(count("server"), Some(&2.0));
        assert_eq!(count("client"), observe_absent_side.then_some(&2.0));
    }
}

#[tokio::test]
async fn database_is_named_by_the_first_that_names_it() {
    for (attributes, want) in [
        (&[("db.name", "orders")][..], "orders"),
        (&[("db.system", "redis")], "redis"),
        (&[("db.namespace", "new"), ("db.name", "old")], "new"),
        (&[("db.name", "d"), ("peer.service", "pg")], "pg"),
        (&[("db.name", "d"), ("server.address", "host")], "host"),
        (
            &[
                ("db.name", "d"),
                ("network.peer.address", "10.0.0.1"),
                ("network.peer.port", "5432"),
            ],
            "10.0.0.1:5432",
        ),
    ] {
        let harness = graphs(|_| ());
        harness.push_each([("a", with(span(CLIENT, 1, 9, 50), attributes))]);
        let want = format!("a->{want} database");
        assert_eq!(harness.edges().await, edges(&[(&want, 1.0)]));
    }
}

/// D18.
#[tokio::test]
async fn database_with_a_span_of_its_own_can_be_waited_for() {
    let client = || with(span(CLIENT, 1, 9, 50), &[("db.name", "orders")]);
    let server = || span(SERVER, 2, 1, 40);
    let at_once = graphs(|_| ());
    at_once.push_each([("a", client()), ("pg", server())]);
    assert_eq!(at_once.waiting(), 1);
    assert_eq!(at_once.edges().await, edges(&[("a->orders database", 1.0)]));

    let waits = graphs(|config| config.database_wait_for_server = true);
    waits.push_each([("a", client()), ("pg", server())]);
    assert_eq!(waits.edges().await, edges(&[("a->pg database", 1.0)]));
    let labels = "{client=\"a\",connection_type=\"database\",server=\"pg\"}";
    let sum = waits.graph_series().await[&format!("request_server_seconds_sum{labels}")];
    assert_eq!(sum, 0.04);
    waits.push_each([("a", client())]);
    waits.expire();
    let want = [("a->pg database", 1.0), ("a->orders database", 1.0)];
    assert_eq!(waits.edges().await, edges(&want));
}

#[tokio::test]
async fn time_of_a_message_on_its_way_is_observed_when_asked_for() {
    let harness = graphs(|config| config.enable_messaging_system_latency_histogram = true);
    let mut producer = span(PRODUCER, 1, 9, 100);
    producer.end_time_unix_nano -= 50 * MILLISECOND;
    let consumer = span(CONSUMER, 2, 1, 20);
    harness.push_each([("shop", producer), ("mailer", consumer)]);
    let labels = "{client=\"shop\",connection_type=\"messaging_system\",server=\"mailer\"}";
    let series = harness.graph_series().await;
    assert_eq!(
        series[&format!("request_messaging_system_seconds_sum{labels}")],
        0.03
    );
    assert_eq!(series[&format!("request_total{labels}")], 1.0);
}

#[tokio::test]
async fn dimensions_are_those_of_both_sides() {
    for (prefix, want) in [
        (
            false,
            "{client=\"a\",region=\"eu\",server=\"b\",tier=\"gold\"}",
        ),
        (
            true,
            "{client=\"a\",client_region=\"us\",server=\"b\",server_region=\"eu\",server_tier=\"gold\"}",
        ),
    ] {
        let harness = graphs(|config| {
            config.dimensions = vec!["region".to_owned(), "tier".to_owned()];
            config.enable_client_server_prefix = prefix;
        });
        let client = with(span(CLIENT, 1, 9, 1), &[("region", "us")]);
        let server = with(span(SERVER, 2, 1, 1), &[("region", "eu"), ("tier", "gold")]);
        harness.push_each([("a", client), ("b", server)]);
        let series = harness.graph_series().await;
        assert_eq!(
            series.get(&format!("request_total{want}")),
            Some(&1.0),
            "{series:?}"
        );
    }
}

/// D19.
#[tokio::test]
async fn internal_spans_are_bridged_when_asked_for() {
    let spans = [
        ("a", span(CLIENT, 1, 9, 40)),
        ("a", span(INTERNAL, 2, 1, 30)),
        ("proxy", span(INTERNAL, 3, 2, 20)),
        ("b", span(SERVER, 4, 3, 10)),
    ];
    let orders = [
        [0, 1, 2, 3],
        [3, 2, 1, 0],
        [3, 1, 0, 2],
        [2, 3, 0, 1],
        [1, 3, 2, 0],
    ];
    for order in orders {
        for (bridge, want) in [(true, &[("a->b", 1.0)][..]), (false, &[])] {
            let harness = graphs(|config| config.bridge_internal_spans = bridge);
            harness.push_each(order.map(|at: usize| spans[at].clone()));
            assert_eq!(harness.edges().await, edges(want), "{order:?}");
            assert_eq!(harness.discarded("kind_not_applicable"), 2);
        }
    }
}

#[tokio::test]
async fn consumer_of_a_batch_has_an_edge_for_each_link() {
    for (use_span_links, want) in [
        (true, &[("shop->mailer messaging_system", 3.0)][..]),
        (false, &[("user->mailer virtual_node", 1.0)]),
    ] {
        let harness = graphs(|config| config.use_span_links = use_span_links);
        let producer = |number: u8| Span {
            trace_id: vec![number; 16],
            ..span(PRODUCER, number, 0, 10)
        };
        let mut consumer = span(CONSUMER, 9, 0, 5);
        consumer.links = (4..7)
            .map(|number| Link {
                trace_id: vec![number; 16],
                span_id: id(number),
                ..Link::default()
            })
            .collect();
        harness.push_each([("shop", producer(4)), ("shop", producer(5))]);
        harness.push_each([("mailer", consumer), ("shop", producer(6))]);
        assert_eq!(harness.edges().await, edges(want));
        assert_eq!(harness.waiting(), if use_span_links { 0 } else { 3 });
    }
}

#[tokio::test]
async fn only_valid_links_make_edges_and_no_more_than_sdks_allow() {
    let harness = graphs(|config| config.use_span_links = true);
    let link = |trace: u8, span: &[u8]| Link {
        trace_id: vec![trace; 16],
        span_id: span.to_vec(),
        ..Link::default()
    };
    let mut consumer = span(CONSUMER, 9, 7, 5);
    consumer.links = vec![link(1, &[]), link(0, &id(1)), link(1, &[1; 9])];
    harness.push_each([("mailer", consumer.clone())]);
    // It is the half that its parent makes it.
    harness.push_each([("shop", span(PRODUCER, 7, 0, 10))]);
    let once = edges(&[("shop->mailer messaging_system", 1.0)]);
    assert_eq!(harness.edges().await, once);
    consumer.links = (1..=200).map(|number| link(number, &id(1))).collect();
    harness.push_each([("mailer", consumer)]);
    let kept = harness.own_of("processor_service_graphs_edges{tenant=\"single-tenant\"}");
    assert_eq!(kept, 128);
}

/// Refuses servers.
fn only_clients(config: &mut ServiceGraphsConfig) {
    config.filter_policies = vec![FilterPolicy {
        include: None,
        exclude: Some(PolicyMatch {
            match_type: MatchType::Strict,
            attributes: vec![PolicyAttribute {
                key: "kind".to_owned(),
                value: PolicyValue::Text("SPAN_KIND_SERVER".to_owned()),
            }],
        }),
    }];
}

#[tokio::test]
async fn filtered_span_that_is_bridged_is_in_the_ledger_once() {
    let spans = [
        ("a", span(CLIENT, 2, 9, 40)),
        ("a", span(INTERNAL, 3, 2, 30)),
        ("b", span(SERVER, 4, 3, 10)),
    ];
    for order in [[2, 1, 0], [2, 0, 1], [0, 1, 2], [1, 0, 2]] {
        let harness = graphs(|config| {
            only_clients(config);
            config.bridge_internal_spans = true;
        });
        harness.push_each(order.map(|at: usize| spans[at].clone()));
        assert!(harness.edges().await.is_empty(), "{order:?}");
        assert_eq!(harness.discarded("service_graphs_filtered"), 2, "{order:?}");
    }
}

#[tokio::test]
async fn push_of_nothing_but_new_label_sets_is_taken() {
    let harness = graphs(|config| config.dimensions = vec!["d".to_owned()]);
    // The work for one of them must not grow with how many there are.
    let clients = (0..100_000_u32).map(|number| Span {
        trace_id: [&[1; 12][..], &number.to_be_bytes()].concat(),
        ..with(span(CLIENT, 1, 9, 1), &[("d", &number.to_string())])
    });
    let request = request(&[("service.name", "a")], clients.collect());
    let pushed = harness.push(Push {
        tenant: TenantId::single(),
        request: request.encode_to_vec().into(),
        skip_metrics: false,
    });
    pushed.unwrap();
    assert_eq!(harness.waiting(), 100_000);
    harness.expire();
    harness.graph_series().await;
    assert_eq!(harness.discarded("unpaired"), 100_000);
}

#[tokio::test]
async fn counterpart_of_a_filtered_span_goes_with_it() {
    let client = || with(span(CLIENT, 1, 9, 1), &[("peer.service", "b")]);
    let server = || span(SERVER, 2, 1, 1);
    for spans in [
        [("a", client()), ("b", server())],
        [("b", server()), ("a", client())],
    ] {
        let harness = graphs(only_clients);
        harness.push_each(spans);
        harness.expire();
        assert!(harness.edges().await.is_empty());
        assert_eq!(harness.discarded("service_graphs_filtered"), 2);
        assert_eq!(
            harness.own_of("processor_service_graphs_edges{tenant=\"single-tenant\"}"),
            0
        );
    }
}

/// D17, D21.
#[tokio::test]
async fn store_takes_no_more_than_its_limit_and_expired_halves_make_room() {
    let harness = graphs(|config| {
        config.max_items = 2;
        config.enable_unpaired_metrics = true;
    });
    harness.push_each((1..5).map(|number| ("a", span(CLIENT, number, 9, 1))));
    assert_eq!((harness.waiting(), harness.discarded("store_full")), (2, 2));
    // The pair of one that waits needs no room.
    harness.push_each([("b", span(SERVER, 6, 1, 1))]);
    harness.expire();
    let late = |number| Span {
        end_time_unix_nano: NOW + 11 * SECOND,
        ..span(CLIENT, number, 9, 1)
    };
    assert_eq!(harness.edges().await, edges(&[("a->b", 1.0)]));
    harness.push_each((5..8).map(|number| ("a", late(number))));
    assert_eq!((harness.waiting(), harness.discarded("store_full")), (2, 3));
    let series = harness.graph_series().await;
    assert_eq!(series["unpaired_spans_total{client=\"a\"}"], 1.0);
    assert_eq!(series["dropped_spans_total{client=\"a\"}"], 3.0);
}

#[tokio::test]
async fn span_in_the_place_of_another_replaces_it() {
    let harness = graphs(|_| ());
    // Two servers that one client called, before it is known.
    harness.push_each([("b", span(SERVER, 2, 1, 1)), ("c", span(SERVER, 3, 1, 1))]);
    harness.push_each([("a", span(CLIENT, 1, 9, 1))]);
    assert_eq!(harness.edges().await, edges(&[("a->c", 1.0)]));
    assert_eq!((harness.waiting(), harness.discarded("replaced")), (0, 1));
}

#[tokio::test]
async fn weight_that_is_none_counts_once_whoever_reads_it() {
    let mut config = TenantConfig {
        processors: Processors::from([Processor::SpanMetrics, Processor::ServiceGraphs]),
        ..TenantConfig::default()
    };
    config.service_graphs.span_multiplier_key = "ratio".to_owned();
    config.span_metrics.span_multiplier_key = "ratio".to_owned();
    let harness = Harness::with(config, false);
    let client = with(span(CLIENT, 1, 9, 100), &[("ratio", "0")]);
    let request = request(&[("service.name", "a")], vec![client]);
    let pushed = harness.push(Push {
        tenant: TenantId::single(),
        request: request.encode_to_vec().into(),
        skip_metrics: false,
    });
    pushed.unwrap();
    let invalid = harness.own_of("invalid_weights_total{tenant=\"single-tenant\"}");
    assert_eq!(invalid, 1);
}

#[tokio::test]
async fn edge_has_the_weight_of_the_half_that_came_last() {
    let harness = graphs(|config| config.span_multiplier_key = "ratio".to_owned());
    let client = with(span(CLIENT, 1, 9, 100), &[("ratio", "0.5")]);
    let server = with(span(SERVER, 2, 1, 100), &[("ratio", "0.25")]);
    harness.push_each([("a", client), ("b", failed(server))]);
    let series = harness.graph_series().await;
    for (name, want) in [
        ("total", 4.0),
        ("failed_total", 4.0),
        ("client_seconds_sum", 0.4),
    ] {
        assert_eq!(
            series[&format!("request_{name}{{client=\"a\",server=\"b\"}}")],
            want
        );
    }
}

#[tokio::test]
async fn memory_is_bounded_by_the_limit_and_given_back() {
    let harness = graphs(|config| {
        config.max_items = 10_000;
        config.wait = Duration::from_secs(10);
    });
    let traces = (0..20_000_u32).map(|number| {
        let mut trace_id = vec![0; 12];
        trace_id.extend(number.to_be_bytes());
        Span {
            trace_id,
            ..span(CLIENT, 1, 9, 1)
        }
    });
    let traces: Vec<_> = traces.collect();
    for chunk in traces.chunks(500) {
        let request = request(&[("service.name", "a")], chunk.to_vec());
        let pushed = harness.push(Push {
            tenant: TenantId::single(),
            request: request.encode_to_vec().into(),
            skip_metrics: false,
        });
        pushed.unwrap();
    }
    harness.graph_series().await;
    assert_eq!(
        (harness.waiting(), harness.discarded("store_full")),
        (10_000, 10_000)
    );
    let bytes = || harness.own_of("processor_service_graphs_store_bytes{tenant=\"single-tenant\"}");
    let full = bytes();
    assert!(full < 150 * 10_000, "{full} bytes for 10,000 halves");
    harness.expire();
    harness.graph_series().await;
    assert_eq!(harness.waiting(), 0);
    assert!(bytes() * 2 < full, "{} bytes for none", bytes());
}
