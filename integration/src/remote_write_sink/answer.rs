//! How a sink answers one request.

use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use futures_util::{StreamExt as _, stream};

use super::protocol::Version;

/// The headers by which a receiver of 2.0 says what it has written: samples,
/// native histograms, exemplars.
const WRITTEN: [&str; 3] = [
    "x-prometheus-remote-write-samples-written",
    "x-prometheus-remote-write-histograms-written",
    "x-prometheus-remote-write-exemplars-written",
];

/// Bytes of an endless body that come at once.
const PIECE: Bytes = Bytes::from_static(&[b'x'; 4096]);

/// How a request is answered. Samples are kept when it is a 2xx, and all of them
/// or none.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) delay: Duration,
    body: AnswerBody,
    pub(super) speaks_v2: bool,
    written: Written,
    pub(super) ending: Ending,
}

#[derive(Clone, Copy, Debug)]
enum AnswerBody {
    Text(&'static str),
    /// A byte, and so long until the next, without end.
    Drip(Duration),
    Endless,
}

/// What the headers of a success in 2.0 say.
#[derive(Clone, Copy, Debug)]
enum Written {
    Everything,
    Nothing,
    Counts([usize; 3]),
}

/// Whether the sender gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It does.
    Answered,
    /// When the sink is told to let go.
    Held,
    /// The connection is closed instead.
    Cut,
}

impl Answer {
    /// An answer with a status and nothing else.
    ///
    /// # Errors
    ///
    /// When it is no HTTP status.
    pub fn status(status: u16) -> anyhow::Result<Self> {
        Ok(Self::of(StatusCode::from_u16(status)?))
    }

    /// The answer of a sink that has not been told otherwise: 204.
    pub(super) fn stored() -> Self {
        Self::of(StatusCode::NO_CONTENT)
    }

    fn of(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            delay: Duration::ZERO,
            body: AnswerBody::Text(""),
            speaks_v2: true,
            written: Written::Everything,
            ending: Ending::Answered,
        }
    }

    /// Sends the sender to another address, with 307.
    ///
    /// # Errors
    ///
    /// When the address cannot stand in a header.
    pub fn redirect_to(url: &str) -> anyhow::Result<Self> {
        let mut answer = Self::of(StatusCode::TEMPORARY_REDIRECT);
        answer.headers.insert(header::LOCATION, url.parse()?);
        Ok(answer)
    }

    /// Adds `Retry-After`: seconds or a date.
    #[must_use]
    pub fn retry_after(mut self, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(header::RETRY_AFTER, value);
        }
        self
    }

    /// Adds `Retry-After` as a date, which has whole seconds.
    #[must_use]
    pub fn retry_at(self, time: SystemTime) -> Self {
        self.retry_after(&httpdate::fmt_http_date(time))
    }

    /// Answers 2.0 like a receiver that knows 1.0 only and does not look at what
    /// it is sent: it keeps nothing of it, and does not say what it has written.
    #[must_use]
    pub fn knowing_v1_only(mut self) -> Self {
        self.speaks_v2 = false;
        self
    }

    /// Keeps what it is sent in 2.0, but does not say what it has written.
    #[must_use]
    pub fn without_written(mut self) -> Self {
        self.written = Written::Nothing;
        self
    }

    /// Says in 2.0 that it has written so many samples, native histograms and
    /// exemplars, whatever came. Meant for refusals, too.
    #[must_use]
    pub fn written(mut self, samples: usize, histograms: usize, exemplars: usize) -> Self {
        self.written = Written::Counts([samples, histograms, exemplars]);
        self
    }

    /// Keeps the sender waiting before the answer.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Keeps the sender waiting until the sink is told to let go; the samples
    /// are kept at once.
    #[must_use]
    pub fn held(mut self) -> Self {
        self.ending = Ending::Held;
        self
    }

    /// Closes the connection instead of answering; the samples are kept if it
    /// is a 2xx.
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.ending = Ending::Cut;
        self
    }

    /// Adds a body.
    #[must_use]
    pub fn body(mut self, body: &'static str) -> Self {
        self.body = AnswerBody::Text(body);
        self
    }

    /// Adds a body of one byte after the other, a pause between them, that does
    /// not end.
    #[must_use]
    pub fn dripping(mut self, pause: Duration) -> Self {
        self.body = AnswerBody::Drip(pause);
        self
    }

    /// Adds a body that comes as fast as it is read and does not end.
    #[must_use]
    pub fn endless(mut self) -> Self {
        self.body = AnswerBody::Endless;
        self
    }

    /// The answer to a request that had so many samples, native histograms and
    /// exemplars.
    pub(super) fn response(self, version: Version, counts: [usize; 3]) -> Response<Body> {
        let mut headers = self.headers;
        let written = match self.written {
            Written::Everything => self.status.is_success().then_some(counts),
            Written::Nothing => None,
            Written::Counts(counts) => Some(counts),
        };
        if let Some(written) = written.filter(|_| self.speaks_v2 && version == Version::V2) {
            for (name, count) in WRITTEN.into_iter().zip(written) {
                headers.insert(name, count.into());
            }
        }
        let mut response = Response::new(match self.body {
            AnswerBody::Text(text) => Body::from(text),
            AnswerBody::Drip(pause) => Body::from_stream(stream::repeat(pause).then(drip)),
            AnswerBody::Endless => Body::from_stream(stream::repeat_with(piece)),
        });
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }
}

async fn drip(pause: Duration) -> Result<Bytes, std::convert::Infallible> {
    tokio::time::sleep(pause).await;
    Ok(Bytes::from_static(b"x"))
}

fn piece() -> Result<Bytes, std::convert::Infallible> {
    Ok(PIECE)
}
