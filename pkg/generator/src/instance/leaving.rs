//! How the instance of a tenant ends before its process does.

use std::sync::atomic::Ordering;
use std::time::Duration;

use remote_write::TenantWriter;

use super::{Instance, Turn};
use crate::recognised::Recognised;

impl Instance {
    /// Whether it can end without anybody noticing: no span has come for `after`,
    /// every series has ended and everything that was said of them is delivered,
    /// nothing waits for its counterpart, and no retry would be recognised. Never if
    /// `after` is zero.
    pub(crate) fn may_retire(&self, after: Duration) -> bool {
        let idle_ms = self
            .clock
            .unix_millis()
            .saturating_sub(self.active_ms.load(Ordering::Relaxed));
        !after.is_zero()
            && u128::from(idle_ms.max(0).unsigned_abs()) >= after.as_millis()
            && self.first_push_ms.load(Ordering::Relaxed) == 0
            && self.registry.is_empty()
            && !self.has_edges()
            && self.recognised.as_ref().is_none_or(Recognised::is_empty)
            && self.shadow.load().is_none()
            && self.writer.as_ref().is_none_or(TenantWriter::is_delivered)
    }

    /// Hands every series to remote write for the last time, each with its end; says
    /// how many ended. Later collections do nothing.
    pub(crate) fn end_series(&self) -> u64 {
        self.collect_once(Turn::Leaving)
    }
}
