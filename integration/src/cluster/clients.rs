//! Clients of a cluster: each sends one request after the other, and goes to the next
//! distributor where one does not take it, as behind a load balancer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::future::join_all;
use parking_lot::Mutex;
use proto::otlp::collector::ExportTraceServiceRequest;
use proto::otlp::trace::Span;

use crate::patience::eventually;
use crate::remote_write_sink::Received;
use crate::traces::{SpanKind, Traces, post};

/// Clients that send at the same time.
const CLIENTS: u64 = 4;
/// Calls of a request: the clients' spans of so many, and the servers' spans of as many
/// that the request before began, so that there are always edges that wait.
const CALLS: u64 = 20;
/// How long a client waits before it tries again.
const PAUSE: Duration = Duration::from_millis(20);

/// Clients while they send.
#[derive(Debug)]
pub struct Clients {
    urls: Mutex<Vec<String>>,
    is_over: AtomicBool,
    accepted: AtomicU64,
    longest: Mutex<Duration>,
}

/// What clients have sent, all of it accepted.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Requests.
    pub requests: u64,
    /// Spans.
    pub spans: u64,
    /// Calls of which both sides were sent.
    pub pairs: u64,
    /// The longest time from a request's first try until it was accepted.
    pub longest: Duration,
}

/// What came of it, by series of all generators together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// By span metrics.
    pub spans: u64,
    /// By service graphs.
    pub pairs: u64,
    /// Counters that went down.
    pub resets: u64,
}

impl Clients {
    /// Sends to these distributors while `work` is done.
    ///
    /// # Errors
    ///
    /// Those of the work.
    pub async fn during<T>(
        urls: Vec<String>,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Sent)> {
        let clients = Self {
            urls: Mutex::new(urls),
            is_over: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            longest: Mutex::default(),
        };
        let work = async {
            let done = work(&clients).await;
            clients.is_over.store(true, Ordering::Relaxed);
            done
        };
        let sending = join_all((0..CLIENTS).map(|client| clients.send(client)));
        // Where the work has failed there may be nobody left to send to.
        let (done, requests) = tokio::try_join!(work, async { Ok(sending.await) })?;
        // The last request of each client has no servers' spans, and the first none before it.
        let pairs = requests.iter().map(|sent| sent.saturating_sub(1) * CALLS);
        let pairs: u64 = pairs.sum();
        let requests: u64 = requests.iter().sum();
        let sent = Sent {
            requests,
            spans: requests * CALLS + pairs,
            pairs,
            longest: *clients.longest.lock(),
        };
        Ok((done, sent))
    }

    /// Goes to these distributors from now on.
    pub fn go_to(&self, urls: Vec<String>) {
        *self.urls.lock() = urls;
    }

    /// Requests that have been accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests have been accepted.
    ///
    /// # Errors
    ///
    /// When they are not before the patience is out.
    pub async fn more(&self, requests: u64) -> anyhow::Result<()> {
        let wanted = self.accepted.load(Ordering::Relaxed) + requests;
        eventually("more requests", || async {
            let accepted = self.accepted.load(Ordering::Relaxed);
            ensure!(accepted >= wanted, "{accepted} requests");
            Ok(())
        })
        .await
    }

    /// One client; gives how many requests were accepted.
    async fn send(&self, client: u64) -> u64 {
        // A number of traces that no other client reaches.
        let first_trace = (client + 1) << 40;
        let mut distributor = client as usize;
        let mut number = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let request = request(first_trace, number);
            let begin = Instant::now();
            loop {
                let url = {
                    let urls = self.urls.lock();
                    urls.get(distributor % urls.len().max(1)).cloned()
                };
                let answer = post(&url.unwrap_or_default(), &request, None).await;
                if answer.is_ok_and(|answer| answer.accepted().is_ok()) {
                    break;
                }
                // What is not accepted may have been applied: it must be sent to its end.
                distributor += 1;
                tokio::time::sleep(PAUSE).await;
            }
            number += 1;
            self.accepted.fetch_add(1, Ordering::Relaxed);
            self.took(begin.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        number
    }

    fn took(&self, time: Duration) {
        let mut longest = self.longest.lock();
        *longest = (*longest).max(time);
    }
}

/// The clients' spans of some calls, and the servers' of those of the request before.
fn request(first_trace: u64, number: u64) -> ExportTraceServiceRequest {
    let of = |service: &str, number: u64| {
        let traces = Traces::of_service(service);
        let first = first_trace + number * CALLS;
        let traces = traces.spans("pay", CALLS, Duration::from_millis(5), first);
        traces.request()
    };
    let mut clients = of("front", number);
    for span in spans(&mut clients) {
        span.kind = SpanKind::Client.into();
    }
    if number > 0 {
        let mut servers = of("shop", number - 1);
        for span in spans(&mut servers) {
            span.parent_span_id = span.span_id.clone();
            span.span_id.reverse();
        }
        clients.resource_spans.extend(servers.resource_spans);
    }
    clients
}

fn spans(request: &mut ExportTraceServiceRequest) -> impl Iterator<Item = &mut Span> {
    let resources = request.resource_spans.iter_mut();
    let scopes = resources.flat_map(|resource| &mut resource.scope_spans);
    scopes.flat_map(|scope| &mut scope.spans)
}

impl Sent {
    /// Spans of a request at most.
    pub const SPANS_OF_A_REQUEST: u64 = 2 * CALLS;

    /// This and what was sent at another time.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            spans: self.spans + other.spans,
            pairs: self.pairs + other.pairs,
            longest: self.longest.max(other.longest),
        }
    }
}

impl Counted {
    /// What a receiver has of a tenant: the last value of every counter before it ended, each
    /// time that it did.
    #[must_use]
    pub fn read(received: &Received, tenant: &str) -> Self {
        let mut resets = 0;
        let mut sum = |name: &str| -> u64 {
            let series = received.series(tenant, name, &[]);
            let last = series.map(|series| {
                let (mut ended, mut last) = (0.0, 0.0);
                for (_, value) in &series.points {
                    if value.is_nan() {
                        // What comes after a staleness marker begins anew.
                        ended += last;
                        last = 0.0;
                        continue;
                    }
                    resets += u64::from(*value < last);
                    last = *value;
                }
                (ended + last) as u64
            });
            last.sum()
        };
        let spans = sum("traces_spanmetrics_calls_total");
        let pairs = sum("traces_service_graph_request_total");
        Self {
            spans,
            pairs,
            resets,
        }
    }
}
