//! All spans of a request, one after the other.

use std::time::Duration;

use otlp::validate::{self, SpanRejection};
use otlp::{AnyValue, Span};
use registry::LABEL_OVERFLOW;
use settings::duration;
use strum::VariantArray as _;

use super::request::{SingleSpan, single_spans};
use super::series::{Totals, changed, relabel};
use super::trial::Trial;
use super::{
    ExplainError, ExplainedProcessor, ExplainedSpan, Explanation, Question, ReachedSeries, Refused,
    Rule, Verdict, hex, shown_text,
};
use crate::attributes::Values;
use crate::ledger::{DiscardReason, Discarded, Ledger, ProcessorLedger};
use crate::processors::Processors;
use crate::span_names;
use crate::time_slack::TimeSlack;

mod pairs;

const SPAN_METRICS: &str = "span-metrics";
const SERVICE_GRAPHS: &str = "service-graphs";
const HOST_INFO: &str = "host-info";
/// What the names of an edge's metrics begin with.
const OF_EDGES: &str = "traces_service_graph_";
/// The label of what a limit sends to one series.
const OVERFLOW: &str = "metric_overflow";

/// Explains each span of a request: what it would come to at a tenant that has had no
/// span before these.
///
/// # Errors
///
/// Where the request would be refused as a whole.
pub fn explain(question: &Question<'_>) -> Result<Explanation, ExplainError> {
    let spans = single_spans(question.request)?;
    let checked = validate::check(question.request)?;
    let mut explainer = Explainer {
        is_any_valid: checked.spans > checked.rejected.total(),
        question,
        processors: Processors::new(&question.config),
        shared: Trial::new(question),
        singles: &spans,
        explained: Vec::with_capacity(spans.len()),
        totals: Totals::new(),
        waiting: Vec::new(),
        last_unix_nanos: 0,
    };
    for span in &spans {
        explainer.next(span)?;
    }
    explainer.expire()?;
    let mut explained = explainer.explained;
    for span in &mut explained {
        for processor in &mut span.processors {
            processor.rules.extend(limits(&processor.series));
        }
        let processors = span.processors.iter_mut();
        let series = processors.map(|processor| &mut processor.series);
        for series in series.chain([&mut span.series]) {
            series.sort();
            series.dedup();
            relabel(series, &question.config);
        }
    }
    Ok(Explanation { spans: explained })
}

/// A tenant to which the spans go, and what became of those that have gone.
struct Explainer<'q, 's> {
    question: &'q Question<'q>,
    processors: Processors,
    shared: Trial<'q>,
    singles: &'s [SingleSpan<'s>],
    explained: Vec<ExplainedSpan>,
    /// What its series came to with the last of them.
    totals: Totals,
    /// The places, from 0, of spans that wait for their counterpart.
    waiting: Vec<usize>,
    /// Whether the distributor takes any of them.
    is_any_valid: bool,
    /// When the last of them arrived.
    last_unix_nanos: u64,
}

impl Explainer<'_, '_> {
    /// Explains the next span.
    fn next(&mut self, single: &SingleSpan<'_>) -> Result<(), ExplainError> {
        let place = self.explained.len();
        let span = single.span();
        let end = span.map_or(0, |span| span.end_time_unix_nano);
        let now = self.question.now_unix_nanos.unwrap_or(end);
        self.last_unix_nanos = self.last_unix_nanos.max(now);
        let mut explained = named(place, span, single, now);
        let (rejection, rest) = rejection(single)?;
        explained.rules.push(validation(rejection));
        if let Some(reason) = rejection {
            explained.refused = Some(Refused {
                by: "distributor",
                reason: reason.into(),
            });
            // Its resource goes on, unless nothing of the request is left.
            if self.is_any_valid {
                explained.series = self.push(&rest, now)?.1;
            }
            self.explained.push(explained);
            return Ok(());
        }
        let waiting = self.shared.waiting();
        let (ledger, series) = self.push(single, now)?;
        explained.rules.push(self.slack(end, now));
        if let Some(reason) = first(&ledger.discarded) {
            explained.refused = Some(Refused {
                by: "generator",
                reason: reason.into(),
            });
            explained.series = series;
            self.explained.push(explained);
            return Ok(());
        }
        let (of_edges, others): (Vec<_>, Vec<_>) = series
            .into_iter()
            .partition(|series| series.metric.starts_with(OF_EDGES));
        let host_metric = &self.question.config.host_info.metric_name;
        let (of_hosts, of_spans): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|series| series.metric == *host_metric);
        let rules = self.rules(single, span)?;
        let [span_rules, edge_rules, host_rules] = rules;
        explained.processors = vec![
            processor(SPAN_METRICS, span_rules, &ledger.span_metrics, of_spans),
            processor(SERVICE_GRAPHS, edge_rules, &ledger.service_graphs, of_edges),
            processor(HOST_INFO, host_rules, &ledger.host_info, of_hosts),
        ];
        self.explained.push(explained);
        if self.processors.service_graphs.is_some() {
            self.pair(place, &ledger, waiting)?;
        }
        Ok(())
    }

    /// Pushes a span to the tenant; gives the ledger and the series that it changes.
    fn push(
        &mut self,
        single: &SingleSpan<'_>,
        now: u64,
    ) -> Result<(Ledger, Vec<ReachedSeries>), ExplainError> {
        let ledger = self.shared.push(single, now)?;
        let after = self.shared.totals();
        let mut series = changed(&self.totals, &after);
        // A gauge is set anew, and does not grow.
        let alone = Trial::new(self.question);
        alone.push(single, now)?;
        let gauges = alone.totals().into_keys();
        series.extend(gauges.filter(|series| series.kind == "gauge" && after.contains_key(series)));
        self.totals = after;
        Ok((ledger, series))
    }

    fn slack(&self, end: u64, now: u64) -> Rule {
        let slack = self.question.config.ingestion_time_range_slack;
        let (away, side) = match now.checked_sub(end) {
            Some(away) => (away, "before"),
            None => (end - now, "after"),
        };
        let is_in_time = TimeSlack::around(now, slack).admits(end);
        let away = duration::format(Duration::from_nanos(away));
        let slack = duration::format(slack);
        let verdict = if is_in_time { "in time" } else { "refused" };
        Rule::new(
            "ingestion_time_range_slack",
            format!("it ends {away} {side} it arrives, of {slack}: {verdict}"),
        )
    }

    /// The rules of each processor, in words.
    fn rules(
        &self,
        single: &SingleSpan<'_>,
        span: Option<Span<'_>>,
    ) -> Result<[Vec<Rule>; 3], ExplainError> {
        let wanted = &self.processors.wanted;
        let mut of_resource = vec![None; wanted.len()];
        for resource in single.resource.resources() {
            let mut fields = otlp::wire::Fields::new(resource?);
            while let Some((number, value)) = fields.read()? {
                if number == 1 {
                    wanted.collect(value.bytes(number)?, &mut of_resource)?;
                }
            }
        }
        let mut of_span = vec![None; wanted.len()];
        let read = Span::parse_with(single.message, |attribute| {
            wanted.collect(attribute, &mut of_span)
        });
        let (Ok(_), Some(span)) = (read, span) else {
            return Ok([Vec::new(), Vec::new(), Vec::new()]);
        };
        let values = Values {
            resource: &of_resource,
            span: &of_span,
        };
        let config = &self.question.config;
        let Processors {
            span_metrics,
            service_graphs,
            host_info,
            ..
        } = &self.processors;
        let host = host_info.as_ref().map(|host_info| {
            let keys = config.host_info.host_identifiers.join(", ");
            let finding = match host_info.host(values) {
                Some((source, host)) => format!("{source} is {}", shown_text(host)),
                None => format!("none of {keys} is there: refused"),
            };
            Rule::new("host_identifiers", finding)
        });
        Ok([
            span_metrics
                .as_ref()
                .map_or_else(off, |processor| processor.explain(config, &span, values)),
            service_graphs
                .as_ref()
                .map_or_else(off, |processor| processor.explain(config, &span, values)),
            host.map_or_else(off, |rule| vec![rule]),
        ])
    }
}

/// The rule of a processor that is off.
fn off() -> Vec<Rule> {
    vec![Rule::new("processors", "the tenant does not have it")]
}

fn named(place: usize, span: Option<Span<'_>>, single: &SingleSpan<'_>, now: u64) -> ExplainedSpan {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut attributes = single.resource.attributes().map_while(Result::ok);
    let service = attributes.find(|attribute| attribute.key == b"service.name");
    let service = service.map_or_else(String::new, |attribute| match attribute.value {
        AnyValue::String(name) => text(name),
        other => super::shown(other),
    });
    let span = span.unwrap_or_default();
    ExplainedSpan {
        number: place + 1,
        name: text(span.name),
        service,
        kind: span_names::kind(span.kind).into_owned(),
        trace_id: hex(span.trace_id),
        span_id: hex(span.span_id),
        now_unix_nanos: now,
        rules: Vec::new(),
        refused: None,
        series: Vec::new(),
        processors: Vec::new(),
    }
}

/// Why the distributor refuses a span, if it does; and what it sends on then.
fn rejection<'s>(
    single: &SingleSpan<'s>,
) -> Result<(Option<SpanRejection>, SingleSpan<'s>), ExplainError> {
    let checked = validate::check(&single.request)?;
    let mut reasons = SpanRejection::VARIANTS.iter().copied();
    let reason = reasons.find(|reason| checked.rejected.count(*reason) > 0);
    let mut rest = single.clone();
    if let Some(rewritten) = checked.rewritten {
        rest.request = rewritten.into();
    }
    Ok((reason, rest))
}

fn validation(rejection: Option<SpanRejection>) -> Rule {
    let finding = match rejection {
        None => "its bytes and ids are those of a span",
        Some(SpanRejection::InvalidTraceId) => "its trace id is not 16 bytes, or all zero: refused",
        Some(SpanRejection::InvalidSpanId) => "its id is not 8 bytes, or all zero: refused",
        Some(SpanRejection::MalformedSpan) => "its bytes are not those of a span: refused",
    };
    Rule::new("validation", finding)
}

/// The reason for which something was discarded.
fn first(discarded: &Discarded) -> Option<DiscardReason> {
    let mut reasons = DiscardReason::VARIANTS.iter().copied();
    reasons.find(|reason| discarded.of(*reason) > 0)
}

/// The limits that series show to be reached.
fn limits(series: &[ReachedSeries]) -> Vec<Rule> {
    let mut rules = Vec::new();
    let labels = || series.iter().flat_map(|series| &series.labels);
    if labels().any(|(name, _)| name == OVERFLOW) {
        let finding =
            "there are as many as there may be: it counts in the series that all others share";
        rules.push(Rule::new("limit of active series", finding));
    }
    if let Some((label, _)) = labels().find(|(_, value)| *value == LABEL_OVERFLOW) {
        let finding = format!("{label} has as many values as it may: this one is replaced");
        rules.push(Rule::new("max_cardinality_per_label", finding));
    }
    rules
}

fn processor(
    processor: &'static str,
    rules: Vec<Rule>,
    ledger: &ProcessorLedger,
    series: Vec<ReachedSeries>,
) -> ExplainedProcessor {
    let verdict = match first(&ledger.discarded) {
        Some(DiscardReason::ProcessorOff) => Verdict::Off,
        Some(reason) => Verdict::Discarded(reason.into()),
        None => Verdict::Counted,
    };
    ExplainedProcessor {
        processor,
        rules,
        verdict,
        waits: false,
        with: Vec::new(),
        series,
    }
}

/// What became of spans of service graphs.
fn of_edges(ledger: &Ledger) -> ProcessorLedger {
    ledger.service_graphs
}
