//! A generator that stops as planned, and the next one that goes on (D34).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::Request;
use model::{Clock, Push, TenantId};
use overrides::{
    FilterPolicy, HistogramMode, MatchType, PolicyAttribute, PolicyMatch, PolicyValue, Processor,
    Processors, TenantConfig,
};
use proptest::prelude::*;
use prost::Message;
use proto::otlp::trace::Span;
use registry::records::{BlockWriter, put_bytes, put_signed};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::harness::{Harness, MILLISECOND, NOW, SECOND, attributes, request};

const MINUTE: u64 = 60 * SECOND;
const CALLS: &str = "traces_spanmetrics_calls_total";

/// A data directory, and the generators that use it one after the other.
struct Restarts {
    directory: TempDir,
    clock: Clock,
}

impl Restarts {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            clock: Clock::manual(NOW),
        }
    }

    fn start(&self, config: &TenantConfig) -> Harness {
        let harness = Harness::start(
            config.clone(),
            true,
            Some(self.directory.path().join("state")),
            self.clock.clone(),
        );
        harness.generator.restore().remove();
        harness
    }

    /// Stops one as planned, a minute after its last push.
    fn stop(&self, harness: Harness) {
        self.pass(MINUTE);
        self.stop_at_once(harness);
    }

    fn stop_at_once(&self, harness: Harness) {
        harness.generator.stop();
        harness.generator.save();
    }

    fn pass(&self, nanos: u64) {
        self.clock.set(self.clock.unix_nanos() + nanos);
    }

    /// The files of all tenants.
    fn files(&self) -> Vec<PathBuf> {
        let Ok(tenants) = fs::read_dir(self.directory.path().join("state")) else {
            return Vec::new();
        };
        let files = tenants.flat_map(|tenant| fs::read_dir(tenant.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }

    /// Pushes spans that end now.
    fn push(&self, harness: &Harness, tenant: &str, names: &[&str]) {
        let now = self.clock.unix_nanos();
        let span = |(at, name): (usize, &&str)| Span {
            trace_id: vec![at as u8 + 1; 16],
            span_id: vec![at as u8 + 1; 8],
            name: (*name).to_owned(),
            kind: 2,
            start_time_unix_nano: now - 100 * MILLISECOND,
            end_time_unix_nano: now,
            attributes: attributes(&[("route", "/")]),
            ..Span::default()
        };
        let spans = names.iter().enumerate().map(span).collect();
        let resource = [("service.name", "shop"), ("host.name", "node-1")];
        let pushed = harness.push(Push {
            tenant: TenantId::parse(tenant).unwrap(),
            request: request(&resource, spans).encode_to_vec().into(),
            skip_metrics: false,
        });
        pushed.unwrap();
    }
}

impl Harness {
    /// A scrape in OpenMetrics, with start times and exemplars.
    async fn open_metrics(&self) -> String {
        let request = Request::get("/metrics/generated")
            .header("accept", "application/openmetrics-text; version=1.0.0")
            .body(Body::empty());
        let response = self.routes().oneshot(request.unwrap()).await.unwrap();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// Calls of all label sets.
    async fn all_calls(&self) -> Vec<f64> {
        let samples = self.scrape().await.into_iter();
        let calls = samples.filter(|(series, _)| series.starts_with(CALLS));
        calls.map(|(_, value)| value).collect()
    }

    fn state(&self, metric: &str) -> u64 {
        self.own()[&format!("state_{metric}_total")]
    }
}

fn span_metrics() -> TenantConfig {
    TenantConfig {
        processors: Processors::from_iter([Processor::SpanMetrics]),
        ..TenantConfig::default()
    }
}

/// Everything that makes series, of all kinds.
fn everything() -> TenantConfig {
    let mut config = TenantConfig {
        processors: Processors::from_iter([
            Processor::SpanMetrics,
            Processor::ServiceGraphs,
            Processor::HostInfo,
        ]),
        ..TenantConfig::default()
    };
    config.span_metrics.enable_target_info = true;
    config.service_graphs.enable_unpaired_metrics = true;
    config.registry.generate_native_histograms = HistogramMode::Both;
    config
}

#[tokio::test]
async fn a_restart_cannot_be_seen_in_a_scrape() {
    let restarts = Restarts::new();
    let config = everything();
    let before = restarts.start(&config);
    restarts.push(&before, "single-tenant", &["a", "b", "b"]);
    restarts.pass(MINUTE);
    before.generator.stop();
    let first = before.open_metrics().await;
    // Exemplars are handed out once: what is left is to be the same.
    let want = before.open_metrics().await;
    assert!(first.contains("# {traceID=") && !want.contains("# {traceID="));
    for name in [
        "calls_total",
        "latency_bucket",
        "host_info",
        "graph_request_total",
    ] {
        assert!(want.contains(name), "no {name} in\n{want}");
    }
    before.generator.save();

    let after = restarts.start(&config);
    assert_eq!(after.open_metrics().await, want);
    assert_eq!(
        (
            after.state("tenants_restored"),
            after.state("restore_failures")
        ),
        (1, 0)
    );
    assert!(after.state("series_restored") > 40);
}

#[tokio::test]
async fn counters_go_on_over_restarts_and_new_series_come() {
    let restarts = Restarts::new();
    for round in 1..=3 {
        let harness = restarts.start(&span_metrics());
        restarts.push(&harness, "single-tenant", &["a", "a"]);
        if round == 3 {
            restarts.push(&harness, "single-tenant", &["b"]);
        }
        let calls = harness.all_calls().await;
        assert_eq!(calls[0], f64::from(round) * 2.0);
        assert_eq!(calls.get(1), (round == 3).then_some(&1.0));
        restarts.stop(harness);
    }
}

#[tokio::test]
async fn state_is_used_once_and_a_crash_begins_at_0() {
    let restarts = Restarts::new();
    let first = restarts.start(&span_metrics());
    restarts.push(&first, "single-tenant", &["a"]);
    restarts.stop(first);
    assert_eq!(restarts.files().len(), 1);

    let killed = restarts.start(&span_metrics());
    assert_eq!(killed.all_calls().await, [1.0]);
    assert_eq!(restarts.files(), Vec::<PathBuf>::new());
    drop(killed);

    let next = restarts.start(&span_metrics());
    assert_eq!(next.state("tenants_restored"), 0);
    restarts.push(&next, "single-tenant", &["a", "a", "a"]);
    assert_eq!(next.all_calls().await, [3.0]);
}

#[tokio::test]
async fn state_stays_on_disk_until_it_is_removed() {
    let restarts = Restarts::new();
    let first = restarts.start(&span_metrics());
    restarts.push(&first, "single-tenant", &["a"]);
    restarts.stop(first);

    let state_dir = restarts.directory.path().join("state");
    let clock = restarts.clock.clone();
    let interrupted = Harness::start(span_metrics(), true, Some(state_dir), clock);
    drop(interrupted.generator.restore());
    drop(interrupted);

    assert_eq!(restarts.start(&span_metrics()).all_calls().await, [1.0]);
}

#[tokio::test]
async fn damaged_state_is_counted_and_begins_at_0() {
    let restarts = Restarts::new();
    let first = restarts.start(&span_metrics());
    for tenant in ["single-tenant", "other"] {
        restarts.push(&first, tenant, &["a"]);
    }
    restarts.stop(first);
    let own = TenantId::single().directory();
    let files = restarts.files();
    let file = files
        .iter()
        .find(|file| file.parent().unwrap().ends_with(&own))
        .unwrap();
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();

    let next = restarts.start(&span_metrics());
    assert_eq!(
        (
            next.state("tenants_restored"),
            next.state("restore_failures")
        ),
        (1, 1)
    );
    assert_eq!(restarts.files(), Vec::<PathBuf>::new());
    assert_eq!(
        next.generator.tenants(),
        [TenantId::parse("other").unwrap()]
    );
    restarts.push(&next, "single-tenant", &["a"]);
    assert_eq!(next.all_calls().await, [1.0]);
}

#[tokio::test]
async fn state_in_the_directory_of_another_tenant_is_not_used() {
    let restarts = Restarts::new();
    let first = restarts.start(&span_metrics());
    restarts.push(&first, "other", &["a"]);
    restarts.stop(first);
    let state = restarts.directory.path().join("state");
    let directory = |tenant: &str| state.join(TenantId::parse(tenant).unwrap().directory());
    fs::rename(directory("other"), directory("single-tenant")).unwrap();

    let next = restarts.start(&span_metrics());
    assert_eq!(next.state("restore_failures"), 1);
    assert_eq!(next.generator.tenants(), []);
}

#[tokio::test]
async fn pause_up_to_the_stale_duration_does_not_count_as_idle() {
    let mut config = span_metrics();
    config.registry.stale_duration = Duration::from_secs(600);
    for (pause, calls) in [(19 * MINUTE, vec![1.0]), (21 * MINUTE, vec![])] {
        let restarts = Restarts::new();
        let first = restarts.start(&config);
        restarts.push(&first, "single-tenant", &["a"]);
        restarts.stop(first);
        restarts.pass(pause);
        let next = restarts.start(&config);
        assert_eq!(next.all_calls().await, [1.0]);
        next.generator.stop();
        assert_eq!(next.all_calls().await, calls, "{pause}");
    }
}

#[tokio::test]
async fn settings_that_changed_meanwhile_end_only_what_cannot_come() {
    let restarts = Restarts::new();
    let mut config = span_metrics();
    let first = restarts.start(&config);
    restarts.push(&first, "single-tenant", &["a"]);
    restarts.stop(first);

    // Other buckets: calls go on.
    config.span_metrics.histogram_buckets = vec![1.0];
    let second = restarts.start(&config);
    restarts.push(&second, "single-tenant", &["a", "a"]);
    let scrape = second.scrape().await;
    let buckets = scrape.keys().filter(|series| series.contains("le="));
    assert_eq!(buckets.count(), 2);
    assert_eq!(second.all_calls().await, [3.0]);
    restarts.stop(second);

    // A label less: what had it ends.
    config.span_metrics.intrinsic_dimensions.span_name = false;
    let third = restarts.start(&config);
    restarts.push(&third, "single-tenant", &["a"]);
    restarts.pass(MINUTE);
    third.generator.stop();
    assert_eq!(third.all_calls().await, [1.0]);
}

#[tokio::test]
async fn stale_on_shutdown_ends_all_series_and_saves_none() {
    let restarts = Restarts::new();
    let mut config = span_metrics();
    config.registry.stale_on_shutdown = true;
    let first = restarts.start(&config);
    restarts.push(&first, "single-tenant", &["a"]);
    restarts.pass(MINUTE);
    first.generator.stop();
    assert_eq!(first.all_calls().await, [0.0; 0]);
    first.generator.save();
    assert_eq!(restarts.files(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn tenant_without_series_leaves_no_file() {
    let restarts = Restarts::new();
    let first = restarts.start(&span_metrics());
    restarts.push(&first, "single-tenant", &["a"]);
    restarts.stop(first);
    let second = restarts.start(&span_metrics());
    restarts.pass(20 * MINUTE);
    restarts.stop(second);
    assert_eq!(restarts.files(), Vec::<PathBuf>::new());
}

/// Spans of all kinds that wait: their service, id, parent and kind, and whether they
/// call a database. All belong to one trace.
pub(crate) const CALLS_BETWEEN: [(&str, u8, u8, i32, bool); 9] = [
    ("front", 1, 9, CLIENT, false),
    ("shop", 2, 1, SERVER, false),
    // Its caller is two internal spans up.
    ("shop", 5, 4, CLIENT, false),
    ("cart", 6, 7, SERVER, false),
    ("cart", 7, 5, INTERNAL, false),
    // Waits for the database's own span.
    ("cart", 8, 6, CLIENT, true),
    ("postgres", 10, 8, SERVER, false),
    // A policy refuses it, and with it the server that it calls.
    ("refused", 11, 2, CLIENT, false),
    ("hidden", 12, 11, SERVER, false),
];

const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

pub(crate) fn graphs() -> TenantConfig {
    let mut config = TenantConfig {
        processors: Processors::from_iter([Processor::ServiceGraphs, Processor::SpanMetrics]),
        ..TenantConfig::default()
    };
    let graphs = &mut config.service_graphs;
    graphs.bridge_internal_spans = true;
    graphs.database_wait_for_server = true;
    graphs.filter_policies = vec![FilterPolicy {
        exclude: Some(PolicyMatch {
            match_type: MatchType::Strict,
            attributes: vec![PolicyAttribute {
                key: "resource.service.name".to_owned(),
                value: PolicyValue::Text("refused".to_owned()),
            }],
        }),
        ..FilterPolicy::default()
    }];
    config
}

impl Harness {
    pub(crate) fn push_call(
        &self,
        (service, id, parent, kind, is_database): (&str, u8, u8, i32, bool),
    ) {
        let database = [("db.system", "postgresql"), ("db.name", "orders")];
        let span = Span {
            trace_id: vec![1; 16],
            span_id: vec![id; 8],
            parent_span_id: vec![parent; 8],
            kind,
            start_time_unix_nano: NOW - u64::from(id) * 10 * MILLISECOND,
            end_time_unix_nano: NOW,
            attributes: attributes(if is_database { &database } else { &[] }),
            ..Span::default()
        };
        let pushed = self.push(Push {
            tenant: TenantId::single(),
            request: request(&[("service.name", service)], vec![span])
                .encode_to_vec()
                .into(),
            skip_metrics: false,
        });
        pushed.unwrap();
    }

    /// The series of service graphs.
    pub(crate) async fn graph(&self) -> Vec<(String, f64)> {
        let samples = self.scrape().await.into_iter();
        let is_graph = |(series, _): &(String, f64)| series.contains("_service_graph_");
        samples.filter(is_graph).collect()
    }

    /// Every span that this process received or took over is in its ledger.
    pub(crate) fn balances(&self) -> bool {
        let own = self.own();
        let sum = |name: &str| -> u64 {
            let of_graphs = own.iter().filter(|(series, _)| {
                series.starts_with(name) && series.contains("\"service-graphs\"")
            });
            of_graphs.map(|(_, value)| value).sum()
        };
        let waiting = "processor_service_graphs_waiting_spans{tenant=\"single-tenant\"}";
        let taken_over =
            "processor_service_graphs_spans_taken_over_total{tenant=\"single-tenant\"}";
        own["spans_received_total{tenant=\"single-tenant\"}"] + own[taken_over]
            == sum("spans_counted_total{") + sum("spans_discarded_total{") + own[waiting]
    }
}

#[tokio::test]
async fn spans_meet_their_counterpart_over_a_restart() {
    let steady = Harness::with(graphs(), true);
    CALLS_BETWEEN
        .iter()
        .for_each(|call| steady.push_call(*call));
    let want = steady.graph().await;
    assert_eq!(
        want.iter()
            .filter(|(series, _)| series.contains("request_total"))
            .count(),
        3,
        "{want:?}"
    );
    for cut in 1..CALLS_BETWEEN.len() {
        let restarts = Restarts::new();
        let (before, after) = CALLS_BETWEEN.split_at(cut);
        let first = restarts.start(&graphs());
        before.iter().for_each(|call| first.push_call(*call));
        assert!(first.balances(), "{cut}");
        restarts.stop_at_once(first);
        // Longer than spans wait.
        restarts.pass(30 * SECOND);
        let second = restarts.start(&graphs());
        after.iter().for_each(|call| second.push_call(*call));
        assert_eq!(second.graph().await, want, "{cut}");
        assert!(second.balances(), "{cut}");
        assert_eq!(second.state("restore_failures"), 0);
    }
}

#[tokio::test]
async fn restored_span_waits_no_longer_than_another() {
    let restarts = Restarts::new();
    let first = restarts.start(&graphs());
    first.push_call(CALLS_BETWEEN[0]);
    restarts.pass(6 * SECOND);
    restarts.stop_at_once(first);
    restarts.pass(MINUTE);
    let second = restarts.start(&graphs());
    let edges = "processor_service_graphs_edges{tenant=\"single-tenant\"}";
    assert_eq!(second.own()[edges], 1);
    restarts.pass(3 * SECOND);
    second.scrape().await;
    assert_eq!(second.own()[edges], 1);
    restarts.pass(2 * SECOND);
    second.scrape().await;
    assert_eq!(second.own()[edges], 0);
}

#[tokio::test]
async fn damaged_edges_do_not_keep_series_from_going_on() {
    let restarts = Restarts::new();
    let first = restarts.start(&graphs());
    first.push_call(CALLS_BETWEEN[0]);
    restarts.stop_at_once(first);
    let files = restarts.files();
    assert_eq!(files.len(), 2);
    let edges = files.iter().find(|file| file.ends_with("edges")).unwrap();
    let whole = fs::read(edges).unwrap();
    fs::write(edges, &whole[..whole.len() - 1]).unwrap();
    let second = restarts.start(&graphs());
    assert_eq!(
        (
            second.state("tenants_restored"),
            second.state("restore_failures")
        ),
        (1, 1)
    );
    assert_eq!(second.all_calls().await, [1.0]);
    second.push_call(CALLS_BETWEEN[1]);
    assert_eq!(second.graph().await, []);
    assert_eq!(restarts.files(), Vec::<PathBuf>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// forall bytes in a block with the right checksum: reading them as waiting spans
    /// ends, and the series go on.
    #[test]
    fn any_records_of_waiting_spans_can_be_read(
        records in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..200),
    ) {
        let restarts = Restarts::new();
        let first = restarts.start(&graphs());
        first.push_call(CALLS_BETWEEN[0]);
        restarts.stop_at_once(first);
        let files = restarts.files();
        let edges = files.iter().find(|file| file.ends_with("edges")).unwrap();
        let mut writer = BlockWriter::new(fs::File::create(edges).unwrap()).unwrap();
        put_bytes(&mut writer.records, b"edges");
        put_signed(&mut writer.records, (NOW / MILLISECOND) as i64);
        writer.write().unwrap();
        writer.records = records;
        writer.finish().unwrap();
        let second = restarts.start(&graphs());
        prop_assert_eq!(second.state("tenants_restored"), 1);
    }
}

#[tokio::test]
async fn directory_that_cannot_be_written_stops_nobody() {
    let restarts = Restarts::new();
    let state = restarts.directory.path().join("state");
    fs::write(&state, "not a directory").unwrap();
    let first = restarts.start(&span_metrics());
    assert_eq!(first.state("restore_failures"), 1);
    restarts.push(&first, "single-tenant", &["a"]);
    restarts.stop(first);
    assert_eq!(fs::read(&state).unwrap(), b"not a directory");
}
