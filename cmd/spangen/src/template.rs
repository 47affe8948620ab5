//! Requests encoded once and sent often: only ids, times and the changing
//! part of names are written anew.

use std::collections::BTreeMap;

use bytes::BufMut;

use crate::trace::{Attributes, Kind, Resource, Span, Trace, Value};
use crate::wire::{Fill, Mark, Message};

/// An encoded OTLP `ExportTraceServiceRequest` with places to fill in.
///
/// Source of the field numbers: opentelemetry-proto 1.x, `trace.proto`,
/// `resource.proto`, `common.proto`.
#[derive(Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    spans: u64,
}

/// What makes one sending of a template different from all others.
///
/// The same stamp gives the same bytes, so a retry sends what was sent before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// Decides the ids and how much each trace is stretched.
    pub(crate) seed: u64,
    /// When the traces ended, in nanoseconds since the Unix epoch.
    pub(crate) now: u64,
    /// How often the names of label sets have been replaced.
    pub(crate) churn: Churn,
}

/// How far the replacement of series has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Churn {
    /// Replacements of the whole set so far; 1.5 means that half of the label
    /// sets are in their second generation after the first.
    pub(crate) turns: f64,
    /// How many label sets there are.
    pub(crate) label_sets: u32,
}

impl Churn {
    /// The generation of one label set: they are replaced one after the other.
    fn generation(self, label_set: u32) -> u64 {
        let phase = f64::from(label_set) / f64::from(self.label_sets.max(1));
        (self.turns + phase) as u64
    }
}

impl Template {
    /// Encodes traces, or some spans of them by their numbers, as one request, grouped
    /// by resource and scope.
    ///
    /// With the same stamp, templates of the same traces have the same ids and times.
    pub(crate) fn encode(
        traces: &[Trace],
        resources: &[Resource],
        is_in: impl Fn(u32) -> bool,
    ) -> Self {
        let mut groups: BTreeMap<usize, BTreeMap<&str, Message>> = BTreeMap::new();
        let (mut spans, mut encoded) = (0_u32, 0);
        for (number, trace) in (0_u32..).zip(traces) {
            let end = trace.iter().map(|span| span.end).max().unwrap_or(0);
            for (index, span) in (spans..).zip(trace) {
                if !is_in(index) {
                    continue;
                }
                encoded += 1;
                let message = encode_span(span, number, index, spans, end);
                groups
                    .entry(span.resource)
                    .or_default()
                    .entry(span.scope)
                    .or_insert_with(|| encode_scope(span.scope))
                    .message(2, &message);
            }
            spans += u32::try_from(trace.len()).unwrap_or(u32::MAX);
        }
        let mut request = Message::default();
        for (resource, scopes) in groups {
            let mut inner = Message::default();
            if let Some(resource) = resources.get(resource) {
                let mut message = Message::default();
                encode_attributes(&mut message, 1, &resource.attributes);
                inner.message(1, &message);
            }
            for scope in scopes.values() {
                inner.message(2, scope);
            }
            request.message(1, &inner);
        }
        let (bytes, marks) = request.finish();
        Self {
            bytes,
            marks,
            spans: encoded,
        }
    }

    /// How many spans it holds.
    pub(crate) fn spans(&self) -> u64 {
        self.spans
    }

    /// The length of the request in bytes, whatever the stamp.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the request with everything filled in.
    pub(crate) fn write(&self, stamp: &Stamp, out: &mut impl BufMut) {
        let mut rest = self.bytes.as_slice();
        let mut at = 0;
        for mark in &self.marks {
            let (fixed, marked) = rest.split_at(mark.at.saturating_sub(at).min(rest.len()));
            out.put_slice(fixed);
            stamp.fill(mark.fill, out);
            rest = marked.get(mark.fill.length()..).unwrap_or_default();
            at = mark.at + mark.fill.length();
        }
        out.put_slice(rest);
    }
}

impl Stamp {
    /// How long before [`Stamp::now`] something was that is so long before the end
    /// of a trace, in nanoseconds.
    pub(crate) fn ago(&self, trace: u32, before: u64) -> u64 {
        stretched(before, mix(self.seed ^ u64::from(trace) << 32))
    }

    fn fill(&self, fill: Fill, out: &mut impl BufMut) {
        match fill {
            Fill::TraceId(trace) => {
                let key = u64::from(trace) << 32;
                out.put_u64(mix(self.seed ^ key ^ 1));
                out.put_u64(mix(self.seed ^ key ^ 2));
            }
            Fill::SpanId(span) => out.put_u64(mix(self.seed.wrapping_add(u64::from(span) << 8))),
            Fill::Time { trace, before } => {
                out.put_u64_le(self.now.saturating_sub(self.ago(trace, before)));
            }
            Fill::Generation(label_set) => {
                let mut digits = [b'0'; crate::trace::GENERATION_DIGITS];
                let mut number = self.churn.generation(label_set);
                for digit in digits.iter_mut().rev() {
                    *digit = b'0' + (number % 10) as u8;
                    number /= 10;
                }
                out.put_slice(&digits);
            }
        }
    }
}

/// Stretches a time by 0.75 to 1.5, one factor for a whole trace, so that
/// children stay within parents and quantiles are no staircase.
fn stretched(before: u64, random: u64) -> u64 {
    (before * (768 + random % 768)) >> 10
}

/// SplitMix64's finaliser, never zero: an id of zeros is invalid.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators" (2014), with Stafford's variant 13 constants.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (value ^ (value >> 31)).max(1)
}

/// Flags of a sampled span whose parent, if any, is in the same process.
const SAMPLED: u32 = 0x101;

/// Added to the flags of a span whose parent is in another process.
const PARENT_IS_REMOTE: u32 = 0x200;

fn encode_span(span: &Span, trace: u32, index: u32, first: u32, trace_end: u64) -> Message {
    let time = |at: u64| Fill::Time {
        trace,
        before: trace_end.saturating_sub(at),
    };
    let mut message = Message::default();
    message.marked_bytes(1, b"", Fill::TraceId(trace));
    message.marked_bytes(2, b"", Fill::SpanId(index));
    if let Some(parent) = span.parent.and_then(|parent| u32::try_from(parent).ok()) {
        message.marked_bytes(4, b"", Fill::SpanId(first + parent));
    }
    match span.churn {
        None => message.bytes(5, span.name.as_bytes()),
        Some(label_set) => {
            let fixed = span
                .name
                .len()
                .saturating_sub(crate::trace::GENERATION_DIGITS);
            let fixed = span.name.as_bytes().get(..fixed).unwrap_or_default();
            message.marked_bytes(5, fixed, Fill::Generation(label_set));
        }
    }
    message.varint(6, span.kind as u64);
    message.marked_fixed64(7, time(span.start));
    message.marked_fixed64(8, time(span.end));
    encode_attributes(&mut message, 9, &span.attributes);
    if let Some(text) = span.failure {
        let mut status = Message::default();
        status.bytes(2, text.as_bytes());
        status.varint(3, 2);
        message.message(15, &status);
    }
    let remote = span.parent.is_some() && matches!(span.kind, Kind::Server | Kind::Consumer);
    message.fixed32(16, SAMPLED | if remote { PARENT_IS_REMOTE } else { 0 });
    message
}

fn encode_scope(name: &str) -> Message {
    let mut scope = Message::default();
    scope.bytes(1, name.as_bytes());
    scope.bytes(2, b"0.58.0");
    let mut group = Message::default();
    group.message(1, &scope);
    group
}

fn encode_attributes(message: &mut Message, field: u32, attributes: &Attributes) {
    for (key, value) in attributes {
        let mut any = Message::default();
        match value {
            Value::Text(text) => any.bytes(1, text.as_bytes()),
            Value::Int(number) => any.present_varint(3, number.cast_unsigned()),
        }
        let mut pair = Message::default();
        pair.bytes(1, key.as_bytes());
        pair.message(2, &any);
        message.message(field, &pair);
    }
}

#[cfg(test)]
pub(crate) mod tests;
