//! Nodes that find each other over real sockets, and those that must not.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chitchat::transport::UdpTransport;
use chitchat::{ChitchatConfig, ChitchatId, spawn_chitchat};
use lifecycle::{Shutdown, TaskGroup};
use model::Clock;
use rand::RngCore as _;
use settings::Secret;
use spanmill_ring::{
    ForgetError, Identity, MemberState, MemberlistConfig, Ring, RingMetrics, Role,
};
use telemetry::{MetricsRegistry, encode_metrics, new_metrics_registry};
use tokio::runtime::Runtime;

/// How a node is started.
#[derive(Clone)]
struct Plan {
    id: &'static str,
    incarnation: u64,
    role: Role,
    zone: String,
    port: u16,
    label: &'static str,
    keys: Vec<[u8; 32]>,
    join: Vec<SocketAddr>,
}

/// A node with threads of its own, so that it can be killed.
struct Node {
    ring: Ring,
    metrics: MetricsRegistry,
    runtime: Runtime,
}

fn generator(id: &'static str) -> Plan {
    Plan {
        id,
        incarnation: 1,
        role: Role::Generator,
        zone: String::new(),
        port: 0,
        label: "here",
        keys: vec![[7; 32]],
        join: Vec::new(),
    }
}

impl Plan {
    fn joining(mut self, nodes: &[&Node]) -> Self {
        self.join = nodes.iter().map(|node| node.address()).collect();
        self
    }

    fn start(&self) -> Node {
        let config = MemberlistConfig {
            bind_addr: vec!["127.0.0.1".to_owned()],
            bind_port: self.port,
            join_members: self.join.iter().map(SocketAddr::to_string).collect(),
            cluster_label: self.label.to_owned(),
            secret_keys: self
                .keys
                .iter()
                .map(|key| Secret::new(STANDARD.encode(key)))
                .collect(),
            ..MemberlistConfig::default()
        };
        let identity = Identity {
            id: self.id.into(),
            incarnation: self.incarnation,
            role: self.role,
            zone: self.zone.as_str().into(),
            address: ([127, 0, 0, 1], 9095).into(),
            token_seed: 1,
            version: "test".into(),
            cluster_seed: "seed".to_owned(),
        };
        let mut metrics = new_metrics_registry();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let tasks = TaskGroup::new();
        let started = Ring::start(
            config.settings().unwrap(),
            identity,
            Clock::system(),
            RingMetrics::register(&mut metrics),
            &tasks,
            Shutdown::new(),
        );
        Node {
            ring: runtime.block_on(started).unwrap(),
            metrics,
            runtime,
        }
    }

    fn start_active(&self) -> Node {
        let node = self.start();
        node.ring.set_state(MemberState::Active);
        node
    }
}

impl Node {
    fn address(&self) -> SocketAddr {
        self.ring.gossip_address()
    }

    /// Those that it takes for alive: id and state.
    fn alive(&self) -> Vec<(String, MemberState)> {
        let members = self.ring.members();
        let members = members.iter().map(|status| &status.member);
        members
            .filter(|member| member.is_alive)
            .map(|member| (member.id.to_string(), member.state))
            .collect()
    }

    /// Waits until it takes these for alive and active, and nobody else.
    fn waits_for(&self, ids: &[&str]) {
        let want: Vec<_> = ids
            .iter()
            .map(|id| ((*id).to_owned(), MemberState::Active))
            .collect();
        wait(|| (self.alive() == want).then_some(()), || self.alive());
    }

    fn waits_for_metric(&self, line: &str, at_least: u64) {
        let value = || -> u64 {
            let text = encode_metrics(&self.metrics);
            let value = text.lines().find_map(|found| found.strip_prefix(line));
            value.map_or(0, |value| value.trim().parse().unwrap())
        };
        wait(
            || (value() >= at_least).then_some(()),
            || encode_metrics(&self.metrics),
        );
    }

    fn refused(&self, reason: &str, at_least: u64) {
        let line = format!("spanmill_ring_gossip_refused_total{{reason=\"{reason}\"}}");
        self.waits_for_metric(&line, at_least);
    }

    fn leave(self) {
        self.runtime.block_on(self.ring.leave());
    }

    /// Ends without a word.
    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

fn wait<T, S: std::fmt::Debug>(found: impl Fn() -> Option<T>, instead: impl Fn() -> S) -> T {
    let patience = std::env::var("SPANMILL_TEST_PATIENCE").ok();
    let patience = patience.map_or(60, |seconds| seconds.parse().unwrap());
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        let is_patient = start.elapsed() < Duration::from_secs(patience);
        assert!(is_patient, "still {:#?}", instead());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A socket at which nodes knock that take it for a member.
fn tap() -> (UdpSocket, SocketAddr) {
    let tap = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = tap.local_addr().unwrap();
    tap.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    (tap, address)
}

/// What a member sends to the tap first.
fn recorded(plan: &Plan) -> (UdpSocket, Vec<u8>) {
    let (tap, address) = tap();
    let mut plan = plan.clone();
    plan.join = vec![address];
    let node = plan.start();
    let mut buffer = vec![0; 65_535];
    let (length, _) = tap.recv_from(&mut buffer).unwrap();
    node.kill();
    buffer.truncate(length);
    (tap, buffer)
}

#[test]
fn nodes_find_each_other_and_see_each_change() {
    let a = generator("a").start_active();
    let b = generator("b").joining(&[&a]).start_active();
    let mut plan = generator("c").joining(&[&b]);
    plan.role = Role::All;
    plan.zone = "z1".to_owned();
    let c = plan.start();
    c.ring.set_load(0.456);
    for node in [&a, &b, &c] {
        let want = [
            ("a".to_owned(), MemberState::Active),
            ("b".to_owned(), MemberState::Active),
            ("c".to_owned(), MemberState::Joining),
        ];
        wait(|| (node.alive() == want).then_some(()), || node.alive());
        assert_eq!(node.ring.live_distributors(), 1);
    }
    let view = a.ring.view();
    let changes = view.changes();
    c.ring.set_state(MemberState::Active);
    for node in [&a, &b, &c] {
        node.waits_for(&["a", "b", "c"]);
    }
    let status = wait(
        || {
            let members = a.ring.members();
            let found = members.iter().find(|status| &*status.member.id == "c");
            found.filter(|status| status.load > 0.0).cloned()
        },
        || a.ring.members(),
    );
    assert_eq!(status.load, 0.46);
    assert_eq!(&*status.member.zone, "z1");
    assert_eq!(status.gossip_address, c.address());
    assert!(status.has_our_cluster_seed && !status.is_self);
    let tokens = || {
        let placement = view.placement();
        placement
            .members()
            .iter()
            .map(|member| member.tokens)
            .collect::<Vec<_>>()
    };
    wait(|| (tokens() == [512, 512, 512]).then_some(()), tokens);
    assert!(changes.has_changed().unwrap());
    c.ring.set_tokens(100);
    wait(|| (tokens() == [512, 512, 100]).then_some(()), tokens);
}

#[test]
fn who_leaves_is_dropped_and_who_dies_is_seen_dead_until_it_is_forgotten() {
    let a = generator("a").start_active();
    let b = generator("b").joining(&[&a]).start_active();
    let c = generator("c").joining(&[&a]).start_active();
    for node in [&a, &b, &c] {
        node.waits_for(&["a", "b", "c"]);
    }
    assert_eq!(a.ring.forget("c"), Err(ForgetError::Alive));
    assert_eq!(a.ring.forget("d"), Err(ForgetError::Unknown));
    c.leave();
    for node in [&a, &b] {
        wait(
            || (node.ring.members().len() == 2).then_some(()),
            || node.ring.members(),
        );
    }
    let d = generator("d").joining(&[&a]).start_active();
    a.waits_for(&["a", "b", "d"]);
    d.waits_for(&["a", "b", "d"]);
    b.kill();
    a.waits_for(&["a", "d"]);
    d.waits_for(&["a", "d"]);
    let dead = a.ring.members();
    assert_eq!(dead.len(), 3, "{dead:#?}");
    let owner = a.ring.view().placement();
    assert!(
        owner
            .members()
            .iter()
            .any(|member| &*member.id == "b" && !member.owns_tokens())
    );
    a.ring.forget("b").unwrap();
    for node in [&a, &d] {
        wait(
            || (node.ring.members().len() == 2).then_some(()),
            || node.ring.members(),
        );
    }
}

#[test]
fn node_that_starts_anew_at_its_address_is_known_as_that() {
    let a = generator("a").start_active();
    let mut plan = generator("b").joining(&[&a]);
    let b = plan.start_active();
    a.waits_for(&["a", "b"]);
    plan.port = b.address().port();
    b.kill();
    plan.incarnation = 2;
    // The port is free once the threads of the killed node have ended.
    let address: SocketAddr = ([127, 0, 0, 1], plan.port).into();
    wait(
        || UdpSocket::bind(address).ok().map(drop),
        || "the port is taken",
    );
    let b = plan.start_active();
    let lives = || -> Vec<u64> {
        let members = a.ring.members();
        members
            .iter()
            .map(|status| status.member.incarnation)
            .collect()
    };
    wait(|| (lives() == [1, 2]).then_some(()), lives);
    a.waits_for(&["a", "b"]);
    b.waits_for(&["a", "b"]);
    assert!(!a.ring.has_duplicate() && !b.ring.has_duplicate());
}

#[test]
fn later_of_two_nodes_with_one_id_takes_nothing_until_the_other_is_gone() {
    let witness = generator("w").start_active();
    let early = generator("a").joining(&[&witness]).start_active();
    witness.waits_for(&["a", "w"]);
    let mut plan = generator("a").joining(&[&witness]);
    plan.incarnation = 2;
    plan.zone = "other".to_owned();
    let late = plan.start_active();
    wait(
        || late.ring.has_duplicate().then_some(()),
        || late.ring.members(),
    );
    wait(
        || early.ring.has_duplicate().then_some(()),
        || early.ring.members(),
    );
    assert_eq!(late.ring.state(), (MemberState::Joining, 0));
    assert_eq!(early.ring.state().0, MemberState::Active);
    let zone = || -> Vec<String> {
        let members = witness.ring.members();
        members
            .iter()
            .map(|status| status.member.zone.to_string())
            .collect()
    };
    assert_eq!(zone(), ["", ""]);
    early.leave();
    wait(|| (zone() == ["other", ""]).then_some(()), zone);
    witness.waits_for(&["a", "w"]);
    assert_eq!(late.ring.state().0, MemberState::Active);
}

#[test]
fn clusters_of_other_labels_and_keys_never_mix() {
    let a = generator("a").start_active();
    let b = generator("b").joining(&[&a]).start_active();
    a.waits_for(&["a", "b"]);
    let start = |id, change: fn(&mut Plan)| {
        let mut plan = generator(id).joining(&[&a, &b]);
        change(&mut plan);
        plan.start_active()
    };
    let others = [
        start("c", |plan| plan.label = "there"),
        start("d", |plan| plan.keys = vec![[8; 32]]),
        start("e", |plan| plan.keys.clear()),
    ];
    for reason in ["other_cluster", "unknown_key", "not_sealed"] {
        a.refused(reason, 3);
        b.refused(reason, 3);
    }
    for other in &others {
        assert_eq!(other.alive().len(), 1);
        assert_eq!(other.ring.last_heard(), None);
    }
    for node in [&a, &b] {
        assert_eq!(node.ring.members().len(), 2);
        node.waits_for(&["a", "b"]);
    }
}

/// Without a key, too: a label keeps clusters apart that were given each other's
/// addresses.
#[test]
fn clusters_without_a_key_are_kept_apart_by_their_labels() {
    let open = |id, label| {
        let mut plan = generator(id);
        plan.keys.clear();
        plan.label = label;
        plan
    };
    let a = open("a", "here").start_active();
    let b = open("b", "here").joining(&[&a]).start_active();
    let c = open("c", "there").joining(&[&a, &b]).start_active();
    a.waits_for(&["a", "b"]);
    a.refused("other_cluster", 3);
    c.waits_for(&["c"]);
    assert_eq!(a.ring.members().len(), 2);
}

#[test]
fn rogue_that_speaks_chitchat_never_appears() {
    let a = generator("a").start_active();
    let (tap, rogue) = tap();
    drop(tap);
    let config = ChitchatConfig {
        chitchat_id: ChitchatId::new("rogue", 1, rogue),
        cluster_id: "here".to_owned(),
        gossip_interval: Duration::from_millis(50),
        listen_addr: rogue,
        seed_nodes: vec![a.address().to_string()],
        failure_detector_config: chitchat::FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: Duration::from_secs(60),
        catchup_callback: None,
        extra_liveness_predicate: None,
    };
    let keys = [
        ("1.grpc", "127.0.0.1:1"),
        ("1.state", "active"),
        ("1.role", "generator"),
    ];
    let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let runtime = Runtime::new().unwrap();
    let spawned = runtime.block_on(spawn_chitchat(config, keys.to_vec(), &UdpTransport));
    let _rogue = spawned.unwrap();
    a.refused("unknown_format", 5);
    assert_eq!(a.ring.members().len(), 1);
}

#[test]
fn key_is_changed_without_a_pause() {
    let (old, new) = ([1; 32], [2; 32]);
    let ids = ["a", "b", "c"];
    let plan = |id, incarnation, keys: &[[u8; 32]]| {
        let mut plan = generator(id);
        plan.incarnation = incarnation;
        plan.keys = keys.to_vec();
        plan
    };
    let a = plan("a", 1, &[old]).start_active();
    let [b, c] = ["b", "c"].map(|id| plan(id, 1, &[old]).joining(&[&a]).start_active());
    let mut nodes = [a, b, c];
    // Before, the only node that `b` and `c` know of must not go.
    for node in &nodes {
        node.waits_for(&ids);
    }
    let steps: [&[[u8; 32]]; 3] = [&[old, new], &[new, old], &[new]];
    for (incarnation, keys) in (2..).zip(steps) {
        for (place, id) in ids.into_iter().enumerate() {
            let other = &nodes[(place + 1) % 3];
            let next = plan(id, incarnation, keys).joining(&[other]).start();
            std::mem::replace(&mut nodes[place], next).leave();
            nodes[place].ring.set_state(MemberState::Active);
            for node in &nodes {
                node.waits_for(&ids);
            }
        }
    }
    let lives = nodes[0].ring.members();
    assert!(lives.iter().all(|status| status.member.incarnation == 4));
}

#[test]
fn datagram_that_was_recorded_is_taken_once() {
    let b = generator("b").start_active();
    let (tap, datagram) = recorded(&generator("a"));
    for _ in 0..2 {
        tap.send_to(&datagram, b.address()).unwrap();
    }
    b.refused("replayed", 1);
    b.waits_for_metric(
        "spanmill_ring_gossip_datagrams_total{direction=\"received\"}",
        1,
    );
    assert_eq!(b.alive().len(), 1, "one datagram does not make a member");
}

#[test]
fn damaged_and_random_datagrams_change_nothing() {
    let a = generator("a").start_active();
    let b = generator("b").joining(&[&a]).start_active();
    a.waits_for(&["a", "b"]);
    let mut open = generator("c");
    open.keys.clear();
    let c = open.start_active();
    for (node, plan) in [(&a, generator("x")), (&c, open)] {
        let (tap, datagram) = recorded(&plan);
        let mut random = rand::rng();
        for round in 0..10_000_usize {
            let mut bytes = datagram.clone();
            match round % 3 {
                0 => bytes[round % datagram.len()] ^= 1 << (round % 8),
                1 => bytes.truncate(round % datagram.len()),
                _ => random.fill_bytes(&mut bytes),
            }
            tap.send_to(&bytes, node.address()).unwrap();
            if round % 50 == 0 {
                // The buffer of the socket holds a few hundred.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        node.refused("forged", 100);
        node.refused("unknown_format", 1000);
    }
    for node in [&a, &b] {
        node.waits_for(&["a", "b"]);
    }
    c.waits_for(&["c"]);
    assert_eq!((a.ring.members().len(), c.ring.members().len()), (2, 1));
}

/// A message of the fourth node is longer than a datagram may be.
#[test]
fn state_that_does_not_fit_one_datagram_arrives() {
    let mut random = rand::rng();
    let mut zone = || {
        let mut bytes = vec![0; 20_000];
        random.fill_bytes(&mut bytes);
        STANDARD.encode(bytes)
    };
    let mut plans = ["a", "b", "c", "d"].map(generator);
    for plan in &mut plans {
        plan.zone = zone();
    }
    let a = plans[0].start_active();
    let mut nodes: Vec<Node> = Vec::new();
    for plan in plans.iter().skip(1) {
        nodes.push(plan.clone().joining(&[&a]).start_active());
    }
    nodes.push(a);
    let late = generator("e").joining(&[&nodes[3]]).start_active();
    late.waits_for(&["a", "b", "c", "d", "e"]);
    let members = late.ring.members();
    for (plan, status) in plans.iter().zip(members.iter()) {
        assert!(*status.member.zone == *plan.zone, "zone of {}", plan.id);
    }
}

#[test]
fn node_knows_how_long_it_has_heard_of_nobody() {
    let a = generator("a").start_active();
    assert_eq!(a.ring.last_heard(), None);
    let b = generator("b").joining(&[&a]).start_active();
    wait(|| a.ring.last_heard(), || a.ring.members());
    a.waits_for(&["a", "b"]);
    b.kill();
    a.waits_for(&["a"]);
    assert!(a.ring.last_heard().unwrap() >= Duration::from_secs(1));
}

#[test]
fn distributors_are_counted_for_limits_of_the_whole_cluster() {
    let distributor = |id| {
        let mut plan = generator(id);
        plan.role = Role::Distributor;
        plan
    };
    let a = distributor("a").start_active();
    let b = distributor("b").joining(&[&a]).start_active();
    let c = generator("c").joining(&[&a]).start_active();
    let count = |node: &Node, want| {
        let found = || node.ring.live_distributors();
        wait(|| (found() == want).then_some(()), found);
    };
    for node in [&a, &b, &c] {
        count(node, 2);
        node.waits_for(&["a", "b", "c"]);
    }
    assert_eq!(a.ring.state(), (MemberState::Active, 0));
    b.kill();
    count(&a, 1);
    count(&c, 1);
}

#[tokio::test]
async fn port_that_is_taken_is_an_error_that_names_the_setting() {
    let (_taken, address) = tap();
    let config = MemberlistConfig {
        bind_addr: vec!["127.0.0.1".to_owned()],
        bind_port: address.port(),
        ..MemberlistConfig::default()
    };
    let identity = Identity {
        id: Arc::from("a"),
        incarnation: 1,
        role: Role::All,
        zone: Arc::from(""),
        address,
        token_seed: 1,
        version: Arc::from(""),
        cluster_seed: String::new(),
    };
    let tasks = TaskGroup::new();
    let started = Ring::start(
        config.settings().unwrap(),
        identity,
        Clock::system(),
        RingMetrics::default(),
        &tasks,
        Shutdown::new(),
    );
    let want = format!(
        "cannot receive gossip at {address}/UDP; memberlist.bind_addr and bind_port say where"
    );
    assert_eq!(started.await.unwrap_err().to_string(), want);
}
