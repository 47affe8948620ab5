//! Requests, errors and durations by service, operation and dimensions.
//!
//! Source: tempo-2.10, sections 1.1 and 1.6, span-metrics rules.

pub(crate) mod dimensions;
mod explain;
pub(crate) mod name_demand;
pub(crate) mod target_info;

use model::LabelSetBuf;
use otlp::{ResourceSpans, Span, WireError};
use overrides::{Processor, SpanNameSanitization, TenantConfig};
use registry::{
    InvalidLabels, KeyHasher, LaneKey, MAX_METRICS, Metric, MetricKind, Schema, Update,
};

use self::dimensions::Dimensions;
use self::name_demand::NameDemand;
use self::target_info::TargetInfo;
use crate::attributes::{Values, WantedKeys};
use crate::histograms::histogram;
use crate::labelling::Labelling;
use crate::multiplier::Multiplier;
use crate::raw_key::key_of_settings;
use crate::span_filter::SpanFilter;

const NANOS_PER_SECOND: f64 = 1e9;

/// The span-metrics processor of one tenant.
#[derive(Debug)]
pub(crate) struct SpanMetrics {
    filter: SpanFilter,
    multiplier: Multiplier,
    dimensions: Dimensions,
    names: Option<NameDemand>,
    target_info: Option<TargetInfo>,
    metrics: Subprocessors,
    latency: MetricKind,
    hasher: KeyHasher,
    /// What all lane keys begin with.
    settings_key: LaneKey,
}

/// Which of the metrics are on; each is a subprocessor in Tempo's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Subprocessors {
    count: bool,
    latency: bool,
    size: bool,
}

/// What the processor makes of one span.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// It counts.
    Update(Update),
    /// A filter policy refused it.
    Filtered,
}

impl SpanMetrics {
    /// Compiles the settings; `None` if the tenant does not have the processor.
    pub(crate) fn new(config: &TenantConfig, wanted: &mut WantedKeys) -> Option<Self> {
        let has = |processor| config.processors.contains(processor);
        let all = has(Processor::SpanMetrics);
        let metrics = Subprocessors {
            count: all || has(Processor::SpanMetricsCount),
            latency: all || has(Processor::SpanMetricsLatency),
            size: all || has(Processor::SpanMetricsSize),
        };
        if !(metrics.count || metrics.latency || metrics.size) {
            return None;
        }
        let settings = &config.span_metrics;
        let dimensions = Dimensions::new(settings, &config.registry, wanted);
        Some(Self {
            filter: SpanFilter::new(&settings.filter_policies, wanted),
            multiplier: Multiplier::new(
                &settings.span_multiplier_key,
                settings.enable_tracestate_span_multiplier,
                wanted,
            ),
            settings_key: key_of_settings(&dimensions),
            dimensions,
            names: match config.registry.span_name_sanitization {
                SpanNameSanitization::Off => None,
                SpanNameSanitization::DryRun => Some(NameDemand::new(false)),
                SpanNameSanitization::Enabled => Some(NameDemand::new(true)),
            },
            target_info: settings
                .enable_target_info
                .then(|| TargetInfo::new(settings, &config.registry)),
            metrics,
            latency: histogram(config, &settings.histogram_buckets),
            hasher: KeyHasher::new(),
        })
    }

    /// The metrics of a label set, in the order of an update's values.
    pub(crate) fn schema(&self) -> Schema {
        let metric = |is_on: bool, name: &str, help, unit, kind| {
            is_on.then(|| Metric {
                name: name.to_owned(),
                help,
                unit,
                kind,
                sparse: false,
            })
        };
        Schema::new(
            [
                metric(
                    self.metrics.count,
                    "traces_spanmetrics_calls_total",
                    "Spans, each counted with its weight",
                    "",
                    MetricKind::Counter,
                ),
                metric(
                    self.metrics.latency,
                    "traces_spanmetrics_latency",
                    "Duration of spans in seconds",
                    "seconds",
                    self.latency.clone(),
                ),
                metric(
                    self.metrics.size,
                    "traces_spanmetrics_size_total",
                    "Bytes of the encoded spans",
                    "bytes",
                    MetricKind::Counter,
                ),
            ]
            .into_iter()
            .flatten(),
        )
        .limiting_labels()
    }

    /// Which labels there can be.
    pub(crate) fn labelling(&self) -> Labelling {
        self.dimensions.labelling()
    }

    /// The target info of resources, if it is on.
    pub(crate) fn target_info(&self) -> Option<&TargetInfo> {
        self.target_info.as_ref()
    }

    /// What replacing parts of names saves, if that is wanted or tried.
    pub(crate) fn names(&self) -> Option<&NameDemand> {
        self.names.as_ref()
    }

    /// The part of a lane key that all spans of a resource share.
    pub(crate) fn resource_key(&self, values: Values<'_, '_>, scratch: &mut Vec<u8>) -> LaneKey {
        scratch.clear();
        scratch.extend_from_slice(&self.settings_key.to_bytes());
        self.dimensions.write_resource_key(values, scratch);
        self.hasher.key(scratch)
    }

    /// What a span adds, to which label set.
    #[inline]
    pub(crate) fn process(
        &self,
        span: &Span<'_>,
        values: Values<'_, '_>,
        resource_key: LaneKey,
        scratch: &mut Vec<u8>,
        is_weight_invalid: &mut bool,
    ) -> Outcome {
        if !self.filter.admits(span, values) {
            return Outcome::Filtered;
        }
        let weight = self
            .multiplier
            .weight(span, values)
            .or_one(is_weight_invalid);
        scratch.clear();
        scratch.extend_from_slice(&resource_key.to_bytes());
        self.dimensions.write_span_key(span, values, scratch);
        let nanos = span
            .end_time_unix_nano
            .saturating_sub(span.start_time_unix_nano);
        let mut update = Update {
            key: self.hasher.key(scratch),
            weight,
            spans: 1,
            is_sampled: span.is_sampled(),
            order: 0,
            values: [f64::NAN; MAX_METRICS],
            trace_id: [0; 16],
            timestamp_ms: (span.end_time_unix_nano / 1_000_000) as i64,
        };
        let mut places = update.values.iter_mut();
        for (is_on, value) in [
            (self.metrics.count, weight),
            (self.metrics.latency, nanos as f64 / NANOS_PER_SECOND),
            (self.metrics.size, span.message.len() as f64),
        ] {
            if is_on && let Some(place) = places.next() {
                *place = value;
            }
        }
        Outcome::Update(update)
    }

    /// The label set of a span.
    pub(crate) fn labels(
        &self,
        span: &Span<'_>,
        values: Values<'_, '_>,
        labels: &mut LabelSetBuf,
    ) -> Result<(), InvalidLabels> {
        self.dimensions.write_labels(span, values, labels)?;
        if let Some(names) = &self.names {
            names.asked_for(span.name, labels.finish());
        }
        Ok(())
    }

    /// What a resource adds to the target info; `None` if it has none to show.
    pub(crate) fn target_update(
        &self,
        resource_spans: ResourceSpans<'_>,
    ) -> Result<Option<Update>, WireError> {
        let Some(target_info) = &self.target_info else {
            return Ok(None);
        };
        target_info.update(resource_spans, self.hasher)
    }
}
