//! Decompression that stops at a limit.

use std::io::{self, ErrorKind, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
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

/// Decompresses pieces of one message.
///
/// Memory stays within twice the limit, whatever the data claims about itself:
/// output grows as it comes, and the window of zstd is the output.
pub(crate) struct Inflater(Method);

enum Method {
    Gzip(Box<MultiGzDecoder<Capped>>),
    Zstd { compressed: Vec<u8>, limit: usize },
}

/// Output that refuses to grow over its limit.
struct Capped {
    out: Vec<u8>,
    limit: usize,
}

/// What zstd says when the output does not fit.
const ZSTD_OUTPUT_FULL: &str = "Destination buffer is too small";

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

impl Inflater {
    pub(crate) fn new(encoding: Encoding, limit: usize) -> Self {
        Self(match encoding {
            Encoding::Gzip => Method::Gzip(Box::new(MultiGzDecoder::new(Capped {
                out: Vec::new(),
                limit,
            }))),
            Encoding::Zstd => Method::Zstd {
                compressed: Vec::new(),
                limit,
            },
        })
    }

    /// Takes the next piece.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(), InflateError> {
        match &mut self.0 {
            Method::Gzip(decoder) => {
                let limit = decoder.get_ref().limit;
                decoder
                    .write_all(piece)
                    .map_err(|error| gzip_error(error, limit))
            }
            Method::Zstd { compressed, limit } => {
                if compressed.len() + piece.len() > *limit {
                    return Err(InflateError::TooLarge { limit: *limit });
                }
                compressed.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// Gives the message after its last piece.
    pub(crate) fn finish(self) -> Result<Bytes, InflateError> {
        match self.0 {
            Method::Gzip(decoder) => {
                let limit = decoder.get_ref().limit;
                let capped = decoder.finish().map_err(|error| gzip_error(error, limit))?;
                Ok(capped.out.into())
            }
            Method::Zstd { compressed, limit } => inflate_zstd(&compressed, limit),
        }
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

fn gzip_error(error: io::Error, limit: usize) -> InflateError {
    match error.kind() {
        ErrorKind::FileTooLarge => InflateError::TooLarge { limit },
        _ => InflateError::Corrupt { source: error },
    }
}

fn inflate_zstd(compressed: &[u8], limit: usize) -> Result<Bytes, InflateError> {
    let declared = zstd_safe::get_frame_content_size(compressed)
        .ok()
        .flatten()
        .map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    let mut capacity = match declared {
        Some(size) if size > limit => return Err(InflateError::TooLarge { limit }),
        Some(size) => size,
        None => ZSTD_FIRST_GUESS
            .max(compressed.len().saturating_mul(16))
            .min(limit),
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

    fn inflate(encoding: Encoding, data: &[u8], limit: usize) -> Result<Bytes, InflateError> {
        let mut inflater = Inflater::new(encoding, limit);
        for piece in data.chunks(1_000) {
            inflater.push(piece)?;
        }
        inflater.finish()
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
