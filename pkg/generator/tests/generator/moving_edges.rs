//! Halves of edges go from one generator to another, when the ring says so.

use std::collections::BTreeMap;

use model::{Clock, Push, TenantId};
use overrides::{Processor, Processors, TenantConfig};
use prost::Message;
use proto::otlp::trace::Span;
use spanmill_generator::{AcceptEdgesError, HandedOver};
use tempfile::TempDir;

use crate::harness::{Harness, MILLISECOND, NOW, SECOND, attributes, request};
use crate::restarts::{CALLS_BETWEEN, graphs};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// Two generators of one cluster.
struct Two {
    source: Harness,
    target: Harness,
    clock: Clock,
}

impl Two {
    fn start(config: &TenantConfig) -> Self {
        let clock = Clock::manual(NOW);
        let start = || Harness::start(config.clone(), true, None, clock.clone());
        Self {
            source: start(),
            target: start(),
            clock: clock.clone(),
        }
    }

    /// Moves all that waits at the source; gives how many spans that were.
    fn move_all(&self) -> u64 {
        let taken = self.source.take(|_| Some(7));
        for part in &taken {
            assert_eq!(part.owner, 7);
            assert_eq!(self.target.accept(part), part.spans);
        }
        taken.iter().map(|part| part.spans).sum()
    }

    /// The sums of both generators' series.
    async fn graph(&self) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (series, value) in self.source.graph().await {
            *sums.entry(series).or_default() += value;
        }
        for (series, value) in self.target.graph().await {
            *sums.entry(series).or_default() += value;
        }
        sums
    }

    fn balance(&self) -> bool {
        self.source.balances() && self.target.balances()
    }
}

impl Harness {
    fn take(&self, owner_of: impl Fn(&[u8; 16]) -> Option<u16>) -> Vec<HandedOver> {
        let taken = self.generator.take_edges(&TenantId::single(), owner_of);
        taken.unwrap()
    }

    fn accept(&self, part: &HandedOver) -> u64 {
        let accepted = self
            .generator
            .accept_edges(&TenantId::single(), &part.halves);
        accepted.unwrap()
    }

    fn push_span(&self, service: &str, span: Span) {
        let pushed = self.push(Push {
            tenant: TenantId::single(),
            request: request(&[("service.name", service)], vec![span])
                .encode_to_vec()
                .into(),
            skip_metrics: false,
        });
        pushed.unwrap();
    }

    fn graph_metric(&self, name: &str) -> u64 {
        let series = format!("processor_service_graphs_{name}{{tenant=\"single-tenant\"}}");
        self.own()[&series]
    }

    fn graph_discards(&self, reason: &str) -> u64 {
        let series = format!(
            "spans_discarded_total{{tenant=\"single-tenant\",processor=\"service-graphs\",reason=\"{reason}\"}}"
        );
        self.own()[&series]
    }

    fn counted(&self) -> u64 {
        let counted = "spans_counted_total{tenant=\"single-tenant\",processor=\"service-graphs\"}";
        self.own()[counted]
    }
}

/// A span of a trace; a client's id is 1, and a server is its child.
fn span(trace: u8, kind: i32, ratio: &str) -> Span {
    let (span_id, parent) = if kind == CLIENT { (1, 9) } else { (2, 1) };
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![span_id; 8],
        parent_span_id: vec![parent; 8],
        kind,
        start_time_unix_nano: NOW - 100 * MILLISECOND,
        end_time_unix_nano: NOW,
        attributes: attributes(&[("ratio", ratio)]),
        ..Span::default()
    }
}

fn only_graphs() -> TenantConfig {
    let mut config = TenantConfig {
        processors: Processors::from_iter([Processor::ServiceGraphs]),
        ..TenantConfig::default()
    };
    config.service_graphs.span_multiplier_key = "ratio".to_owned();
    config
}

const TOTAL: &str = "traces_service_graph_request_total{client=\"a\",server=\"b\"}";

#[tokio::test]
async fn halves_in_different_generators_meet_once_one_is_moved() {
    for (at_source, at_target) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        let two = Two::start(&only_graphs());
        let service = |kind| if kind == CLIENT { "a" } else { "b" };
        two.source
            .push_span(service(at_source), span(1, at_source, "1"));
        two.target
            .push_span(service(at_target), span(1, at_target, "1"));
        assert_eq!(two.move_all(), 1);
        assert_eq!(two.graph().await[TOTAL], 1.0);
        assert_eq!(two.source.graph().await, []);
        assert_eq!(two.source.graph_discards("handed_over"), 1);
        assert_eq!(two.source.graph_metric("waiting_spans"), 0);
        assert_eq!(two.target.graph_metric("spans_taken_over_total"), 1);
        assert_eq!(two.target.graph_metric("waiting_spans"), 0);
        assert_eq!((two.source.counted(), two.target.counted()), (0, 2));
        assert!(two.balance());

        two.clock.set(NOW + 60 * SECOND);
        assert_eq!(two.graph().await[TOTAL], 1.0);
        assert!(two.balance());
    }
}

/// Whatever waits when everything is moved: the series of both generators together are
/// those of one that has had all spans.
#[tokio::test]
async fn edges_are_the_same_whenever_halves_are_moved() {
    let steady = Harness::with(graphs(), true);
    CALLS_BETWEEN
        .iter()
        .for_each(|call| steady.push_call(*call));
    let want: BTreeMap<_, _> = steady.graph().await.into_iter().collect();
    assert!(want.len() > 20, "{want:?}");
    for cut in 1..CALLS_BETWEEN.len() {
        let two = Two::start(&graphs());
        let (before, after) = CALLS_BETWEEN.split_at(cut);
        before.iter().for_each(|call| two.source.push_call(*call));
        two.move_all();
        assert_eq!(two.source.graph_metric("edges"), 0, "{cut}");
        after.iter().for_each(|call| two.target.push_call(*call));
        assert_eq!(two.graph().await, want, "{cut}");
        assert!(two.balance(), "{cut}");

        // Halves that came to the target before are met by those that are moved.
        let two = Two::start(&graphs());
        before.iter().for_each(|call| two.source.push_call(*call));
        after.iter().for_each(|call| two.target.push_call(*call));
        two.move_all();
        assert_eq!(two.graph().await, want, "late, {cut}");
        assert!(two.balance(), "late, {cut}");
    }
}

#[tokio::test]
async fn moved_half_waits_for_what_is_left_of_its_time() {
    let two = Two::start(&only_graphs());
    two.source.push_span("b", span(1, SERVER, "1"));
    two.clock.set(NOW + 6 * SECOND);
    two.move_all();
    two.clock.set(NOW + 9 * SECOND);
    two.target.scrape().await;
    assert_eq!(two.target.graph_metric("waiting_spans"), 1);
    two.clock.set(NOW + 11 * SECOND);
    two.target.scrape().await;
    assert_eq!(two.target.graph_metric("waiting_spans"), 0);
    assert_eq!(two.target.graph_discards("unpaired"), 1);
    assert!(two.balance());
}

/// The weight of an edge is that of the half that came last to any generator.
#[tokio::test]
async fn order_of_arrival_outlives_the_move() {
    let two = Two::start(&only_graphs());
    two.source.push_span("a", span(1, CLIENT, "0.5"));
    two.clock.set(NOW + SECOND);
    two.target.push_span("b", span(1, SERVER, "0.25"));
    two.clock.set(NOW + 2 * SECOND);
    two.move_all();
    assert_eq!(two.graph().await[TOTAL], 4.0);
    assert!(two.balance());
}

#[test]
fn each_owner_gets_its_traces_and_the_others_stay() {
    let two = Two::start(&only_graphs());
    for trace in 1..=6 {
        two.source.push_span("a", span(trace, CLIENT, "1"));
    }
    let taken = two.source.take(|trace_id| match trace_id[0] {
        1 | 4 => Some(8),
        2 => Some(3),
        _ => None,
    });
    let parts: Vec<_> = taken.iter().map(|part| (part.owner, part.spans)).collect();
    assert_eq!(parts, [(3, 1), (8, 2)]);
    assert_eq!(two.source.graph_metric("waiting_spans"), 3);
    two.target.accept(&taken[1]);
    two.target.push_span("b", span(4, SERVER, "1"));
    two.target.push_span("b", span(2, SERVER, "1"));
    assert_eq!(two.target.counted(), 2);
    assert_eq!(two.target.graph_metric("waiting_spans"), 2);
    assert!(two.balance());
}

#[test]
fn many_halves_go_in_parts() {
    let two = Two::start(&only_graphs());
    let spans = (0..5_000_u32).map(|number| {
        let mut span = span(1, CLIENT, "1");
        span.trace_id[..4].copy_from_slice(&number.to_be_bytes());
        span
    });
    let pushed = two.source.push(Push {
        tenant: TenantId::single(),
        request: request(&[("service.name", "a")], spans.collect())
            .encode_to_vec()
            .into(),
        skip_metrics: false,
    });
    pushed.unwrap();
    let taken = two.source.take(|_| Some(1));
    let spans: Vec<u64> = taken.iter().map(|part| part.spans).collect();
    assert_eq!(spans, [4_096, 904]);
    assert!(taken[0].halves.len() < 1 << 20, "{}", taken[0].halves.len());
    for part in &taken {
        two.target.accept(part);
    }
    assert_eq!(two.target.graph_metric("waiting_spans"), 5_000);
    assert!(two.balance());
}

#[test]
fn same_halves_are_taken_in_once() {
    let two = Two::start(&only_graphs());
    two.source.push_span("a", span(1, CLIENT, "1"));
    let taken = two.source.take(|_| Some(1));
    two.target.push_span("b", span(1, SERVER, "1"));
    for _ in 0..2 {
        assert_eq!(two.target.accept(&taken[0]), 1);
        assert_eq!(two.target.counted(), 2);
        assert_eq!(two.target.graph_metric("edges"), 0);
        assert!(two.balance());
    }
}

#[test]
fn damaged_halves_change_nothing() {
    let two = Two::start(&only_graphs());
    two.target.push_span("b", span(1, SERVER, "1"));
    two.source.push_span("a", span(1, CLIENT, "1"));
    let taken = two.source.take(|_| Some(1));
    let halves = &taken[0].halves;
    for end in 0..halves.len() {
        let accepted = two
            .target
            .generator
            .accept_edges(&TenantId::single(), &halves[..end]);
        let error = accepted.unwrap_err();
        assert!(
            matches!(error, AcceptEdgesError::Unreadable { .. }),
            "{end}: {error}"
        );
    }
    assert_eq!(two.target.graph_metric("waiting_spans"), 1);
    assert_eq!(two.target.graph_metric("spans_taken_over_total"), 0);
    two.target.accept(&taken[0]);
    assert_eq!(two.target.counted(), 2);
    assert!(two.balance());
}

#[test]
fn halves_without_service_graphs_are_refused() {
    let two = Two::start(&only_graphs());
    two.source.push_span("a", span(1, CLIENT, "1"));
    let taken = two.source.take(|_| Some(1));
    let without = Harness::new(TenantConfig::default());
    let error = without
        .generator
        .accept_edges(&TenantId::single(), &taken[0].halves)
        .unwrap_err();
    assert_eq!(error.to_string(), "the tenant has no service graphs");
}

#[test]
fn stopped_generator_gives_and_takes_back_but_accepts_none() {
    let two = Two::start(&only_graphs());
    two.source.push_span("a", span(1, CLIENT, "1"));
    two.target.generator.stop();
    two.source.generator.stop();
    let tenant = TenantId::single();
    let taken = two.source.take(|_| Some(1));
    let error = two
        .target
        .generator
        .accept_edges(&tenant, &taken[0].halves)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot take in halves of edges now: the generator is stopping"
    );
    let back = two.source.generator.take_back_edges(&tenant, &taken[0]);
    assert_eq!(back.unwrap(), 1);
    assert_eq!(two.source.graph_metric("waiting_spans"), 1);
    assert!(two.source.balances());
}

/// After a move that failed, halves wait for the next start like others.
#[tokio::test]
async fn halves_taken_back_are_saved() {
    let directory = TempDir::new().unwrap();
    let clock = Clock::manual(NOW);
    let start = || {
        let state = Some(directory.path().join("state"));
        let mut config = graphs();
        config.service_graphs.filter_policies.clear();
        let harness = Harness::start(config, true, state, clock.clone());
        harness.generator.restore().remove();
        harness
    };
    let first = start();
    first.push_span("a", span(1, CLIENT, "1"));
    first.generator.stop();
    let taken = first.take(|_| Some(1));
    let tenant = TenantId::single();
    first.generator.take_back_edges(&tenant, &taken[0]).unwrap();
    first.generator.save();
    let second = start();
    second.push_span("b", span(1, SERVER, "1"));
    let graph: BTreeMap<_, _> = second.graph().await.into_iter().collect();
    assert_eq!(graph[TOTAL], 1.0);
    assert!(second.balances());
}

/// What a planned stop keeps of them is the same format.
#[tokio::test]
async fn halves_are_those_of_their_version() {
    let format = fixtures::Format::new(env!("CARGO_MANIFEST_DIR"), "edges");
    let source = Harness::start(only_graphs(), true, None, Clock::manual(NOW));
    source.push_span("web", span(1, CLIENT, "1"));
    // What arrives at once is in no order.
    source.clock.set(NOW + SECOND);
    source.push_span("shop", span(2, SERVER, "0.5"));
    let [part] = source.take(|_| Some(7)).try_into().unwrap();
    let version: [u8; 4] = part.halves[8..12].try_into().unwrap();
    let version = u32::from_le_bytes(version);
    format.check(version.into(), &part.halves).unwrap();
    for (version, kept) in format.kept().unwrap() {
        let target = Harness::start(only_graphs(), true, None, source.clock.clone());
        let accept = |halves: &[u8]| target.generator.accept_edges(&TenantId::single(), halves);
        assert_eq!(accept(&kept[..]).unwrap(), 2, "{version}");
        target.push_span("shop", span(1, SERVER, "1"));
        target.push_span("web", span(2, CLIENT, "1"));
        let counted: f64 = target.graph().await.iter().map(|(_, value)| value).sum();
        assert!(counted > 0.0, "{version}");
        assert_eq!(target.counted(), 4, "{version}");
        let mut later = kept.clone();
        later[8] += 1;
        let refused = accept(&later[..]).unwrap_err();
        let refused = telemetry::error_chain(&refused).to_string();
        let want = format!("its version {} is not known", version + 1);
        assert!(refused.ends_with(&want), "{refused}");
    }
}

/// What nodes of the version before or after read.
#[test]
fn pushes_that_go_together_and_their_answers_are_those_of_their_version() {
    let pushes = proto::cluster::Pushes {
        lengths: vec![3, 0, 300],
        messages: [b"abc" as &[u8], &[7; 300]].concat().into(),
    };
    let format = fixtures::Format::new(env!("CARGO_MANIFEST_DIR"), "pushes");
    format.check(1, &pushes.encode_to_vec()).unwrap();
    for (version, kept) in format.kept().unwrap() {
        let read = proto::cluster::Pushes::decode(&kept[..]);
        assert_eq!(read, Ok(pushes.clone()), "{version}");
    }
    let taken = proto::cluster::PushAnswer {
        outcome: Some(proto::cluster::PushOutcome {
            spans: 300,
            rejected_spans: 2,
            message: "why".to_owned(),
        }),
        ..Default::default()
    };
    let refused = proto::cluster::PushAnswer {
        code: 14,
        message: "the generator is leaving".to_owned(),
        not_applied: "leaving".to_owned(),
        outcome: None,
    };
    let answers = proto::cluster::PushAnswers {
        answers: vec![taken, refused],
    };
    let format = fixtures::Format::new(env!("CARGO_MANIFEST_DIR"), "push-answers");
    format.check(1, &answers.encode_to_vec()).unwrap();
    for (version, kept) in format.kept().unwrap() {
        let read = proto::cluster::PushAnswers::decode(&kept[..]);
        assert_eq!(read, Ok(answers.clone()), "{version}");
    }
}

/// What a distributor of the version before or after reads.
#[test]
fn answer_to_a_push_is_that_of_its_version() {
    let format = fixtures::Format::new(env!("CARGO_MANIFEST_DIR"), "push-outcome");
    let outcome = proto::cluster::PushOutcome {
        spans: 300,
        rejected_spans: 2,
        message: "why".to_owned(),
    };
    format.check(1, &outcome.encode_to_vec()).unwrap();
    for (version, mut kept) in format.kept().unwrap() {
        // A field of a later version: number 15, a number.
        kept.extend([15 << 3, 1]);
        let read = proto::cluster::PushOutcome::decode(&kept[..]);
        assert_eq!(read, Ok(outcome.clone()), "{version}");
    }
}
