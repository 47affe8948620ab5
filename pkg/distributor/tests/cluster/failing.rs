//! Where spans go when a generator fails.

use model::PushError;
use ring::{Member, MemberState};
use settings::ByteSize;
use spanmill_distributor::{MetricsGeneratorClientConfig, ReceiveError};

use crate::harness::{Cluster, Options, request, until};

#[tokio::test]
async fn generator_that_cannot_be_reached_costs_nothing() {
    let cluster = Cluster::new(3);
    let owned = cluster.owned(0..200, 0);
    cluster.nodes[0].cut_off().await;
    cluster.push(&request(0..200)).await.unwrap();
    // As the ring will place them once it knows.
    cluster.ring.update(cluster.members().split_off(1));
    assert_eq!(cluster.counted(), cluster.owned(0..200, 0));
    assert!(owned[0] > 0);
    assert_eq!(cluster.ledger(), (600, 600, 0));
    assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
    let failures = "generator_push_failures_total{generator=\"g-1\"}";
    assert_eq!(cluster.metric(failures), 1);
}

#[tokio::test]
async fn generator_that_leaves_sends_spans_on_before_gossip_does() {
    let cluster = Cluster::new(3);
    let leaving = Member {
        state: MemberState::Leaving,
        ..cluster.nodes[0].member()
    };
    // Only the node itself knows.
    let mut seen = cluster.members();
    seen[0] = leaving;
    cluster.nodes[0].ring.update(seen);
    cluster.push(&request(0..200)).await.unwrap();
    assert_eq!(cluster.nodes[0].refused("leaving"), 1);
    cluster.ring.update(cluster.members().split_off(1));
    assert_eq!(cluster.counted(), cluster.owned(0..200, 0));
    assert_eq!(cluster.ledger(), (600, 600, 0));
    assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
}

#[tokio::test]
async fn generator_that_stops_sends_spans_on() {
    let cluster = Cluster::new(2);
    cluster.nodes[0].generator.stop();
    cluster.push(&request(0..100)).await.unwrap();
    assert_eq!(cluster.counted(), [0, 300]);
    assert_eq!(cluster.nodes[0].refused("stopping"), 1);
}

#[tokio::test]
async fn push_whose_answer_is_lost_comes_again_and_is_recognised() {
    let mut cluster = Cluster::new(2);
    let request = request(0..100);
    cluster.nodes[0].faults.lose_answers(true);
    let distributor = cluster.distributor.clone();
    let push = distributor.push(crate::harness::tenant(), request, false);
    let meanwhile = async {
        let node = &mut cluster.nodes[0];
        node.faults.happened.notified().await;
        node.cut_off().await;
        node.faults.lose_answers(false);
        node.listen();
    };
    let (answer, ()) = tokio::join!(push, meanwhile);
    assert_eq!(answer.unwrap().spans, 300);
    let owned = cluster.owned(0..100, 0);
    assert_eq!(cluster.counted(), owned);
    assert_eq!(cluster.duplicates(), [owned[0], 0]);
    assert_eq!(cluster.ledger(), (300, 300, 0));
    assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
}

#[tokio::test]
async fn what_a_dead_generator_may_have_counted_goes_on_and_is_told() {
    for name in ["cut off", "silent"] {
        let cluster = Cluster::new(2);
        let owned = cluster.owned(0..100, 0);
        cluster.nodes[0].faults.lose_answers(true);
        let request = request(0..100);
        let push = cluster.push(&request);
        let meanwhile = async {
            cluster.nodes[0].faults.happened.notified().await;
            if name == "cut off" {
                cluster.nodes[0].cut_off().await;
            }
            let dead = Member {
                is_alive: false,
                ..cluster.nodes[0].member()
            };
            cluster.ring.update(vec![dead, cluster.nodes[1].member()]);
        };
        let (answer, ()) = tokio::join!(push, meanwhile);
        assert_eq!(answer.unwrap().spans, 300, "{name}");
        assert_eq!(cluster.counted(), [owned[0], 300], "{name}");
        let told = cluster.of_tenant("spans_possibly_duplicated");
        assert_eq!(told, owned[0], "{name}");
        assert_eq!(cluster.ledger(), (300, 300, 0), "{name}");
    }
}

#[tokio::test]
async fn next_life_of_a_generator_gets_what_the_last_one_did_not_answer() {
    let cluster = Cluster::new(1);
    cluster.nodes[0].faults.stand_still();
    let request = request(0..10);
    let push = cluster.push(&request);
    let meanwhile = async {
        cluster.nodes[0].faults.happened.notified().await;
        cluster.nodes[0].faults.go_on();
        // The first attempt may be answered or not: nobody listens to it any more.
        let next = Member {
            incarnation: 2,
            ..cluster.nodes[0].member()
        };
        cluster.ring.update(vec![next]);
    };
    let (answer, ()) = tokio::join!(push, meanwhile);
    assert_eq!(answer.unwrap().spans, 30);
    assert_eq!(cluster.counted(), [30]);
}

#[tokio::test]
async fn client_is_told_to_come_again_where_nobody_is() {
    let cluster = Cluster::new(1);
    for members in [
        Vec::new(),
        vec![Member {
            state: MemberState::Joining,
            ..cluster.nodes[0].member()
        }],
    ] {
        cluster.everyone_sees(members);
        let refused = cluster.push(&request(0..10)).await.unwrap_err();
        let ReceiveError::Push(PushError::Unavailable { retry_after, .. }) = &refused else {
            panic!("{refused:?}");
        };
        assert!(!retry_after.is_zero());
        assert_eq!(refused.failure().retry_after, Some(*retry_after));
    }
    cluster.everyone_sees(cluster.members());
    cluster.nodes[0].cut_off().await;
    let refused = cluster.push(&request(0..10)).await.unwrap_err();
    assert_eq!(refused.http_status(), 503);
    assert_eq!(cluster.ledger(), (90, 0, 90));
    assert_eq!(cluster.refused("unavailable"), 90);
    assert_eq!(cluster.of_tenant("spans_unowned"), 90);
}

/// A generator that takes long takes its share of memory, and nothing from the others; and a
/// client that sends the whole request again has it counted once.
#[tokio::test]
async fn request_of_which_a_part_was_applied_may_be_sent_again() {
    let client = MetricsGeneratorClientConfig {
        max_in_flight_bytes: ByteSize::parse("1KiB").unwrap(),
        ..MetricsGeneratorClientConfig::default()
    };
    let options = Options {
        client,
        ..Options::default()
    };
    let cluster = Cluster::with(2, options);
    let owned = cluster.owned(0..100, 0);
    cluster.nodes[0].faults.stand_still();
    let (slow, whole) = (request(100..200), request(0..100));
    let slow_owned = cluster.owned(100..200, 0);
    let first = cluster.push(&slow);
    let then = async {
        cluster.nodes[0].faults.happened.notified().await;
        let answered = "generator_pushes_total{generator=\"g-2\"}";
        until(|| cluster.metric(answered) == 1).await;
        assert_eq!(cluster.counted(), [0, slow_owned[1]]);
        let refused = cluster.push(&whole).await.unwrap_err();
        let ReceiveError::Push(PushError::Incomplete {
            applied_spans,
            unanswered_spans,
            ..
        }) = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!((applied_spans, unanswered_spans), (owned[1], 0));
        assert_eq!(cluster.refused("unavailable"), owned[0]);
        cluster.nodes[0].faults.go_on();
    };
    let (answer, ()) = tokio::join!(first, then);
    answer.unwrap();
    cluster.push(&whole).await.unwrap();
    assert_eq!(cluster.counted(), cluster.owned(0..200, 0));
    // What was applied is not even sent again.
    assert_eq!(cluster.duplicates(), [0, 0]);
    assert_eq!(cluster.ledger(), (900, 900 - owned[0], owned[0]));
}

/// Split by the ring as it is then, the shares would be others, that nobody recognises.
#[tokio::test]
async fn request_of_which_a_part_was_applied_counts_once_after_the_ring_has_changed() {
    let client = MetricsGeneratorClientConfig {
        max_in_flight_bytes: ByteSize::parse("1KiB").unwrap(),
        ..MetricsGeneratorClientConfig::default()
    };
    let options = Options {
        client,
        ..Options::default()
    };
    let cluster = Cluster::with(3, options);
    let owned = cluster.owned(0..100, 0);
    cluster.nodes[0].faults.stand_still();
    let (slow, whole) = (request(100..200), request(0..100));
    let first = cluster.push(&slow);
    let then = async {
        cluster.nodes[0].faults.happened.notified().await;
        for node in ["g-2", "g-3"] {
            let answered = format!("generator_pushes_total{{generator=\"{node}\"}}");
            until(|| cluster.metric(&answered) == 1).await;
        }
        cluster.push(&whole).await.unwrap_err();
        assert_eq!(cluster.refused("unavailable"), owned[0]);
        cluster.nodes[0].faults.go_on();
    };
    let (answer, ()) = tokio::join!(first, then);
    answer.unwrap();
    let before: u64 = cluster.counted().iter().sum();
    assert_eq!(before, 600 - owned[0]);
    let mut without_the_third = cluster.members();
    without_the_third.truncate(2);
    cluster.everyone_sees(without_the_third);
    assert_eq!(cluster.push(&whole).await.unwrap().spans, 300);
    let after: u64 = cluster.counted().iter().sum();
    assert_eq!(after, 600);
    assert_eq!(cluster.duplicates(), [0, 0, 0]);
    assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
    // And once more, as after an answer that was lost.
    assert_eq!(cluster.push(&whole).await.unwrap().spans, 300);
    assert_eq!(cluster.counted().iter().sum::<u64>(), 600);
}

/// No generator would recognise shares that another ring makes.
#[tokio::test]
async fn request_whose_answer_the_client_did_not_hear_counts_once_after_the_ring_has_changed() {
    let cluster = Cluster::new(3);
    let two = cluster.members().split_off(1);
    cluster.everyone_sees(two);
    let owned = cluster.owned(0..100, 0);
    let whole = request(0..100);
    let answer = cluster.push(&whole).await.unwrap();
    cluster.everyone_sees(cluster.members());
    assert_eq!(cluster.push(&whole).await.unwrap(), answer);
    assert_eq!(cluster.counted(), owned);
    assert_eq!(cluster.of_tenant("spans_recognised"), 300);
    assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
}

/// It goes to the generator that may have it, whoever owns its traces by now.
#[tokio::test]
async fn request_whose_client_had_gone_counts_once_after_the_ring_has_changed() {
    let cluster = Cluster::new(3);
    let two = cluster.members().split_off(1);
    cluster.everyone_sees(two);
    let owned = cluster.owned(0..100, 0);
    cluster.nodes[1].faults.lose_answers(true);
    let whole = request(0..100);
    {
        let push = cluster.push(&whole);
        let both = async {
            cluster.nodes[1].faults.happened.notified().await;
            let answered = "generator_pushes_total{generator=\"g-3\"}";
            until(|| cluster.metric(answered) == 1).await;
        };
        tokio::select! {
            answer = push => panic!("{answer:?}"),
            () = both => {}
        }
    }
    assert_eq!(cluster.counted(), owned);
    cluster.nodes[1].faults.lose_answers(false);
    cluster.everyone_sees(cluster.members());
    assert_eq!(cluster.push(&whole).await.unwrap().spans, 300);
    assert_eq!(cluster.counted(), owned);
    assert_eq!(cluster.duplicates(), [0, owned[1], 0]);
    assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
}

#[tokio::test]
async fn generator_that_is_taken_for_dead_and_answers_is_believed() {
    let cluster = Cluster::new(2);
    let owned = cluster.owned(0..100, 0);
    cluster.nodes[0].faults.stand_still();
    let request = request(0..100);
    let push = cluster.push(&request);
    let meanwhile = async {
        cluster.nodes[0].faults.happened.notified().await;
        let dead = Member {
            is_alive: false,
            ..cluster.nodes[0].member()
        };
        cluster.ring.update(vec![dead, cluster.nodes[1].member()]);
        cluster.nodes[0].faults.go_on();
    };
    let (answer, ()) = tokio::join!(push, meanwhile);
    assert_eq!(answer.unwrap().spans, 300);
    assert_eq!(cluster.counted(), owned);
    assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
}

/// Another generator that took what one has no memory for would soon have none either.
#[tokio::test]
async fn client_waits_for_a_generator_without_memory_and_nobody_else_takes_its_spans() {
    let cluster = Cluster::new(3);
    cluster.nodes[1].budget.close();
    let refused = cluster.push(&request(0..60)).await.unwrap_err();
    let ReceiveError::Push(error) = &refused else {
        panic!("{refused:?}");
    };
    assert!(error.to_string().contains("short of memory"), "{error}");
    assert!(refused.failure().retry_after.is_some(), "{refused:?}");
    let [a, none, c] = cluster.counted().try_into().unwrap();
    assert!(a > 0 && none == 0 && c > 0 && a + c < 180, "{a} {none} {c}");
    assert_eq!(cluster.nodes[1].refused("overloaded"), 1);
    // It may be sent again, and what was applied is known.
    cluster.nodes[1].budget.throttle(&[]);
    assert_eq!(cluster.push(&request(0..60)).await.unwrap().spans, 180);
    assert_eq!(cluster.counted().iter().sum::<u64>(), 180);
}

/// As for a generator, the same bytes once more are other spans then.
#[tokio::test]
async fn switched_off_what_was_applied_of_a_request_is_counted_again() {
    let options = Options {
        counts_copies: true,
        ..Options::default()
    };
    let cluster = Cluster::with(2, options);
    let (owned, whole) = (cluster.owned(0..100, 0), request(0..100));
    cluster.nodes[1].budget.close();
    cluster.push(&whole).await.unwrap_err();
    assert_eq!(cluster.counted(), [owned[0], 0]);
    cluster.nodes[1].budget.throttle(&[]);
    for pushes in 1..=2 {
        assert_eq!(cluster.push(&whole).await.unwrap().spans, 300);
        let counted = [owned[0] * (pushes + 1), owned[1] * pushes];
        assert_eq!(cluster.counted(), counted);
    }
    assert_eq!(cluster.of_tenant("spans_recognised"), 0);
}
