//! What a node says of itself, as keys and values in gossip.
//!
//! Each key begins with the version of its format. A node reads the keys that it knows
//! and leaves the others; a later version adds keys beside these, and a value that is not
//! known, such as a state of a later version, makes its node take no traffic.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::heartbeats::LifeId;
use crate::member::{Member, MemberState, Role};
use crate::protocols::Protocols;
use crate::tokens::TOKENS;

/// What the node does: a [`Role`].
const ROLE: &str = "1.role";
/// What it takes: a [`MemberState`], or [`LEFT`].
const STATE: &str = "1.state";
/// Where it stands.
const ZONE: &str = "1.zone";
/// Where its internal gRPC listens: address and port.
const GRPC: &str = "1.grpc";
/// What its tokens come from: 16 hexadecimal digits.
const TOKEN_SEED: &str = "1.token_seed";
/// How many of its tokens it takes traffic for.
const TOKEN_COUNT: &str = "1.tokens";
/// Its version.
const VERSION: &str = "1.version";
/// How much of what it can do it does, in thousandths.
const LOAD: &str = "1.load";
/// Tells cluster seeds apart without giving them away: 8 hexadecimal digits.
const CLUSTER_SEED: &str = "1.cluster_seed";
/// Which [`Protocols`] it speaks: a node that does not say speaks the first.
const PROTOCOLS: &str = "1.protocols";
/// Before the name of a node that someone asked to forget; the value is the last
/// incarnation to be forgotten.
pub(crate) const FORGET: &str = "1.forget.";

/// The state of a node that has gone for good; it is in no member list.
const LEFT: &str = "left";

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    /// As the ring has it; whether it is alive is not its own to say.
    pub(crate) member: Member,
    /// How much of what it can do it does, from 0 on; 1 is all.
    pub(crate) load: f64,
    /// See [`CLUSTER_SEED`].
    pub(crate) cluster_seed: String,
    /// What it speaks; none if it says it in a way that is not known.
    pub(crate) protocols: Option<Protocols>,
    /// Whether it says that it goes for good.
    pub(crate) has_left: bool,
}

impl Told {
    /// Keys and values that say this.
    pub(crate) fn to_keys(&self) -> BTreeMap<&'static str, String> {
        let member = &self.member;
        let state = match self.has_left {
            true => LEFT,
            false => member.state.into(),
        };
        let role: &str = member.role.into();
        let protocols = self.protocols.unwrap_or(Protocols::OURS);
        BTreeMap::from([
            (ROLE, role.to_owned()),
            (STATE, state.to_owned()),
            (ZONE, member.zone.to_string()),
            (GRPC, member.address.to_string()),
            (TOKEN_SEED, format!("{:016x}", member.token_seed)),
            (TOKEN_COUNT, member.tokens.to_string()),
            (VERSION, member.version.to_string()),
            (LOAD, format!("{:.0}", self.load * 1000.0)),
            (CLUSTER_SEED, self.cluster_seed.clone()),
            (PROTOCOLS, protocols.to_string()),
        ])
    }

    /// What a node says by its keys; none as long as it has not said where it is, or not
    /// in a way that is known. One that speaks nothing that we do is in a state that is not
    /// known: it gets nothing from us.
    pub(crate) fn read<'a>(id: &LifeId, key: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let address: SocketAddr = key(GRPC)?.parse().ok()?;
        let role = key(ROLE)?.parse().unwrap_or(Role::Unknown);
        let state = key(STATE)?;
        let text = |name| Arc::from(key(name).unwrap_or_default());
        let thousandths: f64 = key(LOAD).and_then(|load| load.parse().ok()).unwrap_or(0.0);
        let seed = key(TOKEN_SEED).and_then(|seed| u64::from_str_radix(seed, 16).ok());
        let tokens = key(TOKEN_COUNT).and_then(|count| count.parse().ok());
        // Without a seed there are no tokens.
        let tokens: u16 = seed.and(tokens).unwrap_or(0);
        let protocols = match key(PROTOCOLS) {
            Some(said) => said.parse().ok(),
            None => Protocols::new(1, 1),
        };
        let speaks_ours = protocols.is_some_and(|said| said.common(Protocols::OURS).is_some());
        let parsed = state.parse().unwrap_or(MemberState::Unknown);
        Some(Self {
            member: Member {
                id: id.node.clone(),
                incarnation: id.incarnation,
                role,
                state: match speaks_ours {
                    true => parsed,
                    false => MemberState::Unknown,
                },
                zone: text(ZONE),
                address,
                token_seed: seed.unwrap_or_default(),
                tokens: tokens.min(TOKENS),
                version: text(VERSION),
                is_alive: false,
            },
            load: if thousandths.is_finite() {
                thousandths.max(0.0) / 1000.0
            } else {
                0.0
            },
            cluster_seed: key(CLUSTER_SEED).unwrap_or_default().to_owned(),
            protocols,
            has_left: state == LEFT,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> LifeId {
        LifeId {
            node: "g-1".into(),
            incarnation: 7,
            gossip_address: ([127, 0, 0, 1], 7946).into(),
        }
    }

    fn told() -> Told {
        Told {
            member: Member {
                id: "g-1".into(),
                incarnation: 7,
                role: Role::Generator,
                state: MemberState::ReadOnly,
                zone: "z1".into(),
                address: ([10, 0, 0, 1], 9095).into(),
                token_seed: 0xabc,
                tokens: 512,
                version: "0.1.0".into(),
                is_alive: false,
            },
            load: 0.25,
            cluster_seed: "0badcafe".to_owned(),
            protocols: Some(Protocols::OURS),
            has_left: false,
        }
    }

    /// What nodes of the versions before and after read.
    #[test]
    fn keys_and_values_are_those_of_their_version() {
        let format = fixtures::Format::new(env!("CARGO_MANIFEST_DIR"), "gossip-keys");
        let mut written = String::new();
        for (key, value) in told().to_keys() {
            assert!(key.starts_with("1."), "{key}");
            written += &format!("{key}={value}\n");
        }
        format.check(1, written.as_bytes()).unwrap();
        for (version, kept) in format.kept().unwrap() {
            let kept = String::from_utf8(kept).unwrap();
            let keys: BTreeMap<_, _> = kept
                .lines()
                .filter_map(|line| line.split_once('='))
                .collect();
            let read = Told::read(&id(), |key| keys.get(key).copied());
            assert_eq!(read, Some(told()), "{version}");
        }
    }

    #[test]
    fn node_that_speaks_nothing_of_ours_gets_nothing() {
        for (protocols, want) in [
            (None, MemberState::ReadOnly),
            (Some("1-1"), MemberState::ReadOnly),
            (Some("1-2"), MemberState::ReadOnly),
            (Some("2-3"), MemberState::Unknown),
            (Some("later"), MemberState::Unknown),
        ] {
            let mut keys = told().to_keys();
            keys.remove(PROTOCOLS);
            keys.extend(protocols.map(|said| (PROTOCOLS, said.to_owned())));
            let read = Told::read(&id(), |key| keys.get(key).map(String::as_str));
            let read = read.unwrap();
            assert_eq!(read.member.state, want, "{protocols:?}");
        }
    }

    #[test]
    fn what_a_node_says_is_read_back() {
        for has_left in [false, true] {
            let mut told = told();
            told.has_left = has_left;
            let keys = told.to_keys();
            if has_left {
                told.member.state = MemberState::Unknown;
            }
            let read = Told::read(&id(), |key| keys.get(key).map(String::as_str));
            assert_eq!(read, Some(told));
        }
    }

    #[test]
    fn values_of_a_later_version_take_no_traffic() {
        for (key, value) in [("1.state", "draining"), ("1.role", "querier")] {
            let mut keys = told().to_keys();
            keys.insert("1.state", "active".to_owned());
            let read = |keys: &BTreeMap<&str, String>| {
                let mut told = Told::read(&id(), |key| keys.get(key).map(String::as_str)).unwrap();
                told.member.is_alive = true;
                told.member.owns_tokens()
            };
            assert!(read(&keys));
            keys.insert(key, value.to_owned());
            keys.insert("2.role", "whatever".to_owned());
            assert!(!read(&keys), "{key}");
        }
    }

    #[test]
    fn nonsense_is_not_believed() {
        for (key, value, want) in [
            ("1.grpc", "nowhere", None),
            ("1.tokens", "60000", Some((512, 0.25))),
            ("1.tokens", "-1", Some((0, 0.25))),
            ("1.token_seed", "xyz", Some((0, 0.25))),
            ("1.load", "-5", Some((512, 0.0))),
            ("1.load", "NaN", Some((512, 0.0))),
        ] {
            let mut keys = told().to_keys();
            keys.insert(key, value.to_owned());
            let read = Told::read(&id(), |key| keys.get(key).map(String::as_str));
            let got = read.map(|told| (told.member.tokens, told.load));
            assert_eq!(got, want, "{key} {value}");
        }
    }
}
