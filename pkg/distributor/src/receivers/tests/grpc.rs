//! OTLP/gRPC with tonic's client.

use ::http::uri::PathAndQuery;
use bytes::Bytes;
use server::grpc::{BytesCodec, Health};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::{v1, v1alpha};

use super::*;
use crate::config::GrpcReceiverConfig;
use crate::testing::{names, request, span, span_without_trace};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const LIMIT: usize = 5 << 20;

struct Client {
    channel: Channel,
    _served: Served,
}

impl Client {
    async fn new(fixture: &Fixture) -> Self {
        let config = GrpcReceiverConfig {
            // Over tonic's own limit of 4, which must not show.
            max_recv_msg_size_mib: 5,
            ..GrpcReceiverConfig::default()
        };
        let health = Health::new(Shutdown::new(), Shutdown::new());
        let router = fixture.distributor.grpc_router(&config, &health);
        let served = Served::new(router, config.serve_options(None));
        let uri = format!("http://{}", served.address);
        Self {
            channel: Channel::from_shared(uri).unwrap().connect().await.unwrap(),
            _served: served,
        }
    }

    async fn call(
        &self,
        path: &'static str,
        metadata: &[(&'static str, &str)],
        message: impl Into<Bytes>,
    ) -> Result<Bytes, Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        let mut request = Request::new(message.into());
        let map: &mut MetadataMap = request.metadata_mut();
        for (key, value) in metadata {
            map.append(*key, value.parse().unwrap());
        }
        let path = PathAndQuery::from_static(path);
        let response = client.unary(request, path, BytesCodec).await?;
        Ok(response.into_inner())
    }

    async fn export(&self, message: impl Into<Bytes>) -> Result<Bytes, Status> {
        self.call(EXPORT, &[], message).await
    }
}

#[tokio::test]
async fn full_success_is_an_empty_response() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture).await;
    let sent = request(vec![span("a")]).encode_to_vec();
    assert_eq!(client.export(sent.clone()).await.unwrap(), "");
    assert_eq!(client.export("").await.unwrap(), "");

    let recorded = fixture.recorder.pushes();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].request, sent);
    assert_eq!(recorded[0].tenant.as_str(), "single-tenant");
    assert!(!recorded[0].skip_metrics);
    assert_eq!(pushes(&fixture, "otlp_grpc", "ok"), 2);
    assert_eq!(fixture.ledger("single-tenant"), (1, 1, 0));
}

#[tokio::test]
async fn metadata_selects_tenant_and_skips_metrics() {
    let fixture = Fixture::new(true);
    let client = Client::new(&fixture).await;
    let metadata = [("x-scope-orgid", "acme"), ("no-generate-metrics", "")];
    let sent = request(vec![span("a")]).encode_to_vec();
    client.call(EXPORT, &metadata, sent).await.unwrap();
    let recorded = fixture.recorder.pushes();
    assert_eq!(recorded[0].tenant.as_str(), "acme");
    assert!(recorded[0].skip_metrics);
}

#[tokio::test]
async fn one_bad_span_is_a_partial_success() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture).await;
    let sent = request(vec![span("a"), span_without_trace("x"), span("b")]);
    let response = client.export(sent.encode_to_vec()).await.unwrap();
    assert_eq!(
        ExportTraceServiceResponse::decode(response).unwrap(),
        partial(1, NO_TRACE_ID)
    );
    assert_eq!(names(&fixture.recorder.pushes()), [["a", "b"]]);
    assert_eq!(pushes(&fixture, "otlp_grpc", "partial"), 1);
}

#[tokio::test]
async fn warnings_reject_nothing() {
    let fixture = Fixture::new(false);
    fixture.recorder.answer(Ok(warning()));
    let client = Client::new(&fixture).await;
    let sent = request(vec![span("a")]).encode_to_vec();
    let response = client.export(sent).await.unwrap();
    assert_eq!(
        ExportTraceServiceResponse::decode(response).unwrap(),
        partial(0, "clock is off")
    );
    assert_eq!(pushes(&fixture, "otlp_grpc", "ok"), 1);
}

#[tokio::test]
async fn too_large_is_resource_exhausted_and_not_retryable() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture).await;
    let status = client.export(vec![0; LIMIT + 1]).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.details().is_empty());
    assert_eq!(pushes(&fixture, "otlp_grpc", "too_large"), 1);

    // At the limit it is read.
    let mut large = span("");
    large.name = "n".repeat(LIMIT - request(vec![span("")]).encoded_len() - 14);
    let sent = request(vec![large]).encode_to_vec();
    assert_eq!(sent.len(), LIMIT);
    client.export(sent).await.unwrap();
}

#[tokio::test]
async fn unusable_tenants_are_unauthenticated() {
    let fixture = Fixture::new(true);
    let client = Client::new(&fixture).await;
    let cases: [&[(&'static str, &str)]; 4] = [
        &[],
        &[("x-scope-orgid", "../x")],
        &[("x-scope-orgid", "a|b")],
        &[("x-scope-orgid", "a"), ("x-scope-orgid", "b")],
    ];
    for metadata in cases {
        let sent = request(vec![span("a")]).encode_to_vec();
        let status = client.call(EXPORT, metadata, sent).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{metadata:?}");
    }
    assert!(fixture.recorder.pushes().is_empty());
    assert_eq!(pushes(&fixture, "otlp_grpc", "unauthenticated"), 4);
}

#[tokio::test]
async fn malformed_is_invalid_argument() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture).await;
    let status = client.export("not protobuf").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "request is not a valid OTLP trace request: a field has an invalid tag"
    );
    assert_eq!(pushes(&fixture, "otlp_grpc", "malformed"), 1);
}

#[tokio::test]
async fn unavailable_says_when_to_retry() {
    let fixture = Fixture::new(false);
    fixture.recorder.answer(Err(unavailable()));
    let client = Client::new(&fixture).await;
    let sent = request(vec![span("a")]).encode_to_vec();
    let status = client.export(sent).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let details = rpc::Status::decode(status.details()).unwrap();
    assert_eq!(details.code, 14);
    assert_eq!(retry_delay(&details), Some(Duration::from_millis(1_500)));
    assert_eq!(fixture.ledger("single-tenant"), (1, 0, 1));
}

#[tokio::test]
async fn over_the_rate_is_retryable_and_over_the_burst_is_not() {
    let sent = request(vec![span("a")]).encode_to_vec();
    let fixture = Fixture::with(false, one_push_an_hour(sent.len()));
    let client = Client::new(&fixture).await;
    client.export(sent.clone()).await.unwrap();
    let status = client.export(sent).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = rpc::Status::decode(status.details()).unwrap();
    assert!(retry_delay(&details).unwrap() > Duration::from_secs(10));
    let long = request(vec![span("a"), span("b")]).encode_to_vec();
    let status = client.export(long).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.details().is_empty());
    assert_eq!(pushes(&fixture, "otlp_grpc", "rate_limited"), 2);
    assert_eq!(fixture.ledger("single-tenant"), (4, 1, 3));
}

#[tokio::test]
async fn message_without_memory_for_it_is_refused_and_may_come_again() {
    let long = request(vec![span(&"x".repeat(200_000))]).encode_to_vec();
    for (name, capacity, held) in [
        ("before its length is known", 50_000, 40_000),
        ("once its length is known", 150_000, 40_000),
    ] {
        let (budget, other) = budget_beside_another(capacity, held);
        let fixture = Fixture::within(budget.clone());
        let client = Client::new(&fixture).await;
        let status = client.export(long.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{name}");
        let details = rpc::Status::decode(status.details()).unwrap();
        assert_eq!(
            retry_delay(&details),
            Some(Duration::from_secs(1)),
            "{name}"
        );
        assert_eq!(pushes(&fixture, "otlp_grpc", "overloaded"), 1, "{name}");
        drop(other);
        client.export(long.clone()).await.unwrap();
        assert_eq!(budget.used(), 0, "{name}");
        assert_eq!(fixture.ledger("single-tenant"), (1, 1, 0), "{name}");
    }
}

/// More than the resets after which a connection is closed.
#[tokio::test]
async fn connection_goes_on_after_many_refusals() {
    let long = request(vec![span(&"x".repeat(200_000))]).encode_to_vec();
    for capacity in [50_000, 150_000] {
        let (budget, other) = budget_beside_another(capacity, 40_000);
        let fixture = Fixture::within(budget);
        let client = Client::new(&fixture).await;
        for _ in 0..1_100 {
            let status = client.export(long.clone()).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(!status.details().is_empty(), "{status}");
        }
        drop(other);
        client.export(long.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn unknown_methods_and_services_are_unimplemented() {
    let fixture = Fixture::new(false);
    let client = Client::new(&fixture).await;
    for path in [
        "/opentelemetry.proto.collector.trace.v1.TraceService/Import",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    ] {
        let status = client.call(path, &[], "").await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn health_is_serving() {
    let fixture = Fixture::new(true);
    let client = Client::new(&fixture).await;
    let mut health = HealthClient::new(client.channel.clone());
    for service in ["", "opentelemetry.proto.collector.trace.v1.TraceService"] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let response = health.check(request).await.unwrap().into_inner();
        assert_eq!(response.status(), ServingStatus::Serving, "{service}");
    }
}

#[tokio::test]
async fn reflection_lists_what_is_served_and_describes_it() {
    use v1::server_reflection_client::ServerReflectionClient;
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;

    let fixture = Fixture::new(false);
    let client = Client::new(&fixture).await;
    let mut reflection = ServerReflectionClient::new(client.channel.clone());
    let ask = |message| {
        tokio_stream::iter([v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        }])
    };
    let list = ask(MessageRequest::ListServices(String::new()));
    let mut answers = reflection
        .server_reflection_info(list)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("{answer:?}");
    };
    let mut services: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    services.sort();
    assert_eq!(
        services,
        [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "opentelemetry.proto.collector.trace.v1.TraceService"
        ]
    );

    let symbol = ask(MessageRequest::FileContainingSymbol(
        "opentelemetry.proto.trace.v1.Span".into(),
    ));
    let mut answers = reflection
        .server_reflection_info(symbol)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::FileDescriptorResponse(file)) = answer else {
        panic!("{answer:?}");
    };
    let file = prost_types::FileDescriptorProto::decode(&*file.file_descriptor_proto[0]).unwrap();
    assert_eq!(file.package(), "opentelemetry.proto.trace.v1");
}

#[tokio::test]
async fn reflection_of_the_older_kind_answers() {
    use v1alpha::server_reflection_client::ServerReflectionClient;
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;

    let fixture = Fixture::new(false);
    let client = Client::new(&fixture).await;
    let mut reflection = ServerReflectionClient::new(client.channel.clone());
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = reflection
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    assert!(
        matches!(&answer, Some(MessageResponse::ListServicesResponse(list)) if list.service.len() == 3),
        "{answer:?}"
    );
}
