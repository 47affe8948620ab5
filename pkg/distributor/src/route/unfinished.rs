//! What became of pushes that did not come to their end, so that the client's next try goes
//! on where they stopped.
//!
//! A push ends without an OK where a part of it was applied and another was not, or where the
//! client has gone. It is sent again as a whole then, and by a ring that has changed in the
//! meantime it would be split into other shares, which no generator recognises. So the
//! distributor remembers of which traces the spans are done, and of which a generator may
//! have them: the same bytes are the same traces. Nothing is remembered, nor looked for,
//! while all pushes end well.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{Push, PushOutcome, TenantId};
use parking_lot::Mutex;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

/// How long a push is remembered: as long as generators recognise what comes again.
const REMEMBER: Duration = Duration::from_secs(120);

/// Traces that are remembered at most, of all pushes together: 32 MiB or so. The oldest
/// pushes are forgotten first.
const MAX_TRACES: usize = 1 << 20;

/// Pushes that did not come to their end.
#[derive(Debug, Default)]
pub(super) struct Unfinished(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    pushes: HashMap<Key, (Instant, Arc<Progress>)>,
    /// The oldest first; those that were noted again are in it twice.
    order: VecDeque<(Instant, Key)>,
    traces: usize,
}

/// Whose push, and a hash of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(TenantId, u128);

/// How far a push has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    shares: Vec<Fate>,
    /// Hashes of trace ids, and the share in which their spans were.
    traces: HashMap<u128, u16>,
}

/// What became of a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A generator has counted it.
    Applied(PushOutcome),
    /// This life of a generator may have counted it, or may yet.
    InDoubt {
        /// The id of the generator.
        owner: Arc<str>,
        /// Which life of it.
        incarnation: u64,
    },
}

impl Key {
    pub(super) fn of(push: &Push) -> Self {
        Self(push.tenant.clone(), xxh3_128(&push.request))
    }
}

impl Progress {
    /// Notes what became of the spans in a request.
    pub(super) fn note(&mut self, share: &Bytes, fate: Fate) {
        let Ok(number) = u16::try_from(self.shares.len()) else {
            return;
        };
        let traces = &mut self.traces;
        let read = otlp::split::split(share, |trace_id| {
            traces.insert(xxh3_128(trace_id), number);
            None
        });
        // What was split before can be split again.
        if read.is_ok() {
            self.shares.push(fate);
        }
    }

    /// In which share the spans of a trace were.
    pub(super) fn share_of(&self, trace_id: &[u8]) -> Option<u16> {
        self.traces.get(&xxh3_128(trace_id)).copied()
    }

    /// What became of a share.
    pub(super) fn fate(&self, share: u16) -> Option<&Fate> {
        self.shares.get(usize::from(share))
    }
}

impl Unfinished {
    /// How far a push came that had these bytes.
    pub(super) fn progress(&self, push: &Push) -> Option<Arc<Progress>> {
        let mut remembered = self.0.lock();
        if remembered.pushes.is_empty() {
            return None;
        }
        remembered.forget_old(Instant::now());
        let (_, progress) = remembered.pushes.get(&Key::of(push))?;
        Some(Arc::clone(progress))
    }

    /// Notes how far a push came, in place of what was noted before.
    pub(super) fn note(&self, push: &Push, progress: Progress) {
        if progress.shares.is_empty() {
            return;
        }
        let (key, now) = (Key::of(push), Instant::now());
        let mut remembered = self.0.lock();
        remembered.forget(&key);
        remembered.traces += progress.traces.len();
        remembered.order.push_back((now, key.clone()));
        remembered.pushes.insert(key, (now, Arc::new(progress)));
        remembered.forget_old(now);
    }
}

impl Remembered {
    fn forget_old(&mut self, now: Instant) {
        while let Some((noted, _)) = self.order.front() {
            if self.traces <= MAX_TRACES && now.saturating_duration_since(*noted) < REMEMBER {
                return;
            }
            let Some((noted, key)) = self.order.pop_front() else {
                return;
            };
            // If it was noted again, its turn comes later.
            if self.pushes.get(&key).is_some_and(|(at, _)| *at == noted) {
                self.forget(&key);
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some((_, progress)) = self.pushes.remove(key) {
            self.traces -= progress.traces.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::otlp::collector::ExportTraceServiceRequest;
    use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    /// A request with a span of each of so many traces, of which the ids begin with a number.
    fn request(first: u8, traces: u32) -> Bytes {
        let span = |trace: u32| Span {
            trace_id: [[first; 12].as_slice(), &trace.to_be_bytes()].concat(),
            ..Span::default()
        };
        let scope = ScopeSpans {
            spans: (0..traces).map(span).collect(),
            ..ScopeSpans::default()
        };
        let resource = ResourceSpans {
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![resource],
        };
        request.encode_to_vec().into()
    }

    fn push(tenant: &str, request: &Bytes) -> Push {
        Push {
            tenant: TenantId::parse(tenant).unwrap(),
            request: request.clone(),
            skip_metrics: false,
        }
    }

    fn applied(request: &Bytes) -> Progress {
        let mut progress = Progress::default();
        progress.note(request, Fate::Applied(PushOutcome::default()));
        progress
    }

    #[tokio::test(start_paused = true)]
    async fn push_is_remembered_for_two_minutes_after_its_last_try() {
        let unfinished = Unfinished::default();
        let one = request(1, 2);
        let push = push("acme", &one);
        unfinished.note(&push, applied(&one));
        tokio::time::advance(REMEMBER - Duration::from_secs(1)).await;
        unfinished.note(&push, applied(&one));
        tokio::time::advance(REMEMBER - Duration::from_secs(1)).await;
        let progress = unfinished.progress(&push).unwrap();
        let id = [[1; 12].as_slice(), &[0, 0, 0, 1]].concat();
        assert_eq!(progress.share_of(&id), Some(0));
        assert_eq!(
            progress.fate(0),
            Some(&Fate::Applied(PushOutcome::default()))
        );
        assert_eq!(progress.share_of(&[2; 16]), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(unfinished.progress(&push).is_none());
        let remembered = unfinished.0.lock();
        assert_eq!((remembered.traces, remembered.order.len()), (0, 0));
    }

    #[tokio::test]
    async fn push_is_that_of_its_tenant_and_bytes_and_nothing_else() {
        let unfinished = Unfinished::default();
        let one = request(1, 2);
        unfinished.note(&push("acme", &one), applied(&one));
        unfinished.note(&push("other", &request(2, 1)), Progress::default());
        for (tenant, request, want) in [
            ("acme", one.clone(), true),
            ("other", one, false),
            ("acme", request(2, 1), false),
            ("other", request(2, 1), false),
        ] {
            let found = unfinished.progress(&push(tenant, &request)).is_some();
            assert_eq!(found, want, "{tenant} {request:?}");
        }
    }

    #[tokio::test]
    async fn oldest_pushes_are_forgotten_where_there_are_too_many_traces() {
        let unfinished = Unfinished::default();
        let large = |first| request(first, MAX_TRACES as u32 / 2);
        for first in 1..=3 {
            let request = large(first);
            unfinished.note(&push("acme", &request), applied(&request));
        }
        let is_known = |first| unfinished.progress(&push("acme", &large(first))).is_some();
        assert_eq!([1, 2, 3].map(is_known), [false, true, true]);
    }
}
