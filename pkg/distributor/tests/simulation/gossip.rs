//! A model of gossip: what each node knows of the others, and when. What a node says of
//! itself is production's; who is alive is told by the same rule as there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ring::lifecycler::Lifecycler;
use ring::{Member, MemberState, RingView, Role};

use crate::network::Network;
use crate::world::World;

/// How often what was heard is looked at; a node gossips every second time.
pub(crate) const LOOK: Duration = Duration::from_millis(100);
/// Rounds of gossip between two looks, and nodes that each asks in one.
const LOOKS_A_ROUND: u64 = 2;
const ASKED: usize = 3;
/// How long a node may be silent.
const PATIENCE: Duration = Duration::from_millis(1_600);
/// How often a heartbeat has to be heard to rise.
const RISES: u32 = 2;

#[derive(Clone)]
pub(crate) struct Gossip(Arc<Inner>);

struct Inner {
    world: World,
    network: Network,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    looks: u64,
    nodes: Vec<Node>,
}

struct Node {
    name: Arc<str>,
    address: SocketAddr,
    role: Role,
    token_seed: u64,
    view: RingView,
    /// Nodes of different parts do not hear each other.
    part: u64,
    life: Option<Life>,
}

struct Life {
    incarnation: u64,
    lifecycler: Lifecycler,
    has_left: bool,
    heartbeat: u64,
    known: BTreeMap<usize, Arc<News>>,
    heard: BTreeMap<usize, Heard>,
    last_look: Instant,
    doubted_until: Option<Instant>,
    last_heard: Option<Instant>,
}

/// What is known of a node.
struct News {
    heartbeat: u64,
    has_left: bool,
    member: Member,
}

struct Heard {
    incarnation: u64,
    heartbeat: u64,
    rises: u32,
    last: Instant,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Gossip {
    pub(crate) fn new(world: World, network: Network) -> Self {
        Self(Arc::new(Inner {
            world,
            network,
            state: Mutex::default(),
        }))
    }

    /// A node that is not there yet; its number.
    pub(crate) fn add(&self, name: &Arc<str>, address: SocketAddr, role: Role) -> usize {
        let token_seed = self.0.world.number(0, u64::MAX);
        let mut state = self.0.state.lock();
        state.nodes.push(Node {
            name: Arc::clone(name),
            address,
            role,
            token_seed,
            view: RingView::default(),
            part: 0,
            life: None,
        });
        state.nodes.len() - 1
    }

    /// The ring as a node sees it.
    pub(crate) fn view(&self, node: usize) -> RingView {
        self.0.state.lock().nodes[node].view.clone()
    }

    /// Begins a life of a node.
    pub(crate) fn join(&self, node: usize, incarnation: u64) {
        let now = now();
        let mut state = self.0.state.lock();
        let node = &mut state.nodes[node];
        node.life = Some(Life {
            incarnation,
            lifecycler: Lifecycler::new(node.role, now),
            has_left: false,
            heartbeat: 0,
            known: BTreeMap::new(),
            heard: BTreeMap::new(),
            last_look: now,
            doubted_until: None,
            last_heard: None,
        });
        node.view.update(Vec::new());
    }

    pub(crate) fn set_state(&self, node: usize, to: MemberState) {
        let mut state = self.0.state.lock();
        if let Some(life) = &mut state.nodes[node].life {
            life.lifecycler.set_state(to, now());
        }
    }

    /// Says that a node leaves.
    pub(crate) fn leave(&self, node: usize) {
        if let Some(life) = &mut self.0.state.lock().nodes[node].life {
            life.has_left = true;
        }
    }

    pub(crate) fn end(&self, node: usize) {
        let mut state = self.0.state.lock();
        state.nodes[node].life = None;
    }

    /// Whether a node says that it leaves.
    pub(crate) fn is_leaving(&self, node: usize) -> bool {
        let state = self.0.state.lock();
        let life = state.nodes[node].life.as_ref();
        life.is_some_and(|life| life.lifecycler.at(now()).0 == MemberState::Leaving)
    }

    /// Puts nodes into parts that do not hear each other.
    pub(crate) fn divide(&self, part_of: impl Fn(usize) -> u64) {
        for (number, node) in self.0.state.lock().nodes.iter_mut().enumerate() {
            node.part = part_of(number);
        }
    }

    /// When a node last heard of another; none while it is alone.
    pub(crate) fn last_heard(&self, node: usize) -> Option<Instant> {
        let state = self.0.state.lock();
        state.nodes[node].life.as_ref()?.last_heard
    }

    /// Whether every node sees those alive that are, and no other.
    pub(crate) fn disagreement(&self) -> Option<String> {
        let state = self.0.state.lock();
        let there = state.nodes.iter().filter(|node| node.life.is_some());
        let mut want: Vec<_> = there.clone().map(|node| node.name.clone()).collect();
        want.sort();
        there.clone().find_map(|node| {
            let placement = node.view.placement();
            let alive = placement.members().iter().filter(|member| member.is_alive);
            let seen: Vec<_> = alive.map(|member| member.id.clone()).collect();
            (seen != want).then(|| format!("{} sees {seen:?} of {want:?}", node.name))
        })
    }

    /// Gossips and looks.
    pub(crate) fn tick(&self) {
        let Inner {
            world,
            network,
            state,
        } = &*self.0;
        let mut state = state.lock();
        let now = now();
        state.looks += 1;
        let running: Vec<_> = (0..state.nodes.len())
            .filter(|number| {
                let node = &state.nodes[*number];
                node.life.is_some() && !network.is_frozen(&node.name)
            })
            .collect();
        for number in &running {
            state.nodes[*number].speak(*number, now);
        }
        if state.looks.is_multiple_of(LOOKS_A_ROUND) {
            for number in &running {
                let others: Vec<_> = running.iter().filter(|other| *other != number).collect();
                for _ in 0..ASKED {
                    let Some(other) = world.pick(&others) else {
                        continue;
                    };
                    if state.nodes[*number].part != state.nodes[**other].part {
                        continue;
                    }
                    let loss_percent = network.loss_percent();
                    if world.chance(loss_percent) {
                        continue;
                    }
                    state.pass_on(*number, **other);
                    if !world.chance(loss_percent) {
                        state.pass_on(**other, *number);
                    }
                }
            }
        }
        for number in &running {
            state.nodes[*number].look(*number, now, world);
        }
    }
}

impl State {
    fn pass_on(&mut self, from: usize, to: usize) {
        let known = match &self.nodes[from].life {
            Some(life) => life.known.clone(),
            None => return,
        };
        let Some(life) = &mut self.nodes[to].life else {
            return;
        };
        for (about, news) in known {
            let age = |news: &News| (news.member.incarnation, news.heartbeat);
            let is_new = life
                .known
                .get(&about)
                .is_none_or(|old| age(old) < age(&news));
            if about != to && is_new {
                life.known.insert(about, news);
            }
        }
    }
}

impl Node {
    fn speak(&mut self, number: usize, now: Instant) {
        let Some(life) = &mut self.life else {
            return;
        };
        let (state, tokens) = life.lifecycler.at(now);
        life.heartbeat += 1;
        let member = Member {
            id: Arc::clone(&self.name),
            incarnation: life.incarnation,
            role: self.role,
            state,
            zone: "".into(),
            address: self.address,
            token_seed: self.token_seed,
            tokens,
            version: "".into(),
            is_alive: true,
        };
        let news = News {
            heartbeat: life.heartbeat,
            has_left: life.has_left,
            member,
        };
        life.known.insert(number, Arc::new(news));
    }

    /// Looks at what was heard.
    fn look(&mut self, number: usize, now: Instant, world: &World) {
        let Some(life) = &mut self.life else {
            return;
        };
        if now - life.last_look > PATIENCE / 2 {
            life.doubted_until = Some(now + PATIENCE / 4);
        }
        life.last_look = now;
        let is_doubted = life.doubted_until.is_some_and(|until| now < until);
        let mut members = Vec::new();
        for (about, news) in &life.known {
            let incarnation = news.member.incarnation;
            let heard = life.heard.entry(*about).or_insert(Heard {
                incarnation,
                heartbeat: news.heartbeat,
                rises: 0,
                last: now,
            });
            if heard.incarnation < incarnation {
                *heard = Heard {
                    incarnation,
                    heartbeat: news.heartbeat,
                    rises: 0,
                    last: now,
                };
            } else if heard.heartbeat < news.heartbeat {
                heard.heartbeat = news.heartbeat;
                if !is_doubted {
                    heard.rises += 1;
                    heard.last = now;
                    if *about != number {
                        life.last_heard = Some(now);
                    }
                }
            }
            if !news.has_left {
                let mut member = news.member.clone();
                let is_heard = heard.rises >= RISES && now - heard.last <= PATIENCE;
                member.is_alive = *about == number || is_heard;
                members.push(member);
            }
        }
        members.sort_by(|one, other| one.id.cmp(&other.id));
        if self.view.placement().members() == members {
            return;
        }
        let before = self.view.placement();
        let has = |list: &[Member], member: &Member| list.contains(member);
        let new = members.iter().filter(|m| !has(before.members(), m));
        let gone = before.members().iter();
        let gone = gone.filter(|m| !members.iter().any(|other| other.id == m.id));
        let gone = gone.map(|member| format!("-{}", member.id));
        let news: Vec<_> = new.map(seen).chain(gone).collect();
        world.say(format!("{} sees {}", self.name, news.join(" ")));
        self.view.update(members);
        if self.role == Role::Distributor {
            world.book().sees(&self.name, self.view.placement());
        }
    }
}

fn seen(member: &Member) -> String {
    let state: &str = member.state.into();
    let dead = if member.is_alive { "" } else { ",dead" };
    format!("{}({state},{}{dead})", member.id, member.tokens)
}
