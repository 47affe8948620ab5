use proptest::prelude::*;
use prost::Message;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::common::{AnyValue, KeyValue, any_value::Value};
use proto::otlp::resource::Resource;
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};

use overrides::TenantConfig;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn tracker(dimensions: &[(&str, &str)], max_cardinality: u64) -> (UsageTracker, Clock) {
    let mut config = TenantConfig::default();
    let owned = |(attribute, label): &(&str, &str)| (attribute.to_string(), label.to_string());
    config.cost_attribution.dimensions = dimensions.iter().map(owned).collect();
    config.cost_attribution.max_cardinality = max_cardinality;
    let clock = Clock::manual(SECOND);
    let on = CostAttributionConfig {
        enabled: true,
        ..CostAttributionConfig::default()
    };
    let tracker = UsageTracker::new(&on, Overrides::fixed(config), clock.clone());
    (tracker, clock)
}

fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    let attribute = |(key, value): &(&str, &str)| KeyValue {
        key: key.to_string(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_string())),
        }),
        ..KeyValue::default()
    };
    pairs.iter().map(attribute).collect()
}

fn resource(service: &str, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource {
            attributes: attributes(&[("service.name", service)]),
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans {
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }
}

fn span(team: &str) -> Span {
    Span {
        attributes: attributes(&[("team", team)]),
        ..Span::default()
    }
}

fn request(resource_spans: Vec<ResourceSpans>) -> Vec<u8> {
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// Samples of one metric: labels before those of every series, and value.
fn samples(tracker: &UsageTracker, metric: &str) -> Vec<(String, u64)> {
    let text = tracker.text().unwrap();
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{'));
    let sample = |line: &str| {
        let (labels, value) = line.rsplit_once("} ").unwrap();
        let labels = labels
            .strip_suffix(",tracker=\"cost-attribution\"")
            .unwrap();
        (labels.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

fn bytes(tracker: &UsageTracker) -> Vec<(String, u64)> {
    samples(tracker, "tempo_usage_tracker_bytes_received_total")
}

fn spans(tracker: &UsageTracker) -> Vec<(String, u64)> {
    samples(tracker, "spanmill_usage_tracker_spans_received_total")
}

#[test]
fn bytes_of_resources_go_to_their_services() {
    let (tracker, _) = tracker(&[("resource.service.name", "service")], 0);
    let (shop, cart) = (
        resource("shop", vec![span("a"), span("b")]),
        resource("cart", vec![span("a")]),
    );
    // Beside a message of fewer than 128 bytes stand its tag and its length.
    let want = |message: &ResourceSpans| message.encoded_len() as u64 + 2;
    let want = [
        ("service=\"cart\",tenant=\"acme\"".to_owned(), want(&cart)),
        ("service=\"shop\",tenant=\"acme\"".to_owned(), want(&shop)),
    ];
    tracker.received(&tenant("acme"), &request(vec![shop, cart]));
    assert_eq!(bytes(&tracker), want);
    let counts: Vec<_> = spans(&tracker)
        .into_iter()
        .map(|(_, spans)| spans)
        .collect();
    assert_eq!(counts, [1, 2]);
}

#[test]
fn what_a_resource_has_besides_is_shared_by_its_spans() {
    let (tracker, _) = tracker(&[("span.team", "")], 0);
    let shop = resource("shop", vec![span("a"), span("b"), Span::default()]);
    let besides = (shop.encoded_len() + 2 - 2 * (span("a").encoded_len() + 2) - 2) as u64;
    let scope = 2;
    let resource = besides - scope;
    // Two bytes of the scope for three spans: the first two have one each.
    let share = |index: u64| resource / 3 + u64::from(index < resource % 3) + u64::from(index < 2);
    let own = (span("a").encoded_len() + 2) as u64;
    tracker.received(&tenant("acme"), &request(vec![shop]));
    assert_eq!(
        bytes(&tracker),
        [
            (
                "team=\"__missing__\",tenant=\"acme\"".to_owned(),
                2 + share(2)
            ),
            ("team=\"a\",tenant=\"acme\"".to_owned(), own + share(0)),
            ("team=\"b\",tenant=\"acme\"".to_owned(), own + share(1)),
        ]
    );
}

#[test]
fn label_sets_over_the_limit_are_counted_together() {
    let (tracker, _) = tracker(&[("span.team", ""), ("region", "")], 2);
    for team in ["a", "b", "c", "d", "a"] {
        tracker.received(
            &tenant("acme"),
            &request(vec![resource("shop", vec![span(team)])]),
        );
    }
    let label =
        |region: &str, team: &str| format!("region=\"{region}\",team=\"{team}\",tenant=\"acme\"");
    assert_eq!(
        spans(&tracker),
        [
            (label("__missing__", "a"), 2),
            (label("__missing__", "b"), 1),
            (label("__overflow__", "__overflow__"), 2),
        ]
    );
}

#[test]
fn stale_label_sets_and_tenants_are_forgotten() {
    let (tracker, clock) = tracker(&[("span.team", "")], 0);
    let of = |team: &str| request(vec![resource("shop", vec![span(team)])]);
    tracker.received(&tenant("acme"), &of("a"));
    tracker.received(&tenant("idle"), &of("a"));
    clock.set(SECOND * 600);
    tracker.received(&tenant("acme"), &of("b"));
    clock.set(SECOND * 902);
    assert_eq!(
        spans(&tracker),
        [("team=\"b\",tenant=\"acme\"".to_owned(), 1)]
    );
    let tenants = tracker.0.as_ref().unwrap().tenants.read().len();
    assert_eq!(tenants, 1);
    tracker.received(&tenant("acme"), &of("a"));
    // Nobody looks any more, and another tenant's push sees to it.
    clock.set(SECOND * 2_000);
    tracker.received(&tenant("new"), &of("a"));
    let tenants = tracker.0.as_ref().unwrap().tenants.read();
    assert_eq!(
        tenants.keys().map(AsRef::as_ref).collect::<Vec<_>>(),
        ["new"]
    );
}

#[test]
fn tenants_that_are_too_many_are_counted_together() {
    let (mut tracker, _) = tracker(&[("span.team", "")], 0);
    Arc::get_mut(tracker.0.as_mut().unwrap())
        .unwrap()
        .max_tenants = 1;
    let request = request(vec![resource("shop", vec![span("a")])]);
    for id in ["one", "two", "three", "one"] {
        tracker.received(&tenant(id), &request);
    }
    assert_eq!(
        spans(&tracker),
        [
            ("tenant=\"<other>\"".to_owned(), 2),
            ("team=\"a\",tenant=\"one\"".to_owned(), 2),
        ]
    );
}

#[tokio::test]
async fn page_says_when_it_is_off() {
    let (tracker, _) = tracker(&[], 0);
    tracker.received(
        &tenant("acme"),
        &request(vec![resource("shop", vec![span("a")])]),
    );
    for (tracker, status, want) in [
        (UsageTracker::default(), 404, NOT_ENABLED),
        (
            tracker,
            200,
            "spans_received_total{tenant=\"acme\",tracker=\"cost-attribution\"} 1\n",
        ),
    ] {
        let get = axum::http::Request::get(PATH).body(axum::body::Body::empty());
        let response = tower::ServiceExt::oneshot(tracker.routes(), get.unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), status);
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.ends_with(want), "{body}");
    }
}

fn any_resource() -> impl Strategy<Value = ResourceSpans> {
    let span = prop::sample::select(vec!["", "a", "b", "a longer name of a team"]).prop_map(span);
    let scope =
        (prop::collection::vec(span, 0..5), "[a-z]{0,40}").prop_map(|(spans, url)| ScopeSpans {
            spans,
            schema_url: url,
            ..ScopeSpans::default()
        });
    (prop::collection::vec(scope, 0..4), "[a-c]{0,3}").prop_map(|(scope_spans, service)| {
        ResourceSpans {
            scope_spans,
            ..resource(&service, vec![])
        }
    })
}

proptest! {
    /// forall requests, dimensions and limits: what is attributed = what was received.
    #[test]
    fn attributed_sum_is_what_was_received(
        requests in prop::collection::vec(prop::collection::vec(any_resource(), 0..4), 1..6),
        dimensions in prop::sample::subsequence(vec!["service.name", "span.team", "resource.team"], 0..3),
        max_cardinality in 0..4_u64,
        unknown in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let dimensions: Vec<_> = dimensions.into_iter().map(|name| (name, "")).collect();
        let (tracker, _) = tracker(&dimensions, max_cardinality);
        let (mut received, mut sent) = (0, 0);
        for resources in requests {
            sent += resources.iter().flat_map(|resource| &resource.scope_spans)
                .map(|scope| scope.spans.len() as u64).sum::<u64>();
            let mut bytes = request(resources);
            // Field 7, which no request has.
            bytes.extend([0x3a, unknown.len() as u8]);
            bytes.extend(&unknown);
            received += bytes.len() as u64;
            tracker.received(&tenant("acme"), &bytes);
        }
        let sum = |samples: Vec<(String, u64)>| samples.into_iter().map(|(_, value)| value).sum::<u64>();
        prop_assert_eq!(sum(bytes(&tracker)), received);
        prop_assert_eq!(sum(spans(&tracker)), sent);
        if max_cardinality > 0 {
            prop_assert!(bytes(&tracker).len() as u64 <= max_cardinality + 1);
        }
    }
}
