//! Whether a generator may have got a push.

use std::sync::atomic::{AtomicU8, Ordering};

const WAITS: u8 = 0;
const SENT: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Whether a generator may have got a push. Whoever waits for its answer and whoever sends
/// it agree: it is sent, or withdrawn before.
#[derive(Debug, Default)]
pub(crate) struct Sent(AtomicU8);

impl Sent {
    /// Notes that it is sent from now on; `false` if it was withdrawn.
    pub(super) fn begin(&self) -> bool {
        self.change(WAITS, SENT) || self.0.load(Ordering::Relaxed) == SENT
    }

    /// Whether it is sent.
    pub(super) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed) == SENT
    }

    /// Notes that it certainly did not get there.
    pub(super) fn was_not(&self) {
        self.change(SENT, WAITS);
    }

    /// Withdraws it; `false` if a generator may have it.
    pub(crate) fn withdraw(&self) -> bool {
        self.change(WAITS, WITHDRAWN) || self.0.load(Ordering::Relaxed) == WITHDRAWN
    }

    fn change(&self, from: u8, to: u8) -> bool {
        let order = Ordering::Relaxed;
        self.0.compare_exchange(from, to, order, order).is_ok()
    }
}
