//! Members for tests.

use std::net::{Ipv4Addr, SocketAddr};

use model::Token;
use proptest::prelude::*;

use crate::lookup::{MemberIndex, Placement};
use crate::member::{Member, MemberState, Role};
use crate::tokens::TOKENS;

/// An active generator with all its tokens, in a zone without name.
pub(crate) fn generator(number: u64) -> Member {
    Member {
        id: format!("generator-{number}").into(),
        incarnation: 1,
        role: Role::Generator,
        state: MemberState::Active,
        zone: "".into(),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9095)),
        token_seed: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        tokens: TOKENS,
        version: "1.0.0".into(),
        is_alive: true,
    }
}

/// Generators in zones a, b, c in turn.
pub(crate) fn in_three_zones(numbers: std::ops::Range<u64>) -> Vec<Member> {
    let zones = ["a", "b", "c"].into_iter().cycle();
    let members = numbers.zip(zones).map(|(number, zone)| Member {
        zone: zone.into(),
        ..generator(number)
    });
    members.collect()
}

/// Active generators of any seeds, in up to four zones.
pub(crate) fn generators(
    count: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Member>> {
    let seeds = prop::collection::vec((any::<u64>(), 0_usize..4), count);
    seeds.prop_map(|seeds| {
        let members = (0..).zip(seeds).map(|(number, (token_seed, zone))| Member {
            token_seed,
            zone: ["", "a", "b", "c"][zone].into(),
            ..generator(number)
        });
        members.collect()
    })
}

/// Tokens from all over the ring, its ends included.
pub(crate) fn tokens() -> impl Iterator<Item = Token> {
    let spread = (0..2_000_u32).map(|index| index.wrapping_mul(0x9e37_79b1));
    spread.chain([u32::MAX - 1, u32::MAX]).map(Token)
}

/// The id of a member of a placement.
pub(crate) fn id(placement: &Placement, index: Option<MemberIndex>) -> Option<&str> {
    let member = index.and_then(|index| placement.member(index));
    member.map(|member| &*member.id)
}
