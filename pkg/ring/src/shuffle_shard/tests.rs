use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::member::Member;
use crate::sample::{generator, generators, id, in_three_zones, tokens};
use crate::tokens::TOKENS;

fn tenant(number: usize) -> TenantId {
    TenantId::parse(&format!("tenant-{number}")).unwrap()
}

fn shard(members: &[Member], number: usize, size: usize) -> Shard {
    let placement = Arc::new(Placement::new(members.to_vec()));
    Shard::new(placement, &tenant(number), size)
}

fn ids(shard: &Shard) -> BTreeSet<String> {
    let ids = shard
        .members()
        .map(|index| id(&shard.placement, Some(index)));
    ids.map(|id| id.unwrap().to_owned()).collect()
}

fn owner(shard: &Shard, token: Token) -> Option<&str> {
    id(shard.placement(), shard.owner(token))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// forall clusters and sizes: who joins takes a place and at most one other loses it;
    /// no token moves between two that stay. Read backwards, so it is when one leaves.
    #[test]
    fn who_comes_or_goes_changes_one_place(
        members in generators(2..=16), size in 1_usize..8, number in 0_usize..99,
        joiner in any::<prop::sample::Index>()
    ) {
        let joiner = joiner.get(&members).id.clone();
        let after = shard(&members, number, size);
        let mut members = members;
        members.retain(|member| member.id != joiner);
        let before = shard(&members, number, size);

        let (was, is) = (ids(&before), ids(&after));
        let came: Vec<&String> = is.difference(&was).collect();
        let went: Vec<&String> = was.difference(&is).collect();
        prop_assert!(came.is_empty() || came == [&*joiner]);
        prop_assert!(went.len() <= came.len());
        prop_assert_eq!(went.is_empty(), came.is_empty() || was.len() < size);
        for token in tokens() {
            let (was, is) = (owner(&before, token), owner(&after, token));
            prop_assert!(
                was == is
                    || is == Some(&*joiner)
                    || went.iter().any(|went| was == Some(went.as_str()))
            );
        }
    }

    /// forall clusters and sizes: as many as asked for, zones equally as far as they can.
    #[test]
    fn zones_have_equally_many_as_far_as_they_can(
        members in generators(1..=20), size in 1_usize..24, number in 0_usize..99
    ) {
        let of_zone = |members: &mut dyn Iterator<Item = &Member>| {
            let mut zones = BTreeMap::new();
            for member in members {
                *zones.entry(member.zone.clone()).or_insert(0_usize) += 1;
            }
            zones
        };
        let shard = shard(&members, number, size);
        let chosen = shard.members().filter_map(|index| shard.placement().member(index));
        let chosen = of_zone(&mut chosen.collect::<Vec<_>>().into_iter());
        prop_assert_eq!(chosen.values().sum::<usize>(), size.min(members.len()));
        let most = chosen.values().copied().max().unwrap();
        for (zone, has) in of_zone(&mut members.iter()) {
            let gives = chosen.get(&zone).copied().unwrap_or_default();
            prop_assert!(gives == has || gives + 1 >= most, "{zone}: {gives} of {has}");
        }
    }

    /// forall clusters: without some is the part once all know that they are dead.
    #[test]
    fn part_without_some_is_the_part_to_come(
        members in generators(1..=9), size in 0_usize..5, number in 0_usize..99,
        gone in prop::collection::vec(0_u16..9, 0..9)
    ) {
        let before = shard(&members, number, size);
        let gone: Vec<MemberIndex> = gone.into_iter().map(MemberIndex).collect();
        let mut left = before.placement().members().to_vec();
        for index in &gone {
            if let Some(member) = left.get_mut(usize::from(index.0)) {
                member.is_alive = false;
            }
        }
        let after = shard(&left, number, size);
        let without = before.without(&gone);
        for token in tokens() {
            prop_assert_eq!(owner(&without, token), owner(&after, token));
        }
        let next = before.next_owner(Token(7), &gone);
        prop_assert_eq!(id(before.placement(), next), owner(&after, Token(7)));
    }
}

#[test]
fn size_of_zero_or_of_the_ring_is_the_ring() {
    let members = in_three_zones(0..7);
    for size in [0, 7, 8, usize::MAX] {
        let shard = shard(&members, 1, size);
        assert_eq!(shard.chosen, Chosen::All, "{size}");
        for token in tokens() {
            assert_eq!(shard.owner(token), shard.placement().owner(token));
        }
    }
}

#[test]
fn tokens_are_owned_within_the_part() {
    let shard = shard(&in_three_zones(0..9), 1, 3);
    let chosen: Vec<MemberIndex> = shard.members().collect();
    assert_eq!(chosen.len(), 3);
    let owners: BTreeSet<_> = tokens().map(|token| shard.owner(token).unwrap()).collect();
    assert_eq!(owners, chosen.iter().copied().collect());

    // Once the three are gone, three others are there, and when all are, nobody is.
    let next: Vec<MemberIndex> = shard.without(&chosen).members().collect();
    assert_eq!(next.len(), 3);
    assert!(next.iter().all(|index| !chosen.contains(index)));
    let all: Vec<MemberIndex> = (0..9).map(MemberIndex).collect();
    assert_eq!(shard.next_owner(Token(7), &all), None);
    assert_eq!(
        shard.without(&all[..5]).without(&all[5..]).owner(Token(7)),
        None
    );
}

/// Generators that are already there lose tokens to the joiner alone; when it has all of
/// its tokens, one of them loses its place.
#[test]
fn joiner_is_there_besides_the_others_until_it_has_all_its_tokens() {
    let mut displaced = 0;
    for number in 0..20 {
        let before = shard(&in_three_zones(0..9), number, 3);
        let mut last = before.clone();
        for tokens_now in [0, 1, 128, TOKENS - 1] {
            let mut members = in_three_zones(0..10);
            members[9].tokens = tokens_now;
            let now = shard(&members, number, 3);
            for token in tokens() {
                let (was, is) = (owner(&last, token), owner(&now, token));
                assert!(was == is || is == Some("generator-9"));
            }
            assert!(ids(&now).is_superset(&ids(&before)));
            last = now;
        }
        let full = ids(&shard(&in_three_zones(0..10), number, 3));
        assert_eq!(full.len(), 3);
        displaced += usize::from(full.contains("generator-9"));
    }
    // It is the first of the four of its zone for about one tenant in four.
    assert_eq!(displaced, 4);
}

#[test]
fn generators_without_tokens_yet_are_not_chosen() {
    let mut members = in_three_zones(0..3);
    for member in &mut members[..2] {
        member.tokens = 0;
    }
    for number in 0..20 {
        assert_eq!(
            owner(&shard(&members, number, 1), Token(7)),
            Some("generator-2")
        );
    }
}

/// Nodes of every version choose so.
#[test]
fn choice_never_changes() {
    let chosen = |number| {
        let shard = shard(&in_three_zones(0..64), number, 4);
        shard.members().map(|index| index.0).collect::<Vec<u16>>()
    };
    assert_eq!(chosen(1), [14, 24, 58, 22]);
    assert_eq!(chosen(2), [4, 44, 22, 39]);
}

#[test]
fn tenants_are_spread_over_all_generators() {
    let members: Vec<Member> = (0..12).map(generator).collect();
    let placement = Arc::new(Placement::new(members));
    let mut tenants = vec![0; 12];
    for number in 0..4_000 {
        for index in Shard::new(placement.clone(), &tenant(number), 3).members() {
            tenants[usize::from(index.0)] += 1;
        }
    }
    for tenants in tenants {
        assert!((900..1_100).contains(&tenants), "{tenants}");
    }
}
