//! How an instance is.

use std::sync::atomic::Ordering;

use super::{Instance, limits};
use crate::overview::{Standing, TenantOverview};
use crate::rates::Rate;

impl Instance {
    /// All that a page shows of it.
    pub(crate) fn overview(&self) -> TenantOverview {
        let received = self.metrics.received();
        let collected_ms = self.collected_ms.load(Ordering::Relaxed);
        TenantOverview {
            registry: self.registry.stats(),
            limits: limits(&self.config()),
            labels: self.registry.label_stats(),
            spans: received.spans,
            bytes: received.bytes,
            rate: self.rate(),
            spans_overflowed: self.metrics.spans_overflowed(),
            waiting_spans: self.edges.waiting_spans(),
            discards: self.metrics.discards(),
            collected_ms: (collected_ms > 0).then_some(collected_ms),
        }
    }

    /// What it is put in order by.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            active_series: self.registry.active().series,
            waiting_spans: self.edges.waiting_spans(),
            spans_per_second: self.rate().spans,
            discarded: self.metrics.unseen(),
        }
    }

    fn rate(&self) -> Rate {
        let now_ms = self.clock.unix_millis();
        self.rates.rate(now_ms, self.metrics.received())
    }
}
