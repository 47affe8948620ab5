//! A processor that sees a tenant's spans for a while, and whose series go nowhere.

use std::sync::Arc;

use overrides::{Processor, Processors, TenantConfig};
use registry::{Counts, Limits, MetricSurvey, Registry, Survey};

use super::{Instance, Settings};
use crate::attributes::WantedKeys;
use crate::ledger::Ledger;
use crate::processors::service_graphs::EdgeStore;
use crate::processors::span_metrics::SpanMetrics;
use crate::reading::Reading;
use crate::time_slack::TimeSlack;
use crate::what_if::{WhatIfError, WouldAdd};

/// Label sets of which a shadow has series, and their series, for histograms may have a
/// thousand buckets: some megabytes. More are estimated.
const MAX_LABEL_SETS: u64 = 10_000;
const MAX_SERIES: u64 = 400_000;

/// A processor that is tried.
#[derive(Debug)]
pub(crate) struct Shadow {
    settings: Settings,
    registry: Registry,
    edges: EdgeStore,
}

impl Shadow {
    /// Applies a push that the instance has applied, so it can be read.
    pub(super) fn apply(&self, request: &[u8], slack: TimeSlack, now_ms: i64) {
        if let Ok(mut reading) = Reading::of(request, &self.settings.processors, slack) {
            let (registry, edges) = (&self.registry, &self.edges);
            self.settings.apply(&mut reading, registry, edges, now_ms);
        }
    }

    /// What there would be of it so far without limits, in about.
    pub(crate) fn demand(&self) -> Counts {
        self.registry.stats().demand
    }

    /// What its series are made of; edges that have waited for too long are ended.
    pub(crate) fn survey(&self, now_ms: i64) -> Survey {
        let settings = &self.settings;
        if let (Some(service_graphs), Some(tables)) = (
            &settings.processors.service_graphs,
            &settings.service_graphs,
        ) {
            let edges = self.edges.expire(service_graphs.rules(), now_ms);
            let mut ledger = Ledger::default();
            tables.apply(&edges, service_graphs, &self.registry, now_ms, &mut ledger);
        }
        self.registry.survey(&[])
    }

    /// Spans that still wait for their counterpart.
    pub(crate) fn waiting_spans(&self) -> u64 {
        self.edges.waiting_spans()
    }
}

impl Instance {
    /// What a processor would add, where that follows from the series that there are;
    /// `None` if it must be tried.
    ///
    /// # Errors
    ///
    /// [`WhatIfError`]: it is on, or is none of this version.
    pub(crate) fn follows(&self, processor: Processor) -> Result<Option<WouldAdd>, WhatIfError> {
        if !processor.is_available() {
            return Err(WhatIfError::Unavailable { processor });
        }
        let settings = self.settings.load();
        let now = &settings.processors;
        let wanted = settings.config.processors.iter().chain([processor]);
        let next = with_processors(&settings.config, wanted.collect());
        let is_on = match processor {
            Processor::ServiceGraphs => now.service_graphs.is_some(),
            Processor::HostInfo => now.host_info.is_some(),
            _ => false,
        };
        let next = SpanMetrics::new(&next, &mut WantedKeys::default());
        let is_of_spans = !matches!(processor, Processor::ServiceGraphs | Processor::HostInfo);
        let schemas = settings.span_metrics.as_ref().zip(next);
        let Some((table, next)) = schemas.filter(|_| is_of_spans) else {
            return match is_on {
                true => Err(WhatIfError::On { processor }),
                false => Ok(None),
            };
        };
        // The label sets are there already; each gets the further metrics.
        let present = MetricSurvey::of(table.schema());
        let mut metrics = MetricSurvey::of(&next.schema());
        metrics.retain(|metric| !present.contains(metric));
        if metrics.is_empty() {
            return Err(WhatIfError::On { processor });
        }
        let label_sets = self.registry.label_sets(table);
        Ok(Some(WouldAdd {
            metrics,
            label_sets,
        }))
    }

    /// Begins to try a processor.
    ///
    /// # Errors
    ///
    /// [`WhatIfError::Busy`] if one is tried already.
    pub(crate) fn begin_shadow(
        &self,
        processor: Processor,
        max_lanes: usize,
    ) -> Result<Arc<Shadow>, WhatIfError> {
        let config = self.config();
        let limits = Limits {
            max_active_entities: MAX_LABEL_SETS,
            max_active_series: MAX_SERIES,
            max_cardinality_per_label: config.registry.max_cardinality_per_label,
        };
        let registry = Registry::new(limits, max_lanes);
        let config = Arc::new(with_processors(&config, Processors::from([processor])));
        let now_ms = self.clock.unix_millis();
        let shadow = Arc::new(Shadow {
            settings: Settings::new(&self.identity, config, &registry, None, now_ms),
            registry,
            edges: EdgeStore::default(),
        });
        let before = self
            .shadow
            .compare_and_swap(&None::<Arc<Shadow>>, Some(Arc::clone(&shadow)));
        match before.is_none() {
            true => Ok(shadow),
            false => Err(WhatIfError::Busy),
        }
    }

    /// Ends the trial, if it is this one.
    pub(crate) fn end_shadow(&self, shadow: &Arc<Shadow>) {
        self.shadow.compare_and_swap(shadow, None);
    }

    /// Spans that have reached the generator, and the time.
    pub(crate) fn spans_and_time(&self) -> (u64, i64) {
        (self.metrics.received().spans, self.clock.unix_millis())
    }
}

fn with_processors(config: &TenantConfig, processors: Processors) -> TenantConfig {
    TenantConfig {
        processors,
        ..config.clone()
    }
}
