//! Pushes of which generators have taken all spans, so that one whose OK the client did not
//! hear counts once.
//!
//! The client sends it again. Generators recognise their shares, but only as long as the ring
//! splits the push into the same ones and they live. So the distributor itself answers it as
//! before, for as long as generators would recognise it. One hash of a push's bytes is enough:
//! nothing of it is left to do.

use std::collections::HashMap;
use std::mem;
use std::time::Duration;

use model::{Push, PushOutcome};
use parking_lot::Mutex;
use tokio::time::Instant;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// How long a push is remembered: as long as generators recognise what comes again.
const REMEMBER: Duration = Duration::from_secs(120);

/// Pushes that are noted before those that came before them all are forgotten: 1,900 a second
/// for the whole time. With the others of before it is 12 MB at most.
const MOST: usize = 7 << 15;

/// Pushes that generators have taken.
#[derive(Debug)]
pub(super) struct Finished {
    began: Instant,
    /// None if a push that comes again is another one.
    remembered: Option<Mutex<Remembered>>,
}

#[derive(Debug, Default)]
struct Remembered {
    now: HashMap<Key, Applied>,
    /// When the first of them was noted, in seconds.
    since: u32,
    before: HashMap<Key, Applied>,
}

/// 96 bits of a hash of a push's bytes, with its tenant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 12]);

/// 8 bytes, since there may be many of them.
#[derive(Clone, Copy, Debug)]
struct Applied {
    /// In seconds.
    at: u32,
    spans: u32,
}

impl Finished {
    /// Remembers nothing yet, and never if `is_on` is false.
    pub(super) fn new(is_on: bool) -> Self {
        Self {
            began: Instant::now(),
            remembered: is_on.then(Mutex::default),
        }
    }

    /// What tells a push from others; none if it is not remembered.
    pub(super) fn key(&self, push: &Push) -> Option<Key> {
        let is_remembered = self.remembered.is_some() && !push.skip_metrics;
        is_remembered.then(|| Key::of(push))
    }

    /// What was answered to a push with this key, if generators have taken all of it.
    pub(super) fn answer(&self, key: Key) -> Option<PushOutcome> {
        let now = self.now();
        let remembered = self.remembered.as_ref()?.lock();
        let maps = [&remembered.now, &remembered.before];
        let applied = maps.into_iter().find_map(|map| map.get(&key))?;
        (!is_old(applied.at, now)).then(|| PushOutcome {
            spans: applied.spans.into(),
            ..PushOutcome::default()
        })
    }

    /// Notes that generators have taken a push; false if there is more to remember than that.
    pub(super) fn note(&self, key: Option<Key>, outcome: &PushOutcome) -> bool {
        let (Some(key), Some(remembered)) = (key, &self.remembered) else {
            return true;
        };
        let is_plain = outcome.rejected_spans == 0 && outcome.message.is_empty();
        let Some(spans) = u32::try_from(outcome.spans).ok().filter(|_| is_plain) else {
            return false;
        };
        let at = self.now();
        let mut remembered = remembered.lock();
        if remembered.now.len() >= MOST || is_old(remembered.since, at) {
            remembered.before = mem::take(&mut remembered.now);
        }
        if remembered.now.is_empty() {
            remembered.since = at;
        }
        remembered.now.insert(key, Applied { at, spans });
        true
    }

    fn now(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_secs()).unwrap_or(u32::MAX)
    }
}

fn is_old(at: u32, now: u32) -> bool {
    u64::from(now.saturating_sub(at)) >= REMEMBER.as_secs()
}

impl Key {
    fn of(push: &Push) -> Self {
        let tenant = xxh3_64(push.tenant.as_str().as_bytes());
        let hash = xxh3_128_with_seed(&push.request, tenant);
        let [key @ .., _, _, _, _] = hash.to_le_bytes();
        Self(key)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::TenantId;

    use super::*;

    fn push(tenant: &str, request: impl Into<Bytes>) -> Push {
        Push {
            tenant: TenantId::parse(tenant).unwrap(),
            request: request.into(),
            skip_metrics: false,
        }
    }

    fn spans(spans: u64) -> PushOutcome {
        PushOutcome {
            spans,
            ..PushOutcome::default()
        }
    }

    fn answer(finished: &Finished, push: &Push) -> Option<PushOutcome> {
        finished.answer(finished.key(push)?)
    }

    fn note(finished: &Finished, push: &Push, outcome: &PushOutcome) -> bool {
        finished.note(finished.key(push), outcome)
    }

    #[tokio::test(start_paused = true)]
    async fn push_is_answered_as_before_for_two_minutes() {
        let finished = Finished::new(true);
        let one = push("acme", "one");
        assert!(note(&finished, &one, &spans(7)));
        tokio::time::advance(Duration::from_secs(100)).await;
        let two = push("acme", "two");
        assert!(note(&finished, &two, &spans(8)));
        tokio::time::advance(Duration::from_secs(19)).await;
        assert_eq!(answer(&finished, &one), Some(spans(7)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(answer(&finished, &one), None);
        // What came before is put aside and found all the same.
        assert!(note(&finished, &push("acme", "three"), &spans(9)));
        assert_eq!(answer(&finished, &two), Some(spans(8)));
        tokio::time::advance(REMEMBER).await;
        assert!(note(&finished, &push("acme", "four"), &spans(1)));
        let remembered = finished.remembered.as_ref().unwrap().lock();
        assert_eq!((remembered.now.len(), remembered.before.len()), (1, 1));
    }

    #[tokio::test]
    async fn push_is_that_of_its_tenant_and_bytes_and_nothing_else() {
        let finished = Finished::new(true);
        note(&finished, &push("acme", "one"), &spans(7));
        let skipped = Push {
            skip_metrics: true,
            ..push("acme", "one")
        };
        note(
            &finished,
            &Push {
                skip_metrics: true,
                ..push("acme", "skipped")
            },
            &spans(7),
        );
        for push in [
            push("other", "one"),
            push("acme", "two"),
            push("acme", "skipped"),
            skipped,
        ] {
            assert_eq!(answer(&finished, &push), None, "{push:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_plainly_taken_is_left_to_others_to_remember() {
        let finished = Finished::new(true);
        let rejected = PushOutcome {
            rejected_spans: 1,
            ..spans(7)
        };
        assert!(!note(&finished, &push("acme", "one"), &rejected));
        assert_eq!(answer(&finished, &push("acme", "one")), None);
    }

    #[tokio::test]
    async fn switched_off_nothing_is_remembered() {
        let finished = Finished::new(false);
        assert!(note(&finished, &push("acme", "one"), &spans(7)));
        assert_eq!(answer(&finished, &push("acme", "one")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn oldest_are_forgotten_where_there_are_too_many() {
        let finished = Finished::new(true);
        let number = |number: usize| push("acme", number.to_le_bytes().to_vec());
        for each in 0..=2 * MOST {
            note(&finished, &number(each), &spans(1));
        }
        let known = |each| answer(&finished, &number(each)).is_some();
        let wants = [0, MOST - 1, MOST, 2 * MOST].map(known);
        assert_eq!(wants, [false, false, true, true]);
    }
}
