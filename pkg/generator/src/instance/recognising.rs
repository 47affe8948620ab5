//! What comes again counts once (D36).

use std::time::Duration;

use model::{Push, PushError, PushOutcome};

use super::Instance;
use crate::ledger::Ledger;
use crate::recognised::{Earlier, Recognition};

/// What the client of a copy is told to wait: far longer than a push takes.
const RETRY_AFTER_COPY: Duration = Duration::from_secs(1);

impl Instance {
    /// Applies a push unless it was applied before; the answer is the same.
    ///
    /// # Errors
    ///
    /// [`PushError::Malformed`], and [`PushError::Unavailable`] while a copy is being
    /// applied; then nothing was applied.
    pub(crate) fn push(&self, push: &Push) -> Result<PushOutcome, PushError> {
        let recognised = match &self.recognised {
            // What is not to be counted cannot count twice.
            Some(recognised) if !push.skip_metrics => recognised,
            _ => return self.apply(push),
        };
        let now = self.clock.unix_nanos();
        match recognised.recognise(&push.request, now) {
            Recognition::New(pending) => {
                let outcome = self.apply(push)?;
                pending.applied(&outcome, now);
                Ok(outcome)
            }
            Recognition::Applied(outcome) => {
                self.count_duplicate(push, &outcome);
                Ok(outcome)
            }
            Recognition::BeingApplied => Err(PushError::Unavailable {
                reason: "a copy of the request is being applied".to_owned(),
                retry_after: RETRY_AFTER_COPY,
            }),
        }
    }

    /// What became of an earlier copy of a push, which itself is not applied.
    pub(crate) fn earlier(&self, push: &Push) -> Earlier {
        let earlier = match &self.recognised {
            Some(recognised) if !push.skip_metrics => {
                recognised.earlier(&push.request, self.clock.unix_nanos())
            }
            _ => Earlier::None,
        };
        if let Earlier::Applied(outcome) = &earlier {
            self.count_duplicate(push, outcome);
        }
        earlier
    }

    fn count_duplicate(&self, push: &Push, outcome: &PushOutcome) {
        let ledger = Ledger::duplicate(outcome.spans);
        self.metrics.pushed(push.request.len(), &ledger);
    }
}
