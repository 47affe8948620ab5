//! The lanes of one tenant: one at first, more when pushes meet.

use std::sync::OnceLock;

use parking_lot::{Mutex, MutexGuard};

use crate::lane::Lane;

/// The lanes of one tenant.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: Box<[OnceLock<Mutex<Lane>>]>,
}

impl Lanes {
    /// At most `max` lanes, and at least one. A push holds a lane without
    /// waiting for anything else, so more lanes than threads are never used.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            lanes: (0..max.max(1)).map(|_| OnceLock::new()).collect(),
        }
    }

    /// A lane for one push: the first that is free, a new one if all are
    /// taken, and the first one after a wait if there may be no more.
    pub(crate) fn acquire(&self) -> Option<MutexGuard<'_, Lane>> {
        for lane in &self.lanes {
            if let Some(lane) = lane.get_or_init(Mutex::default).try_lock() {
                return Some(lane);
            }
        }
        self.lanes
            .first()
            .map(|lane| lane.get_or_init(Mutex::default).lock())
    }

    /// The lanes there are.
    pub(crate) fn existing(&self) -> impl Iterator<Item = &Mutex<Lane>> {
        self.lanes.iter().filter_map(OnceLock::get)
    }
}
