//! Short pushes that go together.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{join, join_all};

use spanmill_distributor::MetricsGeneratorClientConfig;

use crate::harness::{Cluster, Faults, Options, SPANS_OF_A_TRACE, TakesOne, request, until};

/// Requests of different traces.
fn requests(count: u64) -> Vec<Bytes> {
    (0..count)
        .map(|number| request(number * 10..(number + 1) * 10))
        .collect()
}

/// Pushes them all at once to a node that stands still until a call is there; returns how
/// many calls came.
async fn push_all(cluster: &Cluster, requests: &[Bytes]) -> u64 {
    let faults = &cluster.nodes[0].faults;
    faults.calls.store(0, Ordering::SeqCst);
    faults.stand_still();
    let pushes = join_all(requests.iter().map(|request| cluster.push(request)));
    let (outcomes, ()) = join(pushes, go_on_after_one(faults)).await;
    for outcome in outcomes {
        assert_eq!(outcome.unwrap().spans, 10 * SPANS_OF_A_TRACE);
    }
    faults.calls.load(Ordering::SeqCst)
}

async fn go_on_after_one(faults: &Faults) {
    while faults.calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    faults.go_on();
}

#[tokio::test]
async fn pushes_that_come_while_one_is_under_way_go_in_one_call_and_each_counts_once() {
    let cluster = Cluster::new(1);
    assert_eq!(push_all(&cluster, &requests(30)).await, 2);
    assert_eq!(cluster.counted(), [900]);
    let pushes = cluster.metric("generator_pushes_total{generator=\"g-1\"}");
    assert_eq!((pushes, cluster.duplicates()), (30, vec![0]));
}

#[tokio::test]
async fn each_call_of_many_pushes_has_128_kib_at_most() {
    let cluster = Cluster::new(1);
    let requests = requests(200);
    let bytes: usize = requests.iter().skip(1).map(Bytes::len).sum();
    let fewest = bytes.div_ceil(128 << 10) as u64;
    let calls = push_all(&cluster, &requests).await;
    assert!(
        (1 + fewest..1 + 2 * fewest).contains(&calls),
        "{calls} {fewest}"
    );
    assert_eq!(cluster.counted(), [200 * 30]);
}

#[tokio::test]
async fn generator_that_takes_no_pushes_together_gets_each_alone() {
    use TakesOne::{NobodyMay, TooLong, Unknown};
    // Of an earlier version, one that lets clients in by what they show, and one that takes
    // less at once. The last may take the next.
    for (why, asked_again) in [(Unknown, 0), (NobodyMay, 0), (TooLong, 1)] {
        let cluster = Cluster::new(1);
        cluster.nodes[0].faults.take_one(why);
        assert_eq!(push_all(&cluster, &requests(30)).await, 30 + 1, "{why:?}");
        let others: Vec<_> = (100..130).map(|n| request(n * 10..(n + 1) * 10)).collect();
        let calls = push_all(&cluster, &others).await;
        assert_eq!(calls, 30 + asked_again, "{why:?}");
        assert_eq!(cluster.counted(), [2 * 900], "{why:?}");
        assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
    }
}

#[tokio::test]
async fn push_that_nobody_waits_for_any_more_is_not_sent() {
    let cluster = Cluster::new(1);
    let faults = &cluster.nodes[0].faults;
    faults.stand_still();
    let requests = requests(2);
    let mut under_way = std::pin::pin!(cluster.push(&requests[0]));
    assert!(under_way.as_mut().now_or_never().is_none());
    let waiting = Box::pin(cluster.push(&requests[1]));
    assert!(
        waiting.now_or_never().is_none(),
        "it waits, and is given up"
    );
    let (outcome, ()) = join(under_way, go_on_after_one(faults)).await;
    assert_eq!(outcome.unwrap().spans, 30);
    assert_eq!(cluster.push(&requests[1]).await.unwrap().spans, 30);
    assert_eq!(
        (cluster.counted(), cluster.duplicates()),
        (vec![60], vec![0])
    );
}

/// What waits does not wait for an answer that does not come; and what came together and was
/// applied is known again.
#[tokio::test]
async fn pushes_whose_common_answer_gets_lost_count_once() {
    let cluster = Cluster::with(
        1,
        Options {
            client: MetricsGeneratorClientConfig {
                remote_timeout: Duration::from_secs(2),
                ..MetricsGeneratorClientConfig::default()
            },
            ..Options::default()
        },
    );
    let faults = &cluster.nodes[0].faults;
    faults.stand_still();
    let requests = requests(30);
    let pushes = join_all(requests.iter().map(|request| cluster.push(request)));
    let loses = async {
        while faults.calls.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        faults.lose_answers(true);
        faults.go_on();
        until(|| cluster.counted() == [900]).await;
        faults.lose_answers(false);
    };
    let (outcomes, ()) = join(pushes, loses).await;
    for outcome in outcomes {
        assert_eq!(outcome.unwrap().spans, 30);
    }
    assert_eq!(cluster.counted(), [900]);
    // Once, or more often where the node is slow.
    assert!(cluster.duplicates()[0] >= 900);
    assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
}
