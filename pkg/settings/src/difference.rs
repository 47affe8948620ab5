//! What settings say that their defaults do not.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::problem::{Problem, Problems};
use crate::yaml::to_yaml;

/// The settings that differ from their defaults, as YAML.
///
/// Maps are compared key by key, all else as a whole, so a list appears with all of
/// its items. `null` stands for a default that is taken away. `{}` if all are equal.
///
/// # Errors
///
/// Where something cannot be written as YAML.
pub fn difference<T: Serialize>(settings: &T, defaults: &T) -> Result<String, Problems> {
    let document = |settings: &T| {
        serde_json::to_value(settings).map_err(|error| Problem::new("", error.to_string()))
    };
    let differing = differing(document(settings)?, &document(defaults)?);
    to_yaml(&differing.unwrap_or_else(|| Value::Object(Map::new())))
}

/// What of a value differs from its default, as [`difference`] says; none if nothing does.
pub fn differing(value: Value, default: &Value) -> Option<Value> {
    let (values, defaults) = match (value, default) {
        (Value::Object(values), Value::Object(defaults)) => (values, defaults),
        (value, default) => return (value != *default).then_some(value),
    };
    let gone: Vec<_> = defaults
        .keys()
        .filter(|key| !values.contains_key(*key))
        .cloned()
        .collect();
    let mut found: Map<_, _> = values
        .into_iter()
        .filter_map(|(key, value)| {
            let value = match defaults.get(&key) {
                Some(default) => differing(value, default)?,
                None => value,
            };
            Some((key, value))
        })
        .collect();
    found.extend(gone.into_iter().map(|key| (key, Value::Null)));
    (!found.is_empty()).then_some(Value::Object(found))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let defaults = json!({
            "same": {"a": 1},
            "block": {"a": 1, "b": [1, 2], "c": {"d": "u"}},
            "gone": true,
        });
        let settings = json!({
            "same": {"a": 1},
            "block": {"a": 1, "b": [1], "c": {"d": "v"}},
            "new": {"e": 5},
        });
        assert_eq!(
            difference(&settings, &defaults).unwrap(),
            "block:\n  b:\n  - 1\n  c:\n    d: v\nnew:\n  e: 5\ngone: null\n"
        );
        assert_eq!(difference(&defaults, &defaults).unwrap(), "{}\n");
    }
}
