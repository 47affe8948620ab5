//! The `overrides` block of the process.

use std::path::PathBuf;
use std::time::Duration;

use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use settings::{Problem, Secret};

/// Where the settings of tenants come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OverridesConfig {
    /// What holds for every tenant that does not say otherwise, as it is
    /// written; it is checked where layers are read.
    #[serde(serialize_with = "masked", skip_serializing_if = "Value::is_null")]
    pub defaults: Value,
    /// The runtime file: `overrides:` by tenant, `"*"` for those that have no
    /// entry and below those that have one. Default: none.
    pub per_tenant_override_config: PathBuf,
    /// How often the runtime file is read again. Default: 10s.
    #[serde(with = "settings::duration")]
    pub per_tenant_override_period: Duration,
    /// Settings that tenants change themselves; only `enabled: false` is
    /// accepted so far.
    pub user_configurable_overrides: UserConfigurableConfig,
}

/// Settings that tenants change themselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserConfigurableConfig {
    /// Must be false.
    pub enabled: bool,
    #[serde(skip_serializing_if = "Value::is_null")]
    poll_interval: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    client: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    api: Value,
}

impl Default for OverridesConfig {
    fn default() -> Self {
        Self {
            defaults: Value::Null,
            per_tenant_override_config: PathBuf::new(),
            per_tenant_override_period: Duration::from_secs(10),
            user_configurable_overrides: UserConfigurableConfig::default(),
        }
    }
}

/// Writes a document with the values of headers hidden, which may be secret.
fn masked<S: Serializer>(document: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    let mut document = document.clone();
    let headers = document
        .get_mut("metrics_generator")
        .and_then(|generator| generator.get_mut("remote_write_headers"))
        .and_then(Value::as_object_mut);
    for (_, value) in headers.into_iter().flatten() {
        *value = Value::String(Secret::new("header").to_string());
    }
    document.serialize(serializer)
}

impl OverridesConfig {
    /// Checks what the types cannot, and reports every problem at once, with
    /// paths from the top of the file. What `defaults` says is checked where
    /// layers are read.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.per_tenant_override_period < Duration::from_secs(1) {
            problems.push(Problem::new(
                "overrides.per_tenant_override_period",
                "must be at least 1s",
            ));
        }
        if self.user_configurable_overrides.enabled {
            problems.push(Problem::new(
                "overrides.user_configurable_overrides.enabled",
                "overrides that tenants set themselves come in a later version; set it to false",
            ));
        }
        problems
    }
}
