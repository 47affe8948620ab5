//! The boundary between distributor and generator.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::tenant::TenantId;

/// Spans of one tenant on their way to a generator.
#[derive(Clone, Debug)]
pub struct Push {
    /// Whose spans.
    pub tenant: TenantId,
    /// An OTLP `ExportTraceServiceRequest`, which is on the wire the same as a
    /// `tempopb.PushSpansRequest`.
    pub request: Bytes,
    /// The client asked for no metrics from these spans: they are counted as
    /// skipped and go no further.
    pub skip_metrics: bool,
}

/// What a generator made of a push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushOutcome {
    /// Spans in the push that could be read as spans.
    pub spans: u64,
    /// Spans that were refused for good, their neighbours not: malformed, or
    /// with an id that is too long. Told to the client as a partial success.
    pub rejected_spans: u64,
    /// Why, in a sentence for the client; empty when nothing was rejected.
    pub message: String,
}

/// A push of which not every span was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The message is not an OTLP request: no retry can help.
    #[error("request is not a valid OTLP trace request: {problem}")]
    Malformed {
        /// What is wrong, and where.
        problem: String,
    },
    /// The generator cannot take spans now; the same push may be sent again.
    #[error("no generator can take spans now: {reason}")]
    Unavailable {
        /// Why not.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// Of several generators not all have taken their spans; the same push may be sent
    /// again, and what was applied is recognised then.
    #[error("not every generator has taken its spans: {reason}")]
    Incomplete {
        /// Spans that were applied.
        applied_spans: u64,
        /// Spans of which nobody knows whether they were applied.
        unanswered_spans: u64,
        /// Why not all.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
}

/// Takes spans into a generator: directly in one process, over gRPC in a cluster.
pub trait PushSpans: Clone + Send + Sync + 'static {
    /// Applies the spans of a push before it returns.
    ///
    /// Not cancel-safe: whether a dropped push was applied is unknown.
    ///
    /// # Errors
    ///
    /// [`PushError`]; then nothing was applied, unless it is [`PushError::Incomplete`].
    fn push(&self, push: Push) -> impl Future<Output = Result<PushOutcome, PushError>> + Send;
}
