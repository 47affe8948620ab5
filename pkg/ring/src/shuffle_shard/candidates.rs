//! The choice of a tenant's generators.

use std::ops::Range;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::lookup::MemberIndex;
use crate::member::Member;
use crate::tokens::TOKENS;

/// Who may be chosen: the members that own tokens.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// Those of a zone stand together.
    all: Vec<Candidate>,
    zones: Vec<Zone>,
    /// How many members there are, those that own nothing included.
    members: usize,
}

#[derive(Debug)]
struct Candidate {
    index: MemberIndex,
    /// The hash of its id.
    id: u64,
    /// Whether it has all its tokens.
    is_full: bool,
}

#[derive(Debug)]
struct Zone {
    /// The hash of its name.
    name: u64,
    /// Its own in the list of all.
    members: Range<usize>,
}

/// Who was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// Everyone who owns tokens.
    All,
    /// Nobody.
    None,
    /// These.
    Some(Set),
}

/// Some members: a bit for each, by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set(Box<[u64]>);

impl Chosen {
    /// Whether a member that owns tokens is among them.
    pub(crate) fn has(&self, index: MemberIndex) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Some(set) => set.has(index),
        }
    }
}

impl Set {
    fn of(members: usize) -> Self {
        Self(vec![0; members.div_ceil(64)].into())
    }

    fn insert(&mut self, index: MemberIndex) {
        if let Some(word) = self.0.get_mut(usize::from(index.0 / 64)) {
            *word |= 1 << (index.0 % 64);
        }
    }

    /// Whether a member is in it.
    #[inline]
    pub(crate) fn has(&self, index: MemberIndex) -> bool {
        let word = self.0.get(usize::from(index.0 / 64));
        word.is_some_and(|word| word >> (index.0 % 64) & 1 == 1)
    }
}

impl Candidates {
    /// The candidates among members, which are in the order of their ids.
    pub(crate) fn of(members: &[Member]) -> Self {
        let owning = |(_, member): &(u16, &Member)| member.owns_tokens() && member.tokens > 0;
        let mut owners: Vec<_> = (0_u16..=u16::MAX).zip(members).filter(owning).collect();
        owners.sort_by_key(|(_, member)| &member.zone);
        let mut zones = Vec::new();
        let mut start = 0;
        for zone in owners.chunk_by(|(_, a), (_, b)| a.zone == b.zone) {
            let end = start + zone.len();
            let name = zone.first().map_or("", |(_, member)| &member.zone);
            zones.push(Zone {
                name: xxh3_64(name.as_bytes()),
                members: start..end,
            });
            start = end;
        }
        let all = owners.into_iter().map(|(index, member)| Candidate {
            index: MemberIndex(index),
            id: xxh3_64(member.id.as_bytes()),
            is_full: member.tokens >= TOKENS,
        });
        Self {
            all: all.collect(),
            zones,
            members: members.len(),
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = MemberIndex> + '_ {
        self.all.iter().map(|candidate| candidate.index)
    }

    /// Chooses `size` of those not left out, or all if `size` is 0 or they are no more.
    pub(crate) fn choose(&self, tenant: u64, size: usize, without: &[MemberIndex]) -> Chosen {
        let size = if size == 0 { usize::MAX } else { size };
        if without.is_empty() && size >= self.all.len() {
            return Chosen::All;
        }
        // The candidates of each zone by rank, and the zones in the tenant's order, so that
        // those which have one generator more are not the same for every tenant.
        let rank = |hash: u64| xxh3_64_with_seed(&hash.to_le_bytes(), tenant);
        let mut ranked = Vec::with_capacity(self.all.len());
        let mut zones = Vec::with_capacity(self.zones.len());
        for zone in &self.zones {
            let start = ranked.len();
            let members = self.all.get(zone.members.clone()).unwrap_or_default();
            let left = members.iter().filter(|one| !without.contains(&one.index));
            ranked.extend(left.map(|one| (rank(one.id), one)));
            let own = ranked.get_mut(start..).unwrap_or_default();
            own.sort_unstable_by_key(|(rank, one)| (*rank, one.index));
            zones.push((rank(zone.name), start..ranked.len()));
        }
        zones.sort_by_key(|(rank, _)| *rank);
        if ranked.is_empty() {
            return Chosen::None;
        }

        let mut set = Set::of(self.members);
        let mut full = 0;
        let mut is_at_end = false;
        while !is_at_end {
            is_at_end = true;
            for (_, zone) in &mut zones {
                // Up to its next one that takes a place, if there is a place left.
                while full < size
                    && let Some((_, next)) = zone.next().and_then(|next| ranked.get(next))
                {
                    is_at_end = false;
                    set.insert(next.index);
                    if next.is_full {
                        full += 1;
                        break;
                    }
                }
            }
        }
        Chosen::Some(set)
    }
}
