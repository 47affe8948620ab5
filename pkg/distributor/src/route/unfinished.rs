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

/// What is remembered at most, of all tenants together, in traces of some 64 bytes each: 32
/// MiB. Who has most of it forgets first.
const MAX_WEIGHT: usize = 1 << 19;

/// What is remembered at most of one tenant.
const MAX_OF_TENANT: usize = MAX_WEIGHT / 8;

/// What a push and a share take beside their traces.
const OF_A_PUSH: usize = 8;
const OF_A_SHARE: usize = 2;

/// How often is looked for tenants of whom nothing need be remembered any more.
const SWEEP: Duration = Duration::from_secs(10);

/// Pushes that did not come to their end; none if a push that comes again is another one.
#[derive(Debug)]
pub(super) struct Unfinished(Option<Mutex<Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    tenants: HashMap<TenantId, OfTenant>,
    weight: usize,
    swept: Option<Instant>,
}

/// What is remembered of a tenant.
#[derive(Debug, Default)]
struct OfTenant {
    /// By a hash of their bytes.
    pushes: HashMap<u128, (Instant, Arc<Progress>)>,
    /// The oldest first; those that were noted again are in it more than once.
    order: VecDeque<(Instant, u128)>,
    weight: usize,
}

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

    fn weight(&self) -> usize {
        OF_A_PUSH + OF_A_SHARE * self.shares.len() + self.traces.len()
    }

    /// What became of a share.
    pub(super) fn fate(&self, share: u16) -> Option<&Fate> {
        self.shares.get(usize::from(share))
    }
}

impl Unfinished {
    /// Remembers nothing yet, and never if `is_on` is false.
    pub(super) fn new(is_on: bool) -> Self {
        Self(is_on.then(Mutex::default))
    }

    /// Whether anything is ever remembered.
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// How far a push came that had these bytes.
    pub(super) fn progress(&self, push: &Push) -> Option<Arc<Progress>> {
        let (lock, now) = (self.0.as_ref()?, Instant::now());
        let mut remembered = lock.lock();
        remembered.sweep(now);
        if !remembered.tenants.contains_key(&push.tenant) {
            return None;
        }
        drop(remembered);
        let hash = xxh3_128(&push.request);
        let remembered = lock.lock();
        let of_tenant = remembered.tenants.get(&push.tenant)?;
        let (noted, progress) = of_tenant.pushes.get(&hash)?;
        let is_recent = now.saturating_duration_since(*noted) < REMEMBER;
        is_recent.then(|| Arc::clone(progress))
    }

    /// Notes how far a push came, in place of what was noted before.
    pub(super) fn note(&self, push: &Push, progress: Progress) {
        let Some(lock) = &self.0 else { return };
        if progress.shares.is_empty() {
            return;
        }
        let (hash, now) = (xxh3_128(&push.request), Instant::now());
        let mut remembered = lock.lock();
        remembered.sweep(now);
        let of_tenant = remembered.tenants.entry(push.tenant.clone()).or_default();
        let before = of_tenant.weight;
        of_tenant.note(hash, progress, now);
        let after = of_tenant.weight;
        remembered.weight = remembered.weight + after - before;
        remembered.make_room();
    }
}

impl Remembered {
    /// Forgets what is old, if it is time to look.
    fn sweep(&mut self, now: Instant) {
        let is_due = |swept: Instant| now.saturating_duration_since(swept) >= SWEEP;
        if self.tenants.is_empty() || !self.swept.is_none_or(is_due) {
            return;
        }
        self.swept = Some(now);
        self.tenants.retain(|_, of_tenant| {
            of_tenant.forget_old(now);
            !of_tenant.pushes.is_empty()
        });
        self.weight = self.tenants.values().map(|tenant| tenant.weight).sum();
        if self.tenants.is_empty() {
            *self = Self::default();
        }
    }

    fn make_room(&mut self) {
        while self.weight > MAX_WEIGHT {
            // By the name, too, so that the same always comes of the same.
            let tenants = self.tenants.iter_mut();
            let most = tenants.max_by_key(|(tenant, of_tenant)| (of_tenant.weight, *tenant));
            let Some((_, most)) = most else { return };
            let before = most.weight;
            most.forget_oldest();
            self.weight -= before - most.weight;
        }
    }
}

impl OfTenant {
    fn note(&mut self, hash: u128, progress: Progress, now: Instant) {
        self.forget(hash);
        self.weight += progress.weight();
        self.order.push_back((now, hash));
        self.pushes.insert(hash, (now, Arc::new(progress)));
        self.forget_old(now);
        while self.weight > MAX_OF_TENANT {
            self.forget_oldest();
        }
        if self.order.len() > 2 * self.pushes.len() + 64 {
            let pushes = &self.pushes;
            let is_last = |(at, hash): &(Instant, u128)| {
                pushes.get(hash).is_some_and(|(noted, _)| noted == at)
            };
            self.order.retain(is_last);
        }
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old = |noted: Instant| now.saturating_duration_since(noted) >= REMEMBER;
        while self.order.front().is_some_and(|(noted, _)| is_old(*noted)) {
            self.forget_oldest();
        }
    }

    /// Forgets the oldest; one that was noted again has its turn later.
    fn forget_oldest(&mut self) {
        let Some((noted, hash)) = self.order.pop_front() else {
            // Nothing is left that weighs anything.
            self.weight = 0;
            return;
        };
        if self.pushes.get(&hash).is_some_and(|(at, _)| *at == noted) {
            self.forget(hash);
        }
    }

    fn forget(&mut self, hash: u128) {
        if let Some((_, progress)) = self.pushes.remove(&hash) {
            self.weight -= progress.weight();
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
        let unfinished = Unfinished::new(true);
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
        assert_eq!(unfinished.0.as_ref().unwrap().lock().tenants.len(), 1);
        tokio::time::advance(SWEEP).await;
        assert!(unfinished.progress(&push).is_none());
        let remembered = unfinished.0.as_ref().unwrap().lock();
        assert_eq!((remembered.tenants.len(), remembered.weight), (0, 0));
    }

    #[tokio::test]
    async fn switched_off_nothing_is_remembered() {
        let (unfinished, one) = (Unfinished::new(false), request(1, 2));
        unfinished.note(&push("acme", &one), applied(&one));
        assert!(unfinished.progress(&push("acme", &one)).is_none());
    }

    #[tokio::test]
    async fn push_is_that_of_its_tenant_and_bytes_and_nothing_else() {
        let unfinished = Unfinished::new(true);
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
    async fn oldest_pushes_of_a_tenant_are_forgotten_where_it_has_too_many() {
        let unfinished = Unfinished::new(true);
        let large = |first| request(first, MAX_OF_TENANT as u32 / 2 - 100);
        unfinished.note(&push("other", &request(9, 1)), applied(&request(9, 1)));
        for first in 1..=3 {
            let request = large(first);
            unfinished.note(&push("acme", &request), applied(&request));
        }
        let is_known = |first| unfinished.progress(&push("acme", &large(first))).is_some();
        assert_eq!([1, 2, 3].map(is_known), [false, true, true]);
        assert!(
            unfinished
                .progress(&push("other", &request(9, 1)))
                .is_some()
        );
    }

    #[tokio::test]
    async fn tenant_that_has_most_forgets_first() {
        let unfinished = Unfinished::new(true);
        let large = request(1, MAX_OF_TENANT as u32 - 100);
        let small = request(2, 1);
        unfinished.note(&push("small", &small), applied(&small));
        for number in 0..9 {
            let tenant = format!("t{number}");
            unfinished.note(&push(&tenant, &large), applied(&large));
        }
        let remembered = unfinished.0.as_ref().unwrap().lock();
        assert!(remembered.weight <= MAX_WEIGHT);
        let weights = remembered.tenants.values().map(|tenant| tenant.weight);
        assert_eq!(weights.sum::<usize>(), remembered.weight);
        drop(remembered);
        assert!(unfinished.progress(&push("small", &small)).is_some());
    }

    #[tokio::test]
    async fn push_that_is_noted_again_and_again_takes_no_more_room() {
        let unfinished = Unfinished::new(true);
        let one = request(1, 2);
        for _ in 0..1_000 {
            unfinished.note(&push("acme", &one), applied(&one));
        }
        let remembered = unfinished.0.as_ref().unwrap().lock();
        assert_eq!(remembered.weight, OF_A_PUSH + OF_A_SHARE + 2);
        let orders = remembered.tenants.values().map(|tenant| tenant.order.len());
        assert!(orders.sum::<usize>() < 100);
    }
}
