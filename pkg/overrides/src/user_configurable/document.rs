//! A tenant's own settings as they are sent and stored: JSON, in overrides' layout.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use settings::{Node, Place, Problem, Problems, Source};

use crate::document::Document;
use crate::layers::{Layer, rename_aliases};
use crate::provenance::leaves;
use crate::tenant_config::remote_write::Author;
use crate::user_configurable::allow_list;
use crate::user_configurable::checks;
use crate::user_configurable::error::UserOverridesError;

/// The longest document, in bytes, as it is sent and as it is stored.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// Entries and items that a document may have, in all its blocks and lists: whatever
/// merges layers looks through blocks key by key, and a span is looked through for
/// every dimension.
pub(crate) const MAX_VALUES: usize = 4_096;

/// Blocks and lists within each other: three times what settings have. Whatever looks
/// through a document goes down with it, on a stack that ends.
pub(crate) const MAX_DEPTH: usize = 32;

/// What messages call the document.
const NAME: &str = "overrides.json";

/// The key by which a document that is stored says its format, if that is not the first.
const FORMAT_KEY: &str = "format";

/// The format that is written, and the only one that is read.
const FORMAT: u64 = 1;

/// Blanks at the end of a stored document, each of which holds a bit.
const NONCE_BITS: u32 = 64;

/// Settings that a tenant has set itself: nothing in it is null, and each key has its
/// one name.
#[derive(Clone, Debug, PartialEq)]
pub struct UserDocument(Value);

/// A setting that a change made another, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedSetting {
    /// Its dotted path.
    pub path: String,
    /// What it was; none where it was not set.
    pub before: Option<Value>,
    /// What it is; none where it is no longer set.
    pub after: Option<Value>,
}

impl UserDocument {
    /// One that sets nothing.
    pub(crate) fn empty() -> Self {
        Self(Value::Object(Map::new()))
    }

    /// Reads what a client sent to take the place of all that it has set. What is null
    /// is not set.
    ///
    /// # Errors
    ///
    /// Every problem by its dotted path; where the body is no JSON object, that.
    pub fn from_request(body: &[u8]) -> Result<Self, UserOverridesError> {
        let sent = object(body)?;
        refuse_too_many(&sent).map_err(UserOverridesError::Invalid)?;
        refuse_others_settings(&sent).map_err(UserOverridesError::Invalid)?;
        let document = Self(without_null(canonical(&sent)));
        document.check_request()?;
        Ok(document)
    }

    /// The document with a merge patch applied. A null takes the tenant's own setting
    /// away. Source: RFC 7386.
    ///
    /// # Errors
    ///
    /// As [`UserDocument::from_request`].
    pub fn patched(&self, patch: &[u8]) -> Result<Self, UserOverridesError> {
        let patch = object(patch)?;
        refuse_too_many(&patch).map_err(UserOverridesError::Invalid)?;
        refuse_others_settings(&patch).map_err(UserOverridesError::Invalid)?;
        let mut patched = self.0.clone();
        merge_patch(&mut patched, canonical(&patch));
        let patched = Self(without_null(patched));
        patched.check_request()?;
        Ok(patched)
    }

    /// Reads stored bytes: none where they stand for a document that was deleted.
    ///
    /// # Errors
    ///
    /// Where they are not JSON.
    pub(crate) fn from_stored(bytes: &[u8]) -> Result<Option<Self>, Problems> {
        let stored: Value = serde_json::from_slice(bytes)
            .map_err(|error| Problem::new("", format!("is not JSON: {error}")))?;
        if stored.is_null() {
            return Ok(None);
        }
        // Not written in the first format, so that Tempo reads what is stored.
        if let Some(format) = stored.get(FORMAT_KEY).filter(|format| **format != FORMAT) {
            let problem = format!("is {format}, and this version of spanmill knows {FORMAT}");
            return Err(Problem::new(FORMAT_KEY, problem).into());
        }
        refuse_too_deep(&stored)?;
        Ok(Some(Self(without_null(canonical(&stored)))))
    }

    /// What is stored of it; of none, what stands for a document that was deleted.
    ///
    /// It ends in blanks that hold the nonce, so that no two writes store the same
    /// bytes: the tags that S3 makes of bytes tell writes apart then, and a writer knows
    /// its own again.
    pub(crate) fn to_stored(document: Option<&Self>, nonce: u64) -> Bytes {
        let mut text = document.map_or("null".to_owned(), |document| document.0.to_string());
        text.push('\n');
        let blank = |bit: u32| if nonce >> bit & 1 == 0 { ' ' } else { '\t' };
        text.extend((0..NONCE_BITS).map(blank));
        text.push('\n');
        text.into()
    }

    /// The layer that it is, checked as any other, and that it says only what tenants
    /// may say.
    ///
    /// # Errors
    ///
    /// Every problem by its dotted path.
    pub(crate) fn layer(&self) -> Result<Layer, Problems> {
        refuse_too_many(&self.0)?;
        refuse_others_settings(&self.0)?;
        checks::of_expressions(&self.0).or(())?;
        let author = Author::Tenant(Arc::default());
        let layer = Layer::from_overrides(&tree(&self.0), "", author)?;
        checks::of_stored(&self.0).or(layer)
    }

    /// As JSON.
    pub fn as_json(&self) -> &Value {
        &self.0
    }

    /// What a document sets that is not so in another, in the order of the paths.
    pub(crate) fn changes(before: Option<&Self>, after: Option<&Self>) -> Vec<ChangedSetting> {
        let (before, after) = (settings_of(before), settings_of(after));
        let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let change = |path: &Vec<String>| {
            let (before, after) = (before.get(path), after.get(path));
            (before != after).then(|| ChangedSetting {
                path: path.join("."),
                before: before.cloned(),
                after: after.cloned(),
            })
        };
        paths.into_iter().filter_map(change).collect()
    }

    /// The paths of what it sets.
    pub(crate) fn paths(&self) -> Vec<Vec<String>> {
        settings_of(Some(self)).into_keys().collect()
    }

    /// The forwarders that it names.
    pub(crate) fn forwarders(&self) -> Vec<String> {
        let names = self.0.get("forwarders").and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        names.map(str::to_owned).collect()
    }

    /// Checks what a client sent, as Tempo does besides the rules of a runtime file.
    fn check_request(&self) -> Result<(), UserOverridesError> {
        let length = self.0.to_string().len();
        if length > MAX_DOCUMENT_BYTES {
            return Err(UserOverridesError::TooLong {
                length,
                limit: MAX_DOCUMENT_BYTES,
            });
        }
        let mut problems = Problems::new();
        problems.extend(self.layer().err().into_iter().flatten());
        problems.add_further(checks::of_request(&self.0));
        problems.or(()).map_err(UserOverridesError::Invalid)
    }
}

impl fmt::Display for ChangedSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            before,
            after,
        } = self;
        let text = |value: &Option<Value>| match value {
            Some(value) => value.to_string(),
            None => "unset".to_owned(),
        };
        write!(f, "{path}: {} -> {}", text(before), text(after))
    }
}

fn object(body: &[u8]) -> Result<Value, UserOverridesError> {
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(UserOverridesError::NotJson(
            "it is another value".to_owned(),
        )),
        Err(error) => Err(UserOverridesError::NotJson(error.to_string())),
    }
}

/// Refuses a document that would take long to look through.
fn refuse_too_many(document: &Value) -> Result<(), Problems> {
    refuse_too_deep(document)?;
    let values = values_in(document);
    if values <= MAX_VALUES {
        return Ok(());
    }
    let message = format!("has {values} entries and items; at most {MAX_VALUES} are accepted");
    Err(Problem::new("", message).into())
}

/// Refuses a document that nothing should go down with.
fn refuse_too_deep(document: &Value) -> Result<(), Problems> {
    if depth_of(document) <= MAX_DEPTH {
        return Ok(());
    }
    let message = format!("is nested too deeply; at most {MAX_DEPTH} levels are accepted");
    Err(Problem::new("", message).into())
}

fn depth_of(value: &Value) -> usize {
    match value {
        Value::Object(entries) => 1 + entries.values().map(depth_of).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        _ => 0,
    }
}

fn values_in(value: &Value) -> usize {
    match value {
        Value::Object(entries) => entries.values().map(|value| 1 + values_in(value)).sum(),
        Value::Array(items) => items.iter().map(|item| 1 + values_in(item)).sum(),
        _ => 0,
    }
}

/// A tree for what reads settings, all of it at the beginning of the document.
fn tree(document: &Value) -> Node {
    Node::from_json(document, &Place::start_of(&Source::new(NAME, "")))
}

/// The document with each key under its one name.
fn canonical(document: &Value) -> Value {
    let mut node = tree(document);
    rename_aliases(&mut node);
    node.to_json()
}

/// Refuses what a tenant may not say, and names what nobody may.
fn refuse_others_settings(document: &Value) -> Result<(), Problems> {
    let node = {
        let mut node = tree(document);
        rename_aliases(&mut node);
        node
    };
    let refused = allow_list::refused(&node.to_json());
    if refused.is_empty() {
        return Ok(());
    }
    let (_, unknown) = settings::decode_partly::<Document>(&node, "");
    let mut problems = Problems::new();
    problems.extend(unknown);
    problems.add_further(
        refused
            .into_iter()
            .map(|path| Problem::new(path, "is not for tenants to set; ask the operator")),
    );
    problems.or(())
}

/// Source: RFC 7386, section 2.
fn merge_patch(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.shift_remove(&key);
            }
            value => merge_patch(target.entry(key).or_insert(Value::Null), value),
        }
    }
}

/// The value without entries that are null.
fn without_null(value: Value) -> Value {
    match value {
        Value::Object(entries) => entries
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_null(value)))
            .collect(),
        value => value,
    }
}

fn settings_of(document: Option<&UserDocument>) -> BTreeMap<Vec<String>, Value> {
    let mut found = BTreeMap::new();
    if let Some(UserDocument(document)) = document {
        leaves(document, &mut Vec::new(), &mut |keys, value| {
            let is_block = value.as_object().is_some_and(Map::is_empty);
            if !is_block {
                let path = keys.iter().map(|key| (*key).to_owned()).collect();
                found.insert(path, value.clone());
            }
        });
    }
    found
}

#[cfg(test)]
mod tests;
