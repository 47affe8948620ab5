//! What is said of a tenant is what it has, and what it would have is what it gets.

use model::{Push, TenantId};
use overrides::{Processor, Processors, TenantConfig};
use prost::Message as _;
use proto::otlp::trace::Span;
use registry::{Limits, MetricSurvey};
use spanmill_generator::{Discards, Trial, WhatIf, WhatIfError};

use crate::harness::{Harness, MILLISECOND, NOW, SECOND, request};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

fn with(processors: &[Processor]) -> Harness {
    Harness::new(TenantConfig {
        processors: processors.iter().copied().collect(),
        ..TenantConfig::default()
    })
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn span(trace: u64, kind: i32, end: u64) -> Span {
    Span {
        trace_id: [trace.to_be_bytes(), [7; 8]].concat(),
        span_id: vec![if kind == CLIENT { 1 } else { 2 }; 8],
        parent_span_id: vec![1; if kind == CLIENT { 0 } else { 8 }],
        name: format!("GET /{}", trace % 5),
        kind,
        start_time_unix_nano: end - MILLISECOND,
        end_time_unix_nano: end,
        ..Span::default()
    }
}

impl Harness {
    fn push_of(&self, resource: &[(&str, &str)], spans: Vec<Span>) {
        let request = request(resource, spans).encode_to_vec();
        let push = Push {
            tenant: acme(),
            request: request.into(),
            skip_metrics: false,
        };
        self.push(push).unwrap();
    }

    /// Calls from a shop to three other services, and one call whose end is missing.
    fn push_calls(&self) {
        for (at, callee) in ["cart", "pay", "ship"].iter().enumerate() {
            let trace = at as u64;
            let client = vec![span(trace, CLIENT, NOW)];
            self.push_of(&[("service.name", "shop")], client);
            let server = vec![span(trace, SERVER, NOW)];
            self.push_of(&[("service.name", callee)], server);
        }
        self.push_of(&[("service.name", "shop")], vec![span(99, CLIENT, NOW)]);
    }

    fn active_series(&self) -> u64 {
        let overview = self.generator.overview(&acme()).unwrap();
        overview.registry.active.series
    }

    fn trial(&self, processor: Processor) -> Trial {
        let begun = match self.generator.what_if(&acme(), processor).unwrap() {
            WhatIf::Trial(trial) => Some(trial),
            WhatIf::Known(_) => None,
        };
        begun.unwrap()
    }
}

#[test]
fn overview_has_what_came_in_and_what_became_of_it() {
    let mut config = TenantConfig {
        processors: Processors::from([Processor::SpanMetricsCount]),
        ..TenantConfig::default()
    };
    config.registry.max_active_series = 3;
    let harness = Harness::new(config);
    assert!(harness.generator.overview(&acme()).is_none());
    let spans: Vec<_> = (0..5).map(|trace| span(trace, SERVER, NOW)).collect();
    let old = span(9, SERVER, NOW - 60 * SECOND);
    harness.push_of(&[("service.name", "shop")], [spans, vec![old]].concat());
    harness.clock.set(NOW + 2 * SECOND);
    let overview = harness.generator.overview(&acme()).unwrap();
    assert_eq!(overview.registry.active.series, 3);
    assert_eq!(overview.registry.demand.series, 5);
    assert_eq!((overview.spans, overview.spans_overflowed), (6, 2));
    assert_eq!(overview.rate.spans, 3.0);
    assert_eq!(overview.rate.bytes, overview.bytes as f64 / 2.0);
    let limits = Limits {
        max_active_series: 3,
        ..Limits::default()
    };
    assert_eq!(overview.limits, limits);
    let discards = Discards {
        stage: "all",
        reason: "outside_metrics_ingestion_slack",
        spans: 1,
    };
    assert_eq!(overview.discards, [discards]);
    assert_eq!(overview.collected_ms, None);
    let standings = harness.generator.standings();
    let [(tenant, standing)] = standings.as_slice() else {
        panic!("{standings:?}");
    };
    assert_eq!(*tenant, acme());
    assert_eq!((standing.active_series, standing.discarded), (3, 1));
    harness.generator.stop();
    let overview = harness.generator.overview(&acme()).unwrap();
    let now_ms = (NOW / MILLISECOND) as i64 + 2_000;
    assert_eq!(overview.collected_ms, Some(now_ms));
}

#[test]
fn further_metrics_of_the_same_label_sets_are_known_at_once() {
    let harness = with(&[Processor::SpanMetricsCount]);
    harness.push_calls();
    let before = harness.active_series();
    let known = match harness.generator.what_if(&acme(), Processor::SpanMetrics) {
        Ok(WhatIf::Known(known)) => known,
        other => panic!("{other:?}"),
    };
    let names: Vec<_> = known.metrics.iter().map(|metric| &*metric.name).collect();
    let want = [
        "traces_spanmetrics_latency",
        "traces_spanmetrics_size_total",
    ];
    assert_eq!(names, want);
    let series: u64 = known.metrics.iter().map(|metric| metric.series).sum();
    let really = with(&[Processor::SpanMetrics]);
    really.push_calls();
    assert_eq!(before + known.label_sets * series, really.active_series());
}

#[test]
fn trial_finds_what_the_processor_then_makes() {
    let harness = with(&[Processor::SpanMetrics]);
    harness.push_calls();
    let before = harness.active_series();
    let trial = harness.trial(Processor::ServiceGraphs);
    // What came before is no part of it; what comes is counted as ever besides.
    assert_eq!(trial.so_far().series, 0);
    harness.push_of(&[("service.name", "bank")], vec![span(50, SERVER, NOW)]);
    for trace in 0..7 {
        let client = vec![span(100 + trace, CLIENT, NOW)];
        harness.push_of(&[("service.name", "shop")], client);
        let server = vec![span(100 + trace, SERVER, NOW)];
        let callee = format!("callee-{}", trace % 4);
        harness.push_of(&[("service.name", &callee)], server);
    }
    let so_far = trial.so_far();
    let tried = trial.finish();
    assert_eq!((tried.spans, tried.waiting_spans), (15, 1));
    assert_eq!(tried.survey.series(), so_far.series);
    let [(metrics, family)] = tried.survey.families.iter().collect::<Vec<_>>()[..] else {
        panic!("{:?}", tried.survey);
    };
    assert!(metrics.contains(&MetricSurvey {
        name: "traces_service_graph_request_total".to_owned(),
        series: 1
    }));
    assert_eq!(family.label_sets, 4);
    assert_eq!(family.labels["server"].distinct_values(), 4);
    assert!(
        !harness
            .own()
            .contains_key("processor_service_graphs_edges{tenant=\"acme\"}")
    );
    // The label sets of span metrics are those of the pushes.
    let really = with(&[Processor::SpanMetrics, Processor::ServiceGraphs]);
    let only = with(&[Processor::SpanMetrics]);
    for other in [&really, &only] {
        for trace in 0..7 {
            let client = vec![span(100 + trace, CLIENT, NOW)];
            other.push_of(&[("service.name", "shop")], client);
            let server = vec![span(100 + trace, SERVER, NOW)];
            let callee = format!("callee-{}", trace % 4);
            other.push_of(&[("service.name", &callee)], server);
        }
    }
    let added = really.active_series() - only.active_series();
    assert_eq!(added, tried.survey.series());
    assert!(harness.active_series() > before);
}

#[test]
fn edges_that_wait_for_too_long_during_a_trial_are_in_it() {
    let harness = with(&[Processor::SpanMetrics]);
    harness.push_calls();
    let trial = harness.trial(Processor::ServiceGraphs);
    // A call of which no server tells.
    let mut call = span(200, CLIENT, NOW);
    call.attributes = crate::harness::attributes(&[("peer.service", "bank")]);
    harness.push_of(&[("service.name", "shop")], vec![call]);
    assert_eq!(trial.so_far().entities, 0);
    harness.clock.set(NOW + 60 * SECOND);
    let tried = trial.finish();
    assert_eq!(tried.survey.families.values().next().unwrap().label_sets, 1);
    assert_eq!(tried.waiting_spans, 0);
}

#[test]
fn trial_of_very_many_label_sets_keeps_some_and_estimates_the_others() {
    let harness = with(&[Processor::SpanMetrics]);
    harness.push_calls();
    let trial = harness.trial(Processor::HostInfo);
    for host in 0..12_000 {
        let resource = [("service.name", "shop"), ("host.id", &*format!("h{host}"))];
        harness.push_of(&resource, vec![span(host, SERVER, NOW)]);
    }
    let tried = trial.finish();
    let family = tried.survey.families.values().next().unwrap();
    assert_eq!(family.label_sets, 10_000);
    assert!(family.refused.abs_diff(2_000) < 200, "{}", family.refused);
}

#[test]
fn what_cannot_be_tried_is_refused_and_a_trial_ends_with_its_owner() {
    let harness = with(&[Processor::SpanMetrics]);
    let what_if = |processor| harness.generator.what_if(&acme(), processor);
    let unknown = what_if(Processor::HostInfo).unwrap_err();
    assert_eq!(unknown, WhatIfError::UnknownTenant);
    harness.push_calls();
    for processor in [Processor::SpanMetrics, Processor::SpanMetricsSize] {
        let error = what_if(processor).unwrap_err();
        assert_eq!(error, WhatIfError::On { processor });
    }
    let processor = Processor::LocalBlocks;
    let unavailable = what_if(processor).unwrap_err();
    assert_eq!(unavailable, WhatIfError::Unavailable { processor });
    let trial = harness.trial(Processor::HostInfo);
    let busy = what_if(Processor::ServiceGraphs).unwrap_err();
    assert_eq!(busy, WhatIfError::Busy);
    drop(trial);
    harness.trial(Processor::ServiceGraphs);
}

#[test]
fn survey_is_of_the_tenants_series() {
    let harness = with(&[Processor::SpanMetrics, Processor::ServiceGraphs]);
    assert!(harness.generator.survey(&acme(), &[]).is_none());
    harness.push_calls();
    let survey = harness.generator.survey(&acme(), &[]).unwrap();
    assert_eq!(survey.series(), harness.active_series());
}
