use std::collections::HashMap;

use prost::Message as _;

use super::*;

/// As much of OTLP as the tests look at, decoded by prost: an encoder that
/// agrees with itself alone proves nothing.
pub(crate) mod otlp {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Request {
        #[prost(message, repeated, tag = "1")]
        pub(crate) resource_spans: Vec<ResourceSpans>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub(crate) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) scope_spans: Vec<ScopeSpans>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(crate) attributes: Vec<KeyValue>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ScopeSpans {
        #[prost(message, optional, tag = "1")]
        pub(crate) scope: Option<Scope>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) spans: Vec<Span>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Scope {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub(crate) trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(crate) span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub(crate) parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub(crate) name: String,
        #[prost(int32, tag = "6")]
        pub(crate) kind: i32,
        #[prost(fixed64, tag = "7")]
        pub(crate) start: u64,
        #[prost(fixed64, tag = "8")]
        pub(crate) end: u64,
        #[prost(message, repeated, tag = "9")]
        pub(crate) attributes: Vec<KeyValue>,
        #[prost(message, optional, tag = "15")]
        pub(crate) status: Option<Status>,
        #[prost(fixed32, tag = "16")]
        pub(crate) flags: u32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Status {
        #[prost(string, tag = "2")]
        pub(crate) message: String,
        #[prost(int32, tag = "3")]
        pub(crate) code: i32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(crate) key: String,
        #[prost(message, optional, tag = "2")]
        pub(crate) value: Option<AnyValue>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct AnyValue {
        #[prost(oneof = "Any", tags = "1, 3")]
        pub(crate) value: Option<Any>,
    }
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Any {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(int64, tag = "3")]
        Int(i64),
    }

    impl Request {
        /// All spans with their `service.name`.
        pub(crate) fn spans(&self) -> impl Iterator<Item = (String, &Span)> {
            self.resource_spans.iter().flat_map(|group| {
                let attributes = group.resource.iter().flat_map(|r| &r.attributes);
                let service = text(attributes, "service.name");
                let spans = group.scope_spans.iter().flat_map(|scope| &scope.spans);
                spans.map(move |span| (service.clone(), span))
            })
        }
    }

    /// The text of an attribute, empty if there is none.
    pub(crate) fn text<'a>(
        mut attributes: impl Iterator<Item = &'a KeyValue>,
        key: &str,
    ) -> String {
        match attributes
            .find(|pair| pair.key == key)
            .and_then(|pair| pair.value.clone()?.value)
        {
            Some(Any::Text(text)) => text,
            Some(Any::Int(number)) => number.to_string(),
            None => String::new(),
        }
    }
}

pub(crate) const NOW: u64 = 1_700_000_000_000_000_000;

/// What a template sends, as prost reads it.
pub(crate) fn decoded(template: &Template, seed: u64, churn: Churn) -> otlp::Request {
    let mut bytes = Vec::new();
    let stamp = Stamp {
        seed,
        now: NOW,
        churn,
    };
    template.write(&stamp, &mut bytes);
    assert_eq!(bytes.len(), template.length());
    otlp::Request::decode(bytes.as_slice()).unwrap()
}

fn span(resource: usize, parent: Option<usize>, start: u64, end: u64) -> Span {
    Span {
        resource,
        parent,
        scope: "http",
        name: "GET /v0000".into(),
        churn: None,
        kind: Kind::Server,
        failure: None,
        start,
        end,
        attributes: vec![("http.request.method", "GET".into()), ("n", 0_i64.into())],
    }
}

fn resource(name: &'static str) -> Resource {
    Resource {
        attributes: vec![("service.name", name.into())],
    }
}

#[test]
fn every_sending_has_ids_and_times_of_its_own() {
    let traces = [
        vec![span(0, None, 0, 1_000_000), span(1, Some(0), 100, 900)],
        vec![span(1, None, 0, 1_000_000)],
    ];
    let template = Template::encode(&traces, &[resource("a"), resource("b")], |_| true);
    let first = decoded(&template, 1, Churn::default());
    let second = decoded(&template, 2, Churn::default());

    let mut traces_of = HashMap::<Vec<u8>, usize>::new();
    let mut spans = HashMap::new();
    for (service, span) in first.spans().chain(second.spans()) {
        assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
        let root = span.parent_span_id.is_empty();
        assert_eq!(span.flags, if root { 0x101 } else { 0x301 });
        assert!(span.end <= NOW && span.start < span.end);
        *traces_of.entry(span.trace_id.clone()).or_default() += 1;
        assert!(
            spans
                .insert(span.span_id.clone(), (service, span))
                .is_none()
        );
    }
    let mut sizes: Vec<_> = traces_of.into_values().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 2, 2]);

    let children: Vec<_> = spans
        .values()
        .filter(|(_, s)| !s.parent_span_id.is_empty())
        .collect();
    assert_eq!(children.len(), 2);
    for (service, child) in children {
        let (parent_service, parent) = &spans[&child.parent_span_id];
        assert_eq!((service.as_str(), parent_service.as_str()), ("b", "a"));
        assert_eq!(child.trace_id, parent.trace_id);
        assert!(parent.start <= child.start && child.end <= parent.end);
    }
}

#[test]
fn a_stamp_gives_the_same_bytes_again() {
    let template = Template::encode(&[vec![span(0, None, 0, 5)]], &[resource("a")], |_| true);
    let churn = Churn::default();
    assert_eq!(decoded(&template, 3, churn), decoded(&template, 3, churn));
    assert_ne!(decoded(&template, 3, churn), decoded(&template, 4, churn));
}

#[test]
fn names_are_replaced_one_label_set_after_the_other() {
    let mut churned = span(0, None, 0, 5);
    churned.churn = Some(1);
    let template = Template::encode(&[vec![churned]], &[resource("a")], |_| true);
    let name = |turns: f64| {
        let churn = Churn {
            turns,
            label_sets: 4,
        };
        let request = decoded(&template, 1, churn);
        let (_, span) = request.spans().next().unwrap();
        span.name.clone()
    };
    assert_eq!(name(0.0), "GET /v0000");
    assert_eq!(name(0.74), "GET /v0000");
    assert_eq!(name(0.75), "GET /v0001");
    assert_eq!(name(41.8), "GET /v0042");
}

#[test]
fn failure_is_a_status_with_its_message() {
    let mut failed = span(0, None, 0, 5);
    failed.failure = Some("timed out");
    let template = Template::encode(&[vec![failed]], &[resource("a")], |_| true);
    let request = decoded(&template, 1, Churn::default());
    let (_, span) = request.spans().next().unwrap();
    let status = span.status.clone().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "timed out"));
    assert_eq!(otlp::text(span.attributes.iter(), "n"), "0");
}

#[test]
fn parts_of_the_same_traces_make_up_the_whole() {
    let traces = [
        vec![span(0, None, 0, 1_000_000), span(1, Some(0), 100, 900)],
        vec![span(1, None, 0, 1_000_000)],
    ];
    let resources = [resource("a"), resource("b")];
    let spans = |is_in: fn(u32) -> bool| {
        let template = Template::encode(&traces, &resources, is_in);
        let request = decoded(&template, 1, Churn::default());
        let spans = request
            .spans()
            .map(|(service, span)| (service, span.clone()));
        let spans: Vec<_> = spans.collect();
        assert_eq!(template.spans(), spans.len() as u64);
        spans
    };
    let whole = spans(|_| true);
    let parts = [spans(|number| number == 1), spans(|number| number != 1)].concat();
    assert_eq!((whole.len(), parts.len()), (3, 3));
    for span in whole {
        assert!(parts.contains(&span), "{span:?}");
    }
}
