//! What a page on tenants says of counters.

use model::TenantId;
use strum::VariantArray;

use super::{DistributorMetrics, TenantMetrics};
use crate::error::DiscardReason;

/// What a tenant has sent to this distributor since it was first seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantIntake {
    /// Spans in requests that could be read.
    pub spans: u64,
    /// Bytes of these requests, decompressed.
    pub bytes: u64,
    /// Spans that no generator took, by reason.
    pub refused: Vec<(&'static str, u64)>,
}

impl DistributorMetrics {
    /// What a tenant has sent; `None` if that is nothing, or not counted apart.
    pub fn intake(&self, tenant: &TenantId) -> Option<TenantIntake> {
        let metrics = self.tenants.read().by_id.get(tenant).cloned()?;
        Some(TenantIntake {
            spans: metrics.spans_received.get(),
            bytes: metrics.bytes_received.get(),
            refused: metrics.all_refused(),
        })
    }

    /// Every tenant that is counted apart, and how many of its spans were refused.
    pub fn refused(&self) -> Vec<(TenantId, u64)> {
        let tenants = self.tenants.read();
        let refused = tenants.by_id.iter().map(|(tenant, metrics)| {
            let received = metrics.spans_received.get();
            // What is under way counts as refused for that moment.
            let refused = received.saturating_sub(metrics.spans_pushed.get());
            (tenant.clone(), refused)
        });
        refused.collect()
    }
}

impl TenantMetrics {
    fn all_refused(&self) -> Vec<(&'static str, u64)> {
        let reasons = DiscardReason::VARIANTS.iter();
        let refused = reasons.filter_map(|reason| {
            let labels = self.refused_labels(*reason);
            let spans = self.families.spans_refused.get(&labels)?.get();
            Some((reason.into(), spans))
        });
        refused.collect()
    }
}
