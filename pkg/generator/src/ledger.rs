//! What became of every span of a push.
//!
//! Per processor: received = counted + each reason. `counted` comes from where
//! a lane is updated, never from a subtraction. Source: architecture, the ledger.

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

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
    /// A filter policy of span metrics refused it.
    SpanMetricsFiltered,
    /// A value that should be a label is not UTF-8.
    InvalidUtf8,
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
    pub(crate) late: u64,
    pub(crate) malformed: u64,
    pub(crate) invalid_id: u64,
    pub(crate) skipped: u64,
    pub(crate) span_metrics: ProcessorLedger,
    /// Spans whose weight was no probability: counted as 1.
    pub(crate) invalid_weights: u64,
    /// Updates that a limit sent to an overflow series.
    pub(crate) overflowed: u64,
}

/// Counts of one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessorLedger {
    pub(crate) counted: u64,
    pub(crate) filtered: u64,
    pub(crate) invalid_utf8: u64,
}

impl Ledger {
    /// Spans that no retry can help, for the client to know.
    pub(crate) fn rejected(&self) -> u64 {
        self.malformed + self.invalid_id
    }

    /// Why they were rejected; empty if none was.
    pub(crate) fn message(&self) -> String {
        let mut reasons = Vec::new();
        if self.malformed > 0 {
            reasons.push(format!("{} spans are not valid protobuf", self.malformed));
        }
        if self.invalid_id > 0 {
            reasons.push(format!(
                "{} spans have a trace id longer than 16 or a span id longer than 8 bytes",
                self.invalid_id
            ));
        }
        reasons.join("; ")
    }
}
