use std::convert::Infallible;
use std::future::ready as ready_now;

use axum::Router;
use axum::body::Body as AxumBody;
use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use lifecycle::{Shutdown, TaskGroup};
use tonic::body::Body as GrpcBody;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Response as Answer};

use super::*;
use crate::grpc::{BytesCodec, unary};
use crate::inflate::tests::{gzip, zstd_of_unknown_size};
use crate::{Listener, ServeOptions};

const LIMIT: usize = 1 << 20;

/// Answers each message with its length and its first byte.
#[derive(Clone)]
struct Echo;

impl Service<Request<AxumBody>> for Echo {
    type Response = Response<GrpcBody>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<AxumBody>) -> Self::Future {
        Box::pin(async {
            let echo = |message: Bytes| {
                let first = message.first().copied().unwrap_or(0);
                ready_now(Ok(format!("{} {first}", message.len()).into()))
            };
            Ok(unary(request.into_body(), echo).await)
        })
    }
}

/// A real server with the layer; a channel to it.
async fn serve() -> (Channel, Shutdown) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), "test").unwrap();
    let address = listener.local_addr();
    let router = Router::new()
        .route_service("/test.Echo/Call", Echo)
        .layer(SizeLimitLayer {
            max_message_bytes: LIMIT,
        });
    let shutdown = Shutdown::new();
    listener.serve(
        router,
        ServeOptions::default(),
        shutdown.clone(),
        &TaskGroup::new(),
    );
    let channel = Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    (channel, shutdown)
}

async fn call(
    channel: &Channel,
    compression: Option<CompressionEncoding>,
    message: Bytes,
) -> Result<Answer<Bytes>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    if let Some(encoding) = compression {
        client = client.send_compressed(encoding);
    }
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Echo/Call");
    client
        .unary(tonic::Request::new(message), path, BytesCodec)
        .await
}

/// The frame of one gRPC message.
fn framed(flag: u8, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::from(&[flag][..]);
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame.freeze()
}

/// Sends a body as it is, in two frames of which the first cuts the prefix.
async fn send_raw(channel: &Channel, encoding: &'static str, body: Bytes) -> Response<GrpcBody> {
    let cut = body.len().min(3);
    let frames =
        [body.slice(..cut), body.slice(cut..)].map(|data| Ok::<_, Infallible>(Frame::data(data)));
    let request = Request::post("/test.Echo/Call")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", encoding)
        .body(GrpcBody::new(StreamBody::new(futures_util::stream::iter(
            frames,
        ))))
        .unwrap();
    let mut channel = channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    channel.call(request).await.unwrap()
}

fn grpc_status(response: &Response<GrpcBody>) -> &str {
    response.headers()["grpc-status"].to_str().unwrap()
}

#[tokio::test]
async fn messages_up_to_the_limit_pass_in_every_encoding() {
    let (channel, _server) = serve().await;
    for compression in [
        None,
        Some(CompressionEncoding::Gzip),
        Some(CompressionEncoding::Zstd),
    ] {
        for length in [0, 1, 300_000, LIMIT] {
            let answer = call(&channel, compression, vec![7; length].into())
                .await
                .unwrap();
            let first = if length == 0 { 0 } else { 7 };
            assert_eq!(*answer.get_ref(), format!("{length} {first}"));
            assert_eq!(
                answer.metadata().get("grpc-accept-encoding").unwrap(),
                "identity,gzip,zstd"
            );
        }
    }
}

#[tokio::test]
async fn messages_over_the_limit_are_refused_for_good() {
    let (channel, _server) = serve().await;
    for compression in [
        None,
        Some(CompressionEncoding::Gzip),
        Some(CompressionEncoding::Zstd),
    ] {
        for length in [LIMIT + 1, 64 << 20] {
            let status = call(&channel, compression, vec![0; length].into())
                .await
                .unwrap_err();
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
            assert!(status.details().is_empty());
            assert_eq!(
                status.message(),
                "message exceeds the limit of 1048576 bytes, as sent or decompressed"
            );
        }
    }
    // The connection serves on.
    assert!(call(&channel, None, Bytes::new()).await.is_ok());
}

#[tokio::test]
async fn announced_length_is_refused_before_the_message_is_sent() {
    let (channel, _server) = serve().await;
    let prefix = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]);
    let response = send_raw(&channel, "identity", prefix).await;
    assert_eq!(grpc_status(&response), "8");
}

#[tokio::test]
async fn bombs_are_refused_whatever_they_announce() {
    let (channel, _server) = serve().await;
    let zeros = vec![0; 64 << 20];
    for (encoding, bomb) in [
        ("gzip", gzip(&zeros)),
        ("zstd", zstd_of_unknown_size(&zeros)),
        ("zstd", zstd::bulk::compress(&zeros, 3).unwrap()),
    ] {
        assert!(bomb.len() < LIMIT / 10);
        let response = send_raw(&channel, encoding, framed(1, &bomb)).await;
        assert_eq!(grpc_status(&response), "8", "{encoding}");
    }
}

#[tokio::test]
async fn unknown_encoding_is_unimplemented_and_names_the_known() {
    let (channel, _server) = serve().await;
    let response = send_raw(&channel, "snappy", framed(1, b"x")).await;
    assert_eq!(grpc_status(&response), "12");
    assert_eq!(
        response.headers()["grpc-accept-encoding"],
        "identity,gzip,zstd"
    );
}

#[tokio::test]
async fn flags_decide_per_message_and_damage_is_invalid() {
    let (channel, _server) = serve().await;
    for (name, encoding, body, want) in [
        ("plain under gzip", "gzip", framed(0, b"abc"), "0"),
        ("flag without encoding", "identity", framed(1, b"abc"), "13"),
        ("not gzip", "gzip", framed(1, b"abc"), "3"),
        ("unknown flag", "gzip", framed(2, b"abc"), "13"),
    ] {
        let response = send_raw(&channel, encoding, body).await;
        let status = match response.headers().get("grpc-status") {
            Some(status) => status.to_str().unwrap().to_owned(),
            None => {
                let body = response.into_body().collect().await.unwrap();
                let trailers = body.trailers().unwrap();
                trailers["grpc-status"].to_str().unwrap().to_owned()
            }
        };
        assert_eq!(status, want, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn message_that_stalls_is_cut_off_and_a_silent_stream_is_not() {
    let begun = futures_util::stream::iter([Ok::<_, Infallible>(Frame::data(
        framed(0, b"abc").slice(..6),
    ))]);
    let stalls = StreamBody::new(futures_util::StreamExt::chain(
        begun,
        futures_util::stream::pending(),
    ));
    let mut body = MessageBody::new(Box::pin(stalls), None, LIMIT, RequestMemory::default());
    assert_eq!(
        body.frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .len(),
        6
    );
    let error = body.frame().await.unwrap().unwrap_err();
    let status = error.downcast_ref::<Status>().unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded);

    let silent = StreamBody::new(futures_util::stream::pending::<
        Result<Frame<Bytes>, Infallible>,
    >());
    let mut body = MessageBody::new(Box::pin(silent), None, LIMIT, RequestMemory::default());
    let waited = tokio::time::timeout(std::time::Duration::from_secs(3_600), body.frame()).await;
    assert!(waited.is_err());
}

#[tokio::test]
async fn other_requests_pass_untouched() {
    let body = StreamBody::new(futures_util::stream::iter([Ok::<_, Infallible>(
        Frame::data(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff])),
    )]));
    let mut body = MessageBody::untouched(body);
    assert_eq!(
        body.frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .len(),
        5
    );
    assert!(body.frame().await.is_none());
    assert!(body.is_end_stream());
}
