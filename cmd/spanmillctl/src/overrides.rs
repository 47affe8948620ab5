//! `spanmillctl overrides`: each setting of a tenant, and the layer that it is from.

use anyhow::Context as _;
use model::TenantId;
use serde_json::Value;

use crate::table::table;
use crate::tenants::{Source, tenant_id};

/// Shows each setting of a tenant, its value, and where it comes from
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The tenant; it need not have settings of its own
    #[arg(value_parser = tenant_id)]
    tenant: TenantId,

    #[command(flatten)]
    source: Source,
}

/// Runs the command; gives the text to print.
pub(crate) async fn run(args: &Args) -> anyhow::Result<String> {
    let path = format!("/status/overrides/{}?format=json", args.tenant);
    args.source.show(&path, None, text).await
}

fn text(body: &str) -> anyhow::Result<String> {
    let answer: Value = serde_json::from_str(body)?;
    let settings = answer.get("settings").and_then(Value::as_array);
    let rows = settings
        .context("it has no settings")?
        .iter()
        .map(|setting| {
            let text = |key: &str| match setting.get(key) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
            };
            let value = setting.get("value").unwrap_or(&Value::Null);
            [
                text("path"),
                value.to_string(),
                text("layer"),
                text("place"),
            ]
        });
    let heads = ["SETTING", "VALUE", "LAYER", "AT"];
    Ok(table(heads, &heads, rows.collect()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_setting_has_its_value_and_layer() {
        let body = json!({"tenant": "acme", "settings": [
            {"path": "metrics_generator.max_active_series", "value": 20, "layer": "tenant", "place": "r.yaml:3"},
            {"path": "metrics_generator.processors", "value": ["span-metrics"], "layer": "built-in"},
        ]});
        let want = "\
SETTING                              VALUE             LAYER     AT
metrics_generator.max_active_series  20                tenant    r.yaml:3
metrics_generator.processors         [\"span-metrics\"]  built-in
";
        assert_eq!(text(&body.to_string()).unwrap(), want);
        assert!(text("{}").is_err());
    }
}
