//! Unary calls whose messages are bytes.

use std::error::Error;
use std::pin::pin;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tonic::Status;
use tonic::body::Body as GrpcBody;

/// Length of what precedes each message: a flag, and its length in four bytes.
const PREFIX: usize = 5;

/// Answers a unary call by what `call` makes of its message.
///
/// A message that came in one frame is that frame's memory; tonic's server would
/// copy it twice. The body is to be behind a
/// [`SizeLimitLayer`](super::SizeLimitLayer), which holds messages to a size and
/// decompresses them. It is read to its end before `call`; what follows the first
/// message is ignored.
pub async fn unary<B, F>(body: B, call: impl FnOnce(Bytes) -> F) -> Response<GrpcBody>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    F: Future<Output = Result<Bytes, Status>>,
{
    let answered = match read(body).await {
        Ok(message) => call(message).await,
        Err(status) => Err(status),
    };
    match answered {
        Ok(message) => response(&message),
        Err(status) => status.into_http(),
    }
}

async fn read<B>(body: B) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut body = pin!(body);
    let mut message = Message::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::from_error(error.into()))?;
        if let Ok(data) = frame.into_data() {
            message.add(data)?;
        }
    }
    message.finish()
}

/// The first message of a body, as far as it has come.
#[derive(Debug, Default)]
struct Message {
    prefix: BytesMut,
    /// Bytes of the message that have not come yet, once the prefix has.
    left: usize,
    pieces: BytesMut,
    whole: Option<Bytes>,
}

impl Message {
    fn add(&mut self, mut data: Bytes) -> Result<(), Status> {
        if self.prefix.len() < PREFIX {
            let missing = PREFIX - self.prefix.len();
            self.prefix.put(data.split_to(missing.min(data.len())));
            let mut prefix = &*self.prefix;
            if prefix.len() < PREFIX {
                return Ok(());
            }
            match prefix.get_u8() {
                0 => self.left = usize::try_from(prefix.get_u32()).unwrap_or(usize::MAX),
                1 => {
                    return Err(Status::internal(
                        "message is compressed without an encoding",
                    ));
                }
                flag => return Err(Status::internal(format!("compression flag is {flag}"))),
            }
        }
        if self.whole.is_none() {
            if self.pieces.is_empty() && self.left <= data.len() {
                self.whole = Some(data.split_to(self.left));
                return Ok(());
            }
            if data.is_empty() {
                // Many send the prefix alone, and then the message in one frame.
                return Ok(());
            }
            self.pieces.reserve(self.left);
            let piece = data.split_to(self.left.min(data.len()));
            self.left -= piece.len();
            self.pieces.put(piece);
            if self.left == 0 {
                self.whole = Some(std::mem::take(&mut self.pieces).freeze());
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Bytes, Status> {
        self.whole
            .ok_or_else(|| Status::internal("request ended before its message"))
    }
}

fn response(message: &[u8]) -> Response<GrpcBody> {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    // A longer one does not exist: answers say how many spans were refused.
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(framed.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(GrpcBody::new(body));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMED: &[u8] = b"\0\0\0\0\x03abcrest";

    fn read_in(pieces: &[&'static [u8]]) -> Result<Bytes, Status> {
        let mut message = Message::default();
        for piece in pieces {
            message.add(Bytes::from_static(piece))?;
        }
        message.finish()
    }

    #[test]
    fn message_is_whole_however_it_is_cut() {
        for first in 0..FRAMED.len() {
            for second in first..FRAMED.len() {
                let pieces = [&FRAMED[..first], &FRAMED[first..second], &FRAMED[second..]];
                assert_eq!(read_in(&pieces).unwrap(), "abc", "{first} {second}");
            }
        }
        assert_eq!(read_in(&[b"\0\0\0\0\0"]).unwrap(), "");
        for end in 0..8 {
            assert!(read_in(&[&FRAMED[..end]]).is_err(), "{end}");
        }
    }

    #[test]
    fn message_in_one_frame_is_not_copied() {
        for pieces in [&[FRAMED] as &[_], &[&FRAMED[..5], &FRAMED[5..]]] {
            let message = read_in(pieces).unwrap();
            assert_eq!(message.as_ptr(), FRAMED[5..].as_ptr());
        }
    }
}
