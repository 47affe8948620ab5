//! A generator for one test: pushes, the scrape endpoint, its own metrics.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::Router;
use axum::body::{Body, to_bytes};
use futures_util::FutureExt as _;
use http::Request;
use lifecycle::TaskGroup;
use model::{Clock, Push, PushError, PushOutcome, PushSpans as _};
use overrides::{Overrides, TenantConfig};
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::common::{AnyValue, KeyValue, any_value::Value};
use proto::otlp::resource::Resource;
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};
use server::Tenancy;
use spanmill_generator::{Dependencies, Generator, GeneratorMetrics};
use tower::ServiceExt as _;

pub(crate) const MILLISECOND: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;
/// When each test begins.
pub(crate) const NOW: u64 = 1_700_000_000 * SECOND;

pub(crate) struct Harness {
    pub(crate) generator: Generator,
    pub(crate) clock: Clock,
    own: telemetry::MetricsRegistry,
}

impl Harness {
    /// A generator whose tenants all have these settings.
    pub(crate) fn new(config: TenantConfig) -> Self {
        Self::with(config, true)
    }

    /// The same; `deduplicate_pushes` says whether it recognises what comes again.
    pub(crate) fn with(config: TenantConfig, deduplicate_pushes: bool) -> Self {
        Self::start(config, deduplicate_pushes, None, Clock::manual(NOW))
    }

    /// The same at the time of a clock, with a place for what outlives a stop.
    pub(crate) fn start(
        config: TenantConfig,
        deduplicate_pushes: bool,
        state_dir: Option<PathBuf>,
        clock: Clock,
    ) -> Self {
        let mut own = telemetry::new_metrics_registry();
        let generator = Generator::new(Dependencies {
            overrides: Overrides::fixed(config),
            remote_write: None,
            metrics: GeneratorMetrics::register(&mut own),
            clock: clock.clone(),
            max_lanes: 4,
            deduplicate_pushes,
            instance_label: "host-1".into(),
            state_dir,
            retire_after: std::time::Duration::ZERO,
        });
        Self {
            generator,
            clock,
            own,
        }
    }

    pub(crate) fn push(&self, push: Push) -> Result<PushOutcome, PushError> {
        // Nothing waits on the way in.
        self.generator.push(push).now_or_never().unwrap()
    }

    pub(crate) fn routes(&self) -> Router {
        let address = "127.0.0.1:3200".parse().unwrap();
        let (tenancy, tasks) = (Tenancy::default(), TaskGroup::new());
        self.generator.scrape_routes(tenancy, &tasks, address, "")
    }

    /// Every sample of the scrape endpoint, in the text's order of labels.
    pub(crate) async fn scrape(&self) -> BTreeMap<String, f64> {
        let request = Request::get("/metrics/generated").body(Body::empty());
        let response = self.routes().oneshot(request.unwrap()).await.unwrap();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        });
        samples.collect()
    }

    /// The generator's own metrics, without `spanmill_generator_`; whole numbers.
    pub(crate) fn own(&self) -> BTreeMap<String, u64> {
        let text = telemetry::encode_metrics(&self.own);
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("spanmill_generator_"));
        let samples = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        samples.collect()
    }
}

pub(crate) fn text(value: &str) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(value.to_owned())),
    }
}

pub(crate) fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    let attribute = |(key, value): &(&str, &str)| KeyValue {
        key: (*key).to_owned(),
        value: Some(text(value)),
        ..KeyValue::default()
    };
    pairs.iter().map(attribute).collect()
}

/// A request with the spans of one resource.
pub(crate) fn request(resource: &[(&str, &str)], spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: attributes(resource),
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}
