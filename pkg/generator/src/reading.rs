//! One walk over the bytes of a push: what its spans add to which label sets.

use otlp::{AnyValue, Request, ResourceSpans, Span, WireError};
use registry::{Applied, InvalidLabels, LaneKey, Registry, TableId, Update};

use crate::attributes::Values;
use crate::ids::padded;
use crate::ledger::{DiscardReason, Ledger};
use crate::processors::Processors;
use crate::processors::service_graphs::{
    self, EdgeStore, EdgeTables, HalfEdge, ResourceSide, ServiceGraphs,
};
use crate::processors::span_metrics::{Outcome, SpanMetrics};
use crate::time_slack::TimeSlack;

/// Bytes of a small span, by which buffers are sized at first: room that is not
/// used costs nothing, growing costs a copy.
const SMALL_SPAN_BYTES: usize = 384;

/// The updates of a push, with what their labels are made of.
///
/// Nothing is applied before the whole push has been read: a push that turns
/// out not to be OTLP leaves no trace.
#[derive(Debug)]
pub(crate) struct Reading<'a, 'p> {
    processors: &'p Processors,
    slack: TimeSlack,
    pub(crate) ledger: Ledger,
    spans: Vec<Update>,
    span_sources: Vec<(&'a [u8], u32)>,
    targets: Vec<Update>,
    target_sources: Vec<ResourceSpans<'a>>,
    halves: Vec<HalfEdge>,
    half_sources: Vec<(&'a [u8], u32)>,
    hosts: Vec<Update>,
    /// The resource of each host.
    host_sources: Vec<u32>,
    /// Spans of those resources.
    host_spans: u64,
    /// Spans that processors saw.
    admitted: u64,
    /// The wanted values of all resources, one after the other.
    resource_values: Vec<Option<AnyValue<'a>>>,
    resources: u32,
    span_values: Vec<Option<AnyValue<'a>>>,
    scratch: Vec<u8>,
    /// Whether the weight of the span that is being read is none.
    is_weight_invalid: bool,
}

/// The resource whose spans are being read.
#[derive(Clone, Copy)]
struct Current<'a> {
    resource_spans: ResourceSpans<'a>,
    key: LaneKey,
    index: u32,
    has_target: bool,
    side: ResourceSide,
}

impl<'a, 'p> Reading<'a, 'p> {
    /// Reads a push.
    ///
    /// # Errors
    ///
    /// [`WireError`] if anything but a single span is not OTLP.
    pub(crate) fn of(
        request: &'a [u8],
        processors: &'p Processors,
        slack: TimeSlack,
    ) -> Result<Self, WireError> {
        let spans = request.len() / SMALL_SPAN_BYTES + 1;
        let halves = processors.service_graphs.as_ref().map_or(0, |_| spans);
        let mut reading = Self {
            processors,
            slack,
            ledger: Ledger::default(),
            spans: Vec::with_capacity(spans),
            span_sources: Vec::with_capacity(spans),
            targets: Vec::new(),
            target_sources: Vec::new(),
            halves: Vec::with_capacity(halves),
            half_sources: Vec::with_capacity(halves),
            hosts: Vec::new(),
            host_sources: Vec::new(),
            host_spans: 0,
            admitted: 0,
            resource_values: Vec::new(),
            resources: 0,
            span_values: vec![None; processors.wanted.len()],
            scratch: Vec::new(),
            is_weight_invalid: false,
        };
        for resource_spans in Request::new(request).resource_spans() {
            reading.resource_spans(resource_spans?)?;
        }
        Ok(reading)
    }

    fn resource_spans(&mut self, resource_spans: ResourceSpans<'a>) -> Result<(), WireError> {
        let index = self.resources;
        self.resources += 1;
        let wanted = &self.processors.wanted;
        let start = self.resource_values.len();
        self.resource_values.resize(start + wanted.len(), None);
        let values = self.resource_values.get_mut(start..).unwrap_or_default();
        for resource in resource_spans.resources() {
            let mut fields = otlp::wire::Fields::new(resource?);
            while let Some((number, value)) = fields.read()? {
                if number == 1 {
                    wanted.collect(value.bytes(number)?, values)?;
                }
            }
        }
        let values = Values {
            resource: values,
            span: &[],
        };
        let mut current = Current {
            resource_spans,
            key: LaneKey::default(),
            index,
            has_target: true,
            side: ResourceSide::default(),
        };
        if let Some(span_metrics) = &self.processors.span_metrics {
            current.key = span_metrics.resource_key(values, &mut self.scratch);
            current.has_target = span_metrics.target_info().is_none();
        }
        if let Some(service_graphs) = &self.processors.service_graphs {
            current.side = service_graphs.resource_side(values, &mut self.scratch);
        }
        let host = match &self.processors.host_info {
            Some(host_info) => host_info.update(values, &mut self.scratch),
            None => Ok(None),
        };
        let before = self.admitted;
        for scope_spans in resource_spans.scope_spans() {
            for span in scope_spans?.spans() {
                self.span(span?, &mut current)?;
            }
        }
        self.host(host, index, self.admitted - before);
        Ok(())
    }

    /// Notes the host of a resource with so many spans.
    fn host(&mut self, host: Result<Option<Update>, InvalidLabels>, resource: u32, spans: u64) {
        let discarded = &mut self.ledger.host_info.discarded;
        match host {
            Ok(Some(update)) => {
                self.hosts.push(update);
                self.host_sources.push(resource);
                self.host_spans += spans;
            }
            Ok(None) => discarded.add(DiscardReason::NoHost, spans),
            Err(InvalidLabels) => discarded.add(DiscardReason::InvalidUtf8, spans),
        }
    }

    #[inline]
    fn span(&mut self, message: &'a [u8], current: &mut Current<'a>) -> Result<(), WireError> {
        self.ledger.received += 1;
        self.span_values.fill(None);
        let wanted = &self.processors.wanted;
        let values = &mut self.span_values;
        let read = Span::parse_with(message, |attribute| wanted.collect(attribute, values));
        let Ok(span) = read else {
            self.discard(DiscardReason::MalformedSpan);
            return Ok(());
        };
        if span.trace_id.len() > 16 || span.span_id.len() > 8 {
            self.discard(DiscardReason::InvalidId);
            return Ok(());
        }
        if !self.slack.admits(span.end_time_unix_nano) {
            self.discard(DiscardReason::OutsideMetricsIngestionSlack);
            return Ok(());
        }
        self.admitted += 1;
        // Each processor reads the weight; a span counts once.
        self.is_weight_invalid = false;
        let processors = self.processors;
        if let Some(service_graphs) = &processors.service_graphs {
            self.service_graphs(service_graphs, &span, current);
        }
        if let Some(span_metrics) = &processors.span_metrics {
            self.span_metrics(span_metrics, &span, current)?;
        }
        self.ledger.invalid_weights += u64::from(self.is_weight_invalid);
        Ok(())
    }

    fn discard(&mut self, reason: DiscardReason) {
        self.ledger.discarded.add(reason, 1);
    }

    #[inline]
    fn service_graphs(
        &mut self,
        service_graphs: &ServiceGraphs,
        span: &Span<'a>,
        current: &Current<'a>,
    ) {
        let keys = self.processors.wanted.len();
        let values = Values {
            resource: resource_values(&self.resource_values, keys, current.index),
            span: &self.span_values,
        };
        let outcome = service_graphs.process(
            span,
            values,
            current.side,
            &mut self.scratch,
            &mut self.is_weight_invalid,
        );
        let discarded = &mut self.ledger.service_graphs.discarded;
        let source = self.half_sources.len() as u32;
        match outcome {
            service_graphs::Outcome::OtherKind => {
                discarded.add(DiscardReason::KindNotApplicable, 1);
            }
            service_graphs::Outcome::NoService => discarded.add(DiscardReason::NoServiceName, 1),
            service_graphs::Outcome::Half(half) => {
                self.halves.push(HalfEdge { source, ..half });
                self.half_sources.push((span.message, current.index));
            }
            service_graphs::Outcome::Linked(half) => {
                let half = HalfEdge { source, ..half };
                self.halves.extend(service_graphs.linked_halves(half, span));
                self.half_sources.push((span.message, current.index));
            }
            service_graphs::Outcome::Bridge(half) => {
                discarded.add(DiscardReason::KindNotApplicable, 1);
                self.halves.push(half);
            }
        }
    }

    #[inline]
    fn span_metrics(
        &mut self,
        span_metrics: &SpanMetrics,
        span: &Span<'a>,
        current: &mut Current<'a>,
    ) -> Result<(), WireError> {
        let values = Values {
            resource: resource_values(
                &self.resource_values,
                self.processors.wanted.len(),
                current.index,
            ),
            span: &self.span_values,
        };
        let outcome = span_metrics.process(
            span,
            values,
            current.key,
            &mut self.scratch,
            &mut self.is_weight_invalid,
        );
        match outcome {
            Outcome::Filtered => {
                let discarded = &mut self.ledger.span_metrics.discarded;
                discarded.add(DiscardReason::SpanMetricsFiltered, 1);
            }
            Outcome::Update(mut update) => {
                update.trace_id = padded(span.trace_id);
                self.spans.push(update);
                self.span_sources.push((span.message, current.index));
                if !current.has_target {
                    current.has_target = true;
                    if let Some(target) = span_metrics.target_update(current.resource_spans)? {
                        self.targets.push(target);
                        self.target_sources.push(current.resource_spans);
                    }
                }
            }
        }
        Ok(())
    }

    /// Applies what was read to the tables of span metrics.
    pub(crate) fn apply_span_metrics(
        &mut self,
        registry: &Registry,
        table: &TableId,
        targets: Option<&TableId>,
        now_ms: i64,
    ) {
        let Some(span_metrics) = &self.processors.span_metrics else {
            return;
        };
        let applied = registry.apply(table, &self.spans, now_ms, |index, labels| {
            self.again(self.span_sources.get(index), |span, values| {
                span_metrics.labels(span, values, labels)
            })
        });
        if let (Some(table), Some(info)) = (targets, span_metrics.target_info()) {
            let sources = &self.target_sources;
            registry.apply(table, &self.targets, now_ms, |index, labels| {
                let source = sources.get(index).ok_or(InvalidLabels)?;
                info.labels(*source, labels)
            });
        }
        self.settle(applied);
    }

    fn settle(&mut self, applied: Applied) {
        self.ledger.span_metrics.applied(applied);
        self.ledger.overflowed += applied.overflowed;
    }

    /// Lets the halves of edges meet, and applies the edges.
    pub(crate) fn apply_service_graphs(
        &mut self,
        registry: &Registry,
        tables: &EdgeTables,
        store: &EdgeStore,
        now_ms: i64,
    ) {
        let Some(service_graphs) = &self.processors.service_graphs else {
            return;
        };
        let rules = service_graphs.rules();
        let edges = store.offer(&self.halves, rules, now_ms, |half, labels| {
            let source = self.half_sources.get(half.source as usize);
            self.again(source, |_, values| {
                service_graphs.describe(half, values, labels)
            })
        });
        let ledger = &mut self.ledger;
        tables.apply(&edges, service_graphs, registry, now_ms, ledger);
    }

    /// Applies the hosts that were read.
    pub(crate) fn apply_host_info(&mut self, registry: &Registry, table: &TableId, now_ms: i64) {
        let Some(host_info) = &self.processors.host_info else {
            return;
        };
        let keys = self.processors.wanted.len();
        registry.apply(table, &self.hosts, now_ms, |index, labels| {
            let resource = *self.host_sources.get(index).ok_or(InvalidLabels)?;
            let values = Values {
                resource: resource_values(&self.resource_values, keys, resource),
                span: &[],
            };
            host_info.labels(values, labels)
        });
        self.ledger.host_info.counted += self.host_spans;
    }

    /// Notes for processors that are off that they did not see the spans: one may
    /// be switched on before the push is in the ledger.
    pub(crate) fn note_processors_off(&mut self) {
        let Processors {
            span_metrics,
            service_graphs,
            host_info,
            ..
        } = self.processors;
        let ledger = &mut self.ledger;
        for (is_on, ledger) in [
            (span_metrics.is_some(), &mut ledger.span_metrics),
            (service_graphs.is_some(), &mut ledger.service_graphs),
            (host_info.is_some(), &mut ledger.host_info),
        ] {
            if !is_on {
                ledger
                    .discarded
                    .add(DiscardReason::ProcessorOff, self.admitted);
            }
        }
    }

    /// Reads a span again for its labels: only where a lane meets a new key.
    fn again(
        &self,
        source: Option<&(&'a [u8], u32)>,
        labels: impl FnOnce(&Span<'a>, Values<'_, 'a>) -> Result<(), InvalidLabels>,
    ) -> Result<(), InvalidLabels> {
        let (message, resource) = *source.ok_or(InvalidLabels)?;
        let wanted = &self.processors.wanted;
        let mut values = vec![None; wanted.len()];
        let span = Span::parse_with(message, |attribute| wanted.collect(attribute, &mut values))
            .map_err(|_| InvalidLabels)?;
        let values = Values {
            resource: resource_values(&self.resource_values, wanted.len(), resource),
            span: &values,
        };
        labels(&span, values)
    }
}

fn resource_values<'v, 'a>(
    all: &'v [Option<AnyValue<'a>>],
    keys: usize,
    index: u32,
) -> &'v [Option<AnyValue<'a>>] {
    let start = index as usize * keys;
    all.get(start..start + keys).unwrap_or_default()
}
