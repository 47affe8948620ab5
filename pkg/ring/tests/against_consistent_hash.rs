//! Our ring and the crate `consistent_hash` put tokens in the same hands, given the same
//! places.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr};

use consistent_hash::{Node, RingHash, StaticHashRing};
use model::Token;
use proptest::prelude::*;
use spanmill_ring::tokens::{TOKENS, derive};
use spanmill_ring::{Member, MemberState, Placement, Role};

/// Places of each member by its number, instead of hashes.
struct Places(Vec<Vec<Token>>);

/// Takes one number, and is not a hash.
#[derive(Default)]
struct Number(u64);

impl Hasher for Number {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers of 64 bits are hashed");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn number(of: &impl Hash) -> u64 {
    let mut number = Number::default();
    of.hash(&mut number);
    number.finish()
}

impl RingHash for Places {
    fn hash_item<T: Hash>(&self, item: &T) -> u64 {
        number(item)
    }

    fn hash_vnode<K: Hash>(&self, key: &K, place: usize) -> u64 {
        u64::from(self.0[number(key) as usize][place].0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// forall clusters: the owner of a token and everyone after it, in the same order. Ours
    /// rounds tokens down to one of 2^18 stretches, so the reference is asked for those.
    #[test]
    fn owners_are_those_of_consistent_hash(
        seeds in prop::collection::vec((any::<u64>(), 1..=TOKENS), 1..9),
        tokens in prop::collection::vec(any::<u32>(), 200)
    ) {
        let members = (0_u64..).zip(&seeds).map(|(number, (token_seed, tokens))| Member {
            id: format!("generator-{number}").into(),
            incarnation: 1,
            role: Role::Generator,
            state: MemberState::Active,
            zone: "".into(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9095)),
            token_seed: *token_seed,
            tokens: *tokens,
            version: "1.0.0".into(),
            is_alive: true,
        });
        let placement = Placement::new(members.collect());

        let places: Vec<Vec<Token>> = seeds
            .iter()
            .map(|(seed, tokens)| derive(*seed, *tokens).collect())
            .collect();
        let on_places = places.iter().flatten().map(|token| token.0).step_by(97);
        let asked: Vec<u32> = tokens.into_iter().chain(on_places).chain([0, u32::MAX]).collect();
        let nodes: Vec<_> = (0_u64..)
            .zip(&places)
            .map(|(number, places)| Node::new(number).quantity(places.len()))
            .collect();
        let reference = StaticHashRing::new(Places(places), nodes.into_iter());

        for token in asked {
            let want: Vec<u64> = reference
                .calc_candidates(&u64::from(token & !0x3fff))
                .map(|node| node.key)
                .collect();
            let mut met: Vec<u64> = Vec::new();
            for index in placement.from(Token(token)) {
                if !met.contains(&u64::from(index.0)) {
                    met.push(u64::from(index.0));
                }
                if met.len() == want.len() {
                    break;
                }
            }
            prop_assert_eq!(&met, &want);
            let owner = placement.owner(Token(token)).map(|index| u64::from(index.0));
            prop_assert_eq!(owner, want.first().copied());
        }
    }
}
