//! How the types of settings show in a JSON schema.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::byte_size::ByteSize;
use crate::duration::Text;
use crate::secret::Secret;

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes: 4194304, 32MiB or 10MB.",
            "type": ["string", "integer"],
            "format": "size",
            "minimum": 0,
            "pattern": r"^[0-9.]+ *([KMGTkmgt][iI]?)?[bB]?$",
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration: 500ms, 15s, 1m30s or 2h; 0 needs no unit.",
            "type": ["string", "integer"],
            "format": "duration",
            "maximum": 0,
            "minimum": 0,
            "pattern": r"^\+?(0|([0-9]*\.?[0-9]+(ns|us|µs|μs|ms|s|m|h|d|w))+)$",
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Text that is never shown.",
            "type": ["string", "number", "boolean"],
            "format": "secret",
        })
    }

    fn inline_schema() -> bool {
        true
    }
}
