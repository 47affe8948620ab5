//! A request, taken apart into requests of one span each.

use bytes::Bytes;
use otlp::{Request, ResourceSpans, Span, WireError};

/// A span with the request that has nothing else.
#[derive(Clone, Debug)]
pub(super) struct SingleSpan<'a> {
    pub(super) resource: ResourceSpans<'a>,
    /// The encoded span.
    pub(super) message: &'a [u8],
    pub(super) request: Bytes,
}

/// All spans of a request, in its order.
///
/// # Errors
///
/// [`WireError`] if anything but a single span is not OTLP.
pub(super) fn single_spans(request: &[u8]) -> Result<Vec<SingleSpan<'_>>, WireError> {
    let mut spans = Vec::new();
    for resource in Request::new(request).resource_spans() {
        let resource = resource?;
        for scope in resource.scope_spans() {
            for message in scope?.spans() {
                let message = message?;
                spans.push(SingleSpan {
                    resource,
                    message,
                    request: single(resource, message)?,
                });
            }
        }
    }
    Ok(spans)
}

impl<'a> SingleSpan<'a> {
    /// The span, if it can be read.
    pub(super) fn span(&self) -> Option<Span<'a>> {
        Span::parse(self.message).ok()
    }
}

/// The request of one span.
fn single(resource: ResourceSpans<'_>, message: &[u8]) -> Result<Bytes, WireError> {
    let mut of_resource = Vec::new();
    for resource in resource.resources() {
        push_message(1, resource?, &mut of_resource);
    }
    let mut scope = Vec::new();
    push_message(2, message, &mut scope);
    push_message(2, &scope, &mut of_resource);
    let mut request = Vec::new();
    push_message(1, &of_resource, &mut request);
    Ok(request.into())
}

/// Appends a field that holds a message.
fn push_message(number: u32, message: &[u8], out: &mut Vec<u8>) {
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, out);
    prost::encoding::encode_varint(message.len() as u64, out);
    out.extend_from_slice(message);
}
