//! How the tenants of a generator are, for pages that show them.

use model::TenantId;
use registry::{LabelStats, Limits, RegistryStats, Survey};

use crate::Generator;
use crate::rates::Rate;

/// How one tenant is.
#[derive(Clone, Debug)]
pub struct TenantOverview {
    /// Active series and label sets, what there would be without limits, and more.
    pub registry: RegistryStats,
    /// The limits in force; 0 is none.
    pub limits: Limits,
    /// What the limit of label values does, by label; empty without that limit.
    pub labels: Vec<LabelStats>,
    /// Spans that reached the generator, ever.
    pub spans: u64,
    /// Bytes of pushes, ever.
    pub bytes: u64,
    /// What comes at the moment.
    pub rate: Rate,
    /// Spans that went to an overflow series, ever.
    pub spans_overflowed: u64,
    /// Spans that wait for their counterpart in the service graph.
    pub waiting_spans: u64,
    /// Spans that were discarded, ever; reasons that there were not are left out.
    pub discards: Vec<Discards>,
    /// When the last collection ended, in milliseconds since the Unix epoch.
    pub collected_ms: Option<i64>,
}

/// Spans that were discarded for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discards {
    /// Where: a processor, or `all` if none saw them.
    pub stage: &'static str,
    /// Why, as in metrics.
    pub reason: &'static str,
    /// How many.
    pub spans: u64,
}

/// What tenants are put in order by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Series that count against the limit.
    pub active_series: u64,
    /// Spans that wait for the other half of their edge.
    pub waiting_spans: u64,
    /// Spans in a second at the moment.
    pub spans_per_second: f64,
    /// Spans that no processor saw, ever.
    pub discarded: u64,
}

impl Generator {
    /// How a tenant is; `None` if it has not sent any spans.
    pub fn overview(&self, tenant: &TenantId) -> Option<TenantOverview> {
        Some(self.instance(tenant)?.overview())
    }

    /// All tenants that have sent spans, by name.
    pub fn standings(&self) -> Vec<(TenantId, Standing)> {
        let instances = self.instances().into_iter();
        instances
            .map(|(tenant, instance)| (tenant, instance.standing()))
            .collect()
    }

    /// What a tenant's series are made of, and how many label sets there were without
    /// the labels `dropped`; `None` if it has not sent any spans.
    ///
    /// Takes some 3 us for a label set; pushes do not wait.
    pub fn survey(&self, tenant: &TenantId, dropped: &[String]) -> Option<Survey> {
        Some(self.instance(tenant)?.registry().survey(dropped))
    }
}
