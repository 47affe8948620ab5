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
    /// How long writing may make no progress.
    write_timeout: Option<Duration>,
    /// Runs while it makes none.
    stalled: Option<Pin<Box<Sleep>>>,
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
            write_timeout: None,
            stalled: None,
        }
    }

    /// Ends the connection with an error when its client takes nothing of what is
    /// written for this long.
    pub(crate) fn limit_stalls(&mut self, write_timeout: Option<Duration>) {
        self.write_timeout = write_timeout;
    }

    /// What writing came to, which is an error if it has waited for too long.
    fn unless_stalled<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let Some(limit) = self.write_timeout else {
            return written;
        };
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
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
        self.unless_stalled(written, context)
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
        self.unless_stalled(written, context)
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
        self.unless_stalled(written, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(connection) => Pin::new(connection).poll_shutdown(context),
            Transport::Tls(connection) => Pin::new(connection).poll_shutdown(context),
        }
    }
}
