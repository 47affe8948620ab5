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

    /// Whether a field is a time: start and end of a span, time of an event.
    fn is_time(self, field: u64) -> bool {
        matches!((self, field), (Self::Span, 7 | 8) | (Self::Event, 1))
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
    let mut times = Vec::new();
    find_times(request, 0..request.len(), Message::Request, &mut times)?;
    for Time { at, .. } in times {
        let time = request
            .get_mut(at..)
            .and_then(|rest| rest.first_chunk_mut::<8>())
            .context("time outside of the request")?;
        *time = u64::from_le_bytes(*time).wrapping_add(nanos).to_le_bytes();
    }
    Ok(())
}

/// The end times of all spans of a request, in nanoseconds since 1970.
///
/// # Errors
///
/// When the bytes are not protobuf.
pub fn span_ends(request: &[u8]) -> anyhow::Result<Vec<u64>> {
    let mut times = Vec::new();
    find_times(request, 0..request.len(), Message::Request, &mut times)?;
    let ends = times.iter().filter(|time| time.ends_span);
    ends.map(|time| {
        let rest = request.get(time.at..).and_then(|rest| rest.first_chunk());
        let end = rest.context("time outside of the request")?;
        Ok(u64::from_le_bytes(*end))
    })
    .collect()
}

/// Where a time lies in a request.
#[derive(Clone, Copy, Debug)]
struct Time {
    at: usize,
    ends_span: bool,
}

fn find_times(
    bytes: &[u8],
    within: Range<usize>,
    message: Message,
    times: &mut Vec<Time>,
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
            1 => {
                if message.is_time(field) {
                    let ends_span = matches!((message, field), (Message::Span, 8));
                    times.push(Time { at, ends_span });
                }
                8
            }
            2 => usize::try_from(varint(bytes, &mut at)?)?,
            5 => 4,
            other => anyhow::bail!("wire type {other} at byte {at}"),
        };
        let end = at.checked_add(length).filter(|end| *end <= within.end);
        let end = end.with_context(|| format!("field {field} at byte {at} is cut off"))?;
        if tag & 7 == 2
            && let Some(inner) = message.inner(field)
        {
            find_times(bytes, at..end, inner, times)?;
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
