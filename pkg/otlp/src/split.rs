//! One request into one request per owner of its spans.
//!
//! Byte ranges are copied: the span as it was written, in the order in which it was
//! written, under the same resource and scope with every other field of theirs. A
//! request is read twice, once to learn whose each span is and once to copy, so that a
//! request of one owner is not copied at all and every copy has its room from the start.

mod copy;
mod plan;

use bytes::Bytes;

use crate::wire::WireError;

use copy::copy;
use plan::Plan;

/// A request by the owners of its spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// One for each owner that has spans, in the order of their first spans.
    pub shares: Vec<Share>,
    /// Spans that nobody owns; they are in no share.
    pub unowned_spans: u64,
}

/// The spans of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whose, as the caller counts owners.
    pub owner: u16,
    /// The request with the spans of this owner only, and without resources and scopes
    /// that have none of them; the whole request itself, not a copy, if all spans are
    /// this owner's.
    pub request: Bytes,
    /// How many spans are in it; never 0.
    pub spans: u64,
}

/// Splits an OTLP `ExportTraceServiceRequest` by owner.
///
/// `owner_of` is asked once for each span, in order, with the bytes of its trace id as
/// they are: empty if it has none, and of any length. Tables are made as long as the
/// highest owner, so owners should be counted from 0.
///
/// A resource goes to every owner of a span of it, so that the shares together may be
/// longer than the request: at most by its resources and scopes once for each owner.
///
/// Only the frame of the request and the trace ids are read: validate the request
/// ([`validate::check`](crate::validate::check)) before. A span that writes its trace id
/// twice goes by the first if that stands where SDKs write it, else by the last.
///
/// # Errors
///
/// [`WireError`] if the request, a `ResourceSpans` or a `ScopeSpans` is not protobuf, or
/// if a span is not up to where its trace id was found.
pub fn split(
    request: &Bytes,
    owner_of: impl FnMut(&[u8]) -> Option<u16>,
) -> Result<Split, WireError> {
    let plan = Plan::of(request, owner_of)?;
    let unowned_spans = plan.unowned_spans;
    let shares = match plan.owners.as_slice() {
        [] => Vec::new(),
        [only] if unowned_spans == 0 => vec![Share {
            owner: only.owner,
            request: request.clone(),
            spans: only.spans,
        }],
        _ => copy(request, &plan)?,
    };
    Ok(Split {
        shares,
        unowned_spans,
    })
}
