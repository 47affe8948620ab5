//! What is said of single spans is what becomes of them: the ledger has the same counts,
//! and the same series are there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use model::{Push, TenantId};
use overrides::{
    DimensionMapping, FilterPolicy, MatchType, PolicyAttribute, PolicyMatch, PolicyValue,
    Processor, Processors, SpanNameSanitization, TenantConfig,
};
use proptest::prelude::*;
use prost::Message as _;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::trace::span::Link;
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span, Status};
use spanmill_generator::explain::{Explanation, Question, ReachedSeries, Verdict, explain};

use crate::harness::{Harness, NOW, SECOND, attributes, request};

/// A part of the ledger, and how many spans are in it.
type Counts = BTreeMap<(String, String), u64>;

fn config() -> TenantConfig {
    TenantConfig {
        processors: Processors::from([
            Processor::SpanMetrics,
            Processor::ServiceGraphs,
            Processor::HostInfo,
        ]),
        ..TenantConfig::default()
    }
}

fn policy(key: &str, match_type: MatchType, value: &str) -> PolicyMatch {
    PolicyMatch {
        match_type,
        attributes: vec![PolicyAttribute {
            key: key.to_owned(),
            value: PolicyValue::Text(value.to_owned()),
        }],
    }
}

/// Settings that between them have every rule.
fn configs() -> Vec<(&'static str, TenantConfig)> {
    let plain = config();
    let mut labels = config();
    let span_metrics = &mut labels.span_metrics;
    span_metrics.dimensions = ["http.method", "db.name", "service", "1st"]
        .map(str::to_owned)
        .into();
    span_metrics.dimension_mappings = vec![DimensionMapping {
        name: "both".to_owned(),
        source_labels: vec!["http.method".to_owned(), "http.route".to_owned()],
        join: " ".to_owned(),
    }];
    span_metrics.intrinsic_dimensions.status_message = true;
    span_metrics.enable_target_info = true;
    span_metrics.span_multiplier_key = "ratio".to_owned();
    labels.registry.external_labels = [("zone".to_owned(), "a".to_owned())].into();
    labels.registry.max_label_value_length = 12;
    labels.registry.span_name_sanitization = SpanNameSanitization::Enabled;
    labels.service_graphs.dimensions = vec!["http.method".to_owned()];
    labels.service_graphs.enable_client_server_prefix = true;
    let mut filters = config();
    filters.span_metrics.filter_policies = vec![
        FilterPolicy {
            include: Some(policy("kind", MatchType::Regex, "CLIENT|SERVER")),
            exclude: Some(policy("span.http.method", MatchType::Strict, "GET")),
        },
        FilterPolicy {
            include: Some(policy("resource.service.name", MatchType::Regex, ".")),
            exclude: None,
        },
    ];
    filters.service_graphs.filter_policies = vec![FilterPolicy {
        include: None,
        exclude: Some(policy("status", MatchType::Strict, "STATUS_CODE_ERROR")),
    }];
    filters.service_graphs.enable_virtual_node_label = true;
    let mut bridged = config();
    bridged.service_graphs.bridge_internal_spans = true;
    bridged.service_graphs.database_wait_for_server = true;
    bridged.service_graphs.enable_unpaired_metrics = true;
    let mut linked = config();
    linked.service_graphs.use_span_links = true;
    linked
        .service_graphs
        .enable_messaging_system_latency_histogram = true;
    let mut limited = config();
    limited.registry.max_active_series = 60;
    let mut full = config();
    full.service_graphs.max_items = 2;
    full.service_graphs.enable_unpaired_metrics = true;
    let mut one = config();
    one.processors = Processors::from([Processor::SpanMetricsCount]);
    vec![
        ("plain", plain),
        ("labels", labels),
        ("filters", filters),
        ("bridged", bridged),
        ("linked", linked),
        ("limited", limited),
        ("full", full),
        ("one", one),
    ]
}

fn explained(config: &TenantConfig, request: &[u8]) -> Explanation {
    explain(&Question {
        tenant: TenantId::single(),
        config: Arc::new(config.clone()),
        instance_label: "host-1".into(),
        request,
        now_unix_nanos: Some(NOW),
    })
    .unwrap()
}

/// What an explanation comes to.
fn counts_told(explanation: &Explanation) -> Counts {
    let mut counts = Counts::new();
    for span in &explanation.spans {
        if let Some(refused) = span.refused {
            let by = if refused.by == "generator" {
                "all"
            } else {
                refused.by
            };
            *counts
                .entry((by.to_owned(), refused.reason.to_owned()))
                .or_default() += 1;
        }
        for processor in &span.processors {
            let what = match processor.verdict {
                Verdict::Counted => "counted",
                Verdict::Discarded(reason) => reason,
                Verdict::Off => continue,
            };
            *counts
                .entry((processor.processor.to_owned(), what.to_owned()))
                .or_default() += 1;
        }
    }
    counts
}

/// The ledger of a generator.
fn counts_of(own: &BTreeMap<String, u64>) -> Counts {
    let mut counts = Counts::new();
    for (series, spans) in own {
        let Some((name, labels)) = series.split_once('{') else {
            continue;
        };
        let of = |label: &str| {
            let (_, rest) = labels.split_once(&format!("{label}=\"")).unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let what = match name {
            "spans_counted_total" => "counted".to_owned(),
            "spans_discarded_total" => of("reason"),
            _ => continue,
        };
        if *spans > 0 {
            counts.insert((of("processor"), what), *spans);
        }
    }
    counts
}

/// A series as a scrape has it; of a histogram its count.
fn scraped(series: &ReachedSeries) -> String {
    let suffix = if series.kind == "histogram" {
        "_count"
    } else {
        ""
    };
    let labels: Vec<_> = series
        .labels
        .iter()
        .map(|(name, value)| {
            let value = value
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            format!("{name}=\"{value}\"")
        })
        .collect();
    match labels.is_empty() {
        true => format!("{}{suffix}", series.metric),
        false => format!("{}{suffix}{{{}}}", series.metric, labels.join(",")),
    }
}

/// Checks that what is said of a request is what becomes of it.
async fn agree(what: &str, config: &TenantConfig, bytes: &[u8]) {
    let explanation = explained(config, bytes);
    let harness = Harness::with(config.clone(), false);
    let checked = otlp::validate::check(bytes).unwrap();
    let rejected = checked.rejected.total();
    let pushed = checked.rewritten.unwrap_or_else(|| bytes.to_vec());
    // Whom a limit meets depends on what comes first: each span by itself, or all of a
    // request to one processor after the other.
    let is_limited = config.registry.max_active_series > 0 || config.service_graphs.max_items < 9;
    let pushes = match is_limited {
        false => vec![pushed],
        true => singles(&ExportTraceServiceRequest::decode(&pushed[..]).unwrap()),
    };
    // The distributor sends nothing on if there is nothing left.
    let is_sent = checked.spans > rejected;
    for request in pushes.into_iter().filter(|_| is_sent) {
        let push = Push {
            tenant: TenantId::single(),
            request: Bytes::from(request),
            skip_metrics: false,
        };
        harness.push(push).unwrap();
    }
    harness.clock.set(NOW + 11 * SECOND);
    let samples = harness.scrape().await;
    let mut told = counts_told(&explanation);
    let refused: u64 = told
        .extract_if(.., |(by, _), _| by == "distributor")
        .map(|(_, spans)| spans)
        .sum();
    assert_eq!(refused, rejected, "{what}");
    assert_eq!(told, counts_of(&harness.own()), "{what}");
    let there: BTreeSet<String> = samples
        .into_keys()
        .filter(|series| {
            let name = series.split('{').next().unwrap_or_default();
            !name.ends_with("_bucket") && !name.ends_with("_sum")
        })
        .collect();
    let reached = explanation.spans.iter().flat_map(|span| &span.processors);
    let of_processors = reached.flat_map(|processor| &processor.series);
    let of_resources = explanation.spans.iter().flat_map(|span| &span.series);
    let reached: BTreeSet<String> = of_processors.chain(of_resources).map(scraped).collect();
    let only_told: Vec<_> = reached.difference(&there).collect();
    let only_there: Vec<_> = there.difference(&reached).collect();
    assert_eq!((only_told, only_there), (vec![], vec![]), "{what}");
}

/// Each span of a request by itself, and resources without spans.
fn singles(request: &ExportTraceServiceRequest) -> Vec<Vec<u8>> {
    let mut singles = Vec::new();
    for resource in &request.resource_spans {
        let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
        let mut each: Vec<_> = spans.map(|span| vec![span.clone()]).collect();
        if each.is_empty() {
            each.push(Vec::new());
        }
        for spans in each {
            let single = ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    spans,
                    ..ScopeSpans::default()
                }],
                ..resource.clone()
            };
            let single = ExportTraceServiceRequest {
                resource_spans: vec![single],
            };
            singles.push(single.encode_to_vec());
        }
    }
    singles
}

#[tokio::test]
async fn recorded_spans_become_what_is_said_of_them_together_and_each_alone() {
    let inputs =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../integration/testdata/conformance/inputs");
    let mut spans = 0;
    for set in ["edge", "real", "crash-nil-resource", "crash-nil-value"] {
        let files = std::fs::read_dir(inputs.join(set)).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        for (number, path) in files.into_iter().enumerate() {
            // A host that sends no spans has a series all the same.
            if path.ends_with("000048-hostinfo-nospans.pb") {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let single = ExportTraceServiceRequest::decode(&bytes[..]);
            for (place, (name, config)) in configs().into_iter().enumerate() {
                // There are many of these, much alike: a few for each.
                if set == "real" && number % configs().len() != place {
                    continue;
                }
                if single.is_err() && ["limited", "full"].contains(&name) {
                    continue;
                }
                let what = format!("{} {name}", path.display());
                agree(&what, &config, &bytes).await;
                if set == "real" || name == "labels" {
                    for single in single.iter().flat_map(singles) {
                        agree(&what, &config, &single).await;
                        spans += 1;
                    }
                }
            }
        }
    }
    assert!(spans > 100, "{spans}");
}

/// The findings of a processor's rules of one name, for each span.
fn findings(explanation: &Explanation, rule: &str) -> Vec<Vec<String>> {
    let spans = explanation.spans.iter();
    spans
        .map(|span| {
            let rules = span
                .processors
                .iter()
                .flat_map(|processor| &processor.rules);
            let rules = rules.filter(|of| of.rule.starts_with(rule));
            rules
                .map(|of| format!("{}: {}", of.rule, of.finding))
                .collect()
        })
        .collect()
}

#[test]
fn the_clause_that_decides_and_the_limits_that_are_reached_are_named() {
    let span = |id: u8, kind, method| Span {
        trace_id: vec![1; 16],
        span_id: vec![id; 8],
        kind,
        name: format!("call {id}"),
        end_time_unix_nano: NOW,
        attributes: attributes(&[("http.method", method)]),
        ..Span::default()
    };
    let spans = vec![span(1, 2, "GET"), span(2, 2, "PUT"), span(3, 5, "PUT")];
    let bytes = request(&[("service.name", "a")], spans).encode_to_vec();
    let (_, mut filters) = configs()
        .into_iter()
        .find(|(name, _)| *name == "filters")
        .unwrap();
    filters.processors = Processors::from([Processor::SpanMetrics]);
    let told = findings(&explained(&filters, &bytes), "filter_policies[0].");
    let kind = |kind: &str| {
        format!(
            "filter_policies[0].include: kind is {kind:?}, which matches \"CLIENT|SERVER\": passes"
        )
    };
    assert_eq!(
        told,
        [
            vec![
                kind("SPAN_KIND_SERVER"),
                "filter_policies[0].exclude: span.http.method is \"GET\": refused".to_owned(),
            ],
            vec![
                kind("SPAN_KIND_SERVER"),
                "filter_policies[0].exclude: span.http.method is \"PUT\", not \"GET\": passes"
                    .to_owned(),
            ],
            vec![
                "filter_policies[0].include: kind is \"SPAN_KIND_CONSUMER\", which does not \
                 match \"CLIENT|SERVER\": refused"
                    .to_owned(),
            ],
        ]
    );
    let mut limited = config();
    limited.processors = Processors::from([Processor::SpanMetricsCount]);
    limited.registry.max_active_series = 2;
    let told = findings(&explained(&limited, &bytes), "limit");
    let reached = "limit of active series: there are as many as there may be: it counts in the \
                   series that all others share";
    assert_eq!(told, [vec![], vec![], vec![reached.to_owned()]]);
}

/// Spans that meet: few ids, services, kinds and attributes.
fn any_span() -> impl Strategy<Value = (u8, Span)> {
    let ids = (0_u8..3, 1_u8..6, 0_u8..6, 0_i32..7);
    let rest = (0_u8..4, 0_u8..4, any::<bool>(), 0_u8..6, 0_u64..70);
    (ids, rest).prop_map(
        |((trace, id, parent, kind), (service, attribute, is_failed, link, ago))| {
            let pairs: &[(&str, &str)] = match attribute {
                0 => &[],
                1 => &[("http.method", "GET"), ("http.route", "/a \"b\"\\")],
                2 => &[
                    ("db.name", "orders"),
                    ("peer.service", "shop"),
                    ("ratio", "0.25"),
                ],
                _ => &[("peer.service", "mail"), ("ratio", "often"), ("1st", "x")],
            };
            let mut span = Span {
                trace_id: vec![trace; 16],
                span_id: vec![id; 8],
                parent_span_id: if parent == 0 {
                    Vec::new()
                } else {
                    vec![parent; 8]
                },
                kind,
                name: format!("call {id} of a long name"),
                start_time_unix_nano: NOW - ago * SECOND - u64::from(id),
                end_time_unix_nano: NOW - ago * SECOND,
                attributes: attributes(pairs),
                ..Span::default()
            };
            if is_failed {
                span.status = Some(Status {
                    code: 2,
                    message: "it failed".to_owned(),
                });
            }
            if link > 0 {
                span.links.push(Link {
                    trace_id: vec![trace.max(1); 16],
                    span_id: vec![link; 8],
                    ..Link::default()
                });
            }
            (service, span)
        },
    )
}

fn request_of(spans: Vec<(u8, Span)>) -> ExportTraceServiceRequest {
    let mut whole = ExportTraceServiceRequest::default();
    for (service, span) in spans {
        let resource: &[(&str, &str)] = match service {
            0 => &[],
            1 => &[
                ("service.name", "a"),
                ("host.id", "h1"),
                ("service.namespace", "n"),
            ],
            2 => &[
                ("service.name", "b"),
                ("http.method", "PUT"),
                ("k8s.node.name", "k"),
            ],
            _ => &[("service.name", "c")],
        };
        let single = request(resource, vec![span]);
        whole.resource_spans.extend(single.resource_spans);
    }
    whole
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// forall spans and settings: what is said is what becomes of them.
    #[test]
    fn spans_become_what_is_said_of_them(spans in prop::collection::vec(any_span(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = request_of(spans).encode_to_vec();
        for (name, config) in configs() {
            runtime.block_on(agree(name, &config, &bytes));
        }
    }
}
