//! Which generator counted which spans, by which distributor's push, and whether what was
//! counted twice may have been.
//!
//! A distributor knows what it has sent: what it sends to a second generator although a
//! first one may have it, it has to count as possibly duplicated. Two distributors know
//! nothing of each other. They send the same bytes to the same generator, which recognises
//! them, unless they see different rings or one of them cannot reach that generator.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use model::TraceTokens;
use parking_lot::Mutex;
use prost::Message as _;
use proto::otlp::collector::ExportTraceServiceRequest;
use ring::{Placement, Shard, agreement};
use server::nodes::PushMetadata;
use tokio::time::Instant;

use crate::clients::{self, SPANS, Sent};
use crate::generators::Ended;
use crate::network::Network;
use crate::world::{World, cluster_seed, tenant};

/// How long a distributor goes round a generator that it could not reach: the time of an
/// attempt to connect that nobody waits for, and of a push before it.
const GOES_ROUND: Duration = Duration::from_secs(10);

/// A life of a node.
pub(crate) type Life = (Arc<str>, u64);

/// What was noted of all that was counted.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    shares: Vec<Share>,
    /// Generators that refused a push, by the distributor.
    refusals: Vec<(Arc<str>, Arc<str>, Instant)>,
    /// The rings of distributors, as they saw them one after the other.
    rings: BTreeMap<Arc<str>, Vec<(Instant, u64)>>,
    placements: BTreeMap<u64, Arc<Placement>>,
}

/// Spans that a life of a generator has applied once.
#[derive(Debug)]
struct Share {
    generator: Life,
    bytes: Bytes,
    /// Spans by trace.
    spans: BTreeMap<u64, u64>,
    at: Instant,
    /// By whose push it was applied, and whose were recognised.
    senders: Vec<Life>,
    /// What the first sender said that it was split by.
    placement: u64,
}

impl Book {
    /// A distributor sees another ring.
    pub(crate) fn sees(&self, distributor: &Arc<str>, placement: Arc<Placement>) {
        let hash = agreement::hash(&placement);
        let mut pages = self.0.lock();
        let seen = pages.rings.entry(Arc::clone(distributor)).or_default();
        seen.push((Instant::now(), hash));
        pages.placements.entry(hash).or_insert(placement);
    }

    /// A generator did not take a push.
    pub(crate) fn refused(&self, generator: &Arc<str>, headers: &HeaderMap) {
        let sender = PushMetadata::read(headers).unwrap().sender;
        let refusal = (Arc::clone(generator), sender, Instant::now());
        self.0.lock().refusals.push(refusal);
    }

    /// A generator has a push, now or from before.
    pub(crate) fn applied(&self, generator: Life, headers: &HeaderMap, share: Bytes) {
        let metadata = PushMetadata::read(headers).unwrap();
        let sender = (metadata.sender, metadata.incarnation);
        let mut pages = self.0.lock();
        let mut known = pages.shares.iter_mut();
        let is_it = |known: &&mut Share| known.generator == generator && known.bytes == share;
        if let Some(known) = known.find(is_it) {
            if !known.senders.contains(&sender) {
                known.senders.push(sender);
            }
            return;
        }
        let request = ExportTraceServiceRequest::decode(share.clone()).unwrap();
        pages.shares.push(Share {
            spans: clients::spans_by_trace(&request),
            generator,
            bytes: share,
            at: Instant::now(),
            senders: vec![sender],
            placement: metadata.placement,
        });
    }

    /// Checks what was counted of the traces of all requests; gives how many spans were
    /// counted twice, by why they may have been.
    pub(crate) fn check(
        &self,
        world: &World,
        network: &Network,
        sent: &[Sent],
        ended: &BTreeMap<Life, Ended>,
        possibly_duplicated: &BTreeMap<Life, u64>,
    ) -> BTreeMap<&'static str, u64> {
        let pages = self.0.lock();
        pages.check_series(world, ended);
        let mut doubles = BTreeMap::new();
        let mut of_senders = BTreeMap::<&Life, u64>::new();
        for sent in sent {
            for trace in sent.traces.clone() {
                let counted = pages.collected(trace, ended);
                for sender in senders(&counted) {
                    let its = counted
                        .iter()
                        .filter(|share| share.senders.contains(sender));
                    let double = (SPANS * its.count() as u64).saturating_sub(SPANS);
                    *of_senders.entry(sender).or_default() += double;
                }
                for (number, later) in counted.iter().enumerate().skip(1) {
                    let (earlier, _) = counted.split_at(number);
                    let of_one = |share: &&Share| shares_a_sender(share, later);
                    let why = if earlier.iter().any(of_one) {
                        Some("of one distributor")
                    } else {
                        let pair = |share: &&Share| pages.excuse(network, sent, share, later);
                        let whys: Option<Vec<_>> = earlier.iter().map(pair).collect();
                        whys.and_then(|whys| whys.into_iter().next())
                    };
                    if let Some(why) = why {
                        world.say(format!(
                            "trace {trace} is counted twice, {why}: {}; {}",
                            told(earlier),
                            told(&[later]),
                        ));
                        *doubles.entry(why).or_default() += SPANS;
                    } else {
                        world.wrong(format!(
                            "trace {trace} was sent to {} and {} by two distributors, which saw the same ring and could reach its owner: {SPANS} spans are counted twice",
                            told(earlier), told(&[later]),
                        ));
                    }
                }
            }
        }
        for (sender, double) in of_senders {
            let said = possibly_duplicated.get(sender).copied().unwrap_or(0);
            if double > said {
                world.wrong(format!(
                    "{double} spans are counted twice that {sender:?} sent to two generators, and it says that {said} may be"
                ));
            }
        }
        doubles
    }
}

impl Pages {
    /// Each share that was taken is in the series of its generator, and once.
    fn check_series(&self, world: &World, ended: &BTreeMap<Life, Ended>) {
        for (life, ended) in ended {
            let mut taken = BTreeMap::<u64, u64>::new();
            for share in self.shares.iter().filter(|share| share.generator == *life) {
                for (trace, spans) in &share.spans {
                    *taken.entry(*trace).or_default() += spans;
                }
            }
            let traces: BTreeSet<_> = taken.keys().chain(ended.counted.keys()).collect();
            for trace in traces {
                let of = |counts: &BTreeMap<u64, u64>| counts.get(trace).copied().unwrap_or(0);
                let (taken, counted) = (of(&taken), of(&ended.counted));
                if counted > taken {
                    world.wrong(format!(
                        "{} spans are counted twice: {life:?} has counted {counted} of trace {trace}, and was sent {taken}",
                        counted - taken
                    ));
                } else if counted < taken {
                    world.wrong(format!(
                        "{life:?} has taken {taken} spans of trace {trace}, and counted {counted}"
                    ));
                }
            }
        }
    }

    /// The shares of a trace that were collected, in order. What died with its generator is
    /// not in the receiver's sums.
    fn collected(&self, trace: u64, ended: &BTreeMap<Life, Ended>) -> Vec<&Share> {
        let mut left: BTreeMap<&Life, u64> = ended
            .iter()
            .filter_map(|(life, ended)| Some((life, *ended.collected.get(&trace)?)))
            .collect();
        let shares = self.shares.iter();
        let of_trace = shares.filter(|share| share.spans.contains_key(&trace));
        of_trace
            .filter(|share| {
                let Some(left) = left.get_mut(&share.generator) else {
                    return false;
                };
                let spans = share.spans[&trace];
                let is_collected = *left >= spans;
                *left = left.saturating_sub(spans);
                is_collected
            })
            .collect()
    }

    /// Why two distributors may both have brought the spans of a trace to a generator, if
    /// they may.
    fn excuse(
        &self,
        network: &Network,
        sent: &Sent,
        one: &Share,
        other: &Share,
    ) -> Option<&'static str> {
        let same_node = one.generator.0 == other.generator.0;
        if same_node && one.generator.1 != other.generator.1 {
            return Some("its generator had begun anew");
        }
        let ways = [one, other].map(|share| self.split_by(sent, share));
        match ways {
            [Some(one), Some(other)] if one != other => return Some("by another ring"),
            // They gave the same generator the same bytes, or else the same to two.
            [Some(_), Some(_)] => return None,
            _ => {}
        }
        let went_round = [one, other]
            .iter()
            .zip(ways)
            .all(|(share, way)| way.is_some() || self.is_in_the_way(network, sent, share));
        if went_round {
            return Some("its owner was out of reach");
        }
        let changed = [one, other].iter().zip(ways).all(|(share, way)| {
            way.is_some()
                || self.is_in_the_way(network, sent, share)
                || self.rings(sent, share).len() > 1
        });
        changed.then_some("the ring had changed")
    }

    /// By which ring a share was split, if it is what this ring gives its generator: all of
    /// the request, and nothing else.
    fn split_by(&self, sent: &Sent, share: &Share) -> Option<u64> {
        let fits = |hash: &u64| {
            let Some(placement) = self.placements.get(hash) else {
                return false;
            };
            let shard = Shard::new(Arc::clone(placement), &tenant(), 0);
            let tokens = TraceTokens::new(cluster_seed(), &tenant());
            let owner = |trace: u64| {
                let owner = shard.owner(tokens.of(&clients::trace_id(trace)))?;
                let member = placement.member(owner)?;
                Some(Arc::clone(&member.id))
            };
            let is_its = |trace: &u64| owner(*trace).as_ref() == Some(&share.generator.0);
            let its: Vec<_> = sent.traces.clone().filter(is_its).collect();
            its.iter().eq(share.spans.keys())
        };
        let said = Some(share.placement).filter(&fits);
        said.or_else(|| self.rings(sent, share).into_iter().find(fits))
    }

    /// The rings that the sender of a share saw from the begin of the request on.
    fn rings(&self, sent: &Sent, share: &Share) -> BTreeSet<u64> {
        let Some(seen) = self.rings.get(&share.senders[0].0) else {
            return BTreeSet::new();
        };
        let before = seen.iter().rev().find(|(at, _)| *at <= sent.began);
        let since = seen
            .iter()
            .filter(|(at, _)| (sent.began..=share.at).contains(at));
        before
            .into_iter()
            .chain(since)
            .map(|(_, hash)| *hash)
            .collect()
    }

    /// Whether the sender of a share had cause to go round the owner of one of its traces.
    fn is_in_the_way(&self, network: &Network, sent: &Sent, share: &Share) -> bool {
        let sender = &share.senders[0].0;
        let during = sent.began.checked_sub(GOES_ROUND).unwrap_or(sent.began)..share.at;
        let rings = self.rings(sent, share);
        let placements = rings.iter().filter_map(|hash| self.placements.get(hash));
        let owners = placements.flat_map(|placement| placement.members());
        let mut owners = owners.filter(|member| member.owns_tokens());
        owners.any(|owner| {
            owner.id != share.generator.0
                && (network.was_in_the_way(sender, &owner.id, &during)
                    || self.has_refused(&owner.id, sender, &during))
        })
    }

    fn has_refused(&self, generator: &str, sender: &str, during: &Range<Instant>) -> bool {
        self.refusals.iter().any(|(by, of, at)| {
            **by == *generator && **of == *sender && (during.start..=during.end).contains(at)
        })
    }
}

fn senders<'a>(shares: &[&'a Share]) -> BTreeSet<&'a Life> {
    shares.iter().flat_map(|share| &share.senders).collect()
}

fn shares_a_sender(one: &Share, other: &Share) -> bool {
    let mut senders = one.senders.iter();
    senders.any(|sender| other.senders.contains(sender))
}

fn told(shares: &[&Share]) -> String {
    let tell = |share: &&Share| format!("{:?} by {:?}", share.generator, share.senders);
    let told: Vec<_> = shares.iter().map(tell).collect();
    told.join(", ")
}
