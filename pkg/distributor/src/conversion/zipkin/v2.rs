//! The JSON of version 2.

use serde::Deserialize;

use super::super::output::{Limited, SpanKind};
use super::ZipkinSpan;
use super::json::{EndpointJson, List, Micros, Str, Tags};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpanJson<'a> {
    #[serde(borrow)]
    trace_id: Str<'a>,
    #[serde(borrow)]
    id: Str<'a>,
    #[serde(borrow)]
    parent_id: Str<'a>,
    #[serde(borrow)]
    kind: Str<'a>,
    #[serde(borrow)]
    name: Str<'a>,
    timestamp: Micros,
    duration: Micros,
    #[serde(borrow)]
    local_endpoint: Option<EndpointJson<'a>>,
    #[serde(borrow)]
    remote_endpoint: Option<EndpointJson<'a>>,
    #[serde(borrow)]
    annotations: List<AnnotationJson<'a>>,
    #[serde(borrow)]
    tags: Tags<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnnotationJson<'a> {
    timestamp: Micros,
    #[serde(borrow)]
    value: Str<'a>,
}

/// Reads a span.
pub(super) fn span(text: &str) -> serde_json::Result<ZipkinSpan<'_>> {
    let json: SpanJson<'_> = serde_json::from_str(text)?;
    let mut annotations = Limited::beyond(json.annotations.dropped);
    for annotation in json.annotations.kept {
        annotations.push((annotation.timestamp.0, annotation.value.text()));
    }
    Ok(ZipkinSpan {
        trace_id: json.trace_id.id(),
        id: json.id.id(),
        parent_id: json.parent_id.id(),
        kind: kind(&json.kind.0),
        name: json.name.text(),
        timestamp: json.timestamp.0,
        duration: json.duration.0,
        local: json.local_endpoint.unwrap_or_default().endpoint(),
        remote: json.remote_endpoint.unwrap_or_default().endpoint(),
        annotations,
        tags: json.tags.0,
    })
}

fn kind(name: &str) -> SpanKind {
    match name {
        "CLIENT" => SpanKind::Client,
        "SERVER" => SpanKind::Server,
        "PRODUCER" => SpanKind::Producer,
        "CONSUMER" => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}
