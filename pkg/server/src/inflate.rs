//! Decompression that stops at a limit.

use std::io::{self, ErrorKind, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use tokio::task::{JoinHandle, spawn_blocking};
use zstd::zstd_safe::{self, DCtx};

/// A compression that clients may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Zstd,
}

/// Data that cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InflateError {
    #[error("decompressed data exceeds {limit} bytes")]
    TooLarge { limit: usize },
    #[error("compressed data is corrupt")]
    Corrupt {
        #[source]
        source: io::Error,
    },
}

/// Decompression of one message.
///
/// What may take long is done on a thread for blocking work, so that a worker of the
/// runtime, and all connections on it, do not wait for it. Memory stays within twice
/// the limit, whatever the data claims about itself.
pub(crate) enum Inflation {
    Done(Option<Result<Bytes, InflateError>>),
    Elsewhere(JoinHandle<Result<Bytes, InflateError>>),
}

/// Output that refuses to grow over its limit.
struct Capped {
    out: Vec<u8>,
    limit: usize,
}

/// What zstd says when the output does not fit.
const ZSTD_OUTPUT_FULL: &str = "Destination buffer is too small";

/// The longest data that is decompressed where it comes in, and what may come of it:
/// about half a millisecond of work, which the rest of a push takes as well.
const SHORT_INPUT: usize = 64 << 10;
const SHORT_OUTPUT: usize = 256 << 10;

/// How much shorter gzip makes spans at most; memory for data that claims more is
/// taken as it comes.
const GZIP_USUAL_RATIO: usize = 32;

/// Output that is expected of zstd data that does not say its size, at first.
const ZSTD_FIRST_GUESS: usize = 256 << 10;

impl Encoding {
    /// The compression of that name in `Content-Encoding` or `grpc-encoding`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// How long data is to be expected at least once it is decompressed: what it says of
/// itself, within `limit`, or what is usual. Never less than memory is taken for at
/// first.
pub(crate) fn expected(encoding: Encoding, compressed: &[u8], limit: usize) -> usize {
    declared(encoding, compressed)
        .unwrap_or_else(|| ZSTD_FIRST_GUESS.max(compressed.len().saturating_mul(16)))
        .min(limit)
}

impl Inflation {
    /// Begins to decompress a message, which may be as long as `limit` then.
    ///
    /// Must be called within a Tokio runtime.
    pub(crate) fn begin(encoding: Encoding, compressed: Bytes, limit: usize) -> Self {
        if let Some(done) = inflate_if_short(encoding, &compressed, limit) {
            return Self::Done(Some(done));
        }
        Self::Elsewhere(spawn_blocking(move || {
            inflate(encoding, &compressed, limit)
        }))
    }
}

impl Future for Inflation {
    type Output = Result<Bytes, InflateError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = match &mut *self {
            Self::Done(done) => return Poll::Ready(done.take().unwrap_or(Ok(Bytes::new()))),
            Self::Elsewhere(running) => ready!(Pin::new(running).poll(context)),
        };
        Poll::Ready(ended.unwrap_or_else(|error| {
            let source = io::Error::other(error);
            Err(InflateError::Corrupt { source })
        }))
    }
}

/// Decompresses what is short, before and after; `None` for all else.
fn inflate_if_short(
    encoding: Encoding,
    compressed: &[u8],
    limit: usize,
) -> Option<Result<Bytes, InflateError>> {
    if compressed.len() > SHORT_INPUT || declared(encoding, compressed) > Some(SHORT_OUTPUT) {
        return None;
    }
    let within = limit.min(SHORT_OUTPUT);
    match inflate(encoding, compressed, within) {
        // It is longer than it says.
        Err(InflateError::TooLarge { .. }) if within < limit => None,
        done => Some(done),
    }
}

fn inflate(encoding: Encoding, compressed: &[u8], limit: usize) -> Result<Bytes, InflateError> {
    match encoding {
        Encoding::Gzip => inflate_gzip(compressed, limit),
        Encoding::Zstd => inflate_zstd(compressed, limit),
    }
}

/// How long the data says it will be, which may be wrong.
fn declared(encoding: Encoding, compressed: &[u8]) -> Option<usize> {
    match encoding {
        // RFC 1952, 2.3.1: the last four bytes are the length.
        Encoding::Gzip => {
            let length = compressed
                .last_chunk()
                .map(|last| u32::from_le_bytes(*last))?;
            usize::try_from(length).ok()
        }
        Encoding::Zstd => zstd_safe::get_frame_content_size(compressed)
            .ok()
            .flatten()
            .map(|size| usize::try_from(size).unwrap_or(usize::MAX)),
    }
}

fn inflate_gzip(compressed: &[u8], limit: usize) -> Result<Bytes, InflateError> {
    let capacity = declared(Encoding::Gzip, compressed)
        .unwrap_or(0)
        .min(limit)
        .min(compressed.len().saturating_mul(GZIP_USUAL_RATIO));
    let mut decoder = MultiGzDecoder::new(Capped {
        out: Vec::with_capacity(capacity),
        limit,
    });
    let inflated = decoder
        .write_all(compressed)
        .and_then(|()| decoder.finish());
    match inflated {
        Ok(capped) => Ok(capped.out.into()),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            Err(InflateError::TooLarge { limit })
        }
        Err(source) => Err(InflateError::Corrupt { source }),
    }
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let needed = self.out.len() + bytes.len();
        if needed > self.limit {
            return Err(ErrorKind::FileTooLarge.into());
        }
        if needed > self.out.capacity() {
            let capacity = needed.max(2 * self.out.capacity()).min(self.limit);
            self.out.reserve_exact(capacity - self.out.len());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn inflate_zstd(compressed: &[u8], limit: usize) -> Result<Bytes, InflateError> {
    let mut capacity = match declared(Encoding::Zstd, compressed) {
        Some(size) if size > limit => return Err(InflateError::TooLarge { limit }),
        Some(size) => size,
        None => expected(Encoding::Zstd, compressed, limit),
    };
    let mut context = DCtx::create();
    loop {
        let mut out = Vec::with_capacity(capacity);
        let code = match context.decompress(&mut out, compressed) {
            Ok(_) => return Ok(out.into()),
            Err(code) => code,
        };
        match zstd_safe::get_error_name(code) {
            ZSTD_OUTPUT_FULL if capacity < limit => capacity = limit,
            ZSTD_OUTPUT_FULL => return Err(InflateError::TooLarge { limit }),
            other => {
                return Err(InflateError::Corrupt {
                    source: io::Error::other(other),
                });
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures_util::FutureExt;

    use super::*;

    pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Compresses so that the frame does not say how long its content is.
    pub(crate) fn zstd_of_unknown_size(data: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Bytes that do not compress well.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect()
    }

    #[test]
    fn data_up_to_the_limit_passes_and_one_byte_more_does_not() {
        let data = noise(300_000);
        for (name, encoding, compressed) in [
            ("gzip", Encoding::Gzip, gzip(&data)),
            (
                "zstd",
                Encoding::Zstd,
                zstd::bulk::compress(&data, 3).unwrap(),
            ),
            (
                "zstd, unknown size",
                Encoding::Zstd,
                zstd_of_unknown_size(&data),
            ),
        ] {
            // Noise grows when compressed, so the limit is above both.
            let room = compressed.len().max(data.len());
            assert_eq!(
                inflate(encoding, &compressed, room).unwrap(),
                data,
                "{name}"
            );
            assert!(
                matches!(
                    inflate(encoding, &compressed, data.len() - 1),
                    Err(InflateError::TooLarge { limit: 299_999 })
                ),
                "{name}"
            );
        }
    }

    /// The one thread for blocking work is taken, so what needs it waits.
    #[test]
    fn only_what_is_short_is_done_on_a_worker() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let (short, long, zeros) = (noise(50_000), noise(300_000), vec![0; 1 << 20]);
        let zstd = |data: &[u8]| zstd::bulk::compress(data, 3).unwrap();
        let lying = [gzip(&zeros), gzip(b"short")].concat();
        let all_zeros = [zeros.as_slice(), b"short"].concat();
        runtime.block_on(async {
            spawn_blocking(move || wait.recv());
            let begin = |encoding, data: &[u8]| {
                Inflation::begin(encoding, Bytes::copy_from_slice(data), 4 << 20)
            };
            for (encoding, data) in [
                (Encoding::Gzip, gzip(&short)),
                (Encoding::Zstd, zstd(&short)),
            ] {
                let done = begin(encoding, &data).now_or_never();
                assert_eq!(done.unwrap().unwrap(), short, "{encoding:?}");
            }
            let mut waiting = Vec::new();
            for (name, encoding, data, want) in [
                ("long gzip", Encoding::Gzip, gzip(&long), &long),
                ("long zstd", Encoding::Zstd, zstd(&long), &long),
                ("gzip that grows", Encoding::Gzip, gzip(&zeros), &zeros),
                ("zstd that grows", Encoding::Zstd, zstd(&zeros), &zeros),
                ("gzip that lies", Encoding::Gzip, lying, &all_zeros),
                (
                    "zstd of unknown size",
                    Encoding::Zstd,
                    zstd_of_unknown_size(&zeros),
                    &zeros,
                ),
            ] {
                let mut begun = begin(encoding, &data);
                assert!((&mut begun).now_or_never().is_none(), "{name}");
                waiting.push((name, begun, want));
            }
            drop(release);
            for (name, begun, want) in waiting {
                assert_eq!(begun.await.unwrap(), want, "{name}");
            }
        });
    }

    #[test]
    fn bombs_are_refused() {
        let zeros = vec![0; 64 << 20];
        for (name, encoding, compressed) in [
            ("gzip", Encoding::Gzip, gzip(&zeros)),
            (
                "zstd",
                Encoding::Zstd,
                zstd::bulk::compress(&zeros, 3).unwrap(),
            ),
            (
                "zstd, unknown size",
                Encoding::Zstd,
                zstd_of_unknown_size(&zeros),
            ),
        ] {
            assert!(compressed.len() < 100_000, "{name}");
            assert!(
                matches!(
                    inflate(encoding, &compressed, 4 << 20),
                    Err(InflateError::TooLarge { .. })
                ),
                "{name}"
            );
        }
    }

    #[test]
    fn members_that_follow_one_another_are_one_message() {
        let joined = |compress: &dyn Fn(&[u8]) -> Vec<u8>| {
            [compress(b"first "), compress(&vec![b'x'; 400_000])].concat()
        };
        let want = [b"first ".as_slice(), &[b'x'; 400_000]].concat();
        let zstd = |data: &[u8]| zstd::bulk::compress(data, 3).unwrap();
        assert_eq!(
            inflate(Encoding::Gzip, &joined(&gzip), 1 << 20).unwrap(),
            want
        );
        assert_eq!(
            inflate(Encoding::Zstd, &joined(&zstd), 1 << 20).unwrap(),
            want
        );
    }

    #[test]
    fn damaged_and_cut_data_is_corrupt() {
        let data = noise(5_000);
        for (encoding, compressed) in [
            (Encoding::Gzip, gzip(&data)),
            (Encoding::Zstd, zstd::bulk::compress(&data, 3).unwrap()),
        ] {
            for broken in [
                b"not compressed at all".to_vec(),
                compressed[..compressed.len() / 2].to_vec(),
            ] {
                assert!(
                    matches!(
                        inflate(encoding, &broken, 1 << 20),
                        Err(InflateError::Corrupt { .. })
                    ),
                    "{encoding:?}"
                );
            }
        }
    }
}
