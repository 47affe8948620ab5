//! The names that OpenTelemetry gives to kinds and statuses.

use std::borrow::Cow;

/// The protobuf name of a `SpanKind`; a number that has none stays a number.
pub(crate) fn kind(kind: i32) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        0 => "SPAN_KIND_UNSPECIFIED",
        1 => "SPAN_KIND_INTERNAL",
        2 => "SPAN_KIND_SERVER",
        3 => "SPAN_KIND_CLIENT",
        4 => "SPAN_KIND_PRODUCER",
        5 => "SPAN_KIND_CONSUMER",
        other => return Cow::Owned(other.to_string()),
    })
}

/// The protobuf name of a `StatusCode`; a number that has none stays a number.
pub(crate) fn status_code(code: i32) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        0 => "STATUS_CODE_UNSET",
        1 => "STATUS_CODE_OK",
        2 => "STATUS_CODE_ERROR",
        other => return Cow::Owned(other.to_string()),
    })
}
