//! A generator that records what it is given, and requests to give it.

use std::sync::Arc;

use model::{Push, PushError, PushOutcome, PushSpans};
use overrides::{Overrides, TenantConfig};
use parking_lot::Mutex;
use prost::Message;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};
use server::{Budget, Tenancy};
use telemetry::{MetricsRegistry, encode_metrics, new_metrics_registry};

use crate::{Distributor, DistributorConfig, DistributorMetrics, Limits};

/// Records pushes and answers all alike.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Mutex<Recorded>>);

struct Recorded {
    pushes: Vec<Push>,
    answer: Result<PushOutcome, PushError>,
}

impl Recorder {
    pub(crate) fn pushes(&self) -> Vec<Push> {
        self.0.lock().pushes.clone()
    }

    pub(crate) fn answer(&self, answer: Result<PushOutcome, PushError>) {
        self.0.lock().answer = answer;
    }
}

impl PushSpans for Recorder {
    async fn push(&self, push: Push) -> Result<PushOutcome, PushError> {
        let mut recorded = self.0.lock();
        recorded.pushes.push(push);
        recorded.answer.clone()
    }
}

/// The limits of these settings, for all tenants.
pub(crate) fn limits(config: TenantConfig) -> Limits {
    limits_within(config, Budget::unlimited())
}

fn limits_within(config: TenantConfig, budget: Budget) -> Limits {
    let overrides = Overrides::fixed(config);
    Limits::new(overrides, budget, &DistributorConfig::default())
}

/// A distributor in front of a recorder.
pub(crate) struct Fixture {
    pub(crate) distributor: Distributor<Recorder>,
    pub(crate) recorder: Recorder,
    registry: MetricsRegistry,
}

impl Fixture {
    pub(crate) fn new(multitenancy_enabled: bool) -> Self {
        Self::with(multitenancy_enabled, TenantConfig::default())
    }

    /// One with these settings for all tenants.
    pub(crate) fn with(multitenancy_enabled: bool, config: TenantConfig) -> Self {
        Self::with_limits(multitenancy_enabled, limits(config))
    }

    /// One whose requests in flight share this memory.
    pub(crate) fn within(budget: Budget) -> Self {
        Self::with_limits(false, limits_within(TenantConfig::default(), budget))
    }

    fn with_limits(multitenancy_enabled: bool, limits: Limits) -> Self {
        let mut registry = new_metrics_registry();
        let metrics = DistributorMetrics::register(&mut registry);
        let recorder = Recorder(Arc::new(Mutex::new(Recorded {
            pushes: Vec::new(),
            answer: Ok(PushOutcome::default()),
        })));
        let tenancy = Tenancy {
            multitenancy_enabled,
        };
        Self {
            distributor: Distributor::new(tenancy, recorder.clone(), metrics, limits),
            recorder,
            registry,
        }
    }

    /// The value of a metric of the distributor, by its name and labels; 0 if
    /// it is not exported.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = encode_metrics(&self.registry);
        let prefix = format!("spanmill_distributor_{name} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .map_or(0, |value| value.parse().unwrap())
    }

    /// Checks spans received = pushed + refused, and gives the three.
    pub(crate) fn ledger(&self, tenant: &str) -> (u64, u64, u64) {
        let received = self.metric(&format!("spans_received_total{{tenant=\"{tenant}\"}}"));
        let pushed = self.metric(&format!("spans_pushed_total{{tenant=\"{tenant}\"}}"));
        let prefix =
            format!("spanmill_distributor_spans_refused_total{{tenant=\"{tenant}\",reason=");
        let refused = encode_metrics(&self.registry)
            .lines()
            .filter(|line| line.starts_with(&prefix))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
            .sum();
        assert_eq!(received, pushed + refused);
        (received, pushed, refused)
    }
}

pub(crate) fn span(name: &str) -> Span {
    Span {
        name: name.into(),
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        ..Default::default()
    }
}

pub(crate) fn span_without_trace(name: &str) -> Span {
    Span {
        trace_id: vec![],
        ..span(name)
    }
}

pub(crate) fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

/// Names of the spans of each push.
pub(crate) fn names(pushes: &[Push]) -> Vec<Vec<String>> {
    pushes
        .iter()
        .map(|push| {
            let request = ExportTraceServiceRequest::decode(push.request.clone()).unwrap();
            request
                .resource_spans
                .into_iter()
                .flat_map(|resource| resource.scope_spans)
                .flat_map(|scope| scope.spans)
                .map(|span| span.name)
                .collect()
        })
        .collect()
}
