//! What gossip goes over: UDP, or what a simulation puts in its place.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::net::UdpSocket;

/// A socket for datagrams.
#[async_trait]
pub trait Datagrams: fmt::Debug + Send + Sync + 'static {
    /// Sends one, and says how many bytes went out.
    ///
    /// # Errors
    ///
    /// That of the network; later ones may get through.
    async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize>;

    /// Receives one: how long it is, and from where. Cancel-safe.
    ///
    /// # Errors
    ///
    /// That of the network; later ones may come in.
    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)>;
}

#[async_trait]
impl Datagrams for UdpSocket {
    async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        UdpSocket::send_to(self, datagram, to).await
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        UdpSocket::recv_from(self, buffer).await
    }
}
