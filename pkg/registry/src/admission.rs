//! Who gets a place: the limits of a tenant, over all of its tables.

use model::LabelSetBuf;

use crate::label_limiter::LabelLimiter;
use crate::limiter::Limiter;

/// The limits of a tenant, and what they count.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    pub(crate) limiter: Limiter,
    pub(crate) labels: LabelLimiter,
    /// For label sets some of whose values are replaced.
    pub(crate) buffer: LabelSetBuf,
}
