//! What a connection says of a push.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use h2::{Reason, server};
use http::{HeaderMap, Response};
use lifecycle::TaskGroup;
use prost::Message as _;
use proto::cluster::PushOutcome;
use ring::Member;
use tokio::net::TcpListener;

use crate::harness::{Cluster, request};

/// What a generator does with a stream.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answers,
    Refuses,
    Resets,
}

/// A generator that does one thing after the other with the streams that come, over all
/// connections, and answers all after that. Says how many have come.
async fn scripted(script: &'static [Does]) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let came = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&came);
    let tasks = TaskGroup::new();
    tasks.clone().spawn("generator", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tasks.spawn("connection", async move {
                let mut connection = server::handshake(stream).await.unwrap();
                while let Some(Ok((mut call, mut respond))) = connection.accept().await {
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    match script.get(number as usize).unwrap_or(&Does::Answers) {
                        Does::Refuses => respond.send_reset(Reason::REFUSED_STREAM),
                        Does::Resets => respond.send_reset(Reason::INTERNAL_ERROR),
                        Does::Answers => {
                            let _ = call.body_mut().flow_control().release_capacity(0);
                            answer(respond);
                        }
                    }
                }
            });
        }
    });
    (address, came)
}

fn answer(mut respond: server::SendResponse<Bytes>) {
    let outcome = PushOutcome {
        spans: 30,
        ..PushOutcome::default()
    };
    let message = outcome.encode_to_vec();
    let mut framed = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
    framed.extend(message);
    let mut send = respond.send_response(Response::new(()), false).unwrap();
    send.send_data(framed.into(), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 0.into());
    send.send_trailers(trailers).unwrap();
}

#[tokio::test]
async fn refused_stream_was_not_applied_and_a_reset_one_is_in_doubt() {
    use Does::{Refuses, Resets};
    for (script, came, elsewhere) in [
        (&[] as &[Does], 1, false),
        // Again to the same: it may just have had too many.
        (&[Refuses], 2, false),
        (&[Refuses, Refuses], 2, true),
        (&[Resets], 2, false),
        (&[Resets, Resets, Resets], 4, false),
        // That it is refused now says nothing of the one before.
        (&[Resets, Refuses, Refuses], 4, false),
    ] {
        let (address, streams) = scripted(script).await;
        let cluster = Cluster::new(1);
        // All traces are the scripted one's, until it is left out.
        let scripted = Member {
            id: "a".into(),
            address,
            ..cluster.nodes[0].member()
        };
        cluster
            .ring
            .update(vec![scripted, cluster.nodes[0].member()]);
        let outcome = cluster.push(&request(0..10)).await.unwrap();
        assert_eq!(outcome.spans, 30, "{script:?}");
        assert_eq!(streams.load(Ordering::SeqCst), came, "{script:?}");
        let counted = if elsewhere { 30 } else { 0 };
        assert_eq!(cluster.counted(), [counted], "{script:?}");
        assert_eq!(cluster.of_tenant("spans_possibly_duplicated"), 0);
    }
}
