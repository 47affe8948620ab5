//! The generators of the cluster, as a distributor reaches them: one connection each, over
//! which all pushes to it go, short ones together, and a bound on what is under way.

mod answer;
mod config;
mod connection;
mod message;
mod metrics;
mod network;
mod pushes;
mod sent;
mod tls;
mod together;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use lifecycle::{Shutdown, TaskGroup};
use parking_lot::Mutex;
use ring::{Member, RingView};
use server::NodeAuthenticationConfig;
use server::nodes::{NODE_PUSH, NODE_PUSH_ALL, NODE_TOKEN_HEADER};
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;

pub use self::config::{GrpcClientConfig, MetricsGeneratorClientConfig, PoolConfig};
pub use self::metrics::GeneratorClientMetrics;
pub use self::network::{Network, Stream};
pub use self::tls::ClientTlsError;

pub(crate) use self::answer::Answer;
use self::connection::{Connection, Sender, Target};
use self::message::Message;
use self::metrics::OfGenerator;
use self::network::Tcp;
pub(crate) use self::sent::Sent;
use self::tls::ClientTls;
use self::together::Together;

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
    /// Of pushes that go together.
    uri_of_all: Uri,
    connection: Connection,
    together: Together,
    /// When it last said that it takes no pushes together, in seconds since this was made;
    /// 0 for never.
    takes_one_since: AtomicU64,
    began: Instant,
    token: Option<HeaderValue>,
    max_message_bytes: usize,
    max_answer_bytes: usize,
    max_in_flight_bytes: u64,
    in_flight_bytes: Arc<AtomicU64>,
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
#[derive(Debug)]
struct InFlight {
    of_all: Arc<AtomicU64>,
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
        let message = Message::new([message].into_iter());
        let within = self.remote_timeout();
        let sent = Sent::default();
        let called = client.call(&uri, headers, message, within, &sent);
        let (is_in_doubt, reason) = match called
            .await
            .map_or_else(|failed| failed, answer::of_message)
        {
            Answer::Applied(outcome) => return Ok(outcome.spans),
            Answer::InDoubt { reason } => (true, reason),
            Answer::Refused { problem: reason }
            | Answer::NotApplied { reason }
            | Answer::Unknown { reason }
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
            uri_of_all: format!("{base}{NODE_PUSH_ALL}").parse().unwrap_or_default(),
            base,
            connection: Connection::new(self.target(member)),
            together: Together::default(),
            takes_one_since: AtomicU64::new(0),
            began: Instant::now(),
            token: token.clone(),
            max_message_bytes: grpc.max_send_msg_size.as_usize(),
            max_answer_bytes: grpc.max_recv_msg_size.as_usize(),
            max_in_flight_bytes: config.max_in_flight_bytes.as_u64(),
            in_flight_bytes: Arc::default(),
            metrics,
        }
    }
}

impl GeneratorClient {
    /// Counts a push by what it was answered, over a connection or without one.
    pub(crate) fn counts(&self, answer: &Answer) {
        self.metrics.answered(answer);
    }

    /// Makes a call, and waits for the message of its answer, at most for so long.
    async fn call(
        &self,
        uri: &Uri,
        headers: HeaderMap,
        message: Message,
        within: Duration,
        sent: &Sent,
    ) -> Result<Bytes, Answer> {
        let answered = timeout(within, self.send(uri, headers, message, sent)).await;
        answered.unwrap_or_else(|_| Err(self.unanswered(sent)))
    }

    /// What is known of a push when the time for it is up.
    fn unanswered(&self, sent: &Sent) -> Answer {
        if sent.withdraw() {
            return Answer::NotSent {
                reason: "not sent in time".to_owned(),
            };
        }
        self.connection.give_up();
        Answer::InDoubt {
            reason: "no answer in time".to_owned(),
        }
    }

    async fn send(
        &self,
        uri: &Uri,
        headers: HeaderMap,
        message: Message,
        sent: &Sent,
    ) -> Result<Bytes, Answer> {
        let headers = self.with_own(headers);
        for _ in 1..CONNECTIONS {
            let sender = self.connected().await?;
            let again = self.attempt(sender, uri, headers.clone(), message.clone(), sent);
            match again.await {
                // The connection has ended by age, or the generator had too many streams.
                Err(Answer::NotSent { .. }) => sent.was_not(),
                answered => return answered,
            }
        }
        let sender = self.connected().await?;
        self.attempt(sender, uri, headers, message, sent).await
    }

    /// What sends over the connection that there is.
    async fn connected(&self) -> Result<Sender, Answer> {
        let connected = self.connection.sender().await;
        connected.map_err(|error| Answer::NotSent {
            reason: telemetry::error_chain(&*error).to_string(),
        })
    }

    async fn attempt(
        &self,
        mut sender: Sender,
        uri: &Uri,
        headers: HeaderMap,
        message: Message,
        sent: &Sent,
    ) -> Result<Bytes, Answer> {
        let mut call = Request::new(message);
        *call.version_mut() = Version::HTTP_2;
        *call.method_mut() = Method::POST;
        *call.uri_mut() = uri.clone();
        *call.headers_mut() = headers;
        if !sent.begin() {
            return Err(Answer::NotSent {
                reason: "nobody waits for it any more".to_owned(),
            });
        }
        match sender.try_send_request(call).await {
            Ok(response) => answer::read(response, self.max_answer_bytes).await,
            Err(error) if error.message().is_some() => Err(Answer::NotSent {
                reason: "the connection ended".to_owned(),
            }),
            Err(error) => Err(answer::of_failure(error.error())),
        }
    }

    fn with_own(&self, mut headers: HeaderMap) -> HeaderMap {
        headers.insert(header::CONTENT_TYPE, GRPC);
        headers.insert(header::TE, TRAILERS);
        if let Some(token) = &self.token {
            headers.insert(HeaderName::from_static(NODE_TOKEN_HEADER), token.clone());
        }
        headers
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.of_all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
