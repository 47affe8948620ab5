//! Metrics of forwarders.

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use telemetry::MetricsRegistry;

/// Metrics of forwarders, all named `forwarder_*`. Cloning shares the counters.
///
/// What is not required comes to one end for each endpoint: taken, filtered, refused,
/// expired, queue_full or stopped.
#[derive(Clone, Debug, Default)]
pub struct ForwarderMetrics {
    requests: Family<ResultLabels, Counter>,
    spans_filtered: Family<ForwarderLabel, Counter>,
    spans_lost: Family<ForwarderLabel, Counter>,
    queued_bytes: Family<ForwarderLabel, Gauge>,
}

/// One forwarder's share of [`ForwarderMetrics`].
#[derive(Clone, Debug)]
pub(crate) struct OneForwarder {
    families: ForwarderMetrics,
    label: ForwarderLabel,
    pub(crate) queued_bytes: Gauge,
}

/// What became of a request at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum ForwardResult {
    /// The endpoint took it.
    Taken,
    /// It took part of it, and refused the rest for good.
    Partial,
    /// It had taken it before: the client sent it again.
    Repeated,
    /// Nothing of it was to be sent.
    Filtered,
    /// The endpoint did not take it; it, or its client, tries again.
    Unavailable,
    /// The endpoint refused it for good.
    Refused,
    /// It was tried for too long.
    Expired,
    /// Its tenant, or all, had too much waiting.
    QueueFull,
    /// spanmill stopped before it was sent.
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ForwarderLabel {
    forwarder: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    forwarder: Arc<str>,
    result: ForwardResult,
}

impl ForwarderMetrics {
    /// Creates the metrics and registers each under its full name.
    pub fn register(registry: &mut MetricsRegistry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("forwarder");
        registry.register(
            "requests",
            "What became of requests at endpoints of forwarders, by forwarder and result",
            metrics.requests.clone(),
        );
        registry.register(
            "spans_filtered",
            "Spans that a forwarder's filter left out, by forwarder",
            metrics.spans_filtered.clone(),
        );
        registry.register(
            "spans_lost",
            "Spans that an endpoint of a forwarder should have got and did not, by forwarder",
            metrics.spans_lost.clone(),
        );
        registry.register(
            "queued_bytes",
            "Bytes that wait for endpoints of forwarders, by forwarder",
            metrics.queued_bytes.clone(),
        );
        metrics
    }

    pub(crate) fn of(&self, forwarder: &str) -> OneForwarder {
        let label = ForwarderLabel {
            forwarder: Arc::from(forwarder),
        };
        OneForwarder {
            queued_bytes: self.queued_bytes.get_or_create_owned(&label),
            families: self.clone(),
            label,
        }
    }
}

impl OneForwarder {
    pub(crate) fn ended(&self, result: ForwardResult) {
        let labels = ResultLabels {
            forwarder: Arc::clone(&self.label.forwarder),
            result,
        };
        self.families.requests.get_or_create(&labels).inc();
    }

    /// Counts a request that an endpoint will not get, and its spans.
    pub(crate) fn lost(&self, result: ForwardResult, spans: u64) {
        self.ended(result);
        self.families
            .spans_lost
            .get_or_create(&self.label)
            .inc_by(spans);
    }

    pub(crate) fn filtered(&self, spans: u64) {
        if spans > 0 {
            self.families
                .spans_filtered
                .get_or_create(&self.label)
                .inc_by(spans);
        }
    }
}

impl EncodeLabelValue for ForwardResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&<&'static str>::from(self), encoder)
    }
}
