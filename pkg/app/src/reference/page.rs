//! The page that lists every setting.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::Value;

use super::configuration_schema;
use super::tree::{Tree, default, description};

const HEAD: &str = "\
# Configuration

<!-- Made by `cargo run -p xtask -- reference` from the types of the settings; do not edit. -->

Every key of the configuration file, block by block. What of it may differ per tenant is in
[overrides.defaults](#overridesdefaults): the runtime file (`overrides.per_tenant_override_config`) has the same keys below `overrides`
and each tenant's id, or `\"*\"` for all. [tempo-keys.md](tempo-keys.md) says what becomes of each key of Tempo.

Durations are written `500ms`, `15s`, `1m30s` or `2h`, sizes `4194304`, `32MiB` or `10MB`. A key without a value is as if it were not
there; in overrides it returns to the built-in default. Secrets are never shown. `spanmillctl explain KEY` says what is written here, and
[configuration.schema.json](configuration.schema.json) and [overrides.schema.json](overrides.schema.json) are for editors.
";

/// The page `docs/reference/configuration.md`.
pub fn configuration_page() -> String {
    let schema = configuration_schema();
    let mut page = Page {
        tree: Tree(&schema),
        text: HEAD.to_owned(),
        sections: HashMap::new(),
    };
    page.section("", "The top level", &schema);
    page.text
}

struct Page<'a> {
    tree: Tree<'a>,
    text: String,
    /// The path at which a block is written down, by the address of its schema.
    sections: HashMap<*const Value, String>,
}

impl<'a> Page<'a> {
    /// Writes a block, and those below it that are not written yet.
    fn section(&mut self, path: &str, title: &str, block: &'a Value) {
        let mut below = Vec::new();
        let about = block.get("description").and_then(Value::as_str);
        let about = paragraphs(about.unwrap_or_default());
        // Writing to a string does not fail.
        let _ = write!(self.text, "\n## {title}\n\n{about}\n\n");
        self.text
            .push_str("| Key | What | Default | |\n|---|---|---|---|\n");
        for key in self.tree.keys(block) {
            // Ignored keys of Tempo, and other names: they have a page of their own.
            if key.property.get("deprecated").is_some() {
                continue;
            }
            let path = match path {
                "" => key.name.to_owned(),
                path => format!("{path}.{}", key.name),
            };
            let mut what = cell(&self.tree.words(key.property));
            if let Some(block) = self.tree.block(key.property) {
                let path = format!("{path}{}", block.suffix);
                let address = std::ptr::from_ref(block.schema);
                let known = self.sections.get(&address).cloned();
                let at = known.unwrap_or_else(|| {
                    self.sections.insert(address, path.clone());
                    below.push((path.clone(), block.schema));
                    path
                });
                let kind = match block.suffix {
                    "" => "block",
                    "[]" => "list of blocks",
                    _ => "map to blocks",
                };
                what = format!("[{kind}](#{})", anchor(&at));
            }
            let default =
                default(key.property).map_or_else(String::new, |text| format!("`{}`", cell(&text)));
            let mut about = cell(description(self.tree, key.property));
            for (name, meaning) in self.tree.choices(self.tree.resolve(key.property)) {
                let _ = write!(about, "<br>`{name}`: {}", cell(meaning));
            }
            let _ = writeln!(
                self.text,
                "| `{}` | {what} | {default} | {about} |",
                key.name
            );
        }
        for (path, block) in below {
            self.section(&path, &path, block);
        }
    }
}

/// Text for a cell of a table: on one line, and without what would end it.
fn cell(text: &str) -> String {
    paragraphs(text).replace('|', "\\|").replace("\n\n", "<br>")
}

/// Text with a line for each paragraph.
fn paragraphs(text: &str) -> String {
    let joined: Vec<_> = text
        .split("\n\n")
        .map(|paragraph| paragraph.replace('\n', " "))
        .collect();
    joined.join("\n\n")
}

/// What a heading is linked by.
fn anchor(title: &str) -> String {
    let keep = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    title.to_lowercase().chars().filter(keep).collect()
}
