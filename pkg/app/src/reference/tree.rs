//! A JSON schema as a tree of keys.

use serde_json::{Map, Value};

/// A key of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'a> {
    pub(super) name: &'a str,
    /// Its schema as the block has it: description, default.
    pub(super) property: &'a Value,
}

/// What a key leads to that has keys of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    /// What stands behind the key in a path: nothing, `[]` for each item of a list, or
    /// `.*` for each value of a map.
    pub(super) suffix: &'static str,
    pub(super) schema: &'a Value,
}

/// A schema with the types that it refers to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'a>(pub(super) &'a Value);

impl<'a> Tree<'a> {
    /// What a schema refers to, or itself.
    pub(super) fn resolve(self, schema: &'a Value) -> &'a Value {
        let referred = |schema: &'a Value| {
            let name = schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
            self.0.get("$defs")?.get(name)
        };
        let not_null = |schema: &'a Value| {
            let choices = schema.get("anyOf")?.as_array()?;
            choices
                .iter()
                .find(|choice| choice.get("type").is_none_or(|of| of != "null"))
        };
        let schema = not_null(schema).unwrap_or(schema);
        referred(schema).unwrap_or(schema)
    }

    /// The keys of a block.
    pub(super) fn keys(self, block: &'a Value) -> impl Iterator<Item = Key<'a>> {
        let properties = block.get("properties").and_then(Value::as_object);
        properties
            .into_iter()
            .flatten()
            .map(|(name, property)| Key { name, property })
    }

    /// The block that a key leads to.
    pub(super) fn block(self, property: &'a Value) -> Option<Block<'a>> {
        let schema = self.resolve(property);
        let below = [
            ("", Some(schema)),
            ("[]", schema.get("items")),
            (".*", schema.get("additionalProperties")),
        ];
        below.into_iter().find_map(|(suffix, schema)| {
            let schema = self.resolve(schema?);
            let block = Block { suffix, schema };
            schema.get("properties").map(|_| block)
        })
    }

    /// Every key with its dotted path, each before those below it.
    pub(super) fn all(self) -> Vec<(String, &'a Value)> {
        let mut found = Vec::new();
        self.below(self.0, "", &mut found);
        found
    }

    fn below(self, block: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
        for key in self.keys(block) {
            let path = match path {
                "" => key.name.to_owned(),
                path => format!("{path}.{}", key.name),
            };
            found.push((path.clone(), key.property));
            if let Some(block) = self.block(key.property) {
                self.below(block.schema, &format!("{path}{}", block.suffix), found);
            }
        }
    }

    /// What may stand there, in words.
    pub(super) fn words(self, property: &'a Value) -> String {
        let schema = self.resolve(property);
        let format = schema.get("format").and_then(Value::as_str);
        if let Some(format @ ("duration" | "size" | "secret")) = format {
            return format.to_owned();
        }
        let choices = self.choices(schema);
        if !choices.is_empty() {
            let names: Vec<_> = choices
                .iter()
                .map(|(name, _)| format!("`{name}`"))
                .collect();
            return names.join(", ");
        }
        match type_of(schema) {
            Some("boolean") => "true or false".to_owned(),
            Some("integer") => "whole number".to_owned(),
            Some("number") => "number".to_owned(),
            Some("string") => "text".to_owned(),
            Some("array") => match schema.get("items") {
                Some(items) => format!("list of: {}", self.words(items)),
                None => "list".to_owned(),
            },
            Some("object") if schema.get("properties").is_some() => "block".to_owned(),
            Some("object") => match schema.get("additionalProperties") {
                Some(values) => format!("map to: {}", self.words(values)),
                None => "map".to_owned(),
            },
            _ => "anything".to_owned(),
        }
    }

    /// The names of a closed set, and what each means.
    pub(super) fn choices(self, schema: &'a Value) -> Vec<(&'a str, &'a str)> {
        let schema = match schema.get("items") {
            Some(items) => self.resolve(items),
            None => schema,
        };
        let choices = schema.get("oneOf").and_then(Value::as_array);
        let name = |choice: &'a Value| {
            let described = choice.get("description").and_then(Value::as_str);
            Some((
                choice.get("const")?.as_str()?,
                described.unwrap_or_default(),
            ))
        };
        choices.into_iter().flatten().filter_map(name).collect()
    }
}

/// What a key is about: its own words, or those of its type.
pub(super) fn description<'a>(tree: Tree<'a>, property: &'a Value) -> &'a str {
    let own = property.get("description");
    let of_type = || tree.resolve(property).get("description");
    own.or_else(of_type)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The default as it is written in YAML; none where there is none to speak of.
pub(super) fn default(property: &Value) -> Option<String> {
    let default = property.get("default")?;
    (!default.is_null()).then(|| default.to_string())
}

fn type_of(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        _ => None,
    }
}

/// The keys of a block by its path, to be changed.
pub(super) fn block_mut<'a>(
    schema: &'a mut Value,
    path: &[&str],
) -> Option<&'a mut Map<String, Value>> {
    let mut pointer = String::new();
    for key in path {
        let property = schema.pointer(&format!("{pointer}/properties/{key}"))?;
        let reference = property.get("$ref")?.as_str()?;
        pointer = reference.strip_prefix('#')?.to_owned();
    }
    schema
        .pointer_mut(&format!("{pointer}/properties"))?
        .as_object_mut()
}
