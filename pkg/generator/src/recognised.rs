//! Recognises pushes that were applied before, so that a retry counts once (D36).
//!
//! Each tenant remembers its own: a flood of one cannot make another's retries
//! count twice. docs/adr/0014 has the figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use model::PushOutcome;
use parking_lot::Mutex;
use registry::KeyHasher;

use self::queue::Queue;

mod queue;

/// How long after a push its bytes are recognised. OpenTelemetry's SDKs and the
/// Collector give up or send anew well before.
const WINDOW_SECONDS: u32 = 120;

/// Pushes that all tenants together remember: 8,700 a second for the whole
/// window, some 25 MB.
const MOST: usize = 1 << 20;

/// Pushes that a tenant remembers even if others have filled the room: 8 a second
/// for the whole window.
const ALWAYS: usize = 1 << 10;

/// Parts of an index, each of a size that lies among small blocks: a long table keeps blocks
/// of requests beside it resident (docs/adr/0010-mimalloc.md).
const PARTS: usize = 8;

/// Pushes that are forgotten before the lock is given free for a moment.
const FORGET_AT_ONCE: usize = 1 << 10;

/// The pushes that one tenant remembers.
#[derive(Debug)]
pub(crate) struct Recognised {
    room: Room,
    hasher: KeyHasher,
    seen: Mutex<Seen>,
}

/// What is known of a push that arrives.
#[derive(Debug)]
pub(crate) enum Recognition<'a> {
    /// It is new, and is to be applied now.
    New(Pending<'a>),
    /// It was applied, and was answered so.
    Applied(PushOutcome),
    /// A copy is being applied right now and may yet fail.
    BeingApplied,
}

/// What became of an earlier copy of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// There was none, or none that succeeded.
    None,
    /// It was applied, and was answered so.
    Applied(PushOutcome),
    /// It is being applied right now and may yet fail.
    BeingApplied,
}

/// A push that is being applied; forgotten again if dropped.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    recognised: &'a Recognised,
    key: Option<PushKey>,
}

/// How many pushes all tenants of a process remember; clones share the count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<AtomicUsize>);

/// 96 bits of a keyed hash of a push's bytes: even among a million, one in 10^22
/// pushes is taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PushKey([u32; 3]);

#[derive(Debug, Default)]
struct Seen {
    /// At most as many as there are threads that push.
    pending: Vec<PushKey>,
    applied: Queue,
    /// Numbers in `applied` of what can be recognised, by key, each in the part of its key.
    index: [HashTable<u32>; PARTS],
}

/// 16 bytes, since there may be a million of them.
#[derive(Clone, Copy, Debug)]
struct Applied {
    key: PushKey,
    spans: u32,
}

impl Recognised {
    /// Remembers nothing yet; takes its room with the other tenants.
    pub(crate) fn new(room: Room) -> Self {
        Self {
            room,
            hasher: KeyHasher::new(),
            seen: Mutex::default(),
        }
    }

    /// What is known of a push. An empty one is always new.
    pub(crate) fn recognise(&self, request: &[u8], now_unix_nanos: u64) -> Recognition<'_> {
        if request.is_empty() {
            return Recognition::New(self.pending(None));
        }
        let key = self.key(request);
        let mut seen = self.seen.lock();
        match seen.earlier(key, now_unix_nanos) {
            Earlier::BeingApplied => Recognition::BeingApplied,
            Earlier::Applied(outcome) => Recognition::Applied(outcome),
            Earlier::None => {
                seen.pending.push(key);
                Recognition::New(self.pending(Some(key)))
            }
        }
    }

    /// The same of a push that is not to be applied.
    pub(crate) fn earlier(&self, request: &[u8], now_unix_nanos: u64) -> Earlier {
        if request.is_empty() {
            return Earlier::None;
        }
        let key = self.key(request);
        self.seen.lock().earlier(key, now_unix_nanos)
    }

    fn key(&self, request: &[u8]) -> PushKey {
        PushKey::new(self.hasher.key(request).to_bytes())
    }

    /// Forgets what is no longer recognised, and gives memory back.
    pub(crate) fn forget(&self, now_unix_nanos: u64) {
        let now = seconds(now_unix_nanos);
        loop {
            let mut seen = self.seen.lock();
            let forgotten = seen.forget(now, FORGET_AT_ONCE);
            self.room.give_back(forgotten);
            if forgotten < FORGET_AT_ONCE {
                seen.shrink();
                return;
            }
        }
    }

    /// Whether it remembers none.
    pub(crate) fn is_empty(&self) -> bool {
        let seen = self.seen.lock();
        seen.pending.is_empty() && seen.applied.len() == 0
    }

    fn pending(&self, key: Option<PushKey>) -> Pending<'_> {
        Pending {
            recognised: self,
            key,
        }
    }
}

impl Pending<'_> {
    /// Remembers that the push was applied, and what it is answered.
    pub(crate) fn applied(mut self, outcome: &PushOutcome, now_unix_nanos: u64) {
        if outcome.spans == 0 {
            return;
        }
        let Some(key) = self.key.take() else {
            return;
        };
        let Recognised { room, seen, .. } = self.recognised;
        let mut seen = seen.lock();
        seen.pending.retain(|pending| *pending != key);
        let now = seconds(now_unix_nanos);
        // Two out for one in, so that what is out of date never piles up.
        room.give_back(seen.forget(now, 2));
        if seen.applied.len() >= ALWAYS && room.is_full() {
            room.give_back(seen.forget_oldest());
        }
        room.take();
        seen.remember(key, now, outcome);
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut seen = self.recognised.seen.lock();
            seen.pending.retain(|pending| *pending != key);
        }
    }
}

impl Drop for Recognised {
    fn drop(&mut self) {
        self.room.give_back(self.seen.get_mut().applied.len());
    }
}

impl Seen {
    fn earlier(&mut self, key: PushKey, now_unix_nanos: u64) -> Earlier {
        if self.pending.contains(&key) {
            return Earlier::BeingApplied;
        }
        match self.find(key, seconds(now_unix_nanos)) {
            Some(outcome) => Earlier::Applied(outcome),
            None => Earlier::None,
        }
    }

    /// What the push of this key was answered, if it was applied lately.
    fn find(&mut self, key: PushKey, now: u32) -> Option<PushOutcome> {
        let applied = &self.applied;
        let is_it = |number: &u32| applied.get(*number).is_some_and(|a| a.key == key);
        let part = self.index.get_mut(key.part())?;
        let entry = part.find_entry(key.hash(), is_it).ok()?;
        let number = *entry.get();
        if is_recognised(applied.at(number)?, now) {
            return applied.outcome(number);
        }
        // It is applied anew and gets another number.
        entry.remove();
        None
    }

    fn remember(&mut self, key: PushKey, now: u32, outcome: &PushOutcome) {
        let number = self.applied.push(key, now, outcome);
        let hash_of = hasher(&self.applied);
        if let Some(part) = self.index.get_mut(key.part()) {
            part.insert_unique(key.hash(), number, hash_of);
        }
    }

    /// Forgets what is no longer recognised, at most so many; says how many.
    fn forget(&mut self, now: u32, most: usize) -> usize {
        let mut forgotten = 0;
        while forgotten < most
            && self
                .applied
                .at(self.applied.first)
                .is_some_and(|at| !is_recognised(at, now))
        {
            forgotten += self.forget_oldest();
        }
        forgotten
    }

    fn forget_oldest(&mut self) -> usize {
        let number = self.applied.first;
        let Some(oldest) = self.applied.get(number) else {
            return 0;
        };
        if let Some(part) = self.index.get_mut(oldest.key.part())
            && let Ok(entry) = part.find_entry(oldest.key.hash(), |other| *other == number)
        {
            entry.remove();
        }
        self.applied.pop();
        1
    }

    fn shrink(&mut self) {
        for part in &mut self.index {
            let wanted = part.len() * 2;
            if part.capacity() / 4 > wanted {
                part.shrink_to(wanted, hasher(&self.applied));
            }
        }
    }
}

fn hasher(applied: &Queue) -> impl Fn(&u32) -> u64 {
    |number| applied.get(*number).map_or(0, |applied| applied.key.hash())
}

impl PushKey {
    fn new(hash: [u8; 16]) -> Self {
        let hash = u128::from_ne_bytes(hash);
        Self([hash as u32, (hash >> 32) as u32, (hash >> 64) as u32])
    }

    /// The last third says which part, since the hash is of the others.
    fn part(self) -> usize {
        let [_, _, c] = self.0;
        c as usize % PARTS
    }

    /// Two thirds of it are as good a hash as any.
    fn hash(self) -> u64 {
        let [a, b, _] = self.0;
        u64::from(a) | u64::from(b) << 32
    }
}

impl Room {
    fn take(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn give_back(&self, pushes: usize) {
        self.0.fetch_sub(pushes, Ordering::Relaxed);
    }

    fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= MOST
    }
}

/// Whether what was applied at one second is recognised at another.
fn is_recognised(at: u32, now: u32) -> bool {
    now.saturating_sub(at) <= WINDOW_SECONDS
}

fn seconds(unix_nanos: u64) -> u32 {
    u32::try_from(unix_nanos / 1_000_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
