//! An explanation for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use generator::explain::{
    ExplainedProcessor, ExplainedSpan, Explanation, ReachedSeries, Rule, Verdict,
};

/// How far the longest usual rule reaches.
const WIDTH: usize = 28;

/// The whole text.
pub(super) fn of(explanation: &Explanation) -> String {
    let spans = explanation.spans.iter().map(span);
    spans.collect::<Vec<_>>().join("\n")
}

fn span(span: &ExplainedSpan) -> String {
    let mut text = format!("span {}: {:?}", span.number, span.name);
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        " of service {:?}, {}, trace {}, span {}",
        span.service, span.kind, span.trace_id, span.span_id
    );
    rules(&span.rules, "  ", &mut text);
    if let Some(refused) = &span.refused {
        let _ = writeln!(text, "  refused by the {}: {}", refused.by, refused.reason);
    }
    series(&span.series, "  of its resource all the same ", &mut text);
    for of in &span.processors {
        processor(of, &mut text);
    }
    text
}

fn processor(processor: &ExplainedProcessor, text: &mut String) {
    let mut verdict = match processor.verdict {
        Verdict::Counted => "counted".to_owned(),
        Verdict::Discarded(reason) => format!("discarded: {reason}"),
        Verdict::Off => "off".to_owned(),
    };
    if processor.waits {
        verdict = format!("waits for its counterpart; if none comes, {verdict}");
    }
    if !processor.with.is_empty() {
        let with: Vec<_> = processor.with.iter().map(usize::to_string).collect();
        let _ = write!(verdict, ", as an edge with span {}", with.join(", "));
    }
    let _ = writeln!(text, "  {}: {verdict}", processor.processor);
    if processor.verdict != Verdict::Off {
        rules(&processor.rules, "    ", text);
    }
    series(&processor.series, "    ", text);
}

fn rules(rules: &[Rule], indent: &str, text: &mut String) {
    for Rule { rule, finding } in rules {
        let _ = writeln!(text, "{indent}{rule:WIDTH$} {finding}");
    }
}

fn series(all: &[ReachedSeries], indent: &str, text: &mut String) {
    for series in all {
        let labels: Vec<_> = series
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let kind = match series.kind {
            "counter" | "gauge" => String::new(),
            kind => format!(" ({kind})"),
        };
        let labels = labels.join(", ");
        let _ = writeln!(text, "{indent}-> {}{{{labels}}}{kind}", series.metric);
        for relabelled in &series.relabelled {
            let to = &relabelled.destination;
            let _ = match &relabelled.labels {
                None => writeln!(text, "{indent}   {to} does not get it: relabelled"),
                Some(labels) if is_same(labels, series) => Ok(()),
                Some(labels) => writeln!(text, "{indent}   {to} gets it as {labels:?}"),
            };
        }
    }
}

/// Whether rules leave all labels but the name as they are; it may have an ending.
fn is_same(labels: &BTreeMap<String, String>, series: &ReachedSeries) -> bool {
    let name = labels.get("__name__");
    let own = labels.iter().filter(|(label, _)| *label != "__name__");
    name.is_some_and(|name| name.starts_with(&series.metric)) && own.eq(&series.labels)
}
