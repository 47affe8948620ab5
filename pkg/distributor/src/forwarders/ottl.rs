//! Conditions on spans and their events, in the OpenTelemetry Transformation Language:
//! the part of it that filters commonly have.
//!
//! What it has not is refused where the configuration is read, with its place. Source:
//! OpenTelemetry Collector, `pkg/ottl/LANGUAGE.md` and its contexts `span` and
//! `spanevent`.

mod parser;
mod tokens;
mod values;

use otlp::view::Event;
use otlp::{ResourceSpans, ScopeSpans, Span};
use regex::bytes::Regex;

use self::values::{Value, compare};

/// What conditions are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    Span,
    SpanEvent,
}

/// A condition that can be asked of spans.
#[derive(Clone, Debug)]
pub(crate) struct Condition(Expression);

/// A condition that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {problem}")]
pub(crate) struct ConditionError {
    /// Counted from 1.
    at: usize,
    problem: String,
}

/// A span, or one of its events, with what is around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) resource: ResourceSpans<'a>,
    pub(crate) scope: ScopeSpans<'a>,
    pub(crate) span: Span<'a>,
    pub(crate) event: Event<'a>,
}

#[derive(Clone, Debug)]
enum Expression {
    Or(Vec<Expression>),
    And(Vec<Expression>),
    Not(Box<Expression>),
    Compare(Operand, Comparison, Operand),
    IsMatch(Operand, Regex),
    IsRootSpan,
    Constant(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Nil,
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    ResourceAttribute(String),
    SpanAttribute(String),
    EventAttribute(String),
    ScopeName,
    ScopeVersion,
    SpanName,
    EventName,
    Kind,
    KindText,
    StatusCode,
    StatusMessage,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    ///
    /// What it has that is not known, and where.
    pub(crate) fn parse(text: &str, context: Context) -> Result<Self, ConditionError> {
        parser::parse(text, context).map(Self)
    }

    /// Whether it is true.
    pub(crate) fn holds(&self, subject: &Subject<'_>) -> bool {
        self.0.holds(subject)
    }
}

impl Expression {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Or(any) => any.iter().any(|one| one.holds(subject)),
            Self::And(all) => all.iter().all(|one| one.holds(subject)),
            Self::Not(inner) => !inner.holds(subject),
            Self::Compare(left, comparison, right) => {
                compare(left.value(subject), *comparison, right.value(subject))
            }
            Self::IsMatch(operand, pattern) => operand.value(subject).matches(pattern),
            Self::IsRootSpan => subject.span.parent_span_id.is_empty(),
            Self::Constant(value) => *value,
        }
    }
}

impl Operand {
    fn value<'a>(&'a self, subject: &Subject<'a>) -> Value<'a> {
        let Subject { span, event, .. } = subject;
        match self {
            Self::Nil => Value::Nil,
            Self::Text(text) => Value::Text(text.as_bytes()),
            Self::Integer(value) => Value::Integer(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Bool(value) => Value::Bool(*value),
            Self::ResourceAttribute(key) => Value::of_attribute(subject.resource.attributes(), key),
            Self::SpanAttribute(key) => Value::of_attribute(span.attributes(), key),
            Self::EventAttribute(key) => Value::of_attribute(event.attributes(), key),
            Self::ScopeName => Value::Text(subject.scope.scope().unwrap_or_default().name),
            Self::ScopeVersion => Value::Text(subject.scope.scope().unwrap_or_default().version),
            Self::SpanName => Value::Text(span.name),
            Self::EventName => Value::Text(event.name),
            Self::Kind => Value::Integer(span.kind.into()),
            Self::KindText => Value::Text(kind_text(span.kind).as_bytes()),
            Self::StatusCode => Value::Integer(span.status_code.into()),
            Self::StatusMessage => Value::Text(span.status_message),
        }
    }
}

/// As OTTL's `kind.string` has it.
fn kind_text(kind: i32) -> &'static str {
    match kind {
        1 => "Internal",
        2 => "Server",
        3 => "Client",
        4 => "Producer",
        5 => "Consumer",
        _ => "Unspecified",
    }
}

#[cfg(test)]
mod tests;
