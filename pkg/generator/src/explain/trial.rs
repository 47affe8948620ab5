//! A tenant of one's own, to try what spans do.

use std::sync::Arc;

use model::{Clock, Push};
use registry::Registry;

use super::request::SingleSpan;
use super::series::{Totals, totals};
use super::{ExplainError, Question};
use crate::instance::{Identity, Instance, limits};
use crate::ledger::Ledger;
use crate::metrics::GeneratorMetrics;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A tenant that nobody else pushes to or scrapes.
#[derive(Debug)]
pub(super) struct Trial<'q> {
    question: &'q Question<'q>,
    clock: Clock,
    instance: Instance,
}

impl<'q> Trial<'q> {
    pub(super) fn new(question: &'q Question<'q>) -> Self {
        let clock = Clock::manual(0);
        let identity = Identity {
            tenant: question.tenant.clone(),
            instance_label: question.instance_label.clone(),
        };
        let config = Arc::clone(&question.config);
        let registry = Registry::new(limits(&config), 1);
        let metrics = GeneratorMetrics::default().for_tenant(&question.tenant);
        let instance = Instance::new(
            identity,
            config,
            clock.clone(),
            metrics,
            None,
            None,
            registry,
        );
        Self {
            question,
            clock,
            instance,
        }
    }

    /// Applies a span that arrives at this time.
    pub(super) fn push(
        &self,
        span: &SingleSpan<'_>,
        now_unix_nanos: u64,
    ) -> Result<Ledger, ExplainError> {
        self.clock.set(now_unix_nanos);
        let push = Push {
            tenant: self.question.tenant.clone(),
            request: span.request.clone(),
            skip_metrics: false,
        };
        Ok(self.instance.account(&push)?)
    }

    /// Lets all that waits have waited for long enough, from `last_unix_nanos` on.
    pub(super) fn expire(&self, last_unix_nanos: u64) -> Ledger {
        let wait = self.question.config.service_graphs.wait.as_nanos();
        let wait = u64::try_from(wait).unwrap_or(u64::MAX);
        let later = last_unix_nanos
            .saturating_add(wait)
            .saturating_add(NANOS_PER_SECOND);
        self.clock.set(later);
        self.instance.account_expired()
    }

    /// Spans that wait for their counterpart.
    pub(super) fn waiting(&self) -> u64 {
        self.instance.waiting_spans()
    }

    pub(super) fn totals(&self) -> Totals {
        let external_labels = self.instance.external_labels();
        let now_ms = self.clock.unix_millis();
        totals(self.instance.registry(), now_ms, &external_labels)
    }
}
