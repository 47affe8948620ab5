//! A document as a tree in which everything knows where it stands.

use serde_json::Value;

use crate::source::Place;

/// A value in a document.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
    /// The text of a scalar that stands there without quotes: a text setting
    /// gets `1.10` or `no` as it was written, not as the number or boolean.
    pub(crate) plain: Option<String>,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug)]
pub enum Content {
    /// Nothing: `null`, `~`, or no value after the key.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values, in the order in which they stand, each key once.
    Mapping(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Node,
}

impl Entry {
    /// The key as it was written, without quotes.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where the key stands.
    pub fn key_place(&self) -> &Place {
        &self.key_place
    }

    /// The value.
    pub fn value(&self) -> &Node {
        &self.value
    }

    /// The same value under another key.
    #[must_use]
    pub fn renamed(mut self, key: &str) -> Self {
        key.clone_into(&mut self.key);
        self
    }

    /// The same key over an empty mapping.
    #[must_use]
    pub fn emptied(mut self) -> Self {
        self.value = Node::empty(self.value.place);
        self
    }

    /// The place to show for this setting: the value, or the key where the
    /// value goes over many lines.
    pub fn place(&self) -> &Place {
        if self.value.is_scalar() {
            &self.value.place
        } else {
            &self.key_place
        }
    }
}

impl Node {
    /// An empty mapping at a place.
    pub fn empty(place: Place) -> Self {
        Self {
            place,
            content: Content::Mapping(Vec::new()),
            plain: None,
        }
    }

    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What it holds.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Whether it is nothing.
    pub fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// Whether it is a mapping.
    pub fn is_mapping(&self) -> bool {
        matches!(self.content, Content::Mapping(_))
    }

    fn is_scalar(&self) -> bool {
        match &self.content {
            Content::Sequence(_) | Content::Mapping(_) | Content::Null => false,
            Content::Bool(_) | Content::Integer(_) | Content::Float(_) | Content::Text(_) => true,
        }
    }

    /// Its keys and values; none where it is not a mapping.
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(Entry::value)
    }

    /// A key and its value.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value under several keys, one in the other.
    pub fn get_path(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.content {
            Content::Mapping(entries) => entries
                .iter_mut()
                .find(|entry| entry.key == key)
                .map(|entry| &mut entry.value),
            _ => None,
        }
    }

    /// The value under several keys, one in the other, to be changed.
    pub fn get_path_mut(&mut self, keys: &[&str]) -> Option<&mut Node> {
        keys.iter().try_fold(self, |node, key| node.get_mut(key))
    }

    /// Puts an entry into the innermost of the blocks, which are made where they are
    /// not there, as if they stood where its key does.
    pub fn insert_below(&mut self, blocks: &[&str], entry: Entry) {
        let Some((first, rest)) = blocks.split_first() else {
            self.insert(entry);
            return;
        };
        if self.get(first).is_none_or(Node::is_null) {
            let place = entry.key_place.clone();
            self.insert(Entry {
                key: (*first).to_owned(),
                key_place: place.clone(),
                value: Node::empty(place),
            });
        }
        if let Some(block) = self.get_mut(first) {
            block.insert_below(rest, entry);
        }
    }

    /// The same with a value under a key, which stands where the value does.
    #[must_use]
    pub fn with(mut self, key: &str, value: Node) -> Self {
        self.insert(Entry {
            key: key.to_owned(),
            key_place: value.place.clone(),
            value,
        });
        self
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let Content::Mapping(entries) = &mut self.content else {
            return None;
        };
        let index = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(index))
    }

    /// Puts an entry in, in place of the one that has its key. What is not a
    /// mapping becomes one.
    pub fn insert(&mut self, entry: Entry) {
        if !self.is_mapping() {
            self.content = Content::Mapping(Vec::new());
            self.plain = None;
        }
        if let Content::Mapping(entries) = &mut self.content {
            match entries.iter_mut().find(|old| old.key == entry.key) {
                Some(old) => *old = entry,
                None => entries.push(entry),
            }
        }
    }

    /// Keeps the entries for which `keep` holds.
    pub fn retain(&mut self, keep: impl FnMut(&Entry) -> bool) {
        if let Content::Mapping(entries) = &mut self.content {
            entries.retain(keep);
        }
    }

    /// The place of the setting at a dotted path (`a.b[2].c`), or of the
    /// nearest one above it that the document has.
    pub fn locate(&self, path: &str) -> &Place {
        self.locate_below(path, &self.place)
    }

    fn locate_below<'a>(&'a self, path: &str, place: &'a Place) -> &'a Place {
        let path = path.trim_start_matches('.');
        if path.is_empty() {
            return place;
        }
        match &self.content {
            // Keys may hold dots, so the longest that fits is taken.
            Content::Mapping(entries) => entries
                .iter()
                .filter_map(|entry| Some((entry, rest_after(path, &entry.key)?)))
                .max_by_key(|(entry, _)| entry.key.len())
                .map_or(place, |(entry, rest)| {
                    entry.value.locate_below(rest, entry.place())
                }),
            Content::Sequence(items) => path
                .strip_prefix('[')
                .and_then(|path| path.split_once(']'))
                .and_then(|(index, rest)| Some((items.get(index.parse::<usize>().ok()?)?, rest)))
                .map_or(place, |(item, rest)| item.locate_below(rest, &item.place)),
            _ => place,
        }
    }

    /// A tree of JSON, all of which stands at one place.
    pub fn from_json(value: &Value, place: &Place) -> Self {
        let content = match value {
            Value::Null => Content::Null,
            Value::Bool(value) => Content::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Content::Integer(value.into()),
                (None, Some(value)) => Content::Integer(value.into()),
                (None, None) => Content::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Content::Text(text.clone()),
            Value::Array(items) => {
                let items = items.iter().map(|item| Self::from_json(item, place));
                Content::Sequence(items.collect())
            }
            Value::Object(entries) => {
                let entries = entries.iter().map(|(key, value)| Entry {
                    key: key.clone(),
                    key_place: place.clone(),
                    value: Self::from_json(value, place),
                });
                Content::Mapping(entries.collect())
            }
        };
        Self {
            place: place.clone(),
            content,
            plain: None,
        }
    }

    /// The same without places. Numbers that JSON lacks become null.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Integer(value) => i64::try_from(*value)
                .map(Value::from)
                .or_else(|_| u64::try_from(*value).map(Value::from))
                .unwrap_or(Value::Null),
            Content::Float(value) => Value::from(*value),
            Content::Text(value) => Value::String(value.clone()),
            Content::Sequence(items) => items.iter().map(Node::to_json).collect(),
            Content::Mapping(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect(),
            ),
        }
    }
}

fn rest_after<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(key)?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}
