//! Why samples are not delivered.

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// Why samples will never be delivered. A closed set, because it is a label
/// value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum DropReason {
    /// Newer ones needed the room in the spool.
    SpoolFull,
    /// They were in the spool for longer than it keeps samples.
    SpoolAge,
    /// The disk did not take them.
    SpoolError,
    /// They cannot be read from the spool.
    Damaged,
    /// The destination's relabelling drops them.
    Relabelled,
    /// They are older than the receiver takes, or is to get.
    TooOld,
    /// The destination that they were for is not configured any more.
    DestinationRemoved,
    /// They were taken over from a generator that had delivered them there.
    DeliveredElsewhere,
    /// 400.
    BadRequest,
    /// 401 or 403.
    Unauthorized,
    /// 404.
    NotFound,
    /// 413.
    TooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 3xx: redirects are not followed.
    Redirected,
    /// Any other final answer.
    Rejected,
    /// 2xx, but the receiver says that it has written less, or nothing at all of
    /// what it has written.
    NotWritten,
}

impl EncodeLabelValue for DropReason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        <&'static str>::from(self).encode(encoder)
    }
}
