//! Jaeger over gRPC, HTTP and UDP.

use ::http::StatusCode;
use proto::jaeger::{Batch, PostSpansRequest, PostSpansResponse, Span};
use server::Datagram;
use server::grpc::Health;
use tonic::{Code, Request, Status};

use super::*;
use crate::config::{JaegerGrpcConfig, ThriftHttpConfig};
use crate::conversion::ThriftEncoding;
use crate::testing::names;

/// A batch of one span, named `t`, in the binary encoding.
const THRIFT: &[u8] = b"\x0f\0\x02\x0c\0\0\0\x01\
    \x0a\0\x01\0\0\0\0\0\0\0\x01\
    \x0a\0\x03\0\0\0\0\0\0\0\x01\
    \x0b\0\x05\0\0\0\x01t\0\0";

/// The same, as a call in the compact encoding.
const COMPACT: &[u8] = b"\x82\x81\x01\x09emitBatch\x1c\x29\x1c\x16\x02\x26\x02\x28\x01t\0\0\0";

fn serve_grpc(fixture: &Fixture) -> Served {
    let config = JaegerGrpcConfig {
        max_recv_msg_size_mib: 1,
        ..JaegerGrpcConfig::default()
    };
    let health = Health::new(Shutdown::new(), Shutdown::new());
    let router = fixture.distributor.jaeger_grpc_router(&config, &health);
    Served::new(router, config.serve_options(None))
}

async fn call(
    served: &Served,
    method: &'static str,
    request: Request<Bytes>,
) -> Result<PostSpansResponse, Status> {
    let uri = format!("http://{}", served.address);
    let channel = tonic::transport::Channel::from_shared(uri).unwrap();
    let mut client = tonic::client::Grpc::new(channel.connect().await.unwrap());
    client.ready().await.unwrap();
    let path = ::http::uri::PathAndQuery::from_static(method);
    let response = client
        .unary(request, path, server::grpc::BytesCodec)
        .await?;
    Ok(PostSpansResponse::decode(response.into_inner()).unwrap())
}

const POST_SPANS: &str = "/jaeger.api_v2.CollectorService/PostSpans";

fn request(name: &str) -> Bytes {
    let span = |trace_id| Span {
        trace_id,
        span_id: vec![1; 8],
        operation_name: name.into(),
        ..Default::default()
    };
    PostSpansRequest {
        batch: Some(Batch {
            spans: vec![span(vec![1; 16]), span(vec![])],
            process: None,
        }),
    }
    .encode_to_vec()
    .into()
}

#[tokio::test]
async fn grpc_takes_spans_but_for_those_that_cannot_be_right() {
    let fixture = Fixture::new(false);
    let served = serve_grpc(&fixture);
    let answered = call(&served, POST_SPANS, Request::new(request("g"))).await;
    assert_eq!(answered.unwrap(), PostSpansResponse {});
    assert_eq!(names(&fixture.recorder.pushes()), [["g"]]);
    assert_eq!(fixture.ledger("single-tenant"), (2, 1, 1));
    assert_eq!(pushes(&fixture, "jaeger_grpc", "partial"), 1);
}

#[tokio::test]
async fn grpc_refuses_with_a_status() {
    let fixture = Fixture::new(true);
    let served = serve_grpc(&fixture);
    let of_acme = |message: Bytes| {
        let mut request = Request::new(message);
        let tenant = "acme".parse().unwrap();
        request.metadata_mut().insert("x-scope-orgid", tenant);
        request
    };
    let large = Bytes::from(vec![0; (1 << 20) + 1]);
    let unknown = "/jaeger.api_v2.CollectorService/GetSpans";
    for (method, request, want) in [
        (
            POST_SPANS,
            Request::new(request("g")),
            Code::Unauthenticated,
        ),
        (
            POST_SPANS,
            of_acme(Bytes::from_static(b"\x0a\x05")),
            Code::InvalidArgument,
        ),
        (POST_SPANS, of_acme(large), Code::ResourceExhausted),
        (unknown, of_acme(request("g")), Code::Unimplemented),
    ] {
        let status = call(&served, method, request).await.unwrap_err();
        assert_eq!(status.code(), want, "{status}");
    }
    fixture.recorder.answer(Err(unavailable()));
    let status = call(&served, POST_SPANS, of_acme(request("g")))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    for (result, count) in [
        ("unauthenticated", 1),
        ("malformed", 1),
        ("too_large", 1),
        ("unavailable", 1),
    ] {
        assert_eq!(pushes(&fixture, "jaeger_grpc", result), count, "{result}");
    }
}

#[tokio::test]
async fn http_takes_thrift_and_answers_with_a_status() {
    let fixture = Fixture::new(false);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ThriftHttpConfig::default();
    let router = fixture.distributor.jaeger_http_router(&config);
    let served = Served::new(router, config.serve_options(None));
    let post = |path: &str, media_type: &'static str, body: &'static [u8]| {
        let url = format!("http://{}{path}", served.address);
        let request = reqwest::Client::new().post(url);
        request.header("content-type", media_type).body(body)
    };
    let thrift = "application/x-thrift";
    for (request, want) in [
        (post("/api/traces", thrift, THRIFT), StatusCode::ACCEPTED),
        (
            post(
                "/api/traces?format=jaeger.thrift",
                "Application/Vnd.apache.thrift.binary; a=b",
                THRIFT,
            ),
            StatusCode::ACCEPTED,
        ),
        (
            post("/api/traces", thrift, &THRIFT[..9]),
            StatusCode::BAD_REQUEST,
        ),
        (
            post("/api/traces", "application/json", THRIFT),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (post("/", thrift, THRIFT), StatusCode::NOT_FOUND),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), want);
    }
    assert_eq!(names(&fixture.recorder.pushes()), [["t"], ["t"]]);
    assert_eq!(pushes(&fixture, "jaeger_thrift_http", "ok"), 2);
    assert_eq!(pushes(&fixture, "jaeger_thrift_http", "malformed"), 1);
}

#[tokio::test]
async fn datagrams_are_taken_or_counted_by_reason() {
    let fixture = Fixture::new(false);
    let whole = |bytes: &'static [u8]| Datagram::Whole(Bytes::from_static(bytes));
    let take = |encoding, datagram| fixture.distributor.jaeger_datagram(encoding, datagram);
    take(ThriftEncoding::Compact, whole(COMPACT)).await;
    take(ThriftEncoding::Binary, whole(COMPACT)).await;
    take(ThriftEncoding::Compact, whole(b"")).await;
    take(ThriftEncoding::Compact, Datagram::TooLarge { limit: 9 }).await;
    assert_eq!(names(&fixture.recorder.pushes()), [["t"]]);
    for (receiver, result) in [
        ("jaeger_thrift_compact", "ok"),
        ("jaeger_thrift_binary", "malformed"),
        ("jaeger_thrift_compact", "malformed"),
        ("jaeger_thrift_compact", "too_large"),
    ] {
        assert_eq!(pushes(&fixture, receiver, result), 1, "{receiver} {result}");
    }
}

#[tokio::test]
async fn datagrams_are_of_nobody_where_there_are_tenants() {
    let fixture = Fixture::new(true);
    let datagram = Datagram::Whole(Bytes::from_static(COMPACT));
    fixture
        .distributor
        .jaeger_datagram(ThriftEncoding::Compact, datagram)
        .await;
    assert!(fixture.recorder.pushes().is_empty());
    assert_eq!(
        pushes(&fixture, "jaeger_thrift_compact", "unauthenticated"),
        1
    );
}

#[tokio::test]
async fn spans_without_memory_for_their_conversion_are_refused() {
    // There is memory for the message, but not for three times as much.
    let (budget, other) = budget_beside_another(150_000, 40_000);
    let fixture = Fixture::within(budget.clone());
    let served = serve_grpc(&fixture);
    let long = request(&"g".repeat(25_000));
    let status = call(&served, POST_SPANS, Request::new(long.clone())).await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(!status.details().is_empty(), "{status}");
    assert_eq!(pushes(&fixture, "jaeger_grpc", "overloaded"), 1);
    drop(other);
    call(&served, POST_SPANS, Request::new(long)).await.unwrap();
    assert_eq!(budget.used(), 0);

    let (budget, _other) = budget_beside_another(100, 90);
    let fixture = Fixture::within(budget.clone());
    let datagram = Datagram::Whole(Bytes::from_static(COMPACT));
    fixture
        .distributor
        .jaeger_datagram(ThriftEncoding::Compact, datagram)
        .await;
    assert!(fixture.recorder.pushes().is_empty());
    assert_eq!(pushes(&fixture, "jaeger_thrift_compact", "overloaded"), 1);
    assert_eq!(budget.used(), 90);
}
