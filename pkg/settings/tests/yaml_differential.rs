//! The files under `testdata` read as `serde_yaml` reads them, which the field
//! used until it was archived; where they do not, the difference is listed here.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

fn theirs(text: &str) -> Result<Value, serde_yaml::Error> {
    let mut document: serde_yaml::Value = serde_yaml::from_str(text)?;
    document.apply_merge()?;
    Ok(json(document))
}

/// As `serde_json` would, but for keys that are not text.
fn json(value: serde_yaml::Value) -> Value {
    match value {
        serde_yaml::Value::Mapping(mapping) => Value::Object(
            mapping
                .into_iter()
                .map(|(key, value)| (key_text(&key), json(value)))
                .collect(),
        ),
        serde_yaml::Value::Sequence(items) => items.into_iter().map(json).collect(),
        serde_yaml::Value::Tagged(tagged) => json(tagged.value),
        other => serde_json::to_value(other).unwrap_or_default(),
    }
}

fn key_text(key: &serde_yaml::Value) -> String {
    match key {
        serde_yaml::Value::String(text) => text.clone(),
        serde_yaml::Value::Null => "~".to_owned(),
        other => serde_yaml::to_string(other)
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}

/// Paths at which two values differ, with both.
fn differences(
    path: &str,
    ours: &Value,
    theirs: &Value,
    found: &mut BTreeMap<String, (Value, Value)>,
) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            for (key, value) in a {
                differences(&format!("{path}.{key}"), value, &b[key], found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{index}]"), a, b, found);
            }
        }
        _ if ours == theirs => {}
        _ => {
            found.insert(path.to_owned(), (ours.clone(), theirs.clone()));
        }
    }
}

/// Where we differ: path, ours, theirs.
const KNOWN: [(&str, &str, &str); 5] = [
    // The anchor is set again; theirs loses it.
    ("anchors.after", "43", "null"),
    // More than a float holds; refused wherever a finite number is needed.
    ("scalars.floats[11]", "null", "\"1e400\""),
    // As Go's YAML reads it.
    ("scalars.sizes[2]", "1000", "\"1_000\""),
    (
        "tempo-overrides.overrides.team-a.metrics_generator.max_active_series",
        "100000",
        "\"100_000\"",
    ),
    (
        "tempo-overrides.overrides.team-b.metrics_generator.max_active_series",
        "100000",
        "\"100_000\"",
    ),
];

/// Files that `serde_yaml` cannot read: JSON with surrogate pairs.
const THEIRS_FAILS: [&str; 1] = ["json"];

#[test]
fn configuration_files_read_as_serde_yaml_reads_them() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut found = BTreeMap::new();
    let mut compared = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let ours = spanmill_settings::read_str(&*name, &*text)
            .unwrap()
            .to_json();
        let theirs = match theirs(&text) {
            Ok(theirs) => theirs,
            Err(error) => {
                assert!(THEIRS_FAILS.contains(&&*name), "{name}: {error}");
                serde_json::from_str(&text).unwrap()
            }
        };
        differences(&name, &ours, &theirs, &mut found);
        compared += 1;
    }

    let known: BTreeMap<_, _> = KNOWN
        .into_iter()
        .map(|(path, ours, theirs)| (path.to_owned(), (ours.to_owned(), theirs.to_owned())))
        .collect();
    let found: BTreeMap<_, _> = found
        .into_iter()
        .map(|(path, (ours, theirs))| (path, (ours.to_string(), theirs.to_string())))
        .collect();
    assert_eq!(found, known);
    assert_eq!(compared, 13);
}
