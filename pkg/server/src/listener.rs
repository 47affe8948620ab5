//! Listening: binding, accepting, and ending in order.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use lifecycle::{Shutdown, TaskGroup};
use socket2::{Domain, Protocol, Socket, Type};
use telemetry::LogThrottle;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::clients::Clients;
use crate::connection::Connections;
use crate::tls::Tls;

/// Connections that wait to be accepted, in the kernel.
const BACKLOG: i32 = 1_024;

/// Pauses after an accept failed for lack of resources: doubled from the first
/// to the last while it goes on.
const FIRST_BACK_OFF: Duration = Duration::from_millis(5);
const LAST_BACK_OFF: Duration = Duration::from_secs(1);

/// How long aborted connections get to notice.
const ABORT_DEADLINE: Duration = Duration::from_secs(1);

/// A bound address that does not serve yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{wanted_by}: cannot listen on {address}{}", hint(source))]
pub struct BindError {
    /// The setting that asks for it.
    pub wanted_by: String,
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// How a listener serves. The defaults are those of Tempo's `server` block,
/// except that headers have 10 s (threats, S11).
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// TLS; `None` for plain text.
    pub tls: Option<Tls>,
    /// How long requests in flight may take once shutdown is asked for.
    pub drain_timeout: Duration,
    /// Connections that are served at once; more wait unaccepted.
    pub max_connections: usize,
    /// Of these, how many one client may have, by its address; more are closed at once.
    /// Of IPv6 a network of 64 bits counts as one.
    pub max_connections_per_client: usize,
    /// How long a client may take for the TLS handshake and the first bytes, and
    /// again for the headers of its first request.
    pub header_read_timeout: Duration,
    /// How long an HTTP/1 connection may idle between requests; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// How long an HTTP/2 connection may be without a request; `None` for ever.
    pub http2_idle_timeout: Option<Duration>,
    /// How long a client may take nothing of what is sent to it, before its
    /// connection is cut off; `None` for ever. A window of HTTP/2 that the client
    /// does not open is not seen by it.
    pub write_timeout: Option<Duration>,
    /// Whether an HTTP/1 connection serves more than one request.
    pub http1_keep_alive: bool,
    /// Requests that one HTTP/2 connection may have in flight.
    pub max_concurrent_streams: u32,
    /// How often an HTTP/2 client is asked whether it is there.
    pub ping_interval: Duration,
    /// How long it may take to answer.
    pub ping_timeout: Duration,
    /// Age at which a connection is asked to end, so that clients behind a load
    /// balancer spread again; `None` for never.
    pub max_connection_age: Option<Duration>,
    /// What its requests in flight get then; `None` for all the time they need.
    pub max_connection_age_grace: Option<Duration>,
}

impl ServeOptions {
    /// The default of [`ServeOptions::max_connections`].
    pub const MAX_CONNECTIONS: usize = 10_000;

    /// The default of [`ServeOptions::max_concurrent_streams`].
    pub const MAX_CONCURRENT_STREAMS: u32 = 1_000;

    /// The longest [`ServeOptions::header_read_timeout`] that a setting may give:
    /// slow headers are how servers are starved of connections.
    pub const MAX_HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            tls: None,
            drain_timeout: Duration::from_secs(30),
            max_connections: Self::MAX_CONNECTIONS,
            max_connections_per_client: Self::MAX_CONNECTIONS / 2,
            header_read_timeout: Self::MAX_HEADER_READ_TIMEOUT,
            idle_timeout: Some(Duration::from_secs(120)),
            http2_idle_timeout: None,
            write_timeout: None,
            http1_keep_alive: true,
            max_concurrent_streams: Self::MAX_CONCURRENT_STREAMS,
            ping_interval: Duration::from_secs(60),
            ping_timeout: Duration::from_secs(20),
            max_connection_age: None,
            max_connection_age_grace: None,
        }
    }
}

impl Listener {
    /// Binds an address; `wanted_by` names the setting that asks for it.
    ///
    /// A listener of a process that has just ended is no obstacle, one that still
    /// listens is. An IPv6 wildcard takes IPv4 too.
    ///
    /// # Errors
    ///
    /// [`BindError`], in words for whoever wrote the setting.
    pub fn bind(address: SocketAddr, wanted_by: &str) -> Result<Self, BindError> {
        let bind = || {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            if address.is_ipv6() {
                socket.set_only_v6(false)?;
            }
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let socket = TcpListener::from(socket);
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        };
        bind().map_err(|source| BindError {
            wanted_by: wanted_by.to_owned(),
            address,
            source,
        })
    }

    /// The address, with the port that the system chose if it was 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves HTTP/1.1 and HTTP/2 in the background until shutdown.
    ///
    /// Then it accepts no more, lets requests in flight end within the drain
    /// timeout, and cuts off the rest. Must be called within a Tokio runtime.
    pub fn serve(
        self,
        router: Router,
        options: ServeOptions,
        shutdown: Shutdown,
        tasks: &TaskGroup,
    ) {
        let address = self.address;
        let listener = match tokio::net::TcpListener::from_std(self.socket) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%address, %error, "cannot serve");
                return;
            }
        };
        if let Some(tls) = &options.tls {
            tls.reload_in_background(&shutdown, tasks);
        }
        tasks.spawn("listener", accept(listener, router, options, shutdown));
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    router: Router,
    options: ServeOptions,
    shutdown: Shutdown,
) {
    let tasks = TaskGroup::new();
    let options = Arc::new(options);
    let connections = Connections {
        router,
        options: options.clone(),
        drain: shutdown.clone(),
        abort: Shutdown::new(),
    };
    let places = Arc::new(Semaphore::new(options.max_connections));
    let clients = Clients::new(options.max_connections_per_client);
    let mut failures = AcceptFailures::new();
    loop {
        let next = async {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.ok();
            (place, next_connection(&listener, &mut failures).await)
        };
        let (place, (connection, client)) = tokio::select! {
            accepted = next => accepted,
            () = shutdown.requested() => break,
        };
        let Some(counted) = clients.enter(client.ip()) else {
            continue;
        };
        let connections = connections.clone();
        tasks.spawn("connection", async move {
            let _held = (place, counted);
            connections.serve(connection).await;
        });
    }
    drop(listener);
    let cut_off = tasks.join(options.drain_timeout).await.len();
    if cut_off > 0 {
        tracing::warn!(
            connections = cut_off,
            "requests did not end in time and were cut off"
        );
        connections.abort.trigger();
        tasks.join(ABORT_DEADLINE).await;
    }
}

/// Failures to accept, which come in floods.
struct AcceptFailures {
    back_off: Duration,
    throttle: LogThrottle,
}

impl AcceptFailures {
    fn new() -> Self {
        Self {
            back_off: FIRST_BACK_OFF,
            throttle: LogThrottle::new(Duration::from_secs(10)),
        }
    }
}

/// Accepts one connection, however long the process is short of files.
///
/// Cancel-safe.
async fn next_connection(
    listener: &tokio::net::TcpListener,
    failures: &mut AcceptFailures,
) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                failures.back_off = FIRST_BACK_OFF;
                return accepted;
            }
            // The client left before it was accepted.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionAborted
                        | ErrorKind::ConnectionReset
                        | ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => {
                if let Some(suppressed) = failures.throttle.admit() {
                    tracing::warn!(%error, suppressed, "cannot accept connections, trying on");
                }
                sleep(failures.back_off).await;
                failures.back_off = (failures.back_off * 2).min(LAST_BACK_OFF);
            }
        }
    }
}

/// What to do about it, for the errors that people meet.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => ", another process listens there",
        ErrorKind::AddrNotAvailable => ", this machine does not have that address",
        ErrorKind::PermissionDenied => ", ports below 1024 need a privilege",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
