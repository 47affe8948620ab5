//! What can be set, made of the types of the settings: JSON schemas, a page, and
//! answers about single keys.

use overrides::RuntimeFileDocument;
use schemars::schema_for;
use serde_json::{Map, Value, json};

use crate::config::AppConfig;
use crate::config::ignored::IGNORED;

mod explain;
mod metrics;
mod page;
mod tree;

pub use self::explain::{UnknownKey, explain};
pub use self::metrics::metrics_page;
pub use self::page::configuration_page;

/// Other names of keys: the type that has them, the name, and the key that is meant.
const ALIASES: [(&str, &str, &str); 3] = [
    ("AppConfig", "auth_enabled", "multitenancy_enabled"),
    (
        "SpanMetricsConfig",
        "dimension_mapings",
        "dimension_mappings",
    ),
    ("HostInfoConfig", "host_identifies", "host_identifiers"),
];

/// Types that may have keys of Tempo's flat overrides.
const WITH_FLAT_KEYS: [&str; 2] = ["OverridesConfig", "Overrides"];

/// Keys of Tempo's flat overrides.
const FLAT_KEYS: &str =
    "^((metrics_generator|ingestion|compaction|block|max|parquet)_.*|unsafe_query_hints)$";

/// The JSON schema of the configuration file.
pub fn configuration_schema() -> Value {
    let mut schema = schema_for!(AppConfig).to_value();
    for (blocks, keys) in IGNORED {
        if let Some(properties) = tree::block_mut(&mut schema, blocks) {
            for key in keys {
                let ignored = "Without effect: a key of Tempo that does not concern spanmill.";
                properties.insert(
                    (*key).to_owned(),
                    json!({"description": ignored, "deprecated": true}),
                );
            }
        }
    }
    finished(schema)
}

/// The JSON schema of the runtime file.
pub fn runtime_file_schema() -> Value {
    finished(schema_for!(RuntimeFileDocument).to_value())
}

/// The schema with what no type says: that other keys are mistakes, and other names.
fn finished(mut schema: Value) -> Value {
    finish("AppConfig", &mut schema);
    if let Some(types) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        for (name, of_type) in types {
            finish(name, of_type);
        }
    }
    take_scalars_as_text(&mut schema);
    schema
}

/// Text may be written as a number or a boolean without quotes, as in `username: 007`.
fn take_scalars_as_text(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_text = fields.get("type").is_some_and(|of| of == "string");
            if is_text && !fields.contains_key("const") && !fields.contains_key("enum") {
                fields.insert("type".to_owned(), json!(["string", "number", "boolean"]));
            }
            fields.values_mut().for_each(take_scalars_as_text);
        }
        Value::Array(items) => items.iter_mut().for_each(take_scalars_as_text),
        _ => {}
    }
}

fn finish(name: &str, of_type: &mut Value) {
    let Some(of_type) = of_type.as_object_mut() else {
        return;
    };
    let Some(properties) = of_type.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for property in properties.values_mut().filter_map(Value::as_object_mut) {
        // The defaults of a block stand beside its keys.
        if property.get("default").is_some_and(Value::is_object) {
            property.shift_remove("default");
        }
    }
    add_aliases(name, properties);
    of_type.insert("additionalProperties".to_owned(), Value::Bool(false));
    if WITH_FLAT_KEYS.contains(&name) {
        let flat = json!({FLAT_KEYS: {"description": "A key of Tempo's flat overrides."}});
        of_type.insert("patternProperties".to_owned(), flat);
    }
}

fn add_aliases(name: &str, properties: &mut Map<String, Value>) {
    for (of_type, alias, key) in ALIASES {
        if of_type == name
            && let Some(mut property) = properties.get(key).cloned()
            && let Some(fields) = property.as_object_mut()
        {
            fields.insert(
                "description".to_owned(),
                format!("The same as `{key}`.").into(),
            );
            fields.insert("deprecated".to_owned(), Value::Bool(true));
            properties.insert(alias.to_owned(), property);
        }
    }
}

#[cfg(test)]
mod tests;
