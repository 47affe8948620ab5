use super::*;
use crate::member::{MemberState, Role};

const PATIENCE: Duration = Duration::from_secs(2);

fn life(node: &str, incarnation: u64, port: u16) -> LifeId {
    LifeId {
        node: node.into(),
        incarnation,
        gossip_address: ([127, 0, 0, 1], port).into(),
    }
}

fn told(id: &LifeId) -> (LifeId, Told) {
    let member = Member {
        id: id.node.clone(),
        incarnation: id.incarnation,
        role: Role::Generator,
        state: MemberState::Active,
        zone: "".into(),
        address: ([127, 0, 0, 1], 9095).into(),
        token_seed: 1,
        tokens: 512,
        version: "".into(),
        is_alive: false,
    };
    let told = Told {
        member,
        load: 0.0,
        cluster_seed: "seed".to_owned(),
        protocols: Some(Protocols::OURS),
        has_left: false,
    };
    (id.clone(), told)
}

/// Lives that were heard of for 3 s; those in `dead` were silent all along.
struct Cluster {
    lives: Vec<(LifeId, Told)>,
    heartbeats: Heartbeats,
    now: Instant,
    own: LifeId,
}

impl Cluster {
    fn new(own: &LifeId, alive: &[&LifeId], dead: &[&LifeId]) -> Self {
        let (mut heartbeats, mut now) = (Heartbeats::new(PATIENCE), Instant::now());
        for round in 0..30 {
            now += Duration::from_millis(100);
            let alive = alive.iter().map(|id| ((*id).clone(), round));
            heartbeats.round(alive.chain(dead.iter().map(|id| ((*id).clone(), 9))), now);
        }
        let all = [own].into_iter().chain(alive.iter().chain(dead).copied());
        Self {
            lives: all.map(told).collect(),
            heartbeats,
            now,
            own: own.clone(),
        }
    }

    fn take(&self, forgotten: &[(&str, u64)]) -> Census {
        let forgotten = forgotten.iter().map(|(id, to)| ((*id).to_owned(), *to));
        take(
            self.lives.clone(),
            &self.own,
            &self.heartbeats,
            &forgotten.collect(),
            self.now,
        )
    }

    /// Id, incarnation, and whether it is alive.
    fn members(&self, forgotten: &[(&str, u64)]) -> Vec<(String, u64, bool)> {
        let members = self.take(forgotten).members.into_iter();
        members
            .map(|status| status.member)
            .map(|member| (member.id.to_string(), member.incarnation, member.is_alive))
            .collect()
    }
}

fn row(id: &str, incarnation: u64, is_alive: bool) -> (String, u64, bool) {
    (id.to_owned(), incarnation, is_alive)
}

#[test]
fn restart_at_the_same_address_counts_at_once() {
    let (own, before, after) = (life("a", 1, 1), life("b", 1, 2), life("b", 2, 2));
    let cluster = Cluster::new(&own, &[&before, &after], &[]);
    let want = [row("a", 1, true), row("b", 2, true)];
    assert_eq!(cluster.members(&[]), want);
    assert_eq!(cluster.take(&[]).duplicate, None);
}

#[test]
fn restart_at_another_address_counts_once_the_earlier_life_is_dead() {
    let (own, before, after) = (life("a", 1, 1), life("b", 1, 2), life("b", 2, 3));
    let both = Cluster::new(&own, &[&before, &after], &[]);
    assert_eq!(both.members(&[]), [row("a", 1, true), row("b", 1, true)]);
    let one = Cluster::new(&own, &[&after], &[&before]);
    assert_eq!(one.members(&[]), [row("a", 1, true), row("b", 2, true)]);
    let none = Cluster::new(&own, &[], &[&before, &after]);
    assert_eq!(none.members(&[]), [row("a", 1, true), row("b", 2, false)]);
}

#[test]
fn another_node_with_our_id_is_found_and_the_later_one_stands_back() {
    let (early, late) = (life("a", 1, 1), life("a", 2, 2));
    let of = |own, other: &LifeId| Cluster::new(own, &[other], &[]).take(&[]).duplicate;
    let duplicate = |gossip_address, is_earlier| Duplicate {
        gossip_address,
        is_earlier,
    };
    let want = duplicate(late.gossip_address, false);
    assert_eq!(of(&early, &late), Some(want));
    let want = duplicate(early.gossip_address, true);
    assert_eq!(of(&late, &early), Some(want));
    let dead = Cluster::new(&late, &[], &[&early]);
    assert_eq!(dead.take(&[]).duplicate, None, "our own life before");
}

#[test]
fn who_has_left_does_not_count() {
    let (own, gone) = (life("a", 1, 1), life("b", 1, 2));
    let mut cluster = Cluster::new(&own, &[&gone], &[]);
    cluster.lives[1].1.has_left = true;
    assert_eq!(cluster.members(&[]), [row("a", 1, true)]);
}

#[test]
fn the_dead_are_forgotten_when_asked_and_the_living_are_not() {
    let (own, dead, alive) = (life("a", 1, 1), life("b", 5, 2), life("c", 5, 3));
    let cluster = Cluster::new(&own, &[&alive], &[&dead]);
    let (a, c) = (row("a", 1, true), row("c", 5, true));
    let all = [a.clone(), row("b", 5, false), c.clone()];
    assert_eq!(cluster.members(&[("b", 4), ("c", 9)]), all);
    assert_eq!(cluster.members(&[("b", 5), ("c", 9)]), [a, c]);
}

#[test]
fn member_with_another_cluster_seed_is_known() {
    let (own, other) = (life("a", 1, 1), life("b", 1, 2));
    let mut cluster = Cluster::new(&own, &[&other], &[]);
    cluster.lives[1].1.cluster_seed = "other".to_owned();
    let census = cluster.take(&[]);
    let seeds: Vec<_> = census
        .members
        .iter()
        .map(|status| (status.is_self, status.has_our_cluster_seed))
        .collect();
    assert_eq!(seeds, [(true, true), (false, false)]);
}
