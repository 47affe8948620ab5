//! Checks a request before it goes to a generator: spans whose ids cannot be
//! right are taken out, their neighbours stay.
//!
//! Only the frame of the request and the ids of its spans are read here; a span
//! whose other bytes are broken is found by the generator that reads them.
//! Source: OTLP specification; differences D12, D28.

use crate::rewrite::{Keep, copy_fields};
use crate::view::Request;
use crate::wire::{Fields, WireError};

/// Why a span was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SpanRejection {
    /// The trace id is not 16 bytes, or all zero.
    InvalidTraceId,
    /// The span id is not 8 bytes, or all zero.
    InvalidSpanId,
    /// The span's bytes are not protobuf.
    MalformedSpan,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Spans in the request, those refused included.
    pub spans: u64,
    /// How many were refused, and why.
    pub rejected: RejectedSpans,
    /// Bytes that no attribute of the request is longer than: those of the longest span,
    /// or of all that is not spans.
    pub longest_attribute: usize,
    /// The request without the refused spans; `None` if there are none, and
    /// then the request is good as it is.
    pub rewritten: Option<Vec<u8>>,
}

/// Refused spans by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RejectedSpans {
    /// [`SpanRejection::InvalidTraceId`].
    pub invalid_trace_id: u64,
    /// [`SpanRejection::InvalidSpanId`].
    pub invalid_span_id: u64,
    /// [`SpanRejection::MalformedSpan`].
    pub malformed: u64,
}

impl RejectedSpans {
    /// All refused spans.
    pub fn total(self) -> u64 {
        self.invalid_trace_id + self.invalid_span_id + self.malformed
    }

    /// The refused spans of one reason.
    pub fn count(self, reason: SpanRejection) -> u64 {
        match reason {
            SpanRejection::InvalidTraceId => self.invalid_trace_id,
            SpanRejection::InvalidSpanId => self.invalid_span_id,
            SpanRejection::MalformedSpan => self.malformed,
        }
    }

    fn add(&mut self, reason: SpanRejection) {
        match reason {
            SpanRejection::InvalidTraceId => self.invalid_trace_id += 1,
            SpanRejection::InvalidSpanId => self.invalid_span_id += 1,
            SpanRejection::MalformedSpan => self.malformed += 1,
        }
    }
}

/// Checks a request.
///
/// # Errors
///
/// [`WireError`] if the request, a `ResourceSpans` or a `ScopeSpans` is not
/// protobuf: then no span of it can be trusted.
pub fn check(request: &[u8]) -> Result<Checked, WireError> {
    let mut checked = Checked::default();
    let mut beside_spans = request.len();
    let mut longest_span = 0;
    for resource_spans in Request::new(request).resource_spans() {
        for scope_spans in resource_spans?.scope_spans() {
            for span in scope_spans?.spans() {
                let span = span?;
                checked.spans += 1;
                longest_span = longest_span.max(span.len());
                // Two bytes for its tag and length, at least.
                beside_spans = beside_spans.saturating_sub(span.len() + 2);
                if let Err(reason) = check_span(span) {
                    checked.rejected.add(reason);
                }
            }
        }
    }
    checked.longest_attribute = longest_span.max(beside_spans);
    if checked.rejected.total() > 0 {
        checked.rewritten = Some(without_rejected(request)?);
    }
    Ok(checked)
}

/// Checks the ids of one encoded span.
///
/// Every SDK writes the ids first, so this usually ends after two fields.
fn check_span(span: &[u8]) -> Result<(), SpanRejection> {
    if let [0x0a, 16, rest @ ..] = span
        && let Some((trace_id, [0x12, 8, rest @ ..])) = rest.split_first_chunk::<16>()
        && let Some((span_id, rest)) = rest.split_first_chunk::<8>()
        // The ids could only occur again further down if they were written
        // twice, which the generator's reading settles as protobuf does.
        && u128::from_ne_bytes(*trace_id) != 0
        && u64::from_ne_bytes(*span_id) != 0
        && !matches!(rest, [0x0a | 0x12, ..])
    {
        return Ok(());
    }
    let mut fields = Fields::new(span);
    let (mut trace_id, mut span_id) = (&[][..], &[][..]);
    let malformed = |_| SpanRejection::MalformedSpan;
    while let Some((number, value)) = fields.read().map_err(malformed)? {
        match number {
            1 => trace_id = value.bytes(number).map_err(malformed)?,
            2 => span_id = value.bytes(number).map_err(malformed)?,
            _ => {}
        }
    }
    if trace_id.len() != 16 || trace_id.iter().all(|byte| *byte == 0) {
        return Err(SpanRejection::InvalidTraceId);
    }
    if span_id.len() != 8 || span_id.iter().all(|byte| *byte == 0) {
        return Err(SpanRejection::InvalidSpanId);
    }
    Ok(())
}

/// Copies a request and leaves the refused spans out.
fn without_rejected(request: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut kept = Vec::with_capacity(request.len());
    copy_fields(request, 1, &mut kept, |resource_spans, out| {
        copy_fields(resource_spans, 2, out, |scope_spans, out| {
            copy_fields(scope_spans, 2, out, |span, out| {
                if check_span(span).is_err() {
                    return Ok(Keep::No);
                }
                out.extend_from_slice(span);
                Ok(Keep::Yes)
            })
        })
    })?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use proto::otlp::collector::ExportTraceServiceRequest;
    use proto::otlp::resource::Resource;
    use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};

    use super::*;

    fn span(name: &str, trace_id: &[u8], span_id: &[u8]) -> Span {
        Span {
            name: name.to_owned(),
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            ..Span::default()
        }
    }

    fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource::default()),
                scope_spans: vec![ScopeSpans {
                    spans,
                    schema_url: "url".to_owned(),
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }

    #[test]
    fn good_request_is_not_rewritten() {
        let bytes = request(vec![span("a", &[1; 16], &[1; 8])]).encode_to_vec();
        assert_eq!(
            check(&bytes),
            Ok(Checked {
                spans: 1,
                longest_attribute: 31,
                ..Checked::default()
            })
        );
        assert_eq!(check(&[]), Ok(Checked::default()));
    }

    #[test]
    fn only_bad_spans_are_taken_out() {
        let good = [span("a", &[1; 16], &[1; 8]), span("z", &[2; 16], &[2; 8])];
        let bytes = request(vec![
            good[0].clone(),
            span("short trace", &[1; 15], &[1; 8]),
            span("long trace", &[1; 17], &[1; 8]),
            span("zero trace", &[0; 16], &[1; 8]),
            span("no span id", &[1; 16], &[]),
            span("zero span id", &[1; 16], &[0; 8]),
            good[1].clone(),
        ])
        .encode_to_vec();
        let checked = check(&bytes).unwrap();
        assert_eq!(
            (checked.spans, checked.rejected),
            (
                7,
                RejectedSpans {
                    invalid_trace_id: 3,
                    invalid_span_id: 2,
                    malformed: 0
                }
            )
        );
        let kept = ExportTraceServiceRequest::decode(&checked.rewritten.unwrap()[..]).unwrap();
        assert_eq!(kept, request(good.to_vec()));
    }

    #[test]
    fn ids_in_unusual_places_are_found() {
        let mut late = vec![0x2a, 1, b'n'];
        late.extend([0x12, 8, 1, 1, 1, 1, 1, 1, 1, 1, 0x0a, 16]);
        late.extend([3; 16]);
        assert_eq!(check_span(&late), Ok(()));
        late.push(0x0a);
        assert_eq!(check_span(&late), Err(SpanRejection::MalformedSpan));
        late.push(0);
        assert_eq!(check_span(&late), Err(SpanRejection::InvalidTraceId));
    }

    #[test]
    fn broken_frame_refuses_the_request() {
        assert_eq!(check(&[0x0a, 9, 1]), Err(WireError::Truncated));
        assert_eq!(check(b"not protobuf"), Err(WireError::InvalidTag));
    }
}
