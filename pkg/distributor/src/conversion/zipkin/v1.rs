//! The JSON of version 1.

use serde::Deserialize;

use super::super::attributes::{Attributes, Text, Value};
use super::super::output::{Event, Limited, Scope, Span, SpanKind, StatusCode};
use super::json::{EndpointJson, List, Micros, Str};
use super::{Converted, Endpoint, Options, parse, put_remote, status_code};

/// The service of spans none of whose annotations names one.
const UNKNOWN_SERVICE: &[u8] = b"unknown-service";

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
    name: Str<'a>,
    timestamp: Micros,
    duration: Micros,
    #[serde(borrow)]
    annotations: List<AnnotationJson<'a>>,
    #[serde(borrow)]
    binary_annotations: List<BinaryAnnotationJson<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnnotationJson<'a> {
    timestamp: Micros,
    #[serde(borrow)]
    value: Str<'a>,
    #[serde(borrow)]
    endpoint: Option<EndpointJson<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BinaryAnnotationJson<'a> {
    #[serde(borrow)]
    key: Str<'a>,
    #[serde(borrow)]
    value: Str<'a>,
    #[serde(borrow)]
    endpoint: Option<EndpointJson<'a>>,
}

/// Reads and converts a span.
pub(super) fn span(text: &str, options: Options) -> serde_json::Result<Converted<'_>> {
    let json: SpanJson<'_> = serde_json::from_str(text)?;
    let mut span = Span {
        trace_id: json.trace_id.id(),
        span_id: json.id.id(),
        parent_span_id: json.parent_id.id().filter(|parent| *parent != [0; 8]),
        name: json.name.text(),
        ..Span::default()
    };
    span.events = Limited::beyond(json.annotations.dropped);
    let (named, of_event) = annotations(json.annotations.kept, &mut span);
    let service = binary_annotations(json.binary_annotations, &mut span, options);
    let mut endpoint = named.unwrap_or_default();
    for fallback in [service, of_event] {
        if endpoint.service_name.is_empty() {
            endpoint.service_name = fallback;
        }
    }
    if json.timestamp.0 != 0 {
        span.start = json.timestamp.0.saturating_mul(1_000);
        let duration = json.duration.0.saturating_mul(1_000);
        span.end = span.start.saturating_add(duration);
    }
    if span.start == 0 {
        let absent = "otel.zipkin.absentField.startTime";
        span.attributes.put(absent, Value::Bool(true));
    }
    Ok(Converted {
        resource: resource(endpoint),
        scope: Scope::default(),
        span,
    })
}

/// Reads kind, time and events. Gives the endpoint of the first annotation that
/// says on which side it is, and the service of the first that does not.
fn annotations<'a>(
    list: Vec<AnnotationJson<'a>>,
    span: &mut Span<'a>,
) -> (Option<Endpoint<'a>>, Text<'a>) {
    let (mut named, mut of_event) = (None, Text::default());
    for annotation in list {
        if annotation.value.0.is_empty() {
            continue;
        }
        let time = annotation.timestamp.0.saturating_mul(1_000);
        span.end = span.end.max(time);
        if span.start == 0 || time < span.start {
            span.start = time;
        }
        let kind = match &*annotation.value.0 {
            "cs" | "cr" => SpanKind::Client,
            "ss" | "sr" => SpanKind::Server,
            "ms" => SpanKind::Producer,
            "mr" => SpanKind::Consumer,
            _ => {
                if of_event.is_empty() {
                    let endpoint = annotation.endpoint.unwrap_or_default().endpoint();
                    of_event = endpoint.service_name;
                }
                span.events.push(Event {
                    time,
                    name: annotation.value.text(),
                    attributes: Attributes::default(),
                });
                continue;
            }
        };
        if span.kind == SpanKind::Unspecified {
            span.kind = kind;
        }
        if named.is_none() {
            let endpoint = annotation.endpoint.map(EndpointJson::endpoint);
            named = endpoint.filter(|endpoint| !endpoint.service_name.is_empty());
        }
    }
    (named, of_event)
}

/// Reads attributes, the remote endpoint and the status. Gives the service for want
/// of a better one: that of the last endpoint, or the local component.
fn binary_annotations<'a>(
    list: List<BinaryAnnotationJson<'a>>,
    span: &mut Span<'a>,
    options: Options,
) -> Text<'a> {
    let (mut of_endpoint, mut component) = (Text::default(), Text::default());
    let mut tags = Attributes::default();
    tags.dropped += list.dropped;
    for annotation in list.kept {
        let endpoint = annotation.endpoint.map(EndpointJson::endpoint);
        let mut key = annotation.key.text();
        if matches!(&*key, b"sa" | b"ca" | b"ma") && endpoint.is_some() {
            // An address: of the other side, its value is just `true`.
            put_remote(&mut tags, endpoint.unwrap_or_default());
            continue;
        }
        if let Some(endpoint) = endpoint
            && !endpoint.service_name.is_empty()
        {
            of_endpoint = endpoint.service_name;
        }
        let value = annotation.value.text();
        if *key == *b"lc" {
            key = Text::Borrowed(b"component");
            component = value.clone();
        }
        tags.push(key, Value::Text(value));
    }
    tags.settle();
    (span.status_code, span.status_message) = status(&mut tags);
    if options.parse_string_tags {
        tags.iter_mut().for_each(|(_, value)| parse(value));
    }
    span.attributes = tags;
    if of_endpoint.is_empty() {
        component
    } else {
        of_endpoint
    }
}

/// The status: of OpenCensus, else of OpenTelemetry, else of `error`, else of HTTP.
fn status<'a>(tags: &mut Attributes<'a>) -> (StatusCode, Text<'a>) {
    let census = tags
        .take(b"census.status_code")
        .and_then(|code| code.as_int());
    let census_message = tags
        .take_text(b"census.status_description")
        .or_else(|| tags.take_text(b"opencensus.status_description"));
    let declared = tags.take_text(b"otel.status_code");
    let message = tags.take_text(b"otel.status_description");
    let error = tags.take(b"error");
    if let Some(code) = census {
        let code = match code {
            0 => StatusCode::Ok,
            _ => StatusCode::Error,
        };
        return (code, census_message.unwrap_or_default());
    }
    if let Some(declared) = declared {
        let code = match &*declared {
            b"1" => StatusCode::Ok,
            b"2" => StatusCode::Error,
            name => status_code(name),
        };
        return (code, message.unwrap_or_default());
    }
    if error.is_some() {
        let message = census_message.or(message).unwrap_or_default();
        return (StatusCode::Error, message);
    }
    match tags.get(b"http.status_code").and_then(Value::as_int) {
        None | Some(100..400) => Default::default(),
        Some(_) => {
            let message = tags.get(b"http.status_message").cloned();
            let message = message.map(Value::into_text).unwrap_or_default();
            (StatusCode::Error, message)
        }
    }
}

fn resource(endpoint: Endpoint<'_>) -> Attributes<'_> {
    let mut resource = Attributes::default();
    let service = match endpoint.service_name.is_empty() {
        true => Text::Borrowed(UNKNOWN_SERVICE),
        false => endpoint.service_name,
    };
    resource.push(b"service.name".as_slice(), Value::Text(service));
    if let Some(ip) = endpoint.ip {
        let key = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
        resource.push(key.as_bytes(), Value::text(ip.to_string().into_bytes()));
    }
    if endpoint.port > 0 {
        let port = endpoint.port.to_string().into_bytes();
        resource.push(b"port".as_slice(), Value::text(port));
    }
    resource
}
