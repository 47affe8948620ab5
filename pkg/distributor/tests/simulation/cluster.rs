//! One simulation from begin to end, and what has to hold then.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clients::{Clients, SPANS};
use crate::generators::Ended;
use crate::gossip::{Gossip, LOOK};
use crate::network::Network;
use crate::plan::{self, Plan};
use crate::world::{Bug, Tasks, World};
use crate::{distributors, generators};

/// Within which all views are right once nothing goes wrong any more: who is dead is
/// noticed within three seconds, who lives within two.
const CONVERGENCE: Duration = Duration::from_secs(5);
/// Clients, and requests of each.
const CLIENTS: u64 = 2;
const REQUESTS: u64 = 14;

#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) world: World,
    pub(crate) network: Network,
    pub(crate) gossip: Gossip,
    pub(crate) distributors: Vec<distributors::Node>,
    generators: Vec<generators::Node>,
}

impl Cluster {
    /// Generators that are up and to which nothing is done.
    pub(crate) fn generators_up(&self) -> Vec<generators::Node> {
        let nodes = self.generators.iter();
        let free = nodes.filter(|node| node.is_up() && !node.is_busy());
        free.cloned().collect()
    }

    /// A generator that may join.
    pub(crate) fn absent(&self) -> Option<&generators::Node> {
        let mut nodes = self.generators.iter();
        nodes.find(|node| !node.is_up() && !node.is_busy())
    }
}

/// What a simulation has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What does not hold.
    pub(crate) wrong: Vec<String>,
    /// What happened, in order.
    pub(crate) tale: Vec<String>,
    /// How often what can happen did; so one sees that it is tried at all.
    pub(crate) seen: BTreeMap<String, u64>,
}

/// Runs the simulation of a seed.
pub(crate) fn run(seed: u64, bug: Option<Bug>) -> Outcome {
    let directory = match Path::new("/dev/shm").is_dir() {
        true => tempfile::tempdir_in("/dev/shm"),
        false => tempfile::tempdir(),
    };
    let directory = directory.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = runtime.unwrap();
    runtime.block_on(simulate(seed, bug, directory.path()))
}

async fn simulate(seed: u64, bug: Option<Bug>, directory: &Path) -> Outcome {
    let world = World::new(seed, bug);
    let plan = Plan::draw(seed, &world);
    world.say(format!("seed {seed}: {plan:?}"));
    let network = Network::new(world.clone());
    let gossip = Gossip::new(world.clone(), network.clone());
    let distributor = |number: u8| {
        let name = format!("d-{number}");
        distributors::Node::new(&name, number, &world, &network, &gossip)
    };
    let generator = |number: u8| {
        let name = format!("g-{number}");
        let state_dir = directory.join(&name);
        generators::Node::new(&name, number, &world, &network, &gossip, state_dir)
    };
    let cluster = Cluster {
        distributors: (1..=2).map(distributor).collect(),
        generators: (1..=plan.generators + plan.spare).map(generator).collect(),
        world: world.clone(),
        network: network.clone(),
        gossip: gossip.clone(),
    };
    let background = Tasks::default();
    let (ticking, clock) = (gossip.clone(), world.clone());
    background.spawn(async move {
        loop {
            sleep(LOOK).await;
            clock.unix_nanos();
            ticking.tick();
        }
    });
    cluster.distributors.iter().for_each(|node| node.start());
    let first = cluster.generators.iter().take(plan.generators.into());
    first.for_each(generators::Node::start);
    sleep(Duration::from_millis(1_500)).await;

    let lost_percent = if plan.faults > 0 {
        world.number(0, 10)
    } else {
        0
    };
    let clients = Clients::new(&world, lost_percent);
    let (sending, changing) = (Tasks::default(), Tasks::default());
    for number in 1..=CLIENTS {
        let (clients, to) = (clients.clone(), cluster.distributors.clone());
        sending.spawn(async move {
            clients.send(format!("c-{number}"), REQUESTS, to).await;
        });
    }
    changing.spawn(plan::changes(cluster.clone(), plan.changes));
    if plan.faults > 0 {
        for _ in 0..plan.sequences {
            changing.spawn(plan::faults(cluster.clone(), plan.faults));
        }
    }
    let long = Duration::from_secs(600);
    changing.drain(long).await;
    world.say("nothing changes any more");
    let calm = Instant::now();
    while let Some(disagreement) = gossip.disagreement() {
        if calm.elapsed() > CONVERGENCE {
            world.wrong(format!(
                "views differ for {:?}: {disagreement}",
                calm.elapsed()
            ));
            break;
        }
        sleep(LOOK).await;
    }
    sending.drain(long).await;
    for node in &cluster.distributors {
        node.stop(true).await;
    }
    background.kill();
    cluster.generators.iter().for_each(generators::Node::finish);
    judge(&cluster, &plan, &clients)
}

/// Adds up what became of all spans.
fn judge(cluster: &Cluster, plan: &Plan, clients: &Clients) -> Outcome {
    let world = &cluster.world;
    let nodes = cluster.generators.iter();
    let ended: BTreeMap<_, Ended> = nodes.flat_map(generators::Node::take_ended).collect();
    let mut seen = BTreeMap::<String, u64>::new();
    let mut add = |what: &str, count: u64| *seen.entry(what.to_owned()).or_default() += count;
    let of = |trace: u64| {
        let sum = |of: fn(&Ended) -> &generators::Counts| {
            let lives = ended.values();
            lives.filter_map(|life| of(life).get(&trace)).sum::<u64>()
        };
        (sum(|life| &life.collected), sum(|life| &life.counted))
    };
    let nodes = cluster.distributors.iter();
    let possibly_duplicated: BTreeMap<_, _> =
        nodes.flat_map(|node| node.possibly_duplicated()).collect();
    let sent = clients.sent();
    for sent in &sent {
        add("requests", 1);
        add("requests sent again", u64::from(sent.attempts > 1));
        add("requests given up", u64::from(!sent.is_acknowledged));
        if plan.faults == 0 && !sent.is_acknowledged {
            world.wrong(format!("{:?} is never taken", sent.traces));
        }
        for trace in sent.traces.clone() {
            let (collected, counted) = of(trace);
            let lost = SPANS.saturating_sub(collected);
            if sent.is_acknowledged && lost > 0 {
                add("spans lost by crashes", lost);
                if lost > counted - collected {
                    world.wrong(format!(
                        "trace {trace} was acknowledged; counted {counted}, collected {collected}"
                    ));
                }
            }
            if counted > SPANS {
                world.say(format!(
                    "trace {trace} is counted {counted} times and collected {collected}, after {} attempts",
                    sent.attempts
                ));
                if plan.faults == 0 {
                    world.wrong(format!("trace {trace} is counted {counted} times"));
                }
            }
        }
    }
    let book = world.book();
    let doubles = book.check(world, &cluster.network, &sent, &ended, &possibly_duplicated);
    for (why, spans) in doubles {
        add(&format!("spans counted twice: {why}"), spans);
    }
    let possibly_duplicated = possibly_duplicated.values().sum();
    add("spans possibly duplicated", possibly_duplicated);
    for life in ended.values() {
        add("lives of generators", 1);
        add("spans recognised", life.duplicates);
        for (reason, pushes) in &life.refused {
            add(&format!("pushes refused: {reason}"), *pushes);
        }
    }
    let (tale, wrong) = world.told();
    Outcome { wrong, tale, seen }
}
