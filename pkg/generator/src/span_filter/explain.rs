//! Which clause of which policy decides on a span.

use otlp::Span;
use overrides::{FilterPolicy, MatchType, PolicyMatch};

use super::{Condition, SpanFilter, Subject};
use crate::attributes::Values;
use crate::explain::{Rule, shown, shown_text};
use crate::span_names;

impl SpanFilter {
    /// What each policy finds, in order, until one refuses the span; `policies` are the
    /// ones that this was compiled from.
    pub(crate) fn explain(
        &self,
        policies: &[FilterPolicy],
        span: &Span<'_>,
        values: Values<'_, '_>,
    ) -> Vec<Rule> {
        let mut rules = Vec::new();
        for (place, (policy, compiled)) in policies.iter().zip(&self.policies).enumerate() {
            let sides = [
                ("include", true, &policy.include, &compiled.include),
                ("exclude", false, &policy.exclude, &compiled.exclude),
            ];
            for (side, is_wanted, wanted, conditions) in sides {
                let (Some(wanted), Some(conditions)) = (wanted, conditions) else {
                    continue;
                };
                let failing = conditions
                    .iter()
                    .position(|condition| !condition.holds(span, values));
                let clauses = clauses(wanted, conditions, failing, span, values);
                let passes = failing.is_none() == is_wanted;
                let verdict = if passes { "passes" } else { "refused" };
                rules.push(Rule::new(
                    format!("filter_policies[{place}].{side}"),
                    format!("{clauses}: {verdict}"),
                ));
                if !passes {
                    return rules;
                }
            }
        }
        rules
    }
}

/// The clause that does not hold, or all of them.
fn clauses(
    wanted: &PolicyMatch,
    conditions: &[Condition],
    failing: Option<usize>,
    span: &Span<'_>,
    values: Values<'_, '_>,
) -> String {
    let clauses = wanted.attributes.iter().zip(conditions).enumerate();
    let told: Vec<_> = clauses
        .filter(|(place, _)| failing.is_none_or(|failing| failing == *place))
        .map(|(_, (attribute, condition))| {
            let (key, want) = (&attribute.key, attribute.value.to_string());
            let found = condition.found(span, values);
            match (wanted.match_type, failing) {
                (MatchType::Strict, None) => format!("{key} is {found}"),
                (MatchType::Strict, Some(_)) => format!("{key} is {found}, not {want:?}"),
                (MatchType::Regex, None) => format!("{key} is {found}, which matches {want:?}"),
                (MatchType::Regex, Some(_)) => {
                    format!("{key} is {found}, which does not match {want:?}")
                }
            }
        })
        .collect();
    match told.is_empty() {
        true => "without attributes every span matches".to_owned(),
        false => told.join(" and "),
    }
}

impl Condition {
    /// What it looks at.
    fn found(&self, span: &Span<'_>, values: Values<'_, '_>) -> String {
        let of = |value: Option<_>| value.map_or_else(|| "nothing".to_owned(), shown);
        match self.subject {
            Subject::Kind => shown_text(span_names::kind(span.kind).as_bytes()),
            Subject::Name => shown_text(span.name),
            Subject::Status => shown_text(span_names::status_code(span.status_code).as_bytes()),
            Subject::OfSpan(key) => of(values.in_span(key)),
            Subject::OfResource(key) => of(values.in_resource(key)),
        }
    }
}
