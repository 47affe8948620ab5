//! The generators of the cluster, as a distributor reaches them: one connection each, over
//! which all pushes to it go, and a bound on what is under way.

mod answer;
mod config;
mod connection;
mod message;
mod metrics;
mod network;
mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use lifecycle::{Shutdown, TaskGroup};
use parking_lot::Mutex;
use ring::{Member, RingView};
use server::NodeAuthenticationConfig;
use server::nodes::{NODE_PUSH, NODE_TOKEN_HEADER};
use tokio::time::timeout;
use tonic::transport::Channel;

pub use self::config::{GrpcClientConfig, MetricsGeneratorClientConfig, PoolConfig};
pub use self::metrics::GeneratorClientMetrics;
pub use self::network::{Network, Stream};
pub use self::tls::ClientTlsError;

pub(crate) use self::answer::Answer;
use self::connection::{Connection, Target};
use self::message::Message;
use self::metrics::OfGenerator;
use self::network::Tcp;
use self::tls::ClientTls;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Over how many connections a push is sent that none has taken: the one that there was may
/// just have ended, while the generator is well.
const CONNECTIONS: usize = 2;

/// The generators of a cluster; clones share the connections.
#[derive(Clone, Debug)]
pub struct GeneratorClients(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: MetricsGeneratorClientConfig,
    network: Arc<dyn Network>,
    tls: Option<ClientTls>,
    token: Option<HeaderValue>,
    ring: RingView,
    metrics: GeneratorClientMetrics,
    by_id: ArcSwap<HashMap<Arc<str>, Arc<GeneratorClient>>>,
    /// Held by whoever puts one map in place of another.
    change: Mutex<()>,
}

/// One generator.
#[derive(Debug)]
pub(crate) struct GeneratorClient {
    address: SocketAddr,
    /// What stands before a path.
    base: String,
    /// Of pushes.
    uri: Uri,
    connection: Connection,
    token: Option<HeaderValue>,
    max_message_bytes: usize,
    max_answer_bytes: usize,
    max_in_flight_bytes: u64,
    in_flight_bytes: AtomicU64,
    metrics: Arc<OfGenerator>,
}

/// A call of which a generator did not say that it is done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CallError {
    /// Whether it may have been done all the same.
    pub is_in_doubt: bool,
    /// What happened.
    pub reason: String,
}

/// Bytes that are under way; no longer when it is dropped.
struct InFlight<'a> {
    client: &'a GeneratorClient,
    bytes: u64,
}

impl GeneratorClients {
    /// Makes ready to reach the generators of a ring, and looks for new certificates until
    /// shutdown. `authentication` is what this node shows them.
    ///
    /// # Errors
    ///
    /// [`ClientTlsError`] if a file cannot be read or used.
    pub fn start(
        config: &MetricsGeneratorClientConfig,
        authentication: &NodeAuthenticationConfig,
        ring: RingView,
        metrics: GeneratorClientMetrics,
        tasks: &TaskGroup,
        shutdown: &Shutdown,
    ) -> Result<Self, ClientTlsError> {
        let tls = ClientTls::load(&config.grpc_client_config)?;
        if let Some(tls) = &tls {
            tls.reload_in_background(tasks, shutdown);
        }
        Ok(Self(Arc::new(Inner {
            config: config.clone(),
            network: Arc::new(Tcp),
            tls,
            token: authentication.shown(),
            ring,
            metrics,
            by_id: ArcSwap::default(),
            change: Mutex::new(()),
        })))
    }

    /// Makes ready to reach them over a network that a simulation has made, without TLS and
    /// without showing anything.
    pub fn over(
        network: Arc<dyn Network>,
        config: &MetricsGeneratorClientConfig,
        ring: RingView,
        metrics: GeneratorClientMetrics,
    ) -> Self {
        Self(Arc::new(Inner {
            config: config.clone(),
            network,
            tls: None,
            token: None,
            ring,
            metrics,
            by_id: ArcSwap::default(),
            change: Mutex::new(()),
        }))
    }

    /// Calls a method of a generator that answers as a push is answered, and may be called
    /// again with the same message. Gives the spans that it took.
    ///
    /// # Errors
    ///
    /// Why it is not known that the generator took them.
    pub async fn call(
        &self,
        member: &Member,
        path: &str,
        headers: HeaderMap,
        message: Bytes,
    ) -> Result<u64, CallError> {
        let client = self.of(member);
        // An address and a path make one.
        let uri = format!("{}{path}", client.base).parse().unwrap_or_default();
        let is_sent = AtomicBool::new(false);
        let within = self.remote_timeout();
        let (is_in_doubt, reason) =
            match client.call(&uri, headers, message, within, &is_sent).await {
                Answer::Applied(outcome) => return Ok(outcome.spans),
                Answer::InDoubt { reason } => (true, reason),
                Answer::Refused { problem: reason }
                | Answer::NotApplied { reason }
                | Answer::NotSent { reason }
                | Answer::Busy { reason } => (false, reason),
            };
        Err(CallError {
            is_in_doubt,
            reason,
        })
    }

    /// A channel to a node, a generator or not, for whatever is no push, opened by its
    /// first call.
    pub fn channel(&self, member: &Member) -> Channel {
        Connection::new(self.target(member)).channel()
    }

    /// What calls over such a channel have to carry, so that this node is known for one.
    pub fn proof(&self) -> HeaderMap {
        let token = self.0.token.iter();
        let named = token.map(|token| (HeaderName::from_static(NODE_TOKEN_HEADER), token.clone()));
        named.collect()
    }

    /// How long a generator may take for one push.
    pub(crate) fn remote_timeout(&self) -> Duration {
        self.0.config.remote_timeout
    }

    /// The client of a generator.
    pub(crate) fn of(&self, member: &Member) -> Arc<GeneratorClient> {
        let fits = |client: &&Arc<GeneratorClient>| client.address == member.address;
        if let Some(client) = self.0.by_id.load().get(&member.id).filter(fits) {
            return Arc::clone(client);
        }
        let _change = self.0.change.lock();
        let known = self.0.by_id.load_full();
        if let Some(client) = known.get(&member.id).filter(fits) {
            return Arc::clone(client);
        }
        // Whoever has left the ring is forgotten now, since it is rare that one comes.
        let placement = self.0.ring.placement();
        let is_there = |id: &Arc<str>| placement.members().iter().any(|other| other.id == *id);
        let mut clients: HashMap<_, _> = known
            .iter()
            .filter(|(id, _)| is_there(id) && **id != member.id)
            .map(|(id, client)| (Arc::clone(id), Arc::clone(client)))
            .collect();
        // It goes on counting where it has moved.
        let metrics = match known.get(&member.id) {
            Some(moved) => Arc::clone(&moved.metrics),
            None => Arc::new(self.0.metrics.of(&member.id)),
        };
        let client = Arc::new(self.client(member, metrics));
        clients.insert(Arc::clone(&member.id), Arc::clone(&client));
        self.0.metrics.clients(clients.len());
        self.0.by_id.store(Arc::new(clients));
        client
    }

    fn target(&self, member: &Member) -> Target {
        let config = &self.0.config;
        Target {
            address: member.address,
            network: Arc::clone(&self.0.network),
            tls: self.0.tls.clone(),
            connect_timeout: config.grpc_client_config.connect_timeout,
            ping: config.pool_config.ping(),
        }
    }

    fn client(&self, member: &Member, metrics: Arc<OfGenerator>) -> GeneratorClient {
        let Inner {
            config, tls, token, ..
        } = &*self.0;
        let grpc = &config.grpc_client_config;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{}", member.address);
        GeneratorClient {
            address: member.address,
            // An address and a path make one.
            uri: format!("{base}{NODE_PUSH}").parse().unwrap_or_default(),
            base,
            connection: Connection::new(self.target(member)),
            token: token.clone(),
            max_message_bytes: grpc.max_send_msg_size.as_usize(),
            max_answer_bytes: grpc.max_recv_msg_size.as_usize(),
            max_in_flight_bytes: config.max_in_flight_bytes.as_u64(),
            in_flight_bytes: AtomicU64::new(0),
            metrics,
        }
    }
}

impl GeneratorClient {
    /// Sends a push with these headers, and waits for the answer, at most for so long.
    /// `is_sent` is set once the generator may get it: dropped before, it certainly was not
    /// applied; after, it is in doubt.
    pub(crate) async fn push(
        &self,
        headers: HeaderMap,
        request: Bytes,
        within: Duration,
        is_sent: &AtomicBool,
    ) -> Answer {
        if request.len() > self.max_message_bytes {
            return Answer::Refused {
                problem: "the spans of one generator are above max_send_msg_size".to_owned(),
            };
        }
        let Some(_in_flight) = self.admit(request.len() as u64) else {
            return Answer::Busy {
                reason: "too much is under way to it".to_owned(),
            };
        };
        let answer = self
            .call(&self.uri, headers, request, within, is_sent)
            .await;
        self.metrics.answered(&answer);
        answer
    }

    async fn call(
        &self,
        uri: &Uri,
        headers: HeaderMap,
        request: Bytes,
        within: Duration,
        is_sent: &AtomicBool,
    ) -> Answer {
        match timeout(within, self.send(uri, headers, request, is_sent)).await {
            Ok(answer) => answer,
            Err(_) if is_sent.load(Ordering::Relaxed) => {
                self.connection.give_up();
                Answer::InDoubt {
                    reason: "no answer in time".to_owned(),
                }
            }
            Err(_) => Answer::NotSent {
                reason: "not connected in time".to_owned(),
            },
        }
    }

    async fn send(
        &self,
        uri: &Uri,
        headers: HeaderMap,
        request: Bytes,
        is_sent: &AtomicBool,
    ) -> Answer {
        let headers = self.with_own(headers);
        for _ in 1..CONNECTIONS {
            let again = self.attempt(uri, headers.clone(), request.clone(), is_sent);
            match again.await {
                // The connection has ended by age, or the generator had too many streams.
                Ok(Answer::NotSent { .. }) => is_sent.store(false, Ordering::Relaxed),
                Ok(answer) | Err(answer) => return answer,
            }
        }
        let last = self.attempt(uri, headers, request, is_sent).await;
        last.unwrap_or_else(|not_connected| not_connected)
    }

    /// Sends over the connection that there is; an error if there is none.
    async fn attempt(
        &self,
        uri: &Uri,
        headers: HeaderMap,
        request: Bytes,
        is_sent: &AtomicBool,
    ) -> Result<Answer, Answer> {
        let connected = self.connection.sender().await;
        let mut sender = connected.map_err(|error| Answer::NotSent {
            reason: telemetry::error_chain(&*error).to_string(),
        })?;
        let mut message = Request::new(Message::new(request));
        *message.version_mut() = Version::HTTP_2;
        *message.method_mut() = Method::POST;
        *message.uri_mut() = uri.clone();
        *message.headers_mut() = headers;
        is_sent.store(true, Ordering::Relaxed);
        Ok(match sender.try_send_request(message).await {
            Ok(response) => answer::read(response, self.max_answer_bytes).await,
            Err(error) if error.message().is_some() => Answer::NotSent {
                reason: "the connection ended".to_owned(),
            },
            Err(error) => answer::of_failure(error.error()),
        })
    }

    fn with_own(&self, mut headers: HeaderMap) -> HeaderMap {
        headers.insert(header::CONTENT_TYPE, GRPC);
        headers.insert(header::TE, TRAILERS);
        if let Some(token) = &self.token {
            headers.insert(HeaderName::from_static(NODE_TOKEN_HEADER), token.clone());
        }
        headers
    }

    fn admit(&self, bytes: u64) -> Option<InFlight<'_>> {
        let before = self.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        let in_flight = InFlight {
            client: self,
            bytes,
        };
        // One is always let through, whatever its length.
        (before == 0 || before + bytes <= self.max_in_flight_bytes).then_some(in_flight)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let in_flight = &self.client.in_flight_bytes;
        in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
