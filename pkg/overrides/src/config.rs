//! The `overrides` block of the process.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use settings::{Problem, Secret};

use crate::document::Document;
use crate::tenant_config::remote_write::addresses::AllowedAddresses;
use crate::user_configurable::config::UserConfigurableConfig;

/// Keys of `remote_write` whose values are no secrets; all others are hidden
/// where the document is shown as it is written.
const SHOWN: [&str; 53] = [
    "action",
    "authorization",
    "basic_auth",
    "batch_send_deadline",
    "bearer_token_file",
    "ca",
    "ca_file",
    "capacity",
    "cert",
    "cert_file",
    "credentials_file",
    "divide_refused_requests",
    "enable_http2",
    "files",
    "follow_redirects",
    "http_headers",
    "insecure_skip_verify",
    "key_file",
    "max_backoff",
    "max_samples_per_send",
    "max_shards",
    "max_version",
    "metadata_config",
    "min_backoff",
    "min_shards",
    "min_version",
    "modulus",
    "name",
    "no_proxy",
    "password_file",
    "protobuf_message",
    "proxy_from_environment",
    "queue_config",
    "regex",
    "remote_timeout",
    "replacement",
    "retry_on_http_429",
    "round_robin_dns",
    "sample_age_limit",
    "send",
    "send_exemplars",
    "send_interval",
    "send_native_histograms",
    "separator",
    "server_name",
    "source_labels",
    "target_label",
    "tls_config",
    "type",
    "username",
    "username_file",
    "values",
    "write_relabel_configs",
];

/// Where the settings of tenants come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OverridesConfig {
    /// What holds for every tenant that does not say otherwise, as it is
    /// written; it is checked where layers are read.
    #[serde(serialize_with = "masked", skip_serializing_if = "Value::is_null")]
    #[schemars(with = "Document")]
    pub defaults: Value,
    /// The runtime file: `overrides:` by tenant, `"*"` for those that have no
    /// entry and below those that have one. Default: none.
    pub per_tenant_override_config: PathBuf,
    /// How often the runtime file is read again. Default: 10s.
    #[serde(with = "settings::duration")]
    #[schemars(with = "settings::duration::Text")]
    pub per_tenant_override_period: Duration,
    /// What destinations in the runtime file may reach, after names are
    /// resolved, and at each connection: `public`, `private`, `loopback`,
    /// `link-local`, ranges such as `10.1.0.0/16`, addresses, host names.
    /// Add to the list only what whoever writes that file may use. The
    /// addresses of clouds' metadata services are in ranges only. What the
    /// process's own configuration names is not checked. Default:
    /// `[public, private]`.
    pub remote_write_allowed_addresses: AllowedAddresses,
    /// Settings that tenants change themselves, at `/api/overrides`.
    pub user_configurable_overrides: UserConfigurableConfig,
}

impl Default for OverridesConfig {
    fn default() -> Self {
        Self {
            defaults: Value::Null,
            per_tenant_override_config: PathBuf::new(),
            per_tenant_override_period: Duration::from_secs(10),
            remote_write_allowed_addresses: AllowedAddresses::default(),
            user_configurable_overrides: UserConfigurableConfig::default(),
        }
    }
}

/// Writes a document with everything hidden that may be secret.
fn masked<S: Serializer>(document: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    let mut document = document.clone();
    if let Some(generator) = document.get_mut("metrics_generator") {
        for key in ["remote_write", "remote_write_headers"] {
            if let Some(value) = generator.get_mut(key) {
                hide(value, key != "remote_write");
            }
        }
    }
    document.serialize(serializer)
}

/// Hides each value but those below keys that hold nothing secret.
fn hide(value: &mut Value, secret: bool) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries.iter_mut() {
                hide(value, secret || !SHOWN.contains(&key.as_str()));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, secret)),
        Value::Null => {}
        value if secret => *value = Value::String(Secret::new("value").to_string()),
        _ => {}
    }
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
        problems.extend(self.user_configurable_overrides.validate());
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_shown_without_secrets() {
        let config = OverridesConfig {
            defaults: serde_json::json!({"metrics_generator": {
                "max_active_series": 1,
                "remote_write_headers": {"X-Key": "canary"},
                "remote_write": [{
                    "url": "http://u:canary@h/?key=canary",
                    "name": "shown",
                    "headers": {"name": "canary"},
                    "http_headers": {"values": {"secrets": ["canary"], "values": ["shown"]}},
                    "basic_auth": {"username": "shown", "password": "canary"},
                    "authorization": {"credentials": "canary"},
                    "bearer_token": "canary",
                    "tls_config": {"key": "canary", "server_name": "shown"},
                    "proxy_url": "http://u:canary@p",
                    "proxy_connect_header": {"X": ["canary"]},
                }],
            }}),
            ..OverridesConfig::default()
        };
        let shown = serde_json::to_string(&config).unwrap();
        assert!(!shown.contains("canary"), "{shown}");
        assert_eq!(shown.matches("shown").count(), 4, "{shown}");
    }
}
