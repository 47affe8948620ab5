//! The time of the runtime, which a simulation may have stand still or go on as it likes.

use std::time::{Duration, Instant};

/// This moment.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long ago a moment was.
pub(crate) fn since(moment: Instant) -> Duration {
    now().saturating_duration_since(moment)
}
