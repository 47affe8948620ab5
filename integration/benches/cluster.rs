//! Instructions of a distributor's way from a request to its generators, counted by
//! callgrind.
//!
//! A request is 314 spans of 60 resources. Divide by that for one span.

#![allow(missing_docs, reason = "the macros make items that cannot have any")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark fails by panicking"
)]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use gungraun::prelude::*;
use model::{ClusterSeed, TenantId, Token, TraceTokens};
use otlp::split::{Split, split};
use prost::Message;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::common::{AnyValue, KeyValue, any_value::Value};
use proto::otlp::resource::Resource;
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};
use ring::{Member, MemberState, Placement, RingView, Role, Shard, agreement, tokens::TOKENS};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPANS: usize = 314;
const RESOURCES: usize = 60;
const LOOK_UPS: u32 = 1_000;

fn placement(generators: u64) -> Placement {
    let zones = ["a", "b", "c"].into_iter().cycle();
    let members = (0..generators).zip(zones).map(|(number, zone)| Member {
        id: format!("generator-{number}").into(),
        incarnation: 1,
        role: Role::Generator,
        state: MemberState::Active,
        zone: zone.into(),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9095)),
        token_seed: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        tokens: TOKENS,
        version: "1.0.0".into(),
        is_alive: true,
    });
    Placement::new(members.collect())
}

fn attributes(count: usize) -> Vec<KeyValue> {
    let attribute = |index| KeyValue {
        key: format!("attribute.number.{index}"),
        value: Some(AnyValue {
            value: Some(Value::StringValue(format!("value of attribute {index}"))),
        }),
        ..KeyValue::default()
    };
    (0..count).map(attribute).collect()
}

fn request() -> Bytes {
    let resource = |_| ResourceSpans {
        resource: Some(Resource {
            attributes: attributes(11),
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans::default()],
        ..ResourceSpans::default()
    };
    let mut resource_spans: Vec<_> = (0..RESOURCES).map(resource).collect();
    for index in 0..SPANS {
        let span = Span {
            trace_id: (index as u128 + 1).to_be_bytes().to_vec(),
            span_id: vec![1; 8],
            parent_span_id: vec![2; 8],
            name: "GET /api/v1/resource".to_owned(),
            kind: 2,
            start_time_unix_nano: 1_700_000_000_000_000_000,
            end_time_unix_nano: 1_700_000_000_010_000_000,
            attributes: attributes(13),
            ..Span::default()
        };
        let resource = &mut resource_spans[index % RESOURCES];
        resource.scope_spans[0].spans.push(span);
    }
    Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec())
}

struct Splitting {
    request: Bytes,
    placement: Placement,
    tokens: TraceTokens,
}

fn splitting(generators: u64) -> Splitting {
    Splitting {
        request: request(),
        placement: placement(generators),
        tokens: TraceTokens::new(ClusterSeed::from_text("cluster"), &TenantId::single()),
    }
}

#[library_benchmark]
#[bench::owners_1(splitting(1))]
#[bench::owners_3(splitting(3))]
#[bench::owners_8(splitting(8))]
#[bench::owners_64(splitting(64))]
fn split_by_owner(splitting: Splitting) -> (Splitting, Split) {
    let Splitting {
        request,
        placement,
        tokens,
    } = &splitting;
    let owner_of = |trace_id: &[u8]| {
        let owner = placement.owner(tokens.of(trace_id));
        owner.map(|owner| owner.0)
    };
    let split = split(request, owner_of).expect("a request");
    (splitting, split)
}

struct Routing {
    request: Bytes,
    ring: RingView,
    seed: ClusterSeed,
    tenant: TenantId,
    ring_size: usize,
}

fn routing(generators: u64, ring_size: usize) -> Routing {
    Routing {
        request: request(),
        ring: RingView::new(placement(generators).members().to_vec()),
        seed: ClusterSeed::from_text("cluster"),
        tenant: TenantId::single(),
        ring_size,
    }
}

// All that a distributor does of a push between its receiver and its connections: the
// tenant's part of the ring, the split, what the placement is called.
#[library_benchmark]
#[bench::owners_3(routing(3, 0))]
#[bench::owners_8(routing(8, 0))]
#[bench::owners_64(routing(64, 0))]
#[bench::owners_3_of_64(routing(64, 3))]
fn route(routing: Routing) -> (Routing, Split, u64) {
    let tokens = TraceTokens::new(routing.seed, &routing.tenant);
    let shard = routing.ring.shard(&routing.tenant, routing.ring_size);
    let owner_of = |trace_id: &[u8]| {
        let owner = shard.owner(tokens.of(trace_id));
        owner.map(|owner| owner.0)
    };
    let split = split(&routing.request, owner_of).expect("a request");
    let hash = agreement::hash(shard.placement());
    (routing, split, hash)
}

// 1,000 look-ups all over the ring.
#[library_benchmark]
#[bench::generators_3(placement(3))]
#[bench::generators_64(placement(64))]
fn owner(placement: Placement) -> Placement {
    for index in 0..LOOK_UPS {
        black_box(placement.owner(Token(index.wrapping_mul(0x9e37_79b1))));
    }
    placement
}

#[library_benchmark]
#[bench::of_8(Arc::new(placement(8)))]
#[bench::of_64(Arc::new(placement(64)))]
fn part_of_a_tenant(placement: Arc<Placement>) -> Shard {
    Shard::new(placement, &TenantId::single(), 3)
}

library_benchmark_group!(
    name = cluster,
    benchmarks = [split_by_owner, route, owner, part_of_a_tenant]
);
main!(library_benchmark_groups = cluster);
