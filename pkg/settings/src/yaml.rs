//! YAML text into a tree.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{Location, Spanned};

use crate::node::{Content, Entry, Node};
use crate::problem::{Problem, Problems};
use crate::source::{Place, Source};

/// Nodes of a document, after aliases are replaced by what they stand for.
/// Bounds the memory that a file full of aliases can take.
const MAX_NODES: usize = 1_000_000;

/// Reads a file into a tree. What it holds must be UTF-8.
///
/// # Errors
///
/// One problem: the file cannot be read, or is not YAML.
pub fn read_file(path: &Path) -> Result<Node, Problems> {
    read_str(path.display().to_string(), read_text(path)?)
}

/// Reads the text of a file, for [`read_str`].
///
/// # Errors
///
/// One problem: the file cannot be read.
pub fn read_text(path: &Path) -> Result<String, Problems> {
    std::fs::read_to_string(path).map_err(|error| {
        let name = path.display();
        Problem::new("", format!("{name}: cannot read the file: {error}")).into()
    })
}

/// Reads a text, which messages call `name`.
///
/// Anchors, aliases and merge keys (`<<`) are resolved. `true` and `false`
/// alone are booleans, as in YAML 1.2; where a boolean is asked for, the words
/// of YAML 1.1 (`yes`, `off`) are taken as well. A document without content is null.
///
/// # Errors
///
/// One problem: a key that stands twice, or what else keeps it from being YAML.
pub fn read_str(name: impl Into<String>, text: impl Into<String>) -> Result<Node, Problems> {
    read_limited(Source::new(name, text), MAX_NODES)
}

/// Writes settings as YAML, for a page that shows them. Secrets are masked by
/// their own type.
///
/// # Errors
///
/// A problem where something cannot be written, such as a mapping as a key.
pub fn to_yaml<T: Serialize>(settings: &T) -> Result<String, Problems> {
    serde_saphyr::to_string(settings).map_err(|error| Problem::new("", error.to_string()).into())
}

/// Mappings and lists within each other: thrice what settings have. Whatever looks
/// through a document goes down with it, on a stack that ends.
const MAX_DEPTH: usize = 32;

fn read_limited(source: Arc<Source>, limit: usize) -> Result<Node, Problems> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_events: 2 * limit,
            max_nodes: limit,
            max_depth: MAX_DEPTH,
            max_merge_keys: limit,
            max_aliases: limit,
            // A defaults block that a thousand tenants refer to is no attack;
            // the number of nodes it makes is what counts.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 2 * limit,
        },
    };
    if source.text().lines().all(is_without_content) {
        return Ok(Node {
            content: Content::Null,
            ..Node::empty(Place::start_of(&source))
        });
    }
    let tree: Spanned<Tree> = serde_saphyr::from_str_with_options(source.text(), options)
        .map_err(|error| syntax_problem(&source, &error))?;
    Ok(tree_to_node(&source, tree))
}

fn is_without_content(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

fn syntax_problem(source: &Arc<Source>, error: &serde_saphyr::Error) -> Problem {
    let mut message = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let Some(location) = error.location() else {
        return Problem::new("", format!("{}: {message}", source.name()));
    };
    let position = format!(" at line {}, column {}", location.line(), location.column());
    if let Some(stripped) = message.strip_suffix(&position) {
        message.truncate(stripped.len());
    }
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error {
        message = format!("the key {key:?} stands twice in its mapping; keep one");
    }
    Problem::new("", message).at(place(source, location))
}

/// What serde-saphyr reads, before it is tied to its source.
enum Tree {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Sequence(Vec<Spanned<Tree>>),
    Mapping(Vec<(Spanned<String>, Spanned<Tree>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Integer(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Tree, E> {
        Ok(Tree::Integer(value))
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "no setting takes such a number; it must only be told from text"
    )]
    fn visit_u128<E: Error>(self, value: u128) -> Result<Tree, E> {
        Ok(i128::try_from(value).map_or(Tree::Float(value as f64), Tree::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::Text(value))
    }

    fn visit_bytes<E: Error>(self, value: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Text(String::from_utf8_lossy(value).into_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut tree = Vec::new();
        while let Some(item) = items.next_element()? {
            tree.push(item);
        }
        Ok(Tree::Sequence(tree))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut tree = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            tree.push(entry);
        }
        Ok(Tree::Mapping(tree))
    }
}

fn tree_to_node(source: &Arc<Source>, tree: Spanned<Tree>) -> Node {
    let plain = plain_text(source, tree.defined, &tree.value);
    let value = match (tree.value, &plain) {
        (Tree::Float(_), Some(text)) if has_leading_zero(text) => Tree::Text(text.clone()),
        (Tree::Null, Some(text)) => Tree::Text(text.clone()),
        (value, _) => value,
    };
    Node {
        place: place(source, tree.defined),
        plain,
        content: match value {
            Tree::Null => Content::Null,
            Tree::Bool(value) => Content::Bool(value),
            Tree::Integer(value) => Content::Integer(value),
            Tree::Float(value) => Content::Float(value),
            Tree::Text(value) => Content::Text(value),
            Tree::Sequence(items) => Content::Sequence(
                items
                    .into_iter()
                    .map(|item| tree_to_node(source, item))
                    .collect(),
            ),
            Tree::Mapping(entries) => Content::Mapping(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        key_place: place(source, key.defined),
                        key: key.value,
                        value: tree_to_node(source, value),
                    })
                    .collect(),
            ),
        },
    }
}

/// Whether these are digits behind a zero: an octal number to Go, a decimal one to
/// YAML 1.2, and a code of some kind to whoever wrote it. Left as text, it fits a text
/// setting and no other.
fn has_leading_zero(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|c| c.is_ascii_digit())
}

/// The scalar's own text if it stands without quotes or tag.
fn plain_text(source: &Source, location: Location, tree: &Tree) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
    let text = source.text().get(start..end)?.trim_end();
    match tree {
        Tree::Text(value) => (text == value).then(|| text.to_owned()),
        Tree::Bool(_) | Tree::Integer(_) | Tree::Float(_) => {
            (!text.starts_with(['"', '\'', '!', '&'])).then(|| text.to_owned())
        }
        // Only these spellings are null; serde-saphyr takes any case.
        Tree::Null => (text.eq_ignore_ascii_case("null")
            && !matches!(text, "null" | "Null" | "NULL"))
        .then(|| text.to_owned()),
        Tree::Sequence(_) | Tree::Mapping(_) => None,
    }
}

fn place(source: &Arc<Source>, location: Location) -> Place {
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    Place {
        source: Arc::clone(source),
        line: narrow(location.line()),
        column: narrow(location.column()),
        length: narrow(location.span().len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_ends_before_the_stack_does() {
        let deep = |levels: usize| {
            let text = "[".repeat(levels) + &"]".repeat(levels);
            read_str("deep.yaml", text)
        };
        assert!(deep(MAX_DEPTH).is_ok());
        for levels in [MAX_DEPTH + 1, 100_000] {
            let refused = deep(levels).unwrap_err().to_string();
            assert!(refused.starts_with("deep.yaml"), "{refused}");
        }
    }

    #[test]
    fn aliases_of_aliases_do_not_fill_the_memory() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let below = format!("*a{}", level - 1);
            let items = [below.as_str(); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        let problems = read_limited(Source::new("bomb.yaml", text), 1_000).unwrap_err();
        assert_eq!(problems.iter().count(), 1);
    }
}
