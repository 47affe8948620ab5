//! A gRPC request body that is held to a size and comes out uncompressed.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use crate::budget::{Overloaded, RequestMemory};
use crate::inflate::{Encoding, InflateError, Inflation, expected};

/// How long a client may take to send one message.
const MESSAGE_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Length of what precedes each message: a flag, and its length in four bytes.
const PREFIX: usize = 5;

/// A gRPC request body whose messages are all within a limit.
///
/// The length of a message is looked at before its content is taken, so that
/// nothing is buffered for one that is too long. Uncompressed messages pass
/// through as they are; compressed ones come out inflated. A message that is too
/// long ends the body with a [`Status`] `RESOURCE_EXHAUSTED` without retry
/// information, which no client repeats; one that there is no memory for now, with
/// `UNAVAILABLE`.
pub struct MessageBody<B> {
    inner: B,
    encoding: Option<Encoding>,
    limit: usize,
    memory: RequestMemory,
    input: Bytes,
    state: State,
    /// Runs while a message has begun and not ended.
    stalled: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

enum State {
    /// Not gRPC: all passes.
    Untouched,
    Prefix {
        bytes: [u8; PREFIX],
        filled: usize,
    },
    Plain {
        left: usize,
    },
    Compressed {
        encoding: Encoding,
        left: usize,
        pieces: BytesMut,
    },
    Inflating(Inflation),
    Inflated {
        message: Bytes,
    },
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<B> MessageBody<B> {
    pub(super) fn new(
        inner: B,
        encoding: Option<Encoding>,
        limit: usize,
        memory: RequestMemory,
    ) -> Self {
        Self {
            inner,
            encoding,
            limit,
            memory,
            input: Bytes::new(),
            state: State::start(),
            stalled: None,
            ended: false,
        }
    }

    /// A body that is not gRPC and passes as it is.
    pub(super) fn untouched(inner: B) -> Self {
        let mut body = Self::new(inner, None, usize::MAX, RequestMemory::default());
        body.state = State::Untouched;
        body
    }

    /// Takes what can be taken from the input; `None` asks for more of it, or for
    /// the end of a decompression.
    fn step(&mut self) -> Result<Option<Bytes>, Status> {
        if self.encoding.is_none() {
            return self.pass();
        }
        loop {
            match &mut self.state {
                State::Untouched => return self.pass(),
                State::Prefix { bytes, filled } => {
                    let taken = fill(bytes, filled, &self.input);
                    self.input.advance(taken);
                    if *filled < PREFIX {
                        return Ok(None);
                    }
                    let prefix = *bytes;
                    self.begin_message(prefix)?;
                    if matches!(self.state, State::Plain { .. }) {
                        return Ok(Some(Bytes::copy_from_slice(&prefix)));
                    }
                }
                State::Plain { left } => {
                    if *left == 0 {
                        self.state = State::start();
                        continue;
                    }
                    if self.input.is_empty() {
                        return Ok(None);
                    }
                    let piece = self.input.split_to(self.input.len().min(*left));
                    *left -= piece.len();
                    return Ok(Some(piece));
                }
                State::Compressed {
                    encoding,
                    left,
                    pieces,
                } => {
                    let mut piece = self.input.split_to(self.input.len().min(*left));
                    *left -= piece.len();
                    let is_only = *left == 0 && pieces.is_empty();
                    if !is_only {
                        pieces.extend_from_slice(&piece);
                        piece = Bytes::new();
                    }
                    if *left > 0 {
                        return Ok(None);
                    }
                    if !is_only {
                        piece = std::mem::take(pieces).freeze();
                    }
                    let both = piece.len() + expected(*encoding, &piece, self.limit);
                    self.memory.raise_to(both).map_err(Overloaded::to_grpc)?;
                    let inflation = Inflation::begin(*encoding, piece, self.limit);
                    self.state = State::Inflating(inflation);
                }
                State::Inflating(_) => return Ok(None),
                State::Inflated { message } => {
                    let message = std::mem::take(message);
                    self.state = State::start();
                    return Ok(Some(message));
                }
            }
        }
    }

    /// Gives the input as it came, after a look at the lengths within.
    fn pass(&mut self) -> Result<Option<Bytes>, Status> {
        let data = std::mem::take(&mut self.input);
        let mut rest: &[u8] = &data;
        while !rest.is_empty() {
            let taken = match &mut self.state {
                State::Prefix { bytes, filled } => {
                    let taken = fill(bytes, filled, rest);
                    if *filled == PREFIX {
                        let prefix = *bytes;
                        self.begin_message(prefix)?;
                    }
                    taken
                }
                State::Plain { left: 0 } => {
                    self.state = State::start();
                    0
                }
                State::Plain { left } => {
                    let taken = rest.len().min(*left);
                    *left -= taken;
                    taken
                }
                State::Untouched
                | State::Compressed { .. }
                | State::Inflating(_)
                | State::Inflated { .. } => break,
            };
            rest = rest.get(taken..).unwrap_or(&[]);
        }
        Ok((!data.is_empty()).then_some(data))
    }

    fn begin_message(&mut self, prefix: [u8; PREFIX]) -> Result<(), Status> {
        let [flag, length @ ..] = prefix;
        let left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if left > self.limit {
            return Err(self.too_large());
        }
        self.memory.raise_to(left).map_err(Overloaded::to_grpc)?;
        self.state = match (flag, self.encoding) {
            (1, Some(encoding)) => State::Compressed {
                encoding,
                left,
                pieces: BytesMut::new(),
            },
            // A wrong flag, or a compressed message without an encoding, is for
            // tonic to refuse.
            _ => State::Plain { left },
        };
        Ok(())
    }

    /// Ends a compressed message; gives its new prefix.
    fn finish_message(&mut self, inflated: Result<Bytes, InflateError>) -> Result<Bytes, Status> {
        let message = inflated.map_err(|error| self.inflate_status(&error))?;
        // It may be longer than it said.
        self.memory
            .raise_to(message.len())
            .map_err(Overloaded::to_grpc)?;
        let length = u32::try_from(message.len()).map_err(|_| self.too_large())?;
        let [a, b, c, d] = length.to_be_bytes();
        self.state = State::Inflated { message };
        Ok(Bytes::copy_from_slice(&[0, a, b, c, d]))
    }

    fn too_large(&self) -> Status {
        Status::resource_exhausted(format!(
            "message exceeds the limit of {} bytes, as sent or decompressed",
            self.limit
        ))
    }

    fn inflate_status(&self, error: &InflateError) -> Status {
        match error {
            InflateError::TooLarge { .. } => self.too_large(),
            InflateError::Corrupt { source } => {
                Status::invalid_argument(format!("compressed message is corrupt: {source}"))
            }
        }
    }
}

/// Completes a prefix as far as the input goes; says how much it took.
fn fill(bytes: &mut [u8; PREFIX], filled: &mut usize, input: &[u8]) -> usize {
    let mut taken = 0;
    for (slot, byte) in bytes.iter_mut().skip(*filled).zip(input) {
        *slot = *byte;
        taken += 1;
    }
    *filled += taken;
    taken
}

impl State {
    fn start() -> Self {
        Self::Prefix {
            bytes: [0; PREFIX],
            filled: 0,
        }
    }

    fn is_between_messages(&self) -> bool {
        matches!(
            self,
            Self::Untouched | Self::Prefix { filled: 0, .. } | Self::Plain { left: 0 }
        )
    }
}

impl<B> MessageBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let State::Inflating(inflation) = &mut self.state {
                let inflated = ready!(Pin::new(inflation).poll(context));
                let prefix = self.finish_message(inflated)?;
                return Poll::Ready(Some(Ok(Frame::data(prefix))));
            }
            if let Some(overloaded) = self.memory.refusal() {
                ready!(self.poll_thrown_away(context));
                return Poll::Ready(Some(Err(overloaded.to_grpc().into())));
            }
            match self.step() {
                Ok(Some(out)) => return Poll::Ready(Some(Ok(Frame::data(out)))),
                Ok(None) => {}
                Err(_) if self.memory.refusal().is_some() => continue,
                Err(status) => return Poll::Ready(Some(Err(status.into()))),
            }
            if matches!(self.state, State::Inflating(_)) {
                continue;
            }
            let frame = match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Ready(Some(frame)) => frame.map_err(Into::into)?,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    ready!(self.poll_stalled(context));
                    let message = "message took too long to arrive";
                    return Poll::Ready(Some(Err(Status::deadline_exceeded(message).into())));
                }
            };
            match frame.into_data() {
                Ok(data) => self.input = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
    }

    /// Ready when all of the body has come and gone, or does not come to its end.
    fn poll_thrown_away(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.input = Bytes::new();
        self.state = State::Untouched;
        while let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            if !matches!(frame, Some(Ok(_))) {
                return Poll::Ready(());
            }
        }
        self.stalled
            .get_or_insert_with(|| Box::pin(sleep(MESSAGE_READ_TIMEOUT)))
            .as_mut()
            .poll(context)
    }

    /// Ready when a message that has begun does not come to its end.
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.state.is_between_messages() {
            self.stalled = None;
            return Poll::Pending;
        }
        self.stalled
            .get_or_insert_with(|| Box::pin(sleep(MESSAGE_READ_TIMEOUT)))
            .as_mut()
            .poll(context)
    }
}

impl<B> Body for MessageBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = self.poll(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.ended = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended
            || (self.inner.is_end_stream()
                && !self.input.has_remaining()
                && self.state.is_between_messages())
    }

    fn size_hint(&self) -> SizeHint {
        match self.state {
            State::Untouched => self.inner.size_hint(),
            _ => SizeHint::default(),
        }
    }
}
