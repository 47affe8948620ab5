//! Gossip in virtual time: real nodes of a ring, over datagrams in memory. A seed decides
//! what is done to them and what goes wrong; whom chitchat asks it draws itself, so that a
//! seed that fails may have to be run several times.
//!
//! `SPANMILL_SIMULATION_SEEDS=FIRST..END` says which seeds (100 by default, from 0: chitchat
//! takes long), and `SPANMILL_SIMULATION_SEED=N` tells the tale of one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a tale is told on the terminal"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lifecycle::{Shutdown, TaskGroup};
use model::Clock;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use settings::Secret;
use spanmill_ring::{
    Datagrams, Identity, Member, MemberState, MemberlistConfig, Ring, RingMetrics, Role, agreement,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// Seeds that are tried if nobody says which.
const SEEDS: Range<u64> = 0..100;
/// Within how many seeds a bug is to be found.
const SEEDS_FOR_A_BUG: Range<u64> = 0..40;
/// The wall clock at the begin.
const BEGIN: u64 = 1_700_000_000_000_000_000;
/// Within which all views are right once nothing goes wrong any more. Parts of a cluster that
/// were cut off from each other find back by asking their seeds every ten seconds.
const CONVERGENCE: Duration = Duration::from_secs(15);
/// Within which a node that dies is seen dead by all, where nothing else is wrong.
const DEATH: Duration = Duration::from_secs(3);
/// How often it is looked whether all is as it has to be.
const LOOK: Duration = Duration::from_millis(100);
/// Datagrams that a socket holds.
const SOCKET_DATAGRAMS: usize = 1_000;

/// A decision that is made wrongly on purpose, to see whether that is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// A node that starts again does not begin a new life.
    SameIncarnation,
    /// A node that is killed goes on gossiping.
    GoesOnAfterDeath,
}

/// What was sent, and from where.
type Datagram = (Vec<u8>, SocketAddr);

/// The network, and all that is random or late.
#[derive(Debug)]
struct World {
    random: Mutex<StdRng>,
    begin: Instant,
    clock: Clock,
    sockets: Mutex<BTreeMap<SocketAddr, mpsc::Sender<Datagram>>>,
    /// Nothing comes from the first to the second.
    cut: Mutex<BTreeSet<(SocketAddr, SocketAddr)>>,
    loss_percent: AtomicU64,
    tale: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
}

impl World {
    fn number(&self, least: u64, end: u64) -> u64 {
        self.random.lock().random_range(least..end)
    }

    fn millis(&self, least: u64, end: u64) -> Duration {
        Duration::from_millis(self.number(least, end))
    }

    fn chance(&self, percent: u64) -> bool {
        percent > 0 && self.number(0, 100) < percent
    }

    fn say(&self, what: impl AsRef<str>) {
        let millis = self.begin.elapsed().as_millis();
        let line = format!("{millis:>6} ms  {}", what.as_ref());
        self.tale.lock().push(line);
    }

    fn wrong(&self, what: String) {
        self.say(format!("WRONG: {what}"));
        self.wrong.lock().push(what);
    }

    fn tick(&self) {
        let since = u64::try_from(self.begin.elapsed().as_nanos()).unwrap();
        self.clock.set(BEGIN + since);
    }
}

/// The end of one node.
#[derive(Debug)]
struct Socket {
    world: Arc<World>,
    address: SocketAddr,
    received: tokio::sync::Mutex<mpsc::Receiver<Datagram>>,
    is_dead: Arc<AtomicBool>,
}

#[async_trait]
impl Datagrams for Socket {
    async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        let world = &self.world;
        world.tick();
        let is_cut = world.cut.lock().contains(&(self.address, to));
        let is_lost = world.chance(world.loss_percent.load(Ordering::SeqCst));
        let socket = world.sockets.lock().get(&to).cloned();
        if let Some(socket) = socket
            && !is_cut
            && !is_lost
            && !self.is_dead.load(Ordering::SeqCst)
        {
            let (delay, from) = (world.millis(0, 30), self.address);
            let datagram = datagram.to_vec();
            TaskGroup::new().spawn("datagram", async move {
                sleep(delay).await;
                // What does not fit a socket is lost, too.
                let _ = socket.try_send((datagram, from));
            });
        }
        Ok(datagram.len())
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let Some((datagram, from)) = self.received.lock().await.recv().await else {
            return std::future::pending().await;
        };
        self.world.tick();
        buffer[..datagram.len()].copy_from_slice(&datagram);
        Ok((datagram.len(), from))
    }
}

/// A node, through all its lives.
struct Node {
    id: Arc<str>,
    role: Role,
    token_seed: u64,
    port: u16,
    last_byte: u8,
    incarnation: u64,
    life: Option<Life>,
}

struct Life {
    ring: Ring,
    is_dead: Arc<AtomicBool>,
    shutdown: Shutdown,
    state: MemberState,
    began: Instant,
}

struct Cluster {
    world: Arc<World>,
    bug: Option<Bug>,
    key: Option<Secret>,
    nodes: Vec<Node>,
    /// The longest that it took until all saw a node dead, and until all was right.
    longest_death: Duration,
    longest_convergence: Duration,
}

impl Cluster {
    fn new(seed: u64, bug: Option<Bug>) -> Self {
        let world = Arc::new(World {
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            begin: Instant::now(),
            clock: Clock::manual(BEGIN),
            sockets: Mutex::default(),
            cut: Mutex::default(),
            loss_percent: AtomicU64::new(0),
            tale: Mutex::default(),
            wrong: Mutex::default(),
        });
        let count = world.number(3, 6);
        let node = |number: u64| Node {
            id: format!("n-{number}").into(),
            role: match number {
                1 => Role::Distributor,
                _ => Role::Generator,
            },
            token_seed: world.number(0, u64::MAX),
            port: 7946,
            last_byte: u8::try_from(number).unwrap(),
            incarnation: 0,
            life: None,
        };
        Self {
            // The last one may join later.
            nodes: (1..=count + 1).map(node).collect(),
            key: world
                .chance(70)
                .then(|| Secret::new(STANDARD.encode([7; 32]))),
            bug,
            longest_death: Duration::ZERO,
            longest_convergence: Duration::ZERO,
            world,
        }
    }

    async fn start(&mut self, number: usize) {
        let join = self.nodes.iter().take(2).map(|node| node.address());
        let join = join.map(|address| address.to_string()).collect();
        let world = &self.world;
        let node = &mut self.nodes[number];
        if self.bug != Some(Bug::SameIncarnation) || node.incarnation == 0 {
            node.incarnation += 1;
        }
        let address = node.address();
        world.say(format!(
            "{} begins life {} at {address}",
            node.id, node.incarnation
        ));
        let config = MemberlistConfig {
            bind_addr: vec![address.ip().to_string()],
            bind_port: address.port(),
            join_members: join,
            cluster_label: "simulated".to_owned(),
            secret_keys: self.key.iter().cloned().collect(),
            ..MemberlistConfig::default()
        };
        let identity = Identity {
            id: Arc::clone(&node.id),
            incarnation: node.incarnation,
            role: node.role,
            zone: "".into(),
            address: (address.ip(), 9095).into(),
            token_seed: node.token_seed,
            version: "simulated".into(),
            cluster_seed: "seed".to_owned(),
        };
        let (sender, receiver) = mpsc::channel(SOCKET_DATAGRAMS);
        world.sockets.lock().insert(address, sender);
        let is_dead = Arc::new(AtomicBool::new(false));
        let socket = Socket {
            world: Arc::clone(world),
            address,
            received: tokio::sync::Mutex::new(receiver),
            is_dead: Arc::clone(&is_dead),
        };
        let (tasks, shutdown) = (TaskGroup::new(), Shutdown::new());
        let ring = Ring::over(
            Arc::new(socket),
            address,
            config.settings().unwrap(),
            identity,
            world.clock.clone(),
            RingMetrics::register(&mut telemetry::new_metrics_registry()),
            &tasks,
            shutdown.clone(),
        );
        let ring = ring.await;
        ring.set_state(MemberState::Active);
        node.life = Some(Life {
            ring,
            is_dead,
            shutdown,
            state: MemberState::Active,
            began: Instant::now(),
        });
    }

    fn set_state(&mut self, number: usize, state: MemberState) {
        let node = &mut self.nodes[number];
        if let Some(life) = &mut node.life {
            let name: &str = state.into();
            self.world.say(format!("{} is {name}", node.id));
            life.ring.set_state(state);
            life.state = state;
        }
    }

    /// Ends a node that says so.
    async fn leave(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if let Some(life) = node.life.take() {
            self.world.say(format!("{} leaves", node.id));
            life.ring.leave().await;
            self.world.sockets.lock().remove(&node.address());
        }
    }

    /// Ends a node as if by SIGKILL.
    fn crash(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if let Some(life) = node.life.take() {
            self.world.say(format!("{} crashes", node.id));
            if self.bug == Some(Bug::GoesOnAfterDeath) {
                return;
            }
            life.is_dead.store(true, Ordering::SeqCst);
            self.world.sockets.lock().remove(&node.address());
            life.shutdown.trigger();
        }
    }

    fn up(&self) -> Vec<usize> {
        let all = 0..self.nodes.len();
        all.filter(|number| self.nodes[*number].life.is_some())
            .collect()
    }

    /// One that is up, while others are.
    fn one(&self) -> Option<usize> {
        let up = self.up();
        (up.len() > 2).then(|| up[self.world.number(0, up.len() as u64) as usize])
    }

    /// Who sees something else than what is; for how long everyone ought to have known.
    fn disagreement(&self) -> Option<String> {
        let there = || {
            self.nodes
                .iter()
                .filter_map(|node| Some((node, node.life.as_ref()?)))
        };
        let what_is = |member: &Member| {
            let id = &member.id;
            (id.clone(), member.incarnation, member.state, member.tokens)
        };
        let want: Vec<_> = there()
            .map(|(node, life)| {
                let (state, tokens) = life.ring.state();
                (node.id.clone(), node.incarnation, state, tokens)
            })
            .collect();
        let mut places = BTreeSet::new();
        for (node, life) in there() {
            let placement = life.ring.view().placement();
            let alive = placement.members().iter().filter(|member| member.is_alive);
            let seen: Vec<_> = alive.map(what_is).collect();
            if seen != want {
                return Some(format!("{} sees {seen:?} of {want:?}", node.id));
            }
            if life.ring.state().0 != life.state {
                return Some(format!("{} is not what it was told to be", node.id));
            }
            places.insert(agreement::hash(&placement));
        }
        (places.len() > 1).then(|| "not all place alike".to_owned())
    }

    async fn converge(&mut self) {
        let begin = Instant::now();
        while let Some(disagreement) = self.disagreement() {
            if begin.elapsed() > CONVERGENCE {
                let problem = format!("views differ for {:?}: {disagreement}", begin.elapsed());
                self.world.wrong(problem);
                return;
            }
            sleep(LOOK).await;
        }
        self.longest_convergence = self.longest_convergence.max(begin.elapsed());
    }

    /// Waits until all see that a node is dead.
    async fn see_dead(&mut self, number: usize) {
        let (begin, id) = (Instant::now(), self.nodes[number].id.clone());
        let is_seen = |life: &Life| {
            let placement = life.ring.view().placement();
            let mut members = placement.members().iter();
            members.any(|member| member.id == id && member.is_alive)
        };
        while self
            .nodes
            .iter()
            .filter_map(|n| n.life.as_ref())
            .any(is_seen)
        {
            if begin.elapsed() > DEATH {
                let problem = format!("{id} is not seen dead for {:?}", begin.elapsed());
                self.world.wrong(problem);
                return;
            }
            sleep(LOOK).await;
        }
        self.longest_death = self.longest_death.max(begin.elapsed());
    }

    /// Lets time go by in which nobody who lives is to be taken for dead.
    async fn calm(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(LOOK).await;
            for node in &self.nodes {
                let Some(life) = &node.life else {
                    continue;
                };
                for other in self.nodes.iter().filter(|other| other.id != node.id) {
                    let has_settled = |life: &Life| life.began.elapsed() > Duration::from_secs(5);
                    if !other.life.as_ref().is_some_and(has_settled) || !has_settled(life) {
                        continue;
                    }
                    let members = life.ring.members();
                    let seen = members.iter().find(|status| status.member.id == other.id);
                    if !seen.is_some_and(|seen| seen.member.is_alive) {
                        let problem = format!("{} takes {} for dead", node.id, other.id);
                        self.world.wrong(problem);
                        return;
                    }
                }
            }
        }
    }

    async fn change(&mut self) {
        let Some(number) = self.one() else {
            return;
        };
        let pause = self.world.millis(50, 4_000);
        match self.world.number(0, 4) {
            0 => self.leave(number).await,
            1 => {
                self.leave(number).await;
                self.calm(pause).await;
                self.start(number).await;
            }
            2 => {
                let absent = self.nodes.iter().position(|node| node.life.is_none());
                if let Some(absent) = absent {
                    self.start(absent).await;
                }
            }
            _ => {
                let away = [MemberState::ReadOnly, MemberState::Leaving];
                let to = away[self.world.number(0, 2) as usize];
                self.set_state(number, to);
                self.calm(pause).await;
                self.set_state(number, MemberState::Active);
            }
        }
        self.calm(pause).await;
    }

    async fn fault(&mut self) {
        let Some(number) = self.one() else {
            return;
        };
        let pause = self.world.millis(50, 6_000);
        let address = self.nodes[number].address();
        let others = || self.nodes.iter().map(Node::address);
        match self.world.number(0, 6) {
            0 => {
                self.crash(number);
                self.see_dead(number).await;
                sleep(pause).await;
                self.start(number).await;
            }
            1 => {
                self.crash(number);
                sleep(pause / 2).await;
                // As another container has it.
                self.nodes[number].port += u16::from(self.world.chance(40));
                self.start(number).await;
            }
            2 => {
                let percent = self.world.number(1, 31);
                self.world.say(format!("{percent} % gets lost"));
                self.world.loss_percent.store(percent, Ordering::SeqCst);
                sleep(pause * 2).await;
                self.world.loss_percent.store(0, Ordering::SeqCst);
            }
            3 => {
                let part = self.world.number(0, u64::MAX);
                let is_in = |at: &SocketAddr| {
                    let SocketAddr::V4(at) = at else {
                        return false;
                    };
                    part >> at.ip().octets()[3] & 1 == 1
                };
                let (one, other): (Vec<_>, Vec<_>) = others().partition(is_in);
                self.world
                    .say(format!("{one:?} are cut off from {other:?}"));
                let ways = one.iter().flat_map(|a| other.iter().map(|b| (*a, *b)));
                let ways = ways.flat_map(|(a, b)| [(a, b), (b, a)]).collect();
                self.cut_for(ways, pause * 2).await;
            }
            4 => {
                let is_in = self.world.chance(50);
                self.world
                    .say(format!("{address} is deaf ({is_in}) or mute"));
                let way = |other| {
                    if is_in {
                        (other, address)
                    } else {
                        (address, other)
                    }
                };
                let ways = others()
                    .filter(|other| *other != address)
                    .map(way)
                    .collect();
                self.cut_for(ways, pause * 2).await;
            }
            _ => {
                let other = others().find(|other| *other != address).unwrap();
                self.world
                    .say(format!("nothing comes from {address} to {other}"));
                self.cut_for(BTreeSet::from([(address, other)]), pause * 2)
                    .await;
            }
        }
    }

    async fn cut_for(&self, ways: BTreeSet<(SocketAddr, SocketAddr)>, time: Duration) {
        *self.world.cut.lock() = ways;
        sleep(time).await;
        self.world.cut.lock().clear();
        self.world.say("all comes through again");
    }

    async fn run(&mut self, seed: u64) {
        let first = self.nodes.len() - 1;
        for number in 0..first {
            self.start(number).await;
            sleep(self.world.millis(0, 500)).await;
        }
        self.converge().await;
        for _ in 0..self.world.number(1, 5) {
            match seed.is_multiple_of(3) {
                true => self.change().await,
                false => self.fault().await,
            }
            self.converge().await;
        }
    }
}

impl Node {
    fn address(&self) -> SocketAddr {
        ([10, 0, 0, self.last_byte], self.port).into()
    }
}

/// What a simulation has come to.
struct Outcome {
    wrong: Vec<String>,
    tale: Vec<String>,
    longest_death: Duration,
    longest_convergence: Duration,
}

fn run(seed: u64, bug: Option<Bug>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        let mut cluster = Cluster::new(seed, bug);
        cluster.run(seed).await;
        Outcome {
            wrong: cluster.world.wrong.lock().clone(),
            tale: cluster.world.tale.lock().clone(),
            longest_death: cluster.longest_death,
            longest_convergence: cluster.longest_convergence,
        }
    })
}

#[test]
fn every_view_becomes_right_again_whatever_happens() {
    if let Ok(seed) = std::env::var("SPANMILL_SIMULATION_SEED") {
        let outcome = run(seed.parse().unwrap(), None);
        println!("{}", outcome.tale.join("\n"));
        assert!(outcome.wrong.is_empty(), "{:#?}", outcome.wrong);
        return;
    }
    let seeds = std::env::var("SPANMILL_SIMULATION_SEEDS");
    let seeds = seeds.map_or(SEEDS, |text| range(&text));
    let (next, wrong) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let longest = Mutex::new((Duration::ZERO, Duration::ZERO));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(seed, None);
                    let mut longest = longest.lock();
                    longest.0 = longest.0.max(outcome.longest_death);
                    longest.1 = longest.1.max(outcome.longest_convergence);
                    if !outcome.wrong.is_empty() {
                        wrong.lock().push((seed, outcome));
                    }
                }
            });
        }
    });
    let (death, convergence) = longest.into_inner();
    println!(
        "{seeds:?}: the dead are seen within {death:?}, views are right within {convergence:?}"
    );
    let mut wrong = wrong.into_inner();
    wrong.sort_by_key(|(seed, _)| *seed);
    // It may not be the same again.
    for (seed, outcome) in &wrong {
        println!(
            "seed {seed}: {:#?}\n{}",
            outcome.wrong,
            outcome.tale.join("\n")
        );
    }
    let failed: Vec<_> = wrong.iter().map(|(seed, _)| seed).collect();
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
}

#[test]
fn bugs_that_are_planted_are_found() {
    for (bug, says) in [
        (Bug::SameIncarnation, "views differ"),
        (Bug::GoesOnAfterDeath, "is not seen dead"),
    ] {
        let found = SEEDS_FOR_A_BUG.into_iter().find(|seed| {
            let wrong = run(*seed, Some(bug)).wrong;
            wrong.iter().any(|problem| problem.contains(says))
        });
        println!("{bug:?} is found with seed {found:?}");
        assert!(found.is_some(), "{bug:?}");
    }
}

/// `FIRST..END`, or how many from 0 on.
fn range(text: &str) -> Range<u64> {
    match text.split_once("..") {
        Some((first, end)) => first.parse().unwrap()..end.parse().unwrap(),
        None => 0..text.parse().unwrap(),
    }
}
