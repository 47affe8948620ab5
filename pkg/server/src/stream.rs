//! A connection's bytes, with or without TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

/// What every HTTP/2 connection begins with. RFC 9113, section 3.4.
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// One accepted connection.
pub(crate) struct Stream {
    transport: Transport,
    /// What was read to learn the protocol, and is to be read again.
    sniffed: [u8; HTTP2_PREFACE.len()],
    /// Where in it the next read begins, and how much of it there is.
    unread: usize,
    filled: usize,
    stall: Stall,
}

/// Writing that makes no progress.
#[derive(Default)]
struct Stall {
    /// How long it may; `None` for ever.
    limit: Option<Duration>,
    /// Runs while it does.
    running: Option<Pin<Box<Sleep>>>,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) fn plain(connection: TcpStream) -> Self {
        Self::new(Transport::Plain(connection))
    }

    pub(crate) fn tls(connection: TlsStream<TcpStream>) -> Self {
        Self::new(Transport::Tls(Box::new(connection)))
    }

    fn new(transport: Transport) -> Self {
        Self {
            transport,
            sniffed: [0; HTTP2_PREFACE.len()],
            unread: 0,
            filled: 0,
            stall: Stall::default(),
        }
    }

    /// Ends the connection with an error when its client takes nothing of what is
    /// written for this long.
    pub(crate) fn limit_stalls(&mut self, limit: Option<Duration>) {
        self.stall.limit = limit;
    }

    /// Reads until it is clear which protocol the client speaks.
    pub(crate) async fn sniff(&mut self) -> io::Result<Protocol> {
        while let Some(free) = self.sniffed.get_mut(self.filled..) {
            if free.is_empty() {
                return Ok(Protocol::Http2);
            }
            let read = match &mut self.transport {
                Transport::Plain(connection) => connection.read(free).await?,
                Transport::Tls(connection) => connection.read(free).await?,
            };
            self.filled += read;
            let got = self.sniffed.get(..self.filled).unwrap_or(&[]);
            if read == 0 || !HTTP2_PREFACE.starts_with(got) {
                break;
            }
        }
        Ok(Protocol::Http1)
    }
}

impl Stall {
    /// What writing came to, which is an error once it has waited for too long.
    fn check<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let Some(limit) = self.limit else {
            return written;
        };
        if written.is_ready() {
            self.running = None;
            return written;
        }
        let running = self.running.get_or_insert_with(|| Box::pin(sleep(limit)));
        match running.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread < self.filled {
            let left = self.sniffed.get(self.unread..self.filled).unwrap_or(&[]);
            let taken = left.len().min(out.remaining());
            out.put_slice(left.get(..taken).unwrap_or(&[]));
            self.unread += taken;
            return Poll::Ready(Ok(()));
        }
        match &mut self.transport {
            Transport::Plain(connection) => Pin::new(connection).poll_read(context, out),
            Transport::Tls(connection) => Pin::new(connection).poll_read(context, out),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.transport {
            Transport::Plain(connection) => Pin::new(connection).poll_write(context, data),
            Transport::Tls(connection) => Pin::new(connection).poll_write(context, data),
        };
        self.stall.check(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.transport {
            Transport::Plain(connection) => Pin::new(connection).poll_write_vectored(context, data),
            Transport::Tls(connection) => Pin::new(connection).poll_write_vectored(context, data),
        };
        self.stall.check(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(connection) => connection.is_write_vectored(),
            Transport::Tls(connection) => connection.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = match &mut self.transport {
            Transport::Plain(connection) => Pin::new(connection).poll_flush(context),
            Transport::Tls(connection) => Pin::new(connection).poll_flush(context),
        };
        self.stall.check(written, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(connection) => Pin::new(connection).poll_shutdown(context),
            Transport::Tls(connection) => Pin::new(connection).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_writing_without_any_progress_is_a_stall() {
        let mut context = Context::from_waker(Waker::noop());
        let mut stall = Stall {
            limit: Some(Duration::from_secs(30)),
            running: None,
        };
        for _ in 0..3 {
            assert!(stall.check::<()>(Poll::Pending, &mut context).is_pending());
            advance(Duration::from_secs(20)).await;
            assert!(stall.check(Poll::Ready(Ok(())), &mut context).is_ready());
        }
        assert!(stall.check::<()>(Poll::Pending, &mut context).is_pending());
        advance(Duration::from_secs(20)).await;
        assert!(stall.check::<()>(Poll::Pending, &mut context).is_pending());
        advance(Duration::from_secs(11)).await;
        let stalled = stall.check::<()>(Poll::Pending, &mut context);
        assert!(matches!(stalled, Poll::Ready(Err(_))));
    }
}
