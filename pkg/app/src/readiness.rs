//! Whether the process takes work.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// A stage in the life of the process, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Starting,
    Running,
    Stopping,
}

/// The stage that the process is in; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Readiness(Arc<Mutex<Stage>>);

impl Readiness {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Stage::Starting)))
    }

    pub(crate) fn enter(&self, stage: Stage) {
        *self.0.lock() = stage;
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.0.lock()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
        })
    }
}
