//! Clients: they send each request until they are told that it has been taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::trace::{ResourceSpans, ScopeSpans, Span};
use tokio::time::{Instant, sleep, timeout};

use crate::distributors::{Heard, Node};
use crate::world::World;

/// Spans of each trace.
pub(crate) const SPANS: u64 = 2;
/// Traces of each request.
const TRACES: u64 = 6;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it sends one request again, below the two minutes within which it is recognised.
const PERSISTENCE: Duration = Duration::from_secs(60);

/// What has been sent by all clients.
#[derive(Clone)]
pub(crate) struct Clients {
    world: World,
    next_trace: Arc<AtomicU64>,
    sent: Arc<Mutex<Vec<Sent>>>,
    /// Of a hundred answers, those that a client never hears.
    lost_percent: u64,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) traces: std::ops::Range<u64>,
    pub(crate) is_acknowledged: bool,
    pub(crate) attempts: u64,
    pub(crate) began: Instant,
}

impl Clients {
    pub(crate) fn new(world: &World, lost_percent: u64) -> Self {
        Self {
            world: world.clone(),
            next_trace: Arc::default(),
            sent: Arc::default(),
            lost_percent,
        }
    }

    /// Sends so many requests, one after the other.
    pub(crate) async fn send(&self, name: String, requests: u64, to: Vec<Node>) {
        for _ in 0..requests {
            sleep(self.world.millis(100, 1_500)).await;
            self.send_one(&name, &to).await;
        }
    }

    async fn send_one(&self, name: &str, to: &[Node]) {
        let first = self.next_trace.fetch_add(TRACES, Ordering::SeqCst);
        let traces = first..first + TRACES;
        let request = request(traces.clone(), self.world.unix_nanos());
        let began = Instant::now();
        let (mut attempts, mut is_acknowledged) = (0, false);
        while !is_acknowledged && began.elapsed() < PERSISTENCE {
            let up: Vec<_> = to.iter().filter(|node| node.is_up()).collect();
            let Some(node) = self.world.pick(&up) else {
                sleep(self.world.millis(100, 1_000)).await;
                continue;
            };
            attempts += 1;
            let heard = timeout(PATIENCE, node.push(request.clone())).await;
            let (said, pause) = match heard {
                Ok(Heard::Ok(outcome)) if self.world.chance(self.lost_percent) => {
                    let said = format!("{} applied, which it does not hear", outcome.spans);
                    (said, self.world.millis(50, 1_000))
                }
                Ok(Heard::Ok(outcome)) => {
                    if outcome.spans != SPANS * TRACES {
                        let taken = outcome.spans;
                        let problem = format!("OK to {name} says {taken} of {traces:?}");
                        self.world.wrong(problem);
                    }
                    is_acknowledged = true;
                    ("ok".to_owned(), Duration::ZERO)
                }
                Ok(Heard::Later(pause, reason)) => {
                    let jitter = self.world.millis(0, 500);
                    (format!("later: {reason}"), pause + jitter)
                }
                Ok(Heard::Nothing) => ("nothing".to_owned(), self.world.millis(50, 1_000)),
                Ok(Heard::Never(problem)) => {
                    self.world.wrong(format!("{name} is told never: {problem}"));
                    return;
                }
                Err(_) => ("no answer".to_owned(), self.world.millis(50, 1_000)),
            };
            let node = node.name();
            let line = format!("{name} sent {traces:?} to {node}, attempt {attempts}: {said}");
            self.world.say(line);
            sleep(pause).await;
        }
        self.sent.lock().push(Sent {
            traces,
            is_acknowledged,
            attempts,
            began,
        });
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().clone()
    }
}

pub(crate) fn spans_of(request: &ExportTraceServiceRequest) -> u64 {
    let resources = request.resource_spans.iter();
    let scopes = resources.flat_map(|resource| &resource.scope_spans);
    scopes.map(|scope| scope.spans.len() as u64).sum()
}

/// Spans by trace.
pub(crate) fn spans_by_trace(request: &ExportTraceServiceRequest) -> BTreeMap<u64, u64> {
    let resources = request.resource_spans.iter();
    let scopes = resources.flat_map(|resource| &resource.scope_spans);
    let mut by_trace = BTreeMap::new();
    for span in scopes.flat_map(|scope| &scope.spans) {
        let trace = span.name.strip_prefix('t').unwrap();
        *by_trace.entry(trace.parse().unwrap()).or_default() += 1;
    }
    by_trace
}

/// The id of a trace.
pub(crate) fn trace_id(trace: u64) -> Vec<u8> {
    [
        trace.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(),
        (trace + 1).to_le_bytes(),
    ]
    .concat()
}

/// A request with the spans of these traces, each with a name of its own.
fn request(traces: std::ops::Range<u64>, now: u64) -> Bytes {
    let of_trace = |trace: u64, span: u64| Span {
        trace_id: trace_id(trace),
        span_id: (trace * SPANS + span + 1).to_be_bytes().to_vec(),
        name: format!("t{trace}"),
        start_time_unix_nano: now - 1_000_000,
        end_time_unix_nano: now,
        ..Span::default()
    };
    let resource_spans = (0..SPANS).map(|span| ResourceSpans {
        scope_spans: vec![ScopeSpans {
            spans: traces.clone().map(|trace| of_trace(trace, span)).collect(),
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    });
    let request = ExportTraceServiceRequest {
        resource_spans: resource_spans.collect(),
    };
    request.encode_to_vec().into()
}
