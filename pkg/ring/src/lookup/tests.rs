use std::collections::BTreeMap;

use model::{ClusterSeed, TenantId, TraceTokens};
use proptest::prelude::*;

use super::*;
use crate::member::{MemberState, Role};
use crate::sample::{generator, generators, id, tokens};
use crate::tokens::TOKENS;

fn owner(placement: &Placement, token: Token) -> Option<&str> {
    id(placement, placement.owner(token))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// forall clusters of 3 to 64 generators: none has over 1.15 times the mean.
    #[test]
    fn parts_of_generators_are_about_equal(members in generators(3..=64)) {
        let parts = Placement::new(members).parts();
        let mean = 1.0 / parts.len() as f64;
        let most = parts.iter().fold(0.0, |most: f64, part| most.max(*part));
        prop_assert!(most <= 1.15 * mean, "{} of {}", most / mean, parts.len());
        prop_assert!((parts.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    /// forall clusters: when one joins, tokens move to it alone; when it leaves, back.
    #[test]
    fn tokens_move_to_who_joins_and_from_who_leaves(
        members in generators(1..=12), joiner in any::<prop::sample::Index>()
    ) {
        let joiner = joiner.get(&members).id.clone();
        let (after, mut before) = (Placement::new(members.clone()), members);
        before.retain(|member| member.id != joiner);
        let before = Placement::new(before);
        let mut moved = 0;
        for token in tokens() {
            let (was, is) = (owner(&before, token), owner(&after, token));
            if was != is {
                prop_assert_eq!(is, Some(&*joiner));
                moved += 1;
            }
        }
        prop_assert!(moved > 0);
    }

    /// forall clusters and steps: more tokens take from others and move nothing else.
    #[test]
    fn each_step_of_a_joiner_moves_tokens_to_it_alone(
        members in generators(2..=8), steps in prop::collection::btree_set(0..=TOKENS, 2)
    ) {
        let with = |tokens: u16| {
            let mut members = members.clone();
            members[0].tokens = tokens;
            Placement::new(members)
        };
        let steps: Vec<u16> = steps.into_iter().collect();
        let (before, after) = (with(steps[0]), with(steps[1]));
        for token in tokens() {
            let (was, is) = (owner(&before, token), owner(&after, token));
            prop_assert!(was == is || is == Some("generator-0"));
        }
    }

    /// forall clusters: the owner stands on the first place from the start of the token's
    /// stretch on, of which there are 2^18.
    #[test]
    fn owner_is_the_next_on_the_ring(members in generators(1..=5), fewer in 0..=TOKENS) {
        let mut members = members;
        members[0].tokens = fewer;
        let mut places = BTreeMap::new();
        for member in members.iter().rev() {
            for token in crate::tokens::derive(member.token_seed, member.tokens) {
                places.insert(token, member.id.clone());
            }
        }
        let placement = Placement::new(members);
        let on_places = places.keys().flat_map(|token| [*token, Token(token.0.wrapping_add(1))]);
        for token in on_places.chain(tokens()) {
            let next = places.range(Token(token.0 & !0x3fff)..).next().or_else(|| places.iter().next());
            prop_assert_eq!(owner(&placement, token), next.map(|(_, id)| &**id));
            prop_assert_eq!(placement.from(token).next(), placement.owner(token));
        }
    }
}

#[test]
fn order_of_the_list_does_not_matter() {
    let members: Vec<Member> = (0..5).map(generator).collect();
    let reversed = members.iter().rev().cloned().collect();
    let (placement, same) = (Placement::new(members), Placement::new(reversed));
    for token in tokens() {
        assert_eq!(placement.owner(token), same.owner(token));
    }
}

#[test]
fn first_by_id_comes_first_on_a_shared_place() {
    let twin = Member {
        id: "a twin".into(),
        ..generator(1)
    };
    let placement = Placement::new(vec![generator(1), twin]);
    for token in tokens() {
        let met: Vec<_> = placement.from(token).take(2).collect();
        assert_eq!(met, [MemberIndex(0), MemberIndex(1)]);
    }
    assert_eq!(placement.parts(), [1.0, 0.0]);
}

#[test]
fn only_active_living_generators_own_tokens() {
    let with = |change: fn(&mut Member)| {
        let mut changed = generator(0);
        change(&mut changed);
        Placement::new(vec![changed, generator(1)])
    };
    for (name, placement) in [
        ("joining", with(|one| one.state = MemberState::Joining)),
        ("leaving", with(|one| one.state = MemberState::Leaving)),
        ("read-only", with(|one| one.state = MemberState::ReadOnly)),
        ("dead", with(|one| one.is_alive = false)),
        ("a distributor", with(|one| one.role = Role::Distributor)),
        ("without tokens", with(|one| one.tokens = 0)),
    ] {
        assert_eq!(placement.parts(), [0.0, 1.0], "{name}");
        assert_eq!(placement.members().len(), 2, "{name}");
    }
    let both = with(|one| one.role = Role::All);
    assert!(both.parts()[0] > 0.4, "{:?}", both.parts());
}

#[test]
fn nobody_owns_a_ring_without_generators() {
    let placement = Placement::new(vec![Member {
        role: Role::Distributor,
        ..generator(0)
    }]);
    assert_eq!(placement.owner(Token(7)), None);
    assert_eq!(placement.parts(), [0.0]);
    assert_eq!(Placement::default().owner(Token(7)), None);
}

#[test]
fn ring_is_made_anew_only_if_tokens_move() {
    let members: Vec<Member> = (0..3).map(generator).collect();
    let placement = Placement::new(members.clone());
    let after = |change: fn(&mut Vec<Member>)| {
        let mut members = members.clone();
        change(&mut members);
        let after = placement.with(members);
        (Arc::ptr_eq(&placement.owners, &after.owners), after)
    };
    let (is_same, after_restart) = after(|members| members[1].incarnation = 2);
    assert!(is_same);
    assert_eq!(after_restart.members()[1].incarnation, 2);

    for (name, is_same) in [
        ("dead", after(|members| members[1].is_alive = false).0),
        ("seed", after(|members| members[1].token_seed = 9).0),
        ("tokens", after(|members| members[1].tokens = 9).0),
        ("zone", after(|members| members[1].zone = "b".into()).0),
        ("id", after(|members| members[1].id = "z".into()).0),
        ("one more", after(|members| members.push(generator(3))).0),
    ] {
        assert!(!is_same, "{name}");
    }
}

/// Nodes of every version place tokens so, and agree on who owns what.
#[test]
fn owners_never_change() {
    let placement = Placement::new((0..9).map(generator).collect());
    let owners: Vec<u16> = (0..16_u32)
        .map(|index| placement.owner(Token(index << 28)).unwrap().0)
        .collect();
    assert_eq!(owners, [4, 8, 4, 1, 1, 3, 7, 6, 4, 2, 4, 7, 5, 3, 4, 5]);
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// How many of these traces each generator owns.
fn load(placement: &Placement, tokens: TraceTokens, traces: &[[u8; 16]]) -> Vec<usize> {
    let mut load = vec![0; placement.members().len()];
    for trace in traces {
        load[usize::from(placement.owner(tokens.of(trace)).unwrap().0)] += 1;
    }
    load
}

#[test]
fn ids_made_for_another_seed_do_not_pile_up() {
    let placement = Placement::new((0..5).map(generator).collect());
    let acme = tenant("acme");
    let guessed = TraceTokens::new(ClusterSeed::from_text("guessed"), &acme);
    let crafted: Vec<[u8; 16]> = (1_u128..)
        .map(u128::to_be_bytes)
        .filter(|trace| placement.owner(guessed.of(trace)) == Some(MemberIndex(3)))
        .take(100_000)
        .collect();
    assert_eq!(load(&placement, guessed, &crafted), [0, 0, 0, 100_000, 0]);

    let real = TraceTokens::new(ClusterSeed::from_text("secret"), &acme);
    for spans in load(&placement, real, &crafted) {
        assert!((17_000..23_000).contains(&spans), "{spans}");
    }
    // Ids that pile up for one tenant do not for the next.
    let other = ClusterSeed::from_text("guessed");
    let other = TraceTokens::new(other, &tenant("umbrella"));
    for spans in load(&placement, other, &crafted) {
        assert!((17_000..23_000).contains(&spans), "{spans}");
    }
}
