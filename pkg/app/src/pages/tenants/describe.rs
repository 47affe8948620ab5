//! All that is known of one tenant.

use distributor::TenantIntake;
use generator::TenantOverview;
use model::TenantId;
use remote_write::TenantStatus;

use super::Tenants;
use crate::tenants_api::{
    DestinationAnswer, Discarded, Flow, Level, LimitedLabel, RemoteWriteAnswer, TenantAnswer,
};

impl Tenants {
    /// Whether series of a tenant are made here.
    pub(super) fn has_series(&self, tenant: &TenantId) -> bool {
        let generator = self.generator.as_ref();
        generator.is_some_and(|generator| generator.overview(tenant).is_some())
    }

    /// What a page says of a tenant; `None` if no part knows it.
    pub(super) fn describe(&self, tenant: &TenantId) -> Option<TenantAnswer> {
        let generator = self.generator.as_ref();
        let overview = generator.and_then(|generator| generator.overview(tenant));
        let intake = self.distributor.intake(tenant);
        let remote_write = self.remote_write.as_ref();
        let remote_write = remote_write.and_then(|parts| parts.status(tenant));
        if overview.is_none() && intake.is_none() && remote_write.is_none() {
            return None;
        }
        let config = self.overrides.for_tenant(tenant);
        let limits = generator::limits(&config);
        let level = |limit| Level {
            limit,
            ..Level::default()
        };
        let processors = config.processors.iter();
        let mut answer = TenantAnswer {
            tenant: tenant.to_string(),
            processors: processors.map(|processor| processor.to_string()).collect(),
            series: level(limits.max_active_series),
            label_sets: level(limits.max_active_entities),
            values_per_label_limit: limits.max_cardinality_per_label,
            discards: intake.into_iter().flat_map(refused).collect(),
            remote_write: remote_write.map(sending),
            ..TenantAnswer::default()
        };
        if let Some(overview) = overview {
            fill(&mut answer, overview);
        }
        Some(answer)
    }
}

fn fill(answer: &mut TenantAnswer, overview: TenantOverview) {
    let (registry, limits) = (overview.registry, overview.limits);
    answer.series = Level {
        active: registry.active.series,
        limit: limits.max_active_series,
        demand: registry.demand.series,
    };
    answer.label_sets = Level {
        active: registry.active.entities,
        limit: limits.max_active_entities,
        demand: registry.demand.entities,
    };
    answer.values_per_label_limit = limits.max_cardinality_per_label;
    let labels = overview.labels.into_iter().map(|label| LimitedLabel {
        name: label.name,
        demand: label.demand,
        limited_label_sets: label.limited,
    });
    answer.limited_labels = labels.collect();
    answer.spans = Flow {
        total: overview.spans,
        per_second: overview.rate.spans,
    };
    answer.bytes = Flow {
        total: overview.bytes,
        per_second: overview.rate.bytes,
    };
    answer.rate_over_seconds = overview.rate.over_seconds;
    answer.overflowed_spans = overview.spans_overflowed;
    answer.waiting_spans = overview.waiting_spans;
    let discards = overview.discards.into_iter().map(|discards| Discarded {
        stage: discards.stage.to_owned(),
        reason: discards.reason.to_owned(),
        spans: discards.spans,
    });
    answer.discards.extend(discards);
    answer.last_collection_ms = overview.collected_ms;
}

fn refused(intake: TenantIntake) -> impl Iterator<Item = Discarded> {
    let refused = intake.refused.into_iter();
    refused.map(|(reason, spans)| Discarded {
        stage: "distributor".to_owned(),
        reason: reason.to_owned(),
        spans,
    })
}

fn sending(status: TenantStatus) -> RemoteWriteAnswer {
    let destinations = status.destinations.into_iter().map(|destination| {
        let dropped = destination.dropped_samples.into_iter();
        DestinationAnswer {
            name: destination.name,
            pending_samples: destination.pending_samples,
            lag_seconds: destination.lag_ms as f64 / 1e3,
            failures: destination.failures,
            sent_samples: destination.sent_samples,
            dropped_samples: dropped
                .map(|(reason, samples)| (reason.to_owned(), samples))
                .collect(),
        }
    });
    RemoteWriteAnswer {
        spool_bytes: status.spool_bytes,
        unwritten_samples: status.unwritten_samples,
        destinations: destinations.collect(),
    }
}
