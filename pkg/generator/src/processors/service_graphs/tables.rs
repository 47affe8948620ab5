//! Where edges are counted.

use registry::{Registry, TableId};

use super::ServiceGraphs;
use super::edge_store::Edges;
use crate::ledger::{DiscardReason, Ledger};

/// The tables of service graphs.
#[derive(Clone, Debug)]
pub(crate) struct EdgeTables {
    pub(crate) edges: TableId,
    /// Spans that make no edge, if they have metrics.
    pub(crate) lost: Option<TableId>,
}

impl EdgeTables {
    /// Counts edges, in series and in the ledger.
    pub(crate) fn apply(
        &self,
        edges: &Edges,
        service_graphs: &ServiceGraphs,
        registry: &Registry,
        now_ms: i64,
        ledger: &mut Ledger,
    ) {
        for (reason, spans) in [
            (DiscardReason::ServiceGraphsFiltered, edges.filtered),
            (DiscardReason::InvalidUtf8, edges.invalid_utf8),
            (DiscardReason::Replaced, edges.replaced),
            (DiscardReason::StoreFull, edges.dropped),
            (DiscardReason::Unpaired, edges.unpaired),
        ] {
            ledger.service_graphs.discarded.add(reason, spans);
        }
        let applied = registry.apply(&self.edges, &edges.updates, now_ms, |index, labels| {
            if let Some(edge) = edges.labels.get(index) {
                service_graphs.edge_labels(edge, labels);
            }
            Ok(())
        });
        ledger.service_graphs.applied(applied);
        ledger.overflowed += applied.overflowed;
        if let Some(lost) = &self.lost {
            registry.apply(lost, &edges.lost, now_ms, |index, labels| {
                if let Some(side) = edges.lost_labels.get(index) {
                    service_graphs.edge_labels(side, labels);
                }
                Ok(())
            });
        }
    }
}
