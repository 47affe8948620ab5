//! A push that comes again counts once (D36).

use std::sync::Barrier;

use model::{Push, PushError, TenantId};
use overrides::{Processor, Processors, TenantConfig};
use prost::Message as _;
use proto::otlp::trace::Span;

use crate::harness::{Harness, NOW, SECOND, request};

fn span_metrics(deduplicate_pushes: bool) -> Harness {
    let config = TenantConfig {
        processors: Processors::from_iter([Processor::SpanMetrics]),
        ..TenantConfig::default()
    };
    Harness::with(config, deduplicate_pushes)
}

impl Harness {
    /// Spans of a tenant: received, counted, skipped, duplicate.
    fn ledger(&self, tenant: &str) -> [u64; 4] {
        let own = self.own();
        let discarded = |reason| {
            format!(
                "spans_discarded_total{{tenant=\"{tenant}\",processor=\"all\",reason=\"{reason}\"}}"
            )
        };
        [
            format!("spans_received_total{{tenant=\"{tenant}\"}}"),
            format!("spans_counted_total{{tenant=\"{tenant}\",processor=\"span-metrics\"}}"),
            discarded("metrics_generation_skipped"),
            discarded("duplicate"),
        ]
        .map(|series| own[&series])
    }
}

fn bytes(first: u64, spans: u64) -> Vec<u8> {
    let span = |number: u64| Span {
        trace_id: vec![7; 16],
        span_id: number.to_be_bytes().to_vec(),
        name: "pay".to_owned(),
        start_time_unix_nano: NOW - 1_000_000,
        end_time_unix_nano: NOW,
        ..Span::default()
    };
    let spans = (first..first + spans).map(span);
    request(&[], spans.collect()).encode_to_vec()
}

fn push(tenant: &str, request: Vec<u8>) -> Push {
    Push {
        tenant: TenantId::parse(tenant).unwrap(),
        request: request.into(),
        skip_metrics: false,
    }
}

#[test]
fn push_that_comes_again_is_answered_as_before_and_counted_once() {
    let harness = span_metrics(true);
    // Two good spans, and one of one broken byte.
    let mut request = bytes(1, 2);
    request.extend([0x0a, 5, 0x12, 3, 0x12, 1, 0xff]);
    let first = harness.push(push("acme", request.clone())).unwrap();
    assert_eq!((first.spans, first.rejected_spans), (3, 1));
    assert_eq!(first.message, "1 spans are not valid protobuf");
    for _ in 0..2 {
        assert_eq!(
            harness.push(push("acme", request.clone())),
            Ok(first.clone())
        );
    }
    assert_eq!(harness.ledger("acme"), [9, 2, 0, 6]);
    // One byte more: an unknown field.
    request.extend([0x78, 1]);
    harness.push(push("acme", request)).unwrap();
    assert_eq!(harness.ledger("acme"), [12, 4, 0, 6]);
}

#[test]
fn two_minutes_later_it_is_a_push_of_its_own() {
    let harness = span_metrics(true);
    harness.push(push("acme", bytes(1, 2))).unwrap();
    harness.clock.set(NOW + 120 * SECOND);
    harness.push(push("acme", bytes(1, 2))).unwrap();
    assert_eq!(harness.ledger("acme"), [4, 2, 0, 2]);
    harness.clock.set(NOW + 121 * SECOND);
    harness.push(push("acme", bytes(1, 2))).unwrap();
    // Its spans are too old by then: discarded, but as what they are.
    assert_eq!(harness.ledger("acme"), [6, 2, 0, 2]);
}

#[test]
fn tenants_may_send_the_same_bytes() {
    let harness = span_metrics(true);
    for tenant in ["acme", "globex"] {
        harness.push(push(tenant, bytes(1, 2))).unwrap();
        assert_eq!(harness.ledger(tenant), [2, 2, 0, 0]);
    }
}

#[test]
fn push_that_failed_or_was_not_to_be_counted_is_no_earlier_one() {
    let harness = span_metrics(true);
    let mut broken = bytes(1, 2);
    broken.extend([0x0a, 100]);
    for _ in 0..2 {
        let refused = harness.push(push("acme", broken.clone()));
        assert!(matches!(refused, Err(PushError::Malformed { .. })));
    }
    let skipped = Push {
        skip_metrics: true,
        ..push("acme", bytes(1, 2))
    };
    harness.push(skipped.clone()).unwrap();
    harness.push(push("acme", bytes(1, 2))).unwrap();
    harness.push(skipped).unwrap();
    assert_eq!(harness.ledger("acme"), [6, 2, 4, 0]);
}

#[test]
fn switched_off_every_push_counts() {
    let harness = span_metrics(false);
    for _ in 0..2 {
        harness.push(push("acme", bytes(1, 2))).unwrap();
    }
    assert_eq!(harness.ledger("acme"), [4, 4, 0, 0]);
}

/// Whichever copy comes first, the others are answered OK only after it.
#[test]
fn copies_that_arrive_at_the_same_time_are_applied_once() {
    const COPIES: u64 = 4;
    const SPANS: u64 = 2_000;
    const ROUNDS: u64 = 50;
    let harness = span_metrics(true);
    let mut received = 0;
    for round in 0..ROUNDS {
        let request = bytes(round * SPANS, SPANS);
        let start = Barrier::new(COPIES as usize);
        let answers: Vec<_> = std::thread::scope(|scope| {
            let copies: Vec<_> = (0..COPIES)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let answer = harness.push(push("acme", request.clone()));
                        (answer, harness.ledger("acme")[1])
                    })
                })
                .collect();
            let answers = copies.into_iter().map(|copy| copy.join().unwrap());
            answers.collect()
        });
        let counted = (round + 1) * SPANS;
        for (answer, counted_by_then) in answers {
            match answer {
                Ok(outcome) => {
                    assert_eq!((outcome.spans, counted_by_then), (SPANS, counted));
                    received += SPANS;
                }
                Err(refused) => assert!(matches!(refused, PushError::Unavailable { .. })),
            }
        }
        assert_eq!(
            harness.ledger("acme"),
            [received, counted, 0, received - counted]
        );
    }
}
