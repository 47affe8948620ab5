//! What became of every span of a push.
//!
//! Per processor: received = counted + each reason + waiting; for service graphs,
//! received here or taken over from another generator, which counts the same spans as
//! handed over. `counted` comes from where a lane is updated, never from a subtraction.
//! Source: architecture, the ledger.

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use registry::Applied;
use strum::VariantArray;

/// Why a span did not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum DiscardReason {
    /// It ended too long ago or will end too far in the future.
    OutsideMetricsIngestionSlack,
    /// Its bytes are not those of a span.
    MalformedSpan,
    /// Its trace id is longer than 16 bytes, or its span id than 8.
    InvalidId,
    /// The client asked for no metrics.
    MetricsGenerationSkipped,
    /// It came before the processor was switched on.
    ProcessorOff,
    /// The same push was applied within the last two minutes.
    Duplicate,
    /// A filter policy of span metrics refused it.
    SpanMetricsFiltered,
    /// A filter policy of service graphs refused it or its counterpart.
    ServiceGraphsFiltered,
    /// A value that should be a label is not UTF-8.
    InvalidUtf8,
    /// Spans of its kind have no place in a service graph.
    KindNotApplicable,
    /// Its resource has no service name.
    NoServiceName,
    /// Its resource names no host.
    NoHost,
    /// Too many spans wait for their counterpart.
    StoreFull,
    /// Another span took its place, waiting for the same counterpart.
    Replaced,
    /// Its counterpart never came, and nothing tells who it was.
    Unpaired,
    /// It waits on at another generator, whose ledger has it now.
    HandedOver,
}

impl EncodeLabelValue for DiscardReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        <&'static str>::from(self).encode(encoder)
    }
}

/// Counts of one push, added to the metrics once at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) received: u64,
    /// Spans that no processor saw.
    pub(crate) discarded: Discarded,
    pub(crate) span_metrics: ProcessorLedger,
    pub(crate) service_graphs: ProcessorLedger,
    /// Spans by whether their resource's host was noted.
    pub(crate) host_info: ProcessorLedger,
    /// Spans whose weight was no probability: counted as 1.
    pub(crate) invalid_weights: u64,
    /// Spans that a limit sent to an overflow series.
    pub(crate) overflowed: u64,
}

/// Counts of one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessorLedger {
    pub(crate) counted: u64,
    pub(crate) discarded: Discarded,
}

/// Spans by the reason for which they were discarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Discarded([u64; DiscardReason::VARIANTS.len()]);

impl Discarded {
    #[inline]
    pub(crate) fn add(&mut self, reason: DiscardReason, spans: u64) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count += spans;
        }
    }

    pub(crate) fn of(&self, reason: DiscardReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or_default()
    }
}

impl ProcessorLedger {
    /// Adds what the registry made of updates.
    pub(crate) fn applied(&mut self, applied: Applied) {
        self.counted += applied.counted;
        self.discarded
            .add(DiscardReason::InvalidUtf8, applied.invalid);
    }
}

impl Ledger {
    /// The ledger of a push whose client asked for no metrics. Whatever a span
    /// is, it was not to be counted.
    pub(crate) fn skipped(received: u64) -> Self {
        Self::discarded(received, DiscardReason::MetricsGenerationSkipped)
    }

    /// The ledger of a push that was applied before, and is not again.
    pub(crate) fn duplicate(received: u64) -> Self {
        Self::discarded(received, DiscardReason::Duplicate)
    }

    fn discarded(received: u64, reason: DiscardReason) -> Self {
        let mut ledger = Self {
            received,
            ..Self::default()
        };
        ledger.discarded.add(reason, received);
        ledger
    }

    /// Spans that no retry can help, for the client to know.
    pub(crate) fn rejected(&self) -> u64 {
        let of = |reason| self.discarded.of(reason);
        of(DiscardReason::MalformedSpan) + of(DiscardReason::InvalidId)
    }

    /// Why they were rejected; empty if none was.
    pub(crate) fn message(&self) -> String {
        let mut reasons = Vec::new();
        let malformed = self.discarded.of(DiscardReason::MalformedSpan);
        if malformed > 0 {
            reasons.push(format!("{malformed} spans are not valid protobuf"));
        }
        let invalid_id = self.discarded.of(DiscardReason::InvalidId);
        if invalid_id > 0 {
            reasons.push(format!(
                "{invalid_id} spans have a trace id longer than 16 or a span id longer than 8 bytes"
            ));
        }
        reasons.join("; ")
    }
}
