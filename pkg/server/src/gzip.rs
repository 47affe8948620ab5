//! Answers that are compressed where the client takes it.

use std::io::Write;

use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::task::spawn_blocking;

/// The value of `Content-Encoding` of what [`Gzip`] makes.
pub const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// Compresses an answer piece by piece, as fast as it can: it is text whose lines
/// are alike, which shrinks to a tenth all the same.
///
/// It computes for long where the answer is long: call it where that is no harm to
/// others, not on a worker of the runtime.
#[derive(Debug)]
pub struct Gzip(GzEncoder<Vec<u8>>);

impl Gzip {
    /// Compression of an answer that begins.
    pub fn new() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::fast()))
    }

    /// Takes the next piece of the answer.
    pub fn push(&mut self, piece: &[u8]) {
        // Writing to memory does not fail.
        let _ = self.0.write_all(piece);
    }

    /// How many compressed bytes are ready to be taken.
    pub fn ready(&self) -> usize {
        self.0.get_ref().len()
    }

    /// Takes the compressed bytes that are ready.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.0.get_mut())
    }

    /// The rest of the compressed bytes, after the last piece.
    pub fn finish(self) -> Vec<u8> {
        // Writing to memory does not fail.
        self.0.finish().unwrap_or_default()
    }
}

impl Default for Gzip {
    fn default() -> Self {
        Self::new()
    }
}

/// A page of text that is long, and takes long to write: on a thread of its own, and
/// compressed where the client takes it.
pub async fn text_page(
    headers: &HeaderMap,
    content_type: &'static str,
    write: impl FnOnce() -> String + Send + 'static,
) -> Response {
    let takes_gzip = is_accepted(headers);
    let written = spawn_blocking(move || {
        let text = write();
        if !takes_gzip {
            return text.into_bytes();
        }
        let mut gzip = Gzip::new();
        gzip.push(text.as_bytes());
        gzip.finish()
    });
    let Ok(body) = written.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::VARY, "accept-encoding"),
    ];
    let encoding = takes_gzip.then_some([(header::CONTENT_ENCODING, GZIP)]);
    (headers, encoding, body).into_response()
}

/// Whether the client of a request takes gzip. Source: RFC 9110, 12.5.3.
pub fn is_accepted(headers: &HeaderMap) -> bool {
    let mut any = false;
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for coding in value.to_str().unwrap_or_default().split(',') {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
            let is_wanted = weight.parse::<f32>().is_ok_and(|weight| weight > 0.0);
            match name.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => return is_wanted,
                "*" => any = is_wanted,
                _ => {}
            }
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_accepted_where_the_header_says_so() {
        for (values, want) in [
            (&[] as &[&str], false),
            (&["gzip"], true),
            (&["deflate, GZIP;q=0.5"], true),
            (&["br", "x-gzip"], true),
            (&["identity"], false),
            (&["*"], true),
            (&["*, gzip;q=0"], false),
            (&["gzip; q=0.0, *"], false),
            (&["*;q=0"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT_ENCODING, value.parse().unwrap());
            }
            assert_eq!(is_accepted(&headers), want, "{values:?}");
        }
    }
}
