//! A connection's bytes, with or without TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
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
        match &mut self.transport {
            Transport::Plain(connection) => Pin::new(connection).poll_write(context, data),
            Transport::Tls(connection) => Pin::new(connection).poll_write(context, data),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(connection) => Pin::new(connection).poll_write_vectored(context, data),
            Transport::Tls(connection) => Pin::new(connection).poll_write_vectored(context, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(connection) => connection.is_write_vectored(),
            Transport::Tls(connection) => connection.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(connection) => Pin::new(connection).poll_flush(context),
            Transport::Tls(connection) => Pin::new(connection).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(connection) => Pin::new(connection).poll_shutdown(context),
            Transport::Tls(connection) => Pin::new(connection).poll_shutdown(context),
        }
    }
}
