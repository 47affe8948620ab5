//! A connection to one generator, made when it is needed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::Uri;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::pki_types::InvalidDnsNameError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::message::Message;
use super::network::{Network, Stream};
use super::tls::ClientTls;

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) network: Arc<dyn Network>,
    pub(super) tls: Option<ClientTls>,
    pub(super) connect_timeout: Duration,
    /// How often the other end is asked whether it is there, and how long it may take to
    /// say so; `None` if never.
    pub(super) ping: Option<(Duration, Duration)>,
}

/// A connection that is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The network.
    #[error("cannot connect")]
    Tcp(#[source] io::Error),
    /// The handshake, or a certificate.
    #[error("cannot speak TLS")]
    Tls(#[source] io::Error),
    /// A name that no certificate can have.
    #[error("tls_server_name is not a host name")]
    ServerName(#[source] InvalidDnsNameError),
    /// HTTP/2.
    #[error("cannot speak HTTP/2")]
    Http(#[source] hyper::Error),
    /// It took too long.
    #[error("not connected in time")]
    TimedOut,
}

/// Sends requests over the connection of the moment; clones send over the same.
pub(super) type Sender = SendRequest<Message>;

/// Whoever waits for it shares one attempt.
type Connecting = Shared<BoxFuture<'static, Result<Sender, Arc<ConnectError>>>>;

/// The connection to one generator.
pub(super) struct Connection {
    target: Target,
    state: Mutex<State>,
}

enum State {
    None,
    Connecting(Connecting),
    Connected(Sender),
    /// The last attempt went unanswered, and another is made that nobody waits for.
    Unanswered {
        error: Arc<ConnectError>,
        again: Connecting,
    },
}

impl Connection {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            state: Mutex::new(State::None),
        }
    }

    /// What sends over it; connects if nothing is connected. Where the last attempt went
    /// unanswered it does not wait for the next one: what is cut off from this node costs
    /// each push no more than the way to the next owner.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], the same for all who have waited for one attempt. The next who asks
    /// makes another.
    pub(super) async fn sender(&self) -> Result<Sender, Arc<ConnectError>> {
        let connecting = {
            let mut state = self.state.lock();
            match &*state {
                State::Connected(sender) if !sender.is_closed() => return Ok(sender.clone()),
                State::Connecting(connecting) => connecting.clone(),
                State::Unanswered { error, again } => {
                    let Some(connected) = again.peek().cloned() else {
                        return Err(Arc::clone(error));
                    };
                    *state = self.after(&connected);
                    return connected;
                }
                State::Connected(_) | State::None => {
                    let connecting = self.connect();
                    *state = State::Connecting(connecting.clone());
                    connecting
                }
            }
        };
        let connected = connecting.clone().await;
        let mut state = self.state.lock();
        if let State::Connecting(current) = &*state
            && current.ptr_eq(&connecting)
        {
            *state = self.after(&connected);
        }
        drop(state);
        connected
    }

    /// Connects anew for what comes next, since this connection has gone silent. What is
    /// under way on it may end.
    pub(super) fn give_up(&self) {
        let mut state = self.state.lock();
        if matches!(*state, State::Connected(_)) {
            *state = State::None;
        }
    }

    fn after(&self, connected: &Result<Sender, Arc<ConnectError>>) -> State {
        match connected {
            Ok(sender) => State::Connected(sender.clone()),
            Err(error) if matches!(**error, ConnectError::TimedOut) => {
                let again = self.connect();
                let attempt = again.clone();
                TokioExecutor::new().execute(async move {
                    let _ = attempt.await;
                });
                State::Unanswered {
                    error: Arc::clone(error),
                    again,
                }
            }
            Err(_) => State::None,
        }
    }

    /// A channel of its own to the same generator, opened by its first call.
    pub(super) fn channel(&self) -> Channel {
        let target = self.target.clone();
        let connector = service_fn(move |_: Uri| {
            let target = target.clone();
            async move { open(&target).await.map(TokioIo::new) }
        });
        // The connector knows the way; this is what stands in `:authority`.
        let endpoint = Endpoint::from(Uri::from_static("http://generator"));
        endpoint.connect_with_connector_lazy(connector)
    }

    fn connect(&self) -> Connecting {
        connect(self.target.clone()).boxed().shared()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.target).finish()
    }
}

async fn connect(target: Target) -> Result<Sender, Arc<ConnectError>> {
    let connected = timeout(target.connect_timeout, try_connect(&target)).await;
    connected
        .unwrap_or(Err(ConnectError::TimedOut))
        .map_err(Arc::new)
}

async fn try_connect(target: &Target) -> Result<Sender, ConnectError> {
    handshake(target, open(target).await?).await
}

async fn open(target: &Target) -> Result<Box<dyn Stream>, ConnectError> {
    let stream = target.network.connect(target.address).await;
    let stream = stream.map_err(ConnectError::Tcp)?;
    let Some(tls) = &target.tls else {
        return Ok(stream);
    };
    let name = tls.server_name(target.address.ip());
    let name = name.map_err(ConnectError::ServerName)?;
    let stream = tls.connector().connect(name, stream).await;
    Ok(Box::new(stream.map_err(ConnectError::Tls)?))
}

async fn handshake<S>(target: &Target, stream: S) -> Result<Sender, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new());
    if let Some((interval, patience)) = target.ping {
        builder
            .keep_alive_interval(interval)
            .keep_alive_timeout(patience)
            .keep_alive_while_idle(true);
    }
    let connected = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) = connected.map_err(ConnectError::Http)?;
    let address = target.address;
    // It ends with its last sender or the connection, and nothing waits for it: whoever has
    // sent something hears of its end.
    TokioExecutor::new().execute(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, error = %telemetry::error_chain(&error), "connection to a generator ended");
        }
    });
    Ok(sender)
}
