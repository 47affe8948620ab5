//! One gRPC message as the body of a request, without a copy of what is in it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// What is left of the body: the message, and before it a flag and its length.
#[derive(Clone, Debug)]
pub(super) struct Message(VecDeque<Bytes>);

impl Message {
    /// A message of these pieces.
    pub(super) fn new(pieces: impl Iterator<Item = Bytes>) -> Self {
        let mut frames = VecDeque::from([Bytes::new()]);
        frames.extend(pieces.filter(|piece| !piece.is_empty()));
        let length: usize = frames.iter().map(Bytes::len).sum();
        // Longer ones are refused before.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let [a, b, c, d] = length.to_be_bytes();
        if let Some(prefix) = frames.front_mut() {
            *prefix = Bytes::copy_from_slice(&[0, a, b, c, d]);
        }
        Self(frames)
    }
}

impl Body for Message {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|frame| Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|frame| frame.len() as u64).sum())
    }
}
