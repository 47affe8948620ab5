//! Whether the process takes work.

use std::fmt;
use std::sync::Arc;

use lifecycle::Shutdown;
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
pub(crate) struct Readiness {
    stage: Arc<Mutex<Stage>>,
    stopping: Shutdown,
}

impl Readiness {
    pub(crate) fn new() -> Self {
        Self {
            stage: Arc::new(Mutex::new(Stage::Starting)),
            stopping: Shutdown::new(),
        }
    }

    pub(crate) fn enter(&self, stage: Stage) {
        *self.stage.lock() = stage;
        if stage == Stage::Stopping {
            self.stopping.trigger();
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.lock()
    }

    /// The signal that is given when the process begins to stop.
    pub(crate) fn stopping(&self) -> &Shutdown {
        &self.stopping
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
