//! What is done to a cluster, and what goes wrong with it, as a seed has it.

use std::time::Duration;

use ring::MemberState;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::generators::Node;
use crate::world::World;

/// What an operator does.
#[derive(Clone, Copy, Debug)]
enum Change {
    Restart,
    Leave,
    Join,
    ReadOnly,
    RestartDistributor,
}

const CHANGES: [Change; 5] = [
    Change::Restart,
    Change::Leave,
    Change::Join,
    Change::ReadOnly,
    Change::RestartDistributor,
];

/// What nobody wants.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Crash,
    Vanish,
    Freeze,
    Slow,
    LoseAnswers,
    Cut,
    Reset,
    Loss,
    Partition,
    CrashDistributor,
}

const FAULTS: [Fault; 10] = [
    Fault::Crash,
    Fault::Vanish,
    Fault::Freeze,
    Fault::Slow,
    Fault::LoseAnswers,
    Fault::Cut,
    Fault::Reset,
    Fault::Loss,
    Fault::Partition,
    Fault::CrashDistributor,
];

/// Makes planned changes, one after the other.
pub(crate) async fn changes(cluster: Cluster, count: u64) {
    for _ in 0..count {
        sleep(cluster.world.millis(200, 4_000)).await;
        let change = *cluster.world.pick(&CHANGES).unwrap();
        make(&cluster, change).await;
    }
}

async fn make(cluster: &Cluster, change: Change) {
    let world = &cluster.world;
    match change {
        Change::Join => {
            if let Some(node) = cluster.absent() {
                node.start();
            }
        }
        Change::RestartDistributor => {
            let nodes = &cluster.distributors;
            let node = world.pick(nodes).unwrap();
            if nodes.iter().all(|node| node.is_up()) {
                node.stop(true).await;
                sleep(world.millis(100, 2_000)).await;
                node.start();
            }
        }
        Change::Restart | Change::Leave | Change::ReadOnly => {
            let Some((node, _occupied)) = to_be_missed(cluster) else {
                return;
            };
            match change {
                Change::Leave => node.stop(false).await,
                Change::ReadOnly => {
                    node.set_state(MemberState::ReadOnly);
                    sleep(world.millis(500, 5_000)).await;
                    node.set_state(MemberState::Active);
                }
                _ => {
                    node.stop(true).await;
                    sleep(world.millis(50, 4_000)).await;
                    node.start();
                }
            }
        }
    }
}

/// A generator that may go, since another one stays.
fn to_be_missed(cluster: &Cluster) -> Option<(Node, crate::generators::Occupied)> {
    let stay: Vec<_> = cluster.generators_up();
    let node = cluster.world.pick(&stay)?.clone();
    if stay.len() < 2 {
        return None;
    }
    let occupied = node.occupy()?;
    Some((node, occupied))
}

/// Makes things go wrong, one after the other or several at once, for so long.
pub(crate) async fn faults(cluster: Cluster, count: u64) {
    for _ in 0..count {
        sleep(cluster.world.millis(100, 5_000)).await;
        let fault = *cluster.world.pick(&FAULTS).unwrap();
        suffer(&cluster, fault).await;
    }
}

async fn suffer(cluster: &Cluster, fault: Fault) {
    let (world, network) = (&cluster.world, &cluster.network);
    let distributor = world.pick(&cluster.distributors).unwrap();
    let node = world.pick(&cluster.generators_up()).cloned();
    match (fault, node) {
        (Fault::Loss, _) => {
            let percent = world.number(1, 31);
            world.say(format!("{percent} % of all gets lost"));
            network.lose(percent);
            sleep(world.millis(1_000, 10_000)).await;
            network.lose(0);
            world.say("nothing gets lost any more");
        }
        (Fault::Partition, _) => {
            let parts = world.number(0, u64::MAX);
            world.say(format!("gossip falls apart: {:b}", parts & 0xff));
            cluster.gossip.divide(|number| (parts >> (number % 64)) & 1);
            sleep(world.millis(500, 10_000)).await;
            cluster.gossip.divide(|_| 0);
            world.say("gossip is one again");
        }
        (Fault::CrashDistributor, _) => {
            if cluster.distributors.iter().all(|node| node.is_up()) {
                distributor.stop(false).await;
                sleep(world.millis(100, 3_000)).await;
                distributor.start();
            }
        }
        (Fault::Reset, Some(node)) => {
            world.say(format!(
                "{} and {} are parted",
                distributor.name(),
                node.name()
            ));
            network.reset(distributor.name(), node.name());
        }
        (Fault::LoseAnswers, Some(node)) => node.lose_answers(world.number(1, 4)),
        (Fault::Slow, Some(node)) => {
            let before = world.millis(0, 3_000) * u32::from(world.chance(50));
            let after = world.millis(0, 7_000) * u32::from(world.chance(70));
            world.say(format!("{} is slow: {before:?}, {after:?}", node.name()));
            node.slow(before, after);
            sleep(world.millis(500, 8_000)).await;
            node.slow(Duration::ZERO, Duration::ZERO);
            world.say(format!("{} is fast again", node.name()));
        }
        (Fault::Cut, Some(node)) => {
            let ends = match world.chance(50) {
                true => (distributor.name(), node.name()),
                false => (node.name(), distributor.name()),
            };
            world.say(format!("nothing comes from {} to {}", ends.0, ends.1));
            network.cut(ends.0, ends.1, true);
            sleep(world.millis(500, 15_000)).await;
            network.cut(ends.0, ends.1, false);
            world.say(format!("all comes from {} to {}", ends.0, ends.1));
        }
        (Fault::Freeze, Some(node)) => {
            let Some(_occupied) = node.occupy() else {
                return;
            };
            world.say(format!("{} stands still", node.name()));
            network.freeze(node.name(), true);
            sleep(world.millis(300, 15_000)).await;
            network.freeze(node.name(), false);
            world.say(format!("{} goes on", node.name()));
            // Until it can be told from one that has just begun.
            sleep(Duration::from_millis(100)).await;
        }
        (Fault::Crash | Fault::Vanish, Some(node)) => {
            let Some(_occupied) = node.occupy() else {
                return;
            };
            network.vanish(node.name(), matches!(fault, Fault::Vanish));
            node.crash();
            sleep(world.millis(50, 6_000)).await;
            network.vanish(node.name(), false);
            node.start();
        }
        (
            Fault::Reset
            | Fault::LoseAnswers
            | Fault::Slow
            | Fault::Cut
            | Fault::Freeze
            | Fault::Crash
            | Fault::Vanish,
            None,
        ) => {}
    }
}

/// What a seed decides before all else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) generators: u8,
    /// Those that may join later.
    pub(crate) spare: u8,
    pub(crate) changes: u64,
    /// None if only planned changes are made.
    pub(crate) faults: u64,
    /// Faults that follow each other, beside others.
    pub(crate) sequences: u64,
}

impl Plan {
    pub(crate) fn draw(seed: u64, world: &World) -> Self {
        let is_planned = seed.is_multiple_of(3);
        Self {
            generators: world.number(2, 7) as u8,
            spare: world.number(0, 3) as u8,
            changes: match is_planned {
                true => world.number(2, 7),
                false => world.number(0, 4),
            },
            faults: match is_planned {
                true => 0,
                false => world.number(1, 5),
            },
            sequences: world.number(1, 3),
        }
    }
}
