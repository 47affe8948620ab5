use std::time::Duration;

use http_body_util::BodyExt as _;
use model::{Clock, PushSpans as _, TenantId, TraceTokens};
use overrides::{Overrides, Processor, Processors, TenantConfig};
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};
use ring::{Member, MemberState, Role, agreement};
use server::NodeAuthenticationConfig;
use server::nodes::{NODE_TOKEN_HEADER, NOT_APPLIED_HEADER};
use settings::Secret;
use tonic::Code;
use tower::ServiceExt as _;

use http::{HeaderMap, Request};

use super::*;
use crate::{Dependencies, GeneratorMetrics};

const NOW: u64 = 1_700_000_000_000_000_000;
const SECOND: Duration = Duration::from_secs(1);
const TOKEN: &str = "the-token-of-this-cluster";

/// The generator `g-1` of a cluster.
struct Fixture {
    pushes: NodePushes,
    ring: RingView,
    registry: telemetry::MetricsRegistry,
    begin: Instant,
    heard: Arc<parking_lot::Mutex<Instant>>,
    shutdown: Shutdown,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

fn seed() -> ClusterSeed {
    ClusterSeed::from_text("cluster")
}

fn member(number: u64) -> Member {
    Member {
        id: format!("g-{number}").into(),
        incarnation: 1,
        role: Role::Generator,
        state: MemberState::Active,
        zone: "".into(),
        address: "127.0.0.1:9095".parse().unwrap(),
        token_seed: number,
        tokens: 16,
        version: "".into(),
        is_alive: true,
    }
}

impl Fixture {
    fn new(members: u64) -> Self {
        let mut registry = telemetry::new_metrics_registry();
        let generator = Generator::new(Dependencies {
            overrides: Overrides::fixed(TenantConfig {
                processors: Processors::from_iter([Processor::SpanMetrics]),
                ..TenantConfig::default()
            }),
            remote_write: None,
            metrics: GeneratorMetrics::register(&mut registry),
            clock: Clock::manual(NOW),
            max_lanes: 1,
            deduplicate_pushes: true,
            instance_label: "g-1".into(),
            state_dir: None,
            retire_after: Duration::ZERO,
        });
        let ring = RingView::new((1..=members).map(member).collect());
        let begin = Instant::now();
        let heard = Arc::new(parking_lot::Mutex::new(begin));
        let last_heard = Arc::clone(&heard);
        let dependencies = NodePushDependencies {
            generator,
            ring: ring.clone(),
            id: "g-1".into(),
            seed: seed(),
            authentication: NodeAuthentication::new(&NodeAuthenticationConfig {
                token: Secret::new(TOKEN),
                ..NodeAuthenticationConfig::default()
            }),
            is_back: Arc::new(move |since| *last_heard.lock() > since),
            budget: Budget::unlimited(),
            metrics: NodePushMetrics::register(&mut registry),
        };
        let shutdown = Shutdown::new();
        Self {
            pushes: NodePushes::start(dependencies, &TaskGroup::new(), &shutdown),
            ring,
            registry,
            begin,
            heard,
            shutdown,
        }
    }

    /// A push that is sent and arrives so long after the begin; by the ring as it is.
    fn push(&self, request: &[u8], sent: Duration, arrives: Duration) -> Result<u64, Refused> {
        self.push_by(
            agreement::hash(&self.ring.placement()),
            request,
            sent,
            arrives,
        )
    }

    fn push_by(
        &self,
        placement: u64,
        request: &[u8],
        sent: Duration,
        arrives: Duration,
    ) -> Result<u64, Refused> {
        let mut headers = headers(placement, sent);
        headers.insert(NODE_TOKEN_HEADER, TOKEN.parse().unwrap());
        let request = Bytes::copy_from_slice(request);
        let now = self.begin + arrives;
        let metadata = PushMetadata::read(&headers).unwrap();
        let outcome = self.pushes.push(&metadata, request, now);
        outcome.map(|outcome| outcome.spans).map_err(|status| {
            let marked = NotApplied::of(status.metadata().as_ref());
            (status.code(), marked)
        })
    }

    /// Spans received, counted and duplicate.
    fn ledger(&self) -> [u64; 3] {
        let tenant = "tenant=\"acme\"";
        [
            format!("spans_received_total{{{tenant}}}"),
            format!("spans_counted_total{{{tenant},processor=\"span-metrics\"}}"),
            format!("spans_discarded_total{{{tenant},processor=\"all\",reason=\"duplicate\"}}"),
        ]
        .map(|series| self.metric(&series))
    }

    fn metric(&self, series: &str) -> u64 {
        let text = telemetry::encode_metrics(&self.registry);
        let prefix = format!("spanmill_generator_{series} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&prefix));
        value.map_or(0, |value| value.parse().unwrap())
    }

    fn generator(&self) -> &Generator {
        &self.pushes.0.dependencies.generator
    }
}

type Refused = (Code, Option<NotApplied>);

fn refused(why: NotApplied) -> Result<u64, Refused> {
    Err((Code::Unavailable, Some(why)))
}

fn headers(placement: u64, sent_at: Duration) -> HeaderMap {
    let metadata = PushMetadata {
        tenant: TenantId::parse("acme").unwrap(),
        sender: "d-1".into(),
        incarnation: 1,
        sent_at,
        expires_in: 5 * SECOND,
        placement,
        skip_metrics: false,
    };
    let mut headers = HeaderMap::new();
    metadata.write(&mut headers).unwrap();
    headers
}

/// A request of one span.
fn spans(trace: u8) -> Vec<u8> {
    let span = Span {
        trace_id: vec![trace; 16],
        span_id: vec![1; 8],
        start_time_unix_nano: NOW - 1_000_000,
        end_time_unix_nano: NOW,
        ..Span::default()
    };
    let scope_spans = ScopeSpans {
        spans: vec![span],
        ..ScopeSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![scope_spans],
            ..ResourceSpans::default()
        }],
    }
    .encode_to_vec()
}

#[tokio::test]
async fn call_over_grpc_is_answered_with_what_became_of_the_spans() {
    let fixture = Fixture::new(1);
    let placement = agreement::hash(&fixture.ring.placement());
    let call = |token: Option<&'static str>| {
        let message = spans(1);
        let mut framed = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
        framed.extend(message);
        let mut request = Request::post(NODE_PUSH)
            .body(axum::body::Body::from(framed))
            .unwrap();
        *request.headers_mut() = headers(placement, Duration::ZERO);
        request
            .headers_mut()
            .insert("content-type", "application/grpc".parse().unwrap());
        if let Some(token) = token {
            request
                .headers_mut()
                .insert(NODE_TOKEN_HEADER, token.parse().unwrap());
        }
        fixture.pushes.routes(1 << 20).oneshot(request)
    };
    for (token, code) in [(None, "16"), (Some("the-token-of-another-one"), "7")] {
        let response = call(token).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], code);
        assert!(!response.headers().contains_key(NOT_APPLIED_HEADER));
    }
    assert_eq!(fixture.generator().tenants(), []);
    assert_eq!(
        fixture.metric("node_pushes_refused_total{reason=\"not_a_node\"}"),
        2
    );

    let body = call(Some(TOKEN))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    let answer = cluster::PushOutcome::decode(body.to_bytes().slice(5..)).unwrap();
    assert_eq!((answer.spans, answer.rejected_spans), (1, 0));
    assert_eq!(fixture.ledger(), [1, 1, 0]);
}

#[test]
fn pushes_that_come_together_are_taken_and_refused_one_by_one() {
    let fixture = Fixture::new(1);
    let metadata = |placement| PushMetadata::read(&headers(placement, SECOND)).unwrap();
    let ours = metadata(agreement::hash(&fixture.ring.placement()));
    let requests = [spans(1), b"\xff".to_vec(), spans(1), spans(2)];
    let pushes = cluster::Pushes {
        lengths: requests
            .iter()
            .map(|request| request.len() as u32)
            .collect(),
        messages: requests.concat().into(),
    };
    let all = |metadata: &PushMetadata, pushes: &cluster::Pushes| {
        let message = Bytes::from(pushes.encode_to_vec());
        let answered = fixture
            .pushes
            .push_all(metadata, message, fixture.begin + SECOND);
        let answers = cluster::PushAnswers::decode(answered?).unwrap().answers;
        Ok(answers.into_iter().map(|answer| {
            let spans = answer.outcome.map_or(0, |outcome| outcome.spans);
            (Code::from(answer.code as i32), spans, answer.not_applied)
        }))
    };
    let taken = |spans| (Code::Ok, spans, String::new());
    let bad = (Code::InvalidArgument, 0, String::new());
    let answers: Result<Vec<_>, Status> = all(&ours, &pushes).map(Iterator::collect);
    assert_eq!(
        answers.unwrap(),
        [taken(1), bad.clone(), taken(1), taken(1)]
    );
    assert_eq!(fixture.ledger(), [3, 2, 1]);

    let mut leaving = member(1);
    leaving.state = MemberState::Leaving;
    fixture.ring.update(vec![leaving]);
    let next = [spans(3), spans(1)];
    let next = cluster::Pushes {
        lengths: next.iter().map(|request| request.len() as u32).collect(),
        messages: next.concat().into(),
    };
    let answers: Result<Vec<_>, Status> = all(&ours, &next).map(Iterator::collect);
    let left = (Code::Unavailable, 0, "leaving".to_owned());
    assert_eq!(answers.unwrap(), [left, taken(1)]);

    for lengths in [vec![1], vec![1, 1, 1], vec![u32::MAX, u32::MAX]] {
        let messages = Bytes::from_static(b"ab");
        let refused = all(&ours, &cluster::Pushes { lengths, messages }).map(drop);
        assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    }
}

#[test]
fn same_share_counts_once() {
    let fixture = Fixture::new(1);
    for _ in 0..2 {
        assert_eq!(fixture.push(&spans(1), SECOND, SECOND), Ok(1));
    }
    assert_eq!(fixture.push(&spans(2), SECOND, SECOND), Ok(1));
    assert_eq!(fixture.ledger(), [3, 2, 1]);
}

#[test]
fn generator_that_takes_nothing_says_so_but_knows_what_it_took() {
    for (state, why) in [
        (MemberState::Leaving, NotApplied::Leaving),
        (MemberState::ReadOnly, NotApplied::Leaving),
        (MemberState::Joining, NotApplied::NotOwner),
    ] {
        let fixture = Fixture::new(2);
        assert_eq!(fixture.push(&spans(1), SECOND, SECOND), Ok(1));
        let own = Member { state, ..member(1) };
        fixture.ring.update(vec![own, member(2)]);
        assert_eq!(
            fixture.push(&spans(2), SECOND, SECOND),
            refused(why),
            "{state:?}"
        );
        assert_eq!(fixture.push(&spans(1), SECOND, SECOND), Ok(1));
        assert_eq!(fixture.ledger(), [2, 1, 1]);
    }
}

#[tokio::test]
async fn stopping_generator_refuses_and_a_direct_push_is_never_checked() {
    let fixture = Fixture::new(2);
    fixture.push(&spans(1), SECOND, SECOND).unwrap();
    let own = Member {
        state: MemberState::Leaving,
        ..member(1)
    };
    fixture.ring.update(vec![own, member(2)]);
    let direct = Push {
        tenant: TenantId::parse("acme").unwrap(),
        request: spans(2).into(),
        skip_metrics: false,
    };
    fixture.generator().push(direct).await.unwrap();
    assert_eq!(fixture.ledger(), [2, 2, 0]);

    fixture.ring.update(vec![member(1), member(2)]);
    fixture.generator().stop();
    assert_eq!(
        fixture.push(&spans(3), SECOND, SECOND),
        refused(NotApplied::Stopping)
    );
    assert_eq!(fixture.push(&spans(1), SECOND, SECOND), Ok(1));
    assert_eq!(
        fixture.metric("node_pushes_refused_total{reason=\"stopping\"}"),
        1
    );
}

#[test]
fn push_that_took_longer_than_its_sender_waits_is_dropped() {
    let fixture = Fixture::new(1);
    // The sender's clock is a day ahead.
    let day = 86_400 * SECOND;
    assert_eq!(fixture.push(&spans(1), day, SECOND), Ok(1));
    assert_eq!(fixture.push(&spans(2), day, SECOND + SECOND / 2), Ok(1));
    let late = fixture.push(&spans(3), day - 5 * SECOND, SECOND + SECOND / 2);
    assert_eq!(late, refused(NotApplied::Expired));
    assert_eq!(fixture.ledger(), [2, 2, 0]);
}

#[test]
fn frozen_generator_refuses_until_it_is_back_in_the_ring() {
    let fixture = Fixture::new(1);
    assert_eq!(fixture.push(&spans(1), SECOND, SECOND), Ok(1));
    let frozen = fixture.push(&spans(2), 60 * SECOND, 60 * SECOND);
    assert_eq!(frozen, refused(NotApplied::Frozen));
    // What had lain before it came to is no younger for that.
    let lain = fixture.push(&spans(3), 10 * SECOND, 60 * SECOND);
    assert_eq!(lain, refused(NotApplied::Frozen));
    *fixture.heard.lock() = fixture.begin + 61 * SECOND;
    assert_eq!(fixture.push(&spans(2), 61 * SECOND, 61 * SECOND), Ok(1));
    let lain = fixture.push(&spans(3), 10 * SECOND, 61 * SECOND);
    assert_eq!(lain, refused(NotApplied::Expired));
    assert_eq!(fixture.ledger(), [2, 2, 0]);
}

#[test]
fn only_what_is_clearly_another_generators_is_refused_and_only_after_long_agreement() {
    let fixture = Fixture::new(8);
    let tokens = TraceTokens::new(seed(), &TenantId::parse("acme").unwrap());
    let placement = fixture.ring.placement();
    // Which of a trace's owners g-1 is.
    let rank = |trace: u8| {
        let mut owners = Vec::new();
        for owner in placement.from(tokens.of(&[trace; 16])) {
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
        owners.iter().position(|owner| owner.0 == 0).unwrap()
    };
    let of_rank = |wanted: usize| (1..=255).find(|trace| rank(*trace) == wanted).unwrap();
    let other_ring = 1;
    let push = |rank: usize, placement: u64, arrives: u32| {
        let request = spans(of_rank(rank));
        fixture.push_by(placement, &request, arrives * SECOND, arrives * SECOND)
    };
    let ours = agreement::hash(&placement);
    // Each second one, so that nothing stands still.
    for second in 0..10 {
        assert_eq!(push(7, other_ring, second), Ok(1), "{second}");
    }
    for (rank, placement, want) in [
        (7, ours, Ok(1)),
        (0, other_ring, Ok(1)),
        (2, other_ring, Ok(1)),
        (3, other_ring, refused(NotApplied::NotOwner)),
        (4, other_ring, refused(NotApplied::NotOwner)),
    ] {
        assert_eq!(push(rank, placement, 10), want, "{rank} {placement}");
    }
    // Our view changes, and may be the one that knows less.
    fixture.ring.update((1..=7).map(member).collect());
    assert_eq!(push(3, other_ring, 11), Ok(1));
    assert_eq!(fixture.metric("node_pushes_not_owned_total"), 13);
    assert_eq!(
        fixture.metric("node_pushes_refused_total{reason=\"not_owner\"}"),
        2
    );
}
