//! Where spans go when all is well.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::Request;
use lifecycle::TaskGroup;
use server::{ServeOptions, Tenancy};
use tower::ServiceExt as _;

use crate::harness::{Cluster, Node, Options, request};

/// The sum of the calls that a generator has counted, as a scraper sees it.
async fn calls(node: &Node) -> f64 {
    let tasks = TaskGroup::new();
    let tenancy = Tenancy {
        multitenancy_enabled: true,
    };
    let routes = node
        .generator
        .scrape_routes(tenancy, &tasks, node.address, "");
    let scrape = Request::get("/metrics/generated").header("x-scope-orgid", "acme");
    let response = routes.oneshot(scrape.body(Body::empty()).unwrap()).await;
    let body = to_bytes(response.unwrap().into_body(), usize::MAX).await;
    let text = String::from_utf8(body.unwrap().to_vec()).unwrap();
    let calls = text
        .lines()
        .filter(|line| line.starts_with("traces_spanmetrics_calls_total{"));
    calls
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}

#[tokio::test]
async fn each_generator_counts_the_spans_of_its_traces_and_no_others() {
    let cluster = Cluster::new(3);
    let outcome = cluster.push(&request(0..200)).await.unwrap();
    assert_eq!((outcome.spans, outcome.rejected_spans), (600, 0));
    let owned = cluster.owned(0..200, 0);
    assert!(owned.iter().all(|spans| *spans > 0), "{owned:?}");
    assert_eq!(cluster.counted(), owned);
    assert_eq!(cluster.ledger(), (600, 600, 0));
    for node in &cluster.nodes {
        let pushes = format!("generator_pushes_total{{generator=\"{}\"}}", node.id);
        assert_eq!(cluster.metric(&pushes), 1);
    }
    assert_eq!(cluster.metric("generator_clients"), 3);
}

#[tokio::test]
async fn series_of_all_generators_add_up_to_what_was_sent() {
    let cluster = Cluster::new(3);
    for first in [0, 100] {
        cluster.push(&request(first..first + 100)).await.unwrap();
    }
    let mut sum = 0.0;
    for node in &cluster.nodes {
        sum += calls(node).await;
    }
    assert_eq!(sum, 600.0);
}

#[tokio::test]
async fn tenant_uses_as_many_generators_as_its_settings_say() {
    let options = Options {
        ring_size: 2,
        ..Options::default()
    };
    let cluster = Cluster::with(4, options);
    cluster.push(&request(0..200)).await.unwrap();
    let counted = cluster.counted();
    assert_eq!(counted.iter().filter(|spans| **spans > 0).count(), 2);
    assert_eq!(counted, cluster.owned(0..200, 2));
}

#[tokio::test]
async fn same_request_through_two_ways_at_once_counts_once() {
    let cluster = Cluster::new(2);
    let request = request(0..2_000);
    let copies = (0..4).map(|_| cluster.push(&request));
    for answer in futures_util::future::join_all(copies).await {
        assert_eq!(answer.unwrap().spans, 6_000);
    }
    assert_eq!(cluster.counted(), cluster.owned(0..2_000, 0));
    assert_eq!(cluster.duplicates().iter().sum::<u64>(), 18_000);
}

#[tokio::test]
async fn connection_that_ends_by_age_sends_no_span_astray() {
    let serve = ServeOptions {
        max_connection_age: Some(Duration::from_millis(20)),
        ..ServeOptions::default()
    };
    let cluster = Cluster::with(
        3,
        Options {
            serve,
            ..Options::default()
        },
    );
    for first in 0..60 {
        let traces = first * 10..(first + 1) * 10;
        cluster.push(&request(traces)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert_eq!(cluster.counted(), cluster.owned(0..600, 0));
    assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
}
