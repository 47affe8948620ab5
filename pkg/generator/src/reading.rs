//! One walk over the bytes of a push: what its spans add to which label sets.

use model::LabelSetBuf;
use otlp::{AnyValue, Request, ResourceSpans, Span, WireError};
use registry::{Applied, InvalidLabels, LaneKey, Registry, TableId, Update};

use crate::attributes::Values;
use crate::ledger::Ledger;
use crate::processors::Processors;
use crate::processors::span_metrics::{Outcome, SpanMetrics};
use crate::time_slack::TimeSlack;

/// Bytes of a usual span, by which buffers are sized at first.
const USUAL_SPAN_BYTES: usize = 512;

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
    /// The wanted values of all resources, one after the other.
    resource_values: Vec<Option<AnyValue<'a>>>,
    resources: u32,
    span_values: Vec<Option<AnyValue<'a>>>,
    scratch: Vec<u8>,
}

/// The resource whose spans are being read.
#[derive(Clone, Copy)]
struct Current<'a> {
    resource_spans: ResourceSpans<'a>,
    key: LaneKey,
    index: u32,
    has_target: bool,
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
        let spans = request.len() / USUAL_SPAN_BYTES + 1;
        let mut reading = Self {
            processors,
            slack,
            ledger: Ledger::default(),
            spans: Vec::with_capacity(spans),
            span_sources: Vec::with_capacity(spans),
            targets: Vec::new(),
            target_sources: Vec::new(),
            resource_values: Vec::new(),
            resources: 0,
            span_values: vec![None; processors.wanted.len()],
            scratch: Vec::new(),
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
        };
        if let Some(span_metrics) = &self.processors.span_metrics {
            current.key = span_metrics.resource_key(values, &mut self.scratch);
            current.has_target = span_metrics.target_info().is_none();
        }
        for scope_spans in resource_spans.scope_spans() {
            for span in scope_spans?.spans() {
                self.span(span?, &mut current)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn span(&mut self, message: &'a [u8], current: &mut Current<'a>) -> Result<(), WireError> {
        self.ledger.received += 1;
        self.span_values.fill(None);
        let wanted = &self.processors.wanted;
        let values = &mut self.span_values;
        let read = Span::parse_with(message, |attribute| wanted.collect(attribute, values));
        let Ok(span) = read else {
            self.ledger.malformed += 1;
            return Ok(());
        };
        if span.trace_id.len() > 16 || span.span_id.len() > 8 {
            self.ledger.invalid_id += 1;
            return Ok(());
        }
        if !self.slack.admits(span.end_time_unix_nano) {
            self.ledger.late += 1;
            return Ok(());
        }
        match &self.processors.span_metrics {
            Some(span_metrics) => self.span_metrics(span_metrics, &span, current),
            None => Ok(()),
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
            &mut self.ledger.invalid_weights,
        );
        match outcome {
            Outcome::Filtered => self.ledger.span_metrics.filtered += 1,
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
            self.span_labels(span_metrics, index, labels)
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
        self.ledger.span_metrics.counted += applied.counted;
        self.ledger.span_metrics.invalid_utf8 += applied.invalid;
        self.ledger.overflowed += applied.overflowed;
    }

    /// Reads a span again for its labels: only where a lane meets a new key.
    fn span_labels(
        &self,
        span_metrics: &SpanMetrics,
        index: usize,
        labels: &mut LabelSetBuf,
    ) -> Result<(), InvalidLabels> {
        let (message, resource) = *self.span_sources.get(index).ok_or(InvalidLabels)?;
        let wanted = &self.processors.wanted;
        let mut values = vec![None; wanted.len()];
        let span = Span::parse_with(message, |attribute| wanted.collect(attribute, &mut values))
            .map_err(|_| InvalidLabels)?;
        let values = Values {
            resource: resource_values(&self.resource_values, wanted.len(), resource),
            span: &values,
        };
        span_metrics.labels(&span, values, labels)
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

/// A trace id as exemplars write it: padded with zeros on the left (D25).
fn padded(trace_id: &[u8]) -> [u8; 16] {
    if let Ok(trace_id) = trace_id.try_into() {
        return trace_id;
    }
    let mut padded = [0; 16];
    let from = padded.len().saturating_sub(trace_id.len());
    if let Some(place) = padded.get_mut(from..)
        && place.len() == trace_id.len()
    {
        place.copy_from_slice(trace_id);
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_trace_id_is_padded_on_the_left() {
        assert_eq!(padded(&[7, 8])[14..], [7, 8]);
        assert_eq!(padded(&[7, 8])[..14], [0; 14]);
        assert_eq!(padded(&[9; 16]), [9; 16]);
        assert_eq!(padded(&[]), [0; 16]);
    }
}
