//! The spans that recorded cases are made from.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Deserialize;

use super::testdata;

/// The time that all recorded timestamps are relative to.
const RECORDED_NOW: u64 = 1_700_000_000_000_000_000;

/// A set of recorded requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// Made by hand: every rule and every bound.
    Edge,
    /// From real OpenTelemetry SDKs.
    Real,
    /// `Edge`, then `Real`.
    Mix,
    /// A resource that is not there.
    CrashNilResource,
    /// An attribute without a value.
    CrashNilValue,
}

impl Input {
    /// The requests in the order of their push, as if "now" were then.
    ///
    /// # Errors
    ///
    /// When one cannot be read.
    pub fn requests(self, now_unix_nanos: u64) -> anyhow::Result<Vec<Vec<u8>>> {
        let sets: &[&str] = match self {
            Self::Edge => &["edge"],
            Self::Real => &["real"],
            Self::Mix => &["edge", "real"],
            Self::CrashNilResource => &["crash-nil-resource"],
            Self::CrashNilValue => &["crash-nil-value"],
        };
        let mut requests = Vec::new();
        for set in sets {
            let mut files: Vec<PathBuf> = std::fs::read_dir(testdata().join("inputs").join(set))?
                .map(|entry| Ok(entry?.path()))
                .collect::<anyhow::Result<_>>()?;
            files.sort();
            for file in files {
                let mut request = std::fs::read(&file)?;
                shift_times(&mut request, now_unix_nanos.wrapping_sub(RECORDED_NOW))
                    .and_then(|()| clear_flags(&mut request))
                    .with_context(|| format!("{}", file.display()))?;
                requests.push(request);
            }
        }
        Ok(requests)
    }
}

/// A message of OTLP on the way to its times.
#[derive(Clone, Copy, Debug)]
enum Message {
    Request,
    ResourceSpans,
    ScopeSpans,
    Span,
    Event,
}

impl Message {
    /// The message that lies in a field.
    fn inner(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Request, 1) => Some(Self::ResourceSpans),
            (Self::ResourceSpans, 2) => Some(Self::ScopeSpans),
            (Self::ScopeSpans, 2) => Some(Self::Span),
            (Self::Span, 11) => Some(Self::Event),
            _ => None,
        }
    }

    /// What lies in a field, with the wire type that it has.
    fn part(self, field: u64, wire_type: u64) -> Option<Part> {
        match (self, field, wire_type) {
            (Self::ScopeSpans, 2, 2) => Some(Part::Span),
            (Self::Span, 1, 2) => Some(Part::TraceId),
            (Self::Span, 5, 2) => Some(Part::Name),
            (Self::Span, 7, 1) => Some(Part::Start),
            (Self::Span, 8, 1) => Some(Part::End),
            (Self::Span, 16, 5) => Some(Part::Flags),
            (Self::Event, 1, 1) => Some(Part::EventTime),
            _ => None,
        }
    }
}

/// Moves every time of a request by a number of nanoseconds, in place.
///
/// Works on the wire, because some recorded text is not UTF-8.
///
/// # Errors
///
/// When the bytes are not protobuf.
pub fn shift_times(request: &mut [u8], nanos: u64) -> anyhow::Result<()> {
    let mut parts = Vec::new();
    find_parts(request, 0..request.len(), Message::Request, &mut parts)?;
    let is_time = |part: &Part| matches!(part, Part::Start | Part::End | Part::EventTime);
    for (_, place) in parts.into_iter().filter(|(part, _)| is_time(part)) {
        let time = request
            .get_mut(place)
            .and_then(|rest| rest.first_chunk_mut::<8>())
            .context("time outside of the request")?;
        *time = u64::from_le_bytes(*time).wrapping_add(nanos).to_le_bytes();
    }
    Ok(())
}

/// Lets no span of a request say whether its trace is sampled, in place: Tempo does
/// not ask, and we prefer such traces as exemplars (D38).
fn clear_flags(request: &mut [u8]) -> anyhow::Result<()> {
    let mut parts = Vec::new();
    find_parts(request, 0..request.len(), Message::Request, &mut parts)?;
    for (_, place) in parts.into_iter().filter(|(part, _)| *part == Part::Flags) {
        let flags = request
            .get_mut(place)
            .context("flags outside of the request")?;
        flags.fill(0);
    }
    Ok(())
}

/// What a request says of a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushedSpan {
    /// 32 hexadecimal digits, padded.
    pub trace_id: String,
    /// Without what is not UTF-8.
    pub name: String,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
}

/// All spans of a request.
///
/// # Errors
///
/// When the bytes are not protobuf.
pub fn pushed_spans(request: &[u8]) -> anyhow::Result<Vec<PushedSpan>> {
    let mut parts = Vec::new();
    find_parts(request, 0..request.len(), Message::Request, &mut parts)?;
    let mut spans: Vec<PushedSpan> = Vec::new();
    for (part, place) in parts {
        if part == Part::Span {
            spans.push(PushedSpan::default());
        }
        let bytes = request.get(place).context("outside of the request")?;
        let time = bytes
            .first_chunk()
            .map_or(0, |time| u64::from_le_bytes(*time));
        let Some(span) = spans.last_mut() else {
            continue;
        };
        match part {
            Part::TraceId => {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                span.trace_id = format!("{digits:0>32}");
            }
            Part::Name => span.name = String::from_utf8_lossy(bytes).into_owned(),
            Part::Start => span.start = time,
            Part::End => span.end = time,
            Part::Span | Part::Flags | Part::EventTime => {}
        }
    }
    Ok(spans)
}

/// What is looked for in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A span, before its other parts.
    Span,
    TraceId,
    Name,
    Start,
    End,
    Flags,
    EventTime,
}

fn find_parts(
    bytes: &[u8],
    within: Range<usize>,
    message: Message,
    parts: &mut Vec<(Part, Range<usize>)>,
) -> anyhow::Result<()> {
    let mut at = within.start;
    while at < within.end {
        let tag = varint(bytes, &mut at)?;
        let field = tag >> 3;
        let length = match tag & 7 {
            0 => {
                varint(bytes, &mut at)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(bytes, &mut at)?)?,
            5 => 4,
            other => anyhow::bail!("wire type {other} at byte {at}"),
        };
        let end = at.checked_add(length).filter(|end| *end <= within.end);
        let end = end.with_context(|| format!("field {field} at byte {at} is cut off"))?;
        if let Some(part) = message.part(field, tag & 7) {
            parts.push((part, at..end));
        }
        if tag & 7 == 2
            && let Some(inner) = message.inner(field)
        {
            find_parts(bytes, at..end, inner, parts)?;
        }
        at = end;
    }
    Ok(())
}

fn varint(bytes: &[u8], at: &mut usize) -> anyhow::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).context("varint is cut off")?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    anyhow::bail!("varint is too long")
}
