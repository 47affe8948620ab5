//! The scheduler of collections: one thread for all tenants.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use lifecycle::Shutdown;
use model::{Exemplar, HistogramSample, LabelSet, Point, SampleSink, Series, TenantId};
use xxhash_rust::xxh3::xxh3_64;

use crate::generator::Dependencies;
use crate::instance::Instance;
use crate::tenants::Tenants;

/// How often the scheduler looks for tenants that have just started.
const LOOK_FOR_TENANTS: Duration = Duration::from_millis(500);

/// How often the scheduler looks for edges that have waited for too long.
const EXPIRE_EDGES_MS: i64 = 1_000;

/// Takes samples that nobody wants.
#[derive(Debug)]
pub(crate) struct Discard;

impl SampleSink for Discard {
    fn label_set(&mut self, _: LabelSet<'_>) {}

    fn series(&mut self, _: Series<'_>, _: &[Point], _: Option<Exemplar>) {}

    fn histogram(&mut self, _: &str, _: &[HistogramSample<'_>], _: Option<Exemplar>) {}
}

/// Collects every tenant at its interval, until shutdown. Changed settings are
/// in force then even if no span comes. Tenants that have been idle for long enough
/// give their memory back.
pub(crate) fn run(
    tenants: &Tenants,
    dependencies: &Dependencies,
    shutdown: &Shutdown,
    forget: impl Fn(&TenantId) -> bool,
) {
    let Dependencies {
        overrides,
        clock,
        metrics,
        retire_after,
        ..
    } = dependencies;
    let mut schedule = Schedule::default();
    loop {
        let now_ms = clock.unix_millis();
        schedule.admit(tenants, now_ms);
        schedule.expire_edges(now_ms);
        while let Some((tenant, instance)) = schedule.next_due(clock.unix_millis()) {
            instance.update(overrides);
            instance.collect();
            let may_retire = instance.may_retire(*retire_after);
            drop(instance);
            let ends = |it: &Instance| it.may_retire(*retire_after) && forget(&tenant);
            if may_retire && tenants.end_unused(&tenant, ends) {
                metrics.retired();
                tracing::debug!(%tenant, "idle tenant has given its memory back");
            }
            if shutdown.is_triggered() {
                return;
            }
        }
        if shutdown.wait_blocking(schedule.pause(clock.unix_millis())) {
            return;
        }
    }
}

/// Tenants in the order of their next collection.
#[derive(Default)]
struct Schedule {
    /// What of `tenants` it has seen.
    changes: Option<u64>,
    /// Each is due once. They belong to `tenants`, so that one can go.
    instances: HashMap<TenantId, Weak<Instance>>,
    due: BinaryHeap<Reverse<(i64, TenantId)>>,
    edges_expired_ms: i64,
}

impl Schedule {
    fn admit(&mut self, tenants: &Tenants, now_ms: i64) {
        // Asked first: who comes while this looks is seen the next time.
        let changes = Some(tenants.changes());
        if changes == self.changes {
            return;
        }
        self.changes = changes;
        for (tenant, instance) in tenants.all() {
            let weak = Arc::downgrade(&instance);
            if let Some(known) = self.instances.get_mut(&tenant) {
                *known = weak;
                continue;
            }
            let interval = interval_ms(&instance);
            let next = next_after(now_ms, interval, phase(&tenant, interval));
            self.due.push(Reverse((next, tenant.clone())));
            self.instances.insert(tenant, weak);
        }
    }

    /// Ends the edges of all tenants that have waited for too long.
    fn expire_edges(&mut self, now_ms: i64) {
        if now_ms.saturating_sub(self.edges_expired_ms) >= EXPIRE_EDGES_MS {
            self.edges_expired_ms = now_ms;
            let instances = self.instances.values().filter_map(Weak::upgrade);
            instances.for_each(|instance| instance.expire_edges());
        }
    }

    fn next_due(&mut self, now_ms: i64) -> Option<(TenantId, Arc<Instance>)> {
        while self.due.peek()?.0.0 <= now_ms {
            let Reverse((_, tenant)) = self.due.pop()?;
            let Some(instance) = self.instances.get(&tenant).and_then(Weak::upgrade) else {
                // It has gone.
                self.instances.remove(&tenant);
                continue;
            };
            let interval = interval_ms(&instance);
            let next = next_after(now_ms, interval, phase(&tenant, interval));
            self.due.push(Reverse((next, tenant.clone())));
            return Some((tenant, instance));
        }
        None
    }

    fn pause(&self, now_ms: i64) -> Duration {
        let next = self.due.peek().map_or(i64::MAX, |next| next.0.0);
        let pause = u64::try_from(next.saturating_sub(now_ms)).unwrap_or(0);
        Duration::from_millis(pause).min(LOOK_FOR_TENANTS)
    }
}

fn interval_ms(instance: &Instance) -> i64 {
    let interval = instance.config().registry.collection_interval;
    i64::try_from(interval.as_millis()).map_or(i64::MAX, |interval| interval.max(1))
}

/// Where in its interval a tenant is collected, so that not all are at once.
fn phase(tenant: &TenantId, interval_ms: i64) -> i64 {
    (xxh3_64(tenant.as_str().as_bytes()) % interval_ms.unsigned_abs().max(1)) as i64
}

/// The first time after `now_ms` that is `phase` into an interval.
fn next_after(now_ms: i64, interval_ms: i64, phase: i64) -> i64 {
    let into = (now_ms - phase).rem_euclid(interval_ms);
    now_ms.saturating_add(interval_ms - into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_time_keeps_the_phase() {
        for (now_ms, want) in [(100, 105), (104, 105), (105, 120), (119, 120)] {
            assert_eq!(next_after(now_ms, 15, 0), want);
        }
        assert_eq!(next_after(100, 15, 7), 112);
        assert_eq!(next_after(112, 15, 7), 127);
    }
}
