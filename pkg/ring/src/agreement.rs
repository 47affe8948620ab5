//! Whether two nodes place alike.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::lookup::Placement;

/// A number that is the same for placements that give every token to the same members.
///
/// Only who owns tokens counts: a distributor that comes or goes changes nothing.
pub fn hash(placement: &Placement) -> u64 {
    let owners = placement.members().iter().filter(|m| m.owns_tokens());
    owners.fold(0, |hash, member| {
        let hash = xxh3_64_with_seed(member.id.as_bytes(), hash);
        let hash = xxh3_64_with_seed(member.zone.as_bytes(), hash);
        let tokens = xxh3_64_with_seed(&member.tokens.to_le_bytes(), member.token_seed);
        xxh3_64_with_seed(&tokens.to_le_bytes(), hash)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::member::{Member, MemberState, Role};

    fn member(id: &str) -> Member {
        Member {
            id: id.into(),
            incarnation: 1,
            role: Role::Generator,
            state: MemberState::Active,
            zone: Arc::default(),
            address: "127.0.0.1:9095".parse().unwrap(),
            token_seed: 7,
            tokens: 4,
            version: Arc::default(),
            is_alive: true,
        }
    }

    fn of(members: Vec<Member>) -> u64 {
        hash(&Placement::new(members))
    }

    #[test]
    fn only_what_moves_tokens_changes_it() {
        let before = of(vec![member("a"), member("b")]);
        let distributor = Member {
            role: Role::Distributor,
            ..member("d")
        };
        let restarted = Member {
            incarnation: 2,
            version: "2".into(),
            address: "127.0.0.1:1".parse().unwrap(),
            ..member("b")
        };
        assert_eq!(of(vec![restarted, distributor, member("a")]), before);
        for (what, changed) in [
            ("gone", vec![member("a")]),
            (
                "seed",
                vec![
                    member("a"),
                    Member {
                        token_seed: 8,
                        ..member("b")
                    },
                ],
            ),
            (
                "tokens",
                vec![
                    member("a"),
                    Member {
                        tokens: 5,
                        ..member("b")
                    },
                ],
            ),
            (
                "zone",
                vec![
                    member("a"),
                    Member {
                        zone: "z".into(),
                        ..member("b")
                    },
                ],
            ),
            ("id", vec![member("a"), member("c")]),
            (
                "dead",
                vec![
                    member("a"),
                    Member {
                        is_alive: false,
                        ..member("b")
                    },
                ],
            ),
        ] {
            assert_ne!(of(changed), before, "{what}");
        }
    }
}
