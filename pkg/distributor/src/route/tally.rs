//! What became of the spans of one push.

use std::time::Duration;

use model::{PushError, PushOutcome};

/// When a client is told to come again: about as long as the ring takes to know of a change.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Spans by what became of them; each is counted once.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    applied_spans: u64,
    outcome: PushOutcome,
    refused_spans: u64,
    unowned_spans: u64,
    /// Certainly not applied, but for now.
    unavailable_spans: u64,
    unanswered_spans: u64,
    /// What the last one said that did not take them.
    reason: String,
}

impl Tally {
    pub(super) fn applied(&mut self, spans: u64, outcome: PushOutcome) {
        self.applied_spans += spans;
        self.outcome.spans += outcome.spans;
        self.outcome.rejected_spans += outcome.rejected_spans;
        let said = &mut self.outcome.message;
        if !outcome.message.is_empty() {
            if !said.is_empty() {
                said.push_str("; ");
            }
            said.push_str(&outcome.message);
        }
    }

    pub(super) fn refused(&mut self, spans: u64, problem: String) {
        self.refused_spans += spans;
        self.reason = problem;
    }

    pub(super) fn given_up(&mut self, spans: u64, reason: String, is_in_doubt: bool) {
        if is_in_doubt {
            self.unanswered_spans += spans;
        } else {
            self.unavailable_spans += spans;
        }
        self.reason = reason;
    }

    /// There is no generator for them.
    pub(super) fn nobody_for(&mut self, spans: u64) {
        self.unowned_spans += spans;
    }

    /// Why a generator did not take spans that go to another.
    pub(super) fn says(&mut self, reason: String) {
        self.reason = reason;
    }

    pub(super) fn unowned(&self) -> u64 {
        self.unowned_spans
    }

    /// What the push has come to.
    ///
    /// What is refused for good together with what is not is worth a retry: what was applied
    /// is recognised then.
    pub(super) fn result(self) -> Result<PushOutcome, PushError> {
        let unavailable = self.unowned_spans + self.unavailable_spans;
        let not_applied = self.refused_spans + unavailable + self.unanswered_spans;
        if not_applied == 0 {
            return Ok(self.outcome);
        }
        if not_applied == self.refused_spans && self.applied_spans == 0 {
            return Err(PushError::Malformed {
                problem: self.reason,
            });
        }
        let nobody = "no generator is active in the ring";
        let reason = match (self.unowned_spans, self.reason) {
            (1.., said) if said.is_empty() => nobody.to_owned(),
            (1.., said) => format!("{nobody}; the last said: {said}"),
            (0, said) => said,
        };
        if self.applied_spans == 0 && unavailable == not_applied {
            return Err(PushError::Unavailable {
                reason,
                retry_after: RETRY_AFTER,
            });
        }
        Err(PushError::Incomplete {
            applied_spans: self.applied_spans,
            unanswered_spans: self.unanswered_spans,
            reason,
            retry_after: RETRY_AFTER,
        })
    }
}
