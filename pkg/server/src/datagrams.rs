//! Listening for datagrams.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use lifecycle::{Shutdown, TaskGroup};
use socket2::{Domain, Protocol, Socket, Type};
use telemetry::LogThrottle;
use tokio::time::sleep;

use crate::BindError;

/// The pause after a failure to receive.
const BACK_OFF: Duration = Duration::from_millis(5);

/// Datagrams that are still read once shutdown is asked for: more than a socket's
/// buffer holds, so that a flood does not hold up the end.
const MAX_LEFT: usize = 10_000;

/// A bound UDP address that is not read yet.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    address: SocketAddr,
}

/// What came in one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// All of it.
    Whole(Bytes),
    /// It is longer than is read of one.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl Datagrams {
    /// Binds an address; `wanted_by` names the setting that asks for it. The system
    /// keeps `buffer_bytes` of what was not read yet, as far as it allows; 0 leaves
    /// it to the system.
    ///
    /// # Errors
    ///
    /// [`BindError`], in words for whoever wrote the setting.
    pub fn bind(
        address: SocketAddr,
        wanted_by: &str,
        buffer_bytes: usize,
    ) -> Result<Self, BindError> {
        let bind = || {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::DGRAM,
                Some(Protocol::UDP),
            )?;
            if address.is_ipv6() {
                socket.set_only_v6(false)?;
            }
            if buffer_bytes > 0 {
                socket.set_recv_buffer_size(buffer_bytes)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            let socket = UdpSocket::from(socket);
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        };
        bind().map_err(|source| BindError {
            wanted_by: wanted_by.to_owned(),
            address,
            source,
        })
    }

    /// The address, with the port that the system chose if it was 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Hands each datagram of at most `max_bytes` to `handle`, one after another, in
    /// the background until shutdown; then those that had come by then. Must be
    /// called within a Tokio runtime.
    pub fn serve<F: Future<Output = ()> + Send + 'static>(
        self,
        max_bytes: usize,
        shutdown: Shutdown,
        tasks: &TaskGroup,
        handle: impl FnMut(Datagram) -> F + Send + 'static,
    ) {
        match tokio::net::UdpSocket::from_std(self.socket) {
            Ok(socket) => tasks.spawn("datagrams", receive(socket, max_bytes, shutdown, handle)),
            Err(error) => {
                let address = self.address;
                tracing::error!(%address, %error, "cannot receive datagrams");
            }
        }
    }
}

async fn receive<F: Future<Output = ()>>(
    socket: tokio::net::UdpSocket,
    max_bytes: usize,
    shutdown: Shutdown,
    mut handle: impl FnMut(Datagram) -> F,
) {
    // One more than fits, so that what does not is noticed.
    let mut buffer = vec![0; max_bytes.saturating_add(1)];
    let throttle = LogThrottle::new(Duration::from_secs(10));
    loop {
        let received = tokio::select! {
            received = socket.recv(&mut buffer) => received,
            () = shutdown.requested() => break,
        };
        match received {
            Ok(length) => handle(datagram(&buffer, length)).await,
            Err(error) => {
                if let Some(suppressed) = throttle.admit() {
                    tracing::warn!(%error, suppressed, "cannot receive datagrams, trying on");
                }
                sleep(BACK_OFF).await;
            }
        }
    }
    // Tokio may not know yet of what has come.
    let Ok(socket) = socket.into_std() else {
        return;
    };
    for left in 0..MAX_LEFT {
        if left % 64 == 0 {
            // What is handled never waits, and a stop has a deadline.
            tokio::task::yield_now().await;
        }
        match socket.recv(&mut buffer) {
            Ok(length) => handle(datagram(&buffer, length)).await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => {}
        }
    }
}

fn datagram(buffer: &[u8], length: usize) -> Datagram {
    let limit = buffer.len() - 1;
    match buffer.get(..length) {
        Some(bytes) if length <= limit => Datagram::Whole(Bytes::copy_from_slice(bytes)),
        _ => Datagram::TooLarge { limit },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    fn localhost() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn what_had_come_before_shutdown_is_still_read_and_nothing_is_cut() {
        let datagrams = Datagrams::bind(localhost(), "test", 1 << 16).unwrap();
        let client = UdpSocket::bind(localhost()).unwrap();
        for bytes in [&b"abc"[..], b"", b"abcde", b"abcdef"] {
            client.send_to(bytes, datagrams.local_addr()).unwrap();
        }
        let received = Arc::new(Mutex::new(Vec::new()));
        let (shutdown, tasks) = (Shutdown::new(), TaskGroup::new());
        shutdown.trigger();
        let push = received.clone();
        datagrams.serve(5, shutdown, &tasks, move |datagram| {
            push.lock().push(datagram);
            std::future::ready(())
        });
        assert!(tasks.join(Duration::from_secs(60)).await.is_empty());
        assert_eq!(
            *received.lock(),
            [
                Datagram::Whole("abc".into()),
                Datagram::Whole("".into()),
                Datagram::Whole("abcde".into()),
                Datagram::TooLarge { limit: 5 },
            ]
        );
    }

    #[test]
    fn address_that_is_taken_names_the_setting() {
        let taken = Datagrams::bind(localhost(), "one", 0).unwrap();
        let error = Datagrams::bind(taken.local_addr(), "two", 0).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("two: cannot listen on 127.0.0.1:"),
            "{text}"
        );
        assert!(text.ends_with("another process listens there"), "{text}");
    }
}
