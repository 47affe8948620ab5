//! Zipkin with reqwest.

use ::http::{Method, StatusCode};
use reqwest::{RequestBuilder, Response};
use serde_json::json;
use settings::ByteSize;

use super::*;
use crate::config::ZipkinConfig;
use crate::testing::names;

struct Client {
    http: reqwest::Client,
    served: Served,
}

impl Client {
    fn new(fixture: &Fixture) -> Self {
        // Fails where another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = ZipkinConfig {
            max_request_body_size: ByteSize::mib(1),
            ..ZipkinConfig::default()
        };
        Self {
            http: reqwest::Client::new(),
            served: Served::new(
                fixture.distributor.zipkin_router(&config),
                config.serve_options(None),
            ),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.served.address);
        self.http.request(method, url)
    }

    fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request(Method::POST, path).body(body)
    }
}

async fn answer(request: RequestBuilder) -> (StatusCode, String) {
    let response: Response = request.send().await.unwrap();
    let status = response.status();
    (status, response.text().await.unwrap())
}

fn spans(names: &[&str]) -> String {
    let span = |name: &&str| json!({"traceId": "1", "id": "2", "name": name});
    json!(names.iter().map(span).collect::<Vec<_>>()).to_string()
}

#[tokio::test]
async fn every_encoding_is_taken_and_answered_with_202() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture);
    let protobuf = proto::zipkin::ListOfSpans {
        spans: vec![proto::zipkin::Span {
            trace_id: vec![1; 16],
            id: vec![1; 8],
            name: "p".into(),
            ..Default::default()
        }],
    };
    for request in [
        client.post("/api/v2/spans", spans(&["a", "b"])),
        client
            .post("/api/v2/spans", spans(&["c"]))
            .header("content-type", "application/json; charset=utf-8"),
        client.post("/api/v1/spans", spans(&["d"])),
        client
            .post("/api/v2/spans", protobuf.encode_to_vec())
            .header("content-type", "application/x-protobuf"),
    ] {
        assert_eq!(answer(request).await, (StatusCode::ACCEPTED, String::new()));
    }
    let received = names(&fixture.recorder.pushes());
    let want: [&[&str]; 4] = [&["a", "b"], &["c"], &["d"], &["p"]];
    assert_eq!(received, want);
    assert_eq!(pushes(&fixture, "zipkin", "ok"), 4);
    assert_eq!(fixture.ledger("single-tenant"), (5, 5, 0));
}

#[tokio::test]
async fn refused_spans_are_counted_and_their_neighbours_taken() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture);
    let body = r#"[{"traceId": "1", "id": "2", "name": "a"}, {"traceId": "", "id": "2"}, 7]"#;
    let (status, text) = answer(client.post("/api/v2/spans", body)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(
        text,
        "refused spans: 1 with a trace id that is not 16 bytes or is all zero, 1 with bytes \
         that are not protobuf"
    );
    assert_eq!(names(&fixture.recorder.pushes()), [["a"]]);
    assert_eq!(fixture.ledger("single-tenant"), (3, 1, 2));
    assert_eq!(pushes(&fixture, "zipkin", "partial"), 1);
}

#[tokio::test]
async fn refusals_have_a_status_and_a_sentence() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture);
    let thrift = client
        .post("/api/v1/spans", "x")
        .header("content-type", "application/x-thrift");
    for (request, want, sentence) in [
        (
            client.post("/api/v2/spans", "{}"),
            StatusCode::BAD_REQUEST,
            "request is not valid Zipkin JSON: not a list of spans in JSON: ",
        ),
        (
            client.post("/api/v2/spans", vec![b' '; (1 << 20) + 1]),
            StatusCode::PAYLOAD_TOO_LARGE,
            "request body exceeds the limit of 1048576 bytes",
        ),
        (
            thrift,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content type \"application/x-thrift\"",
        ),
        (
            client.request(Method::GET, "/api/v2/spans"),
            StatusCode::METHOD_NOT_ALLOWED,
            "only POST",
        ),
        (
            client.post("/api/v3/spans", "[]"),
            StatusCode::NOT_FOUND,
            "nothing is served at this path; traces go to /api/v2/spans",
        ),
    ] {
        let (status, text) = answer(request).await;
        assert_eq!(status, want, "{text}");
        assert!(text.starts_with(sentence), "{text}");
    }
    assert_eq!(pushes(&fixture, "zipkin", "malformed"), 1);
    fixture.recorder.answer(Err(unavailable()));
    let request = client.post("/api/v2/spans", spans(&["a"]));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "2");
}

#[tokio::test]
async fn tenant_is_that_of_the_header() {
    let fixture = Fixture::new(true);
    let client = Client::new(&fixture);
    let (status, _) = answer(client.post("/api/v2/spans", spans(&["a"]))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let named = client
        .post("/api/v2/spans", spans(&["a"]))
        .header("X-Scope-OrgID", "acme")
        .header("no-generate-metrics", "");
    assert_eq!(answer(named).await.0, StatusCode::ACCEPTED);
    let recorded = fixture.recorder.pushes();
    assert_eq!((recorded.len(), recorded[0].tenant.as_str()), (1, "acme"));
    assert!(recorded[0].skip_metrics);
}

#[tokio::test]
async fn body_without_memory_for_it_or_its_conversion_is_503_and_may_come_again() {
    let body = spans(&[&"x".repeat(50_000)]);
    for (name, capacity) in [("to be read", 80_000), ("to be converted", 150_000)] {
        let (budget, other) = budget_beside_another(capacity, 40_000);
        let fixture = Fixture::within(budget.clone());
        let client = Client::new(&fixture);
        let response = client.post("/api/v2/spans", body.clone()).send();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 503, "{name}");
        assert_eq!(response.headers()["retry-after"], "1", "{name}");
        assert_eq!(pushes(&fixture, "zipkin", "overloaded"), 1, "{name}");
        drop(other);
        let again = answer(client.post("/api/v2/spans", body.clone())).await;
        assert_eq!(again, (StatusCode::ACCEPTED, String::new()), "{name}");
        assert_eq!(budget.used(), 0, "{name}");
        assert_eq!(fixture.ledger("single-tenant"), (1, 1, 0), "{name}");
    }
}
