//! Values in conditions, and how they compare.

use std::cmp::Ordering;

use otlp::{AnyValue, KeyValue, WireError};
use regex::bytes::Regex;

use super::Comparison;

/// What an operand is for one span.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// It is not there.
    Nil,
    Text(&'a [u8]),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// Bytes, a list or a map, which equal nothing here.
    Other(AnyValue<'a>),
}

impl<'a> Value<'a> {
    pub(super) fn of_attribute(
        attributes: impl Iterator<Item = Result<KeyValue<'a>, WireError>>,
        key: &str,
    ) -> Self {
        let found = attributes
            .map_while(Result::ok)
            .find(|attribute| attribute.key == key.as_bytes());
        match found.map(|attribute| attribute.value) {
            None | Some(AnyValue::Empty) => Self::Nil,
            Some(AnyValue::String(text)) => Self::Text(text),
            Some(AnyValue::Bool(value)) => Self::Bool(value),
            Some(AnyValue::Int(value)) => Self::Integer(value),
            Some(AnyValue::Double(value)) => Self::Float(value),
            Some(other) => Self::Other(other),
        }
    }

    /// Whether its text has a part that the pattern describes; what is not there has
    /// none.
    pub(super) fn matches(self, pattern: &Regex) -> bool {
        let value = match self {
            Self::Nil => return false,
            Self::Text(text) => return pattern.is_match(text),
            Self::Integer(value) => AnyValue::Int(value),
            Self::Float(value) => AnyValue::Double(value),
            Self::Bool(value) => AnyValue::Bool(value),
            Self::Other(value) => value,
        };
        let mut text = String::new();
        value.write_text(&mut text).is_ok() && pattern.is_match(text.as_bytes())
    }
}

/// Values of different types are different, and neither is less; but integers and
/// floats are numbers.
pub(super) fn compare(left: Value<'_>, comparison: Comparison, right: Value<'_>) -> bool {
    let order = match (left, right) {
        (Value::Nil, Value::Nil) => {
            return comparison == Comparison::Equal;
        }
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(&right)),
        (Value::Integer(left), Value::Integer(right)) => Some(left.cmp(&right)),
        (Value::Integer(left), Value::Float(right)) => (left as f64).partial_cmp(&right),
        (Value::Float(left), Value::Integer(right)) => left.partial_cmp(&(right as f64)),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(&right),
        _ => None,
    };
    match comparison {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::LessOrEqual => order.is_some_and(Ordering::is_le),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
    }
}
