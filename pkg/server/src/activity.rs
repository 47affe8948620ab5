//! Whether a connection has requests in flight.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::timeout;
use tower::ServiceExt;

/// How many requests of one connection are in flight. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<watch::Sender<usize>>);

/// A request that is in flight until this is dropped.
#[derive(Debug)]
struct InFlight(Activity);

/// The body of an answer, which is in flight until it has been sent.
pub(crate) struct Answer {
    inner: axum::body::Body,
    _in_flight: InFlight,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Calls a service and counts the request until its answer has been sent.
    pub(crate) async fn count(
        self,
        router: axum::Router,
        request: Request<axum::body::Body>,
    ) -> Result<Response<Answer>, Infallible> {
        self.0.send_modify(|requests| *requests += 1);
        let in_flight = InFlight(self);
        let response = router.oneshot(request).await?;
        Ok(response.map(|inner| Answer {
            inner,
            _in_flight: in_flight,
        }))
    }

    /// Waits until there has been no request for this long.
    pub(crate) async fn idle_for(&self, duration: Duration) {
        let mut requests = self.0.subscribe();
        loop {
            // Neither fails, since we hold the sender.
            let _ = requests.wait_for(|requests| *requests == 0).await;
            if timeout(duration, requests.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Activity(requests) = &self.0;
        requests.send_modify(|requests| *requests = requests.saturating_sub(1));
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
