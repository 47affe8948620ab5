//! Filter policies: which spans a processor takes.
//!
//! Source: tempo-2.10, span-metrics rule 2; differences D33.

use otlp::{AnyValue, Span};
use overrides::{FilterPolicy, MatchType, PolicyAttribute, PolicyMatch, PolicyValue};
use regex::bytes::Regex;

use crate::attributes::{KeyIndex, Values, WantedKeys};
use crate::span_names;

mod explain;

/// Compiled filter policies; a span must pass all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanFilter {
    policies: Vec<Policy>,
}

#[derive(Clone, Debug)]
struct Policy {
    include: Option<Vec<Condition>>,
    exclude: Option<Vec<Condition>>,
}

#[derive(Clone, Debug)]
struct Condition {
    subject: Subject,
    test: Test,
}

#[derive(Clone, Copy, Debug)]
enum Subject {
    Kind,
    Name,
    Status,
    OfSpan(KeyIndex),
    OfResource(KeyIndex),
}

#[derive(Clone, Debug)]
enum Test {
    Strict(PolicyValue),
    Regex(Regex),
    /// A pattern that does not compile, which validation refuses, matches nothing.
    Never,
}

impl SpanFilter {
    /// Compiles policies and asks for the attributes that they look at.
    pub(crate) fn new(policies: &[FilterPolicy], wanted: &mut WantedKeys) -> Self {
        let mut conditions = |side: &Option<PolicyMatch>| {
            side.as_ref().map(|side| {
                side.attributes
                    .iter()
                    .map(|attribute| Condition::new(attribute, side.match_type, wanted))
                    .collect()
            })
        };
        let policies = policies
            .iter()
            .map(|policy| Policy {
                include: conditions(&policy.include),
                exclude: conditions(&policy.exclude),
            })
            .collect();
        Self { policies }
    }

    /// Whether a span passes.
    #[inline]
    pub(crate) fn admits(&self, span: &Span<'_>, values: Values<'_, '_>) -> bool {
        let all = |conditions: &Vec<Condition>| {
            conditions
                .iter()
                .all(|condition| condition.holds(span, values))
        };
        self.policies.iter().all(|policy| {
            policy.include.as_ref().is_none_or(all) && !policy.exclude.as_ref().is_some_and(all)
        })
    }
}

impl Condition {
    fn new(attribute: &PolicyAttribute, match_type: MatchType, wanted: &mut WantedKeys) -> Self {
        let subject = match attribute.key.as_str() {
            "kind" => Subject::Kind,
            "name" => Subject::Name,
            "status" => Subject::Status,
            key => match key.split_once('.') {
                Some(("resource", key)) => Subject::OfResource(wanted.want(key)),
                Some(("span", key)) => Subject::OfSpan(wanted.want(key)),
                _ => Subject::OfSpan(wanted.want(key)),
            },
        };
        let test = match (match_type, &attribute.value) {
            (MatchType::Strict, value) => Test::Strict(value.clone()),
            (MatchType::Regex, value) => {
                Regex::new(&value.to_string()).map_or(Test::Never, Test::Regex)
            }
        };
        Self { subject, test }
    }

    fn holds(&self, span: &Span<'_>, values: Values<'_, '_>) -> bool {
        match self.subject {
            Subject::Kind => self.test.text(span_names::kind(span.kind).as_bytes()),
            Subject::Name => self.test.text(span.name),
            Subject::Status => self
                .test
                .text(span_names::status_code(span.status_code).as_bytes()),
            Subject::OfSpan(key) => values
                .in_span(key)
                .is_some_and(|value| self.test.value(value)),
            Subject::OfResource(key) => values
                .in_resource(key)
                .is_some_and(|value| self.test.value(value)),
        }
    }
}

impl Test {
    fn text(&self, text: &[u8]) -> bool {
        match self {
            Self::Strict(PolicyValue::Text(want)) => want.as_bytes() == text,
            Self::Strict(_) | Self::Never => false,
            Self::Regex(regex) => regex.is_match(text),
        }
    }

    fn value(&self, value: AnyValue<'_>) -> bool {
        match (self, value) {
            (_, AnyValue::String(text)) => self.text(text),
            (Self::Strict(PolicyValue::Integer(want)), AnyValue::Int(value)) => *want == value,
            (Self::Strict(PolicyValue::Double(want)), AnyValue::Double(value)) => *want == value,
            (Self::Strict(PolicyValue::Integer(want)), AnyValue::Double(value)) => {
                *want as f64 == value
            }
            (Self::Strict(PolicyValue::Double(want)), AnyValue::Int(value)) => {
                *want == value as f64
            }
            (Self::Strict(PolicyValue::Boolean(want)), AnyValue::Bool(value)) => *want == value,
            (Self::Strict(_) | Self::Never, _) => false,
            (Self::Regex(regex), value) => {
                let mut text = String::new();
                value.write_text(&mut text).is_ok() && regex.is_match(text.as_bytes())
            }
        }
    }
}
