//! chitchat's messages over UDP, in datagrams that [`frame`](super::frame) makes.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable as _, Serializable as _};
use model::Clock;
use strum::IntoEnumIterator as _;
use telemetry::LogThrottle;

use super::datagrams::Datagrams;
use super::frame::{Opener, Refusal, Sealer, Seals};
use crate::metrics::RingMetrics;

/// The longest datagram that UDP carries.
const MAX_DATAGRAM: usize = 65_535;
/// How often one reason for refusing datagrams is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// How long nothing is received after the socket refused to be read: it must not be asked
/// without a pause.
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Opens sealed sockets over one that is bound already.
#[derive(Debug)]
pub(super) struct SealedTransport {
    pub(super) socket: Arc<dyn Datagrams>,
    pub(super) seals: Seals,
    /// Drawn at random for this life.
    pub(super) session: u64,
    pub(super) clock: Clock,
    pub(super) metrics: RingMetrics,
}

#[derive(Debug)]
struct SealedSocket {
    socket: Arc<dyn Datagrams>,
    sealer: Sealer,
    opener: Opener,
    clock: Clock,
    metrics: RingMetrics,
    buffer: Vec<u8>,
    logged: HashMap<Refusal, LogThrottle>,
}

#[async_trait]
impl Transport for SealedTransport {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let logged = Refusal::iter().map(|reason| (reason, LogThrottle::new(LOG_INTERVAL)));
        Ok(Box::new(SealedSocket {
            socket: self.socket.clone(),
            sealer: Sealer::new(self.seals.clone(), self.session),
            opener: Opener::new(self.seals.clone()),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            buffer: vec![0; MAX_DATAGRAM],
            logged: logged.collect(),
        }))
    }
}

#[async_trait]
impl Socket for SealedSocket {
    /// Sends a message. What cannot be sent now is left out: gossip repeats itself, and
    /// an error would be taken for the end of the socket.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let message = message.serialize_to_vec();
        let now = self.clock.unix_millis().unsigned_abs();
        for datagram in self.sealer.seal(&message, now)? {
            match self.socket.send_to(&datagram, to).await {
                Ok(bytes) => self.metrics.sent(bytes),
                Err(error) => tracing::debug!(%to, %error, "cannot send gossip"),
            }
        }
        Ok(())
    }

    /// The next message of the cluster. Cancel-safe: nothing is awaited between taking a
    /// datagram and answering with what it completes.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let (length, from) = match self.socket.recv_from(&mut self.buffer).await {
                Ok(received) => received,
                Err(error) => {
                    self.failed(&error).await;
                    continue;
                }
            };
            match self.read(length) {
                Ok(None) => {}
                Ok(Some(message)) => return Ok((from, message)),
                Err(reason) => self.refuse(reason, from),
            }
        }
    }
}

impl SealedSocket {
    fn read(&mut self, length: usize) -> Result<Option<ChitchatMessage>, Refusal> {
        let datagram = self.buffer.get(..length).ok_or(Refusal::UnknownFormat)?;
        let now = self.clock.unix_millis().unsigned_abs();
        let opened = self.opener.open(datagram, now)?;
        self.metrics.received(length);
        let Some(message) = opened else {
            return Ok(None);
        };
        let mut rest = &message[..];
        let message = ChitchatMessage::deserialize(&mut rest);
        message.map(Some).map_err(|_| Refusal::Malformed)
    }

    fn refuse(&self, reason: Refusal, from: SocketAddr) {
        self.metrics.refused(reason, 1);
        let throttle = self.logged.get(&reason);
        if let Some(suppressed) = throttle.and_then(LogThrottle::admit) {
            // Of another version's datagrams, what begins them.
            let is_unknown = reason == Refusal::UnknownFormat;
            let version = self.buffer.first().filter(|_| is_unknown);
            tracing::warn!(%from, %reason, version, suppressed, "datagram of gossip not taken");
        }
    }

    async fn failed(&self, error: &io::Error) {
        tracing::warn!(%error, "cannot receive gossip");
        tokio::time::sleep(READ_PAUSE).await;
    }
}
