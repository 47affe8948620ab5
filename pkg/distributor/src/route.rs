//! A push to the generators of a cluster: each gets the spans of the traces that it owns.
//!
//! The client's OK means that all of them have applied theirs. Spans that were certainly
//! not applied go to the next owner at once. Where that is in doubt the same bytes go to the
//! same generator again, which recognises them, for as long as it lives; only then do they
//! go on, and are counted as possibly duplicated. What is not applied in the end is told to
//! the client, which sends the whole request again: this distributor goes on where it
//! stopped, or answers as before if nothing was left to do, and for another one, split by the
//! same ring, it gives the same shares, of which those that were applied are recognised.

mod course;
mod delivery;
mod finished;
mod own;
mod tally;
mod unfinished;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use model::{ClusterSeed, Push, PushError, PushOutcome, PushSpans, TraceTokens};
use otlp::WireError;
use overrides::Overrides;
use ring::{Member, MemberIndex, RingView, agreement};
use tokio::time::Instant;

use self::course::Course;
use self::delivery::{Delivered, Delivery};
use self::finished::Finished;
pub use self::own::OwnGenerator;
use self::tally::Tally;
use self::unfinished::{Fate, Unfinished};
use crate::generator_client::GeneratorClients;
use crate::metrics::DistributorMetrics;

/// How long all attempts for a push may take together: twice what one may, and more than it
/// takes until a generator that is gone is known to be. Clients wait for ten seconds by
/// default.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hands pushes to the generators that own their traces; clones share everything.
#[derive(Clone, Debug)]
pub struct ClusterPusher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dependencies: ClusterPusherDependencies,
    unfinished: Unfinished,
    finished: Finished,
}

/// What a distributor of a cluster needs to push.
#[derive(Clone, Debug)]
pub struct ClusterPusherDependencies {
    /// The cluster.
    pub ring: RingView,
    /// What its tokens are hashed with.
    pub seed: ClusterSeed,
    /// The settings of tenants, for how many generators each uses.
    pub overrides: Overrides,
    /// The way to the generators.
    pub clients: GeneratorClients,
    /// The generator in this process, which gets what it owns without a connection; none
    /// where there is none.
    pub own: Option<OwnGenerator>,
    /// The id of this node in the ring.
    pub id: Arc<str>,
    /// Which life of this node it is.
    pub incarnation: u64,
    /// When this life began: what generators tell the age of pushes by.
    pub began: Instant,
    /// Whether the same bytes of a tenant within two minutes are the same push, as they are
    /// to generators. If not, nothing is remembered of pushes.
    pub deduplicate_pushes: bool,
    /// Where to count.
    pub metrics: DistributorMetrics,
}

/// Spans that are to be split.
#[derive(Clone, Debug)]
struct Parcel {
    request: Bytes,
    /// Those lives of generators that do not take them.
    gone: Vec<(Arc<str>, u64)>,
}

impl ClusterPusher {
    /// A pusher over a ring.
    pub fn new(dependencies: ClusterPusherDependencies) -> Self {
        Self(Arc::new(Inner {
            unfinished: Unfinished::new(dependencies.deduplicate_pushes),
            finished: Finished::new(dependencies.deduplicate_pushes),
            dependencies,
        }))
    }
}

impl PushSpans for ClusterPusher {
    async fn push(&self, push: Push) -> Result<PushOutcome, PushError> {
        let Inner {
            dependencies,
            unfinished,
            finished,
        } = &*self.0;
        let tenant = dependencies.metrics.for_tenant(&push.tenant);
        let key = finished.key(&push);
        if let Some(outcome) = key.and_then(|key| finished.answer(key)) {
            tenant.recognised(outcome.spans);
            return Ok(outcome);
        }
        let route = Route::new(dependencies, &push, Instant::now() + PATIENCE);
        let mut tally = Tally::default();
        let mut under_way = FuturesUnordered::new();
        let mut course = Course::new(unfinished, &push);
        let doubtful = route.begin(&under_way, &mut tally, &mut course);
        let doubtful = doubtful.map_err(|error| PushError::Malformed {
            problem: error.to_string(),
        })?;
        tenant.possibly_duplicated(doubtful);
        while let Some((number, delivery, delivered)) = under_way.next().await {
            course.settles(number, &delivered);
            match delivered {
                Delivered::Applied(outcome) => tally.applied(delivery.spans, outcome),
                Delivered::Refused { problem } => tally.refused(delivery.spans, problem),
                Delivered::GivenUp {
                    reason,
                    is_in_doubt,
                } => tally.given_up(delivery.spans, reason, is_in_doubt),
                Delivered::Elsewhere {
                    reason,
                    is_in_doubt,
                } => {
                    if is_in_doubt {
                        tenant.possibly_duplicated(delivery.spans);
                    }
                    tally.says(reason);
                    let spans = delivery.spans;
                    let parcel = delivery.elsewhere();
                    if let Err(error) = route.send(parcel, &under_way, &mut tally, &mut course) {
                        tally.refused(spans, error.to_string());
                    }
                }
            }
        }
        tenant.unowned(tally.unowned());
        let result = tally.result();
        let taken = result.as_ref().ok();
        course.ends(taken.is_some_and(|outcome| finished.note(key, outcome)));
        result
    }
}

/// The deliveries that are under way.
type UnderWay<'a> = FuturesUnordered<BoxFuture<'a, (usize, Delivery<'a>, Delivered)>>;

/// Where the spans of one push go.
struct Route<'a> {
    dependencies: &'a ClusterPusherDependencies,
    push: &'a Push,
    tokens: TraceTokens,
    ring_size: usize,
    deadline: Instant,
}

impl<'a> Route<'a> {
    fn new(dependencies: &'a ClusterPusherDependencies, push: &'a Push, deadline: Instant) -> Self {
        let ring_size = dependencies.overrides.for_tenant(&push.tenant).ring_size;
        Self {
            tokens: TraceTokens::new(dependencies.seed, &push.tenant),
            ring_size: usize::try_from(ring_size).unwrap_or(usize::MAX),
            dependencies,
            push,
            deadline,
        }
    }

    /// Sends all spans of the push on their way, but for those that an earlier try of it has
    /// brought to a generator. Gives how many spans go to another generator than the one
    /// that may have them, because that one is gone.
    fn begin(
        &self,
        under_way: &UnderWay<'a>,
        tally: &mut Tally,
        course: &mut Course<'_>,
    ) -> Result<u64, WireError> {
        let mut parcel = Parcel {
            request: self.push.request.clone(),
            gone: Vec::new(),
        };
        let Some(progress) = course.earlier() else {
            self.send(parcel, under_way, tally, course)?;
            return Ok(0);
        };
        let split = otlp::split::split(&parcel.request, |trace_id| {
            // The first is what has no fate yet.
            let share = progress.share_of(trace_id);
            Some(share.map_or(0, |share| share.saturating_add(1)))
        })?;
        let placement = self.dependencies.ring.placement();
        let hash = agreement::hash(&placement);
        let mut doubtful = 0;
        for share in split.shares {
            let fate = share.owner.checked_sub(1);
            let fate = fate.and_then(|number| progress.fate(number));
            parcel.request = share.request;
            match fate {
                Some(Fate::Applied(outcome)) => {
                    course.was_applied(&parcel.request, outcome);
                    tally.applied(share.spans, outcome.clone());
                }
                Some(Fate::InDoubt { owner, incarnation }) => {
                    let mut members = placement.members().iter();
                    let is_it = |member: &&Member| {
                        member.id == *owner && member.incarnation == *incarnation && member.is_alive
                    };
                    if let Some(owner) = members.find(is_it) {
                        let mut delivery = self.delivery(owner, hash, &parcel, share.spans);
                        delivery.was_in_doubt = true;
                        self.start(delivery, under_way, course);
                    } else {
                        doubtful += share.spans;
                        self.send(parcel.clone(), under_way, tally, course)?;
                    }
                }
                None => self.send(parcel.clone(), under_way, tally, course)?,
            }
        }
        Ok(doubtful)
    }

    /// Splits spans by the ring as it is now, and sends each share on its way.
    fn send(
        &self,
        parcel: Parcel,
        under_way: &UnderWay<'a>,
        tally: &mut Tally,
        course: &mut Course<'_>,
    ) -> Result<(), WireError> {
        let ring = &self.dependencies.ring;
        let shard = ring.shard(&self.push.tenant, self.ring_size);
        let gone = indexes(shard.placement().members(), &parcel.gone);
        let shard = if gone.is_empty() {
            shard
        } else {
            shard.without(&gone)
        };
        let placement = shard.placement();
        let split = otlp::split::split(&parcel.request, |trace_id| {
            let owner = shard.owner(self.tokens.of(trace_id));
            owner.map(|MemberIndex(index)| index)
        })?;
        tally.nobody_for(split.unowned_spans);
        let hash = agreement::hash(placement);
        for share in split.shares {
            let Some(owner) = placement.member(MemberIndex(share.owner)) else {
                continue;
            };
            let parcel = Parcel {
                request: share.request,
                gone: parcel.gone.clone(),
            };
            let delivery = self.delivery(owner, hash, &parcel, share.spans);
            self.start(delivery, under_way, course);
        }
        Ok(())
    }

    fn delivery(
        &self,
        owner: &Member,
        placement: u64,
        parcel: &Parcel,
        spans: u64,
    ) -> Delivery<'a> {
        Delivery {
            dependencies: self.dependencies,
            push: self.push,
            owner: owner.clone(),
            placement,
            request: parcel.request.clone(),
            spans,
            gone: parcel.gone.clone(),
            was_in_doubt: false,
            deadline: self.deadline,
        }
    }

    fn start(&self, delivery: Delivery<'a>, under_way: &UnderWay<'a>, course: &mut Course<'_>) {
        let number = course.begins(&delivery.request, &delivery.owner);
        under_way.push(Box::pin(async move {
            let delivered = delivery.run().await;
            (number, delivery, delivered)
        }));
    }
}

/// The places of those lives that are still members.
fn indexes(members: &[Member], lives: &[(Arc<str>, u64)]) -> Vec<MemberIndex> {
    let is_one = |member: &Member| {
        let mut lives = lives.iter();
        lives.any(|(id, incarnation)| member.id == *id && member.incarnation == *incarnation)
    };
    (0..)
        .map(MemberIndex)
        .zip(members)
        .filter(|(_, member)| !lives.is_empty() && is_one(member))
        .map(|(index, _)| index)
        .collect()
}
