use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use model::PushError;
use overrides::TenantConfig;
use prost::Message;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::common::any_value::Value;
use proto::otlp::common::{AnyValue, KeyValue};

use super::*;
use crate::limits::LimitError;
use crate::testing::{Fixture, limits, names, request, span, span_without_trace};

fn bytes(spans: Vec<proto::otlp::trace::Span>) -> Bytes {
    request(spans).encode_to_vec().into()
}

async fn push(fixture: &Fixture, request: Bytes) -> Result<PushOutcome, ReceiveError> {
    let tenant = TenantId::parse("acme").unwrap();
    fixture.distributor.push(tenant, request, false).await
}

#[tokio::test]
async fn good_requests_are_handed_on_as_they_came() {
    let fixture = Fixture::new(true);
    let sent = bytes(vec![span("a"), span("b")]);
    let outcome = push(&fixture, sent.clone()).await.unwrap();
    assert_eq!(
        outcome,
        PushOutcome {
            spans: 2,
            ..PushOutcome::default()
        }
    );
    let pushes = fixture.recorder.pushes();
    assert_eq!(pushes[0].request.as_ptr(), sent.as_ptr());
    assert_eq!(pushes[0].tenant.as_str(), "acme");
    assert_eq!(fixture.ledger("acme"), (2, 2, 0));
    let received = fixture.metric("bytes_received_total{tenant=\"acme\"}");
    assert_eq!(received, sent.len() as u64);
}

#[tokio::test]
async fn what_both_sides_reject_is_told_together() {
    let fixture = Fixture::new(true);
    fixture.recorder.answer(Ok(PushOutcome {
        spans: 2,
        rejected_spans: 1,
        message: "1 span with a broken attribute".into(),
    }));
    let mut zero_id = span("zero");
    zero_id.span_id = vec![0; 8];
    let sent = bytes(vec![
        span("a"),
        span_without_trace("x"),
        zero_id,
        span_without_trace("y"),
        span("b"),
    ]);
    let outcome = push(&fixture, sent).await.unwrap();
    assert_eq!((outcome.spans, outcome.rejected_spans), (5, 4));
    assert_eq!(
        outcome.message,
        "refused spans: 2 with a trace id that is not 16 bytes or is all zero, 1 with a span id \
         that is not 8 bytes or is all zero; 1 span with a broken attribute"
    );
    assert_eq!(names(&fixture.recorder.pushes()), [["a", "b"]]);
    // The generator has the span that it rejected in its own ledger.
    assert_eq!(fixture.ledger("acme"), (5, 2, 3));
    let by_reason = |reason| {
        fixture.metric(&format!(
            "spans_refused_total{{tenant=\"acme\",reason=\"{reason}\"}}"
        ))
    };
    assert_eq!(by_reason("invalid_trace_id"), 2);
    assert_eq!(by_reason("invalid_span_id"), 1);
}

#[tokio::test]
async fn nothing_is_pushed_when_nothing_is_left() {
    let fixture = Fixture::new(true);
    let outcome = push(&fixture, Bytes::new()).await.unwrap();
    assert_eq!(outcome, PushOutcome::default());
    let outcome = push(&fixture, bytes(vec![span_without_trace("x")]))
        .await
        .unwrap();
    assert_eq!((outcome.spans, outcome.rejected_spans), (1, 1));
    assert!(fixture.recorder.pushes().is_empty());
    assert_eq!(fixture.ledger("acme"), (1, 0, 1));
}

#[tokio::test]
async fn spans_that_the_generator_does_not_take_are_refused() {
    let fixture = Fixture::new(true);
    for (error, reason) in [
        (
            PushError::Unavailable {
                reason: "starting".into(),
                retry_after: Duration::from_secs(1),
            },
            "unavailable",
        ),
        (
            PushError::Malformed {
                problem: "x".into(),
            },
            "malformed",
        ),
    ] {
        fixture.recorder.answer(Err(error.clone()));
        let refused = push(&fixture, bytes(vec![span("a"), span("b")])).await;
        assert!(matches!(refused, Err(ReceiveError::Push(found)) if found == error));
        assert_eq!(
            fixture.metric(&format!(
                "spans_refused_total{{tenant=\"acme\",reason=\"{reason}\"}}"
            )),
            2
        );
    }
    assert_eq!(fixture.ledger("acme"), (4, 0, 4));
}

#[tokio::test]
async fn spans_of_a_push_that_is_applied_in_part_are_counted_by_what_is_known() {
    let fixture = Fixture::new(true);
    let incomplete = PushError::Incomplete {
        applied_spans: 1,
        unanswered_spans: 2,
        reason: "no answer in time".into(),
        retry_after: Duration::from_secs(1),
    };
    fixture.recorder.answer(Err(incomplete));
    let spans = ["a", "b", "c", "d", "e"].map(span).to_vec();
    let error = push(&fixture, bytes(spans)).await.unwrap_err();
    assert_eq!(error.http_status(), 503);
    assert_eq!(error.grpc_code(), tonic::Code::Unavailable);
    assert_eq!(error.failure().retry_after, Some(Duration::from_secs(1)));
    assert_eq!(fixture.ledger("acme"), (5, 1, 4));
    for (reason, want) in [("unanswered", 2), ("unavailable", 2)] {
        let refused = format!("spans_refused_total{{tenant=\"acme\",reason=\"{reason}\"}}");
        assert_eq!(fixture.metric(&refused), want);
    }
}

/// A generator that never answers.
#[derive(Clone)]
struct Stuck;

impl PushSpans for Stuck {
    async fn push(&self, _: Push) -> Result<PushOutcome, model::PushError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn spans_of_a_push_that_is_dropped_are_cancelled() {
    let fixture = Fixture::new(true);
    let metrics = fixture.distributor.metrics.clone();
    let distributor = Distributor::new(
        Tenancy::default(),
        Stuck,
        metrics,
        limits(TenantConfig::default()),
    );
    {
        let tenant = TenantId::parse("acme").unwrap();
        let mut push = pin!(distributor.push(tenant, bytes(vec![span("a")]), false));
        let mut context = Context::from_waker(Waker::noop());
        assert!(push.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(fixture.ledger("acme"), (1, 0, 1));
    assert_eq!(
        fixture.metric("spans_refused_total{tenant=\"acme\",reason=\"cancelled\"}"),
        1
    );
}

#[tokio::test]
async fn spans_over_the_rate_are_refused_and_counted() {
    let sent = bytes(vec![span("a"), span_without_trace("x"), span("b")]);
    let mut config = TenantConfig::default();
    config.ingestion.rate_limit_bytes = 1;
    config.ingestion.burst_size_bytes = sent.len() as u64;
    let fixture = Fixture::with(true, config);
    push(&fixture, sent.clone()).await.unwrap();
    let error = push(&fixture, sent).await.unwrap_err();
    assert!(matches!(
        error,
        ReceiveError::Limit(LimitError::RateLimited { rate: 1, .. })
    ));
    assert_eq!(fixture.recorder.pushes().len(), 1);
    assert_eq!(fixture.ledger("acme"), (6, 2, 4));
    let limited = fixture.metric("spans_refused_total{tenant=\"acme\",reason=\"rate_limited\"}");
    assert_eq!(limited, 2);
}

#[tokio::test]
async fn long_attributes_are_cut_by_the_limit_of_the_tenant_or_of_all() {
    for (own, longest) in [(0, 2_048), (100, 100), (5_000, 3_000)] {
        let mut config = TenantConfig::default();
        config.ingestion.max_attribute_bytes = own;
        let fixture = Fixture::with(true, config);
        let mut long = span("long");
        long.attributes = vec![text("key", &"v".repeat(3_000))];
        push(&fixture, bytes(vec![span("a"), long])).await.unwrap();
        let pushes = fixture.recorder.pushes();
        let got = ExportTraceServiceRequest::decode(pushes[0].request.clone()).unwrap();
        let spans = &got.resource_spans[0].scope_spans[0].spans;
        assert_eq!(spans[0], span("a"));
        assert_eq!(spans[1].attributes, [text("key", &"v".repeat(longest))]);
        let truncated = fixture.metric("attributes_truncated_total{tenant=\"acme\"}");
        assert_eq!(truncated, u64::from(longest < 3_000));
        assert_eq!(fixture.ledger("acme"), (2, 2, 0));
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.into())),
        }),
        ..KeyValue::default()
    }
}
