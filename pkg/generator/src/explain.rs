//! What becomes of single spans, and why.
//!
//! The very processors and the very registry of a tenant take one span after the
//! other, and each rule is told in words. Nothing leaves the process.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::TenantId;
use otlp::{AnyValue, WireError};
use overrides::TenantConfig;
use serde::Serialize;

use crate::instance::InstanceLabel;

mod file;
mod request;
mod series;
mod trial;

pub use self::file::explain;

/// Which spans are asked about, and what holds for them.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Whose spans they are.
    pub tenant: TenantId,
    /// The tenant's settings.
    pub config: Arc<TenantConfig>,
    /// The label that names the generator.
    pub instance_label: InstanceLabel,
    /// An OTLP request in protobuf.
    pub request: &'a [u8],
    /// When the spans arrive, in nanoseconds since the Unix epoch; `None` if each
    /// arrives at its end.
    pub now_unix_nanos: Option<u64>,
}

/// Spans about which nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// They are in no request that can be read: as a whole it would be refused.
    #[error("not a valid OTLP trace request, so that it is refused as a whole (malformed)")]
    Malformed(#[from] WireError),
    /// The generator refuses the request as a whole.
    #[error("refused as a whole")]
    Refused(#[from] model::PushError),
}

/// What becomes of the spans of a request, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The spans.
    pub spans: Vec<ExplainedSpan>,
}

/// What becomes of one span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedSpan {
    /// Its place in the request, from 1.
    pub number: usize,
    /// Its name; empty, as all that follows, if it cannot be read.
    pub name: String,
    /// `service.name` of its resource.
    pub service: String,
    /// Its kind, as the label `span_kind` has it.
    pub kind: String,
    /// In hexadecimal.
    pub trace_id: String,
    /// In hexadecimal.
    pub span_id: String,
    /// When it arrives, in nanoseconds since the Unix epoch.
    pub now_unix_nanos: u64,
    /// What was asked before any processor, in order.
    pub rules: Vec<Rule>,
    /// Why no processor sees it; `None` if they do.
    pub refused: Option<Refused>,
    /// The series that its resource changes although no processor sees the span: its
    /// host's.
    pub series: Vec<ReachedSeries>,
    /// What each processor makes of it; empty if none sees it.
    pub processors: Vec<ExplainedProcessor>,
}

/// One rule, and what it finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The rule, by the setting or the part of the span that it is about.
    pub rule: Cow<'static, str>,
    /// What it finds.
    pub finding: Cow<'static, str>,
}

/// Why no processor sees a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// `distributor` or `generator`.
    pub by: &'static str,
    /// The `reason` with which it is counted.
    pub reason: &'static str,
}

/// What a processor makes of a span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedProcessor {
    /// Its name in the ledger.
    pub processor: &'static str,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
    /// What becomes of the span.
    pub verdict: Verdict,
    /// Whether it waits first, for as long as the tenant's `wait` says, since no span of
    /// the request is its counterpart.
    pub waits: bool,
    /// The places of the spans that it makes an edge with.
    pub with: Vec<usize>,
    /// The series that it changes.
    pub series: Vec<ReachedSeries>,
}

/// What becomes of a span, in the words of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It counts.
    Counted,
    /// It does not; the `reason` with which it is counted.
    Discarded(&'static str),
    /// The tenant does not have the processor.
    Off,
}

/// A series that a span changes: of a histogram, all of its series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ReachedSeries {
    /// The metric.
    pub metric: String,
    /// `counter`, `gauge`, `histogram`, `native histogram`, or both histograms.
    pub kind: &'static str,
    /// Its labels, external ones among them.
    pub labels: BTreeMap<String, String>,
    /// What `write_relabel_configs` of a destination make of it, where there are any.
    pub relabelled: Vec<RelabelledSeries>,
}

/// What a destination gets in place of a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RelabelledSeries {
    /// The name of the destination, or its place in the list from 1.
    pub destination: String,
    /// The labels, its name as `__name__` among them; `None` if it is dropped.
    pub labels: Option<BTreeMap<String, String>>,
}

impl Rule {
    pub(crate) fn new(
        rule: impl Into<Cow<'static, str>>,
        finding: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            rule: rule.into(),
            finding: finding.into(),
        }
    }
}

/// A value as people read it.
pub(crate) fn shown(value: AnyValue<'_>) -> String {
    if let AnyValue::String(text) = value {
        return shown_text(text);
    }
    let mut text = String::new();
    match value.write_text(&mut text) {
        Ok(()) => text,
        Err(_) => "not UTF-8".to_owned(),
    }
}

/// Text as people read it.
pub(crate) fn shown_text(text: &[u8]) -> String {
    match std::str::from_utf8(text) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("{:?}, which is not UTF-8", String::from_utf8_lossy(text)),
    }
}

/// An id in hexadecimal.
pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
