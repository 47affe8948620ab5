//! Labels that change: which series of an instance can no longer come.

use model::LabelSet;
use registry::{Relabelled, TableId};

use super::{Instance, Settings};
use crate::labelling::Labelling;
use crate::processors::host_info::HostInfo;
use crate::processors::service_graphs::ServiceGraphs;
use crate::processors::span_metrics::SpanMetrics;
use crate::processors::span_metrics::target_info::TargetInfo;

impl Instance {
    /// Ends the series whose labels cannot come again.
    pub(super) fn relabel(&self, before: &Settings, next: &Settings, now_ms: i64) {
        for ((_, before), (table, next)) in before.labellings().into_iter().zip(next.labellings()) {
            if let (Some(before), Some(table), Some(next)) = (before, table, next)
                && before != next
            {
                let added = next.since(&before);
                self.registry
                    .relabel(table, added, now_ms, |labels| next.can_come(labels));
            }
        }
    }

    /// The same for series of a former process, whose settings are not known any
    /// more. Label sets without a label that has come in addition end when they
    /// are idle.
    pub(super) fn relabel_restored(&self, settings: &Settings) {
        let now_ms = self.clock.unix_millis();
        for (table, labelling) in settings.labellings() {
            if let (Some(table), Some(labelling)) = (table, labelling) {
                let can_come = |labels: LabelSet<'_>| labelling.can_come(labels);
                let change = Relabelled::default();
                self.registry.relabel(table, change, now_ms, can_come);
            }
        }
    }
}

impl Settings {
    /// The tables, and which labels their series can have.
    pub(super) fn labellings(&self) -> [(Option<&TableId>, Option<Labelling>); 4] {
        let span_metrics = self.processors.span_metrics.as_ref();
        let target_info = span_metrics.and_then(SpanMetrics::target_info);
        let service_graphs = self.processors.service_graphs.as_ref();
        [
            (
                self.span_metrics.as_ref(),
                span_metrics.map(SpanMetrics::labelling),
            ),
            (
                self.target_info.as_ref(),
                target_info.map(TargetInfo::labelling),
            ),
            (
                self.service_graphs.as_ref().map(|tables| &tables.edges),
                service_graphs.map(ServiceGraphs::labelling),
            ),
            (
                self.host_info.as_ref(),
                self.processors.host_info.as_ref().map(HostInfo::labelling),
            ),
        ]
    }
}
