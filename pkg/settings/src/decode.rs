//! A tree into typed settings.
//!
//! A type says what it reads by deriving `Deserialize`; this finds the keys that
//! it does not read, says what is accepted where a value does not fit, and goes
//! on behind each problem, so that all of them are reported at once.

use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use crate::node::Node;
use crate::problem::{Problem, Problems};

mod access;
mod deserializer;
mod fault;

use deserializer::{NodeDeserializer, PathTo};
use fault::Fault;

/// Problems of one document after which no more are looked for.
const MAX_PROBLEMS: usize = 100;

/// Makes settings of a document.
///
/// A key without a value (null) counts as absent, and a mapping without a value as
/// an empty one. A boolean may be written in the words of YAML 1.1 (`yes`,
/// `off`) without quotes; a text setting takes any unquoted scalar as it is
/// written; a whole-number setting takes `15e6`.
///
/// # Errors
///
/// Every key that no setting reads and every value that does not fit.
pub fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, Problems> {
    decode_at(node, "")
}

/// As [`decode`], for a part of a document that stands below `path`.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_at<T: DeserializeOwned>(node: &Node, path: &str) -> Result<T, Problems> {
    match decode_partly(node, path) {
        (Some(value), problems) => problems.or(value),
        (None, problems) => problems.or(()).and_then(|()| Err(Problems::new())),
    }
}

/// As [`decode_at`], with settings also where there are problems: those without what
/// does not fit, for a check of the rest. None where too much is wrong.
pub fn decode_partly<T: DeserializeOwned>(node: &Node, path: &str) -> (Option<T>, Problems) {
    let state = State::default();
    loop {
        let deserializer = NodeDeserializer::root(node, PathTo::Root(path), &state);
        let error = match T::deserialize(deserializer) {
            Ok(value) => return (Some(value), state.problems.into_inner()),
            Err(error) => error,
        };
        let mut problems = state.problems.borrow_mut();
        let Some(at) = error.at else {
            // The type refused a document whose parts it had taken.
            problems.push(Problem::new(path, error.fault.message(node)).at(node.place.clone()));
            break;
        };
        match error.fault {
            Fault::Null => {}
            // What is missing was there, but did not fit: told already.
            Fault::Missing(_) if state.broken.borrow().contains(&at.address) => {}
            fault => problems.push(Problem::new(at.path, fault.text()).at(at.place)),
        }
        let fresh = state.skipped.borrow_mut().insert(at.address);
        if let Some(parent) = at.parent {
            state.broken.borrow_mut().insert(parent);
        }
        if !fresh || at.parent.is_none() || problems.iter().count() >= MAX_PROBLEMS {
            break;
        }
    }
    let mut problems = state.problems.into_inner();
    if problems.is_empty() {
        problems.push(Problem::new(path, "the document cannot be read").at(node.place.clone()));
    }
    (None, problems)
}

/// What is known of a document while it is decoded again behind each problem.
///
/// Nodes are known by their address: the tree stands still meanwhile.
#[derive(Debug, Default)]
struct State {
    problems: RefCell<Problems>,
    /// Nodes that are left out, because they do not fit or are null.
    skipped: RefCell<HashSet<usize>>,
    /// Nodes of which a part is left out.
    broken: RefCell<HashSet<usize>>,
    /// Keys already reported as unknown.
    unknown: RefCell<HashSet<usize>>,
}

/// For `#[serde(default, deserialize_with = "settings::present")]` on an
/// `Option` of settings that are switched on by naming them: `grpc:` with
/// nothing behind it is `Some` with the defaults, only its absence is `None`.
///
/// # Errors
///
/// Where the value does not fit.
pub fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(|value| Some(value.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
