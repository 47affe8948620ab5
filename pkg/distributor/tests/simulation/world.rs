//! What all parts of a simulation share: its randomness, its time, and the tale of what
//! happened.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use model::{Clock, ClusterSeed, TenantId};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::counted::Book;

/// The wall clock at the begin.
const BEGIN: u64 = 1_700_000_000_000_000_000;

pub(crate) const TENANT: &str = "acme";

pub(crate) fn tenant() -> TenantId {
    TenantId::parse(TENANT).unwrap()
}

pub(crate) fn cluster_seed() -> ClusterSeed {
    ClusterSeed::from_text("cluster")
}

/// A decision that is made wrongly on purpose, to see whether that is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A generator that has begun to leave while it applied a push says that it has not.
    DeniesWhatItApplied,
    /// A generator does not recognise what it has applied before.
    RecognisesNothing,
    /// A generator answers before it has applied.
    AnswersFirst,
    /// A generator does not go on with the series that it saved.
    BeginsAnew,
    /// A distributor forgets what became of a push that did not come to its end.
    ForgetsDoubts,
}

/// Shared by all parts; nothing in a simulation is random or late but by it.
#[derive(Clone, Debug)]
pub(crate) struct World(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    random: Mutex<StdRng>,
    begin: Instant,
    clock: Clock,
    bug: Option<Bug>,
    tale: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
    book: Book,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        Self(Arc::new(Inner {
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            begin: Instant::now(),
            clock: Clock::manual(BEGIN),
            bug,
            tale: Mutex::default(),
            wrong: Mutex::default(),
            book: Book::default(),
        }))
    }

    /// From `least` on, and below `end`.
    pub(crate) fn number(&self, least: u64, end: u64) -> u64 {
        self.0.random.lock().random_range(least..end)
    }

    pub(crate) fn chance(&self, percent: u64) -> bool {
        percent > 0 && self.number(0, 100) < percent
    }

    pub(crate) fn millis(&self, least: u64, end: u64) -> Duration {
        Duration::from_millis(self.number(least, end))
    }

    pub(crate) fn pick<'a, T>(&self, among: &'a [T]) -> Option<&'a T> {
        let count = among.len() as u64;
        (count > 0).then(|| &among[self.number(0, count) as usize])
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.0.bug == Some(bug)
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The wall clock, moved to where the time of the runtime is.
    pub(crate) fn unix_nanos(&self) -> u64 {
        let now = BEGIN + u64::try_from(self.0.begin.elapsed().as_nanos()).unwrap();
        self.0.clock.set(now);
        now
    }

    /// Who counted what.
    pub(crate) fn book(&self) -> &Book {
        &self.0.book
    }

    /// Notes what happens.
    pub(crate) fn say(&self, what: impl AsRef<str>) {
        let millis = self.0.begin.elapsed().as_millis();
        let line = format!("{millis:>6} ms  {}", what.as_ref());
        self.0.tale.lock().push(line);
    }

    /// Notes what must not happen.
    pub(crate) fn wrong(&self, what: String) {
        self.say(format!("WRONG: {what}"));
        self.0.wrong.lock().push(what);
    }

    /// What happened, and what of it must not.
    pub(crate) fn told(&self) -> (Vec<String>, Vec<String>) {
        (self.0.tale.lock().clone(), self.0.wrong.lock().clone())
    }
}

/// A value that may be waited for. Those who do wake in the order in which they began to,
/// while a channel of tokio wakes them in any.
#[derive(Debug)]
pub(crate) struct Watched<T>(Arc<(Mutex<T>, Notify)>);

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Copy + PartialEq> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new((Mutex::new(value), Notify::new())))
    }

    pub(crate) fn is(&self, value: T) -> bool {
        *self.0.0.lock() == value
    }

    pub(crate) fn set(&self, value: T) {
        *self.0.0.lock() = value;
        self.0.1.notify_waiters();
    }

    /// Waits until it has a value.
    pub(crate) async fn until(&self, value: T) {
        loop {
            let changed = self.0.1.notified();
            if self.is(value) {
                return;
            }
            changed.await;
        }
    }
}

/// What a process has going on, all of which ends with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.0.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work)
    }

    pub(crate) fn kill(&self) {
        self.0.lock().abort_all();
    }

    /// Waits until all has ended, at most for so long, and ends the rest.
    pub(crate) async fn drain(&self, most: Duration) {
        let mut tasks = std::mem::take(&mut *self.0.lock());
        let all = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(most, all).await;
        tasks.abort_all();
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        self.spawn(work);
    }
}
