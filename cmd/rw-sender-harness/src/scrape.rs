//! Asking a target for its page.

use std::time::{Duration, Instant};

use model::Clock;
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use crate::exposition::{Format, Page, PageError};

/// Formats that are read, best first.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;q=0.5,\
     text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

/// How long a scrape may take; Prometheus' default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that a page may have.
const MAX_PAGE_BYTES: usize = 64 << 20;

/// What a target has answered, if it has.
#[derive(Debug)]
pub(crate) struct Scrape {
    /// When it was asked, in milliseconds since the Unix epoch.
    pub(crate) at_ms: i64,
    /// How long it took.
    pub(crate) took: Duration,
    /// Its page.
    pub(crate) page: Result<Page, ScrapeError>,
}

/// Why a scrape has failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScrapeError {
    /// There was no answer, or not all of it.
    #[error("no answer")]
    NoAnswer(#[from] reqwest::Error),
    /// An answer that is no success.
    #[error("answered {0}")]
    Status(reqwest::StatusCode),
    /// Over the limit.
    #[error("the page has more than {MAX_PAGE_BYTES} bytes")]
    TooLong,
    /// Bytes that are no text.
    #[error("the page is not UTF-8")]
    NoText,
    /// A page that cannot be read.
    #[error(transparent)]
    Page(#[from] PageError),
}

/// Asks a target, each time anew.
#[derive(Debug)]
pub(crate) struct Scraper {
    client: reqwest::Client,
    url: reqwest::Url,
    clock: Clock,
}

impl Scraper {
    /// One for the page at `url`.
    ///
    /// # Errors
    ///
    /// When there is no TLS, which is needed also where it is not used.
    pub(crate) fn new(url: reqwest::Url, clock: Clock) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { client, url, clock })
    }

    /// Asks once. Cancel-safe.
    pub(crate) async fn scrape(&self) -> Scrape {
        let (at_ms, begin) = (self.clock.unix_millis(), Instant::now());
        let page = self.page().await;
        Scrape {
            at_ms,
            took: begin.elapsed(),
            page,
        }
    }

    async fn page(&self) -> Result<Page, ScrapeError> {
        let request = self.client.get(self.url.clone()).header(ACCEPT, ACCEPTED);
        let mut answer = request.send().await?;
        if !answer.status().is_success() {
            return Err(ScrapeError::Status(answer.status()));
        }
        let content_type = answer.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let format = Format::of(content_type.unwrap_or_default());
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if bytes.len() + chunk.len() > MAX_PAGE_BYTES {
                return Err(ScrapeError::TooLong);
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(bytes).map_err(|_| ScrapeError::NoText)?;
        Ok(Page::parse(&text, format)?)
    }
}
