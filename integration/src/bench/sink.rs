//! A receiver of remote write that only counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A receiver on a free port; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Sink {
    url: String,
    received: Arc<Shared>,
    _server: JoinSet<()>,
}

/// What requests and the benchmark share.
#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Received>,
    is_down: AtomicBool,
}

#[derive(Debug, Default)]
struct Received {
    bytes: u64,
    /// When requests arrived, in Unix microseconds.
    times: Vec<u64>,
}

impl Sink {
    /// Starts it.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let received = Arc::new(Shared::default());
        let router = Router::new()
            .route("/api/v1/write", post(take))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&received));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/api/v1/write", listener.local_addr()?);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            url,
            received,
            _server: server,
        })
    }

    /// Where to write.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether requests are refused for now.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.received.is_down.store(is_down, Ordering::Relaxed);
    }

    /// Requests and bytes so far.
    pub(crate) fn counts(&self) -> (usize, u64) {
        let received = self.received.received.lock();
        (received.times.len(), received.bytes)
    }

    /// When requests arrived, in Unix microseconds, in their order.
    pub(crate) fn times(&self) -> Vec<u64> {
        self.received.received.lock().times.clone()
    }
}

async fn take(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    if shared.is_down.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let mut received = shared.received.lock();
    received.bytes += body.len() as u64;
    received.times.push(unix_micros());
    StatusCode::NO_CONTENT
}

/// The wall clock, which spangen's latency log shares.
#[allow(
    clippy::disallowed_methods,
    reason = "compared with times that another process wrote"
)]
pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}
