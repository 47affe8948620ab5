//! The reference profile: spans of a known size and shape, for benchmarks.
//!
//! 630 bytes a span, its share of the resource included; 13 attributes on a
//! span and 11 on a resource; 21 spans a trace and 315 spans of about 60
//! resources a request; a known number of label sets of service, span name,
//! span kind and status code, hit about equally often.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use crate::semconv::{self, scope};
use crate::template::Churn;
use crate::trace::{Attributes, Kind, Resource, Span, Trace};

/// Series of classic span metrics for each label set: a count, a size, and a
/// histogram of 14 buckets with `+Inf`, sum and count.
pub(crate) const SERIES_PER_LABEL_SET: u64 = 19;

/// Series of the profile as it is usually measured.
pub(crate) const SERIES: u64 = 52_060;

/// Traces that make up one request.
pub(crate) const TRACES_PER_REQUEST: usize = 15;

/// Services, as far as there are label sets enough.
const SERVICES: u32 = 60;

/// How many services one service calls.
const CALLEES: u32 = 10;

/// Kinds of a service's label sets, in the proportions of a trace.
const WEAVE: [Kind; SPANS_PER_TRACE] = {
    use Kind::{Client as C, Internal as I, Server as S};
    [
        S, C, I, S, C, S, C, S, C, S, C, I, S, C, S, C, S, C, S, C, S,
    ]
};

/// Spans of a trace: 10 servers, 9 clients, 2 internal.
const SPANS_PER_TRACE: usize = 21;

/// One in so many of a service's label sets is a failure.
const FAILURES: u32 = 16;

/// The reference profile, ready to give traces.
#[derive(Debug)]
pub(crate) struct Reference {
    services: Vec<Service>,
    resources: Vec<Resource>,
    label_sets: u32,
    traces: u32,
}

/// Label sets of a service by kind, and which comes next.
#[derive(Debug, Default)]
struct Service {
    server: Cycle,
    client: Cycle,
    internal: Cycle,
}

#[derive(Debug, Default)]
struct Cycle {
    label_sets: Vec<LabelSet>,
    next: usize,
}

#[derive(Clone, Debug)]
struct LabelSet {
    number: u32,
    name: String,
    ordinal: u32,
    failed: bool,
}

impl Reference {
    /// A profile with about so many series, at least 19 for each of 6 label sets.
    pub(crate) fn new(series: u64) -> Self {
        let label_sets = (series / SERIES_PER_LABEL_SET).clamp(6, u64::from(u32::MAX / 2)) as u32;
        let services_count = (label_sets / 3).clamp(2, SERVICES);
        let mut services: Vec<Service> = Vec::new();
        services.resize_with(services_count as usize, Service::default);
        for number in 0..label_sets {
            let place = number / services_count;
            let kind = WEAVE
                .get(place as usize % SPANS_PER_TRACE)
                .copied()
                .unwrap_or(Kind::Server);
            if let Some(service) = services.get_mut((number % services_count) as usize) {
                let failed = place % FAILURES == FAILURES - 1;
                service.cycle(kind).add(number, kind, failed);
            }
        }
        Self {
            services,
            resources: (0..services_count as usize).map(resource).collect(),
            label_sets,
            traces: 0,
        }
    }

    /// The services.
    pub(crate) fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// How far the replacement of series is after some time.
    pub(crate) fn churn(&self, percent_per_minute: f64, elapsed: Duration) -> Churn {
        Churn {
            turns: elapsed.as_secs_f64() / 60.0 * percent_per_minute / 100.0,
            label_sets: self.label_sets,
        }
    }

    /// Traces until every label set has been seen.
    pub(crate) fn traces_to_see_all(&self) -> usize {
        let rounds = self.services.iter().map(|service| {
            let (server, client) = (&service.server.label_sets, &service.client.label_sets);
            let internal = service.internal.label_sets.len().div_ceil(2);
            server
                .len()
                .div_ceil(10)
                .max(client.len().div_ceil(9))
                .max(internal)
        });
        rounds.max().unwrap_or(1) * self.services.len()
    }

    /// The next trace: a tree of ten servers that call each other.
    pub(crate) fn trace(&mut self, random: &mut StdRng) -> Trace {
        const SERVERS: usize = 10;
        let services = u32::try_from(self.services.len()).unwrap_or(1);
        // A step without a common divisor visits every service once a round, and
        // spreads the traces of one request over all of them.
        let step = if services.is_multiple_of(7) { 11 } else { 7 };
        let round = self.traces / services;
        let root = self.traces % services * step % services;
        self.traces += 1;
        let callees = CALLEES.min(services - 1).max(1);
        // Server k > 0 is called by server (k - 1) / 2.
        let caller = |server: usize| server.saturating_sub(1) / 2;
        let mut service_of = [root; SERVERS];
        for server in 1..SERVERS {
            let hop = 1 + (server as u32 + round) % callees;
            let from = service_of.get(caller(server)).copied().unwrap_or(0);
            if let Some(service) = service_of.get_mut(server) {
                *service = (from + hop) % services;
            }
        }
        let times = timings(SERVERS, caller, random);

        let mut trace = Trace::with_capacity(SPANS_PER_TRACE);
        let mut span_of = [0; SERVERS];
        for (server, time) in times.into_iter().enumerate() {
            let service = service_of.get(server).copied().unwrap_or(0);
            let mut parent = None;
            if server > 0 {
                let from = caller(server);
                parent = span_of.get(from).copied();
                let client = service_of.get(from).copied().unwrap_or(0);
                trace.push(self.span(client, Kind::Client, parent, time.outer(), service));
                parent = Some(trace.len() - 1);
            }
            trace.push(self.span(service, Kind::Server, parent, time, service));
            if let Some(span) = span_of.get_mut(server) {
                *span = trace.len() - 1;
            }
            if server < 2 {
                let parent = Some(trace.len() - 1);
                trace.push(self.span(service, Kind::Internal, parent, time.inner(), service));
            }
        }
        trace
    }

    fn span(
        &mut self,
        service: u32,
        kind: Kind,
        parent: Option<usize>,
        time: Time,
        peer: u32,
    ) -> Span {
        let label_set = self
            .services
            .get_mut(service as usize)
            .and_then(|service| service.cycle(kind).next());
        let (number, name, ordinal, failed) = match label_set {
            Some(set) => (set.number, set.name.clone(), set.ordinal, set.failed),
            None => (0, name(kind, 0), 0, false),
        };
        Span {
            resource: service as usize,
            parent,
            scope: if kind == Kind::Internal {
                scope::OWN
            } else {
                scope::HTTP
            },
            name,
            churn: Some(number),
            kind,
            failure: failed.then_some("upstream request timeout"),
            start: time.start,
            end: time.end,
            attributes: attributes(kind, ordinal, peer, failed),
        }
    }
}

impl Service {
    fn cycle(&mut self, kind: Kind) -> &mut Cycle {
        match kind {
            Kind::Client | Kind::Producer => &mut self.client,
            Kind::Internal => &mut self.internal,
            Kind::Server | Kind::Consumer => &mut self.server,
        }
    }
}

impl Cycle {
    /// Adds a label set; a failure has the name of the one before it.
    fn add(&mut self, number: u32, kind: Kind, failed: bool) {
        let before = self.label_sets.last().filter(|_| failed);
        let before = before.filter(|last| !last.failed).map(|last| last.ordinal);
        let ordinal = before.unwrap_or(number);
        self.label_sets.push(LabelSet {
            number,
            name: name(kind, ordinal),
            ordinal,
            failed,
        });
    }

    fn next(&mut self) -> Option<&LabelSet> {
        let at = self.next % self.label_sets.len().max(1);
        self.next = at + 1;
        self.label_sets.get(at)
    }
}

/// When a span starts and ends, in nanoseconds since the start of the trace.
#[derive(Clone, Copy, Debug, Default)]
struct Time {
    start: u64,
    end: u64,
}

/// What the network takes in each direction.
const NETWORK: u64 = 250_000;

impl Time {
    /// The client's view of a server's time.
    fn outer(self) -> Self {
        Self {
            start: self.start.saturating_sub(NETWORK),
            end: self.end + NETWORK,
        }
    }

    /// Some work within.
    fn inner(self) -> Self {
        let tenth = (self.end - self.start) / 10;
        Self {
            start: self.start + tenth,
            end: self.end - tenth,
        }
    }
}

/// Times of servers in a tree: each works, then calls one after the other.
fn timings(servers: usize, caller: impl Fn(usize) -> usize, random: &mut StdRng) -> Vec<Time> {
    let mut lengths: Vec<u64> = (0..servers)
        .map(|_| random.random_range(1_000_000..40_000_000))
        .collect();
    let own = lengths.clone();
    for server in (1..servers).rev() {
        let length = lengths.get(server).copied().unwrap_or(0) + 2 * NETWORK;
        if let Some(calling) = lengths.get_mut(caller(server)) {
            *calling += length;
        }
    }
    let mut times = vec![Time::default(); servers];
    let mut free: Vec<u64> = Vec::with_capacity(servers);
    for (server, (length, own)) in lengths.into_iter().zip(own).enumerate() {
        let start = if server == 0 {
            0
        } else {
            let from = free.get_mut(caller(server));
            from.map_or(0, |from| {
                let start = *from + NETWORK;
                *from += length + 2 * NETWORK;
                start
            })
        };
        free.push(start + own);
        if let Some(time) = times.get_mut(server) {
            *time = Time {
                start,
                end: start + length,
            };
        }
    }
    times
}

/// Names end with the digits of their generation.
fn name(kind: Kind, ordinal: u32) -> String {
    match kind {
        Kind::Server | Kind::Consumer => format!("GET /api/resources/{ordinal}/{{id}}/v0000"),
        Kind::Client | Kind::Producer => format!("POST /internal/calls/{ordinal}/v0000"),
        Kind::Internal => format!("Repository.refresh{ordinal}.v0000"),
    }
}

fn service_name(service: u32) -> String {
    format!("service-{service:02}")
}

fn resource(number: usize) -> Resource {
    let mut resource = semconv::resource(semconv::Instance {
        service: &service_name(number as u32),
        namespace: "reference",
        version: "1.24.3",
        language: "java",
        number: 0,
        node: number % 8,
    });
    resource.attributes.truncate(11);
    resource
}

/// 13 attributes for any kind.
fn attributes(kind: Kind, ordinal: u32, peer: u32, failed: bool) -> Attributes {
    let status: i64 = if failed { 504 } else { 200 };
    let peer_name = service_name(peer);
    let address = format!("10.42.{}.{}", peer % 8, peer + 10);
    let thread: i64 = (ordinal % 16).into();
    let mut attributes: Attributes = match kind {
        Kind::Server | Kind::Consumer => vec![
            ("http.request.method", "GET".into()),
            (
                "http.route",
                format!("/api/resources/{ordinal}/{{id}}").into(),
            ),
            ("url.path", format!("/api/resources/{ordinal}/5f2c").into()),
            ("url.scheme", "https".into()),
            ("http.response.status_code", status.into()),
            ("http.response.body.size", 2048_i64.into()),
            ("client.address", address.clone().into()),
            ("user_agent.original", "Java-http-client/21.0.2".into()),
        ],
        Kind::Client | Kind::Producer => vec![
            ("http.request.method", "POST".into()),
            (
                "url.full",
                format!("http://{peer_name}.svc:8080/internal/calls/{ordinal}").into(),
            ),
            ("http.response.status_code", status.into()),
            ("http.request.body.size", 512_i64.into()),
            ("http.response.body.size", 2048_i64.into()),
            ("peer.service", peer_name.clone().into()),
            ("network.transport", "tcp".into()),
            ("http.request.resend_count", 1_i64.into()),
        ],
        Kind::Internal => vec![
            (
                "code.function.name",
                format!("Repository.refresh{ordinal}").into(),
            ),
            (
                "code.file.path",
                "src/main/java/reference/Repository.java".into(),
            ),
            ("code.line.number", 214_i64.into()),
            ("cache.hit_ratio_percent", 87_i64.into()),
            ("cache.name", "resources-by-id".into()),
            ("app.items.total", 32_i64.into()),
            ("app.plan", "enterprise".into()),
            ("app.region", "eu-west-1".into()),
        ],
    };
    attributes.push((
        "server.address",
        format!("{peer_name}.reference.svc").into(),
    ));
    attributes.push(("server.port", 8080_i64.into()));
    attributes.push(("network.peer.address", address.into()));
    attributes.push(("thread.id", thread.into()));
    attributes.push((
        "thread.name",
        format!("http-nio-8080-exec-{thread:02}").into(),
    ));
    attributes
}

#[cfg(test)]
mod tests;
