//! Why a value does not fit.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

use crate::node::{Content, Node};
use crate::source::Place;
use crate::suggest::nearest;

/// Allowed values that a message lists; behind them it says that there are more.
const LISTED: usize = 24;

/// What is wrong, and where once that is known.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) fault: Fault,
    pub(super) at: Option<At>,
}

/// What is wrong.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is null where a value is wanted: as if it were absent.
    Null,
    /// A key that must be there is not.
    Missing(&'static str),
    /// Anything else, in words.
    Other(String),
}

/// The node at which something is wrong.
#[derive(Debug)]
pub(super) struct At {
    pub(super) path: String,
    pub(super) place: Place,
    pub(super) address: usize,
    pub(super) parent: Option<usize>,
}

impl Fault {
    pub(super) fn text(self) -> String {
        match self {
            Self::Null => "a value is missing".to_owned(),
            Self::Missing(key) => format!("the key {key:?} is missing; it is required"),
            Self::Other(message) => message,
        }
    }

    pub(super) fn message(self, node: &Node) -> String {
        match self {
            Self::Null => format!("{} is not accepted here", describe(node)),
            fault => fault.text(),
        }
    }
}

impl Refusal {
    pub(super) fn null() -> Self {
        Self {
            fault: Fault::Null,
            at: None,
        }
    }

    pub(super) fn not_accepted(node: &Node, accepted: &str) -> Self {
        Self::custom(format!(
            "{} is not accepted; expected {accepted}",
            describe(node)
        ))
    }
}

/// What stands there, as a message names it.
pub(super) fn describe(node: &Node) -> String {
    match &node.content {
        Content::Null => "nothing".to_owned(),
        Content::Bool(value) => value.to_string(),
        Content::Integer(value) => value.to_string(),
        Content::Float(value) => node.plain.clone().unwrap_or_else(|| value.to_string()),
        Content::Text(value) => {
            let mut shown: String = value.chars().take(60).collect();
            if shown.len() < value.len() {
                shown.push('\u{2026}');
            }
            format!("{shown:?}")
        }
        Content::Sequence(_) => "a list".to_owned(),
        Content::Mapping(_) => "a mapping".to_owned(),
    }
}

/// Names in a sentence.
pub(super) fn list(names: &[&str]) -> String {
    let shown: Vec<_> = names.iter().take(LISTED).copied().collect();
    let more = if names.len() > LISTED { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::Null => f.write_str("a value is missing"),
            Fault::Missing(key) => write!(f, "the key {key:?} is missing"),
            Fault::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Refusal {}

impl Error for Refusal {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            fault: Fault::Other(message.to_string()),
            at: None,
        }
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!(
            "{} is not accepted; expected {expected}",
            words(unexpected)
        ))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let meant = nearest(variant, expected)
            .map(|meant| format!("; did you mean {meant:?}?"))
            .unwrap_or_default();
        let one_of = if expected.len() == 1 { "" } else { "one of " };
        Self::custom(format!(
            "{variant:?} is not accepted; expected {one_of}{}{meant}",
            list(expected)
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            fault: Fault::Missing(field),
            at: None,
        }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::custom(format!(
            "{field:?} is set twice, under two of its names; keep one"
        ))
    }
}

fn words(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(value) => format!("{value:?}"),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}
