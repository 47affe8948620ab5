//! Connections between nodes as streams in memory, and what goes wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use spanmill_distributor::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use crate::world::{Tasks, World};

/// What a socket holds.
const SOCKET_BYTES: usize = 16 * 1024;
/// What is read at once.
const READ_BYTES: usize = 4 * 1024;
/// How long TCP waits before it sends again what was lost; doubled each time.
const SENT_AGAIN: Duration = Duration::from_millis(200);

type Accept = Arc<dyn Fn(DuplexStream) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Network(Arc<Inner>);

struct Inner {
    world: World,
    pumps: Tasks,
    state: Mutex<State>,
    /// Wakes all in the order in which they began to wait.
    changed: Notify,
}

#[derive(Default)]
struct State {
    names: BTreeMap<SocketAddr, Arc<str>>,
    listening: BTreeMap<SocketAddr, Accept>,
    frozen: BTreeSet<Arc<str>>,
    /// Their machines are gone.
    vanished: BTreeSet<Arc<str>>,
    cut: BTreeSet<(Arc<str>, Arc<str>)>,
    loss_percent: u64,
    connections: Vec<Connection>,
    obstacles: Vec<(Obstacle, Instant, Option<Instant>)>,
}

/// What may be in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Obstacle {
    Closed(SocketAddr),
    Frozen(Arc<str>),
    Vanished(Arc<str>),
    Cut(Arc<str>, Arc<str>),
    Loss,
}

struct Connection {
    from: Arc<str>,
    to: Arc<str>,
    pumps: [AbortHandle; 2],
}

impl State {
    /// Notes that something comes into the way, or is no longer there.
    fn obstacle(&mut self, what: Obstacle, is_there: bool) {
        let mut known = self.obstacles.iter_mut();
        let known = known.find(|(known, _, until)| *known == what && until.is_none());
        match (known, is_there) {
            (None, true) => self.obstacles.push((what, Instant::now(), None)),
            (Some((_, _, until)), false) => *until = Some(Instant::now()),
            (Some(_), true) | (None, false) => {}
        }
    }
}

impl Network {
    pub(crate) fn new(world: World) -> Self {
        Self(Arc::new(Inner {
            world,
            pumps: Tasks::default(),
            state: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// What a node sees of it.
    pub(crate) fn of(&self, node: &Arc<str>) -> Link {
        Link {
            network: self.clone(),
            node: Arc::clone(node),
        }
    }

    pub(crate) fn name(&self, address: SocketAddr, node: &Arc<str>) {
        self.0.state.lock().names.insert(address, Arc::clone(node));
    }

    pub(crate) fn listen(&self, address: SocketAddr, accept: Accept) {
        let mut state = self.0.state.lock();
        state.listening.insert(address, accept);
        state.obstacle(Obstacle::Closed(address), false);
    }

    pub(crate) fn listen_no_more(&self, address: SocketAddr) {
        let mut state = self.0.state.lock();
        state.listening.remove(&address);
        state.obstacle(Obstacle::Closed(address), true);
    }

    /// Stops a node, or lets it go on.
    pub(crate) fn freeze(&self, node: &Arc<str>, is_frozen: bool) {
        let mut state = self.0.state.lock();
        match is_frozen {
            true => state.frozen.insert(Arc::clone(node)),
            false => state.frozen.remove(node),
        };
        state.obstacle(Obstacle::Frozen(Arc::clone(node)), is_frozen);
        self.0.changed.notify_waiters();
    }

    /// Takes the machine of a node away, so that nobody is told that its connections have
    /// ended, or gives it back.
    pub(crate) fn vanish(&self, node: &Arc<str>, has_vanished: bool) {
        let mut state = self.0.state.lock();
        match has_vanished {
            true => state.vanished.insert(Arc::clone(node)),
            false => state.vanished.remove(node),
        };
        state.obstacle(Obstacle::Vanished(Arc::clone(node)), has_vanished);
        self.0.changed.notify_waiters();
    }

    /// Whether anything was between two nodes during some time.
    pub(crate) fn was_in_the_way(&self, one: &str, other: &str, during: &Range<Instant>) -> bool {
        let state = self.0.state.lock();
        state.obstacles.iter().any(|(obstacle, from, until)| {
            let is_there = match obstacle {
                Obstacle::Closed(address) => *state.names[address] == *other,
                Obstacle::Frozen(node) | Obstacle::Vanished(node) => {
                    [one, other].contains(&&**node)
                }
                Obstacle::Cut(from, to) => {
                    let way = [&**from, &**to];
                    way == [one, other] || way == [other, one]
                }
                Obstacle::Loss => true,
            };
            let has_ended = until.is_some_and(|until| until < during.start);
            is_there && *from <= during.end && !has_ended
        })
    }

    pub(crate) fn is_frozen(&self, node: &str) -> bool {
        self.0.state.lock().frozen.contains(node)
    }

    pub(crate) async fn runs(&self, node: &str) {
        loop {
            let changed = self.0.changed.notified();
            if !self.is_frozen(node) {
                return;
            }
            changed.await;
        }
    }

    /// Lets nothing through from one node to another, or all again.
    pub(crate) fn cut(&self, from: &Arc<str>, to: &Arc<str>, is_cut: bool) {
        let way = (Arc::clone(from), Arc::clone(to));
        let mut state = self.0.state.lock();
        match is_cut {
            true => state.cut.insert(way),
            false => state.cut.remove(&way),
        };
        let obstacle = Obstacle::Cut(Arc::clone(from), Arc::clone(to));
        state.obstacle(obstacle, is_cut);
        self.0.changed.notify_waiters();
    }

    pub(crate) fn lose(&self, percent: u64) {
        let mut state = self.0.state.lock();
        state.loss_percent = percent;
        state.obstacle(Obstacle::Loss, percent > 0);
    }

    pub(crate) fn loss_percent(&self) -> u64 {
        self.0.state.lock().loss_percent
    }

    /// Ends all connections between two nodes.
    pub(crate) fn reset(&self, one: &str, other: &str) {
        self.reset_if(|from, to| [from, to] == [one, other] || [to, from] == [one, other]);
    }

    /// Ends all connections of a node.
    pub(crate) fn reset_all(&self, node: &str) {
        self.reset_if(|from, to| from == node || to == node);
    }

    fn reset_if(&self, is_one: impl Fn(&str, &str) -> bool) {
        let mut state = self.0.state.lock();
        state.connections.retain(|connection| {
            let ends = is_one(&connection.from, &connection.to);
            if ends {
                connection.pumps.iter().for_each(AbortHandle::abort);
            }
            !ends
        });
    }

    /// Takes the time of a way, and waits until it is open.
    async fn go(&self, from: &Arc<str>, to: &Arc<str>, needs_ends: bool) {
        let world = &self.0.world;
        let mut delay = Duration::from_micros(world.number(200, 2_000));
        let mut again = SENT_AGAIN;
        let loss_percent = self.loss_percent();
        while world.chance(loss_percent) && delay < Duration::from_secs(5) {
            delay += again;
            again *= 2;
        }
        sleep(delay).await;
        loop {
            let changed = self.0.changed.notified();
            let is_open = {
                let state = self.0.state.lock();
                let stands = |node| needs_ends && state.frozen.contains(node);
                let is_gone = |node| state.vanished.contains(node);
                let is_cut = state.cut.contains(&(Arc::clone(from), Arc::clone(to)));
                !is_cut && !is_gone(from) && !is_gone(to) && !stands(from) && !stands(to)
            };
            if is_open {
                return;
            }
            changed.await;
        }
    }

    async fn pump(
        self,
        from: Arc<str>,
        to: Arc<str>,
        mut source: ReadHalf<DuplexStream>,
        mut sink: WriteHalf<DuplexStream>,
    ) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = source.read(&mut buffer).await.unwrap_or(0);
            self.go(&from, &to, true).await;
            if read == 0 || sink.write_all(&buffer[..read]).await.is_err() {
                let _ = sink.shutdown().await;
                return;
            }
        }
    }

    async fn connect(self, from: Arc<str>, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        let to = self.0.state.lock().names[&address].clone();
        // The system answers for a process that stands still.
        self.go(&from, &to, false).await;
        let accept = self.0.state.lock().listening.get(&address).cloned();
        self.go(&to, &from, false).await;
        let accept = accept.ok_or(io::ErrorKind::ConnectionRefused)?;
        let ((ours, near), (theirs, far)) = (duplex(SOCKET_BYTES), duplex(SOCKET_BYTES));
        let (near_out, near_in) = tokio::io::split(near);
        let (far_out, far_in) = tokio::io::split(far);
        let pump = |from: &Arc<str>, to: &Arc<str>, source, sink| {
            let pump = self.clone();
            let pump = pump.pump(Arc::clone(from), Arc::clone(to), source, sink);
            self.0.pumps.spawn(pump)
        };
        let pumps = [
            pump(&from, &to, near_out, far_in),
            pump(&to, &from, far_out, near_in),
        ];
        let mut state = self.0.state.lock();
        state
            .connections
            .retain(|connection| !connection.pumps.iter().all(AbortHandle::is_finished));
        state.connections.push(Connection { from, to, pumps });
        drop(state);
        accept(theirs);
        Ok(Box::new(ours))
    }
}

/// The network as one node sees it.
#[derive(Clone)]
pub(crate) struct Link {
    network: Network,
    node: Arc<str>,
}

impl spanmill_distributor::Network for Link {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (network, node) = (self.network.clone(), Arc::clone(&self.node));
        network.connect(node, address).boxed()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.node).finish()
    }
}
