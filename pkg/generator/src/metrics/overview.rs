//! What a page on tenants says of counters.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use super::{ALL, Accountable, TenantMetrics};
use crate::ledger::DiscardReason;
use crate::overview::Discards;
use crate::rates::Received;

impl TenantMetrics {
    /// What has been received so far.
    pub(crate) fn received(&self) -> Received {
        Received {
            spans: self.spans_received.get(),
            bytes: self.bytes_received.get(),
        }
    }

    /// Spans that went to an overflow series so far.
    pub(crate) fn spans_overflowed(&self) -> u64 {
        self.registry.spans_overflowed()
    }

    /// Spans that no processor saw so far.
    pub(crate) fn unseen(&self) -> u64 {
        self.discarded.iter().map(|(_, spans)| spans.get()).sum()
    }

    /// Spans that were discarded so far, of all reasons that there were.
    pub(crate) fn discards(&self) -> Vec<Discards> {
        let mut discards = of(ALL, &self.discarded);
        for (processor, metrics) in [
            (Accountable::SpanMetrics, &self.span_metrics),
            (Accountable::ServiceGraphs, &self.service_graphs),
            (Accountable::HostInfo, &self.host_info),
        ] {
            let metrics = metrics.load_full().into_iter();
            discards.extend(
                metrics.flat_map(|metrics: Arc<_>| of(processor.name(), &metrics.discarded)),
            );
        }
        discards
    }
}

fn of(stage: &'static str, counters: &[(DiscardReason, Counter)]) -> Vec<Discards> {
    let discards = counters.iter().map(|(reason, spans)| Discards {
        stage,
        reason: reason.into(),
        spans: spans.get(),
    });
    discards.filter(|discards| discards.spans > 0).collect()
}
