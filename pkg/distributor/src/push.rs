//! One push from a receiver to a generator.

use std::fmt::Write as _;
use std::time::Instant;

use bytes::Bytes;
use model::{Push, PushError, PushOutcome, PushSpans, TenantId};
use otlp::truncate::truncate;
use otlp::validate::{self, RejectedSpans, SpanRejection};
use server::{Overloaded, RequestMemory, Tenancy};
use strum::VariantArray;

use crate::error::{DiscardReason, ReceiveError};
use crate::forwarders::Forwarders;
use crate::limits::Limits;
use crate::metrics::{DistributorMetrics, TenantMetrics};
use crate::usage::UsageTracker;

/// Takes spans from receivers and hands them to generators.
///
/// Keeps no state but metrics and what tenants have of their limits; cloning is cheap.
#[derive(Clone, Debug)]
pub struct Distributor<P> {
    pub(crate) tenancy: Tenancy,
    pusher: P,
    pub(crate) metrics: DistributorMetrics,
    usage: UsageTracker,
    forwarders: Forwarders,
    limits: Limits,
}

impl<P: PushSpans> Distributor<P> {
    /// A distributor in front of `pusher`.
    pub fn new(tenancy: Tenancy, pusher: P, metrics: DistributorMetrics, limits: Limits) -> Self {
        Self {
            tenancy,
            pusher,
            metrics,
            usage: UsageTracker::default(),
            forwarders: Forwarders::default(),
            limits,
        }
    }

    /// The same that attributes what it receives. Default: nothing is attributed.
    pub fn with_usage(self, usage: UsageTracker) -> Self {
        Self { usage, ..self }
    }

    /// The same that sends spans on. Default: there are no forwarders.
    pub fn with_forwarders(self, forwarders: Forwarders) -> Self {
        Self { forwarders, ..self }
    }

    /// Takes memory for a request, before its body is read: `bytes` as far as its length
    /// is known. It is to be kept until the push has ended.
    ///
    /// # Errors
    ///
    /// [`Overloaded`], worth a retry; what reads the request then throws it away and
    /// fails with the same.
    pub(crate) fn hold(
        &self,
        tenant: &TenantId,
        bytes: usize,
        memory: &RequestMemory,
    ) -> Result<(), Overloaded> {
        memory.take(self.limits.budget(), tenant, bytes)
    }

    /// Hands the spans of an OTLP request, in protobuf, to a generator.
    ///
    /// Spans whose ids cannot be right are left out and reported in the outcome,
    /// together with what the generator rejects. Every span is counted as pushed
    /// or as refused, also when the future is dropped; but then, not being
    /// cancel-safe, the spans may have been applied all the same.
    ///
    /// # Errors
    ///
    /// [`ReceiveError::Malformed`], [`ReceiveError::Limit`], [`ReceiveError::Forward`] or
    /// [`ReceiveError::Push`]; then no span was applied, unless it is
    /// [`PushError::Incomplete`].
    pub async fn push(
        &self,
        tenant: TenantId,
        request: Bytes,
        skip_metrics: bool,
    ) -> Result<PushOutcome, ReceiveError> {
        let checked =
            validate::check(&request).map_err(|source| ReceiveError::Malformed { source })?;
        let metrics = self.metrics.for_tenant(&tenant);
        metrics.received(checked.spans, request.len());
        self.usage.received(&tenant, &request);
        for reason in SpanRejection::VARIANTS {
            metrics.refused((*reason).into(), checked.rejected.count(*reason));
        }
        let rejected = checked.rejected.total();
        let mut outcome = PushOutcome {
            spans: checked.spans,
            rejected_spans: rejected,
            message: explain(checked.rejected),
        };
        let spans = checked.spans.saturating_sub(rejected);
        if spans == 0 {
            return Ok(outcome);
        }

        let mut pending = Pending {
            metrics: &metrics,
            spans,
        };
        let config = self.limits.of(&tenant);
        let bytes = request.len() as u64;
        let admitted = self
            .limits
            .admit(&tenant, &config.ingestion, bytes, Instant::now());
        if let Err(error) = admitted {
            let error = ReceiveError::from(error);
            pending.refused(error.discard_reason());
            return Err(error);
        }
        let request = checked.rewritten.map_or(request, Bytes::from);
        // Before it is counted: what has to be sent again then counts once.
        match self.forwarders.require(&tenant, &request).await {
            Ok(message) => say(&mut outcome, &message),
            Err(error) => {
                let error = ReceiveError::from(error);
                pending.refused(error.discard_reason());
                return Err(error);
            }
        }
        // Others get attributes as they came.
        let mut cut = None;
        let longest = self.limits.max_attribute_bytes(&config.ingestion);
        if checked.longest_attribute > longest
            // What is broken is found by who reads it.
            && let Ok(Some(shorter)) = truncate(&request, longest)
        {
            metrics.truncated(shorter.attributes);
            cut = Some(shorter.request.into());
        }
        let push = Push {
            tenant: tenant.clone(),
            request: cut.unwrap_or_else(|| request.clone()),
            skip_metrics,
        };
        match self.pusher.push(push).await {
            Ok(applied) => {
                pending.pushed();
                self.forwarders.offer(&tenant, &request);
                add(&mut outcome, &applied);
                Ok(outcome)
            }
            Err(error) => {
                if let PushError::Incomplete {
                    applied_spans,
                    unanswered_spans,
                    ..
                } = error
                {
                    pending.partly_pushed(applied_spans, unanswered_spans);
                }
                let error = ReceiveError::from(error);
                pending.refused(error.discard_reason());
                Err(error)
            }
        }
    }
}

/// Spans that are with the generator; refused as cancelled if dropped.
struct Pending<'a> {
    metrics: &'a TenantMetrics,
    spans: u64,
}

impl Pending<'_> {
    fn pushed(mut self) {
        self.metrics.pushed(std::mem::take(&mut self.spans));
    }

    /// Some were taken, and of some it is not known.
    fn partly_pushed(&mut self, pushed: u64, unanswered: u64) {
        self.metrics.pushed(self.take(pushed));
        let unanswered = self.take(unanswered);
        self.metrics.refused(DiscardReason::Unanswered, unanswered);
    }

    fn take(&mut self, spans: u64) -> u64 {
        let taken = spans.min(self.spans);
        self.spans -= taken;
        taken
    }

    fn refused(mut self, reason: DiscardReason) {
        self.metrics
            .refused(reason, std::mem::take(&mut self.spans));
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.metrics.refused(DiscardReason::Cancelled, self.spans);
    }
}

fn add(outcome: &mut PushOutcome, applied: &PushOutcome) {
    outcome.rejected_spans += applied.rejected_spans;
    say(outcome, &applied.message);
}

fn say(outcome: &mut PushOutcome, message: &str) {
    if !outcome.message.is_empty() && !message.is_empty() {
        outcome.message.push_str("; ");
    }
    outcome.message.push_str(message);
}

/// A sentence for the client; empty if no span was refused.
fn explain(rejected: RejectedSpans) -> String {
    let mut sentence = String::new();
    if rejected.total() == 0 {
        return sentence;
    }
    let mut separator = "refused spans: ";
    for reason in SpanRejection::VARIANTS {
        let count = rejected.count(*reason);
        if count > 0 {
            // Writing to a string does not fail.
            let _ = write!(sentence, "{separator}{count} with {}", what(*reason));
            separator = ", ";
        }
    }
    sentence
}

fn what(reason: SpanRejection) -> &'static str {
    match reason {
        SpanRejection::InvalidTraceId => "a trace id that is not 16 bytes or is all zero",
        SpanRejection::InvalidSpanId => "a span id that is not 8 bytes or is all zero",
        SpanRejection::MalformedSpan => "bytes that are not protobuf",
    }
}

#[cfg(test)]
mod tests;
