//! A receiver of remote write 1.0 and 2.0 that keeps everything, answers as it is
//! told, and holds the sender to the protocol.

mod protocol;
mod received;
mod second_version;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Runtime;

pub use protocol::Version;
pub use received::{Received, ReceivedExemplar, ReceivedRequest, ReceivedSeries};
pub use second_version::ReceivedMetadata;

use crate::patience::eventually;
use crate::ports::Port;

/// A receiver on a port of its own, until it is dropped.
#[derive(Debug)]
pub struct RemoteWriteSink {
    port: Port,
    shared: Arc<Shared>,
    /// Runs while the sink is up: when it goes, so do its listener and every
    /// connection.
    runtime: Mutex<Option<Runtime>>,
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Received>,
    answers: Mutex<VecDeque<Answer>>,
    always: Mutex<Option<Answer>>,
}

/// How a request is answered. Samples are kept when it is a 2xx.
#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    delay: Duration,
    body: &'static str,
    speaks_v2: bool,
}

impl Answer {
    /// An answer with a status and nothing else.
    ///
    /// # Errors
    ///
    /// When it is no HTTP status.
    pub fn status(status: u16) -> anyhow::Result<Self> {
        Ok(Self {
            status: StatusCode::from_u16(status)?,
            retry_after: None,
            delay: Duration::ZERO,
            body: "",
            speaks_v2: true,
        })
    }

    /// Adds `Retry-After`: seconds or a date.
    #[must_use]
    pub fn retry_after(mut self, value: &str) -> Self {
        self.retry_after = Some(value.to_owned());
        self
    }

    /// Answers 2.0 like a receiver that knows 1.0 only and does not look at what
    /// it is sent: it keeps nothing of it, and does not say what it has written.
    #[must_use]
    pub fn knowing_v1_only(mut self) -> Self {
        self.speaks_v2 = false;
        self
    }

    /// Keeps the sender waiting before the answer.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Adds a body.
    #[must_use]
    pub fn body(mut self, body: &'static str) -> Self {
        self.body = body;
        self
    }
}

impl RemoteWriteSink {
    /// Starts one that answers 204.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn start() -> anyhow::Result<Self> {
        let sink = Self {
            port: Port::reserve()?,
            shared: Arc::default(),
            runtime: Mutex::new(None),
        };
        sink.bring_up().await?;
        Ok(sink)
    }

    /// Where to send.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.port.address())
    }

    /// Answers the next requests so, one each, and those after as before.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.answers.lock().extend(answers);
    }

    /// Answers all requests so until told otherwise; `None` for 204.
    pub fn always_answer(&self, answer: Option<Answer>) {
        *self.shared.always.lock() = answer;
    }

    /// Stops listening and cuts all connections: senders are refused.
    pub fn take_down(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub async fn bring_up(&self) -> anyhow::Result<()> {
        // The listener before this one may be a moment from gone.
        let listener = eventually("the sink's port", || async {
            Ok(std::net::TcpListener::bind(self.port.address())?)
        })
        .await?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("remote-write-sink")
            .enable_all()
            .build()?;
        let router = Router::new()
            .fallback(handle)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(self.shared.clone());
        runtime.spawn(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => drop(axum::serve(listener, router).await),
                Err(error) => eprintln!("remote-write sink cannot listen: {error}"),
            }
        });
        *self.runtime.lock() = Some(runtime);
        Ok(())
    }

    /// What has come so far; requests wait while this is held.
    pub fn received(&self) -> MutexGuard<'_, Received> {
        self.shared.received.lock()
    }

    /// Waits until what has come satisfies `condition`, and gives its result.
    ///
    /// # Errors
    ///
    /// The condition's last error, when the patience is out.
    pub async fn eventually<T>(
        &self,
        what: &str,
        condition: impl Fn(&Received) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        eventually(what, || async { condition(&self.received()) }).await
    }

    /// Checks that the sender kept to the protocol in every request.
    ///
    /// # Errors
    ///
    /// What it did wrong, everything.
    pub fn check_protocol(&self) -> anyhow::Result<()> {
        let violations = &self.received().violations;
        ensure!(
            violations.is_empty(),
            "{} violations of the protocol:\n{}",
            violations.len(),
            violations.join("\n")
        );
        Ok(())
    }
}

impl Drop for RemoteWriteSink {
    fn drop(&mut self) {
        self.take_down();
    }
}

/// The headers by which a receiver of 2.0 says what it has written: samples,
/// native histograms, exemplars.
const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let told = shared.answers.lock().pop_front();
    let answer = told.or_else(|| shared.always.lock().clone());
    let answer = answer.unwrap_or(Answer {
        status: StatusCode::NO_CONTENT,
        retry_after: None,
        delay: Duration::ZERO,
        body: "",
        speaks_v2: true,
    });
    let version = Version::of(&headers);
    let counts = {
        let mut received = shared.received.lock();
        received.take(&method, headers, &body, answer.status, answer.speaks_v2);
        let last = received.requests.last();
        last.map_or([0; 3], |last| {
            [last.samples, last.histograms, last.exemplars]
        })
    };
    tokio::time::sleep(answer.delay).await;
    let mut response = (answer.status, answer.body).into_response();
    if let Some(value) = answer.retry_after.and_then(|value| value.parse().ok()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    if answer.speaks_v2 && version == Version::V2 && answer.status.is_success() {
        for (name, count) in WRITTEN.into_iter().zip(counts) {
            response.headers_mut().insert(name, count.into());
        }
    }
    response
}

#[cfg(test)]
mod tests;
