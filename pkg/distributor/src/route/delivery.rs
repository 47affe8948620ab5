//! The spans of one generator, until it is known what became of them.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{Push, PushOutcome};
use ring::{Member, Placement};
use server::nodes::PushMetadata;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::{ClusterPusherDependencies, OwnGenerator, Parcel};
use crate::generator_client::{Answer, Sent};

/// The pause before spans whose fate is in doubt are sent again, doubled from the first to
/// the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// How long an answer is still waited for when its generator is taken for dead: what it
/// applies and nobody hears of is counted twice.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A share on its way to its owner.
#[derive(Debug)]
pub(super) struct Delivery<'a> {
    pub(super) dependencies: &'a ClusterPusherDependencies,
    pub(super) push: &'a Push,
    /// As it was when the share was split.
    pub(super) owner: Member,
    /// What it was split by.
    pub(super) placement: u64,
    pub(super) request: Bytes,
    pub(super) spans: u64,
    /// Those lives of generators that did not take it.
    pub(super) gone: Vec<(Arc<str>, u64)>,
    /// The owner may have it from an earlier push of the same bytes.
    pub(super) was_in_doubt: bool,
    pub(super) deadline: Instant,
}

/// What became of a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// It was applied.
    Applied(PushOutcome),
    /// Nobody will ever take it.
    Refused { problem: String },
    /// The owner does not take it, and the next one is to have it.
    Elsewhere {
        reason: String,
        /// The owner is gone and may have applied it.
        is_in_doubt: bool,
    },
    /// The time is up, or the owner has enough to do.
    GivenUp {
        reason: String,
        /// It may have been applied, or may yet be.
        is_in_doubt: bool,
    },
}

impl Delivery<'_> {
    /// What is left to deliver, to others.
    pub(super) fn elsewhere(self) -> Parcel {
        let mut gone = self.gone;
        gone.push((self.owner.id, self.owner.incarnation));
        Parcel {
            request: self.request,
            gone,
        }
    }

    /// Sends it until it is known what became of it, or the time is up.
    ///
    /// Not cancel-safe: whether a dropped one was applied is unknown.
    pub(super) async fn run(&self) -> Delivered {
        let mut is_in_doubt = self.was_in_doubt;
        let mut pause = FIRST_PAUSE;
        loop {
            let reason = match self.attempt().await {
                Answer::Applied(outcome) => return Delivered::Applied(outcome),
                Answer::Refused { problem } => return Delivered::Refused { problem },
                Answer::NotApplied { reason } | Answer::Unknown { reason } => {
                    return Delivered::Elsewhere {
                        reason,
                        is_in_doubt,
                    };
                }
                Answer::NotSent { reason } if !is_in_doubt => {
                    return Delivered::Elsewhere {
                        reason,
                        is_in_doubt,
                    };
                }
                Answer::Busy { reason } => {
                    return Delivered::GivenUp {
                        reason,
                        is_in_doubt,
                    };
                }
                // That it cannot be reached now says nothing of what it got before.
                Answer::NotSent { reason } => reason,
                Answer::InDoubt { reason } => {
                    is_in_doubt = true;
                    reason
                }
            };
            let left = self.left();
            tokio::select! {
                // The same each time where both have come: what is simulated is repeatable.
                biased;
                () = self.owner_is_gone() => {
                    return Delivered::Elsewhere { reason, is_in_doubt };
                }
                () = sleep(pause.min(left)) => {}
            }
            if self.left().is_zero() {
                return Delivered::GivenUp {
                    reason,
                    is_in_doubt,
                };
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Sends it once. If the owner dies in the meantime, its answer has only a moment to come:
    /// one that others have only lost sight of still gives it.
    async fn attempt(&self) -> Answer {
        let clients = &self.dependencies.clients;
        let metadata = self.metadata(clients.remote_timeout().min(self.left()));
        if let Some(own) = self.own() {
            // What goes over the wire is to be on its way meanwhile.
            yield_now().await;
            let answer = Answer::of(own.take(metadata, self.request.clone()));
            clients.of(&self.owner).counts(&answer);
            return answer;
        }
        let client = clients.of(&self.owner);
        let sent = Arc::new(Sent::default());
        let mut answer = pin!(client.push(metadata, self.request.clone(), &sent));
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            () = self.owner_is_gone() => {}
        }
        let reason = "it has left the ring".to_owned();
        if sent.withdraw() {
            return Answer::NotSent { reason };
        }
        let answered = timeout(LAST_WORD, answer).await;
        answered.unwrap_or(Answer::InDoubt { reason })
    }

    /// The owner, if it is the generator in this process.
    fn own(&self) -> Option<&OwnGenerator> {
        let dependencies = self.dependencies;
        let is_own =
            self.owner.id == dependencies.id && self.owner.incarnation == dependencies.incarnation;
        dependencies.own.as_ref().filter(|_| is_own)
    }

    fn metadata(&self, expires_in: Duration) -> PushMetadata {
        let dependencies = self.dependencies;
        PushMetadata {
            tenant: self.push.tenant.clone(),
            sender: Arc::clone(&dependencies.id),
            incarnation: dependencies.incarnation,
            sent_at: Instant::now().saturating_duration_since(dependencies.began),
            expires_in,
            placement: self.placement,
            skip_metrics: self.push.skip_metrics,
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits until the life of the owner that it was sent to has ended, as the ring sees it.
    ///
    /// Cancel-safe.
    async fn owner_is_gone(&self) {
        let ring = &self.dependencies.ring;
        ring.until(|placement| !lives(placement, &self.owner)).await;
    }
}

/// Whether a member is still there and alive, and the same as it was.
fn lives(placement: &Placement, owner: &Member) -> bool {
    let members = placement.members();
    let found = members.binary_search_by(|member| member.id.cmp(&owner.id));
    let found = found.ok().and_then(|index| members.get(index));
    found.is_some_and(|member| member.is_alive && member.incarnation == owner.incarnation)
}
