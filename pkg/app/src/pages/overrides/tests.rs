use axum::body::{Body, to_bytes};
use axum::http::Request;
use insta::assert_snapshot;
use lifecycle::{Shutdown, TaskGroup};
use overrides::OverridesMetrics;
use tower::ServiceExt;

use super::*;
use crate::config::Loaded;

/// Pages of a process with a runtime file.
struct Site {
    runtime: tempfile::NamedTempFile,
    router: Router,
}

impl Site {
    fn new(config: &str, runtime: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), runtime).unwrap();
        let text = config.replace("RUNTIME", &file.path().display().to_string());
        let loaded = Loaded::from_text("config.yaml", text).unwrap();
        let (tasks, shutdown) = (TaskGroup::new(), Shutdown::new());
        shutdown.trigger();
        let metrics = OverridesMetrics::default();
        let overrides = Overrides::start(loaded.overrides, metrics, &tasks, &shutdown);
        Self {
            runtime: file,
            router: routes(overrides.unwrap()),
        }
    }

    /// Status and body, of a request that accepts a type.
    async fn ask(&self, path: &str, accept: &str) -> (u16, String) {
        let request = Request::get(path)
            .header(ACCEPT, accept)
            .body(Body::empty());
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let file = self.runtime.path().display().to_string();
        (status, body.replace(&file, "FILE"))
    }
}

fn site() -> Site {
    Site::new(
        "metrics_generator: {registry: {stale_duration: 20m}}
overrides:
  per_tenant_override_config: RUNTIME
  defaults: {metrics_generator: {max_active_series: 10}}
",
        "overrides:
  '*': {metrics_generator: {processors: [span-metrics]}}
  shop:
    metrics_generator:
      max_active_series: 20
      remote_write: [{url: 'http://u:hunter2@192.168.0.1/', headers: {X-Key: hunter2}}]
  batch: {metrics_generator: {processors: [host-info]}}
",
    )
}

#[tokio::test]
async fn tenants_with_an_entry_are_listed_with_what_they_have() {
    let site = site();
    let (_, text) = site.ask("/status/overrides", "*/*").await;
    assert_snapshot!(text, @r#"
    *: processors ["span-metrics"], max_active_series 10
    batch: processors ["host-info"], max_active_series 10
    shop: processors ["span-metrics"], max_active_series 20
    "#);
    let (_, text) = site.ask("/status/overrides?format=json", "*/*").await;
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        list["tenants"][2],
        json!({"tenant": "shop", "processors": ["span-metrics"], "max_active_series": 20})
    );
}

#[tokio::test]
async fn each_value_of_a_tenant_is_shown_with_its_layer() {
    let site = site();
    let (_, text) = site.ask("/status/overrides/shop", "*/*").await;
    assert!(!text.contains("hunter2"), "{text}");
    for line in [
        "metrics_generator.processors: [\"span-metrics\"]  # *, FILE:2:29",
        "metrics_generator.max_active_series: 20  # tenant, FILE:5:7",
        "metrics_generator.registry.stale_duration: \"20m\"  # metrics_generator, config.yaml:1:32",
        "metrics_generator.disable_collection: false  # built-in",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let (_, text) = site
        .ask("/status/overrides/nobody", "application/json")
        .await;
    let nobody: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(nobody["tenant"], "nobody");
    let settings = nobody["settings"].as_array().unwrap();
    let series = settings
        .iter()
        .find(|setting| setting["path"] == "metrics_generator.max_active_series");
    assert_eq!(
        series.unwrap(),
        &json!({
            "path": "metrics_generator.max_active_series",
            "value": 10,
            "layer": "overrides.defaults",
            "place": "config.yaml:4:34",
        })
    );
    assert_eq!(site.ask("/status/overrides/a%2Fb", "*/*").await.0, 400);
}

#[tokio::test]
async fn runtime_configuration_is_shown_whole_or_where_it_differs() {
    let site = site();
    let (_, text) = site.ask("/status/runtime_config?mode=diff", "*/*").await;
    let (text, destinations) = text.split_once("      remote_write:\n").unwrap();
    assert!(
        destinations.starts_with("      - url: <secret>\n"),
        "{destinations}"
    );
    assert_snapshot!(text, @r#"
    overrides:
      "*":
        metrics_generator:
          processors:
          - span-metrics
      batch:
        metrics_generator:
          processors:
          - host-info
      shop:
        metrics_generator:
          processors:
          - span-metrics
          max_active_series: 20
    "#);
    let (_, text) = site.ask("/status/runtime_config", "application/json").await;
    let whole: Value = serde_json::from_str(&text).unwrap();
    let shop = &whole["overrides"]["shop"]["metrics_generator"];
    assert_eq!(shop["max_active_series"], 20);
    assert_eq!(shop["registry"]["stale_duration"], "20m");
    assert_eq!(shop["remote_write"][0]["url"], "<secret>");
    assert_eq!(
        whole["overrides"]["*"]["metrics_generator"]["max_active_series"],
        10
    );
}

#[tokio::test]
async fn an_unknown_mode_or_format_is_refused() {
    let site = site();
    for path in [
        "/status/overrides?format=xml",
        "/status/overrides?mode=diff",
        "/status/runtime_config?mode=defaults",
    ] {
        assert_eq!(site.ask(path, "*/*").await.0, 400, "{path}");
    }
    let text = site
        .ask("/status/overrides?format=text", "application/json")
        .await
        .1;
    assert!(text.starts_with("*: "), "{text}");
}
