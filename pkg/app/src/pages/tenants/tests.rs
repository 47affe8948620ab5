use axum::body::{Body, to_bytes};
use axum::http::Request;
use generator::{Dependencies, GeneratorMetrics, Survey};
use model::{Clock, Push, PushSpans as _};
use overrides::{Processor, Processors, TenantConfig};
use prost::Message as _;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::common::{AnyValue, KeyValue, any_value::Value};
use proto::otlp::resource::Resource;
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

use super::*;
use crate::tenants_api::{CardinalityAnswer, TenantAnswer};

const NOW: u64 = 1_700_000_000_000_000_000;

/// A generator at a standstill of time, and pages that show its tenants.
pub(in crate::pages) fn tenants(config: TenantConfig) -> (Generator, Tenants) {
    let overrides = Overrides::fixed(config);
    let generator = Generator::new(Dependencies {
        overrides: overrides.clone(),
        remote_write: None,
        metrics: GeneratorMetrics::default(),
        clock: Clock::manual(NOW),
        max_lanes: 1,
        deduplicate_pushes: false,
        instance_label: "host-1".into(),
        state_dir: None,
        retire_after: std::time::Duration::ZERO,
    });
    let mut registry = telemetry::new_metrics_registry();
    let distributor = DistributorMetrics::register(&mut registry);
    let mut tenants = Tenants::new(overrides, None, distributor, None);
    tenants.generator = Some(generator.clone());
    (generator, tenants)
}

/// Pages of a generator with span metrics, without histograms.
struct Site {
    generator: Generator,
    tenants: Tenants,
}

impl Site {
    fn new() -> Self {
        let (generator, tenants) = tenants(TenantConfig {
            processors: Processors::from([Processor::SpanMetricsCount, Processor::SpanMetricsSize]),
            ..TenantConfig::default()
        });
        Self { generator, tenants }
    }

    /// Pushes so many spans, each with a name of its own.
    async fn push(&self, tenant: &str, spans: u64) {
        let span = |number: u64| Span {
            trace_id: vec![7; 16],
            span_id: (number + 1).to_be_bytes().to_vec(),
            name: format!("GET /{number}"),
            start_time_unix_nano: NOW - 1_000_000,
            end_time_unix_nano: NOW,
            ..Span::default()
        };
        let service = KeyValue {
            key: "service.name".to_owned(),
            value: Some(AnyValue {
                value: Some(Value::StringValue("shop".to_owned())),
            }),
            ..KeyValue::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: vec![service],
                    ..Resource::default()
                }),
                scope_spans: vec![ScopeSpans {
                    spans: (0..spans).map(span).collect(),
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        let push = Push {
            tenant: TenantId::parse(tenant).unwrap(),
            request: request.encode_to_vec().into(),
            skip_metrics: false,
        };
        self.generator.push(push).await.unwrap();
    }

    async fn ask(&self, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let routes = self.tenants.clone().routes();
        let response = routes.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = self.ask(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The names of all pages of so many tenants.
    async fn paged(&self, sort: &str, limit: usize) -> Vec<Vec<String>> {
        let (mut pages, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/tenants?sort={sort}&limit={limit}&after={after}");
            let page: TenantsAnswer = self.read(&path).await;
            assert_eq!(page.total, 4);
            let names = page.tenants.into_iter().map(|tenant| tenant.tenant);
            pages.push(names.collect());
            match page.next {
                Some(next) => after = next,
                None => return pages,
            }
        }
    }
}

#[tokio::test]
async fn tenants_come_in_the_order_that_is_asked_for_page_by_page() {
    let site = Site::new();
    for (tenant, spans) in [("c", 2), ("a", 5), ("d", 7), ("b", 5)] {
        site.push(tenant, spans).await;
    }
    let want = [vec!["a", "b", "c"], vec!["d"]];
    assert_eq!(site.paged("", 3).await, want);
    for sort in ["series", "rate"] {
        let want = [vec!["d", "a"], vec!["b", "c"]];
        assert_eq!(site.paged(sort, 2).await, want, "{sort}");
    }
    for sort in ["name", "lag", "discards"] {
        let want = [vec!["a", "b", "c", "d"]];
        assert_eq!(site.paged(sort, 4).await, want, "{sort}");
    }
    // Who was last may have gone on meanwhile.
    site.push("a", 9).await;
    let page = "/api/v1/tenants?sort=series&after=14:d";
    let page: TenantsAnswer = site.read(page).await;
    let names: Vec<_> = page.tenants.iter().map(|tenant| &*tenant.tenant).collect();
    assert_eq!(names, ["b", "c"]);
}

#[tokio::test]
async fn tenant_is_shown_with_what_refused_its_spans() {
    let site = Site::new();
    site.push("acme", 3).await;
    let acme: TenantAnswer = site.read("/api/v1/tenants/acme").await;
    assert_eq!(acme.processors, ["span-metrics-count", "span-metrics-size"]);
    assert_eq!((acme.series.active, acme.series.demand), (6, 6));
    assert_eq!((acme.label_sets.active, acme.spans.total), (3, 3));
    assert_eq!(acme.remote_write, None);
    let list: TenantsAnswer = site.read("/api/v1/tenants").await;
    assert_eq!(list.tenants, [acme]);
}

/// Its spans never reached the generator.
#[tokio::test]
async fn tenant_of_whom_every_span_was_refused_is_shown_with_its_limits() {
    let mut config = TenantConfig::default();
    config.registry.max_active_series = 7;
    let (generator, tenants) = tenants(config);
    let distributor = tenants.distributor.clone();
    let tenancy = server::Tenancy::default();
    let config = distributor::DistributorConfig::default();
    let limits = distributor::Limits::new(
        tenants.overrides.clone(),
        server::Budget::unlimited(),
        &config,
    );
    let front = distributor::Distributor::new(tenancy, generator.clone(), distributor, limits);
    let site = Site { generator, tenants };
    // A resource with one span, without ids.
    let request = axum::body::Bytes::from_static(&[0x0a, 4, 0x12, 2, 0x12, 0]);
    let acme = TenantId::parse("acme").unwrap();
    front.push(acme, request, false).await.unwrap();
    let acme: TenantAnswer = site.read("/api/v1/tenants/acme").await;
    assert_eq!((acme.series.limit, acme.spans.total), (7, 0));
    let refused: Vec<_> = acme
        .discards
        .iter()
        .map(|of| (&*of.stage, of.spans))
        .collect();
    assert_eq!(refused, [("distributor", 1)]);
    let list: TenantsAnswer = site.read("/api/v1/tenants?sort=discards").await;
    assert_eq!(list.tenants, [acme]);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_a_reason() {
    let site = Site::new();
    site.push("acme", 1).await;
    let cardinality = "/api/v1/tenants/acme/cardinality";
    for (path, status, reason) in [
        ("/api/v1/tenants?sort=size", 400, "sort is one of name, "),
        ("/api/v1/tenants?after=acme", 400, "after is what "),
        ("/api/v1/tenants/globex", 404, "the tenant has not sent "),
        (
            "/api/v1/tenants/a%2Fb",
            400,
            "tenant id has the character '/'",
        ),
        (
            "/api/v1/tenants/globex/cardinality",
            404,
            "the tenant has not sent ",
        ),
        (
            "/api/v1/tenants/globex/cardinality?enable=host-info",
            404,
            "the tenant has not sent ",
        ),
        (
            &format!("{cardinality}?enable=hosts"),
            400,
            "enable is one of service-graphs, ",
        ),
        (
            &format!("{cardinality}?enable=span-metrics-size"),
            400,
            "span-metrics-size is on for the tenant",
        ),
        (
            &format!("{cardinality}?enable=local-blocks"),
            400,
            "this version does not have local-blocks",
        ),
        (
            &format!("{cardinality}?enable=host-info&for=1h"),
            400,
            "for is between ",
        ),
        (
            &format!("{cardinality}?enable=host-info&for=5"),
            400,
            "for: ",
        ),
    ] {
        let (found, body) = site.ask(path).await;
        assert_eq!(found, status, "{path}: {body}");
        assert!(body.starts_with(reason), "{path}: {body}");
    }
    let acme = TenantId::parse("acme").unwrap();
    let trial = site.generator.what_if(&acme, Processor::HostInfo);
    let path = format!("{cardinality}?enable=service-graphs");
    assert_eq!(site.ask(&path).await.0, 409);
    drop(trial);
    let _permits = site.tenants.trials.acquire_many(4).await.unwrap();
    assert_eq!(site.ask(&path).await.0, 503);
}

#[tokio::test]
async fn cardinality_has_metrics_labels_values_and_what_could_be() {
    let site = Site::new();
    site.push("acme", 5).await;
    let path = "/api/v1/tenants/acme/cardinality?limit=3&drop=span_name,nothing\
                &enable=span-metrics-latency&sketches=true";
    let answer: CardinalityAnswer = site.read(path).await;
    assert_eq!((answer.series, answer.label_sets), (10, 5));
    let metric = |name: &str, series| (name.to_owned(), series);
    let metrics = answer.metrics.iter();
    let metrics: Vec<_> = metrics
        .map(|found| metric(&found.name, found.series))
        .collect();
    assert_eq!(
        metrics,
        [
            metric("traces_spanmetrics_calls_total", 5),
            metric("traces_spanmetrics_size_total", 5)
        ]
    );
    let [family] = answer.families.as_slice() else {
        panic!("{answer:?}");
    };
    // Three of four labels, and three of five values.
    let labels = family.labels.iter();
    let labels: Vec<_> = labels.map(|label| (&*label.name, label.values)).collect();
    assert_eq!(labels, [("span_name", 5), ("service", 1), ("span_kind", 1)]);
    let values = family.labels[0].top.iter();
    let values: Vec<_> = values.map(|value| (&*value.value, value.series)).collect();
    assert_eq!(values, [("GET /0", 2), ("GET /1", 2), ("GET /2", 2)]);
    assert_eq!(family.labels[0].top_error, 0);
    let drop = answer.drop.unwrap();
    assert_eq!(drop.unknown_labels, ["nothing"]);
    assert_eq!((drop.series, drop.series_without), (10, 2));
    assert_eq!(drop.families[0].label_sets_without, 1);
    let enable = answer.enable.unwrap();
    assert!(enable.known && enable.trial.is_none());
    // Fourteen buckets, +Inf, sum and count.
    assert_eq!((enable.label_sets, enable.series), (5, 5 * 17));
    let sketches = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        answer.sketches.unwrap(),
    );
    let acme = TenantId::parse("acme").unwrap();
    let dropped = ["nothing", "span_name"].map(str::to_owned);
    let survey = site.generator.survey(&acme, &dropped).unwrap();
    assert_eq!(Survey::decode(&sketches.unwrap()).unwrap(), survey);
}

#[tokio::test]
async fn trial_counts_what_comes_while_it_lasts() {
    let site = Site::new();
    site.push("acme", 1).await;
    let path = "/api/v1/tenants/acme/cardinality?enable=host-info&for=20ms";
    let answer: CardinalityAnswer = site.read(path).await;
    let enable = answer.enable.unwrap();
    assert!(!enable.known);
    let trial = enable.trial.unwrap();
    assert_eq!((trial.seconds, trial.spans, enable.series), (0.02, 0, 0));
}
