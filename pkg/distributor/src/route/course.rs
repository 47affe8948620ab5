//! The course of one push: what is to be remembered of it if it does not come to its end.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use model::{Push, PushOutcome};
use ring::Member;

use super::delivery::Delivered;
use super::unfinished::{Fate, Progress, Unfinished};

/// The course of one push. Dropped before it ends, because the client has gone, all that is
/// under way is in doubt.
#[derive(Debug)]
pub(super) struct Course<'a> {
    unfinished: &'a Unfinished,
    push: &'a Push,
    /// How far an earlier try came.
    earlier: Option<Arc<Progress>>,
    /// Shares by the number of their delivery, and what became of them so far; none of those
    /// that nobody has.
    shares: Vec<Option<(Bytes, Fate)>>,
    has_sent: bool,
    has_ended: bool,
}

impl<'a> Course<'a> {
    pub(super) fn new(unfinished: &'a Unfinished, push: &'a Push) -> Self {
        Self {
            unfinished,
            push,
            earlier: unfinished.progress(push),
            shares: Vec::new(),
            has_sent: false,
            has_ended: false,
        }
    }

    /// How far an earlier try came, if there was one and it did not come to its end.
    pub(super) fn earlier(&self) -> Option<Arc<Progress>> {
        self.earlier.clone()
    }

    /// A share has been applied by an earlier try.
    pub(super) fn was_applied(&mut self, share: &Bytes, outcome: &PushOutcome) {
        let fate = Fate::Applied(outcome.clone());
        self.shares.push(Some((share.clone(), fate)));
    }

    /// A share goes on its way; gives the number of its delivery.
    pub(super) fn begins(&mut self, share: &Bytes, owner: &Member) -> usize {
        let fate = Fate::InDoubt {
            owner: Arc::clone(&owner.id),
            incarnation: owner.incarnation,
        };
        self.shares.push(Some((share.clone(), fate)));
        self.has_sent = true;
        self.shares.len() - 1
    }

    /// A delivery has ended.
    pub(super) fn settles(&mut self, number: usize, delivered: &Delivered) {
        let Some(share) = self.shares.get_mut(number) else {
            return;
        };
        match delivered {
            Delivered::Applied(outcome) => {
                if let Some((_, fate)) = share {
                    *fate = Fate::Applied(outcome.clone());
                }
            }
            Delivered::GivenUp {
                is_in_doubt: true, ..
            } => {}
            Delivered::GivenUp {
                is_in_doubt: false, ..
            }
            | Delivered::Refused { .. }
            | Delivered::Elsewhere { .. } => *share = None,
        }
    }

    /// All deliveries have ended; `is_done` says that nothing is left to remember of them.
    /// What only repeats what is known is not remembered for longer, either: who always
    /// sends the same bytes is counted again two minutes later.
    pub(super) fn ends(mut self, is_done: bool) {
        self.has_ended = is_done && (self.earlier.is_none() || !self.has_sent);
    }
}

impl Drop for Course<'_> {
    fn drop(&mut self) {
        if self.has_ended || !self.unfinished.is_on() {
            return;
        }
        let mut progress = Progress::default();
        for (share, fate) in mem::take(&mut self.shares).into_iter().flatten() {
            progress.note(&share, fate);
        }
        self.unfinished.note(self.push, progress);
    }
}
