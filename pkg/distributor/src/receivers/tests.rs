use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use lifecycle::{Shutdown, TaskGroup};
use model::TenantId;
use model::{PushError, PushOutcome};
use overrides::TenantConfig;
use prost::Message;
use proto::rpc;
use server::{Budget, Hold, Listener, ServeOptions};

use super::*;
use crate::testing::Fixture;

mod grpc;
mod http;
mod jaeger;
mod zipkin;

/// Serves a router on a port of its own until dropped.
struct Served {
    address: SocketAddr,
    shutdown: Shutdown,
}

impl Served {
    fn new(router: axum::Router, options: ServeOptions) -> Self {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), "test").unwrap();
        let address = listener.local_addr();
        let shutdown = Shutdown::new();
        listener.serve(router, options, shutdown.clone(), &TaskGroup::new());
        Self { address, shutdown }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

fn unavailable() -> PushError {
    PushError::Unavailable {
        reason: "starting".into(),
        retry_after: Duration::from_millis(1_500),
    }
}

/// Settings under which a push of so many bytes fits once an hour, and a longer one
/// never.
fn one_push_an_hour(bytes: usize) -> TenantConfig {
    let mut config = TenantConfig::default();
    config.ingestion.rate_limit_bytes = 1;
    config.ingestion.burst_size_bytes = bytes as u64;
    config
}

/// A budget of which another tenant holds a part.
fn budget_beside_another(capacity: u64, held: u64) -> (Budget, Hold) {
    let budget = Budget::new(capacity);
    let other = TenantId::parse("other").unwrap();
    let hold = budget.begin(&other, held).unwrap();
    (budget, hold)
}

fn retry_delay(status: &rpc::Status) -> Option<Duration> {
    let detail = status
        .details
        .iter()
        .find(|detail| detail.type_url == "type.googleapis.com/google.rpc.RetryInfo")?;
    let retry = rpc::RetryInfo::decode(detail.value.as_slice()).unwrap();
    let delay = retry.retry_delay.unwrap();
    Some(Duration::new(delay.seconds as u64, delay.nanos as u32))
}

fn partial(rejected_spans: i64, error_message: &str) -> ExportTraceServiceResponse {
    ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: error_message.into(),
        }),
    }
}

const NO_TRACE_ID: &str = "refused spans: 1 with a trace id that is not 16 bytes or is all zero";

/// What a generator says that has something to say and rejects nothing.
fn warning() -> PushOutcome {
    PushOutcome {
        spans: 1,
        rejected_spans: 0,
        message: "clock is off".into(),
    }
}

fn pushes(fixture: &Fixture, receiver: &str, result: &str) -> u64 {
    fixture.metric(&format!(
        "pushes_total{{receiver=\"{receiver}\",result=\"{result}\"}}"
    ))
}

/// The one thread for blocking work is taken, so what needs it waits.
#[test]
fn only_short_requests_are_converted_on_a_worker() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        spawn_blocking(move || wait.recv());
        let unlimited = RequestMemory::default();
        let mut context = Context::from_waker(Waker::noop());
        let convert = |length: usize| {
            let request = Bytes::from(" ".repeat(length));
            let convert = |_: &[u8]| Ok(vec![1]);
            converted(request, &unlimited, convert, not_converted("test"))
        };
        let short = pin!(convert(60_000));
        assert!(matches!(short.poll(&mut context), Poll::Ready(Ok(_))));
        let mut long = pin!(convert(70_000));
        assert!(long.as_mut().poll(&mut context).is_pending());
        drop(release);
        assert_eq!(long.await.unwrap(), [1].as_slice());
    });
}
