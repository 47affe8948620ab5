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

/// How much is read of a connection before others have their turn.
///
/// A client may send megabytes before it is acknowledged. Where there is more to do than
/// processors do, one who sends little waits until the connections of those who send much
/// have had their turns, each of which brings its requests, too.
const TURN: usize = 128 << 10;

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
    turn: Turn,
    stall: Stall,
}

/// Reading without a pause.
#[derive(Debug, Default)]
struct Turn {
    /// Bytes read since there were none, or since the last turn ended.
    read: usize,
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
            turn: Turn::default(),
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

impl Turn {
    /// Whether it is over; then the task is woken to go on when others had theirs.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let is_over = self.read >= TURN;
        if is_over {
            self.read = 0;
            context.waker().wake_by_ref();
        }
        is_over
    }

    /// Notes how many bytes a read brought; `None` if there were none yet.
    fn note(&mut self, bytes: Option<usize>) {
        self.read = bytes.map_or(0, |bytes| self.read + bytes);
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
        if self.turn.is_over(context) {
            return Poll::Pending;
        }
        let before = out.filled().len();
        let read = match &mut self.transport {
            Transport::Plain(connection) => Pin::new(connection).poll_read(context, out),
            Transport::Tls(connection) => Pin::new(connection).poll_read(context, out),
        };
        let brought = read.is_ready().then(|| out.filled().len() - before);
        self.turn.note(brought);
        read
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::time::advance;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_turn_ends_when_enough_was_read_without_a_pause() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut turn = Turn::default();
        turn.note(Some(TURN - 1));
        assert!(!turn.is_over(&mut context));
        turn.note(None);
        turn.note(Some(TURN - 1));
        assert!(!turn.is_over(&mut context));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        turn.note(Some(1));
        assert!(turn.is_over(&mut context));
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(!turn.is_over(&mut context));
    }

    #[tokio::test]
    async fn more_than_a_turn_is_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let mut client = client.unwrap();
        let mut stream = Stream::plain(accepted.unwrap().0);
        let sent = vec![7; 3 * TURN];
        let mut received = vec![0; 3 * TURN];
        let (written, read) =
            tokio::join!(client.write_all(&sent), stream.read_exact(&mut received));
        written.unwrap();
        assert_eq!((read.unwrap(), received == sent), (3 * TURN, true));
    }

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
