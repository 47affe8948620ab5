//! OTLP/HTTP with reqwest, over HTTP/1.1 and HTTP/2.

use std::io::Write;

use ::http::{Method, StatusCode};
use bytes::Bytes;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use server::CorsConfig;
use settings::ByteSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::config::HttpReceiverConfig;
use crate::testing::{names, request, span, span_without_trace};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

struct Client {
    http: reqwest::Client,
    served: Served,
}

impl Client {
    fn new(fixture: &Fixture) -> Self {
        Self::with(fixture, &config(), reqwest::ClientBuilder::http1_only)
    }

    fn with(
        fixture: &Fixture,
        config: &HttpReceiverConfig,
        version: fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Self {
        // Fails where another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let router = fixture.distributor.http_router(config);
        Self {
            http: version(reqwest::Client::builder()).build().unwrap(),
            served: Served::new(router, config.serve_options(None)),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.served.address);
        self.http.request(method, url)
    }

    fn post(&self, content_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.request(Method::POST, "/v1/traces")
            .header("content-type", content_type)
            .body(body)
    }
}

fn config() -> HttpReceiverConfig {
    HttpReceiverConfig {
        max_request_body_size: ByteSize::mib(1),
        ..HttpReceiverConfig::default()
    }
}

/// Sends a request that succeeds, and gives type and body of the answer.
async fn ok(request: RequestBuilder) -> (String, Bytes) {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    (content_type(&response), response.bytes().await.unwrap())
}

fn content_type(response: &Response) -> String {
    response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned()
}

fn json_spans(spans: &[Value]) -> String {
    json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string()
}

fn json_span(name: &str) -> Value {
    json!({
        "traceId": "01010101010101010101010101010101",
        "spanId": "0202020202020202",
        "name": name,
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn both_encodings_are_taken_over_both_versions() {
    for version in [
        reqwest::ClientBuilder::http1_only as fn(_) -> _,
        reqwest::ClientBuilder::http2_prior_knowledge,
    ] {
        let fixture = Fixture::new(false);
        let client = Client::with(&fixture, &config(), version);
        let sent = request(vec![span("a")]).encode_to_vec();
        let answer = ok(client.post(PROTOBUF, sent.clone())).await;
        assert_eq!(answer, (PROTOBUF.into(), "".into()));
        let answer = ok(client.post(JSON, json_spans(&[json_span("a")]))).await;
        assert_eq!(answer, (JSON.into(), "{}".into()));

        let recorded = fixture.recorder.pushes();
        assert_eq!(recorded.len(), 2);
        for push in recorded {
            assert_eq!(push.request, sent);
            assert_eq!(push.tenant.as_str(), "single-tenant");
            assert!(!push.skip_metrics);
        }
        assert_eq!(pushes(&fixture, "otlp_http", "ok"), 2);
        assert_eq!(fixture.ledger("single-tenant"), (2, 2, 0));
    }
}

#[tokio::test]
async fn empty_requests_succeed() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture);
    assert_eq!(ok(client.post(PROTOBUF, "")).await.1, "");
    assert_eq!(ok(client.post(JSON, "{}")).await.1, "{}");
}

#[tokio::test]
async fn compressed_and_chunked_bodies_are_read() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture);
    let sent = request(vec![span("a")]).encode_to_vec();
    let json = json_spans(&[json_span("a")]);
    for (encoding, protobuf, json) in [
        ("identity", sent.clone(), json.clone().into_bytes()),
        ("gzip", gzip(&sent), gzip(json.as_bytes())),
        (
            "zstd",
            zstd::encode_all(sent.as_slice(), 3).unwrap(),
            zstd::encode_all(json.as_bytes(), 3).unwrap(),
        ),
    ] {
        let encoded = |request: RequestBuilder| request.header("content-encoding", encoding);
        ok(encoded(client.post(PROTOBUF, protobuf))).await;
        ok(encoded(client.post(JSON, json))).await;
    }
    let recorded = fixture.recorder.pushes();
    assert_eq!(recorded.len(), 6);
    assert!(recorded.iter().all(|push| push.request == sent));

    let mut connection = TcpStream::connect(client.served.address).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n\
                transfer-encoding: chunked\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    for chunk in [&sent[..7], &sent[7..], &[]] {
        let size = format!("{:x}\r\n", chunk.len());
        connection.write_all(size.as_bytes()).await.unwrap();
        connection.write_all(chunk).await.unwrap();
        connection.write_all(b"\r\n").await.unwrap();
    }
    assert!(
        read_head(&mut connection)
            .await
            .starts_with("HTTP/1.1 200 OK")
    );
    assert_eq!(fixture.recorder.pushes()[6].request, sent);
}

#[tokio::test]
async fn one_connection_serves_many_requests_refusals_included() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture);
    let mut connection = TcpStream::connect(client.served.address).await.unwrap();
    for (request, status) in [
        (
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
            "200",
        ),
        (
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]",
            "400",
        ),
        ("GET /v1/traces HTTP/1.1\r\nhost: x\r\n\r\n", "405"),
        (
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
            "200",
        ),
    ] {
        connection.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut connection).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
}

/// Reads one answer with its body, and gives its head.
async fn read_head(connection: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let head = head.replacen("http", "HTTP", 1).replace("200 ok", "200 OK");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.unwrap();
    head
}

#[tokio::test]
async fn parameters_and_case_of_the_content_type_do_not_matter() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture);
    for (sent, want) in [
        ("application/json; charset=utf-8", JSON),
        ("Application/JSON", JSON),
    ] {
        let answer = ok(client.post(sent, "{}")).await;
        assert_eq!(answer, (want.into(), "{}".into()), "{sent}");
    }
    let answer = ok(client.post("application/x-protobuf;x=y", "")).await;
    assert_eq!(answer, (PROTOBUF.into(), "".into()));
}

#[tokio::test]
async fn headers_select_tenant_and_skip_metrics() {
    let fixture = Fixture::new(true);
    let client = Client::new(&fixture);
    let sent = request(vec![span("a")]).encode_to_vec();
    let request = client
        .post(PROTOBUF, sent)
        .header("X-Scope-OrgID", "acme")
        .header("No-Generate-Metrics", "1");
    ok(request).await;
    let recorded = fixture.recorder.pushes();
    assert_eq!(recorded[0].tenant.as_str(), "acme");
    assert!(recorded[0].skip_metrics);
}

#[tokio::test]
async fn bad_spans_are_a_partial_success() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture);
    let sent = request(vec![span("a"), span_without_trace("x"), span("b")]);
    let (_, body) = ok(client.post(PROTOBUF, sent.encode_to_vec())).await;
    assert_eq!(
        ExportTraceServiceResponse::decode(body).unwrap(),
        partial(1, NO_TRACE_ID)
    );

    let mut base64_id = json_span("x");
    base64_id["traceId"] = json!("AQEBAQEBAQEBAQEBAQEBAQ==");
    let spans = [json_span("c"), base64_id, json_span("d")];
    let (_, body) = ok(client.post(JSON, json_spans(&spans))).await;
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({"partialSuccess": {"rejectedSpans": "1", "errorMessage": NO_TRACE_ID}})
    );
    assert_eq!(names(&fixture.recorder.pushes()), [["a", "b"], ["c", "d"]]);
    assert_eq!(pushes(&fixture, "otlp_http", "partial"), 2);
    assert_eq!(fixture.ledger("single-tenant"), (6, 4, 2));
}

/// The refusal of a request: status, and what its body says.
async fn refused(request: RequestBuilder) -> (StatusCode, rpc::Status) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let body = match content_type(&response).as_str() {
        PROTOBUF => rpc::Status::decode(response.bytes().await.unwrap()).unwrap(),
        JSON => {
            let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
            rpc::Status {
                code: body["code"].as_i64().unwrap() as i32,
                message: body["message"].as_str().unwrap().into(),
                details: Vec::new(),
            }
        }
        other => panic!("{other}"),
    };
    (status, body)
}

#[tokio::test]
async fn refusals_have_status_code_and_message() {
    let fixture = Fixture::new(true);
    let client = Client::new(&fixture);
    let acme = |request: RequestBuilder| request.header("x-scope-orgid", "acme");
    let large = vec![0; (1 << 20) + 1];
    let too_large = "request body exceeds the limit of 1048576 bytes, as sent or decompressed";
    for (name, request, http, grpc, message) in [
        (
            "protobuf",
            acme(client.post(PROTOBUF, "not protobuf")),
            400,
            3,
            "request is not a valid OTLP trace request: a field has an invalid tag",
        ),
        (
            "json",
            acme(client.post(JSON, r#"{"resourceSpans": 5}"#)),
            400,
            3,
            "request is not a valid OTLP/JSON trace request: resourceSpans: invalid value: \
             integer `5`, expected a list at line 1 column 19",
        ),
        (
            "no tenant",
            client.post(PROTOBUF, ""),
            401,
            16,
            "no tenant: send the header X-Scope-OrgID",
        ),
        (
            "hostile tenant",
            client.post(JSON, "{}").header("x-scope-orgid", "%2e%2e"),
            401,
            16,
            "X-Scope-OrgID: tenant id has the character '%'; letters, digits and !-_.*'() are \
             allowed",
        ),
        (
            "large",
            acme(client.post(PROTOBUF, large.clone())),
            413,
            8,
            too_large,
        ),
        (
            "bomb",
            acme(client.post(JSON, gzip(&large))).header("content-encoding", "gzip"),
            413,
            8,
            too_large,
        ),
        (
            "corrupt",
            acme(client.post(PROTOBUF, "not gzip")).header("content-encoding", "gzip"),
            400,
            3,
            "",
        ),
        (
            "encoding",
            acme(client.post(PROTOBUF, "")).header("content-encoding", "br"),
            415,
            12,
            "content encoding \"br\" is not one of identity, gzip, zstd",
        ),
        (
            "type",
            acme(client.post("text/plain", "")),
            415,
            3,
            "content type \"text/plain\" is not one of application/x-protobuf, application/json",
        ),
        (
            "no type",
            acme(client.request(Method::POST, "/v1/traces")),
            415,
            3,
            "content type \"\" is not one of application/x-protobuf, application/json",
        ),
        (
            "path",
            client
                .request(Method::POST, "/v1/metrics")
                .header("content-type", PROTOBUF),
            404,
            5,
            "nothing is served at this path; traces go to /v1/traces",
        ),
        (
            "method",
            client.request(Method::GET, "/v1/traces"),
            405,
            12,
            "only POST is allowed here",
        ),
    ] {
        let (status, body) = refused(request).await;
        assert_eq!(
            (status.as_u16(), body.code),
            (http, grpc),
            "{name}: {body:?}"
        );
        assert!(
            body.message.starts_with(message) && !body.message.is_empty(),
            "{name}: {body:?}"
        );
    }
    assert!(fixture.recorder.pushes().is_empty());
    for (result, count) in [
        ("malformed", 3),
        ("unauthenticated", 2),
        ("too_large", 2),
        ("unsupported", 3),
    ] {
        assert_eq!(pushes(&fixture, "otlp_http", result), count, "{result}");
    }
    let response = client
        .request(Method::PUT, "/v1/traces")
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["allow"], "POST");
}

#[tokio::test]
async fn unavailable_says_when_to_retry() {
    let fixture = Fixture::new(false);
    fixture.recorder.answer(Err(unavailable()));
    let client = Client::new(&fixture);
    let sent = request(vec![span("a")]).encode_to_vec();
    let response = client.post(PROTOBUF, sent).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "2");
    let status = rpc::Status::decode(response.bytes().await.unwrap()).unwrap();
    assert_eq!(status.code, 14);
    assert_eq!(retry_delay(&status), Some(Duration::from_millis(1_500)));
    assert_eq!(pushes(&fixture, "otlp_http", "unavailable"), 1);
    assert_eq!(fixture.ledger("single-tenant"), (1, 0, 1));
}

#[tokio::test]
async fn over_the_rate_is_429_and_over_the_burst_is_413() {
    let sent = request(vec![span("a")]).encode_to_vec();
    let fixture = Fixture::with(false, one_push_an_hour(sent.len()));
    let client = Client::new(&fixture);
    let post = |sent: &[u8]| client.post(PROTOBUF, sent.to_vec()).send();
    assert_eq!(post(&sent).await.unwrap().status(), 200);
    let response = post(&sent).await.unwrap();
    assert_eq!(response.status(), 429);
    let seconds: u64 = response.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(seconds > 10, "{seconds}");
    let long = request(vec![span("a"), span("b")]).encode_to_vec();
    let response = post(&long).await.unwrap();
    assert_eq!(response.status(), 413);
    assert!(!response.headers().contains_key("retry-after"));
    assert_eq!(pushes(&fixture, "otlp_http", "rate_limited"), 2);
    assert_eq!(fixture.ledger("single-tenant"), (4, 1, 3));
}

#[tokio::test]
async fn body_without_memory_for_it_is_503_and_may_come_again() {
    let long = request(vec![span(&"x".repeat(200_000))]).encode_to_vec();
    let short = gzip(&long);
    assert!(short.len() < 5_000);
    for (name, body, encoding) in [
        ("by its declared length", &long, "identity"),
        ("by what it becomes", &short, "gzip"),
    ] {
        let (budget, other) = budget_beside_another(150_000, 40_000);
        let fixture = Fixture::within(budget.clone());
        let client = Client::new(&fixture);
        let post = || {
            let request = client.post(PROTOBUF, body.clone());
            request.header("content-encoding", encoding).send()
        };
        let response = post().await.unwrap();
        assert_eq!(response.status(), 503, "{name}");
        assert_eq!(response.headers()["retry-after"], "1", "{name}");
        let status = rpc::Status::decode(response.bytes().await.unwrap()).unwrap();
        assert_eq!(retry_delay(&status), Some(Duration::from_secs(1)), "{name}");
        assert_eq!(pushes(&fixture, "otlp_http", "overloaded"), 1, "{name}");
        drop(other);
        assert_eq!(post().await.unwrap().status(), 200, "{name}");
        assert_eq!(budget.used(), 0, "{name}");
        assert_eq!(fixture.ledger("single-tenant"), (1, 1, 0), "{name}");
    }
}

#[tokio::test]
async fn json_errors_name_the_field() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture);
    let spans = [json!({"kind": "SPAN_KIND_SERVER"})];
    let response = client.post(JSON, json_spans(&spans)).send().await.unwrap();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let violation = &body["details"][0]["fieldViolations"][0];
    assert_eq!(
        violation["field"],
        "resourceSpans[0].scopeSpans[0].spans[0].kind"
    );
}

#[tokio::test]
async fn path_is_a_setting() {
    let fixture = Fixture::new(false);
    let config = HttpReceiverConfig {
        traces_url_path: "/otlp/traces".into(),
        ..config()
    };
    let client = Client::with(&fixture, &config, reqwest::ClientBuilder::http1_only);
    let post = |path| {
        client
            .request(Method::POST, path)
            .header("content-type", JSON)
    };
    ok(post("/otlp/traces").body("{}")).await;
    let (status, body) = refused(post("/v1/traces").body("{}")).await;
    assert_eq!(status, 404);
    assert_eq!(
        body.message,
        "nothing is served at this path; traces go to /otlp/traces"
    );
}

#[tokio::test]
async fn browsers_of_allowed_origins_may_send() {
    let fixture = Fixture::new(false);
    let config = HttpReceiverConfig {
        cors: CorsConfig {
            allowed_origins: vec!["https://*.example".into()],
            ..CorsConfig::default()
        },
        ..config()
    };
    let client = Client::with(&fixture, &config, reqwest::ClientBuilder::http1_only);
    for (origin, allowed) in [("https://shop.example", true), ("https://evil.test", false)] {
        let preflight = client
            .request(Method::OPTIONS, "/v1/traces")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .send()
            .await
            .unwrap();
        let answer = preflight.headers().get("access-control-allow-origin");
        assert_eq!(answer.is_some(), allowed, "{origin}");
        let sent = client.post(JSON, "{}").header("origin", origin);
        let answer = sent.send().await.unwrap();
        let answer = answer.headers().get("access-control-allow-origin");
        assert_eq!(
            answer.is_some_and(|value| value == origin),
            allowed,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn body_that_does_not_come_is_told_how_long_it_had() {
    let fixture = Fixture::new(false);
    let config = HttpReceiverConfig {
        read_timeout: Duration::from_millis(20),
        ..config()
    };
    let client = Client::with(&fixture, &config, reqwest::ClientBuilder::http1_only);
    let mut connection = TcpStream::connect(client.served.address).await.unwrap();
    let begun = "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                 content-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    connection.write_all(begun.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("longer than 20ms"), "{answer}");
}
