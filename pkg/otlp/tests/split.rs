//! A request is split into the spans of each owner, and nothing else of it is lost.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::common::InstrumentationScope;
use proto::otlp::resource::Resource;
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};
use spanmill_otlp::WireError;
use spanmill_otlp::split::{Share, Split, split};

fn span(name: &str, trace: u8) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![1; 8],
        name: name.to_owned(),
        ..Span::default()
    }
}

fn scope(name: &str, spans: Vec<Span>) -> ScopeSpans {
    ScopeSpans {
        scope: Some(InstrumentationScope {
            name: name.to_owned(),
            ..InstrumentationScope::default()
        }),
        spans,
        schema_url: format!("scope-schema-{name}"),
    }
}

fn resource(dropped: u32, scope_spans: Vec<ScopeSpans>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource {
            dropped_attributes_count: dropped,
            ..Resource::default()
        }),
        scope_spans,
        schema_url: format!("schema-{dropped}"),
    }
}

/// The owner of a trace: its first byte; nobody owns 255.
fn first_byte(trace_id: &[u8]) -> Option<u16> {
    trace_id
        .first()
        .filter(|byte| **byte != 255)
        .map(|byte| u16::from(*byte))
}

fn decoded(share: &Share) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(&share.request[..]).unwrap()
}

/// The request with the spans of one owner only, and no empty scope or resource.
fn expected(mut request: ExportTraceServiceRequest, owner: u16) -> ExportTraceServiceRequest {
    for resource in &mut request.resource_spans {
        for scope in &mut resource.scope_spans {
            let is_owned = |span: &Span| first_byte(&span.trace_id) == Some(owner);
            scope.spans.retain(is_owned);
        }
        let scopes = &mut resource.scope_spans;
        scopes.retain(|scope| !scope.spans.is_empty());
    }
    let resources = &mut request.resource_spans;
    resources.retain(|resource| !resource.scope_spans.is_empty());
    request
}

fn requests() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let trace = prop_oneof![Just(0_u8), Just(1), Just(2), Just(9), Just(255)];
    let span = ("[a-z]{0,9}", trace).prop_map(|(name, trace)| span(&name, trace));
    let scope = ("[a-z]{0,200}", vec(span, 0..6)).prop_map(|(name, spans)| scope(&name, spans));
    let resource =
        (0_u32..9, vec(scope, 0..4)).prop_map(|(dropped, scopes)| resource(dropped, scopes));
    vec(resource, 0..4).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

proptest! {
    /// forall requests: each owner's share is the request without the others' spans.
    #[test]
    fn each_share_is_the_request_without_the_spans_of_others(request in requests()) {
        let bytes = Bytes::from(request.encode_to_vec());
        let split = split(&bytes, first_byte).unwrap();

        let all: Vec<&Span> = request
            .resource_spans
            .iter()
            .flat_map(|resource| &resource.scope_spans)
            .flat_map(|scope| &scope.spans)
            .collect();
        let unowned = all.iter().filter(|span| span.trace_id[0] == 255).count() as u64;
        prop_assert_eq!(split.unowned_spans, unowned);
        let in_shares: u64 = split.shares.iter().map(|share| share.spans).sum();
        prop_assert_eq!(in_shares + unowned, all.len() as u64);

        let is_whole = split.shares.len() == 1 && unowned == 0;
        for share in &split.shares {
            let want = if is_whole { request.clone() } else { expected(request.clone(), share.owner) };
            prop_assert_eq!(decoded(share), want);
            let spans = all.iter().filter(|span| first_byte(&span.trace_id) == Some(share.owner));
            prop_assert_eq!(share.spans, spans.count() as u64);
        }
    }

    /// forall requests cut off or with a byte changed: an error or shares, no panic.
    #[test]
    fn damaged_requests_do_no_harm(
        request in requests(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()
    ) {
        let mut bytes = request.encode_to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
        }
        let _ = split(&Bytes::from(bytes), first_byte);
    }
}

#[test]
fn request_of_one_owner_is_not_copied() {
    let request = ExportTraceServiceRequest {
        resource_spans: vec![
            resource(1, vec![scope("a", vec![span("1", 7), span("2", 7)])]),
            resource(2, vec![scope("b", vec![])]),
        ],
    };
    let bytes = Bytes::from(request.encode_to_vec());
    let split = split(&bytes, first_byte).unwrap();
    assert_eq!(split.shares.len(), 1);
    assert_eq!(split.shares[0].request.as_ptr(), bytes.as_ptr());
    assert_eq!(split.shares[0].request.len(), bytes.len());
    assert_eq!((split.shares[0].owner, split.shares[0].spans), (7, 2));
}

#[test]
fn request_without_owned_spans_has_no_shares() {
    assert_eq!(split(&Bytes::new(), first_byte), Ok(Split::default()));
    let request = ExportTraceServiceRequest {
        resource_spans: vec![resource(1, vec![scope("a", vec![span("1", 255)])])],
    };
    assert_eq!(
        split(&Bytes::from(request.encode_to_vec()), first_byte),
        Ok(Split {
            shares: Vec::new(),
            unowned_spans: 1
        })
    );
}

#[test]
fn owners_are_asked_once_a_span_in_order() {
    let request = ExportTraceServiceRequest {
        resource_spans: vec![resource(
            1,
            vec![
                scope("a", vec![span("1", 3), span("2", 4)]),
                scope("b", vec![span("3", 3), span("4", u8::MAX)]),
            ],
        )],
    };
    let mut asked = Vec::new();
    split(&Bytes::from(request.encode_to_vec()), |trace_id| {
        asked.push(trace_id.to_vec());
        first_byte(trace_id)
    })
    .unwrap();
    assert_eq!(
        asked,
        [vec![3; 16], vec![4; 16], vec![3; 16], vec![255; 16]]
    );
}

#[test]
fn highest_owner_gets_its_share() {
    let request = ExportTraceServiceRequest {
        resource_spans: vec![resource(
            1,
            vec![scope("a", vec![span("1", 0), span("2", 1)])],
        )],
    };
    let bytes = Bytes::from(request.encode_to_vec());
    let owner_of = |trace_id: &[u8]| Some(if trace_id[0] == 0 { u16::MAX } else { 0 });
    let split = split(&bytes, owner_of).unwrap();
    let owners: Vec<u16> = split.shares.iter().map(|share| share.owner).collect();
    assert_eq!(owners, [u16::MAX, 0]);
}

/// A length-delimited field, its length in two bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    let mut field = vec![
        number << 3 | 2,
        (length & 0x7f) as u8 | 0x80,
        (length >> 7) as u8,
    ];
    field.extend(bytes);
    field
}

/// Fields may come in any order, and there may be ones that we do not know.
#[test]
fn fields_after_the_spans_and_unknown_ones_are_kept() {
    let unknown_varint = [0xf8, 0x01, 5];
    let unknown_group = [0xfb, 0x01, 0x08, 1, 0xfc, 0x01];
    let first = span("1", 1).encode_to_vec();
    let second = span("2", 2).encode_to_vec();
    let third = span("3", 1).encode_to_vec();
    let scope_name = InstrumentationScope {
        name: "late".to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans = [
        field(2, &first),
        unknown_varint.to_vec(),
        field(2, &second),
        field(1, &scope_name.encode_to_vec()),
        field(2, &third),
        unknown_group.to_vec(),
    ]
    .concat();
    let late_resource = Resource {
        dropped_attributes_count: 4,
        ..Resource::default()
    };
    let resource_spans = [
        unknown_group.to_vec(),
        field(2, &scope_spans),
        field(1, &late_resource.encode_to_vec()),
    ]
    .concat();
    // Field 2 of the request is that of a `PushSpansRequest`.
    let request = [
        unknown_varint.to_vec(),
        field(1, &resource_spans),
        vec![0x10, 1],
    ]
    .concat();

    let split = split(&Bytes::from(request), first_byte).unwrap();

    let decoded: Vec<_> = split.shares.iter().map(decoded).collect();
    let want = |spans| ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(late_resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope_name.clone()),
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    assert_eq!(decoded[0], want(vec![span("1", 1), span("3", 1)]));
    assert_eq!(decoded[1], want(vec![span("2", 2)]));
    for share in &split.shares {
        let occurrences = |what: &[u8]| {
            let windows = share.request.windows(what.len());
            windows.filter(|window| *window == what).count()
        };
        assert_eq!(occurrences(&unknown_varint), 2);
        assert_eq!(occurrences(&unknown_group), 2);
        assert!(share.request.ends_with(&[0x10, 1]));
    }
}

#[test]
fn broken_frame_is_an_error() {
    for (bytes, want) in [
        (&[0x0a, 9, 1][..], WireError::Truncated),
        (&[0x08, 1], WireError::WrongType { field: 1 }),
        (&[0x0a, 2, 0x10, 1], WireError::WrongType { field: 2 }),
        (
            &[0x0a, 4, 0x12, 2, 0x10, 1],
            WireError::WrongType { field: 2 },
        ),
        (
            &[0x0a, 6, 0x12, 4, 0x12, 2, 0x08, 1],
            WireError::WrongType { field: 1 },
        ),
        (b"not protobuf", WireError::InvalidTag),
    ] {
        let bytes = Bytes::copy_from_slice(bytes);
        assert_eq!(split(&bytes, first_byte), Err(want), "{bytes:?}");
    }
}
