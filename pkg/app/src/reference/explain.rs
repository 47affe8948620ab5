//! Answers about single keys.

use std::fmt::Write;

use serde_json::Value;

use super::configuration_schema;
use super::tree::{Tree, default, description};

/// A key that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no key {key:?}{}", nearest.as_ref().map_or_else(String::new, |key| format!("; did you mean {key:?}?")))]
pub struct UnknownKey {
    /// The key.
    pub key: String,
    /// The one that is nearest.
    pub nearest: Option<String>,
}

/// What a key of the configuration is: a whole dotted path, or its end, for which all
/// keys that end so are explained. Items of lists are `[]`, or have a number.
///
/// # Errors
///
/// Where there is no such key.
pub fn explain(key: &str) -> Result<String, UnknownKey> {
    let schema = configuration_schema();
    let tree = Tree(&schema);
    let all = tree.all();
    let wanted = without_numbers(key);
    let exact = all.iter().find(|(path, _)| *path == wanted);
    let end = format!(".{wanted}");
    let found: Vec<_> = match exact {
        Some(found) => vec![found],
        None => all
            .iter()
            .filter(|(path, _)| path.ends_with(&end))
            .collect(),
    };
    if found.is_empty() {
        let names = all.iter().flat_map(|(path, _)| {
            let last = path.rsplit('.').next();
            [Some(path.as_str()), last].into_iter().flatten()
        });
        let names: Vec<_> = names.collect();
        return Err(UnknownKey {
            key: key.to_owned(),
            nearest: settings::nearest(&wanted, &names).map(str::to_owned),
        });
    }
    let answers: Vec<_> = found
        .into_iter()
        .map(|(path, property)| answer(tree, path, property))
        .collect();
    Ok(answers.join("\n"))
}

fn answer(tree: Tree<'_>, path: &str, property: &Value) -> String {
    let mut text = format!("{path}\n");
    let block = tree.block(property);
    if block.is_none() && property.get("deprecated").is_none() {
        let _ = write!(text, "  {}", tree.words(property).replace('`', ""));
        if let Some(default) = default(property) {
            let _ = write!(text, "; default: {default}");
        }
        text.push('\n');
    }
    for line in description(tree, property).lines() {
        let _ = writeln!(text, "  {line}");
    }
    for (name, meaning) in tree.choices(tree.resolve(property)) {
        let _ = writeln!(text, "  {name}: {}", meaning.replace('\n', " "));
    }
    if let Some(block) = block {
        let names: Vec<_> = tree.keys(block.schema).map(|key| key.name).collect();
        let _ = writeln!(text, "  keys: {}", names.join(", "));
    }
    text
}

/// `a[3].b` as `a[].b`.
fn without_numbers(key: &str) -> String {
    let mut parts = key.split('[');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push('[');
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    text
}
