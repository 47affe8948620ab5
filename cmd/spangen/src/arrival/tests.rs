use super::*;
use crate::template::Churn;
use crate::topology::{Topology, WEB_SHOP};
use crate::workload::{Sizes, Source, Workload};

const SECOND: Duration = Duration::from_secs(1);

fn scatter(split: usize, late: &[(f64, u64)]) -> Scatter {
    let late = late.iter().map(|(percent, seconds)| Late {
        percent: *percent,
        by: SECOND * *seconds as u32,
    });
    Scatter {
        split,
        late: late.collect(),
    }
}

fn parts(scatter: &Scatter) -> Vec<Part> {
    let source = Source::Topology(Topology::parse(WEB_SHOP).unwrap());
    let sizes = Sizes {
        spans_per_request: 1_000,
        pool: 1_000,
    };
    let workload = Workload::new(source, sizes, 1, 0.0, scatter.clone(), None);
    workload.batch(0).unwrap().parts.clone()
}

fn stamp(seed: u64) -> Stamp {
    Stamp {
        seed,
        now: 1,
        churn: Churn::default(),
    }
}

#[test]
fn spans_are_spread_evenly_with_their_share_late() {
    let scatter = scatter(2, &[(10.0, 1), (20.0, 5)]);
    let mut random = StdRng::seed_from_u64(1);
    let mut counts = [0_u32; 4];
    for _ in 0..100_000 {
        counts[scatter.place(&mut random)] += 1;
    }
    for (count, want) in counts.into_iter().zip([35_000_u32, 35_000, 10_000, 20_000]) {
        assert!(count.abs_diff(want) < 1_000, "{counts:?}");
    }
    let late = [0, 1, 2, 3].map(|place| scatter.late(place));
    assert_eq!(late, [None, None, Some(0), Some(1)]);
    let delays = [0, 1, 2, 3].map(|place| scatter.delay(place));
    assert_eq!(delays, [Duration::ZERO, Duration::ZERO, SECOND, SECOND * 5]);
}

#[test]
fn late_requests_come_when_they_are_due_or_at_the_end() {
    let scatter = scatter(1, &[(10.0, 5), (10.0, 1)]);
    let parts = parts(&scatter);
    assert_eq!(parts.len(), 3);
    let mut arrival = Arrival::new(&scatter, 1, 0.0, 1);
    for batch in 0..2 {
        let repeated = arrival.add(batch, &parts, stamp(batch), SECOND * batch as u32);
        assert_eq!(repeated, 0);
    }
    let turn = |outgoing: Outgoing| (outgoing.batch, outgoing.not_before.as_secs());
    assert_eq!(arrival.due(SECOND / 2).map(turn), None);
    assert_eq!(arrival.due(SECOND).map(turn), Some((0, 1)));
    assert_eq!(arrival.due(SECOND).map(turn), None);
    let rest = std::iter::from_fn(|| arrival.next().map(turn));
    assert_eq!(
        rest.collect::<Vec<_>>(),
        [(0, 0), (1, 0), (1, 2), (0, 5), (1, 6)]
    );
}

#[test]
fn the_same_seed_brings_requests_into_the_same_other_order() {
    let parts = parts(&Scatter::default());
    let order = |window, seed| {
        let mut arrival = Arrival::new(&Scatter::default(), window, 0.0, seed);
        let mut batches = 0..;
        while !arrival.is_full() {
            let batch = batches.next().unwrap();
            arrival.add(batch, &parts, stamp(batch), Duration::ZERO);
        }
        arrival.shuffle();
        let order = std::iter::from_fn(|| arrival.next().map(|next| next.batch));
        order.collect::<Vec<_>>()
    };
    assert_eq!(order(1, 1), [0]);
    let shuffled = order(50, 1);
    assert_eq!(shuffled, order(50, 1));
    assert_ne!(shuffled, order(50, 2));
    let mut sorted = shuffled.clone();
    sorted.sort_unstable();
    assert_ne!(shuffled, sorted);
    assert_eq!(sorted, (0..50).collect::<Vec<_>>());
}

#[test]
fn the_same_requests_are_sent_twice_whenever_they_are_made() {
    let parts = parts(&scatter(4, &[]));
    let repeated = |percent: f64| {
        let mut arrival = Arrival::new(&Scatter::default(), 1, percent, 1);
        let mut spans = 0;
        for batch in 0..1_000 {
            spans += arrival.add(batch, &parts, stamp(mix(batch)), SECOND);
        }
        let requests = std::iter::from_fn(|| arrival.next()).filter(|next| next.repeat);
        let sum: u64 = requests.map(|next| next.template.spans()).sum();
        assert_eq!(sum, spans);
        spans as f64 / (1_000 * parts.iter().map(|p| p.template.spans()).sum::<u64>()) as f64
    };
    assert_eq!(repeated(0.0), 0.0);
    assert_eq!(repeated(100.0), 1.0);
    let share = repeated(5.0);
    assert!((0.04..0.06).contains(&share), "{share}");
    assert_eq!(share, repeated(5.0));
}
