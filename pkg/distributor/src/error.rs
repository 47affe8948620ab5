//! Requests that were not accepted, and how clients are told.
#![warn(clippy::wildcard_enum_match_arm)]

use http::StatusCode;
use model::PushError;
use otlp::WireError;
use otlp::json::JsonError;
use otlp::validate::SpanRejection;
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use server::status::Failure;
use server::{BodyError, TenantError};
use tonic::Code;

use crate::conversion::ConversionError;
use crate::forwarders::ForwardError;
use crate::limits::LimitError;

/// A request of which not every span was accepted; none was, unless it is
/// [`PushError::Incomplete`].
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// It does not say whose spans these are.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// Its body could not be read, over HTTP, or there is no memory for it, over both.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It is not protobuf.
    #[error("request is not a valid OTLP trace request")]
    Malformed {
        /// What is wrong.
        #[source]
        source: WireError,
    },
    /// It is not OTLP/JSON.
    #[error("request is not a valid OTLP/JSON trace request")]
    MalformedJson {
        /// What is wrong, and where.
        #[source]
        source: JsonError,
    },
    /// It is not what a receiver of another protocol takes.
    #[error("request is not valid {format}")]
    NotConverted {
        /// What it should be.
        format: &'static str,
        /// What is wrong.
        #[source]
        source: ConversionError,
    },
    /// A required forwarder did not take it.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// It is over a limit of its tenant.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The generator did not take it.
    #[error(transparent)]
    Push(#[from] PushError),
    /// Its media type is none of those that are taken.
    #[error("content type {content_type:?} is not one of {accepted}")]
    UnsupportedMediaType {
        /// Those that are taken.
        accepted: &'static str,
        /// The header, shortened; empty if there is none.
        content_type: String,
    },
    /// It is not a POST.
    #[error("only POST is allowed here")]
    MethodNotAllowed,
    /// There is nothing at its path.
    #[error("nothing is served at this path; traces go to {traces}")]
    UnknownPath {
        /// The path that there is.
        traces: String,
    },
}

impl ReceiveError {
    /// The gRPC code: of the call, or within the `google.rpc.Status` of HTTP.
    ///
    /// Of these, OTLP clients retry `Unavailable` and `DeadlineExceeded`, which here is
    /// the client's own slowness, and `ResourceExhausted` where it comes with the time to
    /// wait. Source: OTLP specification, "OTLP/gRPC Failures".
    pub fn grpc_code(&self) -> Code {
        match self {
            Self::Tenant(error) => error.grpc_status().code(),
            Self::Body(error) => error.grpc_code(),
            Self::Malformed { .. }
            | Self::MalformedJson { .. }
            | Self::NotConverted { .. }
            | Self::UnsupportedMediaType { .. }
            | Self::Forward(ForwardError::Refused { .. })
            | Self::Push(PushError::Malformed { .. }) => Code::InvalidArgument,
            Self::Limit(_) => Code::ResourceExhausted,
            Self::Forward(ForwardError::Unavailable { .. })
            | Self::Push(PushError::Unavailable { .. } | PushError::Incomplete { .. }) => {
                Code::Unavailable
            }
            Self::MethodNotAllowed => Code::Unimplemented,
            Self::UnknownPath { .. } => Code::NotFound,
        }
    }

    /// The HTTP status.
    ///
    /// Of these, OTLP clients retry 429 and 503. Source: OTLP specification,
    /// "Retryable Response Codes".
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::Tenant(error) => error.http_status(),
            Self::Body(error) => error.http_status(),
            Self::Malformed { .. }
            | Self::MalformedJson { .. }
            | Self::NotConverted { .. }
            | Self::Forward(ForwardError::Refused { .. })
            | Self::Push(PushError::Malformed { .. }) => StatusCode::BAD_REQUEST,
            Self::Limit(LimitError::RateLimited { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Limit(LimitError::LargerThanBurst { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Forward(ForwardError::Unavailable { .. })
            | Self::Push(PushError::Unavailable { .. } | PushError::Incomplete { .. }) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UnsupportedMediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownPath { .. } => StatusCode::NOT_FOUND,
        }
    }

    /// The `reason` and `result` labels of the distributor's metrics.
    pub fn discard_reason(&self) -> DiscardReason {
        match self {
            Self::Tenant(_) => DiscardReason::Unauthenticated,
            Self::Body(BodyError::TooLarge { .. }) => DiscardReason::TooLarge,
            Self::Body(BodyError::Overloaded(_)) => DiscardReason::Overloaded,
            Self::Body(BodyError::Corrupt { .. })
            | Self::Malformed { .. }
            | Self::MalformedJson { .. }
            | Self::NotConverted { .. }
            | Self::Push(PushError::Malformed { .. }) => DiscardReason::Malformed,
            Self::Body(BodyError::Interrupted { .. } | BodyError::TimedOut { .. }) => {
                DiscardReason::Cancelled
            }
            Self::Forward(_) => DiscardReason::NotForwarded,
            Self::Limit(_) => DiscardReason::RateLimited,
            Self::Push(PushError::Unavailable { .. } | PushError::Incomplete { .. }) => {
                DiscardReason::Unavailable
            }
            Self::Body(BodyError::Unsupported { .. })
            | Self::UnsupportedMediaType { .. }
            | Self::MethodNotAllowed
            | Self::UnknownPath { .. } => DiscardReason::Unsupported,
        }
    }

    /// What the client is told: code, sentence, the field if one is known, and
    /// when to retry if that can help.
    pub fn failure(&self) -> Failure {
        let failure = Failure::new(self.grpc_code(), telemetry::error_chain(self).to_string());
        match self {
            Self::Forward(ForwardError::Unavailable { retry_after, .. })
            | Self::Push(
                PushError::Unavailable { retry_after, .. }
                | PushError::Incomplete { retry_after, .. },
            ) => failure.retry_after(*retry_after),
            Self::Body(BodyError::Overloaded(overloaded)) => {
                failure.retry_after(overloaded.retry_after())
            }
            Self::Limit(LimitError::RateLimited {
                retry_after: Some(delay),
                ..
            }) => failure.retry_after(*delay),
            Self::MalformedJson { source } => failure.bad_field(&source.path, &source.problem),
            Self::Tenant(_)
            | Self::Limit(_)
            | Self::Body(_)
            | Self::Malformed { .. }
            | Self::NotConverted { .. }
            | Self::Forward(ForwardError::Refused { .. })
            | Self::Push(PushError::Malformed { .. })
            | Self::UnsupportedMediaType { .. }
            | Self::MethodNotAllowed
            | Self::UnknownPath { .. } => failure,
        }
    }
}

/// Why spans, or a whole push, were refused. A closed set, because it is a
/// label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DiscardReason {
    /// A span's trace id is not 16 bytes, or all zero.
    InvalidTraceId,
    /// A span's id is not 8 bytes, or all zero.
    InvalidSpanId,
    /// A span is not protobuf.
    MalformedSpan,
    /// The push is not protobuf, JSON, Thrift or the compression that it should be.
    Malformed,
    /// The push has no usable tenant.
    Unauthenticated,
    /// The push is over the size limit.
    TooLarge,
    /// The tenant is over its rate, or the push is longer than its burst.
    RateLimited,
    /// There is no memory for the push now; the client was told to retry.
    Overloaded,
    /// The push has a media type, compression, method or path that is not served.
    Unsupported,
    /// The client went away, or was too slow, before the push was answered. If
    /// its spans had reached the generator they may have been applied.
    Cancelled,
    /// A required forwarder did not take the push; unless it refused it for good, the
    /// client was told to retry.
    NotForwarded,
    /// The generator cannot take spans now; the client was told to retry.
    Unavailable,
    /// The generator had not answered when the time was up, and may have applied them;
    /// the client was told to retry.
    Unanswered,
}

impl From<SpanRejection> for DiscardReason {
    fn from(reason: SpanRejection) -> Self {
        match reason {
            SpanRejection::InvalidTraceId => Self::InvalidTraceId,
            SpanRejection::InvalidSpanId => Self::InvalidSpanId,
            SpanRejection::MalformedSpan => Self::MalformedSpan,
        }
    }
}

impl EncodeLabelValue for DiscardReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&<&'static str>::from(self), encoder)
    }
}
