//! A distributor with a generator in its own process.

use ring::{Member, MemberState};

use crate::harness::{Cluster, Options, request};

/// Whose first node takes spans in, and cannot be reached over a connection.
async fn cluster(nodes: u16) -> Cluster {
    let options = Options {
        is_first_node: true,
        ..Options::default()
    };
    let cluster = Cluster::with(nodes, options);
    cluster.nodes[0].cut_off().await;
    cluster
}

#[tokio::test]
async fn own_share_is_counted_without_a_connection_and_without_memory_of_its_own() {
    let cluster = cluster(3).await;
    // Whoever took the request in holds its bytes.
    cluster.nodes[0].budget.close();
    let request = request(0..200);
    assert_eq!(cluster.push(&request).await.unwrap().spans, 600);
    let owned = cluster.owned(0..200, 0);
    assert!(owned[0] > 0, "{owned:?}");
    assert_eq!(cluster.counted(), owned);
    assert_eq!(cluster.ledger(), (600, 600, 0));
    for node in &cluster.nodes {
        let of = format!("{{generator=\"{}\"}}", node.id);
        let series = ["pushes", "push_failures"].map(|name| format!("generator_{name}_total{of}"));
        assert_eq!(series.map(|series| cluster.metric(&series)), [1, 0]);
    }
}

#[tokio::test]
async fn own_generator_judges_its_share_as_one_from_elsewhere() {
    let cluster = cluster(2).await;
    let leaving = Member {
        state: MemberState::Leaving,
        ..cluster.nodes[0].member()
    };
    let seen = vec![leaving, cluster.nodes[1].member()];
    // Only the generator knows.
    cluster.nodes[0].ring.update(seen);
    cluster.push(&request(0..100)).await.unwrap();
    assert_eq!(cluster.counted(), [0, 300]);
    assert_eq!(cluster.nodes[0].refused("leaving"), 1);
    assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
}

#[tokio::test]
async fn own_generator_recognises_a_share_that_it_has() {
    let cluster = cluster(1).await;
    let traces = request(0..10);
    let direct = model::Push {
        tenant: crate::harness::tenant(),
        request: traces.clone(),
        skip_metrics: false,
    };
    model::PushSpans::push(&cluster.nodes[0].generator, direct)
        .await
        .unwrap();
    assert_eq!(cluster.push(&traces).await.unwrap().spans, 30);
    assert_eq!(cluster.nodes[0].counted(), (30, 30));
}

#[tokio::test]
async fn earlier_life_of_this_node_is_another_one() {
    let cluster = cluster(2).await;
    let earlier = Member {
        incarnation: 0,
        ..cluster.nodes[0].member()
    };
    cluster
        .ring
        .update(vec![earlier, cluster.nodes[1].member()]);
    cluster.push(&request(0..100)).await.unwrap();
    assert_eq!(cluster.counted(), [0, 300]);
}
