//! Serving one connection: its protocol, its timeouts, its end.

use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::{Sleep, Timer};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use lifecycle::Shutdown;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::activity::Activity;
use crate::authentication::PeerIdentity;
use crate::listener::ServeOptions;
use crate::peer::PeerAddress;
use crate::stream::{Protocol, Stream};
use crate::tls::Tls;

/// How much a client may send before it is acknowledged, for one request and
/// for all of a connection: with the 64 KiB of the standard a connection waits most
/// of its time (138 against 229 ns a span, measured with 98 KiB requests).
const HTTP2_WINDOW: u32 = 4 << 20;

/// The longest HTTP/2 frame taken: fewer frames a request cost less.
const HTTP2_MAX_FRAME: u32 = 1 << 20;

/// The longest header block of a request.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// Stands for no limit, where hyper asks for a time.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// What connections of one listener have in common.
#[derive(Clone)]
pub(crate) struct Connections {
    pub(crate) router: Router,
    pub(crate) options: Arc<ServeOptions>,
    /// Asks connections to end after the requests they have in flight.
    pub(crate) drain: Shutdown,
    /// Ends them at once.
    pub(crate) abort: Shutdown,
}

impl Connections {
    /// Serves a connection until it ends.
    pub(crate) async fn serve(self, connection: TcpStream) {
        // Fails only on a socket that is closed already.
        let _ = connection.set_nodelay(true);
        let peer = connection.peer_addr().ok().map(PeerAddress);
        let options = &self.options;
        let greeting = timeout(
            options.header_read_timeout,
            greet(connection, options.tls.as_ref()),
        );
        let greeted = tokio::select! {
            greeted = greeting => greeted,
            () = self.drain.requested() => return,
        };
        let Greeted {
            protocol,
            mut stream,
            identity,
        } = match greeted {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(error)) => {
                tracing::debug!(%error, "connection ended before its first request");
                return;
            }
            Err(_) => {
                tracing::debug!("connection sent nothing within the header timeout");
                return;
            }
        };
        stream.limit_stalls(options.write_timeout);
        let io = TokioIo::new(stream);
        let router = self.router.clone();
        let received = move |request: Request<Incoming>| {
            let mut request = from_peer(request, peer);
            if let Some(identity) = &identity {
                request.extensions_mut().insert(Arc::clone(identity));
            }
            request
        };
        let service = TowerToHyperService::new(router.map_request(received.clone()));
        let ended = match (protocol, options.http2_idle_timeout) {
            (Protocol::Http1, _) => {
                let connection = http1(options).serve_connection(io, service);
                self.drive(connection, pending()).await
            }
            (Protocol::Http2, None) => {
                let connection = http2(options).serve_connection(io, service);
                self.drive(connection, pending()).await
            }
            (Protocol::Http2, Some(limit)) => {
                let activity = Activity::new();
                let (counted, router) = (activity.clone(), self.router.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = counted.clone();
                    answer.count(router.clone(), received(request))
                });
                let connection = http2(options).serve_connection(io, service);
                self.drive(connection, activity.idle_for(limit)).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(
                error = &error as &(dyn std::error::Error + 'static),
                "connection ended with an error"
            );
        }
    }

    /// Serves a connection until it ends; it is asked to when `idle` is over.
    async fn drive<C: GracefulConnection>(
        &self,
        connection: C,
        idle: impl Future<Output = ()>,
    ) -> Result<(), C::Error> {
        let mut connection = pin!(connection);
        let cut_off = tokio::select! {
            ended = connection.as_mut() => return ended,
            () = self.drain.requested() => None,
            () = idle => None,
            () = sleep_or_never(self.options.max_connection_age) => {
                self.options.max_connection_age_grace
            }
        };
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection => ended,
            () = self.abort.requested() => Ok(()),
            () = sleep_or_never(cut_off) => Ok(()),
        }
    }
}

/// The request as the router takes it, with where it comes from.
fn from_peer(mut request: Request<Incoming>, peer: Option<PeerAddress>) -> Request<Body> {
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    request.map(Body::new)
}

async fn sleep_or_never(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => pending().await,
    }
}

/// A connection whose protocol is known.
struct Greeted {
    protocol: Protocol,
    stream: Stream,
    /// Who it is from, if it showed a certificate.
    identity: Option<Arc<PeerIdentity>>,
}

/// Gets to the point where the protocol is known.
async fn greet(connection: TcpStream, tls: Option<&Tls>) -> std::io::Result<Greeted> {
    let mut identity = None;
    let mut stream = match tls {
        None => Stream::plain(connection),
        Some(tls) => {
            let connection = tls.acceptor().accept(connection).await?;
            let session = connection.get_ref().1;
            let shown = session.peer_certificates().and_then(<[_]>::first);
            identity = shown.map(|certificate| Arc::new(PeerIdentity::of(certificate)));
            let agreed = session.alpn_protocol();
            let protocol = match agreed {
                Some(b"h2") => Some(Protocol::Http2),
                Some(_) => Some(Protocol::Http1),
                None => None,
            };
            let stream = Stream::tls(connection);
            if let Some(protocol) = protocol {
                return Ok(Greeted {
                    protocol,
                    stream,
                    identity,
                });
            }
            stream
        }
    };
    let protocol = stream.sniff().await?;
    Ok(Greeted {
        protocol,
        stream,
        identity,
    })
}

fn http1(options: &ServeOptions) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(HeadTimer {
            timer: TokioTimer::new(),
            idle: options.idle_timeout,
            has_timed: AtomicBool::new(false),
        })
        .header_read_timeout(options.header_read_timeout)
        .keep_alive(options.http1_keep_alive)
        .max_header_size(MAX_HEADER_BYTES as usize);
    builder
}

fn http2(options: &ServeOptions) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(HTTP2_WINDOW)
        .initial_connection_window_size(HTTP2_WINDOW)
        .max_frame_size(HTTP2_MAX_FRAME)
        .max_concurrent_streams(options.max_concurrent_streams)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(options.ping_interval)
        .keep_alive_timeout(options.ping_timeout);
    builder
}

/// Times the reading of request headers of one HTTP/1 connection.
///
/// hyper counts the idle time before a request as part of reading its headers.
/// So the first deadline holds as it is, and the later ones are moved out by the
/// idle time: a client that has sent a request may idle as long as it may keep us
/// waiting within the next headers.
#[derive(Debug)]
struct HeadTimer {
    timer: TokioTimer,
    idle: Option<Duration>,
    has_timed: AtomicBool,
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.timer.sleep(duration)
    }

    fn now(&self) -> Instant {
        self.timer.now()
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let moved = if self.has_timed.swap(true, Ordering::Relaxed) {
            deadline + self.idle.unwrap_or(NEVER)
        } else {
            deadline
        };
        self.timer.sleep_until(moved)
    }
}
