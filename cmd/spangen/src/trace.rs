//! Traces before they are encoded.

use std::borrow::Cow;

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A string.
    Text(Cow<'static, str>),
    /// An integer.
    Int(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// Attributes in the order in which they are sent.
pub(crate) type Attributes = Vec<(&'static str, Value)>;

/// Span kinds, with their numbers in OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the words of OpenTelemetry")]
pub(crate) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

/// What emitted spans: one instance of a service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resource {
    /// Its attributes.
    pub(crate) attributes: Attributes,
}

/// One span of a [`Trace`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    /// Index of its resource in the workload's list.
    pub(crate) resource: usize,
    /// Index of its parent in the trace; the parent comes first.
    pub(crate) parent: Option<usize>,
    /// Name of the instrumentation library.
    pub(crate) scope: &'static str,
    /// Its name. With `churn` the last [`GENERATION_DIGITS`] bytes are digits
    /// that change over time.
    pub(crate) name: String,
    /// Which of the workload's label sets this is, if its name is replaced
    /// from time to time.
    pub(crate) churn: Option<u32>,
    /// Its kind.
    pub(crate) kind: Kind,
    /// The message of its status `ERROR`; `None` leaves the status unset.
    pub(crate) failure: Option<&'static str>,
    /// Nanoseconds from the start of the trace to that of the span.
    pub(crate) start: u64,
    /// Nanoseconds from the start of the trace to the end of the span.
    pub(crate) end: u64,
    /// Its attributes.
    pub(crate) attributes: Attributes,
}

/// How many digits at the end of a churned name tell its generation.
pub(crate) const GENERATION_DIGITS: usize = 4;

/// Spans of one trace, parents before children.
pub(crate) type Trace = Vec<Span>;
