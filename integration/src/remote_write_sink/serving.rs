//! The sink's listener, which can also close a connection without an answer.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::Shared;
use super::answer::{Answer, Ending};
use super::received::Arrival;

/// Bytes that a request may have as it is sent; more than any receiver takes.
pub(super) const MAX_BODY_BYTES: usize = 32 << 20;

/// There is no answer: the connection is to be closed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("told to close the connection")]
struct Cut;

/// Answers whoever connects, until it is dropped.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // Only the connection that could not be accepted is lost.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(|request| handle(shared.clone(), request));
            let builder = Builder::new(TokioExecutor::new());
            // How it ends is for the sender to see.
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        });
    }
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
        let violation = format!("a body of more than {MAX_BODY_BYTES} bytes, or none");
        shared.received.lock().violations.push(violation);
        let answer = Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE);
        return answer.body(Body::empty()).map_err(|_| Cut);
    };
    let body = body.to_bytes();
    let (answer, ticket, version, counts, mut let_go) = {
        let mut received = shared.received.lock();
        let arrival = received.arrive(&parts.method, parts.headers, &body);
        let answer = choose(&shared, &arrival);
        let ticket = shared.under_way.enter(&arrival);
        let (version, counts) = (arrival.version, arrival.counts());
        received.settle(arrival, &answer);
        // Before anyone can see that it has come, and let it go.
        (answer, ticket, version, counts, shared.let_go.subscribe())
    };
    tokio::time::sleep(answer.delay).await;
    if answer.ending == Ending::Held {
        // The sink is gone if it fails.
        let _ = let_go.changed().await;
    }
    let (number, violations) = ticket.answered();
    shared.received.lock().blame(number, violations);
    match answer.ending {
        Ending::Cut => Err(Cut),
        Ending::Answered | Ending::Held => Ok(answer.response(version, counts)),
    }
}

/// How a request is answered: as one was told to be next, by the rules, as all
/// are, or with 204.
fn choose(shared: &Shared, arrival: &Arrival) -> Answer {
    let next = shared.answers.lock().pop_front();
    next.or_else(|| shared.faults.lock().answer(arrival))
        .or_else(|| shared.always.lock().clone())
        .unwrap_or_else(Answer::stored)
}
