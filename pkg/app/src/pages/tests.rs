use ::overrides::TenantConfig;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use tower::ServiceExt;

use super::*;

fn pages() -> Pages {
    let mut registry = telemetry::new_metrics_registry();
    version::register(&mut registry);
    let config = AppConfig {
        http_api_prefix: "/tempo".to_owned(),
        ..AppConfig::default()
    };
    Pages {
        readiness: Readiness::new(),
        registry: Arc::new(registry),
        has_tempo_names: true,
        config: ShownConfig::new(&config).unwrap().into(),
        overrides: Overrides::fixed(TenantConfig::default()),
        services: &["distributor", "generator"],
        tenants: Some(tenants::tests::tenants(TenantConfig::default()).1),
    }
}

/// Status, content type and body.
async fn ask(pages: &Pages, method: &str, path: &str) -> (u16, String, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap();
    let response = pages.clone().routes().oneshot(request).await.unwrap();
    let content_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .map_or("", |value| value.to_str().unwrap())
        .to_owned();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (
        status,
        content_type,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn ready_follows_the_stage() {
    let pages = pages();
    let mut answers = Vec::new();
    for stage in [Stage::Starting, Stage::Running, Stage::Stopping] {
        pages.readiness.enter(stage);
        let (status, _, body) = ask(&pages, "GET", "/ready").await;
        answers.push((status, body));
    }
    let want = [(503, "starting\n"), (200, "ready\n"), (503, "stopping\n")];
    assert_eq!(
        answers,
        want.map(|(status, body)| (status, body.to_owned()))
    );
}

#[tokio::test]
async fn metrics_are_openmetrics_with_the_build() {
    let (status, content_type, body) = ask(&pages(), "GET", "/metrics").await;
    assert_eq!(status, 200);
    assert_eq!(
        content_type,
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let line = format!(
        "spanmill_build_info{{version=\"{}\",commit=\"",
        version::VERSION
    );
    assert!(body.contains(&line), "{body}");
    assert!(body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn metrics_have_tempos_names_too_unless_they_are_switched_off() {
    let mut pages = pages();
    let (_, _, body) = ask(&pages, "GET", "/metrics").await;
    let build = format!(
        "tempo_build_info{{version=\"{}\",revision=\"",
        version::VERSION
    );
    assert!(body.contains(&build), "{body}");
    pages.has_tempo_names = false;
    let (_, _, body) = ask(&pages, "GET", "/metrics").await;
    assert!(!body.contains("tempo_"), "{body}");
}

#[tokio::test]
async fn metrics_are_compressed_for_who_takes_gzip() {
    let request = Request::get("/metrics")
        .header(header::ACCEPT_ENCODING, "gzip")
        .body(Body::empty());
    let pages = pages();
    let response = pages
        .clone()
        .routes()
        .oneshot(request.unwrap())
        .await
        .unwrap();
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    assert_eq!(response.headers()[header::VARY], "accept-encoding");
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = std::io::read_to_string(flate2::read::GzDecoder::new(&*body)).unwrap();
    assert_eq!(text, ask(&pages, "GET", "/metrics").await.2);
}

#[tokio::test]
async fn every_link_of_the_index_answers_and_nothing_takes_a_post() {
    let pages = pages();
    pages.readiness.enter(Stage::Running);
    let (_, _, index) = ask(&pages, "GET", "/status").await;
    for (path, _) in LINKS.into_iter().chain([TENANTS_LINK]) {
        assert!(index.contains(&format!("href=\"{path}\"")), "{path}");
        assert_eq!(ask(&pages, "GET", path).await.0, 200, "{path}");
        assert_eq!(ask(&pages, "POST", path).await.0, 405, "{path}");
    }
}

#[tokio::test]
async fn where_clients_of_one_tenant_look_the_others_are_not_shown() {
    let pages = Pages {
        tenants: None,
        ..pages()
    };
    assert_eq!(ask(&pages, "GET", "/api/v1/tenants").await.0, 404);
    assert!(!ask(&pages, "GET", "/status").await.2.contains("tenants/"));
}

#[tokio::test]
async fn config_is_shown_as_it_is_by_default_and_where_it_differs() {
    let pages = pages();
    let (_, content_type, in_force) = ask(&pages, "GET", "/status/config").await;
    assert_eq!(content_type, "text/yaml; charset=utf-8");
    assert!(in_force.starts_with("target: all\n"), "{in_force}");
    assert!(
        in_force.contains("\nhttp_api_prefix: /tempo\n"),
        "{in_force}"
    );
    let (_, _, defaults) = ask(&pages, "GET", "/status/config?mode=defaults").await;
    assert_eq!(
        defaults,
        in_force.replace("http_api_prefix: /tempo", "http_api_prefix: \"\"")
    );
    let (_, _, difference) = ask(&pages, "GET", "/status/config?mode=diff").await;
    assert_eq!(difference, "http_api_prefix: /tempo\n");
    assert_eq!(ask(&pages, "GET", "/status/config?mode=all").await.0, 400);
}

#[tokio::test]
async fn services_are_shown_with_the_stage() {
    let pages = pages();
    pages.readiness.enter(Stage::Running);
    assert_eq!(
        ask(&pages, "GET", "/status/services").await.2,
        "distributor: running\ngenerator: running\n"
    );
}
