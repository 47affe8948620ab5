//! Reading HTTP request bodies within a limit.

use std::error::Error;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;
use tonic::Code;

use crate::budget::{Overloaded, RequestMemory};
use crate::inflate::{Encoding, InflateError, Inflation, expected};

/// How long a client may take to send a body where nothing is set. As Tempo's
/// `http_server_read_timeout`.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A request body that was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is too long as it was sent, or decompressed.
    #[error("request body exceeds the limit of {limit} bytes, as sent or decompressed")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// It has an encoding other than identity, gzip or zstd, or several.
    #[error("content encoding {encoding:?} is not one of identity, gzip, zstd")]
    Unsupported {
        /// The header as it came.
        encoding: String,
    },
    /// It is not in the encoding that its header names.
    #[error("request body is not valid {encoding}")]
    Corrupt {
        /// The encoding.
        encoding: &'static str,
        /// What the decoder said.
        #[source]
        source: std::io::Error,
    },
    /// The client stopped sending before its end.
    #[error("request body ended early")]
    Interrupted {
        /// What the connection said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// There is no memory for it now.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The client took too long.
    #[error("request body took longer than {limit:?}")]
    TimedOut {
        /// How long it might take.
        limit: Duration,
    },
}

impl BodyError {
    /// The HTTP status that the client sees; only that of [`BodyError::Overloaded`] asks
    /// for a retry.
    pub fn http_status(&self) -> StatusCode {
        self.codes().0
    }

    /// The code of the `google.rpc.Status` in the answer.
    pub fn grpc_code(&self) -> Code {
        self.codes().1
    }

    /// The one place that knows both codes.
    fn codes(&self) -> (StatusCode, Code) {
        match self {
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted),
            Self::Unsupported { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented),
            Self::Corrupt { .. } | Self::Interrupted { .. } => {
                (StatusCode::BAD_REQUEST, Code::InvalidArgument)
            }
            Self::Overloaded(error) => (error.http_status(), error.grpc_code()),
            Self::TimedOut { .. } => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded),
        }
    }
}

/// Reads a whole body and decompresses it by its `Content-Encoding`.
///
/// `limit` holds for the bytes as sent and again for the decompressed ones. What
/// takes long to decompress is done on a thread for blocking work. A
/// body that comes in one piece without compression is not copied. The client has
/// the time `within` to send it, usually [`BODY_READ_TIMEOUT`]. Not cancel-safe: what
/// was read is lost.
///
/// # Errors
///
/// [`BodyError`], before more than the limit is held in memory.
pub async fn read_body<B>(
    headers: &HeaderMap,
    body: B,
    limit: usize,
    within: Duration,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    read_held_body(headers, body, limit, within, &RequestMemory::default()).await
}

/// As [`read_body`]; `memory` is raised before memory is used, to what the request takes
/// as sent and decompressed. A body that there is no memory for is read to its end and
/// thrown away, up to the limit and the time, so that its connection can be used on.
///
/// # Errors
///
/// As [`read_body`], and [`BodyError::Overloaded`].
pub async fn read_held_body<B>(
    headers: &HeaderMap,
    body: B,
    limit: usize,
    within: Duration,
    memory: &RequestMemory,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let encoding = content_encoding(headers)?;
    let declared = content_length(headers).unwrap_or(0);
    if declared > limit {
        return Err(BodyError::TooLarge { limit });
    }
    let mut body = pin!(body);
    let read = async {
        if let Some(overloaded) = memory.refusal() {
            return Err(overloaded.into());
        }
        memory.raise_to(declared)?;
        let sent = collect(body.as_mut(), limit, declared, memory).await?;
        let Some((encoding, name)) = encoding else {
            return Ok(sent);
        };
        memory.raise_to(sent.len() + expected(encoding, &sent, limit))?;
        let inflated = inflate(sent, limit, encoding, name).await?;
        // It may be longer than it said.
        memory.raise_to(inflated.len())?;
        Ok(inflated)
    };
    let read = timeout(within, read)
        .await
        .unwrap_or(Err(BodyError::TimedOut { limit: within }));
    if matches!(read, Err(BodyError::Overloaded(_))) {
        // Who is slower loses the connection.
        let _ = timeout(within, throw_away(body, limit)).await;
    }
    read
}

/// Reads what is left of a body, up to a length.
async fn throw_away<B>(mut body: Pin<&mut B>, limit: usize)
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut length = 0;
    while length <= limit
        && let Ok(Some(data)) = next_data(body.as_mut()).await
    {
        length += data.len();
    }
}

async fn collect<B>(
    mut body: Pin<&mut B>,
    limit: usize,
    expected: usize,
    memory: &RequestMemory,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Some(first) = next_data(body.as_mut()).await? else {
        return Ok(Bytes::new());
    };
    if first.len() > limit {
        return Err(BodyError::TooLarge { limit });
    }
    memory.raise_to(first.len())?;
    let Some(second) = next_data(body.as_mut()).await? else {
        return Ok(first);
    };
    let mut whole = BytesMut::with_capacity(expected.max(first.len() + second.len()));
    whole.extend_from_slice(&first);
    let mut next = Some(second);
    while let Some(data) = next {
        if whole.len() + data.len() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        memory.raise_to(whole.len() + data.len())?;
        whole.extend_from_slice(&data);
        next = next_data(body.as_mut()).await?;
    }
    Ok(whole.freeze())
}

async fn inflate(
    compressed: Bytes,
    limit: usize,
    encoding: Encoding,
    name: &'static str,
) -> Result<Bytes, BodyError> {
    let inflation = Inflation::begin(encoding, compressed, limit);
    inflation.await.map_err(|error| match error {
        InflateError::TooLarge { limit } => BodyError::TooLarge { limit },
        InflateError::Corrupt { source } => BodyError::Corrupt {
            encoding: name,
            source,
        },
    })
}

/// The next data of a body; trailers are skipped.
async fn next_data<B>(mut body: Pin<&mut B>) -> Result<Option<Bytes>, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(BodyError::Interrupted {
                    source: error.into(),
                });
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// The one compression of the body, with its name; `None` for none.
fn content_encoding(headers: &HeaderMap) -> Result<Option<(Encoding, &'static str)>, BodyError> {
    let mut found = None;
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let unsupported = || BodyError::Unsupported {
            encoding: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        };
        let name = value
            .to_str()
            .map_err(|_| unsupported())?
            .trim()
            .to_ascii_lowercase();
        if matches!(name.as_str(), "" | "identity") {
            continue;
        }
        if found.is_some() {
            return Err(unsupported());
        }
        found = Some(match Encoding::named(&name).ok_or_else(unsupported)? {
            Encoding::Gzip => (Encoding::Gzip, "gzip"),
            Encoding::Zstd => (Encoding::Zstd, "zstd"),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
